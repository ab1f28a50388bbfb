"""What strangers may send: paths of the server's disk, oversized and broken pictures, forged state. Each is refused in
a sentence that gives nothing of the server away, and what is allowed still works.

Requests are plain HTTP, since Gradio's own client would not send most of them.
"""

import base64
import io
import json
import os
import uuid
from pathlib import Path

import httpx
import plain_http
import pytest
from conftest import EXAMPLES
from PIL import Image
from plain_http import META, ROOT, png

from camkit.web.server.sessions import FORGOTTEN

SECRET = "the secret of this server"
NOT_UPLOADED = "The picture must be uploaded first: its file is not among the uploads."
KINDS = "PNG, JPEG, WebP, GIF, TIFF, BMP or AVIF"
UNREADABLE = f"The picture cannot be read: it is damaged or cut short, or it is not a picture. Use {KINDS}."
FAR_TOO_LARGE = "The picture has far too many pixels: at most 25 megapixels and 10,000 pixels a side are allowed."


def other(kind: str) -> str:
    """The refusal of a picture of another kind."""
    return f"The picture's format is {kind}, which is not read: use {KINDS}."


# What follows a picture in each event that takes one.
REST = {
    "classify": ["auto", 1],
    "explain": ["gradcam", "", "auto", "", 10, 0.5, "viridis", "even"],
    "compare": [["gradcam"], "", "auto", "", 10, False, "even"],
    "evaluate": [["gradcam"], "", "auto"],
}
SETTINGS = [["gradcam"], "efficientnet_lite0", "top_activation", 10, True]
PICTURE_EVENTS = tuple(REST)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A folder of the server outside its uploads, with a readable picture and a text file."""
    place = tmp_path_factory.mktemp("outside")
    Image.new("RGB", (40, 30), (1, 2, 3)).save(place / "private.png")
    (place / "secret.txt").write_text(SECRET)
    return place


@pytest.fixture(scope="session")
def uploaded(server_url) -> str:
    """The path of a picture that was uploaded as it should be."""
    return plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes(), "coffee.jpg")


def send(url: str, payload, event: str = "classify") -> dict:
    return plain_http.run(url, plain_http.event_id(url, event), [payload, *REST[event]])


# The hole: files of the server's disk


ADDRESS = "This server fetches nothing from other addresses: send the file itself, as an upload or as base64."
SHAPE = (
    "A file is wanted and something else was sent, such as a text: from Python send handle_file('picture.jpg') of "
    "gradio_client, else an upload or a base64 data URL, as /gradio_api/info describes."
)


def hostile_payloads(folder: Path, uploaded: str) -> dict[str, tuple]:
    """What is sent as a picture that is none among the uploads, and the refusal, by name."""
    private, secret = str(folder / "private.png"), str(folder / "secret.txt")
    climb = str(Path(uploaded).parent) + "/.." * 30
    link = Path(uploaded).parent / "link.png"
    link.unlink(missing_ok=True)
    link.symlink_to(private)
    paths = {
        "outside": private,
        "climbing": climb + private,
        "symbolic link": str(link),
        "file address": f"file://{private}",
        "the folder itself": str(Path(uploaded).parent),
        "zero byte": uploaded + "\0.png",
        "endless name": str(Path(uploaded).parent / ("a" * 5000)),
        "no text": {"path": private},
        "nothing": None,
    }
    found = {f"{name} with meta": ({"path": path, "meta": META}, NOT_UPLOADED) for name, path in paths.items()}
    found |= {name: ({"path": path}, NOT_UPLOADED) for name, path in paths.items()}
    return found | {
        "other meta": ({"path": private, "meta": {"_type": "something"}}, NOT_UPLOADED),
        "text for meta": ({"path": private, "meta": "gradio.FileData"}, NOT_UPLOADED),
        "as svg": ({"path": secret, "orig_name": "drawing.svg", "meta": META}, NOT_UPLOADED),
        "stream": ({"path": private, "is_stream": True}, NOT_UPLOADED),
        "address of a file": ({"url": f"file://{private}"}, NOT_UPLOADED),
        "address": ({"path": "https://example.com/cat.png", "meta": META}, ADDRESS),
        "address without meta": ({"path": "http://169.254.169.254/"}, ADDRESS),
        "address here of no upload": ({"path": f"http://127.0.0.1/gradio_api/file={private}"}, NOT_UPLOADED),
        "address with an upload behind": ({"path": f"http://example.com/?/gradio_api/file={uploaded}"}, ADDRESS),
        "address alone": ({"url": "HTTPS://example.com/cat.png", "path": None}, ADDRESS),
        "no path": ({}, SHAPE),
        "in a gallery": ([{"image": {"path": private, "meta": META}, "caption": None}], SHAPE),
        "as text": (private, SHAPE),
        "in a list": ([private], SHAPE),
        "number": (5, SHAPE),
        "nothing at all": (None, f"There is no picture: send a {KINDS} file as 'image'."),
    }


@pytest.mark.parametrize("event", PICTURE_EVENTS)
def test_nothing_but_an_upload_is_opened(server_url, folder, uploaded, event):
    for name, (payload, sentence) in hostile_payloads(folder, uploaded).items():
        message = send(server_url, payload, event)
        assert plain_http.refusal(message) == sentence, name
        assert SECRET not in json.dumps(message)


@pytest.mark.parametrize("base", ["call", "call/v2"])
def test_nor_over_plain_http(server_url, folder, uploaded, base):
    for name, (payload, sentence) in hostile_payloads(folder, uploaded).items():
        values = [payload, *REST["classify"]]
        body = {"data": values} if base == "call" else dict(zip(("image", "model", "top_k"), values, strict=True))
        asked = httpx.post(f"{server_url}/gradio_api/{base}/classify", json=body).raise_for_status().json()
        answer = httpx.get(f"{server_url}/gradio_api/call/classify/{asked['event_id']}", timeout=60).text
        assert answer.startswith("event: error") and json.dumps(sentence) in answer, name


def test_a_picture_of_this_servers_own_address_is_opened(server_url, uploaded):
    """As the page and the clients name an upload: by its path, with its address beside it, or by its address alone."""
    address = f"{server_url}/gradio_api/file={uploaded}"
    for own in ({"path": uploaded, "url": address, "meta": META}, {"path": address, "meta": META}):
        assert send(server_url, own)["success"]


def test_the_page_explains_no_file_but_an_uploaded_one(server_url, folder, uploaded):
    event = plain_http.event_id(server_url, "on_picture")
    for path in [str(folder / "private.png"), "https://example.com/cat.png", "", 5, [uploaded], {"path": uploaded}]:
        message = plain_http.run(server_url, event, SETTINGS, {"file": path})
        assert plain_http.refusal(message) == NOT_UPLOADED, path
    assert plain_http.run(server_url, event, SETTINGS, {"file": uploaded})["success"]


@pytest.mark.parametrize("event", PICTURE_EVENTS)
def test_what_was_uploaded_is_opened(server_url, short_curves, uploaded, event):
    assert send(server_url, {"path": uploaded, "meta": META}, event)["success"]


def test_what_was_uploaded_is_opened_without_meta_too(server_url, uploaded):
    assert send(server_url, {"path": uploaded})["success"]


def test_every_event_that_takes_a_picture_is_tested(server_url):
    takes = {event["api_name"] for event in plain_http.events(server_url) if "image" in event["kinds"]}
    assert takes == set(PICTURE_EVENTS)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:text/plain,hello", "The picture's data URL is not base64: send 'data:image/png;base64,...'."),
        ("data:image/svg+xml,<svg/>", "The picture's data URL is not base64: send 'data:image/png;base64,...'."),
        ("data:image/png;base64,%%%", "The picture's base64 text is damaged."),
        ("data:image/png;base64,éé", "The picture's base64 text is damaged."),
        ("data:image/png;base64,", f"The picture file is empty: choose a {KINDS} file."),
        (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), other("SVG")),
    ],
)
def test_data_urls_that_are_refused(server_url, url, message):
    assert plain_http.refusal(send(server_url, {"url": url})) == message


def test_a_picture_as_base64_is_opened(server_url):
    assert send(server_url, {"url": data_url((EXAMPLES / "coffee.jpg").read_bytes())})["success"]


def test_files_are_served_from_the_uploads_only(server_url, folder, uploaded):
    for path in (
        folder / "secret.txt",
        ROOT / "app.py",
        ROOT / "examples" / "coffee.jpg",
        Path("/etc/passwd"),
        Path(uploaded).parent / "../../../../etc/passwd",
    ):
        answer = httpx.get(f"{server_url}/gradio_api/file={path}")
        assert answer.status_code in (403, 404), path
        assert SECRET not in answer.text
    assert httpx.get(f"{server_url}/gradio_api/file={uploaded}").status_code == 200


def test_the_page_tells_no_path_of_the_server(server_url):
    for page in ("", "/config", "/gradio_api/info"):
        text = httpx.get(server_url + page).text
        assert str(ROOT) not in text
        assert os.environ["GRADIO_TEMP_DIR"] not in text


# The page's private events over plain HTTP


def hostile(kind: str, private: str):
    """Something that no component of this kind sends."""
    reference = {"path": private, "meta": META}
    return {"image": {"path": private}, "html": {"mask": reference, **reference}}.get(kind, reference)


@pytest.mark.parametrize(
    "event_data", [None, {"index": "../secret.txt", "value": {"path": "/etc/passwd"}}], ids=["bare", "event data"]
)
def test_no_event_of_the_page_gives_a_file_away(server_url, folder, event_data):
    private = str(folder / "secret.txt")
    for event in plain_http.events(server_url):
        if not event["backend_fn"]:
            continue
        data = [hostile(kind, private) for kind in event["kinds"]]
        message = plain_http.run(server_url, event["id"], data, event_data)
        assert SECRET not in json.dumps(message), event["api_name"]
        if not message["success"]:
            plain_http.refusal(message)


@pytest.mark.parametrize("index", [10**30, -1, "x", "0; rm", None, {"path": "x"}, float("1e300")])
def test_an_example_that_does_not_exist(server_url, index):
    number = plain_http.event_id(server_url, "on_example")
    message = plain_http.run(server_url, number, SETTINGS, {"index": index})
    if not message["success"]:
        plain_http.refusal(message)


def test_what_a_page_shows_comes_from_the_server_alone(server_url):
    """No request names a picture or a map that these events use: without a page there is none."""
    for name, given in {
        "on_download": [0.5, "viridis", "map", False],
        "on_figure": [0.5, "viridis", "map", False],
        "on_cover": [{"mask": None}],
        "on_measure": [],
        "on_contrast": [285, "gradcam"],
        "on_compare": [None],
        "on_sweep": [],
        "on_sanity": [],
    }.items():
        message = plain_http.run(server_url, plain_http.event_id(server_url, name), given)
        assert plain_http.refusal(message) == FORGOTTEN, name


@pytest.fixture(scope="session")
def visitor(server_url, uploaded) -> str:
    """The session of a visitor whose page shows a map."""
    session = uuid.uuid4().hex
    number = plain_http.event_id(server_url, "on_picture")
    plain_http.join(server_url, number, SETTINGS, session, {"file": uploaded}).raise_for_status()
    assert plain_http.outcome(server_url, session)["success"]
    return session


def paint(url: str, session: str, painting) -> dict:
    plain_http.join(url, plain_http.event_id(url, "on_cover"), [painting], session).raise_for_status()
    return plain_http.outcome(url, session)


def test_the_painters_mask(server_url, visitor):
    mask = Image.new("RGBA", (224, 224))
    mask.paste((0, 0, 0, 255), (0, 0, 112, 224))
    answer = paint(server_url, visitor, {"mask": data_url(encoded(mask))})
    assert answer["success"]
    assert "with 50% of the picture covered" in answer["output"]["data"][0]


@pytest.mark.parametrize(
    "mask",
    [
        data_url(encoded(Image.new("RGBA", (225, 224)))),
        data_url(encoded(Image.new("RGB", (224, 224)), "GIF")),
        "data:image/png;base64," + "A" * 300_000,
        "data:image/png;base64,AAAA",
        "data:text/plain,x",
        "/etc/passwd",
        "x" * 1000,
        [1, 2],
        7,
    ],
    ids=["another size", "a GIF", "too long", "no PNG", "no base64", "a path", "text", "a list", "a number"],
)
def test_a_mask_that_is_not_the_painters_is_refused(server_url, visitor, mask):
    assert plain_http.refusal(paint(server_url, visitor, {"mask": mask})) == (
        "The painted mask cannot be read: it must be a 224 x 224 PNG of at most 200 kB."
    )


# Limits


def test_a_file_over_20_megabytes_is_refused_at_the_upload(server_url):
    answer = httpx.post(f"{server_url}/gradio_api/upload", files={"files": ("a.png", bytes(20_000_001))}, timeout=60)
    assert answer.status_code == 413
    plain_http.assert_clean(answer.text)


def test_20_megabytes_as_base64_are_refused_before_they_are_decoded(server_url, monkeypatch):
    monkeypatch.setattr("camkit.web.server.uploads.base64.b64decode", lambda *_, **__: pytest.fail("decoded"))
    message = send(server_url, {"url": "data:image/png;base64," + "A" * 27_000_000})
    assert plain_http.refusal(message) == "The picture's base64 text is too long: at most 20 MB are allowed."


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            (5001, 5000),
            "The picture is 5001 x 5000 pixels: at most 25 megapixels and 10,000 pixels a side are allowed.",
        ),
        (
            (10_001, 100),
            "The picture is 10001 x 100 pixels: at most 25 megapixels and 10,000 pixels a side are allowed.",
        ),
        ((40_000, 40_000), FAR_TOO_LARGE),
        ((2**31 - 1, 2**31 - 1), FAR_TOO_LARGE),
        ((7, 100), "The picture is 7 x 100 pixels: each side must have at least 8."),
    ],
)
def test_a_size_outside_the_limits_is_refused_before_decoding(server_url, monkeypatch, size, message):
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("decoded"))
    path = plain_http.upload(server_url, png(*size))
    assert plain_http.refusal(send(server_url, {"path": path, "meta": META})) == message


def test_nothing_is_reported(server_url):
    from camkit.web import page
    from camkit.web.server.serving import LAUNCH

    demo = page.build()
    assert demo.analytics_enabled is False
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert httpx.get(f"{server_url}/config").json()["analytics_enabled"] is False
    assert LAUNCH["show_error"] is False


RED = Image.new("RGB", (10, 8), "red")


@pytest.mark.parametrize(
    ("content", "message"),
    {
        "ico": (encoded(RED.resize((16, 16)), "ICO"), other("ICO (Windows Icon)")),
        "pdf": (encoded(RED, "PDF"), other("PDF")),
        "ppm": (encoded(RED, "PPM"), other("PPM (Pbmplus image)")),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", other("SVG")),
        "text": (b"just text", UNREADABLE),
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", other("EPS (Encapsulated Postscript)")),
    }.values(),
)
def test_other_formats_are_refused_whatever_they_are_called(server_url, content, message):
    for name in ("picture.png", "drawing.svg"):
        path = plain_http.upload(server_url, content, name)
        assert plain_http.refusal(send(server_url, {"path": path, "meta": META, "orig_name": name})) == message
