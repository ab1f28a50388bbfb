"""What becomes an (H, W, 3) uint8 RGB picture and how, and what is refused in which words."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
import tifffile
from conftest import LIMIT, together
from PIL import Image, ImageOps

from camkit import picture
from camkit.maps import encode
from camkit.picture import open_picture, read_picture, to_rgb

COLOURED = ("RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "P")
WAYS = {"PA": "P PA", "La": "LA La", "RGBa": "RGBA RGBa", "I;16": "I I;16", "I;16L": "I I;16L", "I;16B": "I I;16B"}
MODES = (*COLOURED, "1", "L", "LA", "RGBA", "I", "F", *WAYS)
MODE_OF = {"MSP": "1", "XBM": "1", "BLP": "P", "SPIDER": "F"}  # of the formats that take no RGB
UNREADABLE = (
    r"^The picture cannot be read: it is damaged or cut short, or it is not a picture\. "
    r"Use PNG, JPEG, WebP, GIF, TIFF, BMP or AVIF\.$"
)


def red_and_blue(mode, scale=1):
    """A 16 x 12 picture, or `scale` times that, in `mode`: its left half red and its right half blue, or what the mode
    makes of them."""
    image = Image.new("RGB", (16 * scale, 12 * scale), (255, 0, 0))
    image.paste((0, 0, 255), (8 * scale, 0, 16 * scale, 12 * scale))
    if mode == "P":
        return image.quantize(2)
    for between in WAYS.get(mode, mode).split():
        image = image.convert(between)
    return image


def file(image, kind="PNG", **options):
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb_and_stays_as_it_was(mode):
    image = red_and_blue(mode)
    before = image.tobytes()
    result = to_rgb(image)
    assert (result.shape, result.dtype) == ((12, 16, 3), np.uint8)
    assert (image.mode, image.size, image.tobytes()) == (mode, (16, 12), before)
    if mode in COLOURED:  # up to what YCbCr, LAB and HSV round away
        np.testing.assert_allclose(result[:, :8], np.full((12, 8, 3), (255, 0, 0)), atol=25)
        np.testing.assert_allclose(result[:, 8:], np.full((12, 8, 3), (0, 0, 255)), atol=25)


def test_what_is_transparent_is_white_in_every_way_that_a_file_says_it():
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    for image in (
        Image.new("RGBA", (8, 8), (255, 0, 0, 0)),
        Image.new("LA", (8, 8), (0, 0)),
        Image.open(io.BytesIO(file(palette, transparency=1))),
        Image.open(io.BytesIO(file(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3)))),
        Image.open(io.BytesIO(file(Image.new("L", (8, 8), 7), transparency=7))),
    ):
        np.testing.assert_array_equal(to_rgb(image), 255, err_msg=image.mode)
    # half transparent: 255 x (1 - 128/255) + 0 x 128/255 = 127
    np.testing.assert_array_equal(to_rgb(Image.new("RGBA", (8, 8), (0, 0, 0, 128))), 127)


# More than 8 bits


def png(values, kind, **chunks):
    """A PNG with 16 bits a channel, which Pillow does not write; `kind`: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *((name.encode(), each) for name, each in chunks.items())]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def tiff(values, **options):
    held = io.BytesIO()
    tifffile.imwrite(held, values, **options)
    return held.getvalue()


RAMP = np.linspace(80, 4080, 96).round().astype(np.uint16).reshape(8, 12)  # 12 bits, in a file of 16
WHITE = {"photometric": "miniswhite"}
OWN = [(340, "H", 1, 1000, True), (341, "H", 1, 3000, True)]  # SMinSampleValue and SMaxSampleValue


def windowed(values, low=None, high=None):
    """The reference: straight from the values, in float64."""
    low, high = values.min() if low is None else low, values.max() if high is None else high
    return np.rint(255 * (np.clip(values.astype(float), low, high) - low) / (high - low)).astype(np.uint8)


@pytest.mark.parametrize(
    ("data", "expected", "sentence"),
    {
        "png": (png(RAMP, 0), windowed(RAMP), "80 to 4080 of 65535"),
        "png whose sBIT says 12": (png(RAMP, 0, sBIT=b"\x0c"), windowed(RAMP), "80 to 4080 of 65535"),
        "one value": (tiff(RAMP * 0 + 200), RAMP * 0, "200 to 200 of 65535"),
        "little endian": (tiff(RAMP), windowed(RAMP), "80 to 4080 of 65535"),
        "big endian": (tiff(RAMP, byteorder=">"), windowed(RAMP), "80 to 4080 of 65535"),
        "BigTIFF, deflated": (tiff(RAMP, bigtiff=True, compression="zlib"), windowed(RAMP), "80 to 4080 of 65535"),
        "tiles": (tiff(RAMP, tile=(16, 16)), windowed(RAMP), "80 to 4080 of 65535"),
        "white is 0": (tiff(RAMP, **WHITE), 255 - windowed(RAMP), "80 to 4080 of 65535"),
        "white is 0, big endian": (
            tiff(RAMP, byteorder=">", **WHITE),
            255 - windowed(RAMP),
            "80 to 4080 of 65535",
        ),
        "white is 0, 32 bits": (
            tiff(RAMP.astype(np.uint32) * 10**6, **WHITE),
            255 - windowed(RAMP),
            "80000000 to 4080000000 of 4294967295",
        ),
        "white is 0, float": (tiff(RAMP / np.float32(4), **WHITE), 255 - windowed(RAMP), "20 to 1020"),
        "signed, 16 bits": (tiff(RAMP.astype(np.int16) - 1024), windowed(RAMP), "-944 to 3056"),
        "signed, 8 bits": (tiff((RAMP // 16 - 128).astype(np.int8)), windowed(RAMP // 16), "-123 to 127"),
        "float": (tiff(RAMP / np.float32(8192)), windowed(RAMP), "0.00976562 to 0.498047"),
        "the file's own": (tiff(RAMP, extratags=OWN), windowed(RAMP, 1000, 3000), "1000 to 3000 of 65535"),
        "ImageJ's": (
            tiff(RAMP, imagej=True, metadata={"min": 0.0, "max": 8000.0}),
            windowed(RAMP, 0, 8000),
            "0 to 8000 of 65535",
        ),
    }.values(),
)
def test_grey_of_more_than_8_bits_is_windowed(data, expected, sentence):
    found = read_picture(data)
    np.testing.assert_array_equal(found.image, np.dstack([expected] * 3))
    assert found.window.sentence == f"shown from {sentence}"
    np.testing.assert_array_equal(open_picture(data), found.image)


def test_a_window_that_is_given_comes_before_the_files_own():
    data = tiff(RAMP, extratags=OWN)
    expected = np.dstack([windowed(RAMP, 100, 2000.5)] * 3)
    np.testing.assert_array_equal(open_picture(data, window=(100, 2000.5)), expected)
    np.testing.assert_array_equal(to_rgb(Image.open(io.BytesIO(data)), window=(100, 2000.5)), expected)
    assert read_picture(data, window=(100, 2000.5)).window.sentence == "shown from 100 to 2000.5 of 65535"
    eight = file(Image.fromarray(windowed(RAMP)))
    assert read_picture(eight, window=(100, 2000)).window is None
    np.testing.assert_array_equal(open_picture(eight, window=(100, 2000)), np.dstack([windowed(RAMP)] * 3))


@pytest.mark.parametrize("window", [(5, 5), (6, 5), (0, np.nan), (0, np.inf), (1, 2, 3), ("a", "b"), 7])
def test_what_is_no_window_is_refused(window):
    with pytest.raises(ValueError, match=r"^The window is .*: give two numbers, the lower one first, such as 0"):
        open_picture(png(RAMP, 0), window=window)


def test_a_pillow_image_of_more_than_8_bits_is_windowed_too():
    for image in (Image.fromarray(RAMP), Image.fromarray(RAMP.astype(np.float32)), Image.open(io.BytesIO(tiff(RAMP)))):
        np.testing.assert_array_equal(to_rgb(image)[..., 0], windowed(RAMP))
    np.testing.assert_array_equal(to_rgb(Image.open(io.BytesIO(tiff(RAMP, **WHITE))))[..., 0], 255 - windowed(RAMP))


@pytest.mark.parametrize("bits", [1, 8])
def test_white_is_0_in_8_bits_and_fewer(bits):
    values = (RAMP > 2000) if bits == 1 else windowed(RAMP)
    found = read_picture(tiff(values, **WHITE))
    np.testing.assert_array_equal(found.image[..., 0], 255 - values * np.uint8(255) if bits == 1 else 255 - values)
    assert found.window is None


def test_what_is_transparent_in_16_bits_is_white_and_not_in_the_window():
    hole = RAMP.copy()
    hole[3, :2] = 60000
    expected = windowed(np.where(hole == 60000, 80, hole))
    expected[3, :2] = 255
    for data in (
        png(np.dstack([hole, np.where(hole == 60000, 0, 65535)]), 4),
        png(hole, 0, tRNS=struct.pack(">H", 60000)),
    ):
        np.testing.assert_array_equal(open_picture(data)[..., 0], expected)


def test_colours_of_16_bits_keep_their_upper_8():
    colours = np.dstack([RAMP * 16, RAMP * 8, 65535 - RAMP * 16])
    for data in (png(colours, 2), tiff(colours), png(np.dstack([colours, RAMP * 0 + 65535]), 6)):
        found = read_picture(data)
        np.testing.assert_array_equal(found.image, colours >> 8)
        assert found.window is None
    clear = png(colours, 2, tRNS=colours[0, 0].astype(">u2").tobytes())
    assert open_picture(clear)[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(np.where(RAMP == 80, np.nan, RAMP).astype(np.float32)), "holds values that are no finite numbers"),
        (tiff(np.where(RAMP == 80, np.inf, RAMP).astype(np.float32)), "holds values that are no finite numbers"),
        (png(np.dstack([RAMP] * 3), 2), "has 16 bits a colour but uses only the lowest 12"),
        (tiff(np.dstack([RAMP] * 3)), "has 16 bits a colour but uses only the lowest 12"),
        (
            tiff(np.stack([RAMP * 16] * 3), photometric="rgb", planarconfig="separate"),
            "16 bits a colour in separate planes",
        ),
        (tiff(RAMP.astype(float)), "TIFF of 64 bits that is damaged or laid out in a way that is not read"),
        (
            tiff(np.dstack([RAMP] * 2), photometric="minisblack", extrasamples=["unassalpha"]),
            r"TIFF of 16 \+ 16 bits",
        ),
    ],
)
def test_what_cannot_be_shown_rightly_is_refused_in_a_sentence(data, message):
    with pytest.raises(ValueError, match=rf"^The picture [^\n]*{message}[^\n]*\.$"):
        open_picture(data)


def test_exif_rotation_is_applied_and_the_input_keeps_its_own():
    # Orientation 6: the picture is to be turned a quarter clockwise, so its left edge becomes its upper one.
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (0, 0, 4, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = Image.open(io.BytesIO(file(image, exif=exif)))
    result = to_rgb(opened)
    assert result.shape == (16, 8, 3)
    assert result[:4].min() == 255
    assert result[4:].max() == 0
    assert (opened.size, opened.getexif()[0x0112]) == ((16, 8), 6)
    np.testing.assert_array_equal(open_picture(file(image, exif=exif)), result)


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", picture.FORMATS)
def test_every_format_by_path_and_by_bytes(kind, tmp_path):
    data = file(red_and_blue("RGB"), kind)
    (tmp_path / "picture").write_bytes(data)
    by_path = open_picture(tmp_path / "picture")
    assert by_path.shape == (12, 16, 3)
    np.testing.assert_array_equal(by_path, open_picture(str(tmp_path / "picture")))
    np.testing.assert_array_equal(by_path, open_picture(data))


def test_an_array_is_copied_be_it_a_view_or_read_only():
    array = np.random.default_rng(0).integers(0, 256, (16, 18, 3), np.uint8)[::-2, ::2]
    array.flags.writeable = False
    result = to_rgb(array)
    np.testing.assert_array_equal(result, array)
    assert result.flags.writeable and not np.shares_memory(result, array)


@pytest.mark.parametrize(
    "thing",
    [
        *(np.zeros(shape, np.uint8) for shape in [(8, 8), (8, 8, 4), (8, 8, 1), (1, 8, 8, 3), 0]),
        np.zeros((8, 8, 3), np.float32),
        *[None, "cat.jpg", b"", [[1, 2, 3]], 5],
    ],
)
def test_other_arrays_and_things_are_refused_with_what_they_are(thing):
    array = r"array is \(.*\) \w+: it must be \(H, W, 3\) uint8 RGB"
    other = r"is a \w+: give a Pillow image or an \(H, W, 3\) uint8 RGB array"
    with pytest.raises(ValueError, match=rf"^The picture {array if isinstance(thing, np.ndarray) else other}\.$"):
        to_rgb(thing)


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_too_small(size):
    message = rf"^The picture is {size[0]} x {size[1]} pixels: each side must have at least 8\.$"
    for call in (
        lambda: to_rgb(Image.new("RGB", size)),
        lambda: to_rgb(np.zeros((size[1], size[0], 3), np.uint8)),
        lambda: open_picture(file(Image.new("RGB", size))),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert to_rgb(Image.new("RGB", (8, 10_000))).shape == (10_000, 8, 3)  # the smallest and the longest


@pytest.mark.parametrize("size", [(10_001, 8), (8, 10_001), (5001, 5000)])
def test_too_large_is_refused_before_anything_is_decoded(size, monkeypatch):
    data = file(Image.new("1", size))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(
        ValueError, match=rf"^The picture is {size[0]} x {size[1]} pixels: at most 25 megapixels and 10,000"
    ):
        open_picture(data)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    with path.open("wb") as sparse:
        sparse.truncate(picture.MAX_BYTES + 1)
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: pytest.fail("read"))
    with pytest.raises(ValueError, match=r"^The picture file has 20 MB: at most 20 MB are allowed\.$"):
        open_picture(path)


@pytest.mark.parametrize(
    "data",
    [
        b"not a picture",
        b"\x89PNG\r\n\x1a\n",
        file(red_and_blue("RGB"))[:60],
        file(red_and_blue("RGB"), "JPEG")[:200],
        file(red_and_blue("RGB"), "BMP")[:60],
        file(red_and_blue("RGB"), "AVIF")[:200],
        b"GIF89a" + b"\xff" * 50,
    ],
    ids=["text", "a PNG's first bytes", "cut PNG", "cut JPEG", "cut BMP", "cut AVIF", "broken GIF"],
)
def test_unreadable(data):
    with pytest.raises(ValueError, match=UNREADABLE):
        open_picture(data)


Image.init()
OTHERS = sorted(set(Image.SAVE) & set(Image.OPEN) - set(picture.FORMATS) - {"DIB", "BUFR", "GRIB", "HDF5", "WMF"})


@pytest.mark.parametrize(
    ("data", "name"),
    [
        *((file(red_and_blue(MODE_OF.get(kind, "RGB"), 2), kind), kind) for kind in OTHERS),
        (file(red_and_blue("RGB", 100), "TGA"), "TGA"),  # one larger than what is searched
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (bytes(128) + b"DICM" + bytes(40), "DICOM"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
    ],
)
def test_another_kind_is_refused_by_its_name(data, name):
    message = rf"^The picture's format is {name}( \([^()]+(\(.*\))?\))?, which is not read: use PNG, .* or AVIF\.$"
    with pytest.raises(ValueError, match=message):
        open_picture(data)


def test_the_endings_are_pillows():
    known = Image.registered_extensions()
    assert {suffix for suffix, kind in known.items() if kind in picture.FORMATS} == picture.SUFFIXES


@pytest.mark.parametrize("kind", picture.FORMATS)
def test_a_file_with_broken_bytes_is_a_picture_or_a_sentence(kind):
    """Whatever a decoder trips over, the caller sees ValueError with the one sentence."""
    data = file(Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)), kind)
    refused = 0
    for place in range(0, len(data), max(1, len(data) // 60)):
        broken = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        try:
            assert open_picture(broken).dtype == np.uint8
        except ValueError as error:
            refused += 1
            assert str(error).startswith("The picture ")
    assert refused


def test_an_empty_file_and_a_missing_one(tmp_path):
    for source, message in (
        (b"", r"^The picture file is empty: choose a PNG, .* or AVIF file\.$"),
        (tmp_path / "none.png", r"^The picture file cannot be opened: it does not exist or may not be read\.$"),
        (tmp_path, r"^The picture file cannot be opened"),
    ):
        with pytest.raises(ValueError, match=message):
            open_picture(source)


# Reduced while decoding


@pytest.mark.parametrize(
    "data",
    {
        **{mode: file(red_and_blue(mode, 60)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")},
        **{mode: file(red_and_blue(mode, 60), "TIFF") for mode in ("PA", "CMYK", "LAB", "F")},
        "transparent": file(red_and_blue("RGB", 60), transparency=(255, 0, 0)),
    }.values(),
)
def test_a_reduced_picture_is_the_thumbnail_of_the_whole(data):
    whole = Image.fromarray(open_picture(data))
    whole.thumbnail((300, 300), Image.Resampling.LANCZOS)
    found = open_picture(data, longest=300)
    assert found.shape == (225, 300, 3) == np.asarray(whole).shape
    coarse = (np.asarray(each.reduce(15), int) for each in (Image.fromarray(found), whole))  # two filters, one picture
    assert np.abs(np.subtract(*coarse)).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_is_reduced_to_the_longest_side_and_turned(kind):
    image = red_and_blue("RGB", scale=100)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    found = open_picture(file(image, kind, exif=exif), longest=400)
    assert found.shape == (400, 300, 3)
    assert np.abs(found[:180].astype(int) - (255, 0, 0)).max() < 12  # the left half is the upper one now
    assert np.abs(found[220:].astype(int) - (0, 0, 255)).max() < 12


def test_a_picture_within_the_longest_side_keeps_every_pixel():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    np.testing.assert_array_equal(open_picture(file(image), longest=80), np.asarray(image))


def test_few_pictures_are_decoded_at_once(monkeypatch):
    """Four threads ask; never more than two are inside the decoder, and two are."""
    inside, most, guard, met = 0, 0, threading.Lock(), threading.Barrier(2)
    turn = ImageOps.exif_transpose

    def upright(image, **options):
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        met.wait(LIMIT)
        turn(image, **options)
        with guard:
            inside -= 1

    monkeypatch.setattr(ImageOps, "exif_transpose", upright)
    data = file(red_and_blue("RGB"))
    together(*[lambda: open_picture(data)] * 4)
    assert (most, inside) == (2, 0)


@pytest.mark.parametrize("view", [np.s_[:], np.s_[::2, ::-1], np.s_[..., 0], np.s_[:1, :1]])
def test_a_png_holds_every_pixel(view):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)[view]
    with Image.open(io.BytesIO(encode(image))) as known:
        assert known.format == "PNG"
        np.testing.assert_array_equal(known, image)


def test_a_png_is_hardly_larger_than_pillows(chelsea):
    assert len(encode(chelsea)) < 1.05 * len(file(Image.fromarray(chelsea), "PNG"))
