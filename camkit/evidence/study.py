"""A study: MEASUREMENTS over a set of pictures, as a stream that can be stopped and goes on from a checkpoint.

A measurement is a generator: it yields a short label whenever it could be stopped (after a block of
Score-CAM's channels or a batch of scored pictures) and last what it measured as plain JSON values, so that a checkpoint
can hold it; a finished one on one picture is one line there. Those that need the picture's own maps get them
from the first, "metrics". Knows no tables and no statistics.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import InputError
from ..explain import explain_stream
from ..explanation import Explanation
from ..maps import data_url, overlay
from ..methods import METHODS
from ..picture import open_picture
from ..version import __version__
from .checkpoint import Checkpoint
from .measuring import measure
from .metrics import CONTROLS, Measurement, beats_controls, correlation, energy_inside
from .results import NOISE, TUNING, Box, Settings, StudyState, earlier_layers
from .sanity import sanity_stream
from .sweep import sweep

if TYPE_CHECKING:
    from ..classifier import Classifier

SAMPLE = 3  # pictures, evenly spread, on which the sweep runs up to the full Score-CAM
THUMBNAIL = 112  # pixels in height
DEFAULTS = Settings()
Work = Iterator[str | dict]


# --- a set of pictures ---------------------------------------------------------------------------------------------


def study_stream(
    classifier: Classifier,
    pictures: Mapping[str, str | os.PathLike | bytes],
    settings: Settings = DEFAULTS,
    boxes: Mapping[str, tuple[Box, ...]] | None = None,
    measurements: Iterable[str] = ("metrics",),
    checkpoint: str | os.PathLike | None = None,
) -> Iterator[StudyState]:
    """Takes `measurements` (keys of MEASUREMENTS) on every picture; yields a StudyState wherever closing is possible:
    after each block of channels, each batch of scored pictures and each picture. The last one yielded is complete.

    `pictures`: name -> file or its bytes, as from `find_pictures` or `unzip_pictures`. `boxes`: as from `read_boxes`;
    the first box of a picture says which class is explained, else it is the top class. `checkpoint`: a file that
    finished jobs are appended to and taken from; None keeps them in memory. Bad arguments raise InputError at the call.
    """
    asked = set(measurements)
    if unknown := asked - set(MEASUREMENTS):
        raise InputError(f"Unknown measurements {sorted(unknown)}: use some of {', '.join(MEASUREMENTS)}.")
    if not pictures:
        raise InputError("There is no picture to evaluate: give PNG, JPEG, WebP, GIF or TIFF files.")
    blank = np.zeros((*classifier.input_size, 3), np.uint8)
    # Checks what depends on the classifier; nothing is computed, since nothing is taken from it.
    explain_stream(classifier, blank, settings.methods, None, settings.target_layer, settings.max_n)
    for name, box in ((name, each) for name, drawn in (boxes or {}).items() for each in drawn):
        if box.class_index >= len(classifier.labels):
            raise InputError(
                f"The box '{box.label}' of {name} is of class {box.class_index}, but the model's classes go from 0 to "
                f"{len(classifier.labels) - 1}: boxes.json must give classes of this model, or be left out."
            )
    wanted = [key for key in MEASUREMENTS if key == "metrics" or key in asked]
    return _study(classifier, dict(pictures), settings, dict(boxes or {}), wanted, Checkpoint(checkpoint))


def _study(
    classifier: Classifier, pictures: dict, settings: Settings, boxes: dict, wanted: list[str], saved: Checkpoint
) -> Iterator[StudyState]:
    model = fingerprint(classifier)
    sample = np.linspace(0, len(pictures) - 1, SAMPLE).round()
    values: dict[str, list[dict]] = {key: [] for key in wanted}
    skipped: dict[str, str] = {}
    spent: list[float] = []
    warm = False

    def state(done: int, name: str, label: str, begun: float = 0.0) -> StudyState:
        left = max(0.0, (len(pictures) - done) * sum(spent) / len(spent) - begun) if spent else None
        frozen = {key: tuple(results) for key, results in values.items()}
        return StudyState(done, len(pictures), name, label, left, frozen, dict(skipped))

    for done, (name, source) in enumerate(pictures.items()):
        begin, fresh = time.perf_counter(), len(saved.values)
        try:
            image = open_picture(source)
        except InputError as error:
            skipped[name] = str(error)
            continue
        measured: dict = {}
        for key in wanted:
            case = Case(classifier, name, image, settings, boxes.get(name, ()), measured, warm, done in sample)
            job = job_key(case, key, model)
            if job not in saved.values:
                warm = warm or key == "metrics"
                started = time.perf_counter()
                for step in MEASUREMENTS[key].take(case):
                    if isinstance(step, dict):
                        saved.add(job, step | {"spent": time.perf_counter() - started})
                    else:
                        label = f"{MEASUREMENTS[key].label}: {step}"
                        yield state(done, name, label, time.perf_counter() - begin)
            values[key].append(saved.values[job])
            measured = values["metrics"][-1]
        if len(saved.values) > fresh:
            spent.append(time.perf_counter() - begin)
        if done + 1 < len(pictures):
            yield state(done + 1, name, "")
    yield replace(state(len(pictures), "", ""), seconds_left=0.0)


def fingerprint(classifier: Classifier) -> str:
    """The model's key and a checksum of its class names, its preprocessing (of one grey ramp) and its weights: with
    other ones it is another classifier."""
    checksum = zlib.crc32("\n".join(entry.name for entry in classifier.labels).encode())
    ramp = np.linspace(0, 255, classifier.input_size[1]).round().astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (*classifier.input_size, 3))
    checksum = zlib.crc32(np.ascontiguousarray(classifier.preprocess(np.array(picture))).data, checksum)
    for weight in classifier.model.get_weights():
        checksum = zlib.crc32(np.ascontiguousarray(weight).data, checksum)
    return f"{classifier.name} {checksum:08x}"


def job_key(case: Case, measurement: str, model: str) -> str:
    """What a result depends on, as one hash: pixels, name, boxes, settings, model, version."""
    given = [
        measurement,
        __version__,
        model,
        case.picture,
        case.image.shape,
        asdict(case.settings),
        [asdict(box) for box in case.boxes],
    ]
    if MEASUREMENTS[measurement].samples and not case.sampled:
        given.append("without full Score-CAM")
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode() + case.image.tobytes()).hexdigest()


# --- the measurements ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One picture of a study: what a measurement is given. `measured` is what "metrics" returned for it, {} while
    "metrics" itself runs. `warm`: the classifier has compiled what it needs. `sampled`: run a costly measurement in
    full."""

    classifier: Classifier
    picture: str
    image: np.ndarray
    settings: Settings
    boxes: tuple[Box, ...] = ()
    measured: Mapping = field(default_factory=dict)
    warm: bool = True
    sampled: bool = True

    @cached_property
    def layer(self) -> str:
        return self.classifier.check_layer(self.settings.target_layer)

    @property
    def class_index(self) -> int | None:
        """The first box's class, else the one "metrics" explained; None before that: the top class."""
        return self.boxes[0].class_index if self.boxes else self.measured.get("class_index")

    @cached_property
    def maps(self) -> dict[str, np.ndarray]:
        """(height, width) maps of the untouched picture by method."""
        from ..cams import finish

        raws = {key: np.array(raw, np.float32) for key, raw in self.measured["raw"].items()}
        return {key: finish(raw, self.classifier.input_size) for key, raw in raws.items()}

    def explain(
        self, layer: str, class_index: int | None, image: np.ndarray | None = None
    ) -> Generator[str, None, Explanation]:
        """At a layer. An early one may have fewer channels than max_n: there Faster Score-CAM is the full one."""
        image = self.image if image is None else image
        max_n = self.settings.max_n
        if layer != self.layer:
            max_n = min(max_n, self.classifier.channels(layer))
        for snapshot in explain_stream(self.classifier, image, self.settings.methods, class_index, layer, max_n):
            yield "maps"
        return snapshot


def take_metrics(case: Case) -> Work:
    """Every method's map, cost and METRICS, and the controls': a row each."""
    if not case.warm:
        quick = [key for key in METHODS if METHODS[key].uses_gradient or METHODS[key].takes(2, 1) < 2]
        for _ in explain_stream(case.classifier, case.image, quick, None, case.layer, case.settings.max_n):
            yield "warming up"
    explanation = yield from case.explain(case.layer, case.class_index)
    measurements = {}
    for key, measurement in measure(case.classifier, explanation, case.settings):
        if measurement is not None:
            measurements[key] = measurement
        yield "metrics"
    known = {name: getattr(explanation, name) for name in ("class_index", "class_name", "probability")}
    controls = [measurements[key] for key in CONTROLS]
    yield {
        "picture": case.picture,
        **known,
        "rows": [
            {"picture": case.picture, **known, **_row(case, explanation, key, measurement, controls)}
            for key, measurement in measurements.items()
        ],
        "thumbnails": _thumbnails(case.image, {key: cam.map for key, cam in explanation.cams.items()}),
        "raw": {key: cam.raw.tolist() for key, cam in explanation.cams.items()},
    }


def _row(case: Case, explanation: Explanation, key: str, measurement: Measurement, controls: list) -> dict:
    cam, size = explanation.cams.get(key), case.classifier.input_size
    cam_map = cam.map if cam else CONTROLS[key].make(size, case.settings.seed)
    return {
        "key": key,
        "seconds": cam and cam.seconds,
        "forward_passes": cam and cam.forward_passes,
        "backward_passes": cam and cam.backward_passes,
        **measurement.metrics,
        "half_area": float((cam_map > cam_map.max() / 2).mean()) if cam_map.any() else 0.0,
        "energy_inside": energy_inside(cam_map, case.boxes[0].region(size)) if case.boxes else None,
        "beats_controls": float(beats_controls(measurement, controls)) if cam else None,
    }


def _thumbnails(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Data URLs of small JPEGs: the picture, and an overlay for each map."""
    width = max(1, round(image.shape[1] * THUMBNAIL / image.shape[0]))
    small = np.array(Image.fromarray(image).resize((min(width, 4 * THUMBNAIL), THUMBNAIL), Image.Resampling.LANCZOS))
    pictures = {"picture": small} | {key: overlay(small, cam_map) for key, cam_map in maps.items()}
    return {key: data_url(picture, "JPEG", quality=80) for key, picture in pictures.items()}


def take_layers(case: Case) -> Work:
    """At two earlier layers: is the map still better than the controls, and how far is it from the default layer's?"""
    rows: list[dict] = []
    metrics = {row["key"]: row for row in case.measured["rows"]}
    best_control = max(metrics[key]["insertion_minus_deletion"] for key in CONTROLS)
    for layer in earlier_layers(case.classifier):
        explanation = yield from case.explain(layer, case.measured["class_index"])
        without = replace(case.settings, coherency="none")
        for key, measurement in measure(case.classifier, explanation, without, controls=()):
            yield "metrics"
            if measurement is not None:
                rows.append(
                    {
                        "key": key,
                        "layer": layer,
                        "insertion_minus_deletion": measurement.worth,
                        "beats_controls": float(measurement.worth > best_control),
                        "moved": 1 - correlation(explanation.cams[key].map, case.maps[key]),
                    }
                )
    yield {"picture": case.picture, "rows": rows}


def take_noise(case: Case) -> Work:
    """The map's correlation with itself when the picture is noisy.

    The noise is added at the model's own input size: on a large picture the resizing would average most of it away, and
    a sigma would mean something else for each picture.
    """
    height, width = case.classifier.input_size
    small = np.asarray(Image.fromarray(case.image).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    rows = []
    for sigma in NOISE:
        added = np.random.default_rng([case.settings.seed, sigma]).normal(0, sigma, small.shape)
        noisy = np.rint(np.clip(small + added, 0, 255)).astype(np.uint8)
        explanation = yield from case.explain(case.layer, case.measured["class_index"], noisy)
        rows += [
            {"key": key, "sigma": sigma, "correlation": correlation(cam.map, case.maps[key])}
            for key, cam in explanation.cams.items()
        ]
    yield {"picture": case.picture, "rows": rows}


def take_boxes(case: Case) -> Work:
    """Share of each map's energy inside each box, the box's share of the picture beside it."""
    rows = []
    for box in case.boxes:
        maps = case.maps
        if box.class_index != case.measured["class_index"]:
            explanation = yield from case.explain(case.layer, box.class_index)
            maps = {key: cam.map for key, cam in explanation.cams.items()}
        region = box.region(case.classifier.input_size)
        class_name = case.classifier.labels.class_at(box.class_index).name
        about = {"label": box.label, "class_index": box.class_index, "class_name": class_name}
        about["chance"] = float(region.mean())
        rows += [about | {"key": key, "energy_inside": energy_inside(each, region)} for key, each in maps.items()]
    yield {"picture": case.picture, "rows": rows}


def take_sweep(case: Case) -> Work:
    """How far Faster Score-CAM's map moves with max_n from its map at the default; on sampled pictures, the sweep."""
    channels = case.classifier.channels(case.layer)
    counts = None if case.sampled else [count for count in TUNING if count <= channels] or [channels]
    for state in sweep(case.classifier, case.image, case.measured["class_index"], counts, case.layer):
        yield "sweep"
    maps = {point.max_n: point.map for point in state.points}
    known = [count for count in TUNING if count in maps and TUNING[1] in maps]
    figures = ("max_n", "correlation", "seconds", "forward_passes")
    yield {
        "picture": case.picture,
        "points": [{name: getattr(point, name) for name in figures} for point in state.points if case.sampled],
        "moved": {str(count): 1 - correlation(maps[count], maps[TUNING[1]]) for count in known},
        "rows": [],
    }


def take_sanity(case: Case) -> Work:
    """How like each map stays to itself while the network is randomised; full Score-CAM at the last stage only."""
    index, layer, max_n = case.measured["class_index"], case.layer, case.settings.max_n
    count = case.classifier.channels(layer)
    slow = [key for key in case.maps if not METHODS[key].is_fast(count, max_n)]
    seed = case.settings.seed
    for state in sanity_stream(case.classifier, case.image, case.maps, index, layer, max_n, seed, slow):
        yield f"{len(state.points)} maps"
    yield {"picture": case.picture, "rows": [asdict(point) | {"last": point.last} for point in state.points]}


@dataclass(frozen=True)
class StudyMeasurement:
    """One entry of MEASUREMENTS: `label` says what it measures, `take` does so on one picture, and `samples` tells that
    it does less on pictures that are not sampled. The steps that `take` yields continue the label in the progress."""

    key: str
    label: str
    take: Callable[[Case], Work]
    samples: bool = False


MEASUREMENTS: dict[str, StudyMeasurement] = {
    each.key: each
    for each in (
        StudyMeasurement("metrics", "maps, costs and faithfulness", take_metrics),
        StudyMeasurement("layers", "earlier layers", take_layers),
        StudyMeasurement("noise", "noise", take_noise),
        StudyMeasurement("boxes", "boxes", take_boxes),
        StudyMeasurement("sanity", "sanity check", take_sanity),
        StudyMeasurement("sweep", "the sweep of Faster Score-CAM", take_sweep, samples=True),
    )
}
