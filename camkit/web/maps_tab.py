"""The first screen: picture, prediction, maps and settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image

from ..errors import InputError
from ..explain import explain_stream
from ..labels import find_class
from ..maps import ALPHA, COLORMAPS, data_url
from ..methods import METHODS
from ..models import MODELS
from ..picture import open_picture
from .files import bundle, csv_of
from .readiness import MODEL_CHOICES, classifier, default_model, is_ready, status_html
from .uploads import Picture
from .visitors import FILES_LIVE, VISITORS, Run, Session, explained, in_words, visitor_of
from .widgets import HERE, METHOD_CHOICES, class_dropdown, maps_component, panels_value, percent

LONGEST_SIDE = 1280  # of the picture on the page; the API answers in the picture's own size
PREVIEW_CHANNELS = 64  # of Score-CAM when it is not to run in full
REDRAW_SECONDS = 0.4  # between two redraws of a map that is being refined; drawing each block would slow the next


@dataclass(frozen=True)
class Example:
    """A picture in examples/, the question it answers, and the class to explain (None: the top one)."""

    file: str
    question: str
    class_index: int | None = None

    @property
    def path(self) -> Path:
        return HERE / "examples" / self.file


EXAMPLES = (
    Example("astronaut.jpg", "Why a space shuttle?", 812),
    Example("cat_and_coffee.jpg", "Cat or coffee?"),
    Example("chelsea.jpg", "Which cat?"),
    Example("coffee.jpg", "Cup or contents?"),
    Example("rocket.jpg", "A rocket taken for what?"),
    Example("china.jpg", "What makes a roof?"),
    Example("flower.jpg", "Petals or centre?"),
)


def shrunk(image: np.ndarray) -> np.ndarray:
    """The picture at no more than the page's longest side."""
    reduced = Image.fromarray(image)
    reduced.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return np.array(reduced)


def explained_line(explanation) -> str:
    top = explanation.class_index == explanation.predictions[0].class_index
    rest = "the top class" if top else f"the model's top class is {explanation.predictions[0].name}"
    return f"Explaining **{explanation.class_name}**, probability {percent(explanation.probability)} ({rest})"


def explain_on_page(image, class_index, methods, model, layer, max_n, full, request: gr.Request) -> Iterator[tuple]:
    """Streams one explanation to the page; the outputs are PAGE_OUTPUTS."""
    image = shrunk(image)
    with VISITORS.page_run(visitor_of(request)) as run:
        clf = classifier(model)
        layer = layer if layer in clf.target_layers else clf.target_layers[-1]
        max_n = min(int(max_n), clf.channels(layer))
        url = data_url(image, "JPEG", quality=88)
        stream = explain_stream(clf, image, methods, class_index, layer, max_n)
        finished, drawn = -1, 0.0
        for snapshot in stream:
            if run.replaced:
                return
            enough = not full and _channels_done(snapshot) >= PREVIEW_CHANNELS
            stopped = not snapshot.complete and (run.stopped or enough)
            final = sum(cam.complete for cam in snapshot.cams.values())
            if stopped or final != finished or time.monotonic() - drawn >= REDRAW_SECONDS:
                yield page_update(snapshot, run, url, stopped, model)
                finished, drawn = final, time.monotonic()
            if stopped:
                stream.close()
                return


def _channels_done(snapshot) -> int:
    return snapshot.cams["scorecam"].channels if "scorecam" in snapshot.cams else 0


def page_update(snapshot, run: Run, url: str, stopped: bool, model: str) -> tuple:
    first = not snapshot.cams
    alt = f"what speaks for {snapshot.class_name}"
    running = not snapshot.complete and not stopped
    return (
        panels_value(run.number, url, snapshot.methods, snapshot.cams, stopped, alt),
        {each.name: each.probability for each in snapshot.predictions[:5]} if first else gr.skip(),
        explained_line(snapshot) if first else gr.skip(),
        Session(snapshot.image, snapshot, run.number),
        gr.update(interactive=running) if first or not running else gr.skip(),
        gr.update(value=None) if first else gr.skip(),  # empty again, ready to be typed into
        status_html(model) if first else gr.skip(),
    )


@in_words
def on_picture(image, methods, model, layer, max_n, full, request: gr.Request):
    """A picture was uploaded, taken, dropped or pasted."""
    if image is not None:
        yield from explain_on_page(image, None, methods, model, layer, max_n, full, request)


@in_words
def on_settings(session, methods, model, layer, max_n, full, request: gr.Request):
    """Other settings, on the picture and the class that the page has."""
    if session is not None and session.explanation is not None:
        yield from explain_on_page(
            session.image, session.explanation.class_index, methods, model, layer, max_n, full, request
        )


@in_words
def on_class(session, class_index, methods, model, layer, max_n, full, request: gr.Request):
    """Another class, on the picture that the page has."""
    if session is not None and class_index is not None:
        yield from explain_on_page(session.image, int(class_index), methods, model, layer, max_n, full, request)


@in_words
def on_prediction(session, methods, model, layer, max_n, full, request: gr.Request, event: gr.SelectData):
    """A bar of the prediction was clicked."""
    index = find_class(str(event.value)).index
    yield from on_class(session, index, methods, model, layer, max_n, full, request)


@in_words
def on_example(event: gr.EventData, methods, model, layer, max_n, full, request: gr.Request):
    """An example was chosen: its picture goes into the input and is explained."""
    index = event.index if isinstance(event.index, int) else 0  # a browser sends a number, a stranger whatever he likes
    yield from show_example(EXAMPLES[index % len(EXAMPLES)], methods, model, layer, max_n, full, request)


@in_words
def on_open(methods, model, layer, max_n, full, request: gr.Request):
    """The page was opened: nobody meets an empty one."""
    yield from show_example(EXAMPLES[0], methods, model, layer, max_n, full, request)


def show_example(example: Example, methods, model, layer, max_n, full, request: gr.Request):
    waiting = panels_value(0, "", methods, {}, False, "")
    yield (waiting, *[gr.skip()] * (len(PAGE_OUTPUTS) - 1), str(example.path))
    image = open_picture(example.path)
    for update in explain_on_page(image, example.class_index, methods, model, layer, max_n, full, request):
        yield (*update, gr.skip())


PAGE_OUTPUTS = ("panels", "prediction", "explained", "session", "stop", "class_box", "status")


def on_stop(request: gr.Request) -> None:
    VISITORS.stop(visitor_of(request))


def on_leave(request: gr.Request) -> None:
    VISITORS.leave(visitor_of(request))


@in_words
def on_download(session, results, alpha, colormap) -> str:
    """The zip of what the page shows now."""
    shown = explained(session)
    run, measurement = results or (0, {})
    return bundle(shown, alpha, colormap, csv_of(shown, measurement if run == session.run else {}))


@in_words
def on_model(model) -> tuple:
    """Another model: its layers, and its weights fetched if they are missing."""
    try:
        classifier(model)
    except InputError as error:
        gr.Warning(str(error))
        model = default_model()
    spec = MODELS[model]
    layers = gr.update(choices=list(spec.target_layers), value=spec.target_layers[-1])
    return gr.update(value=model), layers, status_html(model), gr.Timer(active=downloading())


@in_words
def on_layer(model, layer, max_n):
    """Another layer: Faster Score-CAM can take as many channels as it has."""
    clf = classifier(model)
    count = clf.channels(layer if layer in clf.target_layers else clf.target_layers[-1])
    return gr.update(maximum=count, value=min(int(max_n), count))


def downloading() -> bool:
    return any(spec.weights and spec.weights.state.status == "downloading" for spec in MODELS.values())


def on_tick(model) -> tuple:
    """While weights arrive: the status line, and an offer once they are there."""
    better = default_model()
    offer = gr.update(visible=better != model and is_ready(better), value=f"Use {MODELS[better].name} now")
    return status_html(model), offer, gr.Timer(active=downloading())


VIEW_JS = """(alpha, colormap, mode) => {
  window.camView = {alpha, colormap, mode};
  window.dispatchEvent(new CustomEvent('cam-view', {detail: window.camView}));
}"""
EXAMPLES_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('select', {index: Number(button.dataset.index)});
});"""


def examples_html() -> str:
    buttons = []
    for index, example in enumerate(EXAMPLES):
        thumbnail = Image.open(example.path)
        thumbnail.thumbnail((160, 160))
        url = data_url(np.asarray(thumbnail.convert("RGB")), "JPEG", quality=80)
        buttons.append(
            f'<button type="button" data-index="{index}"><img src="{url}" alt=""><span>{example.question}</span></button>'
        )
    return f'<div class="cam-examples" role="group" aria-label="Example pictures">{"".join(buttons)}</div>'


def build_main() -> dict:
    """The first screen: picture, prediction, four panels and what changes them."""
    parts = {"session": gr.State(None, time_to_live=FILES_LIVE), "timer": gr.Timer(2, active=False)}
    with gr.Row(elem_id="top"):
        parts["status"] = gr.HTML(status_html("auto"), elem_id="status", scale=1)
        parts["offer"] = gr.Button("Use VGG16 now", visible=False, size="sm", variant="primary", scale=0, min_width=160)
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=300):
            build_input(parts)
        with gr.Column(scale=3, min_width=320):
            build_views(parts)
            waiting = panels_value(0, "", list(METHODS), {}, False, "")
            parts["panels"] = maps_component(waiting, "maps")
            build_settings(parts)
    return parts


def build_input(parts: dict) -> None:
    parts["image"] = Picture(label="Picture", sources=["upload", "webcam", "clipboard"], height=190, elem_id="picture")
    parts["examples"] = gr.HTML(examples_html(), js_on_load=EXAMPLES_JS, elem_id="examples")
    parts["prediction"] = gr.Label(
        num_top_classes=5, label="Prediction: click a class to explain it", elem_id="prediction", show_heading=False
    )
    parts["explained"] = gr.Markdown("", elem_id="explained")
    parts["class_box"] = class_dropdown("Explain any class (type to search 1000 names)", elem_id="class-box")


def build_views(parts: dict) -> None:
    with gr.Row(elem_id="controls"):
        parts["mode"] = gr.Radio(
            [("Overlay", "overlay"), ("Heatmap only", "heatmap"), ("Masked picture", "masked")],
            value="overlay",
            label="View",
            scale=3,
            min_width=390,
            elem_id="mode",
        )
        parts["alpha"] = gr.Slider(
            0, 1, ALPHA, step=0.05, label="Overlay opacity", scale=2, min_width=150, elem_id="alpha"
        )
        parts["colormap"] = gr.Dropdown(
            [(name, key) for key, name in COLORMAPS.items()],
            value="viridis",
            label="Colours",
            scale=1,
            min_width=110,
            elem_id="colormap",
        )
        with gr.Column(scale=0, min_width=110, elem_id="buttons"):
            parts["stop"] = gr.Button("Stop", interactive=False, size="sm", variant="stop", elem_id="stop")
            parts["download"] = gr.Button("Download", size="sm", elem_id="download")
            parts["bundle"] = gr.DownloadButton(visible="hidden", elem_id="bundle")


def build_settings(parts: dict) -> None:
    with gr.Accordion("Settings: methods, model, layer, channels", open=False, elem_id="settings"):
        parts["methods"] = gr.CheckboxGroup(
            METHOD_CHOICES, value=list(METHODS), label="Methods (those not ticked are not computed)"
        )
        with gr.Row():
            model = default_model()
            layers = list(MODELS[model].target_layers)
            parts["model"] = gr.Dropdown(MODEL_CHOICES, value=model, label="Model", elem_id="model")
            parts["layer"] = gr.Dropdown(layers, value=layers[-1], label="Target layer", elem_id="layer")
            parts["max_n"] = gr.Slider(1, 1280, 10, step=1, label="Channels of Faster Score-CAM", elem_id="max-n")
            parts["full"] = gr.Checkbox(
                True, label=f"Score-CAM in full (else {PREVIEW_CHANNELS} channels)", elem_id="full"
            )
