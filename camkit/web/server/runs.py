"""The visitor behind a request, the requests not answered yet, and the places for long work.

gatekeeper.py adds each request when it comes and gives it up when its stream of answers is cut off: the request's
`cancel` is then set, and the work that answers it ends after the block it is at. Long work (Score-CAM, a
measurement, a sweep, a study) needs a place, of which an address has a few and the server has some.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import gradio as gr

from ...errors import InputError
from .limits import limits

FILES_LIVE = 3600  # seconds that uploads, downloads and what the page remembers are kept
LISTENER_COMES = 5.0  # seconds that a request may take to ask for its answer
STOPPED = "Stopped: another request of yours came in between, or nothing waited for it."
USUAL_SECONDS = 30.0  # of long work whose end cannot be foreseen yet
Item = TypeVar("Item")


class Busy(InputError):
    """All places for long work are taken; the text says how long to wait."""


# --- who asks ------------------------------------------------------------------------------------------------------


def visitor_of(request: gr.Request) -> str:
    """Return the browser's or client's session, or the address of a plain HTTP request without one."""
    return request.session_hash or address_of(request)


def address_of(request: gr.Request) -> str:
    return client_address(request.client.host if request.client else "unknown", request.headers)


def client_address(peer: str, headers: Mapping[str, str]) -> str:
    """Return the IP address a request comes from: its peer's, or what the outermost of our own proxies wrote down as
    its peer's.

    Each proxy appends to X-Forwarded-For, so a client can forge only what stands before the last entries.
    """
    proxies = limits().proxies
    forwarded = [part.strip() for part in (headers.get("x-forwarded-for") or "").split(",") if part.strip()]
    return forwarded[-proxies] if 0 < proxies <= len(forwarded) else peer


# --- requests that are not answered yet ----------------------------------------------------------------------------


@dataclass(eq=False)
class Pending:
    """One request that is not answered yet. `event`: Gradio's number of it, known once it is queued. `refused`: why a
    file that it named was taken out of it, or "". `cancel` is set when the answer is not waited for any more, or when
    the visitor stops the work. `number`: later requests have larger ones."""

    address: str
    session: str | None = None
    event: str | None = None
    refused: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)
    number: int = field(default_factory=itertools.count(1).__next__)


class PendingRequests:
    """Keep the requests that are not answered yet, and the open streams of answers by session. For one thread, the
    server's event loop."""

    def __init__(self) -> None:
        self._requests: set[Pending] = set()
        self._streams: Counter[str] = Counter()

    def count(self, address: str) -> int:
        return len(self._with(address=address))

    def add(self, request: Pending) -> None:
        self._requests.add(request)

    def discard(self, request: Pending) -> None:
        self._requests.discard(request)

    def answered(self, event: str) -> None:
        for each in self._with(event=event):
            self._requests.discard(each)

    def give_up(self, **known: str | None) -> None:
        """Cancel and forget the requests with these values, such as `session` or `event`."""
        for each in self._with(**known):
            each.cancel.set()
            self._requests.discard(each)

    def session_of(self, event: str) -> str:
        """Return the session of an event; without one, Gradio takes the event's own number."""
        return next((each.session for each in self._with(event=event) if each.session), event)

    def _with(self, **known: str | None) -> list[Pending]:
        return [each for each in tuple(self._requests) if vars(each).items() >= known.items()]

    def listened(self, session: str | None) -> bool:
        return session in self._streams

    def open_stream(self, session: str) -> None:
        self._streams[session] += 1

    def close_stream(self, session: str, cut_off: bool) -> None:
        """Forget a stream; when the session's last one is cut off, give up the requests it was to answer."""
        self._streams[session] -= 1
        if not self._streams[session]:
            del self._streams[session]
            if cut_off:
                self.give_up(session=session)


PENDING = PendingRequests()


def pending_of(request: gr.Request) -> Pending:
    """Return what the gatekeeper knows of this request; a fresh entry for one that did not pass it."""
    return getattr(request.state, "pending", None) or Pending(address_of(request), request.session_hash)


# --- what is under way ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Run:
    """Work under way for one visitor; its streams end after the block they are at when `cancel` is set. `number`: its
    request's. `unasked`: the page began it by itself. `stopped`: the visitor has pressed Stop."""

    number: int
    visitor: str
    address: str
    cancel: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    seconds_left: float | None = None  # until the end, where it can be foreseen
    unasked: bool = False
    stopped: bool = False

    def watch(self, stream: Iterator[Item]) -> Iterator[Item]:
        """Yield a generator's items and close it; InputError when the run is cancelled before the last."""
        with closing(stream):  # type: ignore[type-var]
            for item in stream:
                if self.cancel.is_set():
                    raise InputError(STOPPED)
                self.seconds_left = getattr(item, "seconds_left", self.seconds_left)
                yield item
        if self.cancel.is_set():  # what looks at `cancel` itself ends without another item
            raise InputError(STOPPED)

    def last(self, stream: Iterator[Item]) -> Item:
        """Return the stream's last item; InputError when the run is cancelled before it."""
        for item in self.watch(stream):
            pass
        return item


class Runs:
    """Keep what is under way. A page has one run at a time, that of its newest request, which cancels the older ones;
    over the API the places for long work are the only bound."""

    def __init__(self) -> None:
        self._on_page: dict[str, Run] = {}
        self._long: set[Run] = set()
        self._guard = threading.Lock()

    @contextmanager
    def page_run(self, request: gr.Request, long: bool = True, unasked: bool = False) -> Iterator[Run]:
        """`long`: the run needs a place at once; Busy when there is none. `unasked`: it gives way, cancelled from the
        start, to whatever is under way on the page, and to whatever comes."""
        run = self._new_run(request, unasked)
        with self._guard:
            before = self._on_page.get(run.visitor)
            if before and (unasked or (before.number > run.number and not before.unasked)):
                run.cancel.set()
            else:
                self._on_page[run.visitor] = run
                if before:
                    before.cancel.set()
        try:
            if long:
                self.take_place(run)
            yield run
        finally:
            self._end(run)

    @contextmanager
    def api_run(self, request: gr.Request) -> Iterator[Run]:
        """Long work over the API; Busy when there is no place."""
        run = self._new_run(request)
        try:
            self.take_place(run)
            yield run
        finally:
            self._end(run)

    def take_place(self, run: Run) -> None:
        """Take a place for long work until the run ends; Busy when there is none. A cancelled run's place is free."""
        allowed = limits()
        with self._guard:
            going = [each for each in self._long if not each.cancel.is_set()]
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

    def stop(self, visitor: str) -> None:
        with self._guard:
            if visitor in self._on_page:
                self._on_page[visitor].stopped = True
                self._on_page[visitor].cancel.set()

    def busy(self, visitor: str) -> bool:
        with self._guard:
            return visitor in self._on_page

    def _new_run(self, request: gr.Request, unasked: bool = False) -> Run:
        pending = pending_of(request)
        return Run(pending.number, visitor_of(request), address_of(request), pending.cancel, unasked=unasked)

    def _end(self, run: Run) -> None:
        with self._guard:
            self._long.discard(run)
            if self._on_page.get(run.visitor) is run:
                del self._on_page[run.visitor]


def _wait(runs: list[Run]) -> int:
    """Return whole seconds until the first of these runs is expected to end."""
    now = time.monotonic()
    left = [USUAL_SECONDS - (now - run.began) if run.seconds_left is None else run.seconds_left for run in runs]
    return max(1, round(min(left, default=0.0)))


RUNS = Runs()


def on_stop(request: gr.Request) -> None:
    """Stop what is under way on the page; the partial maps are kept."""
    RUNS.stop(visitor_of(request))
