"""The first screen: picture, prediction, the methods' maps side by side, and what changes them.

Owns the page's run: one explanation that streams into the panels. The other tabs get what they need of it as a
`FirstScreen`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from ..errors import InputError
from ..evidence.report import metrics_csv
from ..explain import explain_stream
from ..explanation import Explanation
from ..labels import Labels, imagenet
from ..maps import ALPHA, COLORMAPS, data_url
from ..methods import DEFAULT_METHODS
from ..models import MODELS
from ..picture import open_picture
from .files import write_zip
from .readiness import classifier, default_model, downloading, is_ready, model_choices, opening_model, status_html
from .uploads import Picture
from .visitors import FILES_LIVE, VISITORS, Run, Session, in_words, on_stop, require_explanation, visitor_of
from .widgets import (
    METHOD_CHOICES,
    FirstScreen,
    browser_code,
    class_dropdown,
    classes_of,
    literal,
    maps_component,
    panel,
    percent,
)

LONGEST_SIDE = 1280  # of the picture on the page; the API answers in the picture's own size
PREVIEW_CHANNELS = 64  # of Score-CAM when it is not to run in full
REDRAW_SECONDS = 0.4  # between two redraws of a map that is being refined; drawing each block would slow the next
PICTURES = Path(__file__).resolve().parents[2] / "examples"


@dataclass(frozen=True)
class Example:
    """A picture in examples/, the question it answers, and the class to explain (None: the top one)."""

    file: str
    question: str
    class_index: int | None = None

    @property
    def path(self) -> Path:
        return PICTURES / self.file


EXAMPLES = (
    Example("astronaut.jpg", "Why a space shuttle?", 812),
    Example("cat_and_coffee.jpg", "Cat or coffee?"),
    Example("chelsea.jpg", "Which cat?"),
    Example("coffee.jpg", "Cup or contents?"),
    Example("rocket.jpg", "A rocket taken for what?"),
    Example("china.jpg", "What makes a roof?"),
    Example("flower.jpg", "Petals or centre?"),
)


@dataclass(frozen=True)
class Choices:
    """What a visitor has set, in the order of the settings' components."""

    methods: list[str]
    model: str
    layer: str
    max_n: int
    full: bool


# --- one run -------------------------------------------------------------------------------------------------------


def explain_on_page(
    image: np.ndarray,
    class_index: int | None,
    choices: Choices,
    request: gr.Request,
    labels: Labels | None = None,
) -> Iterator[tuple]:
    """Streams one explanation to the page; the outputs are those of `page_update`. `labels` are those that the class
    was chosen from, None for the model's own: a model with others explains its top class."""
    reduced = Image.fromarray(image)
    reduced.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    image = np.array(reduced)
    with VISITORS.page_run(visitor_of(request)) as run:
        clf = classifier(choices.model)
        if labels is not None and labels is not clf.labels:
            class_index = None
        layer = choices.layer if choices.layer in clf.target_layers else clf.target_layers[-1]
        max_n = min(int(choices.max_n), clf.channels(layer))
        url = data_url(image, "JPEG", quality=88)
        stream = explain_stream(clf, image, choices.methods, class_index, layer, max_n)
        complete, drawn = -1, 0.0
        for snapshot in stream:
            if run.replaced:
                return
            channels = snapshot.cams["scorecam"].channels if "scorecam" in snapshot.cams else 0
            stopped = not snapshot.complete and (run.stopped or (not choices.full and channels >= PREVIEW_CHANNELS))
            now_complete = sum(cam.complete for cam in snapshot.cams.values())
            if stopped or now_complete != complete or time.monotonic() - drawn >= REDRAW_SECONDS:
                yield page_update(snapshot, run, url, stopped, choices.model)
                complete, drawn = now_complete, time.monotonic()
            if stopped:
                return


def page_update(snapshot: Explanation, run: Run, url: str, stopped: bool, model: str) -> tuple:
    """Panels, prediction, explained line, session, Stop button, class box and status line."""
    first = not snapshot.cams
    running = not snapshot.complete and not stopped
    top = snapshot.predictions[0]
    rest = (
        "the top class" if snapshot.class_index == top.class_index else f"the model's top class is {literal(top.name)}"
    )
    return (
        panels_value(snapshot.methods, snapshot.cams, run.number, url, stopped, snapshot.class_name),
        {each.name: each.probability for each in snapshot.predictions[:5]} if first else gr.skip(),
        f"Explaining **{literal(snapshot.class_name)}**, probability {percent(snapshot.probability)} ({rest})"
        if first
        else gr.skip(),
        Session(snapshot.image, snapshot, run.number),
        gr.update(interactive=running) if first or not running else gr.skip(),
        gr.update(value=None) if first else gr.skip(),  # empty again, ready to be typed into
        status_html(model) if first else gr.skip(),
    )


def panels_value(keys, cams: Mapping, run: int = 0, url: str = "", stopped: bool = False, class_name: str = "") -> dict:
    alt = f"what speaks for {class_name}" if class_name else ""
    return {"run": run, "image": url, "alt": alt, "panels": [panel(key, cams.get(key), stopped) for key in keys]}


@in_words
def on_picture(image, request: gr.Request, *choices):
    """A picture was uploaded, taken, dropped or pasted."""
    if image is not None:
        yield from explain_on_page(image, None, Choices(*choices), request)


@in_words
def on_settings(session, request: gr.Request, *choices):
    """Other settings, on the picture and the class that the page has."""
    if session is not None and session.explanation is not None:
        shown = session.explanation
        labels = MODELS[shown.model].labels()
        yield from explain_on_page(session.image, shown.class_index, Choices(*choices), request, labels)


@in_words
def on_class(session, class_index, request: gr.Request, *choices):
    """Another class, on the picture that the page has."""
    if session is not None and class_index is not None:
        yield from explain_on_page(session.image, int(class_index), Choices(*choices), request)


@in_words
def on_prediction(session, request: gr.Request, event: gr.SelectData, *choices):
    """A bar of the prediction was clicked."""
    if session is not None and session.explanation is not None:
        labels = MODELS[session.explanation.model].labels()
        index = labels.find_class(str(event.value)).index
        yield from explain_on_page(session.image, index, Choices(*choices), request, labels)


@in_words
def on_example(event: gr.EventData, request: gr.Request, *choices):
    """An example was chosen: its picture goes into the input and is explained."""
    index = event.index if isinstance(event.index, int) else 0  # a raw request may send anything
    yield from show_example(EXAMPLES[index % len(EXAMPLES)], Choices(*choices), request)


@in_words
def on_open(request: gr.Request, *choices):
    """The page was opened: the first example is explained, so that no visitor sees an empty page."""
    yield from show_example(EXAMPLES[0], Choices(*choices), request)


def show_example(example: Example, choices: Choices, request: gr.Request):
    waiting = panels_value(choices.methods, {})
    yield (waiting, *[gr.skip()] * 6, str(example.path))
    image = open_picture(example.path)
    for update in explain_on_page(image, example.class_index, choices, request, imagenet()):
        yield (*update, gr.skip())


# --- models, layers, download --------------------------------------------------------------------------------------


@in_words
def on_model(model) -> tuple:
    """Another model: its layers, and its weights fetched if they are missing."""
    try:
        classifier(model)
    except InputError as error:
        gr.Warning(str(error))
        model = default_model()
    return gr.update(value=model), layers_of(model), status_html(model), gr.Timer(active=downloading())


@in_words
def on_arrival() -> tuple:
    """Before the page explains its first example: the model to open on, which may have been loaded after the page was
    built, with its layers and classes."""
    model = opening_model()
    return model, layers_of(model), status_html(model), gr.Timer(active=downloading()), classes_of(model)


def layers_of(model: str) -> dict:
    """The dropdown of layers: those of a model, its default chosen."""
    layers = MODELS[model].target_layers
    return gr.update(choices=list(layers), value=layers[-1])


@in_words
def on_layer(model, layer, max_n):
    """Another layer: Faster Score-CAM can take as many channels as it has."""
    clf = classifier(model)
    count = clf.channels(layer if layer in clf.target_layers else clf.target_layers[-1])
    return gr.update(maximum=count, value=min(int(max_n), count))


def on_tick(model) -> tuple:
    """While weights arrive: the status line, and an offer once they are there."""
    better = default_model()
    offer = gr.update(visible=better != model and is_ready(better), value=f"Use {MODELS[better].name} now")
    return status_html(model), offer, gr.Timer(active=downloading())


@in_words
def on_download(session, results, alpha, colormap) -> str:
    """The zip of what the page shows now, with the measurements when they are of it."""
    explanation = require_explanation(session)
    run, measurements = results or (0, {})
    extra = {}
    if measurements and run == session.run:
        extra["faithfulness.csv"] = metrics_csv(measurements, explanation.cams)
    return write_zip(explanation, alpha, colormap, extra)


# --- the layout and its listeners ----------------------------------------------------------------------------------


def build(page: gr.Blocks) -> FirstScreen:
    """The first screen and everything that it does by itself."""
    session, results = gr.State(None, time_to_live=FILES_LIVE), gr.State(None, time_to_live=FILES_LIVE)
    timer = gr.Timer(2, active=False)
    with gr.Row(elem_id="top"):
        status = gr.HTML(status_html("auto"), elem_id="status", scale=1)
        offer = gr.Button("Use VGG16 now", visible=False, size="sm", variant="primary", scale=0, min_width=160)
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=300):
            image = Picture(label="Picture", sources=["upload", "webcam", "clipboard"], height=190, elem_id="picture")
            examples = gr.HTML(examples_html(), js_on_load=browser_code("examples.js"), elem_id="examples")
            prediction = gr.Label(
                num_top_classes=5,
                label="Prediction: click a class to explain it",
                elem_id="prediction",
                show_heading=False,
            )
            explained_line = gr.Markdown("", elem_id="explained")
            class_box = class_dropdown("Explain any class (type to search the names)", elem_id="class-box")
        with gr.Column(scale=3, min_width=320):
            stop = build_view(session, results)
            panels = maps_component(panels_value(DEFAULT_METHODS, {}), "maps")
            settings = build_settings()
    methods, model, layer, max_n, full = settings
    outputs = [panels, prediction, explained_line, session, stop, class_box, status]
    current = [session, *settings]
    private = {"api_visibility": "private", "trigger_mode": "multiple", "show_progress_on": explained_line}
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    model_outputs = [model, layer, status, timer]
    arrived = page.load(on_arrival, None, [*model_outputs, class_box], **quiet)
    explanations = [
        image.input(on_picture, [image, *settings], outputs, **private),
        examples.select(on_example, settings, [*outputs, image], **private),
        prediction.select(on_prediction, current, outputs, **private),
        class_box.input(on_class, [session, class_box, *settings], outputs, **private),
        max_n.release(on_settings, current, outputs, **private),
        *[changed.input(on_settings, current, outputs, **private) for changed in (methods, layer, full)],
        arrived.success(on_open, settings, [*outputs, image], **private),
    ]
    model.change(classes_of, model, class_box, **quiet)
    layer.change(on_layer, [model, layer, max_n], max_n, **quiet)
    chosen = model.input(on_model, model, model_outputs, **quiet)
    explanations.append(chosen.then(on_settings, current, outputs, **private))
    offered = offer.click(lambda: (default_model(), gr.update(visible=False)), None, [model, offer], **quiet)
    explanations.append(
        offered.then(on_model, model, model_outputs, **quiet).then(on_settings, current, outputs, **private)
    )
    timer.tick(on_tick, model, [status, offer, timer], **quiet)
    return FirstScreen(session, results, model, explanations)


def build_view(session: gr.State, results: gr.State) -> gr.Button:
    """How the maps are drawn, Stop and Download; returns Stop, which a run switches on and off."""
    with gr.Row(elem_id="controls"):
        mode = gr.Radio(
            [("Overlay", "overlay"), ("Heatmap only", "heatmap"), ("Masked picture", "masked")],
            value="overlay",
            label="View",
            scale=3,
            min_width=390,
            elem_id="mode",
        )
        alpha = gr.Slider(0, 1, ALPHA, step=0.05, label="Overlay opacity", scale=2, min_width=150, elem_id="alpha")
        colormap = gr.Dropdown(
            [(name, key) for key, name in COLORMAPS.items()],
            value="viridis",
            label="Colours",
            scale=1,
            min_width=110,
            elem_id="colormap",
        )
        with gr.Column(scale=0, min_width=110, elem_id="buttons"):
            stop = gr.Button("Stop", interactive=False, size="sm", variant="stop", elem_id="stop")
            download = gr.Button("Download", size="sm", elem_id="download")
            bundle = gr.DownloadButton(visible="hidden", elem_id="bundle")
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    stop.click(on_stop, None, None, queue=False, **quiet)
    view = [alpha, colormap, mode]
    for control in view:  # the browser redraws by itself
        control.change(None, view, None, js=browser_code("view.js"), **quiet)
    ready = download.click(on_download, [session, results, alpha, colormap], bundle, api_visibility="private")
    ready.success(None, None, None, js="() => document.querySelector('#bundle').click()", api_visibility="private")
    return stop


def build_settings() -> list:
    """The components of `Choices`, in its order."""
    layers = list(MODELS[default_model()].target_layers)
    with gr.Accordion("Settings: methods, model, layer, channels", open=False, elem_id="settings"):
        methods = gr.CheckboxGroup(
            METHOD_CHOICES, value=list(DEFAULT_METHODS), label="Methods (those not ticked are not computed)"
        )
        with gr.Row():
            model = gr.Dropdown(model_choices(), value=default_model(), label="Model", elem_id="model")
            layer = gr.Dropdown(layers, value=layers[-1], label="Target layer", elem_id="layer")
            max_n = gr.Slider(1, 1280, 10, step=1, label="Channels of Faster Score-CAM", elem_id="max-n")
            full = gr.Checkbox(True, label=f"Score-CAM in full (else {PREVIEW_CHANNELS} channels)", elem_id="full")
    return [methods, model, layer, max_n, full]


def examples_html() -> str:
    buttons = []
    for index, example in enumerate(EXAMPLES):
        thumbnail = Image.open(example.path)
        thumbnail.thumbnail((160, 160))
        url = data_url(np.asarray(thumbnail.convert("RGB")), "JPEG", quality=80)
        buttons.append(
            f'<button type="button" data-index="{index}"><img src="{url}" alt="">'
            f"<span>{example.question}</span></button>"
        )
    return f'<div class="cam-examples" role="group" aria-label="Example pictures">{"".join(buttons)}</div>'
