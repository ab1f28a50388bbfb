"""Measurements over a set of pictures, with their checkpoint."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..cams import finish
from ..classifier import Classifier, Meter
from ..errors import InputError
from ..explain import explain_stream, map_of_inputs
from ..explanation import Explanation
from ..maps import data_url, half_pixel, overlay
from ..methods import METHODS
from ..picture import open_picture
from ..version import __version__
from .metrics import CONTROLS, beats_controls, energy_inside, masked, measure_stream
from .results import NAMES, NOISE, TUNED, Box, Settings, earlier_layers
from .sweep import _summed, correlation, dial

DEFAULTS = Settings()
logger = logging.getLogger(__name__)
SAMPLE = 3  # pictures, evenly spread, on which the dial runs up to the full Score-CAM


@dataclass(frozen=True)
class Evaluation:
    """The state of a run: `done` of `total` pictures, the one at work and what is being measured on it, and everything
    measured so far. `values` holds, by part, what each finished picture gave; `skipped` the sentence for each picture
    that cannot be read; `seconds_left` is None until one picture has been measured."""

    done: int
    total: int
    picture: str = ""
    label: str = ""
    seconds_left: float | None = None
    values: Mapping[str, tuple[dict, ...]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.done == self.total


def evaluate_stream(
    classifier: Classifier,
    pictures: Mapping[str, str | os.PathLike | bytes],
    settings: Settings = DEFAULTS,
    boxes: Mapping[str, tuple[Box, ...]] | None = None,
    parts: Iterable[str] = ("metrics",),
    checkpoint: str | os.PathLike | None = None,
) -> Iterator[Evaluation]:
    """Measures `parts` (keys of PARTS) on every picture; yields an Evaluation wherever closing it is possible: after
    each block of channels, each batch of scored pictures and each picture. The last one yielded is complete.

    `pictures`: name -> file or its bytes, as from `find_pictures` or `unzip_pictures`. `boxes`: as from `read_boxes`;
    the first box of a picture says which class is explained, else it is the top class. `checkpoint`: a file that
    finished jobs are appended to and taken from; None keeps them in memory. Bad arguments raise InputError at the call.
    """
    wanted = [key for key in PARTS if key == "metrics" or key in set(parts)]
    if unknown := set(parts) - set(PARTS):
        raise InputError(f"Unknown parts {sorted(unknown)}: use some of {', '.join(PARTS)}.")
    if not pictures:
        raise InputError("There is no picture to evaluate: give PNG, JPEG, WebP, GIF or TIFF files.")
    blank = np.zeros((*classifier.input_size, 3), np.uint8)
    # Checks what depends on the classifier; nothing is computed, since nothing is taken from it.
    explain_stream(classifier, blank, settings.methods, None, settings.target_layer, settings.max_n)
    return _evaluating(classifier, dict(pictures), settings, dict(boxes or {}), wanted, Checkpoint(checkpoint))


def _evaluating(classifier, pictures, settings, boxes, parts, saved: Checkpoint) -> Iterator[Evaluation]:
    model = _fingerprint(classifier)
    sample = np.linspace(0, len(pictures) - 1, SAMPLE).round()
    values, skipped, spent, warm = {part: [] for part in parts}, {}, [], False
    for done, (name, source) in enumerate(pictures.items()):
        begin, fresh = time.perf_counter(), len(saved.values)
        try:
            image = open_picture(source)
        except InputError as error:
            skipped[name] = str(error)
            continue
        given, sampled = boxes.get(name, ()), done in sample
        measured: dict = {}
        for part in parts:
            case = Case(classifier, name, image, settings, given, measured, warm, sampled)
            key = _job_key(case, part, model)
            warm = warm or (part == "metrics" and key not in saved.values)
            for step in _work(case, part, key, saved):
                label = f"{PARTS[part].label}: {step}"
                left = _seconds_left(spent, len(pictures) - done, time.perf_counter() - begin)
                yield Evaluation(done, len(pictures), name, label, left, _frozen(values), dict(skipped))
            values[part].append(saved.values[key])
            measured = values["metrics"][-1]
        if len(saved.values) > fresh:
            spent.append(time.perf_counter() - begin)
        left = _seconds_left(spent, len(pictures) - done - 1, 0.0)
        if done + 1 < len(pictures):
            yield Evaluation(done + 1, len(pictures), name, "", left, _frozen(values), dict(skipped))
    yield Evaluation(len(pictures), len(pictures), "", "", 0.0, _frozen(values), dict(skipped))


def _work(case: Case, part: str, key: str, saved: Checkpoint) -> Iterator[str]:
    """Does one job unless it is done already, and keeps its result."""
    if key not in saved.values:
        begin = time.perf_counter()
        value = yield from PARTS[part].run(case)
        saved.add(key, value | {"spent": time.perf_counter() - begin})


def _frozen(values: dict[str, list[dict]]) -> dict[str, tuple[dict, ...]]:
    return {part: tuple(results) for part, results in values.items()}


def _seconds_left(spent: list[float], pictures: int, begun: float) -> float | None:
    return max(0.0, pictures * sum(spent) / len(spent) - begun) if spent else None


def _fingerprint(classifier: Classifier) -> str:
    """The model's key and a checksum of its weights: other weights are another classifier."""
    checksum = 0
    for weight in classifier.model.get_weights():
        checksum = zlib.crc32(np.ascontiguousarray(weight), checksum)
    return f"{classifier.name} {checksum:08x}"


def _job_key(case: Case, part: str, model: str) -> str:
    """What a result depends on, as one hash: pixels, name, boxes, settings, model, version."""
    given = [
        part,
        __version__,
        model,
        case.picture,
        case.image.shape,
        asdict(case.settings),
        [asdict(box) for box in case.boxes],
    ]
    if PARTS[part].samples and not case.sampled:
        given.append("without full Score-CAM")
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode() + case.image.tobytes()).hexdigest()


class Checkpoint:
    """Finished jobs, one JSON line each, found again by the hash of everything they depend on.

    So lines of other pictures, settings or models do no harm: they are never asked for. A line that was cut short by a
    kill is dropped and its job done again. Without a path it lives in memory only.
    """

    def __init__(self, path: str | os.PathLike | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.values: dict[str, dict] = {}
        if self.path is not None and self.path.exists():
            self._read()

    def add(self, key: str, value: dict) -> None:
        """Keeps a result; on disk before this returns."""
        self.values[key] = value
        if self.path is None:
            return
        with open(self.path, "ab", buffering=0) as file:
            file.write(json.dumps({"job": key, "value": value}).encode() + b"\n")
            os.fsync(file.fileno())

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.path, whole)  # else the next line would be glued to the cut one
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                entry = json.loads(line)
                self.values[entry["job"]] = entry["value"]
            except (ValueError, KeyError, TypeError):
                logger.warning("Line %d of %s is damaged; its job is done again.", number, self.path.name)


THUMBNAIL = 112  # pixels in height
_FAST = tuple(key for key, method in METHODS.items() if method.uses_gradient or method.channels(2, 1) < 2)
Work = Generator[str, None, dict]


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


def measuring(clf, explanation) -> Iterator[tuple]:
    """(key, Faithfulness or None) of every finished map and the controls; None after each batch, so that it can be stopped.
    Coherency needs the map of the masked picture, which for a full Score-CAM would double its cost: it is left out there."""
    maps = {key: np.clip(cam.map, 0, 1) for key, cam in explanation.cams.items() if cam.complete}
    count = clf.channels(explanation.target_layer)
    quick = [
        key for key in maps if METHODS[key].uses_gradient or METHODS[key].channels(count, explanation.max_n) < count
    ]
    cam_fns = {key: functools.partial(_masked_map, clf, explanation, key) for key in quick}
    return measure_stream(
        clf.score_fn(explanation.class_index),
        clf.preprocess(explanation.image)[0],
        maps,
        cam_fns,
        explanation.probability,
        batch_size=clf.block_size,
        heartbeat=True,
    )


def _masked_map(clf, explanation, key: str, inputs: np.ndarray) -> np.ndarray:
    cam_map = map_of_inputs(
        clf, inputs[None], key, explanation.class_index, explanation.target_layer, explanation.max_n
    )
    return np.clip(cam_map, 0, 1)


def measured(clf, explanation) -> dict:
    """Every Faithfulness by key, methods first."""
    return {key: result for key, result in measuring(clf, explanation) if result is not None}


def evidence_json(results: dict) -> dict:
    controls = _controls(results)
    return {
        key: {
            "name": NAMES[key],
            "control": key in controls,
            **result.metrics,
            "beats_controls": None if key in controls else beats_controls(result, controls.values()),
            "insertion_curve": _curve(result.insertion),
            "deletion_curve": _curve(result.deletion),
        }
        for key, result in results.items()
    }


def _curve(curve) -> dict:
    return {"fractions": curve.fractions.tolist(), "probabilities": curve.probabilities.tolist()}


def _controls(results: dict) -> dict:
    return {key: result for key, result in results.items() if key in CONTROLS}
