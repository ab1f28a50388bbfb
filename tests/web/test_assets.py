"""What the browser fetches once and keeps, and what a visitor's page therefore weighs."""

import os

import gradio as gr
import httpx
import plain_http
import pytest
from conftest import EXAMPLES, free_port
from starlette.testclient import TestClient

from camkit.labels import imagenet
from camkit.web import mcp
from camkit.web.server.assets import CLASSES, PREFIX
from camkit.web.server.gatekeeper import MCP_PATH
from camkit.web.server.serving import LAUNCH, Page

LARGEST = 210_000  # bytes; /config had 357 kB with scripts, class lists and thumbnails, each of them 20 kB and more


def test_the_pages_configuration_is_small(server_url):
    text = httpx.get(f"{server_url}/config").text
    assert len(text) < LARGEST
    assert "data:image" not in text
    assert imagenet().class_at(1).name not in text


@pytest.mark.parametrize(
    ("name", "kind", "begins"),
    [
        ("panels.js", "text/javascript", b"// Draws maps"),
        ("tables.js", "text/javascript", b'export default {"viridis": "'),
        ("thumbnails/chelsea.jpg", "image/jpeg", b"\xff\xd8"),
    ],
)
def test_scripts_and_thumbnails_are_files(server_url, name, kind, begins):
    answer = httpx.get(f"{server_url}{PREFIX}/{name}")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    assert answer.content.startswith(begins)


def test_a_models_classes_are_asked_for_again_and_sent_when_they_changed(server_url):
    path = f"{server_url}{CLASSES}efficientnet_lite0"
    first = httpx.get(path)
    assert first.json() == [
        {"index": entry.index, "name": entry.name, "also": list(entry.also)} for entry in imagenet()
    ]
    assert first.headers["cache-control"] == "no-cache"
    again = httpx.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(path, headers={"If-None-Match": '"another"'}).content == first.content


@pytest.mark.parametrize("name", ["classes/none", "thumbnails/none.jpg", "none.js", "style.css", "%2e%2e%2fapi.py"])
def test_what_is_not_there_is_not_found(server_url, name):
    assert httpx.get(f"{server_url}{PREFIX}/{name}").status_code == 404


def test_no_proxy_is_asked_for_the_server_itself(monkeypatch):
    """Gradio calls its own server at the start; nothing listens where the environment says that a proxy is."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "example.com")
    monkeypatch.setenv("NO_PROXY", "example.com")
    with Page(mcp.served) as page:
        gr.Markdown("any")
    _, url, _ = page.launch(prevent_thread_lock=True, server_port=free_port(), quiet=True)
    try:
        assert httpx.get(f"{url}{PREFIX.lstrip('/')}/panels.js").status_code == 200
        assert os.environ["no_proxy"].split(",")[0] == "example.com"
    finally:
        page.close()


@pytest.mark.parametrize("root", ["/cam", "/own"])
@pytest.mark.parametrize("taken_off", [True, False])
def test_assets_are_found_under_any_root_path(root, taken_off):
    """A proxy takes the root path off, or does not."""
    with Page(mcp.served) as page:
        gr.Markdown("any")
    app, _, _ = page.launch(root_path=root, prevent_thread_lock=True, server_port=free_port(), quiet=True)
    try:
        client = TestClient(app)
        assert client.get(f"{'' if taken_off else root}{PREFIX}/panels.js").status_code == 200
        assert client.get(f"{'' if taken_off else root}{MCP_PATH}").headers["Allow"] == "POST"
    finally:
        page.close()


def test_a_page_works_on_when_gradio_has_forgotten_it(server_url):
    """Gradio keeps the state of few visitors; with it goes what it knew of choices that the page changed."""
    path = plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes())
    settings = [["gradcam"], "efficientnet_lite0", "block3b_add", 10, True]

    def event(session: str, name: str, *values, event_data=None) -> dict:
        number = plain_http.event_id(server_url, name)
        plain_http.join(server_url, number, list(values), session, event_data).raise_for_status()
        return plain_http.outcome(server_url, session)

    assert event("early", "on_picture", *settings, event_data={"file": path})["success"]
    assert event("early", "on_settings", *settings)["success"]  # the slider ends at 40 now
    for number in range(LAUNCH["state_session_capacity"] + 1):
        assert event(f"later {number}", "on_tick", "efficientnet_lite0")["success"]
    settings[3] = 1280
    assert event("early", "on_settings", *settings)["success"]
    assert event("early", "on_class", 504, *settings)["success"]


@pytest.mark.parametrize("value", [None, "many", True, 0, -1, [7]])
def test_a_number_of_channels_that_is_none_is_refused(server_url, value):
    number = plain_http.event_id(server_url, "on_open")
    answer = plain_http.run(
        server_url, number, [None, ["gradcam"], "efficientnet_lite0", "top_activation", value, True]
    )
    assert "must be a whole number from 1 to 1280" in plain_http.refusal(answer)
