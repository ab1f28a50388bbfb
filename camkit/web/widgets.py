"""Components and words that several tabs share, and the page's theme.

`browser_code` reads what runs in the browser: panels.js draws maps, painter.js is the brush of "Cover and see".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gradio as gr

from ..explanation import Cam
from ..labels import Labels, imagenet
from ..maps import ALPHA, COLORMAPS, data_url, grey, tables
from ..methods import METHODS
from ..models import check_model

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


def seconds_in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def percent(probability: float) -> str:
    """A probability in words: never 0 % for what is not zero."""
    return f"{probability:.1%}" if probability >= 0.001 else f"{100 * probability:.2g}%"


def literal(text: str) -> str:
    """Text that Markdown shows as it is: an operator's class name may hold anything."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|<>~$&-])", r"\\\1", " ".join(text.split()))


def panel(key: str, cam: Cam | None, stopped: bool) -> dict:
    """One method's panel for panels.js; `cam` None for a map that has not begun."""
    method = METHODS[key]
    shown: dict = {"key": key, "title": method.name, "how": method.summary}
    if cam is None:
        return shown | {"wait": "not computed: stopped before" if stopped else "waiting for its turn"}
    back = f" and {cam.backward_passes} backward" if cam.backward_passes else ""
    noun = "pass" if max(cam.forward_passes, cam.backward_passes) == 1 else "passes"
    shown |= {
        "map": data_url(grey(cam.map)),
        "facts": f"{seconds_in_words(cam.seconds)} · {cam.forward_passes} forward{back} {noun}",
        "partial": not cam.complete,
    }
    done = f"{cam.channels} of {cam.channels_total} channels"
    if not cam.complete and stopped:
        shown |= {"badge": "partial", "note": f"Partial map: stopped after {done}."}
    elif not cam.complete:
        shown |= {
            "badge": "refining",
            "progress": cam.channels / cam.channels_total,
            "facts": f"{done} · about {seconds_in_words(cam.seconds_left)} left",
        }
    if cam.all_zero and cam.complete:
        shown["note"] = "The map is zero everywhere: by this method nothing in the picture speaks for this class."
    return shown


@cache
def browser_code(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def maps_component(value, elem_id: str, style: str = "") -> gr.HTML:
    """Panels that the browser draws; `value` is {"run", "image", "alt", "panels"} as panels.js takes it."""
    return gr.HTML(
        value,
        html_template=f'<div class="cam-host" style="{style}"></div>' if style else '<div class="cam-host"></div>',
        js_on_load=browser_code("panels.js"),
        elem_id=elem_id,
        tables=tables(),
        alpha=ALPHA,
        colormap=next(iter(COLORMAPS)),
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
