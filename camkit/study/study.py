"""A study: MEASUREMENTS over a set of pictures, as a stream that can be stopped and goes on from a checkpoint.

A measurement is a generator: it yields a short label whenever it could be stopped (after a block of
Score-CAM's channels or a batch of scored pictures) and last what it measured as plain JSON values, so that a checkpoint
can hold it; a finished one on one picture is one line there. Those that need the picture's own maps get them
from the first, "metrics"; maps are kept while a picture is at work, and made again where a later run needs them.
Knows no tables and no statistics.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import InputError
from ..evidence.measure import measure
from ..evidence.metrics import CONTROLS, METRICS, Measurement, beats_controls, correlation, energy_inside
from ..evidence.sanity import sanity_stream
from ..evidence.settings import NOISE, TUNING, Box, Settings, earlier_layers
from ..evidence.sweep import sweep
from ..explain import explain_stream
from ..explanation import Explanation
from ..maps import data_url, overlay
from ..methods import METHODS
from ..picture import open_picture, read_file
from ..version import __version__
from .checkpoint import Checkpoint
from .pictures import Picture, plan
from .progress import Job, Progress, StudyState

if TYPE_CHECKING:
    from ..classifier import Classifier

THUMBNAIL = 112  # pixels in height
DEFAULTS = Settings()
Work = Iterator[str | dict]


# --- a set of pictures ---------------------------------------------------------------------------------------------


def study_stream(
    classifier: Classifier,
    pictures: Mapping[str, str | os.PathLike | bytes] | Sequence[Picture],
    settings: Settings = DEFAULTS,
    boxes: Mapping[str, tuple[Box, ...]] | None = None,
    measurements: Iterable[str] = ("metrics",),
    checkpoint: str | os.PathLike | Checkpoint | None = None,
    classes: Mapping[str, int] | None = None,
) -> Iterator[StudyState]:
    """Takes `measurements` (keys of MEASUREMENTS) on every picture; yields a StudyState wherever closing is possible:
    after each block of channels, each batch of scored pictures and each picture. The last one yielded is complete.

    `pictures`: name -> file or its bytes, as from `find_pictures` or `unzip_pictures`. `boxes`: as from `read_boxes`.
    `classes`: the true classes, as from `read_classes`. Or `pictures` is a part of what `plan` makes of all these.
    Explained is a picture's true class, else its first box's, else the top class. `checkpoint`: a file that finished
    jobs are appended to and taken from; None keeps them in memory. Bad arguments raise InputError at the call.
    """
    planned = plan(pictures, boxes, classes) if isinstance(pictures, Mapping) else list(pictures)
    wanted = check_study(classifier, planned, settings, measurements)
    saved = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    return _study(Study(classifier, settings, wanted), planned, saved)


def check_study(
    classifier: Classifier, pictures: Sequence[Picture], settings: Settings, measurements: Iterable[str]
) -> list[str]:
    """The measurements to take, in their order; InputError when the classifier cannot do what is asked for."""
    asked = set(measurements)
    if unknown := asked - set(MEASUREMENTS):
        raise InputError(f"Unknown measurements {sorted(unknown)}: use some of {', '.join(MEASUREMENTS)}.")
    if not pictures:
        raise InputError("There is no picture to evaluate: give PNG, JPEG, WebP, GIF or TIFF files.")
    blank = np.zeros((*classifier.input_size, 3), np.uint8)
    # Checks what depends on the classifier; nothing is computed, since nothing is taken from it.
    explain_stream(classifier, blank, settings.methods, None, settings.target_layer, settings.max_n)
    for name, box in ((picture.name, box) for picture in pictures for box in picture.boxes):
        if box.class_index >= len(classifier.labels):
            raise InputError(
                f"The box '{box.label}' of {name} is of class {box.class_index}, but the model's classes go from 0 to "
                f"{len(classifier.labels) - 1}: boxes.json must give classes of this model, or be left out."
            )
    for index in {picture.true_class for picture in pictures} - {None}:
        classifier.labels.class_at(index)
    return [key for key, each in MEASUREMENTS.items() if each.always or key in asked]


class UnreadableError(InputError):
    """A picture that is skipped, with the sentence that says why."""


@dataclass
class Study:
    """What is asked of every picture: `wanted` measurements by a classifier, whose fingerprint `model` is."""

    classifier: Classifier
    settings: Settings
    wanted: Sequence[str]
    model: str = ""
    warm: bool = False  # the classifier has compiled what it needs

    def __post_init__(self) -> None:
        self.model = fingerprint(self.classifier)

    def keys(self, picture: Picture) -> dict[str, str]:
        """By measurement what its result depends on, as one hash: the file's bytes, name, boxes, true class, settings,
        model, version. UnreadableError when there is no such file."""
        data = self._data(picture)
        about: list = [__version__, self.model, picture.name, asdict(self.settings), picture.true_class]
        about += [[asdict(box) for box in picture.boxes], hashlib.sha256(data).hexdigest()]
        found = {}
        for key in self.wanted:
            entry = MEASUREMENTS[key]
            given = [key, *about, list(METRICS) if key == "metrics" else []]
            if entry.samples and not picture.sampled:
                given.append("without full Score-CAM")
            if picture.shown or not entry.shown_only:
                found[key] = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:32]
        return found

    def take(self, picture: Picture, saved: Checkpoint) -> Iterator[str | Job]:
        """Labels wherever closing is possible, and every Job of a picture; those that are `saved` are not done again.
        UnreadableError when there is work to do and the picture cannot be read."""
        picture = replace(picture, source=self._data(picture))
        keys = self.keys(picture)
        try:
            image = None if all(key in saved for key in keys.values()) else open_picture(picture.source)
        except InputError as error:
            raise UnreadableError(str(error)) from error
        measured: dict = {}
        maps: dict[str, np.ndarray] = {}
        for name, key in keys.items():
            if image is None or key in saved:
                yield Job(name, key)
            else:
                about = (picture.boxes, picture.true_class, measured, maps, self.warm, picture.sampled)
                case = Case(self.classifier, picture.name, image, self.settings, *about)
                started = time.perf_counter()
                for step in self._steps(MEASUREMENTS[name], case):
                    if isinstance(step, dict):
                        yield Job(name, key, step | {"spent": time.perf_counter() - started})
                        measured = step if name == "metrics" else measured
                    else:
                        yield f"{MEASUREMENTS[name].label}: {step}"
                self.warm = self.warm or name == "metrics"
            if name == "metrics" and not measured and image is not None:
                (measured,) = saved.values([key])

    def _data(self, picture: Picture) -> bytes:
        try:
            return picture.source if isinstance(picture.source, bytes) else read_file(picture.source)
        except InputError as error:
            raise UnreadableError(str(error)) from error

    def _steps(self, entry: StudyMeasurement, case: Case) -> Work:
        if entry.uses_maps and not case.maps:  # "metrics" was measured by an earlier run
            explanation = yield from case.explain(case.layer, case.measured["class_index"])
            case.maps.update({key: cam.map for key, cam in explanation.cams.items()})
        yield from entry.take(case)


def _study(study: Study, pictures: Sequence[Picture], saved: Checkpoint) -> Iterator[StudyState]:
    progress = Progress(len(pictures), saved, {key: [] for key in study.wanted})
    for picture in pictures:
        jobs: list[Job] = []
        skipped = ""
        try:
            for step in study.take(picture, saved):
                if isinstance(step, str):
                    yield progress.state(picture.name, step)
                else:
                    jobs.append(step)
                    if step.value is not None:
                        saved.add(step.key, step.value)
        except UnreadableError as error:
            skipped = str(error)
        progress.finish(picture.name, jobs, skipped)
        if progress.done < progress.total:
            yield progress.state(picture.name)
    yield progress.state()


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


# --- the measurements ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One picture of a study: what a measurement is given. `true_class` is None where it is not known. `measured` is
    what "metrics" returned for it, {} while "metrics" itself runs, and `maps` are the (height, width) maps of the
    untouched picture by method, which "metrics" puts there. `warm`: the classifier has compiled what it needs.
    `sampled`: run a costly measurement in full."""

    classifier: Classifier
    picture: str
    image: np.ndarray
    settings: Settings
    boxes: tuple[Box, ...] = ()
    true_class: int | None = None
    measured: Mapping = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    warm: bool = True
    sampled: bool = True

    @cached_property
    def layer(self) -> str:
        return self.classifier.check_layer(self.settings.target_layer)

    @property
    def class_index(self) -> int | None:
        """The true class, else the first box's, else the one "metrics" explained; None before that: the top class."""
        if self.true_class is not None:
            return self.true_class
        return self.boxes[0].class_index if self.boxes else self.measured.get("class_index")

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
    """Every method's map, cost and METRICS, and the controls': a row each; and where the true class stands among the
    ten most probable ones (`true_rank` from 1; one more than there are when it is not among them)."""
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
    case.maps.update({key: cam.map for key, cam in explanation.cams.items()})
    known = {name: getattr(explanation, name) for name in ("class_index", "class_name", "probability")}
    controls = [measurements[key] for key in CONTROLS]
    ranks = {prediction.class_index: rank for rank, prediction in enumerate(explanation.predictions, 1)}
    yield {
        "picture": case.picture,
        **known,
        "true_class": case.true_class,
        "true_rank": None if case.true_class is None else ranks.get(case.true_class, len(ranks) + 1),
        "rows": [_row(case, explanation, key, measurement, controls) for key, measurement in measurements.items()],
    }


def _row(case: Case, explanation: Explanation, key: str, measurement: Measurement, controls: list) -> dict:
    cam, size = explanation.cams.get(key), case.classifier.input_size
    cam_map = cam.map if cam else CONTROLS[key].make(size, case.settings.seed)
    box = next((each for each in case.boxes if each.class_index == explanation.class_index), None)
    return {
        "key": key,
        "seconds": cam and cam.seconds,
        "forward_passes": cam and cam.forward_passes,
        "backward_passes": cam and cam.backward_passes,
        **measurement.metrics,
        "half_area": float((cam_map > cam_map.max() / 2).mean()) if cam_map.any() else 0.0,
        "energy_inside": energy_inside(cam_map, box.region(size)) if box else None,
        "beats_controls": float(beats_controls(measurement, controls)) if cam else None,
    }


def take_overlays(case: Case) -> Work:
    """What the report shows of a picture: small JPEGs of it and of each map's overlay as data URLs, and each map's
    insertion less deletion."""
    width = max(1, round(case.image.shape[1] * THUMBNAIL / case.image.shape[0]))
    size = (min(width, 4 * THUMBNAIL), THUMBNAIL)
    small = np.array(Image.fromarray(case.image).resize(size, Image.Resampling.LANCZOS))
    pictures = {"picture": small} | {key: overlay(small, cam_map) for key, cam_map in case.maps.items()}
    yield {
        "picture": case.picture,
        "class_name": case.measured["class_name"],
        "probability": case.measured["probability"],
        "thumbnails": {key: data_url(picture, "JPEG", quality=80) for key, picture in pictures.items()},
        "worth": {row["key"]: row["insertion_minus_deletion"] for row in case.measured["rows"]},
        "rows": [],
    }


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
    for number, box in enumerate(case.boxes):
        maps = case.maps
        if box.class_index != case.measured["class_index"]:
            explanation = yield from case.explain(case.layer, box.class_index)
            maps = {key: cam.map for key, cam in explanation.cams.items()}
        region = box.region(case.classifier.input_size)
        class_name = case.classifier.labels.class_at(box.class_index).name
        about = {"box": number, "label": box.label, "class_index": box.class_index, "class_name": class_name}
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
    """One entry of MEASUREMENTS: `label` says what it measures, `take` does so on one picture. `samples`: it does less
    on pictures that are not sampled; `shown_only`: it is for those that the report shows; `uses_maps`: it needs the
    picture's own; `always`: nobody has to ask for it. The steps that `take` yields continue the label in the progress.
    """

    key: str
    label: str
    take: Callable[[Case], Work]
    samples: bool = False
    shown_only: bool = False
    uses_maps: bool = True
    always: bool = False


MEASUREMENTS: dict[str, StudyMeasurement] = {
    each.key: each
    for each in (
        StudyMeasurement("metrics", "maps, costs and faithfulness", take_metrics, uses_maps=False, always=True),
        StudyMeasurement("overlays", "overlays for the report", take_overlays, shown_only=True, always=True),
        StudyMeasurement("layers", "earlier layers", take_layers),
        StudyMeasurement("noise", "noise", take_noise),
        StudyMeasurement("boxes", "boxes", take_boxes),
        StudyMeasurement("sanity", "sanity check", take_sanity),
        StudyMeasurement("sweep", "the sweep of Faster Score-CAM", take_sweep, samples=True, uses_maps=False),
    )
}
