"""What passes the gatekeeper, the folder's bound, the places for long work: each without a browser, most without
TensorFlow."""

import io
import os
import re
import threading
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import numpy as np
import plain_http
import pytest
from conftest import EXAMPLES
from filelock import FileLock
from gradio.queueing import Event
from PIL import Image

import camkit
from camkit.errors import InputError, quoted
from camkit.web.server import folder as folders
from camkit.web.server import limits, sessions
from camkit.web.server import runs as visitors
from camkit.web.server.files import write_file
from camkit.web.server.gatekeeper import CLOSED, unfinished

# Every route of the pinned Gradio that stays open, and what for.
OPEN = {
    "/": "the page",
    "/config": "the page's components",
    "/static/{path}": "the page's files",
    "/svelte/{path}": "the page's files",
    "/assets/{path}": "the page's files",
    "/favicon.ico": "the page's files",
    "/theme.css": "the page's files",
    "/robots.txt": "the page's files",
    "/pwa_icon": "the page's files",
    "/pwa_icon/{size}": "the page's files",
    "/manifest.json": "the page's files",
    "/login": "answers 404 or a page where nobody can log in",
    "/logout": "the same",
    "/gradio_api/user": "the clients ask whether somebody is logged in",
    "/gradio_api/login_check": "the same",
    "/gradio_api/token": "the same",
    "/gradio_api/app_id": "the page asks whether the server was restarted",
    "/gradio_api/startup-events": "the first request starts Gradio's queue",
    "/gradio_api/theme.css": "the page's files",
    "/gradio_api/info": "the API's description",
    "/gradio_api/openapi.json": "the API's description",
    "/gradio_api/file={path_or_url}": "uploads and answers; addresses are refused",
    "/gradio_api/file/{path}": "the same",
    "/gradio_api/reset": "does nothing any more",
    "/gradio_api/heartbeat/{session_hash}": "tells that a page was left",
    "/gradio_api/run/{api_name}": "events without a queue",
    "/gradio_api/api/{api_name}": "events without a queue",
    "/gradio_api/call/{api_name}": "the API over plain HTTP",
    "/gradio_api/call/v2/{api_name}": "the API over plain HTTP",
    "/gradio_api/call/{api_name}/{event_id}": "its answers",
    "/gradio_api/call/v2/{api_name}/{event_id}": "its answers",
    "/gradio_api/queue/join": "events",
    "/gradio_api/queue/data": "their answers",
    "/gradio_api/queue/status": "how many wait",
    "/gradio_api/cancel": "stops an event",
    "/gradio_api/upload": "pictures and zips",
    "/gradio_api/upload_progress": "how far an upload is",
}


def test_every_route_of_gradio_is_known_to_be_wanted_or_closed():
    from gradio.routes import App

    from camkit.web.page import build

    known = {path.rstrip("/") or "/" for path in App.create_app(build()).openapi()["paths"]}
    address = {"{path_or_url}": "http://example.com/cat.png", "{url_path}": "http://example.com/"}
    for path in known - set(OPEN):
        for name, value in address.items():
            path = path.replace(name, value)
        assert CLOSED.match(path), path
    assert not [path for path in OPEN if CLOSED.match(path.replace("{path_or_url}", "/tmp/x.png"))]
    assert set(OPEN) <= known


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/file=http://example.com/cat.png"),
        ("HEAD", "/gradio_api/file=HTTPS://example.com/cat.png"),
        ("GET", "/gradio_api/file=ftp://example.com/cat.png"),
        ("GET", "/gradio_api/file/http://example.com/cat.png"),
        ("GET", "/gradio_api/file=%68ttp://example.com/cat.png"),
        ("GET", "/gradio_api/proxy=https://example.com/"),
        ("GET", "/gradio_api/deep_link?session_hash=x"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/component_server"),
        ("GET", "/gradio_api/vibe-code/"),
        ("GET", "/gradio_api/dev/reload"),
        ("GET", "/gradio_api/runs"),
    ],
)
def test_a_route_that_nobody_needs_is_refused_in_a_sentence(server_url, method, path):
    answer = httpx.request(method, server_url + path)
    assert answer.status_code == 404
    if method != "HEAD":
        assert answer.json() == {
            "detail": "This route is not part of the demo: its API is described at /gradio_api/info."
        }


@pytest.mark.parametrize("index", [-1, 9999, None, "0", True, 1.0, [1], {"a": 1}])
def test_an_event_that_does_not_exist(server_url, index):
    answer = plain_http.join(server_url, index, [])
    assert answer.status_code == 404
    plain_http.assert_clean(answer.json()["detail"])


@pytest.mark.parametrize("name", ["nothing", "../config", "on_nothing"])
def test_an_endpoint_that_does_not_exist(server_url, name):
    for base in ("call", "call/v2"):
        answer = httpx.post(f"{server_url}/gradio_api/{base}/{name}", json={"data": []})
        assert answer.status_code in (404, 405), answer.text


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'"x"', b"[" * 100_000, b"\xff\xfe"])
def test_a_request_that_is_no_json_object(server_url, body):
    answer = httpx.post(f"{server_url}/gradio_api/queue/join", content=body)
    assert answer.status_code == 400
    plain_http.assert_clean(answer.json()["detail"])


def test_a_request_of_another_shape_is_no_fault_of_the_server(server_url):
    event = plain_http.event_id(server_url, "classify")
    for body in (
        {"fn_index": event},
        {"fn_index": event, "data": "x"},
        {"fn_index": event, "data": [], "session_hash": 1},
    ):
        answer = httpx.post(f"{server_url}/gradio_api/queue/join", json=body)
        assert answer.status_code in (400, 422), answer.text


def test_a_request_that_is_too_large_is_refused_unread(server_url):
    def endless(head: bytes = b""):
        yield head
        for _ in range(40):
            yield bytes(1_000_000)

    answer = httpx.post(f"{server_url}/gradio_api/queue/join", content=endless())
    assert answer.status_code == 413
    assert answer.json()["detail"] == "The request has more than 27 MB, the most allowed."
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode() for name in "ab"
    ]
    two = [parts[0], bytes(15_000_000), b"\r\n", parts[1], bytes(15_000_000), b"\r\n--b--"]
    for content in (endless(parts[0]), two):
        answer = httpx.post(f"{server_url}/gradio_api/upload", content=iter(content), headers=headers)
        assert answer.status_code == 413
        plain_http.assert_clean(answer.json()["detail"] if answer.text.startswith("{") else answer.text)


def test_requests_of_one_address_are_counted(server_url, monkeypatch):
    monkeypatch.setenv("CAMKIT_REQUESTS_PER_ADDRESS", "0")
    answer = plain_http.join(server_url, plain_http.event_id(server_url, "classify"), [])
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    assert answer.json()["detail"] == (
        "0 requests from your address are not answered yet, the most allowed: try again in 5 seconds."
    )


def test_a_request_that_gradio_forgot_to_forget_is_not_counted_and_not_kept():
    """One that is cancelled a second time while it is closing stays among its events for ever."""
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None, api_name="named")
    (function,), queue = blocks.fns.values(), blocks._queue
    waiting, running, left = (Event(None, function, None, None) for _ in range(3))
    queue.create_event_queue_for_fn(function)
    queue.event_queue_per_concurrency_id[function.concurrency_id].queue.append(waiting)
    queue.active_jobs = [None, [running]]
    queue.event_ids_to_events |= {each._id: each for each in (waiting, running, left)}
    assert unfinished(queue) == [waiting, running]
    assert list(queue.event_ids_to_events.values()) == [waiting, running]


def test_a_session_that_went_away_is_forgotten():
    """Gradio keeps the numbers of the events that it was not told the end of."""
    with gr.Blocks() as blocks:
        queue = blocks._queue
    queue.pending_event_ids_session = {"here": {"one"}, "gone": {"other"}}
    queue.pending_messages_per_session["here"] = None
    assert unfinished(queue) == []
    assert queue.pending_event_ids_session == {"here": {"one"}}


def test_a_value_that_is_not_offered_does_not_bring_the_list_of_those_that_are(server_url):
    number = plain_http.event_id(server_url, "on_class")
    message = plain_http.run(server_url, number, [None, "no class", ["gradcam"], "vgg17", "x", 10, True])
    assert plain_http.refusal(message).startswith("The request cannot be read: ")


def test_what_was_sent_is_repeated_in_80_characters(server_url):
    picture = {"path": plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes()), "meta": plain_http.META}
    long = "<b>" + "x" * 100_000
    for values in (
        [picture, "gradcam", long, "auto", "", 10, 0.5, "viridis"],
        [picture, "gradcam", "", long, "", 10, 0.5, "viridis"],
        [picture, "gradcam", "", "auto", long, 10, 0.5, "viridis"],
        [picture, long, "", "auto", "", 10, 0.5, "viridis"],
        [picture, "gradcam", "", "auto", "", long, 0.5, "viridis"],
        [picture, "gradcam", "", "auto", "", 10, long, "viridis"],
        [picture, "gradcam", "", "auto", "", 10, 0.5, long],
    ):
        message = plain_http.refusal(plain_http.run(server_url, plain_http.event_id(server_url, "explain"), values))
        assert len(message) < 400
        assert "x" * 81 not in message


def test_shown_is_one_short_line():
    assert quoted("a\nb\x00\x1b[31m\u202ec") == "a b [31m c"
    assert quoted("y" * 80) == "y" * 80
    assert quoted("y" * 81) == "y" * 77 + "..."
    assert len(quoted(" " * 10**6 + "z")) <= 80
    assert quoted(None) == "None"


def test_an_error_on_the_page_is_no_markup_and_for_a_program_plain():
    def broken():
        raise InputError("'<img src=//a.b/c>' is no class.")

    for markup, text in ((True, "'&lt;img src=//a.b/c&gt;' is no class."), (False, "'<img src=//a.b/c>' is no class.")):
        with pytest.raises(Exception, match="is no class") as caught:
            visitors.in_words(broken, markup=markup)()
        assert caught.value.message == text


# Addresses, places, listeners


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        ("0", "1.1.1.1", "peer"),
        ("1", "", "peer"),
        ("1", "1.1.1.1", "1.1.1.1"),
        ("1", "forged, 1.1.1.1", "1.1.1.1"),
        ("2", "forged, 1.1.1.1, 2.2.2.2", "1.1.1.1"),
        ("2", "1.1.1.1", "peer"),
    ],
)
def test_the_address_is_what_the_outermost_of_our_proxies_saw(monkeypatch, proxies, forwarded, expected):
    monkeypatch.setenv("CAMKIT_PROXIES", proxies)
    assert visitors.address("peer", {"x-forwarded-for": forwarded}) == expected


def test_a_space_has_one_proxy(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "owner/name")
    assert limits.limits().proxies == 1


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "²"])
@pytest.mark.parametrize("variable", [each.metadata["variable"] for each in fields(limits.Limits)])
def test_a_limit_that_is_no_number_is_named(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"^{variable} is '{re.escape(value)}': it must be a whole number from 0 on.$"):
        limits.limits()


def test_a_wrong_limit_is_named_at_the_start(monkeypatch):
    from camkit.web.page import main

    monkeypatch.setenv("CAMKIT_LONG_PER_ADDRESS", "many")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == "CAMKIT_LONG_PER_ADDRESS is 'many': it must be a whole number from 0 on."


def asks(session: str, address: str = "a"):
    return SimpleNamespace(session_hash=session, client=SimpleNamespace(host=address), headers={})


@pytest.fixture
def heard(monkeypatch):
    """Listeners that are always there."""
    monkeypatch.setattr(visitors.LISTENERS, "hear", lambda session: True)
    monkeypatch.setattr(visitors.LISTENERS, "come", lambda session, seconds: True)


def test_places_are_counted_by_address_and_in_all(monkeypatch, heard):
    monkeypatch.setenv("CAMKIT_LONG_PER_ADDRESS", "1")
    monkeypatch.setenv("CAMKIT_LONG_IN_ALL", "2")
    both = visitors.Visitors()
    with both.api_run(asks("one", "a")) as first:
        first.seconds_left = 41.6
        with pytest.raises(visitors.Busy, match=r"^1 long computations from your address .* in about 42 s\.$"):
            both.begin_long(both._new_run(asks("two", "a")))
        with both.api_run(asks("three", "b")) as second:
            second.seconds_left = 7
            with pytest.raises(visitors.Busy, match=r"^The server is busy with 2 long computations: .* in 7 s\.$"):
                both.begin_long(both._new_run(asks("four", "c")))
            first.stopped = True  # its place is free at once, for it ends after the block it is at
            with both.api_run(asks("two", "a")):
                pass
    with both.api_run(asks("five", "a")):
        pass


def test_long_work_that_was_unheard_once_stays_given_up_when_its_visitor_listens_again(heard):
    own = visitors.Visitors()
    with own.api_run(asks("me")) as run:
        own.unheard("somebody else")
        assert not run.gone
        own.unheard("me")  # the stream was closed; the next request of this session has opened another
        assert run.gone
        with own.api_run(asks("me")) as after:  # and is not told that one of its own still runs
            assert not after.gone
    short = own._new_run(asks("me"))
    own._runs["me"] = short
    own.unheard("me")
    assert not short.gone  # what is quick is finished


def test_a_refused_visitor_holds_nothing(monkeypatch, heard):
    monkeypatch.setenv("CAMKIT_LONG_PER_ADDRESS", "0")
    none = visitors.Visitors()
    with pytest.raises(visitors.Busy), none.api_run(asks("one")):
        pass
    assert not none.busy("one")


def test_long_work_that_nobody_listens_to_does_not_begin(monkeypatch):
    monkeypatch.setattr(visitors, "LISTENER_COMES", 0.01)
    with pytest.raises(InputError, match="^Nobody listened"), visitors.VISITORS.api_run(asks("deaf")):
        pytest.fail("begun")
    assert not visitors.VISITORS.busy("deaf")


def test_long_work_ends_with_its_last_listener():
    seen = []
    with visitors.LISTENERS.listening("ear"), visitors.VISITORS.api_run(asks("ear")) as run:
        seen.append(run.ended)
        with visitors.LISTENERS.listening("ear"):
            pass
        seen.append(run.ended)
        leave = visitors.LISTENERS.listening("other")
        with leave:
            seen.append(run.ended)
    with pytest.raises(InputError, match="^Stopped"):
        list(run.watch([1]))
    assert seen == [False, False, False]


def test_a_listener_that_comes_late_is_waited_for():
    come = threading.Event()

    def listen():
        with visitors.LISTENERS.listening("late"):
            come.wait(60)

    thread = threading.Timer(0.05, listen)
    thread.start()
    with visitors.VISITORS.api_run(asks("late")) as run:
        assert not run.ended
    come.set()
    thread.join(60)


# The folder of uploads


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("CAMKIT_UPLOAD_MEGABYTES", "10")
    monkeypatch.setenv("CAMKIT_UPLOAD_MEGABYTES_PER_ADDRESS", "8")
    return tmp_path


def lay(folder: Path, name: str, megabytes: int, age: float) -> Path:
    path = folder / name / "file"
    path.parent.mkdir()
    path.write_bytes(bytes(megabytes * 1_000_000))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_oldest_files_go_first_and_none_that_may_be_in_use(folder):
    oldest, older, young = lay(folder, "a", 4, 300), lay(folder, "b", 4, 200), lay(folder, "c", 4, 1)
    bound = folders.UploadFolder()
    bound.tidy()
    assert [path.exists() for path in (oldest, older, young)] == [False, True, True]
    bound.begin_upload("x", 5_000_000)
    assert [path.exists() for path in (older, young)] == [False, True]
    with pytest.raises(folders.NoRoom, match="^The server's folder of uploads is full: try again in a minute.$"):
        bound.begin_upload("y", 5_000_000)  # what has arrived and what arrives fill it, and nothing is old enough


def test_a_file_lasts_an_hour_and_what_it_leaves_empty_a_minute(folder):
    old, young = lay(folder, "a", 1, visitors.FILES_LIVE + 1), lay(folder, "b", 1, visitors.FILES_LIVE - 60)
    bound = folders.UploadFolder()
    bound.tidy()
    assert [old.exists(), old.parent.exists(), young.exists()] == [False, True, True]

    os.utime(old.parent, (time.time() - folders.KEEP - 1,) * 2)
    under_way = bound.begin_upload("x", 1)
    bound.tidy()
    assert old.parent.exists()  # the upload may go there
    bound.end_upload(under_way, whole=True)
    bound.tidy()
    assert [path.name for path in folder.iterdir()] == ["b"]

    young.unlink()
    young.parent.rmdir()
    os.utime(folder, (0, 0))
    bound.tidy()
    assert folder.is_dir()


def test_the_folder_is_looked_through_when_it_may_be_full_and_not_for_every_upload(folder, monkeypatch):
    looked = []
    monkeypatch.setattr(folders, "_contents", lambda root: looked.append(root) or ([], {}))
    bound = folders.UploadFolder()
    for address in ("a", "b", "c"):
        bound.end_upload(bound.begin_upload(address, 3_000_000), whole=True)
    assert len(looked) == 1
    bound.begin_upload("d", 3_000_000)  # with what has arrived it is over 10 MB
    assert len(looked) == 2


def test_an_answer_is_written_though_its_empty_folder_was_just_tidied_away(folder, monkeypatch):
    write, gone = Path.write_bytes, []

    def tidied_once(path: Path, content: bytes) -> int:
        if not gone:
            gone.append(path.parent.rmdir())
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", tidied_once)
    path = Path(write_file("map.png", b"a map"))
    assert (path.read_bytes(), len(gone)) == (b"a map", 1)


def test_one_address_has_a_share_of_a_minutes_uploads(folder):
    bound = folders.UploadFolder()
    number = bound.begin_upload("x", 5_000_000)
    bound.end_upload(number, whole=True)
    words = r"^At most 8 MB may be uploaded from an address in a minute: try again in 6\d seconds\.$"
    with pytest.raises(folders.NoRoom, match=words) as caught:
        bound.begin_upload("x", 5_000_000)
    assert 59 <= caught.value.wait <= 62
    bound.begin_upload("y", 5_000_000)


def test_parts_of_an_upload_go_when_it_is_cut_off(folder):
    bound = folders.UploadFolder()
    one, other = bound.begin_upload("x", 1), bound.begin_upload("x", 1)
    part = folder / "tmpabc"
    part.write_bytes(b"x")
    bound.end_upload(one, whole=False)
    assert part.exists()  # it may be the other's
    bound.end_upload(other, whole=False)
    assert not part.exists()


def test_a_process_has_a_folder_of_its_own_and_sweeps_those_of_the_dead(tmp_path, monkeypatch):
    dead, alive = tmp_path / "camkit-dead", tmp_path / "camkit-alive"
    for each in (dead, alive):
        (each / "a").mkdir(parents=True)
        (each / "a" / "file").write_bytes(b"x")
        each.with_suffix(".lock").touch()
    (tmp_path / "of somebody else").mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    at_exit = []
    monkeypatch.setattr(folders.atexit, "register", lambda *call: at_exit.append(call))
    claim = folders.claim_folder.__wrapped__  # as a process does that has not yet claimed one
    with FileLock(alive.with_suffix(".lock")):
        own = claim()
        assert (own.parent, os.environ["GRADIO_TEMP_DIR"]) == (tmp_path, str(own))
        assert own.is_dir() and not dead.exists()
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
        other = claim()
        assert other != own and own.is_dir()  # what this process holds is no dead one's either
    for leave, *given in at_exit:
        leave(*given)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "camkit-alive", "camkit-alive.lock", "folders.lock", "of somebody else"
    ]  # fmt: skip


# What the page remembers


def test_pages_are_forgotten_oldest_first_and_told_so(monkeypatch, lite0, chelsea):
    monkeypatch.setenv("CAMKIT_PAGES", "3")
    monkeypatch.setenv("CAMKIT_PAGES_PER_ADDRESS", "2")
    explanation = camkit.explain(lite0, chelsea, ["gradcam"])
    kept = sessions.Memories()
    monkeypatch.setattr(sessions, "MEMORIES", kept)

    def keep(visitor: str, address: str) -> None:
        kept.keep(visitors.Run(1, visitor, address), b"", explanation)

    keep("1", "a")
    keep("2", "a")
    assert kept.find("1").known.class_index == explanation.class_index  # used: now the younger of the two
    keep("3", "a")
    with pytest.raises(InputError, match="^The server has no picture of this page, or no longer"):
        kept.find("2")
    keep("4", "b")
    keep("5", "c")
    assert len(kept) == 3
    with pytest.raises(InputError, match="no longer"):
        kept.find("1")


def test_measurements_are_kept_with_the_run_they_are_of(lite0, chelsea):
    kept = sessions.Memories()
    explanation = camkit.explain(lite0, chelsea, ["gradcam"])
    kept.keep(visitors.Run(1, "me", "a"), b"", explanation)
    kept.measured("me", 1, {"gradcam": "figures"})
    assert kept.find("me").measurements == {"gradcam": "figures"}
    kept.keep(visitors.Run(2, "me", "a"), b"", explanation)  # other maps
    kept.measured("me", 1, {"gradcam": "figures"})  # of the old ones, too late
    kept.measured("nobody", 1, {"gradcam": "figures"})
    assert kept.find("me").measurements == {}


def test_what_is_remembered_is_small_and_gives_the_same_back(monkeypatch, lite0, chelsea):
    from camkit.web.server.uploads import page_jpeg

    picture = page_jpeg(chelsea)
    shown_image = camkit.open_picture(picture)
    explanation = camkit.explain(lite0, shown_image, ["gradcam", "gradcam_plus_plus"])
    sessions.MEMORIES.keep(visitors.Run(1, "me", "a"), picture, explanation)
    memory = sessions.MEMORIES.find("me")
    arrays = [cam.raw.nbytes + cam.map.nbytes for cam in memory.known.cams.values()]
    assert len(memory.picture) + sum(arrays) + memory.known.image.nbytes < 300_000
    again = memory.explanation
    assert (again.image == shown_image).all()
    for key, cam in explanation.cams.items():
        assert (again.cams[key].map == cam.map).all()
        assert (again.cams[key].raw == cam.raw).all()


def test_the_picture_of_the_page_says_how_16_bits_are_shown(lite0):
    from camkit.web.server.uploads import Upload, page_jpeg, window_of
    from camkit.web.tabs.maps import explained_html

    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    held = io.BytesIO()
    Image.fromarray(deep).save(held, "PNG")
    picture = Upload(held.getvalue()).for_page()
    assert window_of(picture) == "shown from 0 to 4095 of 65535"
    explanation = camkit.explain(lite0, camkit.open_picture(picture), ["gradcam"])
    assert "grey values are shown from 0 to 4095 of 65535" in explained_html(explanation, window_of(picture))
    assert "grey values" not in explained_html(explanation)
    for comment in ("", "shown from <b> to", "made with a camera"):
        assert window_of(page_jpeg(explanation.image, comment)) == ""


def test_a_page_that_was_forgotten_says_so_and_works_on(server_url):
    session, number = "forgotten", plain_http.event_id(server_url, "on_settings")
    settings = [["gradcam"], "efficientnet_lite0", "top_activation", 10, True]
    path = plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes())

    def event(name: str, *values) -> dict:
        number = plain_http.event_id(server_url, name)
        plain_http.join(server_url, number, [*values, *settings], session, {"file": path}).raise_for_status()
        return plain_http.outcome(server_url, session)

    assert event("on_picture")["success"]
    assert event("on_settings")["success"]
    with sessions.MEMORIES._guard:
        del sessions.MEMORIES._kept[session]
    assert plain_http.refusal(event("on_settings")) == sessions.FORGOTTEN
    assert plain_http.refusal(event("on_class", 7)) == sessions.FORGOTTEN
    assert event("on_picture")["success"]
    assert number
