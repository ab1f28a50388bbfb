"""A study: MEASUREMENTS over a set of pictures, as a stream that can be stopped and goes on from a checkpoint.

A picture's maps are kept while it is at work, and made again where a later run needs them. Knows no tables and no
statistics.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..evidence.metrics import CONTROLS, METRICS
from ..evidence.settings import Box, Settings
from ..explain import explain_stream
from ..passes.outputs import CLASSES
from ..passes.resizing import Resizing
from ..picture import KINDS, read_file, read_picture
from ..version import __version__
from .checkpoint import Checkpoint
from .measurements import MEASUREMENTS, Case, StudyMeasurement, Work
from .pictures import StudyPicture, plan
from .progress import Job, StudyProgress, StudyState

if TYPE_CHECKING:
    from ..classifier import Classifier

DEFAULTS = Settings()


def study_stream(
    classifier: Classifier,
    pictures: Mapping[str, str | os.PathLike | bytes] | Sequence[StudyPicture],
    settings: Settings = DEFAULTS,
    boxes: Mapping[str, tuple[Box, ...]] | None = None,
    measurements: Iterable[str] = ("metrics",),
    checkpoint: str | os.PathLike | Checkpoint | None = None,
    classes: Mapping[str, int] | None = None,
    skipped: Mapping[str, str] | None = None,
) -> Iterator[StudyState]:
    """Take `measurements` (keys of MEASUREMENTS) on every picture; yield a StudyState wherever closing is possible:
    after each block of channels, each batch of scored pictures and each picture. The last one yielded is complete.

    `pictures`: name -> file or its bytes, as from `gather` or `unzip_pictures`. `boxes`: as from `read_boxes`.
    `classes`: the true classes, as from `read_classes`. Or `pictures` is a part of what `plan` makes of all these.
    Explained is a picture's true class, else its first box's, else the top class. `checkpoint`: a file that finished
    jobs are appended to and taken from; None keeps them in memory. Bad arguments raise InputError at the call.
    """
    planned = plan(pictures, boxes, classes) if isinstance(pictures, Mapping) else list(pictures)
    wanted = check_study(classifier, planned, settings, measurements)
    saved = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    progress = StudyProgress(len(planned), saved, {key: [] for key in wanted}, dict(skipped or {}))
    return _study(Study(classifier, settings, wanted), planned, progress)


def check_study(
    classifier: Classifier, pictures: Sequence[StudyPicture], settings: Settings, measurements: Iterable[str]
) -> list[str]:
    """Return the measurements to take, in their order; InputError when the classifier cannot do what is asked for."""
    asked = set(measurements)
    if unknown := asked - set(MEASUREMENTS):
        raise InputError(f"Unknown measurements {sorted(unknown)}: use some of {', '.join(MEASUREMENTS)}.")
    if not pictures:
        raise InputError(f"There is no picture to evaluate: give {KINDS} files.")
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
    """The questions asked of every picture: `wanted` measurements by a classifier, whose fingerprint `model` is."""

    classifier: Classifier
    settings: Settings
    wanted: Sequence[str]
    model: str = ""
    compiled: bool = False  # the classifier has compiled what it needs

    def __post_init__(self) -> None:
        self.model = fingerprint(self.classifier)

    def keys(self, picture: StudyPicture) -> dict[str, str]:
        """Return by measurement a hash of what its result depends on: the file's bytes, name, boxes, true class,
        settings, model, version. UnreadableError when there is no such file."""
        data = self._data(picture)
        about: list = [__version__, self.model, picture.name, asdict(self.settings), picture.true_class]
        about += [[asdict(box) for box in picture.boxes], hashlib.sha256(data).hexdigest()]
        found = {}
        for key in self.wanted:
            entry = MEASUREMENTS[key]
            given = [key, *about, [*METRICS, *CONTROLS] if key == "metrics" else []]
            if entry.samples and not picture.sampled:
                given.append("without full Score-CAM")
            found[key] = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:32]
        return found

    def take(self, picture: StudyPicture, saved: Checkpoint) -> Iterator[str | Job]:
        """Yield labels wherever closing is possible, and every Job of a picture; those that are `saved` are not done
        again. UnreadableError when there is work to do and the picture cannot be read."""
        picture = replace(picture, source=self._data(picture))
        keys = self.keys(picture)
        try:
            opened = (
                None
                if all(key in saved for key in keys.values())
                else read_picture(picture.source, window=self.settings.window)
            )
        except InputError as error:
            raise UnreadableError(str(error)) from error
        measured: dict = {}
        maps: dict[str, np.ndarray] = {}
        for name, key in keys.items():
            if opened is None or key in saved:
                yield Job(name, key)
            else:
                about = (picture.boxes, picture.true_class, measured, maps, self.compiled, picture.sampled)
                case = Case(self.classifier, picture.name, opened.image, self.settings, *about, opened.window)
                started = time.perf_counter()
                for step in self._steps(MEASUREMENTS[name], case):
                    if isinstance(step, dict):
                        yield Job(name, key, step | {"spent": time.perf_counter() - started})
                        measured = step if name == "metrics" else measured
                    else:
                        yield f"{MEASUREMENTS[name].label}: {step}"
                self.compiled = self.compiled or name == "metrics"
            if name == "metrics" and not measured and opened is not None:
                (measured,) = saved.values([key])

    def _data(self, picture: StudyPicture) -> bytes:
        try:
            return picture.source if isinstance(picture.source, bytes) else read_file(picture.source)
        except InputError as error:
            raise UnreadableError(str(error)) from error

    def _steps(self, entry: StudyMeasurement, case: Case) -> Work:
        if entry.uses_maps and not case.maps:  # "metrics" was measured by an earlier run
            explanation = yield from case.explain(case.layer, case.measured["class_index"])
            case.maps.update(explanation.maps)
        yield from entry.take(case)


def _study(study: Study, pictures: Sequence[StudyPicture], progress: StudyProgress) -> Iterator[StudyState]:
    saved = progress.saved
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
                        saved.add_all([(step.key, step.value)])
        except UnreadableError as error:
            skipped = str(error)
        progress.finish(picture.name, jobs, skipped)
        if progress.done < progress.total:
            yield progress.state(picture.name)
    yield progress.state()


def fingerprint(classifier: Classifier) -> str:
    """Return the model's key and a checksum of its class names, its kind of outputs, its preprocessing (of one grey
    ramp), its resizing and its weights: with other ones it is another classifier."""
    checksum = zlib.crc32("\n".join(entry.name for entry in classifier.labels).encode())
    if classifier.outputs is not CLASSES:
        checksum = zlib.crc32(classifier.outputs.key.encode(), checksum)
    ramp = np.linspace(0, 255, classifier.input_size[1]).round().astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (*classifier.input_size, 3))
    checksum = zlib.crc32(np.ascontiguousarray(classifier.preprocess(np.array(picture))).data, checksum)
    if classifier.spec.resizing != Resizing():  # the ramp has the input's own size; by default studies go on as before
        checksum = zlib.crc32(repr(classifier.spec.resizing).encode(), checksum)
    for weight in classifier.model.get_weights():
        checksum = zlib.crc32(np.ascontiguousarray(weight).data, checksum)
    return f"{classifier.name} {checksum:08x}"
