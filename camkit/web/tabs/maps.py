"""The first screen: picture, prediction, the methods' maps side by side, and what changes them.

Owns the page's run: one explanation that streams into the panels. The other tabs get what they need of it as a
`FirstScreen`. The line at the top is headline.py's, how maps are drawn and kept is view.py's.
"""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from dataclasses import replace

import gradio as gr

from ...errors import InputError, WeightsError, quoted
from ...explain import explain_stream
from ...explanation import Explanation
from ...labels import Labels, imagenet
from ...maps import jpeg_url
from ...methods import DEFAULT_METHODS, METHODS, check_methods
from ...models.registry import MODELS
from ...passes.outputs import OUTPUTS
from ...picture import MAX_BYTES, open_picture
from ...report.words import result_words
from ..server.assets import PREFIX, ROOT
from ..server.readiness import classifier, default_model, model_choices, opening_model
from ..server.refusals import with_clear_errors
from ..server.runs import RUNS, Busy, Run, on_stop, visitor_of
from ..server.sessions import MEMORIES, Memory, memory_of
from ..server.uploads import page_picture, uploaded, window_of
from . import headline, view
from .examples import EXAMPLES, Example, aspect, by_number, examples_html
from .link import Choices, query_of, read_query
from .widgets import (
    METHOD_CHOICES,
    NOT_COMPUTED,
    REDRAW_SECONDS,
    TELL_MODEL,
    FirstScreen,
    browser_code,
    class_box,
    fetched,
    if_it_fails,
    maps_component,
    named,
    panels_value,
)

PREVIEW_CHANNELS = 64  # of Score-CAM when it is not to run in full
GONE = "The server no longer has your picture: choose it again. The page shows its first example instead."
# What the browser is at, and the settings, as history.js says it.
HERE = f"(_, ...settings) => import({ROOT} + '{PREFIX}/history.js').then((module) => [module.here(), ...settings])"
SHOWN = 5  # classes of the prediction
BUNDLED = "efficientnet_lite0"  # the model of which the examples' stories are true


# --- one run -------------------------------------------------------------------------------------------------------


@if_it_fails(panels={"working": None})
def explain_on_page(
    picture: bytes,
    class_index: int | None,
    choices: Choices,
    request: gr.Request,
    labels: Labels | None = None,
    example: str = "",
    story: Example | None = None,
    entry: str = "",
) -> Iterator[dict]:
    """Stream one explanation of a JPEG file's picture to the page, as updates by the names of its parts. The page
    explains what it shows: the picture as that file holds it.

    `labels`: those that the class was chosen from, None for the model's own; a model with others explains its top
    class. `example`: the picture's key, "" for a visitor's own. `story`: the example that is told of. `entry`: the
    entry of the browser's history that this is for, "" for a new one.
    """
    image = open_picture(picture)
    with RUNS.page_run(request, long=False) as run:
        yield {"panels": {"working": run.number, "visit": entry}}
        clf = classifier(choices.model)
        if labels is not None and labels is not clf.labels:
            class_index = None
        layer = choices.layer if choices.layer in clf.target_layers else clf.target_layers[-1]
        max_n = fitting(choices.max_n, clf.channels(layer))
        limit = gr.update(maximum=clf.channels(layer), **({"value": max_n} if max_n != choices.max_n else {}))
        fields = {"image": jpeg_url(picture), "aspect": image.shape[1] / image.shape[0], "visit": entry}

        def update(wait: str, ended: bool) -> dict:
            address = query_of(snapshot, choices, example)
            token = MEMORIES.keep(run, picture, snapshot, address, ended, story is not None)
            known = fields | {"address": address, "kept": token}
            beside = {} if snapshot.cams or run.cancel.is_set() else update_beside(snapshot, run, choices, limit)
            return page_update(snapshot, run, wait, choices, known, window_of(picture), story) | beside

        methods, busy = room_for(check_methods(choices.methods), run)
        complete, drawn = -1, 0.0
        for snapshot in explain_stream(clf, image, methods, class_index, layer, max_n, run.cancel):
            run.seconds_left = snapshot.seconds_left
            channels = snapshot.cams["scorecam"].channels if "scorecam" in snapshot.cams else 0
            if not snapshot.complete and not choices.full and channels >= PREVIEW_CHANNELS:
                break
            if run.cancel.is_set():
                continue  # the stream ends by itself, with all that was computed
            now_complete = sum(cam.complete for cam in snapshot.cams.values())
            if now_complete != complete or time.monotonic() - drawn >= REDRAW_SECONDS:
                yield update(busy, ended=snapshot.complete and not busy)
                complete, drawn = now_complete, time.monotonic()
        if not snapshot.complete or run.cancel.is_set():
            finished = snapshot.complete and not busy
            yield update(NOT_COMPUTED, ended=finished or run.stopped or not run.cancel.is_set())


@if_it_fails(panels={"working": None})
def show_again(memory: Memory, choices: Choices, request: gr.Request, entry: str) -> Iterator[dict]:
    """Show a result that is remembered, without computing any of it; `entry` as for `explain_on_page`."""
    with RUNS.page_run(request, long=False) as run:
        yield {"panels": {"working": run.number, "visit": entry}}
        memory = MEMORIES.show(run, memory)
        snapshot = memory.explanation
        aspect = snapshot.image.shape[1] / snapshot.image.shape[0]
        fields = {"image": jpeg_url(memory.picture), "aspect": aspect, "visit": entry}
        fields |= {"address": memory.query, "kept": memory.token}
        limit = gr.update(maximum=classifier(snapshot.model).channels(snapshot.target_layer), value=snapshot.max_n)
        window, story = window_of(memory.picture), story_of(memory)
        update = page_update(snapshot, run, NOT_COMPUTED, choices, fields, window, story)
        yield update | update_beside(snapshot, run, choices, limit)


def explain_again(
    memory: Memory,
    class_index: int | None,
    choices: Choices,
    request: gr.Request,
    labels: Labels | None = None,
    story: Example | None = None,
    entry: str = "",
) -> Iterator[dict]:
    """Explain the picture that the page has; the arguments are those of `explain_on_page`."""
    example = memory.query.get("example", "")
    return explain_on_page(memory.picture, class_index, choices, request, labels, example, story, entry)


def labels_of(memory: Memory) -> Labels:
    return MODELS[memory.known.model].labels()


def story_of(memory: Memory) -> Example | None:
    """Return the example of which a result tells the story, if it does."""
    return EXAMPLES[memory.query["example"]] if memory.story else None


def fitting(max_n, channels: int) -> int:
    """Return the slider's number, or all channels of a layer that has fewer; InputError when it is none."""
    if isinstance(max_n, bool) or not isinstance(max_n, (int, float)) or not max_n >= 1:
        raise InputError(f"max_n is {quoted(repr(max_n))}: it must be a whole number from 1 to {channels}.")
    return int(min(max_n, channels))


def room_for(methods: tuple[str, ...], run: Run) -> tuple[tuple[str, ...], str]:
    """Return the methods that the run can take, and why not all. A visitor who finds every place for long work taken
    still gets the maps that are quick; Busy when none of those is asked for."""
    quick = tuple(key for key in methods if METHODS[key].uses_gradient)
    if len(quick) == len(methods):
        return methods, ""
    try:
        RUNS.take_place(run)
    except Busy as busy:
        if not quick:
            raise
        return quick, str(busy)
    return methods, ""


def page_update(
    snapshot: Explanation, run: Run, wait: str, choices: Choices, fields: dict, window: str, story: Example | None
) -> dict:
    """Return the panels and what is said of them. `wait`: why maps that have not begun will not come, if they will
    not; `window`: that of the picture's grey values, as a sentence."""
    outputs = OUTPUTS[snapshot.outputs]
    fields = fields | {"alt": f"what {outputs.effect} {snapshot.class_name}"}
    keys = check_methods(choices.methods)
    panels = panels_value(keys, snapshot.cams, run.number, wait, fields, snapshot.placement, outputs)
    if run.cancel.is_set():  # a newer run has words of its own
        return {"panels": panels}
    return {"panels": panels, "explained": explained_html(snapshot, window, story)}


def update_beside(snapshot: Explanation, run: Run, choices: Choices, limit: dict) -> dict:
    """Return what goes with a run's first panels; `limit`: what the slider of channels can be at this layer."""
    return {
        "prediction": prediction_html(snapshot),
        "max_n": limit,
        **headline.update(choices.model, run.visitor),
    }


def prediction_html(snapshot: Explanation | None) -> str:
    """Return the most probable classes as buttons, the explained class as the last when it is none of them."""
    if snapshot is None:
        return '<div class="prediction"></div>'
    outputs = OUTPUTS[snapshot.outputs]
    rows = [(each.class_index, each.name, each.answer) for each in snapshot.predictions[:SHOWN]]
    if snapshot.class_index not in [index for index, _, _ in rows]:
        rows[-1] = (snapshot.class_index, snapshot.class_name, snapshot.answer)
    buttons = "".join(
        f'<li><button type="button" data-index="{index}" aria-pressed="{str(index == snapshot.class_index).lower()}" '
        f'style="--share: {100 * answer if outputs.are_probabilities else 0:.1f}%"><span>{html.escape(name)}</span>'
        f"<span>{outputs.in_words(answer)}</span></button></li>"
        for index, name, answer in rows
    )
    return f'<div class="prediction"><h2>Prediction <small>{outputs.hint}</small></h2><ol>{buttons}</ol></div>'


def explained_html(snapshot: Explanation, window: str = "", story: Example | None = None) -> str:
    """Return what is explained, in a sentence or two how sure the model is and where the maps lie, and the story once
    there is a map."""
    told = story_html(story) if story and snapshot.model == BUNDLED and snapshot.cams else ""
    rest = f"; the picture's grey values are {html.escape(window)}" if window else ""
    return (
        f"<h2>Explaining <b>{html.escape(snapshot.class_name)}</b>, {snapshot.answer_in_words}"
        f"<small>{rest}</small></h2><p>{html.escape(result_words(snapshot))}{told}</p>"
    )


def story_html(example: Example) -> str:
    """Return what is surprising about an example, with a button that explains the class to look at next."""
    button = ""
    if example.next_index is not None:
        name = html.escape(imagenet().class_at(example.next_index).name)
        button = f' <button type="button" data-index="{example.next_index}">Explain {name}</button>'
    return f' <span class="story">{html.escape(example.story)}{button}</span>'


@with_clear_errors
def on_picture(event: gr.EventData, request: gr.Request, *choices):
    """Explain a picture that was chosen, taken, dropped or pasted; one that cannot be used changes nothing."""
    picture = page_picture(uploaded(getattr(event, "file", None)))
    yield from explain_on_page(picture, None, Choices(*choices), request)


@with_clear_errors
def on_settings(request: gr.Request, *choices):
    """Explain the picture and the class that the page has by other settings."""
    memory = memory_of(request)
    yield from explain_again(memory, memory.known.class_index, Choices(*choices), request, labels_of(memory))


@with_clear_errors
def on_class(class_index, request: gr.Request, *choices):
    """Explain another class of the picture that the page has."""
    yield from explain_again(memory_of(request), class_index, Choices(*choices), request)


@with_clear_errors
def on_prediction(request: gr.Request, event: gr.EventData, *choices):
    """Explain the class of the prediction that was chosen."""
    memory = memory_of(request)
    labels = labels_of(memory)
    yield from explain_again(memory, labels.class_at(event.index).index, Choices(*choices), request, labels)


@with_clear_errors
def on_example(event: gr.EventData, request: gr.Request, *choices):
    """Explain the example that was chosen."""
    example = by_number(event.index)
    yield from show_example(example, example.class_index, Choices(*choices), request, imagenet(), story=example)


@with_clear_errors
def on_open(here, request: gr.Request, *choices):
    """Show what the browser is at, by a link, a reload, Back or forward: what is remembered of it, else what the
    address names, else the first example, so that no page is empty. By the model that is the default by now, which the
    page's own settings may not know of yet.

    here: of history.js, the address's `query`, `kept`, the token of what was shown, and `entry`."""
    here = here if isinstance(here, dict) else {}
    query, entry = here.get("query"), str(here.get("entry") or "")[:40]
    query = query if isinstance(query, dict) else {}
    before, model = Choices(*choices), opening_model()
    fresh = replace(before, model=model, layer=MODELS[model].target_layers[-1], full=True)
    memory = MEMORIES.recall(here.get("kept"))
    if memory:
        query = {**memory.query, "model": memory.known.model, "layer": memory.known.target_layer}
    visit = read_query(query, fresh)
    picture_is_lost = here.get("kept") and not memory and "example" not in query
    if problem := GONE if picture_is_lost else visit.problem:
        gr.Warning(problem)
    if memory and memory.ended:
        updates = show_again(memory, visit.choices, request, entry)
    elif memory:  # left before its last map
        index, labels, story = memory.known.class_index, labels_of(memory), story_of(memory)
        updates = explain_again(memory, index, visit.choices, request, labels, story, entry)
    else:
        labels = MODELS[visit.choices.model].labels()
        story = visit.example if visit.class_index == visit.example.class_index else None
        updates = show_example(visit.example, visit.class_index, visit.choices, request, labels, story, entry)
    settings = settings_of(visit.choices, before.model)
    for update in updates:
        yield settings | update
        settings = {}


def settings_of(choices: Choices, model: str) -> dict:
    """Return updates with which the settings' components, which offer the layers of `model`, show these choices. Plain
    values where that is enough: of a property, a stream's later answers would undo what a visitor has chosen since."""
    if choices.model == model:
        return vars(choices)
    return vars(choices) | {"layer": gr.update(choices=list(MODELS[choices.model].target_layers), value=choices.layer)}


def show_example(
    example: Example,
    class_index: int | None,
    choices: Choices,
    request: gr.Request,
    labels: Labels,
    story: Example | None = None,
    entry: str = "",
) -> Iterator[dict]:
    """Explain an example; the arguments are those of `explain_on_page`."""
    fields = {"image": jpeg_url(example.content), "aspect": aspect(example)}
    yield {"panels": panels_value(choices.methods, {}, fields=fields)}  # the picture, before a model is loaded
    yield from explain_on_page(example.content, class_index, choices, request, labels, example.key, story, entry)


# --- models and layers ---------------------------------------------------------------------------------------------


@with_clear_errors
def on_model(model, request: gr.Request) -> dict:
    """Offer the layers of another model, and fetch its weights if they are missing."""
    visitor = visitor_of(request)
    if (state := headline.state_of(model) if model in MODELS else None) and state.status != "ready":
        headline.WAITING.join(model, visitor)
    try:
        classifier(model)
    except (InputError, WeightsError) as error:
        gr.Warning(html.escape(str(error), False))
        model = default_model()
    spec = MODELS[model]
    layers = gr.update(choices=list(spec.target_layers), value=spec.target_layers[-1])
    return {"model": gr.update(value=model), "layer": layers, **headline.update(model, visitor)}


def on_use(model) -> str:
    """Return the better model that has arrived, as the button "Use" asks."""
    return headline.better(model) or model


# --- the layout and its listeners ----------------------------------------------------------------------------------


def build(page: gr.Blocks) -> FirstScreen:
    """Lay the first screen out and add its listeners. Where each part lies at which width is in style.css."""
    with gr.Column(elem_id="first"):
        line = headline.build(default_model())
        picture = gr.HTML(
            html_template='<div class="cam-picture"></div>',
            js_on_load=fetched("picture.js", MOST=MAX_BYTES),
            elem_id="picture",
        )
        buttons = {"js_on_load": browser_code("choices.js")}
        examples = gr.HTML(examples_html(), elem_id="examples", **buttons)
        prediction = gr.HTML(prediction_html(None), elem_id="prediction", **buttons)
        explained = gr.HTML("<h2>&nbsp;</h2><p></p>", elem_id="explained", **buttons)
        other = class_box("Another class", "class-box")
        panels = maps_component(panels_value(DEFAULT_METHODS, {}), "maps")
        controls = view.build()
        settings = build_settings()
        here = gr.HTML(html_template="<i></i>", js_on_load=fetched("history.js"), visible="hidden")
    methods, model, layer, max_n, full = settings
    shown = {"panels": panels, "prediction": prediction, "explained": explained, "max_n": max_n, **line.parts}
    opened = shown | {"methods": methods, "model": model, "layer": layer, "full": full}
    outputs, opened_outputs = [*shown.values()], [*opened.values()]
    quiet = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False}
    private = quiet | {"trigger_mode": "multiple"}
    changes = [max_n.release, methods.input, layer.input, full.input]
    open_it = named(on_open, opened), [here, *settings], opened_outputs
    explanations = [
        picture.upload(named(on_picture, shown), settings, outputs, **private),
        examples.select(named(on_example, shown), settings, outputs, **private),
        prediction.select(named(on_prediction, shown), settings, outputs, **private),
        explained.select(named(on_prediction, shown), settings, outputs, **private),
        other.select(named(on_class, shown), [other, *settings], outputs, **private),
        gr.on(changes, named(on_settings, shown), settings, outputs, **private),
        controls.remember(page, methods).then(*open_it, js=HERE, **private),
        here.select(*open_it, js=HERE, **private),
    ]
    panels.stop(on_stop, None, None, queue=False, **quiet)
    gr.on([page.load, model.change], None, model, None, js=TELL_MODEL, **quiet)
    of_model = {"model": model, "layer": layer, **line.parts}
    change_model = named(on_model, of_model), model, [*of_model.values()]
    for changed in (
        model.input(*change_model, **quiet),
        line.use.click(on_use, model, model, **quiet).then(*change_model, **quiet),
    ):
        explanations.append(changed.then(named(on_settings, shown), settings, outputs, **private))
    headline.listen(line, model, page)
    return FirstScreen(model, line.status, explanations)


def build_settings() -> list:
    """Return the components of `Choices`, in its order."""
    layers = list(MODELS[default_model()].target_layers)
    with gr.Accordion("Settings: methods, model, layer, channels", open=False, elem_id="settings"):
        methods = gr.CheckboxGroup(
            METHOD_CHOICES, value=list(DEFAULT_METHODS), label="Methods (those not ticked are not computed)"
        )
        with gr.Row():
            model = gr.Radio(model_choices(), value=default_model(), label="Model", elem_id="model")
            layer = gr.Radio(layers, value=layers[-1], label="Target layer", elem_id="layer")
            max_n = gr.Slider(1, 1280, 10, step=1, label="Channels of Faster Score-CAM", elem_id="max-n")
            full = gr.Checkbox(True, label=f"Score-CAM in full (else {PREVIEW_CHANNELS} channels)", elem_id="full")
    return [methods, model, layer, max_n, full]
