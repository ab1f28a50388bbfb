"""The sweep of max_n: how close Faster Score-CAM comes to the full Score-CAM with more channels, out of one run."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..explanation import Question
from ..methods import METHODS
from ..picture import to_rgb
from .metrics import correlation

if TYPE_CHECKING:
    from ..classifier import Classifier

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class SweepPoint:
    """Faster Score-CAM at one `max_n`: `map`, what the picture fills of it, (h, w) float32 in [0, 1], its Pearson
    `correlation` with the full Score-CAM (with the furthest sum so far until the run is complete), and what it cost to
    get there."""

    max_n: int
    correlation: float
    seconds: float
    forward_passes: int
    map: np.ndarray


@dataclass(frozen=True)
class Sweep:
    """The curve so far: `points` by rising max_n, `channels` of `channels_total` passes made, `complete` when the last
    point is the reference itself."""

    points: tuple[SweepPoint, ...]
    channels: int
    channels_total: int
    seconds_left: float

    @property
    def complete(self) -> bool:
        return self.channels == self.channels_total


def sweep(
    classifier: Classifier,
    image,
    class_index: int | None = None,
    counts: Iterable[int] | None = None,
    target_layer: str | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[Sweep]:
    """Yield a Sweep after each state of one Score-CAM run.

    `counts` None takes 1, 2, 5, 10 ... and all channels; the largest one is what the others are compared with. Closing
    the iterator stops the work; setting `cancel` ends it after the block under way. Raises InputError for a count
    outside 1 to the layer's channels, at the call.
    """
    question = classifier.question(class_index, target_layer)
    channels = classifier.channels(question.target_layer)
    stops = sorted(set(counts)) if counts is not None else [count for count in COUNTS if count < channels] + [channels]
    if not stops or not 1 <= stops[0] <= stops[-1] <= channels:
        raise InputError(
            f"The counts are {stops}: they must be whole numbers from 1 to {channels}, the channels of "
            f"{question.target_layer}."
        )
    return _sweep(classifier, to_rgb(image), question, stops, cancel)


def _sweep(
    classifier: Classifier,
    image: np.ndarray,
    question: Question,
    stops: list[int],
    cancel: threading.Event | None,
) -> Iterator[Sweep]:
    from ..classifier import Meter
    from ..scorecam import scorecam_blocks
    from ..stock import finish

    meter, inputs, placement = Meter(), classifier.preprocess(image), classifier.placement(image)
    activations, logits = classifier.forward(inputs, question.target_layer, meter)
    if question.class_index is None:
        question = replace(question, class_index=int(np.argmax(logits[0])))
    points: list[SweepPoint] = []
    left = list(stops)
    method = METHODS["scorecam"]
    for progress in scorecam_blocks(classifier, method, inputs, activations, question, stops, meter, cancel):
        cam_map = placement.cut(finish(np.maximum(progress.total, 0), classifier.input_size))
        # Several counts can end on one block: channels that are zero everywhere need no pass.
        while left and progress.to_do(left[0]) <= progress.done:
            points.append(SweepPoint(left.pop(0), 1.0, progress.meter.seconds, progress.meter.forward_passes, cam_map))
        points = [replace(point, correlation=correlation(point.map, cam_map)) for point in points]
        yield Sweep(tuple(points), progress.done, progress.live, progress.seconds_left)
