"""Components and words that several tabs share."""

from __future__ import annotations

import functools
from pathlib import Path

import gradio as gr

from ..labels import classes
from ..maps import ALPHA, COLORMAPS, data_url, grey, tables
from ..methods import METHODS

HERE = Path(__file__).resolve().parents[2]
METHOD_CHOICES = [(method.name, key) for key, method in METHODS.items()]


def seconds_in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def percent(probability: float) -> str:
    """A probability in words: never 0 % for what is not zero."""
    return f"{probability:.1%}" if probability >= 0.001 else f"{100 * probability:.2g}%"


def passes_in_words(cam) -> str:
    back = f" and {cam.backward_passes} backward" if cam.backward_passes else ""
    noun = "pass" if max(cam.forward_passes, cam.backward_passes) == 1 else "passes"
    return f"{seconds_in_words(cam.seconds)} · {cam.forward_passes} forward{back} {noun}"


def panel(key: str, cam, stopped: bool) -> dict:
    """One method's panel for browser/panels.js."""
    method = METHODS[key]
    shown = {"key": key, "title": method.name, "how": method.summary}
    if cam is None:
        return shown | {"wait": "not computed: stopped before" if stopped else "waiting for its turn"}
    shown |= {"map": data_url(grey(cam.map)), "facts": passes_in_words(cam), "partial": not cam.complete}
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


def panels_value(run: int, image_url: str, keys, cams: dict, stopped: bool, alt: str) -> dict:
    return {"run": run, "image": image_url, "alt": alt, "panels": [panel(key, cams.get(key), stopped) for key in keys]}


@functools.cache
def browser_code(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def maps_component(value, elem_id: str, style: str = "") -> gr.HTML:
    style = f' style="{style}"' if style else ""
    return gr.HTML(
        value,
        html_template=f'<div class="cam-host"{style}></div>',
        js_on_load=browser_code("panels.js"),
        elem_id=elem_id,
        tables=tables(),
        alpha=ALPHA,
        colormap=next(iter(COLORMAPS)),
    )


def class_dropdown(label: str, **options) -> gr.Dropdown:
    choices = [(f"{entry.name} · {entry.index}", entry.index) for entry in classes()]
    return gr.Dropdown(choices, label=label, value=None, filterable=True, **options)
