"""Components and words that several tabs share, and the page's theme.

`browser_code` reads what runs in the browser; what is long of it, panels.js, which draws maps, and painter.js, the
brush of "Cover and see", is fetched when it is needed (`fetched`).
"""

from __future__ import annotations

import html
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, wraps

import gradio as gr
from gradio.components import Component

from ...explanation import Cam
from ...maps import box_of, data_url, grey
from ...methods import METHODS
from ...passes.outputs import CLASSES, Outputs
from ...passes.placement import WHOLE, Placement
from ...units import cost_in_words, seconds_in_words
from ..server import assets

# How the page draws a map until another way is chosen: opacity times the map, so that the picture keeps its
# colours where the map is low. Of five colour maps tried on four pictures, turbo was the easiest to see on all.
OPACITY, COLORMAP = 0.8, "turbo"
NOT_COMPUTED = "not computed: stopped before"  # in place of a map
REDRAW_SECONDS = 0.4  # between two redraws of what is being refined; drawing each block would slow the next
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
    """The parts of the first screen that other tabs use. `status`: the line at the top; `explanations`: the events that
    end with an explanation."""

    model: gr.Radio
    status: gr.HTML
    explanations: list


def panel(key: str, cam: Cam | None, wait: str = "", placement: Placement = WHOLE, outputs: Outputs = CLASSES) -> dict:
    """Return one method's panel for panels.js; `cam` None for a map that has not begun. `wait`: why no more comes, if
    none does. `placement`: which part of the map is the picture's. `outputs`: what the model gives."""
    method = METHODS[key]
    fields: dict = {"key": key, "title": method.name, "how": method.summary}
    if cam is None:
        return fields | {"wait": wait or "waiting for its turn"}
    fields |= {"map": data_url(grey(placement.cut(cam.map))), "facts": cost_in_words(cam), "partial": not cam.complete}
    done = f"{cam.channels} of {cam.channels_total} channels"
    if not cam.complete and wait:
        fields |= {"badge": "partial", "note": f"Stopped after {done}."}
    elif not cam.complete:
        fields |= {
            "progress": cam.channels / cam.channels_total,
            "facts": f"{done} · about {seconds_in_words(cam.seconds_left)} left",
        }
    elif cam.image_size and (box := box_of(cam)):
        fields["box"] = [end / side for end, side in zip(box, cam.image_size * 2, strict=True)]
    if cam.all_zero and cam.complete:
        said = f"{outputs.effect} this {'class' if outputs.are_probabilities else outputs.quantity}"
        fields["note"] = f"The map is zero everywhere: by this method nothing in the picture {said}."
    return fields


def panels_value(
    keys,
    cams: Mapping,
    run: int = 0,
    wait: str = "",
    fields: Mapping | None = None,
    placement: Placement = WHOLE,
    outputs: Outputs = CLASSES,
) -> dict:
    """Return what panels.js shows; `fields`: what it needs to know besides the panels."""
    panels = [panel(key, cams.get(key), wait, placement, outputs) for key in keys]
    return {"run": run, **(fields or {}), "seen": placement.seen, "panels": panels}


def progress_html(words: str, share: float | None = None) -> str:
    """Return words on how far some work is, behind a bar for `share` in [0, 1]."""
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-label="Progress"></progress>'
    return f'<div class="far">{bar}<span>{html.escape(words)}</span></div>' if words else ""


SKIP, STOP, NO_STOP = gr.skip(), gr.update(visible=True), gr.update(visible=False)


def stop_button(elem_id: str) -> gr.Button:
    """Return a hidden button Stop; the handler that works shows and hides it."""
    return gr.Button("Stop", size="sm", visible=False, scale=0, min_width=90, elem_id=elem_id, elem_classes="halt")


def if_it_fails(**update):
    """Make a stream that fails answer once more, by `update`, so that no progress and no Stop stays behind."""

    def decorate(function):
        @wraps(function)
        def stream(*args, **kwargs):
            try:
                yield from function(*args, **kwargs)
            except Exception:
                yield update
                raise

        return stream

    return decorate


def named(handler, parts: Mapping[str, Component]):
    """Return for Gradio a handler whose updates are dictionaries by name; `parts`: the components by these names. What
    an update leaves out stays as it is."""

    def by_component(update: dict) -> dict:
        return update if update == SKIP else {parts[name]: value for name, value in update.items()}

    if inspect.isgeneratorfunction(handler):

        @wraps(handler)
        def stream(*args, **kwargs):
            # Gradio's page makes each answer out of the one before, in place. What only the one before said of a
            # component's properties is lost where both come at once, so every answer says it again.
            said: dict[str, dict] = {}
            for update in handler(*args, **kwargs):
                for name, value in update.items():
                    if isinstance(value, dict) and SKIP.items() <= value.items():
                        said[name] = said.get(name, {}) | value
                    else:
                        said.pop(name, None)
                yield by_component(update | said)

        return stream

    @wraps(handler)
    def call(*args, **kwargs):
        return by_component(handler(*args, **kwargs))

    return call


@cache
def browser_code(name: str) -> str:
    """Return a file of browser/ without its lines of comment, which every visitor would get with the page."""
    text = assets.BROWSER.joinpath(name).read_text(encoding="utf-8")
    return re.sub(r"^\s*//.*\n", "", text, flags=re.MULTILINE)


def fetched(name: str, **constants) -> str:
    """Return code for `js_on_load` that fetches a module of ours and calls what it exports, with these constants."""
    given = "{" + ", ".join(["element", "props", "trigger", "watch", f"...{json.dumps(constants)}"]) + "}"
    return f"import({assets.ROOT} + '{assets.PREFIX}/{name}').then((module) => module.default({given}));"


def maps_component(value, elem_id: str, style: str = "") -> gr.HTML:
    """Return panels that the browser draws; `value` is as panels.js takes it. "stop" is the event of a panel's Stop."""
    return gr.HTML(
        value,
        html_template=f'<div class="cam-host" style="{style}"></div>' if style else '<div class="cam-host"></div>',
        js_on_load=fetched("panels.js"),
        elem_id=elem_id,
        alpha=OPACITY,
        colormap=COLORMAP,
    )


# Tells every class box of the model whose classes it finds.
TELL_MODEL = "(model) => { window.camModel = model; window.dispatchEvent(new CustomEvent('cam-model')); }"


def class_box(title: str, elem_id: str, keeps: bool = False, **options) -> gr.HTML:
    """Return a box in which a class is found by typing. Its value is the class's index, which the event "select" tells.

    `keeps`: the box goes on showing the class that was chosen, until the model changes.
    """
    return gr.HTML(
        None,
        html_template='<div class="cam-classes"></div>',
        js_on_load=fetched("classes.js", CLASSES=assets.CLASSES),
        elem_id=elem_id,
        field=f"{elem_id}-field",
        title=title,
        keeps=keeps,
        **options,
    )
