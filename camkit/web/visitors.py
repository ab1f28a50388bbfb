"""Visitors: their runs, their sessions and what they are told."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import gradio as gr
import numpy as np

from ..errors import InputError, WeightsError
from ..explanation import Explanation
from .uploads import log

FILES_LIVE = 3600  # seconds that uploads and downloads are kept


@dataclass
class Run:
    """One visitor's explanation under way. Whoever streams it looks at `ended` between two blocks."""

    number: int
    stopped: bool = False  # by the visitor: the partial map is kept
    replaced: bool = False  # by the visitor's next run, or the visitor left: nobody looks any more
    finished: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        return self.stopped or self.replaced


class Visitors:
    """At most one Score-CAM at a time for each visitor. On the page a new run replaces the old one; over the API a second
    one is refused."""

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
        run.finished.set()

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


UNEXPECTED = (
    "This could not be computed: a value sent is of the wrong type, or the fault is the server's and is in its log."
)


def refusal(error: Exception) -> gr.Error:
    """What a visitor is told of an error: camkit's sentence; of what nobody expected no more than that it is in the log."""
    if isinstance(error, gr.Error):
        return error
    expected = isinstance(error, InputError | WeightsError)
    if not expected:
        log.error("%s", UNEXPECTED, exc_info=error)
    return gr.Error(str(error) if expected else UNEXPECTED, print_exception=False, title="That did not work")


def in_words(function):
    """Turns what a visitor did wrong into one sentence; whatever else fails stays in the server's log."""

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def stream(*args, **kwargs):
            try:
                yield from function(*args, **kwargs)
            except Exception as error:
                raise refusal(error) from error

        return stream

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise refusal(error) from error

    return call


@dataclass(frozen=True)
class Session:
    """What the page remembers of a visitor between two clicks."""

    image: np.ndarray
    explanation: Explanation | None = None
    run: int = 0


def explained(session: Session | None):
    """The page's explanation; InputError while there is none."""
    if session is None or session.explanation is None or not session.explanation.cams:
        raise InputError("There is no map yet: choose a picture first.")
    return session.explanation


def _until_replaced(stream, run: Run):
    for snapshot in stream:
        if run.ended:
            raise InputError("Stopped: another request of yours came in between.")
    return snapshot
