"""The sanity check: does a map depend on what the network learned? (Adebayo et al. 2018, "Sanity Checks for Saliency
Maps", cascading randomisation.)

The weights of a copy are drawn anew in stages from the output downwards, and each method's map of the same picture and
class is compared with the trained network's. A map that stays the same shows the picture, or the architecture, and
nothing that was learned. Maps are (height, width) float32 in [0, 1].
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from ..errors import InputError
from ..explanation import Question
from ..methods import METHODS
from ..passes.placement import Placement
from .metrics import CONTROLS, correlation

if TYPE_CHECKING:
    from ..classifier import Classifier
    from .randomise import RandomisedCopy

SAME, UNRELATED = "gaussian", "random"  # CONTROLS that show what no dependence and what nothing in common look like
CONTROL_NAMES = {SAME: "Fixed map", UNRELATED: "Random map"}
WAIT = 0.5  # seconds between two looks whether the copy is free
_FLAT = 1e-6  # of its highest value: a map that spans less holds rounding errors, whose ranks would be noise
_SAME_ANSWER = 1e-4  # of a probability, or of a value's size: what copies of one network may differ by


@dataclass(frozen=True)
class Likeness:
    """The likeness of a map to its original at a stage: `layers` of `layers_total` are random, down to `layer`; the
    stage is `number` from 1. `correlation` is Spearman's, -1 to 1; `ssim` the structural similarity, -1 to 1."""

    key: str
    number: int
    layer: str
    layers: int
    layers_total: int
    correlation: float
    ssim: float

    @property
    def last(self) -> bool:
        return self.layers == self.layers_total


@dataclass(frozen=True)
class Sanity:
    """The check so far: `points` by stage and map, `share` of the work done; `seconds_left` is None until something can
    be foreseen, and `waiting` is true while another check has the copy. `maps`: those compared, by method key and
    stage, 0 for the trained network: what the picture fills of them as (h, w) float32, each scaled to 0 to 1."""

    points: tuple[Likeness, ...]
    share: float
    seconds_left: float | None
    waiting: bool = False
    maps: Mapping[tuple[str, int], np.ndarray] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.share == 1.0


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation of two maps of one shape, -1 to 1.

    It is undefined for a flat map, such as one that is zero everywhere. Two flat maps are alike: 1. A flat map beside
    one that is not shares nothing with it: 0. (As in `camkit.evidence.metrics.correlation`.)
    """
    return correlation(_ranks(first), _ranks(second))


def _ranks(cam_map: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata  # here: it takes half a second to import, which the page would wait for

    return np.zeros(cam_map.size) if _is_flat(cam_map) else rankdata(cam_map)


def _is_flat(cam_map: np.ndarray) -> bool:
    return bool(np.ptp(cam_map) <= _FLAT * np.abs(cam_map).max())


def _full_range(cam_map: np.ndarray) -> np.ndarray:
    """Return the map scaled to 0 to 1, zero for a flat one. Activations fade in a random network, and tf-keras-vis's
    own scaling, which adds 1e-7 to the range, would leave of its maps nothing but their smallness."""
    if _is_flat(cam_map):
        return np.zeros(cam_map.shape, np.float32)
    return ((cam_map - cam_map.min()) / np.ptp(cam_map)).astype(np.float32)


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean structural similarity of two maps in [0, 1], -1 to 1 (Wang et al. 2004: Gaussian window of 11 x
    11 and sigma 1.5, K1 = 0.01, K2 = 0.03). The border is mirrored, and counts. Its constants define it for flat maps
    too."""

    def local_mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma=1.5, radius=5, mode="reflect")

    a, b = first.astype(np.float64), second.astype(np.float64)
    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a, variance_b = local_mean(a * a) - mean_a**2, local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((alike / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean())


def sanity_stream(
    classifier: Classifier,
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    question: Question,
    seed: int = 0,
    only_last: Collection[str] = (),
    cancel: threading.Event | None = None,
) -> Iterator[Sanity]:
    """Yield a Sanity after each map and each block of a Score-CAM; closing the iterator stops the work between two
    blocks, and setting `cancel` ends it after the block under way, whose map is dropped.

    `maps`: by method key what `image` (H, W, 3) fills of its map for this question with the trained network, as
    `Explanation.maps` gives it; the methods in `only_last` are compared at the last stage alone. Two controls stand
    beside them: a map that ignores the network stays as it is, and a random one, drawn at each stage, is compared with
    each of `maps` (the mean). The class explained stays the question's. Raises InputError for a model that cannot be
    copied.
    """
    from .randomise import copy_of

    cancel = cancel or threading.Event()
    yield Sanity((), 0.0, None)
    copy = copy_of(classifier)
    while not copy.in_use.acquire(timeout=WAIT):
        if cancel.is_set():
            return
        yield Sanity((), 0.0, None, waiting=True)
    try:
        copy.restore()
        inputs, placement = classifier.preprocess(image), classifier.placement(image)
        answers = [each.score_fn(question.class_index)(inputs)[0] for each in (classifier, copy.classifier)]
        if abs(answers[0] - answers[1]) > _SAME_ANSWER * max(1.0, abs(answers[0])):
            raise InputError("A copy of the model does not give its answers: a layer keeps more than its weights.")
        yield from _cascade(copy, inputs, placement, dict(maps), question, seed, frozenset(only_last), cancel)
    finally:
        copy.in_use.release()


def _cascade(
    copy: RandomisedCopy,
    inputs: np.ndarray,
    placement: Placement,
    maps: dict[str, np.ndarray],
    question: Question,
    seed: int,
    only_last: frozenset[str],
    cancel: threading.Event,
) -> Iterator[Sanity]:
    from ..scorecam import map_of_inputs

    channels = copy.classifier.channels(question.target_layer)
    jobs = [(stage, key) for stage in copy.stages for key in maps if stage.done == stage.total or key not in only_last]
    # A gradient is two passes; a Score-CAM one for each channel besides the picture's own.
    costs = [2 if METHODS[key].uses_gradient else 1 + METHODS[key].takes(channels, question.max_n) for _, key in jobs]
    points: list[Likeness] = []
    compared = {(key, 0): _full_range(given) for key, given in maps.items()}
    begin, done = time.perf_counter(), 0.0
    for number, stage in enumerate(copy.stages, 1):
        copy.randomise(stage, seed)
        about = (number, stage.layer, stage.done, stage.total)
        for key, cost in ((key, cost) for (at, key), cost in zip(jobs, costs, strict=True) if at is stage):
            for found in map_of_inputs(copy.classifier, inputs, key, question, cancel):
                yield _state(points, compared, done / sum(costs), begin)
            if cancel.is_set():
                return
            given, found = compared[key, 0], _full_range(placement.cut(found))
            compared[key, number] = found
            points.append(Likeness(key, *about, rank_correlation(given, found), ssim(given, found)))
            done += cost
            if done < sum(costs):
                yield _state(points, compared, done / sum(costs), begin)
        points += _controls(maps, about, seed + number)
    yield _state(points, compared, 1.0, begin)


def _state(
    points: list[Likeness], compared: Mapping[tuple[str, int], np.ndarray], share: float, begin: float
) -> Sanity:
    spent = time.perf_counter() - begin
    return Sanity(tuple(points), share, spent / share * (1 - share) if share else None, maps=dict(compared))


def _controls(maps: Mapping[str, np.ndarray], about: tuple[int, str, int, int], seed: int) -> Iterator[Likeness]:
    shape = next(iter(maps.values())).shape
    kept, drawn = CONTROLS[SAME].make(shape, seed), CONTROLS[UNRELATED].make(shape, seed)
    yield Likeness(SAME, *about, rank_correlation(kept, kept), ssim(kept, kept))
    alike = [(rank_correlation(each, drawn), ssim(each, drawn)) for each in maps.values()]
    alike_by_chance = np.mean(alike, axis=0)
    yield Likeness(UNRELATED, *about, float(alike_by_chance[0]), float(alike_by_chance[1]))
