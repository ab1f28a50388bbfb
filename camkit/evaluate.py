"""`python -m camkit.evaluate SOURCE ... --model NAME --out DIR`: a study from the command line, and nothing but that.

Writes a CSV, a report and a checkpoint into DIR; killed half-way, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .errors import InputError, WeightsError
from .evidence.claims import BEGIN, END, comparison_table, put_table
from .evidence.classes import FORMS, read_classes
from .evidence.pictures import gather, random_sample
from .evidence.progress import StudyState
from .evidence.report import write_reports
from .evidence.results import COHERENCY, Results, Settings
from .evidence.study import MEASUREMENTS, study_stream
from .methods import DEFAULT_METHODS, METHODS
from .models import HELP, load


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        _run(options)
    except (InputError, WeightsError, OSError) as error:
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
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder of pictures, in it or in its subfolders (boxes.json in it is used), or a picture",
    )
    parser.add_argument("--classes", metavar="HOW", help=f"true classes, which are then explained: {FORMS}")
    parser.add_argument("--limit", type=int, metavar="N", help="take a random sample of N pictures")
    parser.add_argument("--seed", type=int, default=0, help="of that sample; default: 0")
    parser.add_argument("--model", default="efficientnet_lite0", help=HELP["model"])
    parser.add_argument("--labels", help=HELP["labels"])
    parser.add_argument("--preprocess", help=HELP["preprocess"])
    parser.add_argument("--weights", type=Path, help="the model's weights file; default: found, else downloaded")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where report, CSV and checkpoint go")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=DEFAULT_METHODS)
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
        "--readme", type=Path, metavar="FILE", help=f"write the comparison table between {BEGIN} and {END} in it"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.readme and not options.claims:
        raise InputError("--readme writes the measured claims: give --claims as well.")
    pictures, boxes = gather(options.sources)
    pictures = random_sample(pictures, options.limit, options.seed)
    settings = Settings(tuple(options.methods), options.target_layer, options.max_n, options.steps, options.coherency)
    measurements = tuple(MEASUREMENTS) if options.claims else ("metrics",)
    options.out.mkdir(parents=True, exist_ok=True)
    classifier = load(options.model, options.labels, options.preprocess, weights=options.weights)
    classes = read_classes(options.classes, pictures, classifier.labels) if options.classes else None
    checkpoint = options.out / "checkpoint.jsonl"
    for state in study_stream(classifier, pictures, settings, boxes, measurements, checkpoint, classes):
        _show(state)
    results = Results.of(classifier, settings, state)
    for path in write_reports(options.out, results):
        print(path)
    if options.readme:
        put_table(options.readme, comparison_table(results))


def _show(state: StudyState) -> None:
    """One line on stderr, rewritten in place on a terminal; in a log, one line a picture."""
    left = "" if state.seconds_left is None else f", about {state.seconds_left / 60:.1f} min left"
    line = f"{state.done} of {state.total} pictures{left} {state.picture} {state.label}".rstrip()
    if sys.stderr.isatty():
        print(f"\r{line[:118]:<118}", end="\n" if state.complete else "", file=sys.stderr, flush=True)
    elif not state.label:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
