"""What the page's head says: to those who are sent a link, and in the browser's tab."""

import io
import re

import httpx
import numpy as np
import pytest
from PIL import Image

from camkit.web.server.head import ICON, PREVIEW, PREVIEW_SIZE, root_of

META = re.compile(r'<meta (?:name|property)="([^"]+)" content="([^"]*)">')


def test_a_link_says_what_the_page_is_and_shows_a_picture(server_url):
    answer = httpx.get(server_url, params={"example": '"><script>'})
    told = dict(META.findall(answer.text))
    assert told["og:title"] == "Class activation maps, side by side"
    assert "where it looked" in told["og:description"] == told["description"]
    assert told["og:image"] == f"{server_url}{PREVIEW}"
    assert told["twitter:card"] == "summary_large_image"
    head = answer.text[: answer.text.index("window.gradio_config")]
    assert (
        head.count("og:title") == 1 and "radio-app" not in head and "try out" not in head and '"><script>' not in head
    )
    picture = httpx.get(told["og:image"])
    assert picture.headers["content-type"] == "image/jpeg" and len(picture.content) < 120_000
    with Image.open(io.BytesIO(picture.content)) as image:
        assert image.size == PREVIEW_SIZE
        assert (np.asarray(image).std(axis=2) > 30).mean() > 0.2  # maps in colour, where paper and picture have little


def test_the_page_is_sent_compressed(server_url):
    answer = httpx.get(server_url)
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < len(answer.content) / 4
    assert "content-encoding" not in httpx.get(server_url, headers={"Accept-Encoding": "identity"}).headers


def test_the_tabs_icon_is_ours(server_url):
    assert httpx.get(f"{server_url}/favicon.ico").text == ICON.read_text()
    assert '<link rel="icon" type="image/svg+xml" href="data:image/svg+xml,%3Csvg' in httpx.get(server_url).text


@pytest.mark.parametrize(
    ("root", "headers", "wanted"),
    [
        ("", {}, "http://here:7860"),
        ("/cam", {}, "http://here:7860/cam"),
        ("/cam/", {"x-forwarded-proto": "https", "x-forwarded-host": "a.org"}, "https://a.org/cam"),
        ("", {"x-forwarded-proto": "https,http", "x-forwarded-host": "a.org, b"}, "https://a.org"),
        ("https://a.org/cam", {"x-forwarded-host": "b.org"}, "https://a.org/cam"),
    ],
)
def test_the_picture_is_named_by_the_address_that_visitors_see(root, headers, wanted):
    sent = [(name.encode(), value.encode()) for name, value in ({"host": "here:7860"} | headers).items()]
    assert root_of({"type": "http", "scheme": "http", "root_path": root, "headers": sent}) == wanted
