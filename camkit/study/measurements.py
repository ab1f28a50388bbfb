"""MEASUREMENTS: what a study can measure on one picture.

A measurement is a generator: it yields a short label whenever it could be stopped (after a block of
Score-CAM's channels or a batch of scored pictures) and last what it measured as plain JSON values, so that a checkpoint
can hold it; a finished one on one picture is one line there. Those that need the picture's own maps get them
from the first, "metrics".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..evidence.localisation import localise, packed
from ..evidence.measure import measure
from ..evidence.metrics import CONTROLS, beats_controls, correlation, energy_inside
from ..evidence.observations import Measurement
from ..evidence.sanity import sanity_stream
from ..evidence.settings import NOISE_SIGMAS, TUNING, Box, Settings, earlier_layers
from ..evidence.sweep import sweep
from ..explain import explain_stream
from ..explanation import Explanation
from ..maps import box_of, encode, grey
from ..methods import METHODS
from ..passes.arithmetic import expand
from ..passes.placement import Placement
from ..passes.resizing import Resizing
from ..picture import Window
from .columns import GAIN, Column

if TYPE_CHECKING:
    from ..classifier import Classifier

THUMBNAIL = 160  # pixels on the longer side
GRID = 28  # values of a kept map on a side at most
Work = Iterator[str | dict]


@dataclass(frozen=True)
class Case:
    """One picture of a study: what a measurement is given. `true_class` is None where it is not known. `measured` is
    what "metrics" returned for it, {} while "metrics" itself runs, and `maps` are by method what the untouched picture
    fills of its map, (h, w), which "metrics" puts there. `compiled`: the classifier has compiled what it needs.
    `sampled`: run a costly measurement in full. `window`: of a grey picture of more than 8 bits."""

    classifier: Classifier
    picture: str
    image: np.ndarray
    settings: Settings
    boxes: tuple[Box, ...] = ()
    true_class: int | None = None
    measured: Mapping = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    compiled: bool = True
    sampled: bool = True
    window: Window | None = None

    @cached_property
    def layer(self) -> str:
        return self.classifier.check_layer(self.settings.target_layer)

    @property
    def class_index(self) -> int | None:
        """The true class, else the first box's, else the one "metrics" explained; None before that: the top class."""
        if self.true_class is not None:
            return self.true_class
        return self.boxes[0].class_index if self.boxes else self.measured.get("class_index")

    @cached_property
    def placement(self) -> Placement:
        return self.classifier.placement(self.image)

    def boxes_of(self, class_index: int) -> tuple[Box, ...]:
        """Return the class's boxes within what the model sees of the picture; it does not see all of them."""
        found = [(box, self.placement.within(box.box)) for box in self.boxes if box.class_index == class_index]
        return tuple(replace(box, box=within) for box, within in found if within)

    def explain(
        self, layer: str, class_index: int | None, image: np.ndarray | None = None
    ) -> Generator[str, None, Explanation]:
        """Explain the picture at a layer. An early one may have fewer channels than max_n: there Faster Score-CAM is
        the full one."""
        image = self.image if image is None else image
        max_n = self.settings.max_n
        if layer != self.layer and max_n is not None:
            max_n = min(max_n, self.classifier.channels(layer))
        for snapshot in explain_stream(self.classifier, image, self.settings.methods, class_index, layer, max_n):
            yield "maps"
        return snapshot


def take_metrics(case: Case) -> Work:
    """Measure every method's map, cost and METRICS, and the controls': a row each; and where the true class stands
    among the ten most probable ones (`true_rank` from 1; one more than there are when it is not among them)."""
    if not case.compiled:
        quick = [key for key in METHODS if METHODS[key].uses_gradient or METHODS[key].takes(2, 1) < 2]
        for _ in explain_stream(case.classifier, case.image, quick, None, case.layer, case.settings.max_n):
            yield "warming up"
    explanation = yield from case.explain(case.layer, case.class_index)
    measurements = {}
    for key, measurement in measure(case.classifier, explanation, case.settings):
        if measurement is not None:
            measurements[key] = measurement
        yield "metrics"
    case.maps.update(explanation.maps)
    known = {
        name: getattr(explanation, name) for name in ("class_index", "class_name", case.classifier.outputs.quantity)
    }
    controls = [measurements[key] for key in CONTROLS]
    ranks = {prediction.class_index: rank for rank, prediction in enumerate(explanation.predictions, 1)}
    yield {
        "picture": case.picture,
        **known,
        "true_class": case.true_class,
        "true_rank": None if case.true_class is None else ranks.get(case.true_class, len(ranks) + 1),
        **({"window": case.window.sentence} if case.window else {}),
        "rows": [_row(case, explanation, key, measurement, controls) for key, measurement in measurements.items()],
    }


def _row(case: Case, explanation: Explanation, key: str, measurement: Measurement, controls: list) -> dict:
    cam, size = explanation.cams.get(key), next(iter(case.maps.values())).shape
    cam_map = case.maps[key] if cam else CONTROLS[key].make(size, case.settings.seed)
    boxes = case.boxes_of(explanation.class_index)
    beats = beats_controls(measurement, controls) if cam else None
    return {
        "key": key,
        "seconds": cam and cam.seconds,
        "forward_passes": cam and cam.forward_passes,
        "backward_passes": cam and cam.backward_passes,
        **measurement.metrics,
        "half_area": float((cam_map > cam_map.max() / 2).mean()) if cam_map.any() else 0.0,
        "energy_inside": energy_inside(cam_map, np.any([box.region(size) for box in boxes], axis=0)) if boxes else None,
        **({"beats_controls": None if beats is None else float(beats)} if measurement.curves else {}),
    }


def take_views(case: Case) -> Work:
    """Keep what the report shows of a picture: a small JPEG, what the classifier answered, the boxes `drawn` by hand as
    class, left, top, right, bottom, and each map small with the box of its largest region, of the class explained and,
    where the answer is another class, of that one too."""
    labels, outputs = case.classifier.labels, case.classifier.outputs
    (top,) = labels.top_predictions(case.classifier.predict(case.image), 1, quantity=outputs.quantity)
    maps = {"maps": case.maps}
    if top.class_index != case.measured["class_index"]:
        explanation = yield from case.explain(case.layer, top.class_index)
        maps["top_maps"] = explanation.maps
    small = Image.fromarray(case.image)
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=2.0)
    layer = case.classifier.model.get_layer(case.layer).output.shape[1:3]
    rows, columns = (min(side, GRID) for side in layer)
    yield {
        "picture": case.picture,
        "true_class": case.true_class,
        **{name: case.measured[name] for name in ("class_index", "class_name")},
        "answer": case.measured[outputs.quantity],
        "top": [top.class_index, top.name, top.answer],
        "thumbnail": base64.b64encode(encode(np.asarray(small), "JPEG", quality=75)).decode(),
        "size": small.size,
        "grid": [rows, columns],
        "seen": case.placement.seen,
        **{name: {key: _text(each, (rows, columns)) for key, each in kept.items()} for name, kept in maps.items()},
        "boxes": {name: {key: _box(each) for key, each in kept.items()} for name, kept in maps.items()},
        "drawn": [[box.class_index, *box.box] for box in case.boxes],
        "rows": [],
    }


def _text(cam_map: np.ndarray, grid: tuple[int, int]) -> str:
    """Return a map at the places of its layer's own values, from 0 to 255, as base64 of a byte each."""
    return base64.b64encode(grey(np.clip(expand(cam_map, grid), 0, 1)).tobytes()).decode()


def _box(cam_map: np.ndarray) -> list[float]:
    """Return the box of a map's largest region as shares of what the model sees; [] for an all-zero map."""
    return [round(end / side, 4) for end, side in zip(box_of(cam_map) or (), cam_map.shape[::-1] * 2, strict=False)]


def take_layers(case: Case) -> Work:
    """Measure at two earlier layers whether the map beats the controls, and how far it is from the default layer's."""
    rows: list[dict] = []
    metrics = {row["key"]: row for row in case.measured["rows"]}
    best_control = max((metrics[key][GAIN] for key in CONTROLS if GAIN in metrics[key]), default=0.0)
    for layer in earlier_layers(case.classifier):
        explanation = yield from case.explain(layer, case.measured["class_index"])
        without = replace(case.settings, coherency="none")
        for key, measurement in measure(case.classifier, explanation, without, controls=()):
            yield "metrics"
            if measurement is not None:
                gain = measurement.insertion_minus_deletion
                worth = {} if gain is None else {GAIN: gain, "beats_controls": float(gain > best_control)}
                moved = 1 - correlation(explanation.maps[key], case.maps[key])
                rows.append({"key": key, "layer": layer, **worth, "moved": moved})
    yield {"picture": case.picture, "rows": rows}


def take_noise(case: Case) -> Work:
    """Measure the map's correlation with itself when the picture is noisy.

    The noise is added at the model's own input size: on a large picture the resizing would average most of it away, and
    a sigma would mean something else for each picture.
    """
    classifier, placement = case.classifier, case.placement
    small = classifier.spec.resizing.apply(case.image, classifier.input_size).astype(np.float64)
    part = placement.cut(small)
    case = replace(case, classifier=classifier.resizing_by(Resizing()))  # the noisy pictures have the input's size
    rows = []
    for sigma in NOISE_SIGMAS:
        added = np.random.default_rng([case.settings.seed, sigma]).normal(0, sigma, part.shape)
        noisy = np.rint(placement.put(np.clip(part + added, 0, 255), small)).astype(np.uint8)
        explanation = yield from case.explain(case.layer, case.measured["class_index"], noisy)
        rows += [
            {"key": key, "sigma": sigma, "correlation": correlation(placement.cut(cam.map), case.maps[key])}
            for key, cam in explanation.cams.items()
        ]
    yield {"picture": case.picture, "rows": rows}


def take_boxes(case: Case) -> Work:
    """Measure how well each map, and each control, finds what the boxes of each class are drawn around (`localise`),
    the boxes' share of the picture beside it."""
    rows, size = [], next(iter(case.maps.values())).shape
    controls = {key: control.make(size, case.settings.seed) for key, control in CONTROLS.items()}
    for number, index in enumerate(dict.fromkeys(box.class_index for box in case.boxes)):
        boxes, maps = case.boxes_of(index), case.maps
        if not boxes:
            continue
        if index != case.measured["class_index"]:
            explanation = yield from case.explain(case.layer, index)
            maps = explanation.maps
        about = {
            "box": number,
            "label": " and ".join(dict.fromkeys(box.label for box in boxes)),
            "class_index": index,
            "class_name": case.classifier.labels.class_at(index).name,
            "chance": float(np.any([box.region(size) for box in boxes], axis=0).mean()),
        }
        for key, cam_map in (maps | controls).items():
            yield "localisation"
            found = localise(cam_map, boxes)
            rows.append(about | {"key": key} | vars(found) | {"found": packed(found.found)})
    yield {"picture": case.picture, "rows": rows}


def take_sweep(case: Case) -> Work:
    """Measure how far Faster Score-CAM's map moves with max_n from its default; on sampled pictures, the whole
    sweep."""
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
    """Measure how like itself each map stays while the network is randomised; full Score-CAM at the last stage only."""
    question = case.classifier.question(case.measured["class_index"], case.layer, case.settings.max_n)
    count = case.classifier.channels(case.layer)
    slow = [key for key in case.maps if not METHODS[key].is_fast(count, question.max_n)]
    for state in sanity_stream(case.classifier, case.image, case.maps, question, case.settings.seed, slow):
        yield f"{len(state.points)} maps"
    yield {"picture": case.picture, "rows": [asdict(point) | {"last": point.last} for point in state.points]}


@dataclass(frozen=True)
class StudyMeasurement:
    """One entry of MEASUREMENTS, which is all that a measurement needs.

    label: what it measures; in the progress, the steps that `take` yields continue it. take: measures one picture.
    title, columns, by, by_name, note: the report's table, a row for each of the `columns` of the measured rows and each
    value of the text or number `by` in them, with the mean of each method; a row is the only one of its picture, "key"
    (of the method) and `by`. samples: it does less on pictures that are not sampled. uses_maps: it needs the picture's
    own maps. always: it is measured without being asked for.
    """

    key: str
    label: str
    take: Callable[[Case], Work]
    title: str = ""
    columns: tuple[Column, ...] = ()
    by: str = ""
    by_name: str = ""
    note: str = ""
    samples: bool = False
    uses_maps: bool = True
    always: bool = False


MEASUREMENTS: dict[str, StudyMeasurement] = {
    each.key: each
    for each in (
        StudyMeasurement("metrics", "maps, costs and faithfulness", take_metrics, uses_maps=False, always=True),
        StudyMeasurement("boxes", "boxes", take_boxes, always=True),
        StudyMeasurement("views", "small maps for the report", take_views, always=True),
        StudyMeasurement("layers", "earlier layers", take_layers),
        StudyMeasurement(
            "noise",
            "noise",
            take_noise,
            title="Noise: the map's correlation with itself",
            columns=(Column("correlation", "Correlation", "{:.3f}", "higher"),),
            by="sigma",
            by_name="Sigma in grey levels",
            note="Gaussian noise of a fixed seed, added to every picture at the model's input size.",
        ),
        StudyMeasurement("sanity", "sanity check", take_sanity),
        StudyMeasurement("sweep", "the sweep of Faster Score-CAM", take_sweep, samples=True, uses_maps=False),
    )
}
