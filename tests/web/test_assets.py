"""What the browser fetches once and keeps, and what a visitor's page therefore weighs."""

import httpx
import plain_http
import pytest
from conftest import EXAMPLES

from camkit.labels import imagenet
from camkit.web.server.assets import asset
from camkit.web.server.serving import LAUNCH

HALF_OF_BEFORE = 178_000  # bytes; /config had 357 kB while it held scripts, class lists and thumbnails


def test_the_pages_configuration_is_small(server_url):
    text = httpx.get(f"{server_url}/config").text
    assert len(text) < HALF_OF_BEFORE
    assert "data:image" not in text
    assert imagenet().class_at(1).name not in text


def test_scripts_are_fetched_once_and_kept(server_url):
    path = asset("panels.js", b"const a = 1;", "text/javascript")
    for answer in (httpx.get(server_url + path), httpx.head(server_url + path)):
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert httpx.get(server_url + path).content == b"const a = 1;"
    assert asset("panels.js", b"const a = 2;", "text/javascript") != path


def test_a_models_classes_are_asked_for_again_and_sent_when_they_changed(server_url):
    path = f"{server_url}/cam/classes/efficientnet_lite0"
    first = httpx.get(path)
    assert first.json() == [
        {"index": entry.index, "name": entry.name, "also": list(entry.also)} for entry in imagenet()
    ]
    assert first.headers["cache-control"] == "no-cache"
    again = httpx.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.get(path, headers={"If-None-Match": '"another"'}).content == first.content


@pytest.mark.parametrize("path", ["/cam/classes/none", "/cam/classes/", "/cam/", "/cam/0/panels.js"])
def test_what_is_not_there_is_refused_in_a_sentence(server_url, path):
    answer = httpx.get(server_url + path)
    assert answer.status_code == 404
    plain_http.assert_clean(answer.json()["detail"])


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
    answer = plain_http.run(server_url, number, [["gradcam"], "efficientnet_lite0", "top_activation", value, True])
    assert "must be a whole number from 1 to 1280" in plain_http.refusal(answer)
