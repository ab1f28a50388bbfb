"""The tab "Cover and see": what the class loses when a painted region is taken away, and what the maps said of it."""

from __future__ import annotations

import io

import gradio as gr
import numpy as np
from PIL import Image

from ..errors import InputError
from ..evidence.metrics import BASELINES, covered, energy_inside
from ..maps import data_url
from ..methods import METHODS
from .readiness import classifier
from .uploads import bytes_of_data_url
from .visitors import in_words, require_explanation
from .widgets import FirstScreen, browser_code, literal, percent

HINT = "Paint over a part of the picture."
MASK_SIDE = 224  # of what painter.js sends, whatever the model's input size is
MASK_BYTES = 200_000


@in_words
def on_cover(session, painting) -> str:
    """What the class loses when the painted region is taken away, and what the maps said of that region."""
    shown = require_explanation(session)
    region = region_of(painting)
    share = region.mean()
    if not share:
        return HINT
    clf = classifier(shown.model)
    inputs = clf.preprocess(shown.image)[0]
    height, width = clf.input_size
    region = np.asarray(Image.fromarray(region).resize((width, height), Image.Resampling.NEAREST))
    pictures = np.stack([covered(inputs, region, key) for key in BASELINES])
    rows = []
    for baseline, probability in zip(BASELINES.values(), clf.score_fn(shown.class_index)(pictures), strict=True):
        name = f"{baseline.name} ({clf.spec.zero})" if baseline.key == "zero" else baseline.name
        rows.append(f"| {name} | {percent(shown.probability)} | **{percent(probability)}** |")
    said = [
        f"| {METHODS[key].name} | {energy_inside(np.clip(cam.map, 0, 1), region):.0%} |"
        for key, cam in shown.cams.items()
    ]
    return "\n".join(
        [
            f"**{literal(shown.class_name)}**, with {share:.0%} of the picture covered:",
            "",
            "| covered with | before | after |",
            "| --- | --- | --- |",
            *rows,
            "",
            f"| method | share of its map in the {share:.0%} you covered |",
            "| --- | --- |",
            *said,
        ]
    )


def region_of(painting) -> np.ndarray:
    """(MASK_SIDE, MASK_SIDE) bool from the painter's mask; InputError when what came is not one."""
    url = painting.get("mask") if isinstance(painting, dict) else None
    size = (MASK_SIDE, MASK_SIDE)
    if not url:
        return np.zeros(size, bool)
    try:
        mask = Image.open(io.BytesIO(bytes_of_data_url(str(url), limit=MASK_BYTES)), formats=("PNG",))
        if mask.size != size:
            raise ValueError("another size")
        return np.asarray(mask.convert("RGBA"))[..., 3] > 127
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(
            f"The painted mask cannot be read: it must be a {MASK_SIDE} x {MASK_SIDE} PNG of at most 200 kB."
        ) from error


def on_painter(session) -> tuple:
    """The picture that the page has, ready to be painted over."""
    url = data_url(session.image, "JPEG", quality=88) if session else ""
    return {"image": url, "mask": None}, HINT


def build(screen: FirstScreen) -> None:
    with gr.Tab("Cover and see") as tab, gr.Row():
        with gr.Column(min_width=300):
            painter = gr.HTML(
                {"image": "", "mask": None},
                html_template='<div class="cam-host"></div>',
                js_on_load=browser_code("painter.js"),
                elem_id="painter",
            )
        with gr.Column(min_width=300):
            cover = gr.Markdown(HINT, elem_id="cover")
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    tab.select(on_painter, screen.session, [painter, cover], **quiet)
    painter.input(on_cover, [screen.session, painter], cover, trigger_mode="always_last", **quiet)
