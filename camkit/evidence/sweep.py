"""What is measured on one picture of a set: PARTS, one entry each, and the dial of Faster Score-CAM.

A part is a generator: it yields a short label whenever it could be stopped (after a block of Score-CAM's channels or a
batch of scored pictures) and returns what it measured as plain JSON values, so that a checkpoint can hold it. Parts
that need the picture's own maps get them from the first part, "metrics". Knows no files, tables or statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
from PIL import Image

from .explain import Explanation, explain_stream, map_of_inputs
from .faithfulness import BASELINES, CONTROLS, beats_controls, coherency, energy_inside, masked, measure_stream
from .imagenet import class_at
from .methods import METHODS, channel_terms, check_methods, finish
from .models import Classifier, Meter
from .picture import to_rgb
from .render import data_url, overlay
from .scorecam import Progress, blocks

COHERENCY = {
    "all": "every method",
    "fast": "every method but full Score-CAM, whose cost it would double",
    "none": "no method",
}
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
TUNED = (5, 10, 20, 50)  # Faster Score-CAM's max_n for the claim on tuning; the second is the default
NOISE = (5, 10, 20)  # grey levels
THUMBNAIL = 112  # pixels in height

_FAST = tuple(key for key, method in METHODS.items() if method.uses_gradient or method.channels(2, 1) < 2)

Work = Generator[str, None, dict]


@dataclass(frozen=True)
class Settings:
    """What an evaluation depends on besides pictures and classifier; `coherency` is a key of COHERENCY, `steps`,
    `insertion_baseline`, `deletion_baseline` and `seed` are those of `camkit.faithfulness.measure_stream`."""

    methods: tuple[str, ...] = tuple(METHODS)
    target_layer: str | None = None
    max_n: int = 10
    steps: int = 28
    coherency: str = "all"
    insertion_baseline: str = "blur"
    deletion_baseline: str = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", check_methods(self.methods))
        if self.coherency not in COHERENCY:
            raise ValueError(f"Coherency is '{self.coherency}': it must be one of {', '.join(COHERENCY)}.")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps is {self.steps}: it must be a whole number of at least 1.")
        for baseline in (self.insertion_baseline, self.deletion_baseline):
            if baseline not in BASELINES:
                raise ValueError(f"Baseline '{baseline}' is unknown: use one of {', '.join(BASELINES)}.")


@dataclass(frozen=True)
class Box:
    """Where a class is in a picture, drawn by hand: `box` is left, top, right, bottom as shares of width and height."""

    label: str
    class_index: int
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        class_at(self.class_index)
        left, top, right, bottom = self.box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(
                f"The box of '{self.label}' is {list(self.box)}: it must be left < right, top < bottom, all in 0 to 1."
            )

    def region(self, shape: tuple[int, int]) -> np.ndarray:
        """(H, W) bool, True inside."""
        left, top, right, bottom = self.box
        region = np.zeros(shape, bool)
        region[round(top * shape[0]) : round(bottom * shape[0]), round(left * shape[1]) : round(right * shape[1])] = (
            True
        )
        return region


@dataclass(frozen=True)
class Case:
    """One picture of the set: `image` (H, W, 3) uint8 RGB, its boxes, what "metrics" found once it has run; whether the
    classifier is `warm`, its compiled passes traced, which is no cost of a method; and whether it is `sampled`, one of
    the few pictures on which the dial is turned to its end."""

    classifier: Classifier
    picture: str
    image: np.ndarray
    settings: Settings
    boxes: tuple[Box, ...] = ()
    measured: Mapping = field(default_factory=dict)
    warm: bool = True
    sampled: bool = True

    @cached_property
    def inputs(self) -> np.ndarray:
        """(1, 224, 224, 3) float32, preprocessed."""
        return self.classifier.preprocess(self.image)

    @cached_property
    def layer(self) -> str:
        return self.classifier.check_layer(self.settings.target_layer)

    @property
    def class_index(self) -> int | None:
        """The first box's class, else the one "metrics" explained; None before that: the top class."""
        return self.boxes[0].class_index if self.boxes else self.measured.get("class_index")

    @cached_property
    def maps(self) -> dict[str, np.ndarray]:
        """(224, 224) maps of the untouched picture by method."""
        return {key: finish(raw, self.classifier.input_size) for key, raw in self.raws.items()}

    @cached_property
    def raws(self) -> dict[str, np.ndarray]:
        return {key: np.array(raw, np.float32) for key, raw in self.measured["raw"].items()}

    def row(self, key: str) -> dict:
        """The figures of one method or control."""
        return next(row for row in self.measured["rows"] if row["key"] == key)


# --- metrics -------------------------------------------------------------------------------------------------------


def metrics(case: Case) -> Work:
    """Every method's map, cost and METRICS, and the controls': a row each."""
    if not case.warm:
        for _ in explain_stream(case.classifier, case.image, _FAST, None, case.layer, case.settings.max_n):
            yield "warming up"
    explanation = yield from _explained(case, case.image, case.class_index, case.layer)
    maps = {key: cam.map for key, cam in explanation.cams.items()}
    cam_fns = {}
    for key in _coherent(case):
        seen = masked(case.inputs[0], maps[key])[None]
        cam_map = yield from _map_of(case, seen, key, explanation.class_index)
        cam_fns[key] = partial(_same, cam_map)
    results = yield from _measured(
        case, maps, explanation.class_index, explanation.probability, cam_fns, tuple(CONTROLS)
    )
    controls = [results[key] for key in CONTROLS]
    box = case.boxes[0] if case.boxes else None
    rows = [_row(case, explanation, result, maps, box, controls) for result in results.values()]
    return {
        "picture": case.picture,
        "class_index": explanation.class_index,
        "class_name": explanation.class_name,
        "probability": explanation.probability,
        "rows": rows,
        "thumbnails": _thumbnails(case.image, maps),
        "raw": {key: cam.raw.tolist() for key, cam in explanation.cams.items()},
    }


def _explained(case: Case, image: np.ndarray, class_index: int | None, layer: str) -> Generator[str, None, Explanation]:
    methods, max_n = case.settings.methods, _max_n(case, layer)
    for snapshot in explain_stream(case.classifier, image, methods, class_index, layer, max_n):
        yield "maps"
    return snapshot


def _max_n(case: Case, layer: str) -> int:
    """An early layer may have fewer channels than max_n; there Faster Score-CAM is the full one."""
    channels = case.classifier.channels(layer)
    return case.settings.max_n if layer == case.layer else min(case.settings.max_n, channels)


def _coherent(case: Case) -> Iterator[str]:
    for key in case.settings.methods:
        if case.settings.coherency == "all" or (case.settings.coherency == "fast" and key in _FAST):
            yield key


def _same(cam_map: np.ndarray, _: np.ndarray) -> np.ndarray:
    return cam_map


def _map_of(case: Case, inputs: np.ndarray, key: str, class_index: int) -> Generator[str, None, np.ndarray]:
    """The method's (224, 224) map of preprocessed (1, 224, 224, 3) inputs that are no picture any more."""
    yield "coherency"
    if METHODS[key].uses_gradient:
        return map_of_inputs(case.classifier, inputs, key, class_index, case.layer)
    activations, _ = case.classifier.forward(inputs, case.layer)
    stops = [METHODS[key].channels(activations.shape[-1], case.settings.max_n)]
    for progress in _summed(case.classifier, inputs, activations, case.layer, class_index, stops, Meter()):
        yield "coherency"
    return finish(np.maximum(progress.total, 0), case.classifier.input_size)


def _summed(
    classifier, inputs, activations, layer: str, class_index: int, stops: list[int], meter: Meter
) -> Iterator[Progress]:
    weigh = partial(channel_terms, METHODS["scorecam"], class_index=class_index)
    return blocks(classifier, inputs, activations, layer, weigh, stops, meter)


def _measured(
    case: Case, maps, class_index: int, probability: float, cam_fns=None, controls: tuple[str, ...] = ()
) -> Generator[str, None, dict]:
    """Faithfulness by key, of `maps` and `controls`."""
    settings, results = case.settings, {}
    stream = measure_stream(
        case.classifier.score_fn(class_index),
        case.inputs[0],
        maps,
        cam_fns,
        probability,
        settings.steps,
        settings.insertion_baseline,
        settings.deletion_baseline,
        case.classifier.block_size,
        controls,
        settings.seed,
        heartbeat=True,
    )
    for key, result in stream:
        if result is None:
            yield "metrics"
        else:
            results[key] = result
    return results


def _row(case: Case, explanation: Explanation, result, maps, box: Box | None, controls) -> dict:
    cam = explanation.cams.get(result.key)
    size = case.classifier.input_size
    cam_map = maps[result.key] if cam else CONTROLS[result.key].make(size, case.settings.seed)
    return {
        "picture": case.picture,
        "class_index": explanation.class_index,
        "class_name": explanation.class_name,
        "probability": explanation.probability,
        "key": result.key,
        "seconds": cam and cam.seconds,
        "forward_passes": cam and cam.forward_passes,
        "backward_passes": cam and cam.backward_passes,
        **result.metrics,
        "half_area": float((cam_map > cam_map.max() / 2).mean()) if cam_map.any() else 0.0,
        "energy_inside": box and energy_inside(cam_map, box.region(size)),
        "beats_controls": float(beats_controls(result, controls)) if cam else None,
    }


def _thumbnails(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Data URLs of small JPEGs: the picture, and an overlay for each map."""
    width = max(1, round(image.shape[1] * THUMBNAIL / image.shape[0]))
    small = np.array(Image.fromarray(image).resize((min(width, 4 * THUMBNAIL), THUMBNAIL), Image.Resampling.LANCZOS))
    pictures = {"picture": small} | {key: overlay(small, cam_map) for key, cam_map in maps.items()}
    return {key: data_url(picture, "JPEG", quality=80) for key, picture in pictures.items()}


# --- the claims ----------------------------------------------------------------------------------------------------


def earlier_layers(classifier: Classifier) -> tuple[str, ...]:
    """The last offered layer at each of the two next finer resolutions before the default layer's."""
    last = {classifier.model.get_layer(name).output.shape[1:3]: name for name in classifier.target_layers}
    return tuple(reversed(list(last.values())[:-1]))[:2]


def layers(case: Case) -> Work:
    """At two earlier layers: is the map still better than the controls, and how far is it from the default layer's?"""
    rows = []
    controls = max(case.row(key)["insertion_minus_deletion"] for key in CONTROLS)
    for layer in earlier_layers(case.classifier):
        explanation = yield from _explained(case, case.image, case.measured["class_index"], layer)
        maps = {key: cam.map for key, cam in explanation.cams.items()}
        results = yield from _measured(case, maps, explanation.class_index, explanation.probability)
        for key, result in results.items():
            worth = result.metrics["insertion_minus_deletion"]
            rows.append(
                {
                    "key": key,
                    "layer": layer,
                    "insertion_minus_deletion": worth,
                    "beats_controls": float(worth > controls),
                    "moved": 1 - correlation(maps[key], case.maps[key]),
                }
            )
    return {"picture": case.picture, "rows": rows}


def noise(case: Case) -> Work:
    """The map's correlation with itself when the picture is noisy.

    The noise is added at the model's own input size: on a large picture the resizing would average most of it away, and
    a sigma would mean something else for each picture.
    """
    height, width = case.classifier.input_size
    small = np.asarray(Image.fromarray(case.image).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    rows = []
    for sigma in NOISE:
        added = np.random.default_rng([case.settings.seed, sigma]).normal(0, sigma, small.shape)
        noisy = np.uint8(np.rint(np.clip(small + added, 0, 255)))
        explanation = yield from _explained(case, noisy, case.measured["class_index"], case.layer)
        rows += [
            {"key": key, "sigma": sigma, "correlation": correlation(cam.map, case.maps[key])}
            for key, cam in explanation.cams.items()
        ]
    return {"picture": case.picture, "rows": rows}


def boxes(case: Case) -> Work:
    """Share of each map's energy inside each box, the box's share of the picture beside it."""
    rows = []
    for box in case.boxes:
        maps = case.maps
        if box.class_index != case.measured["class_index"]:
            explanation = yield from _explained(case, case.image, box.class_index, case.layer)
            maps = {key: cam.map for key, cam in explanation.cams.items()}
        region = box.region(case.classifier.input_size)
        rows += [
            {
                "label": box.label,
                "class_index": box.class_index,
                "key": key,
                "chance": float(region.mean()),
                "energy_inside": energy_inside(cam_map, region),
            }
            for key, cam_map in maps.items()
        ]
    return {"picture": case.picture, "rows": rows}


def alignment(case: Case) -> Work:
    """The same raw maps expanded with half-pixel centres instead of aligned corners."""
    yield "alignment"
    maps = {key: half_pixel(raw, case.classifier.input_size) for key, raw in case.raws.items()}
    results = yield from _measured(case, maps, case.measured["class_index"], case.measured["probability"])
    rows = [
        {"key": key, "metric": metric, "corner": case.row(key)[metric], "half_pixel": result.metrics[metric]}
        for key, result in results.items()
        for metric in ("insertion", "deletion", "insertion_minus_deletion")
    ]
    return {"picture": case.picture, "rows": rows}


def half_pixel(raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) raw map -> (height, width) float32 in [0, 1], bilinear with half-pixel centres, scaled like stock maps."""
    expanded = np.asarray(Image.fromarray(raw).resize(size[::-1], Image.Resampling.BILINEAR))
    return (expanded - expanded.min()) / (np.ptp(expanded) + 1e-7)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two maps, -1 to 1; flat maps as in `camkit.faithfulness.coherency`."""
    return 2 * coherency(first, second) - 1


# --- the dial ------------------------------------------------------------------------------------------------------


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
    the iterator stops the work. Raises ValueError for a count outside 1 to the layer's channels, at the call.
    """
    layer = classifier.check_layer(target_layer)
    channels = classifier.channels(layer)
    stops = sorted(set(counts)) if counts is not None else [count for count in COUNTS if count < channels] + [channels]
    if not stops or not 1 <= stops[0] <= stops[-1] <= channels:
        raise ValueError(
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


def dialled(case: Case) -> Work:
    """How far Faster Score-CAM's map moves with max_n from its map at the default; on sampled pictures, the dial."""
    channels = case.classifier.channels(case.layer)
    counts = None if case.sampled else [count for count in TUNED if count <= channels] or [channels]
    for state in dial(case.classifier, case.image, case.measured["class_index"], counts, case.layer):
        yield "dial"
    maps = {point.max_n: point.map for point in state.points}
    known = [count for count in TUNED if count in maps and TUNED[1] in maps]
    figures = ("max_n", "correlation", "seconds", "forward_passes")
    return {
        "picture": case.picture,
        "points": [{name: getattr(point, name) for name in figures} for point in state.points if case.sampled],
        "moved": {str(count): 1 - correlation(maps[count], maps[TUNED[1]]) for count in known},
    }


@dataclass(frozen=True)
class Part:
    """One entry of PARTS: `label` says what it measures, `run` does so on one picture, and `samples` tells that it does
    less on pictures that are not sampled. The steps that `run` yields continue the label in the progress."""

    key: str
    label: str
    run: Callable[[Case], Work]
    samples: bool = False


PARTS: dict[str, Part] = {
    part.key: part
    for part in (
        Part("metrics", "maps, costs and faithfulness", metrics),
        Part("layers", "earlier layers", layers),
        Part("noise", "noise", noise),
        Part("boxes", "boxes", boxes),
        Part("dial", "the dial of Faster Score-CAM", dialled, True),
        Part("alignment", "alignment", alignment),
    )
}
CLAIMS = ("metrics", "layers", "noise", "boxes", "dial")
