"""Stop means stop: whatever is long ends after the block it is at, however it is ended, and its place is free.

No time decides: a job's pass through the classifier is held until the server knows that the job is to end. Then it may
go on, and no further pass of the job may begin.
"""

from __future__ import annotations

import io
import threading
import uuid
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import plain_http
import pytest
from conftest import EXAMPLES

from camkit.classifier import Classifier
from camkit.web.server.runs import LISTENERS, VISITORS

LIMIT = 60
LAYER = "block3b_add"  # 40 channels
MODEL = "efficientnet_lite0"
MASKED, WHOLE = "_make_masked", "_make_whole"  # of the passes that a Score-CAM makes, and of those that measure


def settings(*methods: str) -> list:
    return [list(methods), MODEL, LAYER, 10, True]


@dataclass(frozen=True)
class Job:
    """One kind of long work: the event that begins it, the values it is sent, given the picture and the zip, and the
    kind of pass that is held. `page`: it works on what a page shows, so the page explains a picture first."""

    name: str
    event: str
    values: Callable[[dict, dict], list]
    kind: str
    page: bool = True


JOBS = (
    Job("/compare, explaining", "compare", lambda image, _: [image, ["scorecam"], "", MODEL, LAYER], MASKED, False),
    Job(
        "/compare, measuring",
        "compare",
        lambda image, _: [image, ["gradcam"], "", MODEL, LAYER, 10, True],
        WHOLE,
        False,
    ),
    Job("/evaluate, explaining", "evaluate", lambda image, _: [image, ["scorecam"], "", MODEL], MASKED, False),
    Job("/evaluate, measuring", "evaluate", lambda image, _: [image, ["gradcam"], "", MODEL], WHOLE, False),
    Job("/explain", "explain", lambda image, _: [image, "scorecam", "", MODEL, LAYER], MASKED, False),
    Job("the page's maps", "on_class", lambda *_: [281, *settings("scorecam")], MASKED),
    Job("the page's measuring", "on_measure", lambda *_: [], WHOLE),
    Job("the sweep", "on_sweep", lambda *_: [], MASKED),
    Job("the sanity check", "on_sanity", lambda *_: [], "_make_gradient"),
    Job("two classes", "on_contrast", lambda *_: [281, "scorecam"], MASKED),
    Job("many pictures", "on_zip", lambda _, pictures: [pictures, ["gradcam"], MODEL], WHOLE),
)


class Held:
    """The passes that begin, by kind and in order; the second of `kind` waits for `go`. Any other one after that is
    somebody else's and sets `others`."""

    def __init__(self, monkeypatch, kind: str) -> None:
        self.begun: list[str] = []
        self.reached, self.others, self.go = (threading.Event() for _ in range(3))
        run = Classifier._run  # of any: the sanity check has copies of its own

        def passing(classifier, make, *given, **named):
            self.begun.append(make.__name__)
            if make.__name__ == kind and self.begun.count(kind) == 2:
                self.reached.set()
                assert self.go.wait(LIMIT)
            elif self.reached.is_set():
                self.others.set()
            return run(classifier, make, *given, **named)

        monkeypatch.setattr(Classifier, "_run", passing)


class Known:
    """What the server knows of one session: that nobody listens, that the page was left, that its run ended."""

    def __init__(self, monkeypatch, session: str) -> None:
        self.unheard, self.left, self.ended = (threading.Event() for _ in range(3))
        listening, leave, end = LISTENERS.listening, VISITORS.leave, VISITORS._end

        @contextmanager
        def listens(who):
            with listening(who):
                yield
            if who == session:
                self.unheard.set()

        def leaves(who, *event):
            leave(who, *event)
            if who == session:
                self.left.set()

        def ends(run):
            end(run)
            if run is self.run:
                self.ended.set()

        monkeypatch.setattr(LISTENERS, "listening", listens)
        monkeypatch.setattr(VISITORS, "leave", leaves)
        monkeypatch.setattr(VISITORS, "_end", ends)
        self.run = None


@dataclass
class Visit:
    """One visitor with a job under way: where, who, the open stream of its answers and of the page's heartbeat."""

    url: str
    session: str
    number: int
    event: str
    answers: httpx.Response
    heartbeat: httpx.Response
    known: Known
    held: Held


# --- the ways in which a job ends: each returns when the server knows of it, with the passes that it makes --------


def closes_its_stream(visit: Visit) -> list[str]:
    visit.answers.close()
    assert visit.known.unheard.wait(LIMIT)
    return []


def cancels(visit: Visit) -> list[str]:
    """As Gradio's clients do it; the request itself is answered when the job has ended, for which nobody waits here."""
    body = {"session_hash": visit.session, "fn_index": visit.number, "event_id": visit.event}
    threading.Thread(
        target=httpx.post,
        args=(f"{visit.url}/gradio_api/cancel",),
        kwargs={"json": body, "timeout": LIMIT},
        daemon=True,
    ).start()
    assert visit.known.left.wait(LIMIT)
    return []


def leaves_the_page(visit: Visit) -> list[str]:
    visit.heartbeat.close()
    assert visit.known.left.wait(LIMIT)
    return []


def presses_stop(visit: Visit) -> list[str]:
    number = plain_http.event_id(visit.url, "on_stop")
    body = {"fn_index": number, "data": [], "session_hash": visit.session}
    httpx.post(f"{visit.url}/gradio_api/run/predict", json=body, timeout=LIMIT).raise_for_status()
    return []


def explains_something_else(visit: Visit) -> list[str]:
    found = send(visit.url, "on_class", [282, *settings("gradcam")], visit.session)
    assert found.status_code == 200
    assert visit.held.others.wait(LIMIT)
    return ["_make_gradient"]


OF_CLIENTS = (closes_its_stream, cancels)
OF_PAGES = (*OF_CLIENTS, leaves_the_page, presses_stop, explains_something_else)


def send(url: str, event: str, values: list, session: str, event_data=None) -> httpx.Response:
    """Puts an event into the queue."""
    found = next(each for each in plain_http.events(url) if each["api_name"] == event)
    return plain_http.join(url, found["id"], values, session, event_data)


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


def case(job: Job, ending: Callable):
    name = f"{job.name}: the visitor {ending.__name__.replace('_', ' ')}"
    return pytest.param(job, ending, id=name)


@pytest.mark.parametrize(
    ("job", "ending"),
    [case(job, ending) for job in JOBS for ending in (OF_PAGES if job.page else OF_CLIENTS)],
)
def test_it_ends_after_the_block_it_is_at(server_url, monkeypatch, caplog, picture, pictures, job, ending):
    session = uuid.uuid4().hex
    if job.page:
        sent = {"file": picture["path"]}
        send(server_url, "on_picture", settings("gradcam"), session, sent).raise_for_status()
        assert plain_http.outcome(server_url, session)["success"]
    known, held = Known(monkeypatch, session), Held(monkeypatch, job.kind)
    streams = f"{server_url}/gradio_api"
    with httpx.Client(timeout=LIMIT) as client:
        heartbeat = client.send(client.build_request("GET", f"{streams}/heartbeat/{session}"), stream=True)
        joined = send(server_url, job.event, job.values(picture, pictures), session)
        assert joined.status_code == 200, joined.text
        asked = client.build_request("GET", f"{streams}/queue/data", params={"session_hash": session})
        answers = client.send(asked, stream=True)
        assert held.reached.wait(LIMIT)
        try:
            known.run, begun = VISITORS._runs[session], len(held.begun)
            number = next(each["id"] for each in plain_http.events(server_url) if each["api_name"] == job.event)
            visit = Visit(server_url, session, number, joined.json()["event_id"], answers, heartbeat, known, held)
            others = ending(visit)
        finally:
            held.go.set()
        assert known.ended.wait(LIMIT)
        answers.close()
        heartbeat.close()
    assert held.begun[begun:] == others
    assert known.run not in VISITORS._long
    assert VISITORS._runs.get(session) is not known.run
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_who_gives_up_another_request_keeps_this_one(server_url, monkeypatch, picture):
    session = uuid.uuid4().hex
    known, held = Known(monkeypatch, session), Held(monkeypatch, MASKED)
    compare = send(server_url, "compare", [picture, ["scorecam"], "", MODEL, LAYER], session)
    stream, asked = f"{server_url}/gradio_api/queue/data", {"session_hash": session}
    with httpx.stream("GET", stream, params=asked, timeout=LIMIT) as answers:
        assert held.reached.wait(LIMIT)
        known.run = VISITORS._runs[session]
        explain = send(server_url, "explain", [picture, "gradcam", "", MODEL], session)
        for name, joined, ended in (("explain", explain, False), ("compare", compare, True)):
            number, event = plain_http.event_id(server_url, name), joined.json()["event_id"]
            known.left.clear()
            cancels(Visit(server_url, session, number, event, answers, answers, known, held))
            assert known.run.ended is ended
        held.go.set()
        assert known.ended.wait(LIMIT)
