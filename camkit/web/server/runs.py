"""Visitors: who asks, what they have under way, whether anybody still listens, and what they are told of an error.

A visitor has one run at a time. Long work (Score-CAM, a measurement, a sweep, a study) needs a place besides, of which
an address has a few and the server has some; a run that nobody listens to ends after the block it is at. Whatever
nobody expected stays in the server's log.
"""

from __future__ import annotations

import html
import inspect
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import TypeVar

import gradio as gr
from gradio.context import LocalContext

from ...errors import InputError, WeightsError
from .limits import limits

FILES_LIVE = 3600  # seconds that uploads, downloads and what the page remembers are kept
LISTENER_COMES = 5.0  # seconds that a request may take to ask for its answer
USUAL_SECONDS = 30.0  # of long work whose end cannot be foreseen yet
UNEXPECTED = (
    "This could not be computed: a value sent is of the wrong type, or the fault is the server's and is in its log."
)
log = logging.getLogger("app")
Item = TypeVar("Item")


class Busy(InputError):
    """All places for long work are taken; the text says how long to wait."""


# --- who asks ------------------------------------------------------------------------------------------------------


def visitor_of(request: gr.Request) -> str:
    """The browser's or client's session, or the address where a plain HTTP request has none."""
    return request.session_hash or address_of(request)


def address_of(request: gr.Request) -> str:
    return address(request.client.host if request.client else "unknown", request.headers)


def address(peer: str, headers: Mapping[str, str]) -> str:
    """The address a request comes from: its peer's, or what the outermost of our own proxies wrote down as its peer's.

    Each proxy appends to X-Forwarded-For, so that a visitor can forge only what stands before the last entries.
    """
    proxies = limits().proxies
    forwarded = [part.strip() for part in (headers.get("x-forwarded-for") or "").split(",") if part.strip()]
    return forwarded[-proxies] if 0 < proxies <= len(forwarded) else peer


# --- whether anybody listens ---------------------------------------------------------------------------------------


class Listeners:
    """The streams of answers that are open now, by session; `gatekeeper.py` tells of each."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def listening(self, session: str) -> Iterator[None]:
        with self._changed:
            self._open[session] += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._open[session] -= 1
                if not self._open[session]:
                    del self._open[session]

    def hear(self, session: str) -> bool:
        with self._changed:
            return session in self._open

    def come(self, session: str, seconds: float) -> bool:
        """Waits until somebody listens to this session, `seconds` at most; tells whether somebody does."""
        with self._changed:
            return self._changed.wait_for(lambda: session in self._open, seconds)


LISTENERS = Listeners()


# --- what is under way ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Run:
    """One visitor's work under way. Whoever streams it looks at `ended` between two blocks."""

    number: int
    visitor: str
    address: str
    event: str | None = None  # of Gradio's queue, whose answer it is
    stopped: bool = False  # by the visitor: the partial map is kept
    replaced: bool = False  # by the visitor's next run, or the visitor left: nobody looks any more
    long: bool = False  # has a place for long work
    began: float = field(default_factory=time.monotonic)
    seconds_left: float | None = None  # until the end, where it can be foreseen

    @property
    def gone(self) -> bool:
        """Nobody waits for it any more."""
        return self.replaced or (self.long and not LISTENERS.hear(self.visitor))

    @property
    def ended(self) -> bool:
        return self.stopped or self.gone

    def watch(self, stream: Iterable[Item]) -> Iterator[Item]:
        """The stream's items; InputError when the run ends before they do."""
        for item in stream:
            if self.ended:
                raise InputError("Stopped: another request of yours came in between, or nobody listened any more.")
            self.seconds_left = getattr(item, "seconds_left", self.seconds_left)  # what a snapshot foresees, if it does
            yield item

    def last(self, stream: Iterable[Item]) -> Item:
        """The stream's last item; InputError when the run ends before."""
        for item in self.watch(stream):
            pass
        return item


class Visitors:
    """At most one run at a time for each visitor. On the page a new run replaces the old one; over the API a second one
    is refused."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._long: set[Run] = set()
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)

    @contextmanager
    def page_run(self, request: gr.Request, same_maps: bool = False, long: bool = True) -> Iterator[Run]:
        """`same_maps`: the page goes on showing the old run's maps, so it ends as if stopped and says so. `long`: it
        needs a place at once; Busy when there is none."""
        run = self._new_run(request)
        with self._guard:
            if run.visitor in self._runs:
                old = self._runs[run.visitor]
                old.stopped, old.replaced = old.stopped or same_maps, old.replaced or not same_maps
            self._runs[run.visitor] = run
        try:
            if long:
                self.begin_long(run)
            yield run
        finally:
            self._end(run)

    @contextmanager
    def api_run(self, request: gr.Request) -> Iterator[Run]:
        """Long work over the API; InputError when the visitor has one under way, Busy when there is no place."""
        run = self._new_run(request)
        with self._guard:
            if run.visitor in self._runs and not self._runs[run.visitor].ended:
                raise InputError(
                    "A Score-CAM of yours is still running: one at a time for each visitor. Wait for it, or cancel it."
                )
            self._runs[run.visitor] = run
        try:
            self.begin_long(run)
            yield run
        finally:
            self._end(run)

    def begin_long(self, run: Run) -> None:
        """Takes a place for long work, until the run ends. Busy when there is none; InputError when nobody listens."""
        allowed = limits()
        with self._guard:
            going = [each for each in self._long if not each.ended]
            of_address = [each for each in going if each.address == run.address]
            if len(of_address) >= allowed.long_per_address:
                count = len(of_address)
                raise Busy(
                    f"{count} long computations from your address are under way, the most allowed: "
                    f"try again in about {_wait(of_address)} s."
                )
            if len(going) >= allowed.long_in_all:
                raise Busy(f"The server is busy with {len(going)} long computations: try again in {_wait(going)} s.")
            self._long.add(run)
        # Those who do not ask for the answer do not get it computed. Only then does `ended` look for a listener.
        if not LISTENERS.come(run.visitor, LISTENER_COMES):
            run.replaced = True
            raise InputError("Nobody listened: ask for the answer right after the request.")
        run.long = True

    def _new_run(self, request: gr.Request) -> Run:
        event = LocalContext.event_id.get(None)  # not in Gradio's documentation; test_stop.py notices when it moves
        with self._guard:
            return Run(next(self._numbers), visitor_of(request), address_of(request), event)

    def _end(self, run: Run) -> None:
        with self._guard:
            self._long.discard(run)
            if self._runs.get(run.visitor) is run:
                del self._runs[run.visitor]

    def stop(self, visitor: str) -> None:
        with self._guard:
            if visitor in self._runs:
                self._runs[visitor].stopped = True

    def unheard(self, visitor: str) -> None:
        """Long work that nobody listens to is given up at once: who listens next has asked for something else."""
        with self._guard:
            if visitor in self._runs and self._runs[visitor].long:
                self._runs[visitor].replaced = True

    def busy(self, visitor: str) -> bool:
        with self._guard:
            return visitor in self._runs

    def leave(self, visitor: str, event: str | None = None) -> None:
        """The visitor has gone, or given this event up."""
        with self._guard:
            if visitor in self._runs and event in (None, self._runs[visitor].event):
                self._runs[visitor].replaced = True


def _wait(runs: list[Run]) -> int:
    """Whole seconds until the first of these runs is expected to end."""
    now = time.monotonic()
    left = [USUAL_SECONDS - (now - run.began) if run.seconds_left is None else run.seconds_left for run in runs]
    return max(1, round(min(left, default=0.0)))


VISITORS = Visitors()


def on_stop(request: gr.Request) -> None:
    VISITORS.stop(visitor_of(request))


def on_leave(request: gr.Request) -> None:
    VISITORS.leave(visitor_of(request))


# --- what they are told of an error --------------------------------------------------------------------------------


def refusal(error: Exception, markup: bool) -> gr.Error:
    """What a visitor is told of an error: camkit's own sentence, or no more than that something is in the log."""
    if isinstance(error, gr.Error):
        return error
    expected = isinstance(error, InputError | WeightsError)
    if not expected:
        log.error("%s", UNEXPECTED, exc_info=error)
    sentence = str(error) if expected else UNEXPECTED
    return gr.Error(
        html.escape(sentence, False) if markup else sentence, print_exception=False, title="That did not work"
    )


def in_words(function=None, *, markup: bool = True):
    """Makes a handler whose every error is one sentence: HTML for the page, where it is shown in a box that takes HTML,
    and with `markup` False plain text for programs. A stream that ends without having yielded leaves every output as it
    is; Gradio by itself would empty them all."""
    if function is None:
        return partial(in_words, markup=markup)
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def stream(*args, **kwargs):
            try:
                with closing(function(*args, **kwargs)) as updates:
                    yield next(updates, gr.skip())
                    yield from updates
            except Exception as error:
                raise refusal(error, markup) from error

        return stream

    @wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise refusal(error, markup) from error

    return call
