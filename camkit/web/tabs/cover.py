"""The tab "Cover and see": what the network guesses when a painted region, or the hottest of a map, is taken away, what
it then saw, and what the maps said of that region."""

from __future__ import annotations

import html
import io

import gradio as gr
import numpy as np
from PIL import Image

from ...errors import InputError
from ...evidence.metrics import BASELINES, covered, energy_inside
from ...explanation import Explanation
from ...maps import data_url, largest_region
from ...methods import METHODS
from ...passes.placement import ALL
from ...report.tables import Table
from ..server.readiness import classifier
from ..server.refusals import with_clear_errors
from ..server.sessions import memory_of
from ..server.uploads import bytes_of_data_url
from .widgets import FirstScreen, fetched

HINT = "Paint over a part of the picture, or cover what a map calls the hottest, and see what the network guesses then."
HOTTEST = 0.2  # of the map's pixels, of which the largest connected region is covered
GUESSES = 5  # classes of the covered picture that are listed
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
    answers = clf.outputs.answers(clf.logits(np.concatenate([whole[None], pictures])))
    in_words, names = clf.outputs.in_words, []
    for baseline in BASELINES.values():
        names.append(f"{baseline.name} ({clf.spec.zero})" if baseline.key == "zero" else baseline.name)
    rgb = clf.spec.resizing.apply(shown.image, clf.input_size)
    guesses = "".join(
        guesses_html(clf, shown.class_index, name, as_rgb(whole, rgb, picture), answers[0], answer)
        for name, picture, answer in zip(names, pictures, answers[1:], strict=True)
    )
    before, *after = (in_words(float(answer[shown.class_index])) for answer in answers)
    inside = {
        METHODS[key].name: energy_inside(placement.cut(np.clip(cam.map, 0, 1)), region)
        for key, cam in shown.cams.items()
    }
    seen = "the picture" if placement.seen == ALL else "what the network sees"
    most = max(inside, key=inside.__getitem__)
    words = (
        f"{html.escape(shown.class_name)} goes from {before} "
        + ", and ".join(f"to {each} under {html.escape(name)}" for each, name in zip(after, names, strict=True))
        + f", with {share:.0%} of {seen} covered."
    )
    said = Table(
        "What the maps had said of the region",
        ("Map", *inside),
        (("Share of the map in the region", *(f"{value:.0%}" for value in inside.values())),),
        words=f"{most} had put the most there: {inside[most]:.0%} of its map in {share:.0%} of {seen}.",
    )
    lost = f'<p class="words">{words}</p><div class="cam-covered">{guesses}</div>'
    return f'<div class="measured">{lost}{said.html()}</div>'


def guesses_html(clf, class_index: int, name: str, picture: np.ndarray, before: np.ndarray, after: np.ndarray) -> str:
    """Return what the network saw, (h, w, 3) uint8, and the classes that it then finds the most probable, each with a
    bar. before, after: (classes,) float32 answers; the class explained comes last where it is not among the first."""
    order = np.argsort(-after, kind="stable")[:GUESSES].tolist()
    if class_index not in order:
        order[-1] = class_index
    rows = []
    for index in order:
        bar = ""
        if clf.outputs.are_probabilities:
            bar = f' style="--share: {100 * after[index]:.1f}%; --was: {100 * before[index]:.1f}%"'
        was_words, now = (clf.outputs.in_words(float(answers[index])) for answers in (before, after))
        current = ' aria-current="true"' if index == class_index else ""
        rows.append(
            f"<li{bar}{current}><span>{html.escape(clf.labels.class_at(index).name)}</span>"
            f"<span><small>was {was_words}</small> {now}</span></li>"
        )
    seen = f'<img src="{data_url(picture, "JPEG", quality=85)}" alt="What the network then saw">'
    listed = f'<ol class="guesses">{"".join(rows)}</ol>'
    return f"<figure>{seen}<figcaption>Covered by {html.escape(name)}</figcaption>{listed}</figure>"


def as_rgb(inputs: np.ndarray, rgb: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Return a preprocessed picture (h, w, c) as (h, w, 3) uint8. `inputs` is what the model makes of `rgb`; the linear
    function that leads back from the one to the other, whatever order and scale its channels have, is found by least
    squares."""
    flat = np.column_stack([inputs.reshape(-1, inputs.shape[-1]), np.ones(inputs[..., 0].size, np.float32)])
    back = np.linalg.lstsq(flat, rgb.reshape(-1, 3).astype(np.float32), rcond=None)[0]
    return np.rint(np.clip(picture @ back[:-1] + back[-1], 0, 255)).astype(np.uint8)


@with_clear_errors
def on_hottest(event: gr.EventData, request: gr.Request) -> dict:
    """Return the mask of the hottest region of the map that a button names, as the painter takes it."""
    shown, key = memory_of(request).explanation, getattr(event, "key", None)
    if not isinstance(key, str) or key not in shown.cams or shown.cams[key].all_zero:
        raise InputError("This map has no hottest region: choose another one.")
    return {"mask": mask_url(hottest(shown, key))}


def hottest(shown: Explanation, key: str) -> np.ndarray:
    """Return the largest connected region of the hottest fifth of a map, (224, 224) bool over the whole picture."""
    size = (MASK_SIDE, MASK_SIDE)
    cam_map = shown.placement.fit(shown.cams[key].map, size)
    region = np.zeros(size, bool)
    region[shown.placement.place(size)] = largest_region((cam_map >= np.quantile(cam_map, 1 - HOTTEST)) & (cam_map > 0))
    return region


def mask_url(region: np.ndarray) -> str:
    """Return (224, 224) bool as the PNG that `region_of` reads: white where True, else transparent."""
    return data_url(np.stack([np.where(region, 255, 0).astype(np.uint8)] * 4, axis=-1))


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
    with gr.Tab("Cover and see", id="cover"), gr.Row():
        with gr.Column(min_width=300):
            painter = gr.HTML(
                {"mask": None},
                html_template='<div class="cam-host"></div>',
                js_on_load=fetched("painter.js", SHARE=f"{HOTTEST:.0%}".replace("%", " %")),
                elem_id="painter",
            )
        with gr.Column(min_width=300):
            cover = gr.HTML(f"<p>{HINT}</p>", elem_id="cover")
    quiet = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False}
    painter.input(on_cover, painter, cover, trigger_mode="always_last", **quiet)
    painter.select(on_hottest, None, painter, **quiet)
