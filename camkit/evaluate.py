"""Faithfulness over many pictures: the list of jobs, their checkpoint, and the command line.

`python -m camkit.evaluate FOLDER --model NAME --out DIR` writes a CSV, a report and a checkpoint into DIR; killed
half-way, the same command goes on where it was. A job is one of PARTS on one picture, a finished job one line of the
checkpoint. What a page needs is offered here too: `evaluate_stream`, `summarise`, `unzip_pictures`, `dial` and more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from . import __version__
from .archive import ZipLimits, is_picture_name, unzip_pictures
from .comparison import BEGIN, END, comparison_table, put_table
from .explain import explain_stream
from .methods import METHODS
from .models import MODELS, Classifier, load
from .parts import CLAIMS, COHERENCY, PARTS, Box, Case, Dial, DialPoint, Settings, dial
from .picture import open_picture
from .report import write_csv, write_reports
from .summary import Facts, result_rows, summarise
from .weights import WeightsError

__all__ = [
    "CLAIMS",
    "PARTS",
    "Box",
    "Dial",
    "DialPoint",
    "Evaluation",
    "Settings",
    "ZipLimits",
    "comparison_table",
    "dial",
    "evaluate_stream",
    "find_pictures",
    "read_boxes",
    "result_rows",
    "summarise",
    "unzip_pictures",
    "write_csv",
    "write_reports",
]

logger = logging.getLogger(__name__)

DEFAULTS = Settings()
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


# --- the jobs ------------------------------------------------------------------------------------------------------


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
    finished jobs are appended to and taken from; None keeps them in memory. Bad arguments raise ValueError at the call.
    """
    wanted = [key for key in PARTS if key == "metrics" or key in set(parts)]
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"Unknown parts {sorted(unknown)}: use some of {', '.join(PARTS)}.")
    if not pictures:
        raise ValueError("There is no picture to evaluate: give PNG, JPEG, WebP, GIF or TIFF files.")
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
        except ValueError as error:
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


# --- the checkpoint ------------------------------------------------------------------------------------------------


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


# --- the pictures and their boxes ----------------------------------------------------------------------------------


def find_pictures(folder: str | os.PathLike) -> dict[str, Path]:
    """The pictures of a folder and its subfolders, one level deep, by name relative to it, sorted. ValueError when it
    is no folder or holds none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"'{folder.name}' is no folder: give a folder of pictures.")
    found = {
        path.relative_to(folder).as_posix(): path
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.is_file()
    }
    pictures = {name: found[name] for name in sorted(found) if is_picture_name(name)}
    if not pictures:
        raise ValueError(
            f"The folder '{folder.name}' holds no picture: put PNG, JPEG, WebP, GIF or TIFF files into it."
        )
    return pictures


def read_boxes(path: str | os.PathLike) -> dict[str, tuple[Box, ...]]:
    """Hand-drawn boxes by picture name, from a file such as examples/boxes.json; {} when there is none. ValueError when
    it is not such a file."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        pictures = json.loads(path.read_text(encoding="utf-8"))["pictures"]
        return {
            name: tuple(Box(entry["label"], entry["class_index"], tuple(entry["box"])) for entry in entries)
            for name, entries in pictures.items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path.name} does not hold boxes: {error}") from error


# --- the command ---------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        _run(options)
    except (ValueError, WeightsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. What is finished is kept: the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m camkit.evaluate", description="Faithfulness of the methods over a folder of pictures."
    )
    parser.add_argument("folder", type=Path, help="pictures, in it or in its subfolders; boxes.json in it is used")
    parser.add_argument("--model", choices=tuple(MODELS), default="efficientnet_lite0")
    parser.add_argument("--weights", type=Path, help="the model's weights file; default: found, else downloaded")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where report, CSV and checkpoint go")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--target-layer", help="default: the model's last")
    parser.add_argument("--max-n", type=int, default=Settings.max_n, help="channels of Faster Score-CAM")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="points of the insertion and deletion curves")
    parser.add_argument(
        "--coherency",
        choices=tuple(COHERENCY),
        default=Settings.coherency,
        help="; ".join(f"{key}: for {words}" for key, words in COHERENCY.items()),
    )
    parser.add_argument("--claims", action="store_true", help="also measure layers, noise, tuning and boxes")
    parser.add_argument(
        "--alignment", action="store_true", help="also measure half-pixel against corner-aligned expansion"
    )
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help=f"write the comparison table between {BEGIN} and {END} in it"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.readme and not options.claims:
        raise ValueError("--readme writes the measured claims: give --claims as well.")
    pictures, boxes = find_pictures(options.folder), read_boxes(options.folder / "boxes.json")
    settings = Settings(tuple(options.methods), options.target_layer, options.max_n, options.steps, options.coherency)
    parts = (CLAIMS if options.claims else ("metrics",)) + (("alignment",) if options.alignment else ())
    options.out.mkdir(parents=True, exist_ok=True)
    classifier = load(options.model, options.weights)
    for state in evaluate_stream(classifier, pictures, settings, boxes, parts, options.out / "checkpoint.jsonl"):
        _show(state)
    facts = Facts.of(classifier, settings, state)
    for path in write_reports(options.out, facts):
        print(path)
    if options.readme:
        put_table(options.readme, comparison_table(facts))


def _show(state: Evaluation) -> None:
    """One line on stderr, rewritten in place on a terminal; in a log, one line a picture."""
    left = "" if state.seconds_left is None else f", about {state.seconds_left / 60:.1f} min left"
    line = f"{state.done} of {state.total} pictures{left} {state.picture} {state.label}".rstrip()
    if sys.stderr.isatty():
        print(f"\r{line[:118]:<118}", end="\n" if state.complete else "", file=sys.stderr, flush=True)
    elif not state.label:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
