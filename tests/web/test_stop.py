"""Stop means stop: whatever is long ends after the block it is at, however it is ended, and its place is free.

No time decides: a job's stream is held at its second item until the server knows that the job is to end.
"""

from __future__ import annotations

import io
import threading
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import plain_http
import pytest
from conftest import EXAMPLES, TINY

from camkit.models.registry import MODELS
from camkit.web import api
from camkit.web.server.runs import RUNS
from camkit.web.tabs import contrast, evidence, many, maps, two_models

LIMIT = 60
MODEL, LAYER = "efficientnet_lite0", "block3b_add"  # 40 channels


def settings(*methods: str) -> list:
    return [list(methods), MODEL, LAYER, 10, True]


@dataclass(frozen=True)
class Job:
    """One kind of long work: the event that begins it, the values it is sent, given the picture and the zip, and where
    its stream comes from. `page`: it works on what a page shows, so the page explains a picture first."""

    name: str
    event: str
    values: Callable[[dict, dict], list]
    module: object
    stream: str
    page: bool = True


def compare(method: str, measured: bool) -> Callable:
    return lambda image, _: [image, [method], "", MODEL, LAYER, 10, measured, "even"]


JOBS = (
    Job("/compare, explaining", "compare", compare("scorecam", False), api, "explain_stream", False),
    Job("/compare, measuring", "compare", compare("gradcam", True), api, "measure", False),
    Job("/evaluate", "evaluate", lambda image, _: [image, ["gradcam"], "", MODEL], api, "measure", False),
    Job(
        "/explain",
        "explain",
        lambda image, _: [image, "scorecam", "", MODEL, LAYER, 10, 0.5, "viridis"],
        api,
        "explain_stream",
        False,
    ),
    Job("the page's maps", "on_class", lambda *_: [281, *settings("scorecam")], maps, "explain_stream"),
    Job("the page's measuring", "on_measure", lambda *_: [], evidence, "measure"),
    Job("the sweep", "on_sweep", lambda *_: [], evidence, "sweep"),
    Job("the sanity check", "on_sanity", lambda *_: [], evidence, "sanity_stream"),
    Job("two classes", "on_contrast", lambda *_: [281, "scorecam"], contrast, "explain_stream"),
    Job("two models", "on_compare", lambda *_: ["tiny"], two_models, "explain_stream"),
    Job("many pictures", "on_zip", lambda _, pictures: [pictures, ["gradcam"], MODEL], many, "study_stream"),
)


class Held:
    """A job's stream: its second item waits for `go`. `run`: whose it is."""

    def __init__(self, monkeypatch, job: Job) -> None:
        self.items, self.run = 0, None
        self.reached, self.go, self.closed = (threading.Event() for _ in range(3))
        self.real, self.take_place = getattr(job.module, job.stream), RUNS.take_place
        monkeypatch.setattr(job.module, job.stream, self.stream)
        monkeypatch.setattr(RUNS, "take_place", self.remember)

    def remember(self, run) -> None:
        self.take_place(run)
        self.run = run

    def stream(self, *given, **named):
        if self.reached.is_set():  # another job's
            yield from self.real(*given, **named)
            return
        try:
            for item in self.real(*given, **named):
                self.items += 1
                if self.items == 2:
                    self.reached.set()
                    assert self.go.wait(LIMIT)
                yield item
        finally:
            self.closed.set()


@dataclass
class Visit:
    """One visitor with a job under way, and the open stream of its answers."""

    url: str
    session: str
    number: int
    event: str
    answers: httpx.Response


# --- the ways in which a job ends --------------------------------------------------------------------------------


def closes_its_stream(visit: Visit) -> None:
    """As a browser does that leaves the page."""
    visit.answers.close()


def cancels(visit: Visit) -> None:
    """As Gradio's clients do it; Gradio answers when the job has ended, for which nobody waits here."""
    body = {"session_hash": visit.session, "fn_index": visit.number, "event_id": visit.event}
    request = {"json": body, "timeout": LIMIT}
    threading.Thread(target=httpx.post, args=(f"{visit.url}/gradio_api/cancel",), kwargs=request, daemon=True).start()


def presses_stop(visit: Visit) -> None:
    number = plain_http.event_id(visit.url, "on_stop")
    body = {"fn_index": number, "data": [], "session_hash": visit.session}
    httpx.post(f"{visit.url}/gradio_api/run/predict", json=body, timeout=LIMIT).raise_for_status()


def explains_something_else(visit: Visit) -> None:
    assert send(visit.url, "on_class", [282, *settings("gradcam")], visit.session).status_code == 200


OF_CLIENTS = (closes_its_stream, cancels)
OF_PAGES = (*OF_CLIENTS, presses_stop, explains_something_else)


def send(url: str, event: str, values: list, session: str, event_data=None) -> httpx.Response:
    return plain_http.join(url, plain_http.event_id(url, event), values, session, event_data)


@pytest.fixture(scope="module")
def picture(server_url) -> dict:
    path = plain_http.upload(server_url, (EXAMPLES / "chelsea.jpg").read_bytes())
    return {"path": path, "meta": plain_http.META}


@pytest.fixture(scope="module")
def pictures(server_url) -> dict:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in ("chelsea.jpg", "coffee.jpg"):
            archive.write(EXAMPLES / name, name)
    return {"path": plain_http.upload(server_url, held.getvalue(), "pictures.zip"), "meta": plain_http.META}


def begin(url: str, job: Job, values: list, session: str, client: httpx.Client, held: Held) -> Visit:
    joined = send(url, job.event, values, session)
    assert joined.status_code == 200, joined.text
    asked = client.build_request("GET", f"{url}/gradio_api/queue/data", params={"session_hash": session})
    answers = client.send(asked, stream=True)
    assert held.reached.wait(LIMIT)
    number = plain_http.event_id(url, job.event)
    return Visit(url, session, number, joined.json()["event_id"], answers)


@pytest.mark.parametrize(
    ("job", "ending"),
    [
        pytest.param(job, ending, id=f"{job.name}: the visitor {ending.__name__.replace('_', ' ')}")
        for job in JOBS
        for ending in (OF_PAGES if job.page else OF_CLIENTS)
    ],
)
def test_it_ends_after_the_block_it_is_at(server_url, monkeypatch, caplog, picture, pictures, job, ending):
    session = uuid.uuid4().hex
    if job.page:
        sent = {"file": picture["path"]}
        monkeypatch.setitem(MODELS, "tiny", TINY)
        send(server_url, "on_picture", settings("gradcam", "faster_scorecam"), session, sent).raise_for_status()
        assert plain_http.outcome(server_url, session)["success"]
    held = Held(monkeypatch, job)
    with httpx.Client(timeout=LIMIT) as client:
        visit = begin(server_url, job, job.values(picture, pictures), session, client, held)
        try:
            ending(visit)
            assert held.run.cancel.wait(LIMIT)
        finally:
            held.go.set()
        assert held.closed.wait(LIMIT)
        visit.answers.close()
    assert held.items <= 3
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_stopped_explanation_keeps_its_partial_map(server_url, monkeypatch, picture):
    session, job = uuid.uuid4().hex, next(job for job in JOBS if job.event == "on_class")
    send(server_url, "on_picture", settings("gradcam"), session, {"file": picture["path"]}).raise_for_status()
    assert plain_http.outcome(server_url, session)["success"]
    held = Held(monkeypatch, job)
    with httpx.Client(timeout=LIMIT) as client:
        visit = begin(server_url, job, job.values(picture, {}), session, client, held)
        presses_stop(visit)
        held.go.set()
        lines = [line.removeprefix("data:") for line in visit.answers.iter_lines() if '"process_' in line]
    assert '"badge"' in "".join(lines) and "Stopped after" in "".join(lines)


def test_who_gives_up_another_request_keeps_this_one(server_url, monkeypatch, picture):
    session, job = uuid.uuid4().hex, JOBS[0]
    held = Held(monkeypatch, job)
    with httpx.Client(timeout=LIMIT) as client:
        visit = begin(server_url, job, job.values(picture, {}), session, client, held)
        held.go.clear()
        other = send(server_url, "classify", [picture, MODEL, 1], session).json()["event_id"]
        number = plain_http.event_id(server_url, "classify")
        body = {"session_hash": session, "fn_index": number, "event_id": other}
        httpx.post(f"{server_url}/gradio_api/cancel", json=body, timeout=LIMIT).raise_for_status()
        assert not held.run.cancel.is_set()
        cancels(visit)
        assert held.run.cancel.wait(LIMIT)
        held.go.set()
        assert held.closed.wait(LIMIT)


# --- beside long work ------------------------------------------------------------------------------------------------


def test_short_requests_wait_for_no_more_than_a_block_of_ones_own_long_one(server_url, monkeypatch, lite0, picture):
    order, begun, ended = [], threading.Event(), threading.Event()
    masked, gradient, stream = lite0.masked_logits, lite0.forward_with_gradient, api.explain_stream

    def block(*given):
        begun.set()
        result = masked(*given)
        order.append("block")
        return result

    def pass_with_gradient(*given):
        order.append("asked")
        result = gradient(*given)
        order.append("served")
        return result

    def explain_stream(*given):
        try:
            yield from stream(*given)
        finally:
            ended.set()

    monkeypatch.setattr(lite0, "masked_logits", block)
    monkeypatch.setattr(lite0, "forward_with_gradient", pass_with_gradient)
    monkeypatch.setattr(api, "explain_stream", explain_stream)
    session = uuid.uuid4().hex
    send(server_url, "compare", [picture, ["scorecam"]], session).raise_for_status()  # 80 blocks
    with httpx.Client(timeout=LIMIT) as client:
        asked = client.build_request("GET", f"{server_url}/gradio_api/queue/data", params={"session_hash": session})
        answers = client.send(asked, stream=True)
        assert begun.wait(LIMIT)
        for _ in range(3):
            number = plain_http.event_id(server_url, "explain")
            assert plain_http.run(server_url, number, [picture, "gradcam"])["success"]
        assert not ended.is_set()
        answers.close()
        assert ended.wait(LIMIT)
    places = [place for place, what in enumerate(order) if what == "asked"]
    assert len(places) == 3
    for place in places:
        assert order[place : order.index("served", place)].count("block") <= 1
