"""Turns what a person brings (a file, bytes, any Pillow mode, an array) into an (H, W, 3) uint8 RGB picture.

Owns the limits on size and format, checked before anything is decoded, and the number of pictures decoded at once.
Refuses everything else with one sentence.
"""

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF")
MAX_BYTES = 20 * 1000 * 1000
MAX_PIXELS = 25 * 1000 * 1000
MAX_SIDE = 10_000
MIN_SIDE = 8
BAND = 256  # rows that are converted at once
_UNREADABLE = (
    "The picture cannot be read: it is damaged or cut short, or it is not a picture. Use PNG, JPEG, WebP, GIF or TIFF."
)
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
    Image.DecompressionBombError,
)


# A picture of 25 megapixels takes 100 MB while it is decoded, however small its file. Two threads of their own bound
# that, and give back what they took: memory that many threads free stays scattered over their heaps.
_decoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decoder")


def open_picture(source: str | os.PathLike | bytes, longest: int | None = None) -> np.ndarray:
    """Reads a picture file (path or its bytes): first frame, EXIF rotation applied, alpha over white.

    `longest` reduces a larger picture to so many pixels on its longer side, already while it is decoded where the
    format allows that; None keeps every pixel.

    Returns (H, W, 3) uint8 RGB. Raises InputError with one sentence when it is larger than 20 MB, 25 megapixels or
    10,000 pixels a side, smaller than 8 pixels a side, of another format than PNG, JPEG, WebP, GIF or TIFF, or damaged.
    """
    data = source if isinstance(source, bytes) else read_file(source)
    if not data:
        raise InputError("The picture file is empty: choose a PNG, JPEG, WebP, GIF or TIFF file.")
    check_bytes(len(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd metadata; the checks here decide
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            size = image.size
        except Image.DecompressionBombError as error:  # Pillow refuses such a size before it can be asked for it
            raise InputError(_TOO_LARGE) from error
        except _DECODER_ERRORS as error:
            raise InputError(_UNREADABLE) from error
        check_size(*size)
        try:
            return _decoders.submit(_decoded, image, longest).result()
        except _DECODER_ERRORS as error:
            raise InputError(_UNREADABLE) from error


def to_rgb(image) -> np.ndarray:
    """Any Pillow image, or an (H, W, 3) uint8 RGB array, as a fresh (H, W, 3) uint8 RGB array; never the input itself.

    Raises InputError with one sentence when the picture is of another kind or outside the size limits.
    """
    if isinstance(image, Image.Image):
        check_size(*image.size)
        try:
            return _rgb(ImageOps.exif_transpose(image))
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


def check_bytes(count: int) -> None:
    """InputError when a file of `count` bytes is over the limit."""
    if count > MAX_BYTES:
        raise InputError(f"The picture file has {count / 1e6:.0f} MB: at most {MAX_BYTES // 1_000_000} MB are allowed.")


def check_size(width: int, height: int) -> None:
    """InputError when a picture of this size in pixels is outside the limits."""
    if min(width, height) < MIN_SIDE:
        raise InputError(f"The picture is {width} x {height} pixels: each side must have at least {MIN_SIDE}.")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise InputError(
            f"The picture is {width} x {height} pixels: at most {MAX_PIXELS // 1_000_000} megapixels and "
            f"{MAX_SIDE:,} pixels a side are allowed."
        )


def read_file(path: str | os.PathLike) -> bytes:
    """A picture's file as it is; InputError when it is too large or cannot be opened."""
    path = Path(path)
    try:
        check_bytes(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise InputError("The picture file cannot be opened: it does not exist or may not be read.") from error


def _decoded(image: Image.Image, longest: int | None) -> np.ndarray:
    if longest is not None:
        image.draft("RGB", (longest, longest))  # a JPEG is decoded at a half, a quarter or an eighth
    ImageOps.exif_transpose(image, in_place=True)
    return _rgb(image, longest)


def _rgb(image: Image.Image, longest: int | None = None) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bits(np.asarray(image)))
    width, height = image.size
    if longest is None or max(width, height) <= longest:
        return np.array(_converted(image))
    # Band by band: as RGB a whole picture can have 32 times the bytes that it has in its own mode.
    factor = max(width, height) // longest
    reduced = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, BAND * factor):
        band = image.crop((0, top, width, min(height, top + BAND * factor)))
        reduced.paste(_converted(band).reduce(factor), (0, top // factor))
    reduced.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.array(reduced)


def _converted(image: Image.Image) -> Image.Image:
    """Any mode of 8 bits or fewer -> RGB, alpha over white."""
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """16 bit, 32 bit and float grey to uint8: by the format's range where there is one, else by the data's."""
    if not np.isfinite(grey).all():
        raise InputError("not a number in the picture")
    low, high = float(grey.min()), float(grey.max())
    if grey.dtype.kind == "u":
        low, high = 0.0, float(np.iinfo(grey.dtype).max)
    elif low >= 0 and high <= 1 and grey.dtype.kind == "f":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    found = np.empty(grey.shape, np.uint8)
    for top in range(0, len(grey), BAND):  # in float64 a whole picture would have eight times its bytes
        band = grey[top : top + BAND].astype(np.float64)
        found[top : top + BAND] = np.rint((band - low) * (255 / max(high - low, 1e-9)))
    return found
