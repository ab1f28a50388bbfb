"""The tab in which a region is covered."""

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
from .visitors import explained, in_words
from .widgets import browser_code, percent


@in_words
def on_cover(session, painting) -> str:
    """What the class loses when the painted region is taken away, and what the maps said of that region."""
    shown = explained(session)
    region = region_of(painting)
    share = region.mean()
    if not share:
        return "Paint over a part of the picture."
    clf = classifier(shown.model)
    inputs = clf.preprocess(shown.image)[0]
    pictures = np.stack([covered(inputs, region, key) for key in BASELINES])
    probabilities = clf.score_fn(shown.class_index)(pictures)
    rows = [
        f"| {baseline.name}{f' ({clf.spec.zero})' if baseline.key == 'zero' else ''} | {percent(shown.probability)} | **{percent(probability)}** |"
        for baseline, probability in zip(BASELINES.values(), probabilities, strict=True)
    ]
    said = [
        f"| {METHODS[key].name} | {energy_inside(np.clip(cam.map, 0, 1), region):.0%} |"
        for key, cam in shown.cams.items()
    ]
    return "\n".join(
        [
            f"**{shown.class_name}**, with {share:.0%} of the picture covered:",
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
    """(224, 224) bool from the painter's mask; InputError when what came is not one."""
    url = painting.get("mask") if isinstance(painting, dict) else None
    if not url:
        return np.zeros((224, 224), bool)
    try:
        mask = Image.open(io.BytesIO(bytes_of_data_url(str(url), limit=200_000)), formats=("PNG",))
        if mask.size != (224, 224):
            raise ValueError("size")
        return np.asarray(mask.convert("RGBA"))[..., 3] > 127
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError("The painted mask cannot be read: it must be a 224 x 224 PNG of at most 200 kB.") from error


def on_painter(session) -> tuple:
    """The picture that the page has, ready to be painted over."""
    url = data_url(session.image, "JPEG", quality=88) if session else ""
    return {"image": url, "mask": None}, "Paint over a part of the picture."


def build_cover(parts: dict) -> None:
    with gr.Tab("Cover and see") as tab:
        parts["cover_tab"] = tab
        with gr.Row():
            with gr.Column(min_width=300):
                parts["painter"] = gr.HTML(
                    {"image": "", "mask": None},
                    html_template='<div class="cam-host"></div>',
                    js_on_load=browser_code("painter.js"),
                    elem_id="painter",
                )
            with gr.Column(min_width=300):
                parts["cover"] = gr.Markdown("Paint over a part of the picture.", elem_id="cover")
