"""Middleware before Gradio: closes routes, bounds sizes and the share of one address, takes foreign files out.

Every file that a request names is an upload, or it is taken out before Gradio sees it. Refuses with `{"detail": one
sentence}` and a status; what it lets through is Gradio's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from ...errors import InputError
from ...picture import MAX_BYTES
from .folder import NoRoom, begin_upload, remove_parts
from .limits import limits
from .runs import LISTENER_COMES, PENDING, Pending, client_address
from .uploads import META, file_of

log = logging.getLogger("app")

LARGEST_UPLOAD = MAX_BYTES + 1_000_000  # one picture or zip and what a form puts around it
LARGEST_REQUEST = MAX_BYTES * 4 // 3 + 1_000_000  # one picture as base64 and the other values
PATIENCE = 30.0  # seconds without a byte after which an upload counts as cut off
# Routes of Gradio that this demo does not use: they fetch addresses, write files or tell of other visitors.
# A test holds every route of the pinned Gradio against this list.
CLOSED = re.compile(
    r"(?:/gradio_api)?/(?:"
    r"proxy=|file[=/]\s*[A-Za-z][A-Za-z0-9+.-]*:|deep_link|monitoring|process_recording|component_server|stream/|dev/|"
    r"vibe-|undo-vibe-|runs|run-history|profiling|custom_component|docs|redoc)"
)
# `run` and `api` are for the events that pass no queue; Gradio refuses the others there.
ASK = re.compile(r"/gradio_api/(?:queue/join|(?:call(?P<keyed>/v2)?|run|api)/(?P<name>[^/]+))/?")
LISTEN = re.compile(r"/gradio_api/(?:queue/data|call/(?:v2/)?[^/]+/(?P<event>[^/]+))/?")
CANCEL = re.compile(r"/gradio_api/cancel/?")
UPLOAD = re.compile(r"/gradio_api/upload/?")
MCP_PATH = "/gradio_api/mcp"  # where MCP clients look for a Gradio server's tools
# How a message of Gradio's stream begins that says that an event is answered, or that the stream ends with it.
ANSWERED = re.compile(rb'data: \{"msg":"process_completed","event_id":"(\w+)"')
STREAM_ENDS = (b'data: {"msg":"close_stream"', b"event: complete", b"event: error")
NO_FILE = (
    "A file is wanted and something else was sent, such as a text: from Python send handle_file('picture.jpg') of "
    "gradio_client, else an upload or a base64 data URL, as /gradio_api/info describes."
)
UNREADABLE = "The request cannot be read: what each endpoint takes is described at /gradio_api/info."
FILE_INPUTS = {"image", "file", "uploadbutton"}
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
    """ASGI middleware for `launch(app_kwargs={"middleware": [Middleware(Gatekeeper, page=page)]})`."""

    def __init__(self, app: Callable, page: gr.Blocks) -> None:
        self.app, self.page = app, page
        self.arriving = 0  # uploads

    async def __call__(self, scope: Message, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, method = page_path(scope), scope["method"]
        try:
            if CLOSED.match(path):
                raise Refused(404, "This route is not part of the demo: its API is described at /gradio_api/info.")
            if method == "POST" and (found := ASK.fullmatch(path)):
                await self._ask(scope, receive, send, found["name"], bool(found["keyed"]))
            elif method == "GET" and (found := LISTEN.fullmatch(path)):
                query = parse_qs(scope["query_string"].decode("latin-1"))
                await self._listen(scope, receive, send, found["event"], query.get("session_hash", [""])[0])
            elif method == "POST" and CANCEL.fullmatch(path):
                await self._cancel(scope, receive, send)
            elif method == "POST" and UPLOAD.fullmatch(path):
                await self._upload(scope, receive, send)
            elif method == "POST" and path.rstrip("/") == MCP_PATH:
                await self._agent(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        except Refused as refused:
            await refused.answer()(scope, receive, send)

    # --- events ----------------------------------------------------------------------------------------------------

    @cached_property
    def _inputs(self) -> dict[int | str, list[str]]:
        """Map each event's number and name to the types of its inputs."""
        config = self.page.get_config_file()
        types = {component["id"]: component["type"] for component in config["components"]}
        found: dict[int | str, list[str]] = {}
        for event in config["dependencies"]:
            found[event["id"]] = found[str(event["api_name"])] = [types[number] for number in event["inputs"]]
        return found

    @cached_property
    def _parameters(self) -> dict[str, dict[str, str]]:
        """Map each endpoint's name to its parameters' names and types."""
        endpoints = self.page.get_api_info()["named_endpoints"]
        return {
            name.strip("/"): {each["parameter_name"]: each["component"].lower() for each in endpoint["parameters"]}
            for name, endpoint in endpoints.items()
        }

    async def _ask(self, scope: Message, receive: Callable, send: Callable, name: str | None, keyed: bool) -> None:
        """Pass a request for an event on: one that exists, of a bounded size, from an address with few others, and with
        no file but uploads."""
        pending = _admitted(scope)
        try:
            body = await _body(receive, Headers(scope=scope))
            checked = await asyncio.to_thread(self._checked, body, name, keyed, pending)

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.body" and b'"event_id"' in message.get("body", b""):
                    pending.event = json.loads(message["body"])["event_id"]
                    pending.session = pending.session or pending.event
                await send(message)

            await self.app(scope, _replayed(checked, receive), sent)
        finally:
            if pending.event is None:  # refused, or answered without a queue
                PENDING.discard(pending)
            else:
                asyncio.get_running_loop().call_later(LISTENER_COMES, _expire, pending)

    def _checked(self, body: bytes, name: str | None, keyed: bool, pending: Pending) -> bytes:
        """Return the body as Gradio may see it, and note in `pending` whose it is and what was taken out of it."""
        try:
            values = json.loads(body)
            session, number = values.get("session_hash"), values.get("fn_index")
            values = {key: self._only_uploads(each, pending) for key, each in values.items()}
        except (ValueError, AttributeError, RecursionError) as error:
            raise Refused(
                400, "The request cannot be read: it must be a JSON object with a list named 'data'."
            ) from error
        pending.session = session if isinstance(session, str) else None
        given: Any
        types: dict[Any, str] | None
        if keyed:
            given, types = values, self._parameters.get(name or "")
        else:
            by_number = isinstance(number, int) and not isinstance(number, bool) and name not in self._inputs
            inputs = self._inputs.get(number if by_number else name or "")
            types = None if inputs is None else dict(enumerate(inputs))
            given = values.get("data")
            if types is not None and (not isinstance(given, list) or len(given) != len(types)):
                raise Refused(400, UNREADABLE)
        if types is None:
            raise Refused(404, "There is no such endpoint: the API is described at /gradio_api/info.")
        for place, kind in types.items():
            value = given.get(place) if keyed else given[place]
            is_upload = isinstance(value, dict) and value.get("meta") is META
            if kind in FILE_INPUTS and value is not None and not is_upload:  # Gradio's own check would be a traceback
                given[place], pending.refused = None, NO_FILE
        return json.dumps(values).encode()

    def _only_uploads(self, value: Any, pending: Pending) -> Any:
        """Return a JSON value in which every file is an upload; one that is not gives way to None."""
        if isinstance(value, list):
            return [self._only_uploads(each, pending) for each in value]
        if not isinstance(value, dict):
            return value
        if "path" not in value and "url" not in value:
            return {key: self._only_uploads(each, pending) for key, each in value.items()}
        try:
            return {"path": str(file_of(value, pending.address)), "meta": META}
        except InputError as error:
            pending.refused = str(error)
            return None

    async def _listen(self, scope: Message, receive: Callable, send: Callable, event: str | None, session: str) -> None:
        """Pass the stream of answers of an event or a session on; when it is cut off, give up what it was to answer."""
        session, ended = PENDING.session_of(event) if event else session, False

        async def sent(message: Message) -> None:
            nonlocal ended
            content = message.get("body", b"")
            if answered := ANSWERED.match(content):
                PENDING.answered(answered[1].decode())
            elif content.startswith(STREAM_ENDS):
                ended = True
                if event:
                    PENDING.answered(event)
            await send(message)

        PENDING.open_stream(session)
        try:
            await self.app(scope, receive, sent)
        finally:
            PENDING.close_stream(session, cut_off=not ended)

    async def _cancel(self, scope: Message, receive: Callable, send: Callable) -> None:
        """Give an event up as its client asks. Gradio closes a generator at its next yield only; this ends the work for
        the event after the block it is at."""
        body = await _body(receive, Headers(scope=scope))
        try:
            values = json.loads(body)
            PENDING.give_up(session=values["session_hash"], event=values["event_id"])
        except (ValueError, TypeError, KeyError, RecursionError):
            pass  # Gradio says what is wrong with it
        await self.app(scope, _replayed(body, receive), send)

    async def _agent(self, scope: Message, receive: Callable, send: Callable) -> None:
        """Pass a message of an MCP client on, bounded as an event is; when it is cut off, give up the work for it."""
        pending = _admitted(scope)
        try:
            body = await _body(receive, Headers(scope=scope))
            try:
                await asyncio.to_thread(json.loads, body)
            except (ValueError, RecursionError) as error:
                raise Refused(400, "The request cannot be read: it must be a message of MCP as JSON.") from error
            await self.app(scope, _replayed(body, receive), send)
        finally:
            pending.cancel.set()
            PENDING.discard(pending)

    # --- uploads ---------------------------------------------------------------------------------------------------

    async def _upload(self, scope: Message, receive: Callable, send: Callable) -> None:
        """Receive an upload if the folder has room for it."""
        length = Headers(scope=scope).get("content-length", "")
        expected = int(length) if length.isascii() and length.isdigit() else LARGEST_UPLOAD
        if expected > LARGEST_UPLOAD:
            raise Refused(413, _too_large("file", expected, MAX_BYTES))
        try:
            await asyncio.to_thread(begin_upload, _address(scope), expected)
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

        self.arriving += 1
        try:
            await self.app(scope, bounded, send)
        except (ClientDisconnect, TimeoutError):
            log.info("An upload was cut off after %.1f MB; nothing of it is kept.", counted / 1e6)
        finally:
            self.arriving -= 1
            if not self.arriving:
                await asyncio.to_thread(remove_parts)


def _expire(pending: Pending) -> None:
    """Give up a request whose answer is not asked for."""
    if not PENDING.listened(pending.session):
        PENDING.give_up(event=pending.event)


def page_path(scope: Mapping[str, Any]) -> str:
    """Return the path from the page's root on; a proxy may have taken the root off, or not."""
    root = scope.get("root_path", "").rstrip("/")
    return scope["path"].removeprefix(root) if scope["path"].startswith(f"{root}/") else scope["path"]


def _address(scope: Message) -> str:
    return client_address((scope.get("client") or ("unknown",))[0], Headers(scope=scope))


def _admitted(scope: Message) -> Pending:
    """Count a request among those of its address that are not answered yet; Refused when these are too many. Handlers
    find the entry in `request.state.pending`."""
    pending, allowed = Pending(_address(scope)), limits().requests_per_address
    if (count := PENDING.count(pending.address)) >= allowed:
        raise Refused(
            429,
            f"{count} requests from your address are not answered yet, the most allowed: try again in 5 seconds.",
            5,
        )
    PENDING.add(pending)
    scope.setdefault("state", {})["pending"] = pending
    return pending


def _too_large(what: str, count: int, allowed: int) -> str:
    return f"The {what} has more than {min(count, allowed) // 1_000_000} MB, the most allowed."


async def _body(receive: Callable, headers: Headers) -> bytes:
    """Return the whole body of a request; Refused beyond LARGEST_REQUEST or when it does not come."""
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
    """Return a `receive` that gives the body that was read, then whatever comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
