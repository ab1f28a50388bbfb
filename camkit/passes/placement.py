"""`Placement`: which rectangle of a picture is which rectangle of a model's input.

Whatever brings a map, a box or a painted region from the input to the picture, or back, asks it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

Size = tuple[int, int]  # height, width
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom
ALL: Rectangle = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Placement:
    """Which rectangle of a picture is which rectangle of a model's input, both as shares of width and height from 0 to
    1: the model sees `seen` of the picture, in `filled` of its input. What lies beyond `seen` it does not see; what
    lies beyond `filled` is a border that belongs to no picture."""

    seen: Rectangle = ALL
    filled: Rectangle = ALL

    def __post_init__(self) -> None:
        for left, top, right, bottom in (self.seen, self.filled):
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError(f"{self} is no placement: a rectangle lies within 0 to 1 and is not empty.")

    def part(self, size: Size) -> tuple[slice, slice]:
        """Return the rows and columns that the picture fills in an input of this size."""
        return _slices(self.filled, size)

    def place(self, size: Size) -> tuple[slice, slice]:
        """Return the rows and columns that the model sees of a picture of this size."""
        return _slices(self.seen, size)

    def cut(self, cam_map: np.ndarray) -> np.ndarray:
        """Return what the picture fills of a map (height, width) of the input, or of inputs (height, width, c)."""
        return cam_map[self.part(cam_map.shape[:2])]

    def put(self, parts: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """Return copies of the (h, w, c) inputs in which (N, h', w', c) parts, or one (h', w', c), take the picture's
        place; the border stays."""
        if parts.shape[-3:] == inputs.shape:
            return parts
        filled = np.broadcast_to(inputs, (*parts.shape[:-3], *inputs.shape)).copy()
        filled[(..., *self.part(inputs.shape[:2]), slice(None))] = parts
        return filled

    def fit(self, cam_map: np.ndarray, size: Size) -> np.ndarray:
        """Return a map (height, width) of the input at the size of what the model sees of a picture of this size, as
        `place` names it: float32 in [0, 1], bilinear with half-pixel centres."""
        cut, place = self.cut(cam_map), self.place(size)
        box = []
        for axis in (1, 0):
            first, last = self.seen[1 - axis], self.seen[3 - axis]
            ends = (place[axis].start / size[axis], place[axis].stop / size[axis])
            # Whole pixels of the picture; at most half a one lies beyond what the model sees.
            box.append([min(1.0, max(0.0, (end - first) / (last - first))) * cut.shape[axis] for end in ends])
        wanted = [place[axis].stop - place[axis].start for axis in (1, 0)]
        corners = (box[0][0], box[1][0], box[0][1], box[1][1])
        fitted = Image.fromarray(cut.astype(np.float32)).resize(wanted, Image.Resampling.BILINEAR, box=corners)
        return np.clip(np.asarray(fitted), 0, 1)

    def within(self, box: Rectangle) -> Rectangle | None:
        """Return a box of the picture, as shares of it, as shares of what the model sees of it; None for a box of which
        it sees nothing."""
        left, top, right, bottom = self.seen
        across, down = right - left, bottom - top
        moved = ((box[0] - left) / across, (box[1] - top) / down, (box[2] - left) / across, (box[3] - top) / down)
        found = tuple(min(1.0, max(0.0, each)) for each in moved)
        return found if found[0] < found[2] and found[1] < found[3] else None  # type: ignore[return-value]

    def to_json(self) -> dict:
        return asdict(self)


WHOLE = Placement()  # all of the picture is all of the input


def _slices(box: Rectangle, size: Size) -> tuple[slice, slice]:
    height, width = size
    return (
        slice(round(box[1] * height), round(box[3] * height)),
        slice(round(box[0] * width), round(box[2] * width)),
    )
