"""What strangers may send: paths of the server's disk, oversized and broken pictures, forged state. Each is refused in
a sentence that gives nothing of the server away, and what is allowed still works.

Requests are plain HTTP, since Gradio's own client would not send most of them.
"""

import base64
import io
import json
import os
import struct
import time
import uuid
from pathlib import Path

import httpx
import numpy as np
import plain_http
import pytest
from conftest import EXAMPLES
from gradio.data_classes import ImageData
from PIL import Image
from plain_http import META, ROOT, one_bit, png

from camkit.errors import InputError
from camkit.web.server.sessions import FORGOTTEN
from camkit.web.server.uploads import Upload

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


def outside(folder: Path, uploaded: str) -> dict:
    """Payloads that ask for a file outside the uploads; by name, so that a failure says which."""
    private, secret = str(folder / "private.png"), str(folder / "secret.txt")
    climb = str(Path(uploaded).parent) + "/.." * 30
    link = Path(uploaded).parent / "link.png"
    link.unlink(missing_ok=True)
    link.symlink_to(private)
    return {
        "with meta": {"path": private, "meta": META},
        "without meta": {"path": private},
        "other meta": {"path": private, "meta": {"_type": "something"}},
        "empty meta": {"path": private, "meta": {}},
        "as svg": {"path": secret, "orig_name": "drawing.svg"},
        "as svg with meta": {"path": secret, "orig_name": "drawing.svg", "meta": META},
        "climbing": {"path": climb + private},
        "climbing with meta": {"path": climb + private, "meta": META},
        "symbolic link": {"path": str(link)},
        "symbolic link with meta": {"path": str(link), "meta": META},
        "stream": {"path": private, "is_stream": True},
        "file address": {"url": f"file://{private}"},
        "file address as path": {"path": f"file://{private}", "meta": META},
        "the folder itself": {"path": str(Path(uploaded).parent)},
        "no path": {},
        "zero byte": {"path": uploaded + "\0.png"},
        "endless name": {"path": str(Path(uploaded).parent / ("a" * 5000))},
    }


MALFORMED = {
    "in a gallery": lambda path: [{"image": {"path": path, "meta": META}, "caption": None}],
    "in a gallery without meta": lambda path: [{"image": {"path": path}}],
    "as text": lambda path: path,
    "in a list": lambda path: [path],
    "nested": lambda path: {"path": {"path": path}},
    "text for meta": lambda path: {"path": path, "meta": "gradio.FileData"},
    "number": lambda path: 5,
    "zero byte with meta": lambda path: {"path": path + "\0", "meta": META},
    "endless name with meta": lambda path: {"path": path + "a" * 5000, "meta": META},
}


@pytest.mark.parametrize("event", PICTURE_EVENTS)
def test_no_file_outside_the_uploads_is_opened(server_url, folder, uploaded, event):
    for name, payload in outside(folder, uploaded).items():
        message = send(server_url, payload, event)
        assert plain_http.refusal(message) == NOT_UPLOADED, name
        assert SECRET not in json.dumps(message)


def test_the_page_explains_no_file_but_an_uploaded_one(server_url, folder, uploaded):
    event = plain_http.event_id(server_url, "on_picture")
    paths = [payload.get("path", payload.get("url")) for payload in outside(folder, uploaded).values()]
    for path in [*paths, "", 5, [uploaded], {"path": uploaded}]:
        message = plain_http.run(server_url, event, SETTINGS, {"file": path})
        assert plain_http.refusal(message) == NOT_UPLOADED, path
    assert plain_http.run(server_url, event, SETTINGS, {"file": uploaded})["success"]


@pytest.mark.parametrize("event", PICTURE_EVENTS)
def test_a_payload_of_another_shape_is_refused(server_url, folder, event):
    for name, shape in MALFORMED.items():
        message = plain_http.refusal(send(server_url, shape(str(folder / "private.png")), event))
        assert message == NOT_UPLOADED or message.startswith("The request cannot be read: "), name


@pytest.mark.parametrize("event", PICTURE_EVENTS)
def test_what_was_uploaded_is_opened(server_url, short_curves, uploaded, event):
    assert send(server_url, {"path": uploaded, "meta": META}, event)["success"]


def test_what_was_uploaded_is_opened_without_meta_too(server_url, uploaded):
    assert send(server_url, {"path": uploaded})["success"]


def test_every_event_that_takes_a_picture_is_tested(server_url):
    takes = {event["api_name"] for event in plain_http.events(server_url) if "image" in event["kinds"]}
    assert takes == set(PICTURE_EVENTS)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{port}/config", "https://example.com/cat.png", "http://169.254.169.254/"]
)
def test_the_server_fetches_no_address(server_url, address):
    """Gradio would download it, of any size, past the limit of an upload."""
    address = address.format(port=httpx.URL(server_url).port)
    assert plain_http.refusal(send(server_url, {"path": address, "meta": META})) == (
        "Send the file itself: this server fetches none from an address."
    )
    assert plain_http.refusal(send(server_url, {"path": address})) == NOT_UPLOADED


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
        "on_download": [0.5, "viridis", "map"],
        "on_figure": [0.5, "viridis", "map"],
        "on_cover": [{"mask": None}],
        "on_measure": [],
        "on_contrast": [285, "gradcam"],
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
        {"path": "/etc/passwd"},
        [1, 2],
        7,
    ],
    ids=["another size", "a GIF", "too long", "no PNG", "no base64", "a path", "text", "a file", "a list", "a number"],
)
def test_a_mask_that_is_not_the_painters_is_refused(server_url, visitor, mask):
    assert plain_http.refusal(paint(server_url, visitor, {"mask": mask})) == (
        "The painted mask cannot be read: it must be a 224 x 224 PNG of at most 200 kB."
    )


# Limits


@pytest.fixture
def component(server_url):
    from camkit.web.server import uploads

    return uploads.Picture()


@pytest.fixture
def upload_of(component):
    """What a handler gets when it opens a file of these bytes."""
    place = Path(component.GRADIO_CACHE) / uuid.uuid4().hex
    place.mkdir()

    def preprocess(content: bytes) -> Upload:
        (place / "upload").write_bytes(content)
        return component.preprocess(ImageData(path=str(place / "upload")))

    return preprocess


@pytest.fixture
def opened(upload_of):
    """What such a file's picture is: (H, W, 3) uint8 RGB."""
    return lambda content: upload_of(content).open().image


def test_a_file_over_20_megabytes_is_refused_at_the_upload(server_url):
    answer = httpx.post(f"{server_url}/gradio_api/upload", files={"files": ("a.png", bytes(20_000_001))}, timeout=60)
    assert answer.status_code == 413
    plain_http.assert_clean(answer.text)


def test_a_file_over_20_megabytes_that_got_past_the_upload_is_refused_unread(opened, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read"))
    with pytest.raises(InputError, match=r"^The picture file has 20 MB: at most 20 MB are allowed\.$"):
        opened(bytes(20_000_001))


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


def test_a_decompression_bomb_stays_within_the_limits(opened):
    """25 megapixels of nothing in a small file are allowed and cost no more than any picture of that size."""
    assert len(one_bit()) < 30_000
    assert opened(one_bit()).shape == (1280, 1280, 3)


def test_nothing_is_reported(server_url):
    from camkit.web import page

    demo = page.build()
    assert demo.analytics_enabled is False
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert httpx.get(f"{server_url}/config").json()["analytics_enabled"] is False
    assert page.LAUNCH["show_error"] is False


# Formats


def rgb_16_bits() -> bytes:
    """A 10 x 8 PNG of 16 bits a colour, which Pillow reads but cannot write: full red, half green, no blue."""
    return png(10, 8, depth=16, rows=(b"\0" + struct.pack(">HHH", 65535, 32768, 0) * 10) * 8)


def with_transparency() -> bytes:
    palette = Image.new("P", (10, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    return encoded(palette, transparency=1)


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (10, 8), colour) for colour in ("red", "green", "blue")]
    exact = {"lossless": True} if kind == "WEBP" else {}
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **exact)


def rotated() -> bytes:
    """8 x 10 once its EXIF orientation is applied, its upper part white."""
    image = Image.new("RGB", (10, 8), "black")
    image.paste("white", (0, 0, 5, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image, exif=exif)


GREY16 = Image.fromarray(np.array([[1000] * 10, *[[2000] * 10] * 6, [3000] * 10], np.uint16))  # 2000 is the middle
RED = Image.new("RGB", (10, 8), "red")


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (encoded(RED), (255, 0, 0)),
        (encoded(RED, "JPEG", quality=95), (254, 0, 0)),
        (encoded(RED, "WEBP", lossless=True), (255, 0, 0)),
        (encoded(RED, "GIF"), (255, 0, 0)),
        (encoded(RED, "TIFF", compression="tiff_lzw"), (255, 0, 0)),
        (encoded(RED, "BMP"), (255, 0, 0)),
        (encoded(RED, "AVIF", quality=100), (255, 0, 0)),
        (encoded(GREY16), (128, 128, 128)),
        (encoded(GREY16, "TIFF"), (128, 128, 128)),
        (rgb_16_bits(), (255, 128, 0)),
        (with_transparency(), (255, 255, 255)),
        (encoded(Image.new("CMYK", (10, 8), (0, 255, 255, 0)), "JPEG", quality=95), (255, 0, 0)),
        (encoded(Image.new("LA", (10, 8), (0, 128))), (127, 127, 127)),
        (encoded(Image.new("RGBA", (10, 8), (255, 0, 0, 0))), (255, 255, 255)),
        (encoded(Image.new("1", (10, 8), 1)), (255, 255, 255)),
        (encoded(GREY16.convert("F"), "TIFF"), (128, 128, 128)),
        (animated("GIF"), (255, 0, 0)),
        (animated("WEBP"), (255, 0, 0)),
        (rotated(), (255, 255, 255)),
    ],
    ids=[
        "png",
        "jpeg",
        "webp",
        "gif",
        "tiff",
        "bmp",
        "avif",
        "grey 16 png",
        "grey 16 tiff",
        "rgb 16 png",
        "palette transparency",
        "cmyk jpeg",
        "grey with alpha",
        "alpha",
        "1 bit",
        "float tiff",
        "animated gif",
        "animated webp",
        "exif",
    ],
)
def test_allowed_formats_arrive_as_rgb(opened, content, colour):
    image = opened(content)
    assert image.dtype == np.uint8
    assert image.shape in ((8, 10, 3), (10, 8, 3))
    np.testing.assert_allclose(image[1, 1], colour, atol=2)


def test_exif_turns_the_picture(opened):
    assert opened(rotated()).shape == (10, 8, 3)


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


def seeds() -> list[bytes]:
    """A small picture in every format and many modes."""
    picture = Image.fromarray(np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8))
    kinds = [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("BMP", {}),
        ("AVIF", {}),
    ]
    modes = [(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGBA")] + [("CMYK", "TIFF"), ("F", "TIFF")]
    return [
        *[encoded(picture, kind, **options) for kind, options in kinds],
        *[encoded(picture.convert(mode), kind) for mode, kind in modes],
        encoded(GREY16),
        rgb_16_bits(),
        with_transparency(),
        rotated(),
        animated("GIF"),
        animated("WEBP"),
    ]


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """The file with some bytes changed, a piece cut out, doubled or overwritten with noise, or its end missing."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        place, length = int(random.integers(len(data))), int(random.integers(1, 24))
        kind = random.integers(5)
        if kind == 0:
            data[place] ^= int(random.integers(1, 256))
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = data[place : place + length]
        elif kind == 3:
            data[place : place + length] = random.bytes(length)
        else:
            del data[max(8, place) :]
        data = data or bytearray(b"\0")
    return bytes(data)


def test_500_broken_files_are_pictures_or_sentences(upload_of, tiny, monkeypatch):
    import gradio as gr

    from camkit.web import api

    monkeypatch.setattr(api, "classifier", lambda model: tiny)
    random, originals = np.random.default_rng(2026), seeds()
    answered = refused = 0
    for number in range(500):
        content = mutated(originals[number % len(originals)], random)
        begin = time.perf_counter()
        try:
            answer = api.api_classify(upload_of(content), "auto", 3)
            assert len(answer["predictions"]) == 3
            json.dumps(answer, allow_nan=False)
            answered += 1
        except gr.Error as error:
            plain_http.assert_clean(error.message)
            assert error.message.startswith("The picture ")
            refused += 1
        assert time.perf_counter() - begin < 2, number
    assert answered > 50 < refused
