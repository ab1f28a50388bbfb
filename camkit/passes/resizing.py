"""Resizing of a picture to a model's input of a fixed size.

Owns the choices of `resize` and `interpolation` and their arithmetic. Pictures are (H, W, 3) uint8 RGB, sizes (height,
width).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import InputError, quoted
from .placement import ALL, WHOLE, Placement, Rectangle, Size

RESIZES = {  # our key -> in words
    "squeeze": "the whole picture, without regard to its aspect ratio",
    "crop": "its middle, cut to the input's aspect ratio",
    "crop:N": "its shorter side to N pixels, such as crop:256, of which the middle is cut out",
    "pad": "the whole picture, with black borders for the input's aspect ratio",
}
INTERPOLATIONS = {  # our key -> Pillow's filter, None for one of TensorFlow's
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "tf_bilinear": None,
    "tf_nearest": None,
}
LARGEST_SIDE = 4096  # pixels of an input


def size_of(size) -> Size | None:
    """Return what names the size of an input, a whole number, a (height, width) or either as text ("96", "96x128"), as
    (height, width); None for None. InputError for anything else."""
    if size is None:
        return None
    given = re.split("[x,]", size) if isinstance(size, str) else size if isinstance(size, list | tuple) else [size]
    sides = [int(each) for each in given if re.fullmatch(r"[1-9]\d{0,3}", str(each).strip())]
    if len(sides) != len(given) or len(sides) not in (1, 2) or max(sides) > LARGEST_SIDE:
        raise InputError(
            f"The size is {quoted(size)}: give one whole number from 1 to {LARGEST_SIDE}, or two as height x width, "
            "such as 96x128."
        )
    return sides[0], sides[-1]


@dataclass(frozen=True)
class Resizing:
    """A model's way of resizing pictures. resize: a key of RESIZES. interpolation: a key of INTERPOLATIONS."""

    resize: str = "squeeze"
    interpolation: str = "bicubic"

    @classmethod
    def of(cls, resize: str | None = None, interpolation: str | None = None) -> Resizing:
        """Return the resizing of these choices, None for the default; InputError for unknown ones."""
        resize, interpolation = resize or cls.resize, interpolation or cls.interpolation
        if resize == "crop:N" or (resize not in RESIZES and not re.fullmatch(r"crop:[1-9]\d{0,3}", str(resize))):
            words = "; ".join(f"'{key}' ({words})" for key, words in RESIZES.items())
            raise InputError(f"Resize '{quoted(resize)}' is unknown: use one of {words}.")
        if interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise InputError(f"Interpolation '{quoted(interpolation)}' is unknown: use one of {known}.")
        return cls(resize, interpolation)

    def check(self, size: Size) -> Resizing:
        """Return this resizing; InputError when an input of this size cannot be cut out of what it makes."""
        if self._shorter and self._shorter < max(size):
            raise InputError(
                f"Resize '{self.resize}' makes pictures whose shorter side is {self._shorter}, but the model takes "
                f"{size[1]} x {size[0]} pixels: use crop:{max(size)} or more."
            )
        return self

    @property
    def _shorter(self) -> int:
        return int(self.resize.removeprefix("crop:")) if self.resize.startswith("crop:") else 0

    def in_words(self, size: Size) -> str:
        """Return how pictures become an input of this size, such as "squeezed to 224 x 224 pixels (bicubic)"."""
        if self._shorter:
            done = f"resized to {self._shorter} on the shorter side and cropped to"
        else:
            done = {"squeeze": "squeezed to", "crop": "cropped to the shape of", "pad": "padded to"}[self.resize]
        return f"{done} {size[1]} x {size[0]} pixels ({self.interpolation})"

    def placement(self, picture: Size, size: Size) -> Placement:
        """Return which rectangle of a picture of a size is which rectangle of an input of another.

        "crop" takes whole pixels, as Keras's load_img(keep_aspect_ratio=True) and crop_to_aspect_ratio do; "crop:N"
        what torchvision's Resize(N) and CenterCrop leave; "pad" fills what tf.image.resize_with_pad does, of which
        Keras's pad_to_aspect_ratio is made.
        """
        if self.resize == "squeeze":
            return WHOLE
        pairs = list(zip(picture, size, strict=True))
        if self.resize == "pad":
            most = max(np.float32(given) / np.float32(wanted) for given, wanted in pairs)  # TensorFlow's precision
            spans = []
            for given, wanted in pairs:
                filled = np.float32(given) / most
                first = max(0, int((np.float32(wanted) - filled) / 2))
                spans.append((first / wanted, (first + max(1, int(filled))) / wanted))
            return Placement(ALL, _rectangle(spans))
        if not self._shorter:
            height, width = picture
            kept = (min(height, width * size[0] // size[1]) or 1, min(width, height * size[1] // size[0]) or 1)
            starts = [(given - each) // 2 for given, each in zip(picture, kept, strict=True)]
            spans = [(at / all_, (at + each) / all_) for at, each, all_ in zip(starts, kept, picture, strict=True)]
            return Placement(_rectangle(spans), ALL)
        spans = []
        for given, wanted in pairs:
            resized = self._shorter * given // min(picture)
            first = round((resized - wanted) / 2)
            spans.append((first / resized, (first + wanted) / resized))
        return Placement(_rectangle(spans), ALL)

    def apply(self, image: np.ndarray, size: Size) -> np.ndarray:
        """Return an (H, W, 3) uint8 picture as an input of this size, (h, w, 3) in [0, 255]: uint8 by a filter of
        Pillow, which averages what it makes smaller; float32 by TensorFlow's, which does not."""
        placement = self.placement(image.shape[:2], size)
        rows, columns = placement.part(size)
        wanted = (rows.stop - rows.start, columns.stop - columns.start)
        height, width = image.shape[:2]
        left, top, right, bottom = placement.seen
        box: Rectangle | None = (left * width, top * height, right * width, bottom * height)
        kernel = INTERPOLATIONS[self.interpolation]
        if kernel is None:
            if not self._shorter:  # no pixel beyond the crop is taken
                image, box = image[placement.place(image.shape[:2])], None
            resized = _sampled(image, wanted, box, self.interpolation == "tf_nearest")
        else:
            resized = np.asarray(Image.fromarray(image).resize(wanted[::-1], kernel, box=box))
        if wanted == size:
            return resized
        filled = np.zeros((*size, image.shape[2]), resized.dtype)
        filled[rows, columns] = resized
        return filled


def grey_of(image: np.ndarray) -> np.ndarray:
    """Return an (h, w, 3) picture in grey, (h, w) of its own dtype: ITU-R 601 luma, of uint8 by Pillow."""
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).convert("L"))
    return np.einsum("hwc,c->hw", image, np.array([0.299, 0.587, 0.114], image.dtype))  # why not `@`: arithmetic.py


def _rectangle(spans: list[tuple[float, float]]) -> Rectangle:
    (top, bottom), (left, right) = spans
    return left, top, right, bottom


def _sampled(image: np.ndarray, size: Size, box: Rectangle | None, nearest: bool) -> np.ndarray:
    """Return a box, in pixels, of an (H, W, 3) uint8 picture at a size, (h, w, 3) float32, as tf.image.resize does
    without antialiasing: each value is taken between four pixels, or is the nearest one, however many pixels a place of
    the result stands for."""
    values: np.ndarray = image
    for axis, count in enumerate(size):
        side = image.shape[axis]
        first, last = (0, side) if box is None else (box[1 - axis], box[3 - axis])
        places = (np.arange(count, dtype=np.float32) + np.float32(0.5)) * np.float32((last - first) / count)
        places += np.float32(first if nearest else first - 0.5)
        floors = np.floor(places)
        before, after = (np.clip(floors + by, 0, side - 1).astype(int) for by in (0, 1))
        near = np.take(values, before, axis).astype(np.float32)
        if not nearest:
            weight = (places - floors).reshape(-1, *[1] * (2 - axis))
            near += (np.take(values, after, axis) - near) * weight
        values = near
    return values
