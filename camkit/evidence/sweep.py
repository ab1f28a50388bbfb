"""Faster Score-CAM over max_n, out of one run of the full Score-CAM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..cams import Progress, finish, scorecam_blocks
from ..classifier import Classifier, Meter
from ..errors import InputError
from ..labels import class_at
from ..methods import METHODS
from ..picture import to_rgb
from .metrics import coherency

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def _summed(
    classifier, inputs, activations, layer: str, class_index: int, stops: list[int], meter: Meter
) -> Iterator[Progress]:
    method = METHODS["scorecam"]
    return scorecam_blocks(classifier, method, inputs, activations, class_index, layer, stops, meter)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two maps, -1 to 1; flat maps as in `camkit.faithfulness.coherency`."""
    return 2 * coherency(first, second) - 1


@dataclass(frozen=True)
class DialPoint:
    """Faster Score-CAM at one `max_n`: `map` (224, 224) float32 in [0, 1], its Pearson `correlation` with the full
    Score-CAM (with the furthest sum so far until the run is complete), and what it cost to get there."""

    max_n: int
    correlation: float
    seconds: float
    forward_passes: int
    map: np.ndarray


@dataclass(frozen=True)
class Dial:
    """The curve so far: `points` by rising max_n, `channels` of `channels_total` passes made, `complete` when the last
    point is the reference itself."""

    points: tuple[DialPoint, ...]
    channels: int
    channels_total: int
    seconds_left: float

    @property
    def complete(self) -> bool:
        return self.channels == self.channels_total


def dial(
    classifier: Classifier,
    image,
    class_index: int | None = None,
    counts: Iterable[int] | None = None,
    target_layer: str | None = None,
) -> Iterator[Dial]:
    """How close Faster Score-CAM comes to the full Score-CAM for rising max_n, out of one run: a Dial after each block.

    `counts` None takes 1, 2, 5, 10 ... and all channels; the largest one is what the others are compared with. Closing
    the iterator stops the work. Raises InputError for a count outside 1 to the layer's channels, at the call.
    """
    layer = classifier.check_layer(target_layer)
    channels = classifier.channels(layer)
    stops = sorted(set(counts)) if counts is not None else [count for count in COUNTS if count < channels] + [channels]
    if not stops or not 1 <= stops[0] <= stops[-1] <= channels:
        raise InputError(
            f"The counts are {stops}: they must be whole numbers from 1 to {channels}, the channels of {layer}."
        )
    index = None if class_index is None else class_at(int(class_index)).index
    return _dialling(classifier, to_rgb(image), index, stops, layer)


def _dialling(
    classifier: Classifier, image: np.ndarray, class_index: int | None, stops: list[int], layer: str
) -> Iterator[Dial]:
    meter, inputs = Meter(), classifier.preprocess(image)
    activations, logits = classifier.forward(inputs, layer, meter)
    index = int(np.argmax(logits[0])) if class_index is None else class_index
    points, left = [], list(stops)
    for progress in _summed(classifier, inputs, activations, layer, index, stops, meter):
        cam_map = finish(np.maximum(progress.total, 0), classifier.input_size)
        # Several counts can end on one block: channels that are zero everywhere need no pass.
        while left and progress.to_do(left[0]) <= progress.done:
            points.append(DialPoint(left.pop(0), 1.0, progress.meter.seconds, progress.meter.forward_passes, cam_map))
        points = [replace(point, correlation=correlation(point.map, cam_map)) for point in points]
        yield Dial(tuple(points), progress.done, progress.live, progress.seconds_left)
