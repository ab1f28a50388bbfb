"""The tab "Why A and not B?": the maps of two classes by one method on one scale, and their difference."""

from __future__ import annotations

import html
from functools import partial

import gradio as gr
import numpy as np

from ...errors import InputError
from ...explain import contrast, explain_stream
from ...maps import data_url, grey, jpeg_url
from ...methods import METHODS, check_methods
from ...models.registry import MODELS
from ...report.words import contrast_words
from ..server.readiness import classifier
from ..server.refusals import with_clear_errors
from ..server.runs import RUNS
from ..server.sessions import memory_of
from .widgets import METHOD_CHOICES, FirstScreen, class_box, maps_component


@with_clear_errors
def on_contrast(other, method, request: gr.Request) -> tuple[str, dict]:
    """Draw the maps of two classes by one method, on one scale, and their difference, with a sentence on them."""
    memory = memory_of(request)
    shown = memory.explanation
    if len(MODELS[shown.model].labels()) == 1:
        raise InputError("The model gives one number for a picture: there is no second class to compare with.")
    if other is None:
        raise InputError("Choose a second class first: type a name into the box.")
    clf = classifier(shown.model)
    if clf.labels.class_at(other).index == shown.class_index:
        raise InputError(f"Both classes are {shown.class_name}: choose another one for B.")
    (method,) = check_methods(method)
    explain = partial(explain_stream, clf, shown.image, [method], target_layer=shown.target_layer, max_n=shown.max_n)
    with RUNS.page_run(request, long=not METHODS[method].uses_gradient) as run:
        first = shown.cams.get(method)
        if first is None or not first.complete:
            first = run.last(explain(class_index=shown.class_index, cancel=run.cancel)).cams[method]
        second = run.last(explain(class_index=other, cancel=run.cancel))
    maps = contrast(first, second.cams[method])
    panels = []
    for key, letter, explanation, values in (("a", "A", shown, maps.first), ("b", "B", second, maps.second)):
        panels.append(
            {
                "key": key,
                "title": f"{letter}: {explanation.class_name}",
                "how": f"{METHODS[method].name}, {explanation.answer_in_words}",
                "map": data_url(grey(shown.placement.cut(values))),
                "facts": f"largest value {values.max():.2f} of 1",
                "diverging": False,
            }
        )
    difference = shown.placement.cut(maps.difference)
    panels.append(
        {
            "key": "difference",
            "title": "A minus B",
            "how": "Orange speaks for A, purple for B; what has no colour speaks for neither or both.",
            "map": data_url(np.rint(128 + 127 * difference).astype(np.uint8)),  # 128 is zero
            "facts": f"from {difference.min():.2f} to {difference.max():.2f}",
            "diverging": True,
        }
    )
    url = jpeg_url(memory.picture)
    aspect = shown.image.shape[1] / shown.image.shape[0]
    about = {"image": url, "aspect": aspect, "seen": shown.placement.seen, "alt": "map over the picture"}
    names = f"A, {shown.class_name},", f"B, {second.class_name},"
    words = contrast_words(method, names, (shown.placement.cut(maps.first), shown.placement.cut(maps.second)))
    value = {"run": run.number, **about, "panels": panels}
    return f'<p class="words measured">{html.escape(words)}</p>', value


def build(screen: FirstScreen) -> None:
    with gr.Tab("Why A and not B?", id="contrast"):
        gr.Markdown(
            "A is the class explained above. Choose B: both maps on one scale, and what speaks for the one against "
            "the other."
        )
        with gr.Row():
            other = class_box("B: the other class", "other", keeps=True, scale=2)
            method = gr.Dropdown(METHOD_CHOICES, value=METHOD_CHOICES[0][1], label="Method", scale=1)
            go = gr.Button("Compare", variant="primary", size="md", scale=0, min_width=120, elem_id="contrast-go")
        words = gr.HTML("", elem_id="contrast-words")
        panels = maps_component(None, "contrast", "--cam-height: 340px")
    go.click(on_contrast, [other, method], [words, panels], api_visibility="private", preprocess=False)
