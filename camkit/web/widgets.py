"""Components and words that several tabs share, and the page's theme.

`browser_code` reads what runs in the browser: panels.js draws maps, painter.js is the brush of "Cover and see".
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gradio as gr

from ..explanation import Cam
from ..figure import cost_in_words, seconds_in_words
from ..labels import Labels, imagenet
from ..maps import data_url, grey, tables
from ..methods import METHODS
from ..models import check_model

# How the page draws a map until somebody chooses otherwise: opacity times the map, so that the picture keeps its
# colours where the map is low. Of five colour maps tried on four pictures, turbo was the easiest to see on all.
OPACITY, COLORMAP = 0.8, "turbo"
METHOD_CHOICES = [(method.name, key) for key, method in METHODS.items()]
THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    spacing_size="sm",
    text_size="sm",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)


@dataclass(frozen=True)
class FirstScreen:
    """What the other tabs take of the first screen. `results`: (run, measurements) of the evidence tab, for the
    download; `explanations`: the events that end with an explanation on the page."""

    session: gr.State
    results: gr.State
    model: gr.Dropdown
    explanations: list


def panel(key: str, cam: Cam | None, wait: str = "") -> dict:
    """One method's panel for panels.js; `cam` None for a map that has not begun. `wait`: why no more comes, if none
    does."""
    method = METHODS[key]
    shown: dict = {"key": key, "title": method.name, "how": method.summary}
    if cam is None:
        return shown | {"wait": wait or "waiting for its turn"}
    shown |= {"map": data_url(grey(cam.map)), "facts": cost_in_words(cam), "partial": not cam.complete}
    done = f"{cam.channels} of {cam.channels_total} channels"
    if not cam.complete and wait:
        shown |= {"badge": "partial", "note": f"Partial map: stopped after {done}."}
    elif not cam.complete:
        shown |= {
            "progress": cam.channels / cam.channels_total,
            "facts": f"{done} · about {seconds_in_words(cam.seconds_left)} left",
        }
    if cam.all_zero and cam.complete:
        shown["note"] = "The map is zero everywhere: by this method nothing in the picture speaks for this class."
    return shown


def progress_html(words: str, share: float | None = None) -> str:
    """How far some work is: a bar for `share` in [0, 1], and words."""
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-label="Progress"></progress>'
    return f'<div class="far">{bar}<span>{html.escape(words)}</span></div>' if words else ""


STOP, NO_STOP = {"visible": True, "__type__": "update"}, {"visible": False, "__type__": "update"}


def stop_button(elem_id: str) -> gr.Button:
    """Shown while there is something to stop; the handler that works shows and hides it."""
    return gr.Button("Stop", size="sm", visible=False, scale=0, min_width=90, elem_id=elem_id, elem_classes="halt")


@cache
def browser_code(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def maps_component(value, elem_id: str, style: str = "") -> gr.HTML:
    """Panels that the browser draws; `value` is as panels.js takes it. "stop" is the event of a panel's Stop."""
    return gr.HTML(
        value,
        html_template=f'<div class="cam-host" style="{style}"></div>' if style else '<div class="cam-host"></div>',
        js_on_load=browser_code("panels.js"),
        elem_id=elem_id,
        tables=tables(),
        alpha=OPACITY,
        colormap=COLORMAP,
    )


def class_dropdown(label: str, **options) -> gr.Dropdown:
    """Offers ImageNet's classes until `classes_of` puts a model's own in their place."""
    return gr.Dropdown(_class_choices(imagenet()), label=label, value=None, filterable=True, **options)


def classes_of(model: str) -> dict:
    """A class dropdown's choices: the classes of a model."""
    return gr.update(choices=_class_choices(check_model(model).labels()), value=None)


def _class_choices(labels: Labels) -> list[tuple[str, int]]:
    """Name and index for people, the index for handlers."""
    return [(f"{entry.name} · {entry.index}", entry.index) for entry in labels]
