"""The app's API as plain HTTP, without Gradio's client: what curl can send, and what comes back.

Owns the three requests behind every event (upload, join the queue, read its messages), `png`, files that no program
writes, and `assert_clean`, what no answer may hold. `address` is whose request the server should take it for: it takes
X-Forwarded-For from a proxy on its own machine, which these requests come from.
"""

import json
import re
import site
import struct
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx

LIMIT = 120  # seconds until an answer counts as lost
META = {"_type": "gradio.FileData"}
ROOT = Path(__file__).resolve().parents[1]
SERVER_PATHS = (str(ROOT), tempfile.gettempdir() + "/", "/etc/", "/home/", *site.getsitepackages())
SENTENCE = re.compile(r"[A-Z'\w][^\n]*[.?]", re.ASCII)


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """A PNG file by its specification: header and compressed `rows`, which may be fewer than the header says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def one_bit() -> bytes:
    """A file of 3 kB and some whose picture has 25 megapixels of one bit, the most that is allowed."""
    return png(5000, 5000, depth=1, colour=0, rows=bytes(5000 * (5000 // 8 + 1)))


def sent_by(address: str | None) -> dict[str, str]:
    return {"X-Forwarded-For": address} if address else {}


def post(url: str, content: bytes, name: str = "picture.png", address: str | None = None) -> httpx.Response:
    """Uploads a file."""
    files = {"files": (name, content)}
    return httpx.post(f"{url}/gradio_api/upload", files=files, headers=sent_by(address), timeout=LIMIT)


def upload(url: str, content: bytes, name: str = "picture.png", address: str | None = None) -> str:
    """Uploads a file and returns the path that stands for it in a payload."""
    return post(url, content, name, address).raise_for_status().json()[0]


@cache
def events(url: str) -> list[dict]:
    """Every event of the page and the API: its `id`, `api_name`, `api_visibility` and the types of its inputs."""
    config = httpx.get(f"{url}/config", timeout=LIMIT).json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    return [event | {"kinds": [kinds[number] for number in event["inputs"]]} for event in config["dependencies"]]


def event_id(url: str, api_name: str) -> int:
    return next(event["id"] for event in events(url) if event["api_name"] == api_name)


@cache
def defaults(url: str) -> dict[int, list]:
    """The defaults of each endpoint's parameters by the event's number; None where there is none."""
    info = httpx.get(f"{url}/gradio_api/info", timeout=LIMIT).json()["named_endpoints"]
    named = {name: [each["parameter_default"] for each in endpoint["parameters"]] for name, endpoint in info.items()}
    return {event["id"]: named.get(f"/{event['api_name']}", []) for event in events(url)}


def join(
    url: str, number: int, data: list, session: str | None = None, event_data=None, address: str | None = None
) -> httpx.Response:
    """Puts an event into the queue, as the page does, and returns at once. `data` may end before parameters with a
    default, which Gradio's clients fill in too."""
    data = [*data, *defaults(url).get(number, [])[len(data) :]] if isinstance(number, int) else data
    body = {"fn_index": number, "data": data, "session_hash": session or uuid.uuid4().hex, "event_data": event_data}
    return httpx.post(f"{url}/gradio_api/queue/join", json=body, headers=sent_by(address), timeout=LIMIT)


def messages(url: str, session: str, address: str | None = None) -> Iterator[dict]:
    """What the queue says of a session's only event, its last message included."""
    parameters, headers = {"session_hash": session}, sent_by(address)
    with httpx.stream(
        "GET", f"{url}/gradio_api/queue/data", params=parameters, headers=headers, timeout=LIMIT
    ) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                message = json.loads(line.removeprefix("data:"))
                yield message
                if message.get("msg") == "process_completed":
                    return
    raise AssertionError("the queue sent no result")


def outcome(url: str, session: str, address: str | None = None) -> dict:
    """The last message of a session's only event: `success` and `output`."""
    *_, last = messages(url, session, address)
    return last


def run(url: str, number: int, data: list, event_data=None) -> dict:
    """One event from start to end, in a session of its own."""
    session = uuid.uuid4().hex
    join(url, number, data, session, event_data).raise_for_status()
    return outcome(url, session)


def refusal(message: dict) -> str:
    """The sentence in which an event was refused."""
    assert not message["success"], f"not refused: {json.dumps(message)[:300]}"
    text = message["output"]["error"]
    assert_clean(text)
    return text


def assert_clean(text: str) -> None:
    """One or a few sentences on one line: no stack trace, no path of the server, no NaN."""
    assert text and SENTENCE.fullmatch(text), f"not a sentence: {text!r}"
    assert not [path for path in SERVER_PATHS if path in text], text
    assert "Traceback" not in text
    assert "NaN" not in text
