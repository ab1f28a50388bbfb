"""Visitors: what they are told of an error, their runs under way, and what the page remembers of them.

A visitor has one Score-CAM at a time. Whatever nobody expected stays in the server's log.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps

import gradio as gr
import numpy as np

from ..errors import InputError, WeightsError
from ..explanation import Explanation

FILES_LIVE = 3600  # seconds that uploads, downloads and what the page remembers are kept
UNEXPECTED = (
    "This could not be computed: a value sent is of the wrong type, or the fault is the server's and is in its log."
)
log = logging.getLogger("app")


@dataclass
class Run:
    """One visitor's work under way. Whoever streams it looks at `ended` between two blocks."""

    number: int
    stopped: bool = False  # by the visitor: the partial map is kept
    replaced: bool = False  # by the visitor's next run, or the visitor left: nobody looks any more

    @property
    def ended(self) -> bool:
        return self.stopped or self.replaced

    def until_ended(self, stream: Iterable[Explanation]) -> Explanation:
        """The stream's last explanation; InputError when the run ends before."""
        for snapshot in stream:
            if self.ended:
                raise InputError("Stopped: another request of yours came in between.")
        return snapshot


class Visitors:
    """At most one run at a time for each visitor. On the page a new run replaces the old one; over the API a second one
    is refused."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)

    @contextmanager
    def page_run(self, visitor: str, same_maps: bool = False) -> Iterator[Run]:
        """`same_maps`: the page goes on showing the old run's maps, so it ends as if stopped and says so."""
        with self._guard:
            run = Run(next(self._numbers))
            if visitor in self._runs:
                old = self._runs[visitor]
                old.stopped, old.replaced = old.stopped or same_maps, not same_maps
            self._runs[visitor] = run
        try:
            yield run
        finally:
            self._end(visitor, run)

    @contextmanager
    def api_run(self, visitor: str) -> Iterator[Run]:
        with self._guard:
            if visitor in self._runs:
                raise InputError(
                    "A Score-CAM of yours is still running: one at a time for each visitor. Wait for it, or cancel it."
                )
            run = self._runs[visitor] = Run(next(self._numbers))
        try:
            yield run
        finally:
            self._end(visitor, run)

    def _end(self, visitor: str, run: Run) -> None:
        with self._guard:
            if self._runs.get(visitor) is run:
                del self._runs[visitor]

    def stop(self, visitor: str) -> None:
        with self._guard:
            if visitor in self._runs:
                self._runs[visitor].stopped = True

    def busy(self, visitor: str) -> bool:
        with self._guard:
            return visitor in self._runs

    def leave(self, visitor: str) -> None:
        with self._guard:
            if visitor in self._runs:
                self._runs[visitor].replaced = True


VISITORS = Visitors()


def visitor_of(request: gr.Request) -> str:
    """Who asks: the browser's or client's session, or the address where a plain HTTP request has none."""
    return request.session_hash or (request.client.host if request.client else "unknown")


def on_stop(request: gr.Request) -> None:
    VISITORS.stop(visitor_of(request))


def on_leave(request: gr.Request) -> None:
    VISITORS.leave(visitor_of(request))


def refusal(error: Exception) -> gr.Error:
    """What a visitor is told of an error: camkit's own sentence, or no more than that something is in the log."""
    if isinstance(error, gr.Error):
        return error
    expected = isinstance(error, InputError | WeightsError)
    if not expected:
        log.error("%s", UNEXPECTED, exc_info=error)
    return gr.Error(str(error) if expected else UNEXPECTED, print_exception=False, title="That did not work")


def in_words(function):
    """Makes a handler whose every error is one sentence."""
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def stream(*args, **kwargs):
            try:
                yield from function(*args, **kwargs)
            except Exception as error:
                raise refusal(error) from error

        return stream

    @wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise refusal(error) from error

    return call


@dataclass(frozen=True)
class Session:
    """What the page remembers of a visitor between two clicks: the (H, W, 3) uint8 picture and what was said of it."""

    image: np.ndarray
    explanation: Explanation | None = None
    run: int = 0


def require_explanation(session: Session | None) -> Explanation:
    """The page's explanation; InputError while there is none."""
    if session is None or session.explanation is None or not session.explanation.cams:
        raise InputError("There is no map yet: choose a picture first.")
    return session.explanation
