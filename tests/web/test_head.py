"""What the page's head says: to those who are sent a link, and in the browser's tab."""

import io
import os
import re

import httpx
import numpy as np
import pytest
from conftest import example
from PIL import Image

from camkit.explain import explain
from camkit.export.figure import draw_slide
from camkit.web.server.assets import BROWSER, PREFIX
from camkit.web.server.head import ICON, PREVIEW, PREVIEW_SIZE, root_of

META = re.compile(r'<meta (?:name|property)="([^"]+)" content="([^"]*)">')


def test_a_link_says_what_the_page_is_and_shows_a_picture(server_url):
    answer = httpx.get(server_url, params={"example": '"><script>'})
    told = dict(META.findall(answer.text))
    assert told["og:title"] == "Class activation maps, side by side"
    assert "where it looked" in told["og:description"] == told["description"]
    assert told["og:image"] == f"{server_url}{PREFIX}/{PREVIEW}"
    assert told["twitter:card"] == "summary_large_image"
    head = answer.text[: answer.text.index("window.gradio_config")]
    assert (
        head.count("og:title") == 1 and "radio-app" not in head and "try out" not in head and '"><script>' not in head
    )
    picture = httpx.get(told["og:image"])
    assert picture.headers["content-type"] == "image/jpeg" and len(picture.content) < 120_000
    with Image.open(io.BytesIO(picture.content)) as image:
        assert image.size == PREVIEW_SIZE


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


def test_the_picture_of_a_link_is_what_the_page_shows(lite0):
    """`UPDATE_PICTURES=1` draws it anew. Compared above the captions, which say seconds."""
    for _ in range(2):  # the first one compiles
        explanation = explain(lite0, example("astronaut"), ["gradcam", "gradcam_plus_plus"], class_index=812)
    words = "A network guesses what is in a picture. Red is where it looked, by methods that do not always agree."
    slide = draw_slide(explanation, 0.8, "turbo", "map", model_name=lite0.spec.name, words=words)
    drawn = slide.crop((0, 20, 1920, 1028)).resize(PREVIEW_SIZE)
    if os.environ.get("UPDATE_PICTURES"):
        drawn.save(BROWSER / PREVIEW, quality=75, optimize=True, progressive=True)
    with Image.open(BROWSER / PREVIEW) as kept:
        apart = np.abs(np.asarray(drawn, int) - np.asarray(kept, int))
    assert apart[:480].mean() < 3  # kept as JPEG
