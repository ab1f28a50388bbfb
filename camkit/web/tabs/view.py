"""How the maps are drawn, and what can be taken away: the figure, the zip, the link. The browser redraws by itself."""

from __future__ import annotations

import gradio as gr

from ...export.figure import figure_files
from ...maps import ALPHA, COLORMAPS
from ...models.registry import MODELS
from ...report.results import metrics_csv
from ..server.files import write_figure, write_zip
from ..server.refusals import with_clear_errors
from ..server.sessions import memory_of
from .widgets import COLORMAP, OPACITY, browser_code

# By our key: what it is called on the page. "map" and "even" are the opacities of `overlay`; the first is the default.
VIEWS = {"map": "Follows the map", "even": "Even opacity", "heatmap": "Heatmap only", "masked": "Masked picture"}


def look(alpha: float, colormap: str, mode: str) -> dict:
    """The arguments of `overlay` that draw what the page shows; the masked picture has none and gets the default's."""
    opacity = {"even": "even", "heatmap": "even"}.get(mode, "map")
    return {"alpha": 1.0 if mode == "heatmap" else alpha, "colormap": colormap, "opacity": opacity}


@with_clear_errors
def on_download(alpha, colormap, mode, request: gr.Request) -> str:
    """The zip of what the page shows now, with the figure, and with the measurements when they are of it."""
    memory = memory_of(request)
    explanation = memory.explanation
    drawn = look(alpha, colormap, mode)
    extra = figure_files(explanation, **drawn, model_name=MODELS[explanation.model].name)
    if memory.measurements:
        extra["faithfulness.csv"] = metrics_csv(memory.measurements, explanation.cams)
    return write_zip(explanation, **drawn, extra=extra)


@with_clear_errors
def on_figure(alpha, colormap, mode, request: gr.Request) -> str:
    """The picture and all maps side by side, as one PNG."""
    explanation = memory_of(request).explanation
    return write_figure(explanation, **look(alpha, colormap, mode), model_name=MODELS[explanation.model].name)


def build() -> None:
    with gr.Row(elem_id="view"):
        mode = gr.Radio(
            [(name, key) for key, name in VIEWS.items()], value="map", label="Opacity of the colours", elem_id="mode"
        )
        alpha = gr.Slider(0, 1, OPACITY, step=0.05, label="Strength", min_width=130, elem_id="alpha", buttons=[])
        colormap = gr.Dropdown(
            [(name, key) for key, name in COLORMAPS.items()],
            value=COLORMAP,
            label="Colours",
            min_width=110,
            elem_id="colormap",
        )
        with gr.Row(elem_id="keep"):
            small = {"size": "sm", "scale": 0, "min_width": 96}
            figure = gr.Button("Save figure", elem_id="figure", **small)
            download = gr.Button("Save all (zip)", elem_id="download", **small)
            link = gr.Button("Copy link", elem_id="link", **small)
    note = gr.HTML("", elem_id="link-note")
    files = [gr.DownloadButton(visible="hidden", elem_id=name) for name in ("figure-file", "bundle")]
    private = {"api_visibility": "private", "preprocess": False}
    quiet = private | {"show_progress": "hidden"}
    shown = [alpha, colormap, mode]
    for control in shown:
        control.change(None, shown, None, js=browser_code("view.js"), **quiet)
    mode.input(None, mode, alpha, js=f"(mode) => mode === 'even' ? {ALPHA} : {OPACITY}", **quiet)
    for button, handler, given, file in (
        (figure, on_figure, shown, files[0]),
        (download, on_download, shown, files[1]),
    ):
        ready = button.click(handler, given, file, show_progress_on=button, **private)
        ready.success(None, None, None, js=f"() => document.querySelector('#{file.elem_id}').click()", **quiet)
    link.click(None, None, note, js=browser_code("link.js"), **quiet)
