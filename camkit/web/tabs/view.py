"""The controls of how maps are drawn, and what can be taken away: figure, zip and link. The browser redraws by itself.

The browser also remembers from visit to visit how a person likes to see maps, and which methods.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import gradio as gr

from ...export.figure import figure_files, slide_png
from ...maps import ALPHA, COLORMAPS
from ...methods import METHODS
from ...models.registry import MODELS
from ...report.results import metrics_csv
from ...report.words import result_words, verdict
from ..server.files import write_figure, write_slide, write_zip
from ..server.refusals import with_clear_errors
from ..server.sessions import Memory, memory_of
from ..server.uploads import window_of
from .widgets import COLORMAP, OPACITY, browser_code

LONGEST_LINK = 500  # characters on a slide
# By our key: what it is called on the page. "map" and "even" are the opacities of `overlay`; the first is the default.
VIEWS = {"map": "Follows the map", "even": "Even opacity", "heatmap": "Heatmap only", "masked": "Masked picture"}
# The strength that a view begins with; the views that have none switch its control off.
STRENGTH_OF = f"""(mode) => ({{__type__: "update", interactive: mode === "map" || mode === "even",
  ...(mode === "even" ? {{value: {ALPHA}}} : mode === "map" ? {{value: {OPACITY}}} : {{}})}})"""

SHOW_BOXES = """(box) => { window.camBox = box;
  window.dispatchEvent(new CustomEvent("cam-view", { detail: { box } })); }"""


def look(alpha: float, colormap: str, mode: str) -> dict:
    """Return the arguments of `overlay` that draw what the page shows; the masked picture gets the default's."""
    opacity = {"even": "even", "heatmap": "even"}.get(mode, "map")
    return {"alpha": 1.0 if mode == "heatmap" else alpha, "colormap": colormap, "opacity": opacity}


@with_clear_errors
def on_download(alpha, colormap, mode, box, request: gr.Request) -> str:
    """Write the zip of what the page shows now, with the figure, and with the measurements when they are of it."""
    memory = memory_of(request)
    explanation = memory.explanation
    drawn = look(alpha, colormap, mode)
    boxed = drawn | {"box": box is True}
    strips = figure_files(explanation, **boxed, model_name=MODELS[explanation.model].name)
    extra = {f"figures/{file.replace('figure', 'strip')}": content for file, content in strips.items()}
    extra["figures/slide.png"] = slide_png(explanation, **boxed, **on_the_slide(memory, request))
    if memory.measurements:
        extra["data/faithfulness.csv"] = metrics_csv(memory.measurements, explanation.cams)
    return write_zip(explanation, **drawn, extra=extra, window=window_of(memory.picture))


def on_the_slide(memory: Memory, request: gr.Request) -> dict:
    """Return what a slide says besides the maps: the model's name, the result in words, and the page's address, with
    its settings when they bring back the picture: the address of an own picture cannot."""
    explanation = memory.explanation
    words = [result_words(explanation), verdict(memory.measurements, explanation.probability)]
    address, _, query = (request.headers.get("referer") or "")[:LONGEST_LINK].partition("?")
    link = f"{address}?{query}" if "example=" in query else address
    return {"model_name": MODELS[explanation.model].name, "words": " ".join(words).strip(), "link": link}


@with_clear_errors
def on_figure(alpha, colormap, mode, box, request: gr.Request) -> str:
    """Write the picture and all maps side by side, as one PNG."""
    explanation = memory_of(request).explanation
    name = MODELS[explanation.model].name
    return write_figure(explanation, **look(alpha, colormap, mode), model_name=name, box=box is True)


@with_clear_errors
def on_slide(alpha, colormap, mode, box, request: gr.Request) -> str:
    """Write the picture, all maps and the result in words as one slide, a PNG."""
    memory = memory_of(request)
    drawn = look(alpha, colormap, mode) | {"box": box is True}
    return write_slide(memory.explanation, **drawn, **on_the_slide(memory, request))


@dataclass(frozen=True)
class View:
    """The controls of how maps are drawn, and what the browser remembers of them and of the methods."""

    mode: gr.Radio
    alpha: gr.Slider
    colormap: gr.Dropdown
    remembered: gr.BrowserState

    @property
    def drawn(self) -> list:
        """The arguments of view.js, `on_figure` and `on_download`."""
        return [self.alpha, self.colormap, self.mode]

    def remember(self, page: gr.Blocks, methods: gr.CheckboxGroup):
        """Keep what is chosen from now on, and return the event that brings back what was chosen before."""
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        kept, drawn = self.remembered, self.drawn
        changes = [control.change for control in drawn]
        keep_drawn = "(kept, alpha, colormap, mode) => [{...kept, alpha, colormap, mode}]"
        gr.on(changes, None, [kept, *drawn], kept, js=keep_drawn, **quiet)
        methods.input(None, [kept, methods], kept, js="(kept, methods) => [{...kept, methods}]", **quiet)
        known = {"methods": list(METHODS), "colormap": list(COLORMAPS), "mode": list(VIEWS)}
        bring_back = f"(kept) => ({browser_code('remembered.js').strip()})(kept, {json.dumps(known)})"
        return page.load(None, kept, [methods, *drawn], js=bring_back, **quiet)


def build() -> View:
    with gr.Row(elem_id="view"):
        mode = gr.Radio(
            [(name, key) for key, name in VIEWS.items()], value="map", label="How the maps are shown", elem_id="mode"
        )
        alpha = gr.Slider(0, 1, OPACITY, step=0.05, label="Strength", min_width=130, elem_id="alpha", buttons=[])
        colormap = gr.Dropdown(
            [(name, key) for key, name in COLORMAPS.items()],
            value=COLORMAP,
            label="Colours",
            min_width=110,
            elem_id="colormap",
        )
        box = gr.Checkbox(False, label="Boxes", elem_id="boxes", scale=0, min_width=90, container=False)
        with gr.Row(elem_id="keep"):
            small = {"size": "sm", "scale": 0, "min_width": 96}
            figure = gr.Button("Save figure", elem_id="figure", **small)
            slide = gr.Button("Save slide", elem_id="slide", **small)
            download = gr.Button("Save all (zip)", elem_id="download", **small)
            link = gr.Button("Copy link", elem_id="link", **small)
    note = gr.HTML("", elem_id="link-note")
    file = gr.DownloadButton(visible="hidden", elem_id="file")
    private = {"api_visibility": "private", "preprocess": False}
    quiet = private | {"show_progress": "hidden"}
    controls = View(mode, alpha, colormap, gr.BrowserState({}, storage_key="camkit", secret="camkit"))
    shown = controls.drawn
    gr.on([control.change for control in shown], None, shown, None, js=browser_code("view.js"), **quiet)
    mode.input(None, mode, alpha, js=STRENGTH_OF, **quiet)
    box.change(None, box, None, js=SHOW_BOXES, **quiet)
    for button, handler in ((figure, on_figure), (slide, on_slide), (download, on_download)):
        ready = button.click(handler, [*shown, box], file, show_progress_on=button, **private)
        ready.success(None, None, None, js="() => document.querySelector('#file').click()", **quiet)
    link.click(None, None, note, js=browser_code("link.js"), **quiet)
    return controls
