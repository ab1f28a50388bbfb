"""What every HTTP request passes before Gradio: closed routes, sizes, the share of one address, and who listens.

Answers for our own assets. Refuses with `{"detail": one sentence}` and a status; what it lets through is Gradio's own,
unchanged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from ...models.registry import check_model
from ...picture import MAX_BYTES
from .assets import PREFIX, answer
from .folder import FOLDER, NoRoom
from .limits import limits
from .runs import LISTENERS, VISITORS, address

log = logging.getLogger("app")

LONG_EVENTS = {"compare", "evaluate"}  # that always are long work
LARGEST_UPLOAD = MAX_BYTES + 1_000_000  # one picture or zip and what a form puts around it
LARGEST_REQUEST = MAX_BYTES * 4 // 3 + 1_000_000  # one picture as base64 and the other values
PATIENCE = 30.0  # seconds without a byte after which an upload counts as cut off
# Routes of Gradio that this demo does not use: they fetch addresses, write files for anybody or tell of others' use.
# `run` and `api` stay for the events that pass no queue; Gradio refuses the others there. A test holds every route of
# the pinned Gradio against this list.
CLOSED = re.compile(
    r"(?:/gradio_api)?/(?:"
    r"proxy=|file[=/]\s*[A-Za-z][A-Za-z0-9+.-]*:|deep_link|monitoring|process_recording|component_server|stream/|dev/|"
    r"vibe-|undo-vibe-|runs|run-history|profiling|custom_component|docs|redoc)"
)
JOIN = re.compile(r"/gradio_api/(?:queue/join|call/(?:v2/)?(?P<name>[^/]+))/?")
LISTEN = re.compile(r"/gradio_api/(?:queue/data|call/(?:v2/)?[^/]+/(?P<event>[^/]+))/?")
CANCEL = re.compile(r"/gradio_api/cancel/?")
UPLOAD = re.compile(r"/gradio_api/upload/?")
Message = dict[str, Any]


class Refused(Exception):
    """A request that goes no further: the HTTP status, one sentence, and seconds until another try is worth while."""

    def __init__(self, status: int, sentence: str, wait: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.wait = status, wait

    def answer(self) -> JSONResponse:
        headers = {"Retry-After": str(self.wait)} if self.wait else None
        return JSONResponse({"detail": str(self)}, self.status, headers)


class Gatekeeper:
    """ASGI middleware for `launch(app_kwargs={"middleware": [Middleware(Gatekeeper)]})`."""

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        try:
            if path.startswith(PREFIX) and method in ("GET", "HEAD"):
                await answer(path, Headers(scope=scope), lambda key: check_model(key).labels())(scope, receive, send)
                return
            if CLOSED.match(path):
                raise Refused(404, "This route is not part of the demo: its API is described at /gradio_api/info.")
            if method == "POST" and (found := JOIN.fullmatch(path)):
                await self._join(scope, receive, send, found["name"])
            elif method == "GET" and (found := LISTEN.fullmatch(path)):
                query = parse_qs(scope["query_string"].decode("latin-1"))
                session = found["event"] or query.get("session_hash", [""])[0]
                try:
                    with LISTENERS.listening(session):
                        await self.app(scope, receive, send)
                finally:
                    if not LISTENERS.hear(session):
                        VISITORS.unheard(session)
            elif method == "POST" and CANCEL.fullmatch(path):
                await self._cancel(scope, receive, send)
            elif method == "POST" and UPLOAD.fullmatch(path):
                await self._upload(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        except Refused as refused:
            await refused.answer()(scope, receive, send)

    async def _join(self, scope: Message, receive: Callable, send: Callable, name: str | None) -> None:
        """A request for an event: one that exists, of a bounded size, from an address that has not too many."""
        blocks = scope["app"].get_blocks()
        asking, allowed = _address(scope), limits()
        same = [each.fn.api_name for each in unfinished(blocks._queue) if _address(each.request.scope) == asking]
        _check_count("requests", len(same), allowed.requests_per_address)
        body = await _body(receive, Headers(scope=scope))
        try:
            values = json.loads(body)
            number = values.get("fn_index") if name is None else None
        except (ValueError, AttributeError, RecursionError) as error:
            raise Refused(
                400, "The request cannot be read: it must be a JSON object with a list named 'data'."
            ) from error
        names = {each.api_name for each in blocks.fns.values()}
        if name is None and isinstance(number, int) and not isinstance(number, bool) and number in blocks.fns:
            name = blocks.fns[number].api_name
        if name not in names:
            raise Refused(404, "There is no such endpoint: the API is described at /gradio_api/info.")
        if name in LONG_EVENTS:  # the others are refused in words by `runs.py`; beyond that only cheaply
            count = sum(each in LONG_EVENTS for each in same)
            _check_count("long requests", count, allowed.long_per_address * 2)
        await self.app(scope, _replayed(body, receive), send)

    async def _cancel(self, scope: Message, receive: Callable, send: Callable) -> None:
        """A client gives an event up. Gradio closes a generator at its next yield only; this ends the run that answers
        the event after the block it is at."""
        body = await _body(receive, Headers(scope=scope))
        try:
            values = json.loads(body)
            session, event = values["session_hash"], values["event_id"]
        except (ValueError, TypeError, KeyError, RecursionError):
            session = event = None  # Gradio says what is wrong with it
        if isinstance(session, str) and isinstance(event, str):
            VISITORS.leave(session, event)
        await self.app(scope, _replayed(body, receive), send)

    async def _upload(self, scope: Message, receive: Callable, send: Callable) -> None:
        """An upload that the folder has room for, and nothing of it left when it is cut off."""
        length = Headers(scope=scope).get("content-length", "")
        expected = int(length) if length.isascii() and length.isdigit() else LARGEST_UPLOAD
        if expected > LARGEST_UPLOAD:
            raise Refused(413, _too_large("file", expected, MAX_BYTES))
        try:
            begun = await asyncio.to_thread(FOLDER.begin_upload, _address(scope), expected)
        except NoRoom as error:
            raise Refused(429, str(error), error.wait) from error
        counted = 0

        async def bounded() -> Message:
            nonlocal counted
            message = await asyncio.wait_for(receive(), PATIENCE)
            counted += len(message.get("body", b""))
            if counted > LARGEST_UPLOAD:
                raise Refused(413, _too_large("file", counted, MAX_BYTES))
            return message

        whole = False
        try:
            await self.app(scope, bounded, send)
            whole = True
        except (ClientDisconnect, TimeoutError):
            log.info("An upload was cut off after %.1f MB; nothing of it is kept.", counted / 1e6)
        finally:
            await asyncio.to_thread(FOLDER.end_upload, begun, whole)


def unfinished(queue) -> list:
    """The events of Gradio's queue that wait or run. It never forgets one that was cancelled while it was closing, with
    all that came with the request, nor a session that went away; what neither waits nor runs is dropped here, and the
    sessions that nothing is kept for to tell.

    Not in Gradio's documentation; tests/web/test_gradio_names.py notices when it moves.
    """
    waiting = [event for each in queue.event_queue_per_concurrency_id.values() for event in each.queue]
    running = [event for job in queue.active_jobs for event in job or ()]
    for left in queue.event_ids_to_events.keys() - {event._id for event in (*waiting, *running)}:
        del queue.event_ids_to_events[left]
    for left in queue.pending_event_ids_session.keys() - queue.pending_messages_per_session.keys():
        del queue.pending_event_ids_session[left]
    return [*waiting, *running]


def _address(scope: Message) -> str:
    return address((scope.get("client") or ("unknown",))[0], Headers(scope=scope))


def _check_count(what: str, count: int, allowed: int) -> None:
    if count >= allowed:
        sentence = f"{count} {what} from your address are not answered yet, the most allowed: try again in 5 seconds."
        raise Refused(429, sentence, 5)


def _too_large(what: str, count: int, allowed: int) -> str:
    return f"The {what} has more than {min(count, allowed) // 1_000_000} MB, the most allowed."


async def _body(receive: Callable, headers: Headers) -> bytes:
    """The whole body of a request; Refused beyond LARGEST_REQUEST or when it does not come."""
    length, body = headers.get("content-length", ""), bytearray()
    if length.isascii() and length.isdigit() and int(length) > LARGEST_REQUEST:
        raise Refused(413, _too_large("request", int(length), LARGEST_REQUEST))
    while True:
        try:
            message = await asyncio.wait_for(receive(), PATIENCE)
        except TimeoutError as error:
            raise Refused(408, "The request did not come whole within 30 seconds: send it again.") from error
        if message["type"] == "http.disconnect":
            raise Refused(400, "The request was cut off.")
        body += message.get("body", b"")
        if len(body) > LARGEST_REQUEST:
            raise Refused(413, _too_large("request", len(body), LARGEST_REQUEST))
        if not message.get("more_body"):
            return bytes(body)


def _replayed(body: bytes, receive: Callable) -> Callable:
    """A `receive` that gives the body that was read, then whatever comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
