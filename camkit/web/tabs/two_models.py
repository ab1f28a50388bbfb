"""The tab "Compare two models": what the page shows and the same of another model that is ready, in two rows by the
same methods. The tab is there while another model is."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator

import gradio as gr

from ...errors import InputError
from ...explain import explain_stream
from ...explanation import Explanation
from ...labels import Labels
from ...maps import jpeg_url
from ...methods import METHODS
from ...models.registry import MODELS
from ...passes.outputs import OUTPUTS
from ...report.words import models_words, sureness
from ..server.readiness import classifier, is_here
from ..server.refusals import with_clear_errors
from ..server.runs import RUNS, Run, on_stop
from ..server.sessions import memory_of
from .widgets import NOT_COMPUTED, REDRAW_SECONDS, FirstScreen, if_it_fails, maps_component, named, panels_value

GUESSES = 5  # classes of a model's prediction
# What headline.py says of the models that are here besides the one that runs, as updates of the tab and its choice.
OFFER = """({others}) => [{__type__: "update", visible: others.length > 0},
  {__type__: "update", choices: others, value: others[0]?.[1] ?? null, visible: others.length > 1}]"""


@with_clear_errors
@if_it_fails(first={"working": None}, second={"working": None})
def on_compare(other, request: gr.Request) -> Iterator[dict]:
    """Explain the page's picture by another model, beside the maps that the page shows."""
    memory = memory_of(request)
    shown, other = memory.explanation, other_model(other, memory.known.model)
    labels = [MODELS[model].labels() for model in (shown.model, other)]
    index = same_class(shown.class_index, *labels)
    keys = [key for key in shown.methods if key in shown.cams]
    with RUNS.page_run(request, long=not all(METHODS[key].uses_gradient for key in keys)) as run:
        yield {"first": {"working": run.number}, "second": {"working": run.number}, "words": ""}
        own_guess = index is None and shown.class_index != shown.predictions[0].class_index
        again = explain_stream(
            classifier(shown.model), shown.image, keys, None, shown.target_layer, shown.max_n, run.cancel
        )
        for first in until(again if own_guess else iter([shown]), shown, run):
            yield {"first": row(first, keys, run, memory.picture), "first_about": about_html(first)}
        for second in until(explain_stream(classifier(other), shown.image, keys, index, cancel=run.cancel), shown, run):
            yield {"second": row(second, keys, run, memory.picture), "second_about": about_html(second)}
        yield {
            "first": row(first, keys, run, memory.picture, NOT_COMPUTED),
            "second": row(second, keys, run, memory.picture, NOT_COMPUTED),
            "words": words_html(first, second) if memory_of(request).run == memory.run else "",
        }


def other_model(asked, shown: str) -> str:
    """Return the model to compare with, the first other one that is here where none is asked for; InputError for one
    that is not, and for the one that is shown."""
    others = [key for key in MODELS if key != shown and is_here(key)]
    if not others:
        raise InputError("There is one model on this server: a second one is needed to compare.")
    if asked is None:
        return others[0]
    if asked not in others:
        raise InputError(
            f"Choose another model to compare with: one of {', '.join(MODELS[key].name for key in others)}."
        )
    return asked


def same_class(index: int, first: Labels, second: Labels) -> int | None:
    """Return the class of the second model that has the name of the first one's; None where it has none."""
    if first is second:
        return index
    name = first.class_at(index).name.casefold()
    return next((each.index for each in second if each.name.casefold() == name), None)


def until(stream: Iterator[Explanation], shown: Explanation, run: Run) -> Iterator[Explanation]:
    """Yield what is to be drawn of a stream. Its Score-CAM ends where that of the page did."""
    given, drawn, complete = shown.cams.get("scorecam"), 0.0, -1
    for snapshot in stream:
        run.seconds_left = snapshot.seconds_left
        now_complete = sum(cam.complete for cam in snapshot.cams.values())
        if now_complete != complete or time.monotonic() - drawn >= REDRAW_SECONDS:
            complete, drawn = now_complete, time.monotonic()
            yield snapshot
        reached = snapshot.cams["scorecam"].channels if "scorecam" in snapshot.cams else 0
        if given and not given.complete and reached >= given.channels:
            break
    yield snapshot


def row(snapshot: Explanation, keys: list[str], run: Run, picture: bytes, wait: str = "") -> dict:
    """Return one model's maps as panels.js takes them."""
    name, outputs = MODELS[snapshot.model].name, OUTPUTS[snapshot.outputs]
    fields = {
        "image": jpeg_url(picture),
        "aspect": snapshot.image.shape[1] / snapshot.image.shape[0],
        "alt": f"what {outputs.effect} {snapshot.class_name} to {name}",
    }
    return panels_value(keys, snapshot.cams, run.number, wait, fields, snapshot.placement, outputs)


def about_html(snapshot: Explanation) -> str:
    """Return a model's name, what is explained, and its first guesses with a bar each."""
    outputs, model, name = OUTPUTS[snapshot.outputs], MODELS[snapshot.model].name, snapshot.class_name
    rows = []
    for each in snapshot.predictions[:GUESSES]:
        share = 100 * each.answer if outputs.are_probabilities else 0
        current = ' aria-current="true"' if each.class_index == snapshot.class_index else ""
        rows.append(
            f'<li style="--share: {share:.1f}%"{current}><span>{html.escape(each.name)}</span>'
            f"<span>{outputs.in_words(each.answer)}</span></li>"
        )
    return (
        f"<h3>{html.escape(model)}</h3><p>Explaining <b>{html.escape(name)}</b>, {snapshot.answer_in_words}, at layer "
        f"{html.escape(snapshot.target_layer)}. {html.escape(sureness(snapshot))}</p>"
        f'<ol class="guesses">{"".join(rows)}</ol>'
    )


def words_html(first: Explanation, second: Explanation) -> str:
    """Return what differs between the models in words, and which class each explains where it is not the same."""
    names = MODELS[first.model].name, MODELS[second.model].name
    said = models_words(names, (first, second))
    if first.class_name.casefold() != second.class_name.casefold():
        own = " and ".join(f"{name} {each.class_name}" for name, each in zip(names, (first, second), strict=True))
        said = f"{said} They have no class of the same name for this, so each explains its own first guess: {own}."
    return f'<p class="words measured">{html.escape(said)}</p>'


def build(screen: FirstScreen) -> None:
    with gr.Tab("Compare two models", visible=False, id="models") as tab:
        with gr.Row(elem_classes="intro"):
            gr.Markdown(
                "The picture and the class above, by the model above and by another one, with the same methods."
            )
            other = gr.Radio([], label="The other model", visible=False, elem_id="other-model")
            go = gr.Button("Compare", variant="primary", size="md", scale=0, min_width=120, elem_id="models-go")
        words = gr.HTML("", elem_id="models-words")
        rows = {}
        for which in ("first", "second"):
            with gr.Row(elem_classes="model-row"):
                rows[f"{which}_about"] = gr.HTML("", elem_id=f"{which}-about", elem_classes="model-about")
                rows[which] = maps_component(None, f"{which}-maps", "--cam-height: 260px")
    quiet = {"api_visibility": "private", "preprocess": False}
    screen.status.change(None, screen.status, [tab, other], js=OFFER, **quiet)
    parts = {"words": words, **rows}
    go.click(named(on_compare, parts), other, [*parts.values()], show_progress="hidden", **quiet)
    for which in ("first", "second"):
        rows[which].stop(on_stop, None, None, queue=False, **quiet)
