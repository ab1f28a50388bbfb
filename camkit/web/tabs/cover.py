"""The tab "Cover and see": what the class loses when a painted region is taken away, and what the maps said of it."""

from __future__ import annotations

import io

import gradio as gr
import numpy as np
from PIL import Image

from ...errors import InputError
from ...evidence.metrics import BASELINES, covered, energy_inside
from ...methods import METHODS
from ...report.tables import Table
from ..server.readiness import classifier
from ..server.refusals import with_clear_errors
from ..server.sessions import memory_of
from ..server.uploads import bytes_of_data_url
from .widgets import FirstScreen, fetched

HINT = "Paint over a part of the picture."
UNSEEN = "The model sees nothing of the painted region, which lies outside its input: paint nearer to the middle."
MASK_SIDE = 224  # of what painter.js sends, whatever the model's input size is
MASK_BYTES = 200_000


@with_clear_errors
def on_cover(painting, request: gr.Request) -> str:
    """Return what the class loses without the painted region, and what the maps said of that region, as tables."""
    shown = memory_of(request).explanation
    region = region_of(painting)
    if not region.any():
        return f"<p>{HINT}</p>"
    clf, placement = classifier(shown.model), shown.placement
    whole = clf.preprocess(shown.image)[0]
    inputs = placement.cut(whole)
    left, top, right, bottom = (MASK_SIDE * each for each in placement.seen)
    size = inputs.shape[1], inputs.shape[0]
    region = np.asarray(Image.fromarray(region).resize(size, Image.Resampling.NEAREST, (left, top, right, bottom)))
    share = region.mean()
    if not share:
        return f"<p>{UNSEEN}</p>"
    pictures = placement.put(np.stack([covered(inputs, region, key) for key in BASELINES]), whole)
    rows = []
    in_words = clf.outputs.in_words
    for baseline, answer in zip(BASELINES.values(), clf.score_fn(shown.class_index)(pictures), strict=True):
        name = f"{baseline.name} ({clf.spec.zero})" if baseline.key == "zero" else baseline.name
        rows.append((name, in_words(shown.answer), in_words(answer)))
    inside = {
        METHODS[key].name: energy_inside(placement.cut(np.clip(cam.map, 0, 1)), region)
        for key, cam in shown.cams.items()
    }
    most = max(inside, key=inside.__getitem__)
    lost = Table(
        "What covering the region does",
        ("Covered with", "Before", "After"),
        tuple(rows),
        words=f"{shown.class_name} goes from {in_words(shown.answer)} to {rows[0][2]} with {share:.0%} of the "
        f"picture covered by {rows[0][0]}.",
    )
    said = Table(
        "What the maps had said of the region",
        ("Map", *inside),
        (("Share of the map in the region", *(f"{value:.0%}" for value in inside.values())),),
        words=f"{most} had put the most there: {inside[most]:.0%} of its map in {share:.0%} of the picture.",
    )
    return f'<div class="measured">{lost.html()}{said.html()}</div>'


def region_of(painting) -> np.ndarray:
    """Return the painter's mask as (224, 224) bool, True where covered; InputError when it is no mask."""
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


def build(_: FirstScreen) -> None:
    with gr.Tab("Cover and see"), gr.Row():
        with gr.Column(min_width=300):
            painter = gr.HTML(
                {"mask": None},
                html_template='<div class="cam-host"></div>',
                js_on_load=fetched("painter.js"),
                elem_id="painter",
            )
        with gr.Column(min_width=300):
            cover = gr.HTML(f"<p>{HINT}</p>", elem_id="cover")
    quiet = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False}
    painter.input(on_cover, painter, cover, trigger_mode="always_last", **quiet)
