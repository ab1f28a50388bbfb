"""The app's API as plain HTTP, without Gradio's client: what a stranger with curl can send, and what comes back.

Owns the three requests behind every event (upload, join the queue, read its messages) and `assert_clean`, what no
answer may hold.
"""

import json
import re
import site
import tempfile
import uuid
from functools import cache
from pathlib import Path

import httpx

LIMIT = 60  # seconds until an answer counts as lost
META = {"_type": "gradio.FileData"}
ROOT = Path(__file__).resolve().parents[2]
SERVER_PATHS = (str(ROOT), tempfile.gettempdir() + "/", "/etc/", "/home/", *site.getsitepackages())
SENTENCE = re.compile(r"[A-Z'\w][^\n]*[.?]", re.ASCII)


def upload(url: str, content: bytes, name: str = "picture.png") -> str:
    """Uploads a file and returns the path that stands for it in a payload."""
    answer = httpx.post(f"{url}/gradio_api/upload", files={"files": (name, content)}, timeout=LIMIT)
    answer.raise_for_status()
    return answer.json()[0]


@cache
def events(url: str) -> list[dict]:
    """Every event of the page and the API: its `id`, `api_name`, `api_visibility` and the types of its inputs."""
    config = httpx.get(f"{url}/config", timeout=LIMIT).json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    return [event | {"kinds": [kinds[number] for number in event["inputs"]]} for event in config["dependencies"]]


def event_id(url: str, api_name: str) -> int:
    return next(event["id"] for event in events(url) if event["api_name"] == api_name)


def join(url: str, number: int, data: list, session: str | None = None, event_data=None) -> httpx.Response:
    """Puts an event into the queue, as the page does, and returns at once."""
    body = {"fn_index": number, "data": data, "session_hash": session or uuid.uuid4().hex, "event_data": event_data}
    return httpx.post(f"{url}/gradio_api/queue/join", json=body, timeout=LIMIT)


def outcome(url: str, session: str) -> dict:
    """The last message of a session's only event: `success` and `output`."""
    with httpx.stream("GET", f"{url}/gradio_api/queue/data", params={"session_hash": session}, timeout=LIMIT) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("the queue sent no result")


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
