"""What passes the gatekeeper: routes, sizes, requests that fit an event; and the words of Gradio's that it reads."""

import gradio as gr
import httpx
import plain_http
import pytest
from conftest import EXAMPLES

from camkit.errors import InputError, quoted
from camkit.web.server import refusals
from camkit.web.server.gatekeeper import ANSWERED, CLOSED, STREAM_ENDS

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


JOIN = "/gradio_api/queue/join"


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        *[(JOIN, body, 400) for body in (b"", b"[]", b"{", b"null", b'"x"', b"[" * 100_000, b"\xff\xfe")],
        *[(JOIN, {"fn_index": index, "data": []}, 404) for index in (-1, 9999, None, "0", True, 1.0, [1], {"a": 1})],
        *[
            (f"/gradio_api/{base}/{name}", {"data": []}, 404)
            for base in ("call", "call/v2", "run", "api")
            for name in ("nothing", "on_nothing")
        ],
        (JOIN, {"fn_index": 0, "path": "/etc/passwd"}, 400),
        ("/gradio_api/call/classify", {"data": []}, 400),
        ("/gradio_api/call/classify", {"data": "x"}, 400),
        ("/gradio_api/call/classify", {}, 400),
        ("/gradio_api/run/classify", {"data": [None, "auto", 5]}, 404),  # not past the queue
    ],
)
def test_a_request_that_fits_no_event_is_refused_in_a_sentence(server_url, path, content, status):
    given = {"content": content} if isinstance(content, bytes) else {"json": content}
    answer = httpx.post(server_url + path, **given)
    assert answer.status_code == status, answer.text
    plain_http.assert_clean(answer.json()["detail"])


def test_a_request_that_is_too_large_is_refused_unread(server_url):
    def endless(head: bytes = b""):
        yield head
        for _ in range(40):
            yield bytes(1_000_000)

    answer = httpx.post(server_url + JOIN, content=endless())
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
    answer = plain_http.join(server_url, plain_http.event_id(server_url, "on_measure"), [])
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
    assert answer.json()["detail"] == (
        "0 requests from your address are not answered yet, the most allowed: try again in 5 seconds."
    )


@pytest.mark.parametrize("root", ["", "/cam", "/camkit", "/gradio"])
@pytest.mark.parametrize("taken_off", [True, False])
def test_the_door_is_closed_under_any_root_path(server_url, root, taken_off):
    from camkit.web.server.gatekeeper import page_path

    path = "/gradio_api/queue/join"
    assert page_path({"path": path if taken_off else root + path, "root_path": root}) == path


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
            refusals.with_clear_errors(broken, markup=markup)()
        assert caught.value.message == text


# Words of Gradio's that the gatekeeper reads and Gradio does not document


def test_the_stream_says_in_these_words_that_an_event_is_answered_and_that_it_ends(server_url):
    path = plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes())
    data = [{"path": path, "meta": plain_http.META}, "auto", 1]
    joined = plain_http.join(server_url, plain_http.event_id(server_url, "classify"), data, "words")
    event = joined.json()["event_id"]
    stream = httpx.get(f"{server_url}/gradio_api/queue/data", params={"session_hash": "words"}, timeout=60).content
    parts = [part for part in stream.split(b"\n\n") if part]
    answered = [match[1].decode() for part in parts if (match := ANSWERED.match(part))]
    assert answered == [event]
    assert parts[-1].startswith(STREAM_ENDS) and not parts[-2].startswith(STREAM_ENDS)

    asked = httpx.post(f"{server_url}/gradio_api/call/classify", json={"data": data}).json()["event_id"]
    answer = httpx.get(f"{server_url}/gradio_api/call/classify/{asked}", timeout=60).content
    assert answer.startswith(STREAM_ENDS)


def test_the_configuration_names_each_events_inputs_and_their_types():
    with gr.Blocks() as page:
        gr.Button().click(lambda image: None, gr.Image(label="image"), api_name="named")
    config = page.get_config_file()
    (event,) = config["dependencies"]
    types = {component["id"]: component["type"] for component in config["components"]}
    assert (event["id"], event["api_name"], [types[number] for number in event["inputs"]]) == (0, "named", ["image"])
    (parameter,) = page.get_api_info()["named_endpoints"]["/named"]["parameters"]
    assert (parameter["parameter_name"], parameter["component"]) == ("image", "Image")
