"""The line at the top: what runs here, and a better model that can be fetched, with its progress and a way to stop.

A download is the server's, not a visitor's: all who ask for a model that is on its way wait for the same transfer.
Who has asked may withdraw; the transfer ends when the last one who waits for it has. Leaving the page withdraws too,
but stops nothing: the next visitor may want the model.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from ...models.registry import MODELS
from ...models.weights import MEGABYTE, WeightsState
from ...passes.outputs import CLASSES
from ...units import seconds_in_words
from ..server.readiness import WARMED_UP, default_model, device_in_words, downloading, is_here, operator_status
from ..server.refusals import with_clear_errors
from ..server.runs import visitor_of
from .widgets import browser_code, named

MOST_WAITING = 1000  # visitors remembered for one download; a session's name costs nothing


@dataclass(frozen=True)
class Headline:
    """The components at the top. `parts`, by name, are the outputs of every event that may change them."""

    status: gr.HTML
    get: gr.Button
    cancel: gr.Button
    use: gr.Button
    timer: gr.Timer

    @property
    def parts(self) -> dict[str, Component]:
        return {"status": self.status, "get": self.get, "cancel": self.cancel, "use": self.use, "timer": self.timer}


class Waiting:
    """The visitors who wait for a download, by model; every method may be called from any thread."""

    def __init__(self) -> None:
        self._of: dict[str, set[str]] = {}
        self._guard = threading.Lock()

    def join(self, model: str, visitor: str) -> None:
        """Begin the download or join the one under way: at most one a model."""
        weights = MODELS[model].weights
        if weights is None:
            return
        with self._guard:
            if weights.state.status != "downloading":
                self._of[model] = set()
            if len(self._of.setdefault(model, set())) < MOST_WAITING:
                self._of[model].add(visitor)
            weights.download_in_background()

    def withdraw(self, model: str, visitor: str) -> int:
        """Return how many go on waiting; stop the transfer when none does."""
        weights = MODELS[model].weights
        with self._guard:
            waiting = self._of.get(model, set())
            if visitor not in waiting or weights is None:
                return len(waiting)
            waiting.discard(visitor)
            if not waiting:
                weights.cancel()
            return len(waiting)

    def leave(self, visitor: str) -> None:
        with self._guard:
            for waiting in self._of.values():
                waiting.discard(visitor)

    def waits(self, model: str, visitor: str | None) -> bool:
        """Return True for who has asked for the download, until it begins anew; so too once it has failed."""
        with self._guard:
            return visitor in self._of.get(model, ())

    def failed_for(self, model: str, visitor: str | None) -> bool:
        """Return True where a failure is to be told: of a download to who asked for it, of a file on the server that
        cannot be used to all."""
        weights = MODELS[model].weights
        return weights is not None and (not weights.download_failed or self.waits(model, visitor))


WAITING = Waiting()


def state_of(model: str) -> WeightsState | None:
    """Return the state of the model's weights; None for a bundled model."""
    weights = MODELS[model].weights
    return weights.state if weights else None


def missing(model: str) -> str | None:
    """Return the model to offer on a page that shows `model`: one on its way, else the first without its weights."""
    candidates = [key for key in dict.fromkeys([model, *MODELS]) if key in MODELS]
    by_status = {key: state.status for key in candidates if (state := state_of(key)) and state.status != "ready"}
    arriving = [key for key, status in by_status.items() if status == "downloading"]
    return next(iter([*arriving, *by_status]), None)


def better(model: str) -> str | None:
    """Return a model of the registry that stands before `model` and that is here."""
    before = list(MODELS)[: list(MODELS).index(model)] if model in MODELS else []
    return next(filter(is_here, before), None)


def headline(model: str, visitor: str | None = None) -> dict:
    """Return what headline.js shows: what runs, and the sentence or the progress of the model that is missing. `one`:
    it gives one number, so that there is no other class. `others`: names and keys of the models here besides.

    `spoken` is what a screen reader is told, and so says nothing that changes by the second. `visitor`: who looks, None
    while the page is built.
    """
    running = MODELS[default_model() if model == "auto" else model]
    fields = {
        "model": running.name + (" (bundled)" if running.weights is None and running.operator_model is None else ""),
        "device": device_in_words(),
        "inputs": running.inputs and f"{running.inputs}, {running.resized}",
        "outputs": "" if running.outputs is CLASSES else running.outputs.summary,
        "one": running.outputs.units == 1,
        "others": [(spec.name, key) for key, spec in MODELS.items() if spec is not running and is_here(key)],
        "sentence": "",
        "spoken": "",
        "progress": None,
    }
    arrived, key = better(running.key), missing(running.key)
    state = state_of(key) if key else None
    if state is not None and state.status == "downloading":
        done, total = (round(count / MEGABYTE) for count in (state.bytes_done, state.bytes_total))
        left = "" if state.seconds_left is None else f", about {seconds_in_words(state.seconds_left)} left"
        words = f"{state.short}: {done} of {total} MB{left}"
        return fields | {"sentence": words, "spoken": f"{state.short}.", "progress": state.percent / 100}
    if state is not None and state.status == "failed" and WAITING.failed_for(str(key), visitor):
        return fields | {"sentence": state.short, "spoken": state.short}
    operators = [operator_status(spec) for spec in MODELS.values() if spec.operator_model]
    waited_for = [sentence for status, sentence in operators if status != "ready"]
    if waited_for:
        return fields | {"sentence": " ".join(waited_for), "spoken": " ".join(waited_for)}
    return fields | {"spoken": f"{MODELS[arrived].name} is here." if arrived else ""}


def update(model: str, visitor: str) -> dict:
    """Return values for `Headline.parts`, for a page that shows `model`."""
    key, arrived = missing(model), better(model)
    state = state_of(key) if key else None
    arriving = state is not None and state.status == "downloading"
    return {
        "status": headline(model, visitor),
        "get": gr.update(visible=state is not None and not arriving, value=offer(key, visitor)),
        "cancel": gr.update(visible=arriving and WAITING.waits(str(key), visitor)),
        "use": gr.update(visible=arrived is not None, value=f"Use {MODELS[arrived].name}" if arrived else ""),
        "timer": gr.update(active=downloading() or not WARMED_UP.is_set()),
    }


def offer(key: str | None, visitor: str | None = None) -> str:
    """Return the text of the button that begins the download: what it fetches, and why one wants that."""
    state = state_of(key) if key else None
    if key is None or state is None:
        return ""
    verb = "Try again: get" if state.status == "failed" and WAITING.failed_for(key, visitor) else "Get"
    fetched = f"the server fetches {round(state.bytes_total / MEGABYTE)} MB once"
    return f"{verb} {MODELS[key].name}\n" + "; ".join(filter(None, (MODELS[key].known_for, fetched)))


@with_clear_errors
def on_get(model, request: gr.Request) -> dict:
    """Begin the download, or join it, as the button "Get" asks."""
    key = missing(model)
    if key is not None:
        WAITING.join(key, visitor_of(request))
    return update(model, visitor_of(request))


@with_clear_errors
def on_cancel(model, request: gr.Request) -> dict:
    """Withdraw from the download, as the button "Cancel" asks; it ends when no visitor waits for it."""
    key = missing(model)
    if key is not None and WAITING.withdraw(key, visitor_of(request)):
        gr.Info("Others wait for this download too, so it goes on; it is cancelled for you.")
    return update(model, visitor_of(request))


@with_clear_errors
def on_tick(model, request: gr.Request) -> dict:
    """Tell once a second how far it is, while weights arrive or the machine starts."""
    return update(model, visitor_of(request))


def build(model: str) -> Headline:
    with gr.Row(elem_id="top"):
        status = gr.HTML(
            headline(model),
            html_template=browser_code("headline.html"),
            js_on_load=browser_code("headline.js"),
            elem_id="status",
            scale=1,
        )
        key = missing(model)
        small = {"size": "sm", "scale": 0, "min_width": 90}
        get = gr.Button(offer(key), visible=bool(key), elem_id="get", **small)
        cancel = gr.Button("Cancel", visible=False, elem_id="cancel", **small)
        use = gr.Button("Use", visible=False, variant="primary", elem_id="use", **small)
    return Headline(status, get, cancel, use, gr.Timer(1, active=False))


@with_clear_errors
def on_leave(request: gr.Request) -> None:
    WAITING.leave(visitor_of(request))


def listen(line: Headline, model: gr.Radio, page: gr.Blocks) -> None:
    """Add the line's own listeners; what "Use" does is the first screen's."""
    quiet = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False}
    for event, handler in ((line.get.click, on_get), (line.cancel.click, on_cancel), (line.timer.tick, on_tick)):
        event(named(handler, line.parts), model, [*line.parts.values()], **quiet)
    page.unload(on_leave)
