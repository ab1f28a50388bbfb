"""The tab that compares two classes."""

from __future__ import annotations

import gradio as gr
import numpy as np

from ..errors import InputError
from ..explain import contrast, explain_stream
from ..maps import data_url, grey
from ..methods import METHODS
from .readiness import classifier
from .visitors import VISITORS, _until_replaced, explained, in_words, visitor_of
from .widgets import METHOD_CHOICES, class_dropdown, maps_component, percent


@in_words
def on_contrast(session, other, method, request: gr.Request):
    """Maps of two classes by one method, on one scale, and their difference."""
    shown = explained(session)
    if other is None:
        raise InputError("Choose a second class first: type a name into the box.")
    if int(other) == shown.class_index:
        raise InputError(f"Both classes are {shown.class_name}: choose another one for B.")
    clf = classifier(shown.model)
    arguments = {"methods": [method], "target_layer": shown.target_layer, "max_n": shown.max_n}
    with VISITORS.page_run(visitor_of(request), same_maps=True) as run:
        first = shown.cams.get(method)
        if first is None or not first.complete:
            first = _until_replaced(
                explain_stream(clf, shown.image, class_index=shown.class_index, **arguments), run
            ).cams[method]
        second = _until_replaced(explain_stream(clf, shown.image, class_index=int(other), **arguments), run)
    maps = contrast(first, second.cams[method])
    name = METHODS[method].name
    views = [
        ("a", f"A: {shown.class_name}", f"{name}, probability {percent(shown.probability)}", maps.first, False),
        ("b", f"B: {second.class_name}", f"{name}, probability {percent(second.probability)}", maps.second, False),
        (
            "difference",
            "A minus B",
            "Orange speaks for A, purple for B, white for neither or both.",
            (maps.difference + 1) / 2,
            True,
        ),
    ]
    return {
        "run": run.number,
        "image": data_url(shown.image, "JPEG", quality=88),
        "alt": "map over the picture",
        "panels": [_view(*view, peak=maps) for view in views],
    }


def _view(key, title, how, values, diverging, peak) -> dict:
    level = np.uint8(np.rint(128 + 127 * (2 * values - 1))) if diverging else grey(values)
    facts = (
        f"from {peak.difference.min():.2f} to {peak.difference.max():.2f}"
        if diverging
        else f"largest value {values.max():.2f} of 1"
    )
    return {
        "key": key,
        "title": title,
        "how": how,
        "map": data_url(level),
        "facts": facts,
        "diverging": diverging,
    }


def build_contrast(parts: dict) -> None:
    with gr.Tab("Why A and not B?"):
        gr.Markdown(
            "A is the class explained above. Choose B: both maps on one scale, and what speaks for the one against the other."
        )
        with gr.Row():
            parts["other"] = class_dropdown("B: the other class", scale=2, elem_id="other")
            parts["contrast_method"] = gr.Dropdown(METHOD_CHOICES, value=METHOD_CHOICES[0][1], label="Method", scale=1)
            parts["contrast_go"] = gr.Button(
                "Compare", variant="primary", scale=0, min_width=120, elem_id="contrast-go"
            )
        parts["contrast"] = maps_component(None, "contrast", "--cam-height: 300px; --cam-column: 30%")
