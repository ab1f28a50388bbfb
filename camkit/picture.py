"""Turn what a person brings (a file, bytes, any Pillow mode, an array) into an (H, W, 3) uint8 RGB picture.

Owns the limits on size and format, checked before anything is decoded, the number of pictures decoded at once, and the
window of grey pictures of more than 8 bits: which of their values is black and which white.
Refuses everything else with one sentence.
"""

import io
import math
import os
import re
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .errors import InputError, quoted

# The example pictures: in the package where it is installed, at the top of the repository in a checkout.
_INSTALLED = Path(__file__).resolve().with_name("examples")
EXAMPLES = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "examples"

FORMATS = {  # Pillow's name of what is read -> the endings of its files
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "AVIF": (".avif", ".avifs"),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
KINDS = "PNG, JPEG, WebP, GIF, TIFF, BMP or AVIF"  # the same for people
# What people send that Pillow does not know either: how such a file begins.
_FOREIGN = {
    "HEIC": rb"....ftyp(hei|hev|mif1|msf1)",
    "DICOM": rb".{128}DICM",
    "PDF": rb"%PDF-",
    "SVG": rb"\s*(<\?xml.{,1000})?<svg",
}
MAX_BYTES = 20 * 1000 * 1000
MAX_PIXELS = 25 * 1000 * 1000
MAX_SIDE = 10_000
MIN_SIDE = 8
_HEADER = 1_000_000  # bytes at most that are searched for what a file is: some of Pillow's readers take long
_ROWS = 256  # converted at once: in float64 a whole picture would have eight times its bytes
_UNREADABLE = f"The picture cannot be read: it is damaged or cut short, or it is not a picture. Use {KINDS}."
_TOO_LARGE = (
    f"The picture has far too many pixels: at most {MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE:,} pixels a side "
    "are allowed."
)
# What Pillow's decoders raise on damaged data; a broken file must never look like a fault of ours.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    AttributeError,
    MemoryError,
    RuntimeError,
    ArithmeticError,
    NotImplementedError,
    struct.error,
    Image.DecompressionBombError,
)
# Tags of TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
_BITS, _PHOTOMETRIC, _DESCRIPTION, _PLANAR, _SAMPLE_FORMAT, _SMALLEST, _LARGEST = 258, 262, 270, 284, 339, 340, 341
_WHITE, _BLACK = 0, 1  # photometric interpretations: what zero is
_SEPARATE = 2  # a planar configuration
_SIGNED = 2  # a sample format


# A picture of 25 megapixels takes 100 MB while it is decoded, however small its file. Two threads of their own bound
# that, and give back what they took: memory that many threads free stays scattered over their heaps.
_decoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decoder")


@dataclass(frozen=True)
class Window:
    """The values of a grey picture of more than 8 bits that are shown as black (`low`) and as white (`high`), or the
    other way round in a min-is-white picture. `largest`: what an unsigned integer of its depth can hold, else None."""

    low: float
    high: float
    largest: int | None = None

    @property
    def sentence(self) -> str:
        """Return the window in words, such as "shown from 0 to 4080 of 65535"."""
        of = "" if self.largest is None else f" of {self.largest}"
        return f"shown from {_number(self.low)} to {_number(self.high)}{of}"


@dataclass(frozen=True)
class OpenedPicture:
    """image: (H, W, 3) uint8 RGB. window: of a grey picture of more than 8 bits, None for every other."""

    image: np.ndarray
    window: Window | None = None

    def to_json(self) -> dict:
        """Return what is worth saying of it: how its window is said, "" without one."""
        return {"window": self.window.sentence if self.window else ""}


@dataclass(frozen=True)
class _Source:
    """A picture as Pillow opened it, and a fact that Pillow does not know: `white_is_zero`, although the header that it
    was given says the opposite; `grey_alpha`: the four bands are two bytes of grey and two of alpha."""

    image: Image.Image
    white_is_zero: bool = False
    grey_alpha: bool = False


def open_picture(
    source: str | os.PathLike | bytes, longest: int | None = None, window: tuple[float, float] | None = None
) -> np.ndarray:
    """Return the picture of a file (its path or bytes): first frame, EXIF rotation applied, alpha over white.

    `longest` reduces a larger picture to so many pixels on its longer side, already while it is decoded where the
    format allows that; None keeps every pixel.

    `window` is the (low, high) of grey pictures of more than 8 bits: the values that become black and white; those
    beyond are cut off. None takes the file's own (ImageJ's display range, or a TIFF's SMinSampleValue and
    SMaxSampleValue), else the picture's smallest and largest value. Colour and 8 bit pictures stay as they are. A
    min-is-white TIFF is shown as such at every depth. Colours of 16 bits keep their upper 8.

    Returns (H, W, 3) uint8 RGB. Raises InputError with one sentence when it is larger than 20 MB, 25 megapixels or
    10,000 pixels a side, smaller than 8 pixels a side, of another format than FORMATS, or damaged.
    """
    return read_picture(source, longest, window).image


def read_picture(
    source: str | os.PathLike | bytes, longest: int | None = None, window: tuple[float, float] | None = None
) -> OpenedPicture:
    """Return the picture of a file as `open_picture` does, and the window that it is shown in."""
    window = check_window(window)
    data = source if isinstance(source, bytes) else read_file(source)
    if not data:
        raise InputError(f"The picture file is empty: choose a {KINDS} file.")
    check_bytes(len(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd metadata; the checks here decide
        try:
            opened = _open(data)
        except Image.DecompressionBombError as error:  # Pillow refuses such a size before it can be asked for it
            raise InputError(_TOO_LARGE) from error
        except _DECODER_ERRORS as error:
            raise InputError(_unreadable(data)) from error
        check_size(*opened.image.size)
        try:
            return _decoders.submit(_decoded, opened, longest, window).result()
        except InputError:
            raise
        except _DECODER_ERRORS as error:
            raise InputError(_UNREADABLE) from error


def to_rgb(image, window: tuple[float, float] | None = None) -> np.ndarray:
    """Return any Pillow image, or an (H, W, 3) uint8 RGB array, as a fresh (H, W, 3) uint8 RGB array; the input stays
    as it is. `window` as for `open_picture`.

    Raises InputError with one sentence when the picture is of another kind or outside the size limits.
    """
    window = check_window(window)
    if isinstance(image, Image.Image):
        check_size(*image.size)
        try:
            return _rgb(_Source(image), ImageOps.exif_transpose(image), _is_deep(image), None, window).image
        except InputError:
            raise
        except _DECODER_ERRORS as error:
            raise InputError(_UNREADABLE) from error
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"The picture is a {type(image).__name__}: give a Pillow image or an (H, W, 3) uint8 RGB array."
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"The picture array is {image.shape} {image.dtype}: it must be (H, W, 3) uint8 RGB.")
    check_size(image.shape[1], image.shape[0])
    return image.copy()


def check_window(window: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return a window of grey values as two floats; InputError when it is none."""
    if window is None:
        return None
    try:
        low, high = (float(value) for value in window)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"The window is {quoted(window)}: give two numbers, the lower one first, such as 0 and 4095.")
    return low, high


def check_bytes(count: int) -> None:
    """Raise InputError when a file of `count` bytes is over the limit."""
    if count > MAX_BYTES:
        raise InputError(f"The picture file has {count / 1e6:.0f} MB: at most {MAX_BYTES // 1_000_000} MB are allowed.")


def check_size(width: int, height: int) -> None:
    """Raise InputError when a picture of this size in pixels is outside the limits."""
    if min(width, height) < MIN_SIDE:
        raise InputError(f"The picture is {width} x {height} pixels: each side must have at least {MIN_SIDE}.")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"The picture is {width} x {height} pixels: at most {MAX_PIXELS // 1_000_000} megapixels and "
            f"{MAX_SIDE:,} pixels a side are allowed."
        )


def read_file(path: str | os.PathLike) -> bytes:
    """Return a picture's file as it is; InputError when it is too large or cannot be opened."""
    path = Path(path)
    try:
        check_bytes(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise InputError("The picture file cannot be opened: it does not exist or may not be read.") from error


def size_of(source: str | os.PathLike | bytes) -> tuple[int, int]:
    """Return width and height in pixels of a picture's file (its path or bytes), EXIF rotation applied; no pixel is
    decoded. InputError when it is none of FORMATS."""
    data = source if isinstance(source, bytes) else read_file(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = _open(data).image
            lies = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        except _DECODER_ERRORS as error:
            raise InputError(_unreadable(data)) from error
    return image.size[::-1] if lies else image.size


# --- opening -------------------------------------------------------------------------------------------------------


def _open(data: bytes) -> _Source:
    """Let Pillow read a file's header. Where it has no mode for a picture, it gets a header that it has one for and
    that describes the same bytes."""
    if data.startswith(b"\x89PNG") and data[24:26] == b"\x10\x04":
        # Grey and alpha of 16 bits, of which Pillow would drop the lower 8: as many bytes a pixel as RGBA has.
        header = data[12:24] + b"\x08\x06" + data[26:29]
        data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
        return _Source(Image.open(io.BytesIO(data), formats=tuple(FORMATS)), grey_alpha=True)
    try:
        return _Source(Image.open(io.BytesIO(data), formats=tuple(FORMATS)))
    except Image.UnidentifiedImageError:
        image = Image.open(io.BytesIO(_black_is_zero(data)), formats=tuple(FORMATS))
        if image.mode[0] not in "IF":
            raise
        return _Source(image, white_is_zero=True)


def _black_is_zero(data: bytes) -> bytes:
    """Return a min-is-white TIFF as a min-is-black one, of which Pillow reads more depths; other files as they are."""
    order, long = "<" if data.startswith(b"II") else ">", "Q" if 43 in data[2:4] else "I"
    white, black = (struct.pack(f"{order}HH{long}H", _PHOTOMETRIC, 3, 1, value) for value in (_WHITE, _BLACK))
    return data.replace(white, black, 1)


def _kind(data: bytes) -> str:
    """Return what a file is by the readers that Pillow has, else by its beginning; "" where neither says anything."""
    try:
        with Image.open(io.BytesIO(data[:_HEADER])) as image:  # no pixel is decoded
            return f"{image.format} ({image.format_description})"
    except _DECODER_ERRORS:
        return next((name for name, begin in _FOREIGN.items() if re.match(begin, data, re.DOTALL)), "")


def _unreadable(data: bytes) -> str:
    """Return why a file cannot be opened, in one sentence: what else it is, as far as that shows."""
    if kind := _kind(data):
        return f"The picture's format is {kind}, which is not read: use {KINDS}."
    try:
        tags = ImageFileDirectory_v2(data[:16] if 43 in data[2:4] else data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bits = tags[_BITS]
    except _DECODER_ERRORS:
        return _UNREADABLE
    return (
        f"The picture is a TIFF of {quoted(' + '.join(map(str, bits)))} bits that is damaged or laid out in a way that "
        "is not read: save it in grey or RGB, with 8 bits, 16 bits or 32 bits in floating point."
    )


# --- decoding ------------------------------------------------------------------------------------------------------


def _decoded(source: _Source, longest: int | None, window: tuple[float, float] | None) -> OpenedPicture:
    image = source.image
    if longest is not None:
        image.draft("RGB", (longest, longest))  # a JPEG is decoded at a half, a quarter or an eighth
    deep = _is_deep(image)  # asked before it is decoded, which forgets
    ImageOps.exif_transpose(image, in_place=True)
    return _rgb(source, image, deep, longest, window)


def _rgb(
    source: _Source, image: Image.Image, deep: bool, longest: int | None, window: tuple[float, float] | None
) -> OpenedPicture:
    """Return `image`, which is the source's turned upright, in RGB; `deep`: its file has more than 8 bits a colour."""
    values, alpha = _grey_values(source, image)
    seen = None
    if values is not None:
        seen = _window(source.image, values if alpha is None or not alpha.any() else values[alpha > 0], window)
        image = _in_window(values, seen, source.white_is_zero or _tag(source.image, _PHOTOMETRIC) == _WHITE)
        if alpha is not None:
            image.putalpha(Image.fromarray(alpha))
    elif deep:
        image = _upper_8_bits(image, _tag(source.image, _PLANAR) == _SEPARATE)
    if longest is not None and max(image.size) > longest:
        if image.mode == "1" and "transparency" not in image.info:
            image = image.convert("L")  # a third of the memory that RGB takes
        elif image.mode in ("1", "P", "PA") or "transparency" in image.info:  # values that have no average
            image = _converted(image)
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return OpenedPicture(np.array(_converted(image)), seen)


def _converted(image: Image.Image) -> Image.Image:
    """Any mode of 8 bits or fewer -> RGB, alpha over white."""
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


# --- more than 8 bits ----------------------------------------------------------------------------------------------


def _tag(image: Image.Image, number: int):
    """Return the value of a TIFF's tag, the first of several; None when the picture has no such tag."""
    value = getattr(image, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) and value else value


def _is_deep(image: Image.Image) -> bool:
    """Return True for a picture that is not decoded yet when it has more than 8 bits a colour."""
    tiles = getattr(image, "tile", [])
    return (_tag(image, _BITS) or 0) > 8 or any(";16B" in str(tile.args) for tile in tiles)  # a PNG's has no such tag


def _upper_8_bits(image: Image.Image, separate: bool) -> Image.Image:
    """Return a picture with colours of 16 bits, of which Pillow keeps the upper 8; InputError when these say nothing,
    or when the colours lie in `separate` planes, of which Pillow keeps other bytes."""
    if separate:
        raise InputError("The picture has 16 bits a colour in separate planes, which is not read: save it interleaved.")
    if image.mode in ("RGB", "RGBA") and np.asarray(image)[..., :3].max() < 16:
        raise InputError(
            "The picture has 16 bits a colour but uses only the lowest 12 of them, which would be shown as black: "
            "spread its values over 0 to 65535, or save it with 8 bits a colour."
        )
    if isinstance(transparent := image.info.get("transparency"), tuple):  # a colour of 16 bits
        image.info["transparency"] = tuple(int(value) >> 8 for value in transparent)
    return image


def _grey_values(source: _Source, image: Image.Image) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return a grey picture's values and its alpha (H, W) uint8, None for either that it does not have: values of 8
    bits from 0 on are none."""
    if source.grey_alpha:
        pairs = np.asarray(image).view(">u2")
        return pairs[..., 0], (pairs[..., 1] >> 8).astype(np.uint8)
    signed = _tag(source.image, _SAMPLE_FORMAT) == _SIGNED
    if image.mode == "L" and signed:
        return np.asarray(image).view(np.int8), None
    if image.mode[0] not in "IF":
        return None, None
    values = np.asarray(image)
    if image.mode == "I" and _tag(source.image, _BITS) == 32 and not signed:
        values = values.view(np.uint32)
    transparent = image.info.get("transparency")
    return values, None if transparent is None else np.where(values == transparent, 0, 255).astype(np.uint8)


def _window(image: Image.Image, values: np.ndarray, window: tuple[float, float] | None) -> Window:
    """Return the window that was asked for, else the file's, else the one from the smallest to the largest value."""
    if not np.isfinite(values).all():
        raise InputError("The picture holds values that are no finite numbers: replace them, by 0 for example.")
    low, high = window or _own_window(image) or (float(values.min()), float(values.max()))
    bits = 16 if image.mode.startswith("I;16") else values.dtype.itemsize * 8
    return Window(low, high, 2 ** (_tag(image, _BITS) or bits) - 1 if values.dtype.kind == "u" else None)


def _own_window(image: Image.Image) -> tuple[float, float] | None:
    """Return the window that a TIFF names: ImageJ's display range, else SMinSampleValue and SMaxSampleValue.

    MinSampleValue and MaxSampleValue are statistics that the format forbids to use for display; a PNG's sBIT says how
    many bits were significant before its values were spread over all 16.
    """
    found: tuple = (_tag(image, _SMALLEST), _tag(image, _LARGEST))
    description = _tag(image, _DESCRIPTION)
    if isinstance(description, str) and description.startswith("ImageJ="):
        pairs = dict(line.partition("=")[::2] for line in description.splitlines())
        found = (pairs.get("min"), pairs.get("max"))
    try:
        return check_window(found)
    except InputError:  # none, or one that is no window
        return None


def _in_window(values: np.ndarray, window: Window, white_is_zero: bool) -> Image.Image:
    """Return grey values as a picture of 8 bits; one that holds a single value is black, or white where that is 0."""
    scale = 255 / (window.high - window.low) if window.high > window.low else 0.0
    grey = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), _ROWS):
        rows = np.clip(values[top : top + _ROWS].astype(np.float64), window.low, window.high)
        grey[top : top + _ROWS] = np.rint((rows - window.low) * scale)
    return Image.fromarray(255 - grey if white_is_zero else grey)


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.6g}"
