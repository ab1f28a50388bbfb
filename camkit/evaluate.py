"""`camkit evaluate SOURCE ... --model NAME --out DIR`, also `python -m camkit.evaluate`: a study from the command line,
and nothing but that.

Writes a CSV, a report and a checkpoint into DIR; killed half-way, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from .errors import InputError, WeightsError, quoted
from .evidence.settings import COHERENCY, Settings
from .methods import DEFAULT_METHODS, METHODS
from .models.options import add_model_options, add_window_option, check_known, load_with_progress, loader
from .models.registry import MODELS
from .report.claims import BEGIN, END, around_table, comparison_table, put_table
from .report.report import write_reports
from .report.results import Results
from .study.boxes import FORMS as BOX_FORMS
from .study.boxes import boxes_for
from .study.checkpoint import Checkpoint
from .study.classes import FORMS, read_classes
from .study.cluster import list_files, study_on_ray
from .study.measurements import MEASUREMENTS
from .study.pictures import gather, plan, random_sample
from .study.progress import StatusLine, StudyState, account
from .study.study import study_stream

CHECKPOINT = "checkpoint.jsonl"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
        "camkit evaluate",
        description="Measure over a set of pictures how far the methods' maps can be believed. "
        "`python -m camkit.evaluate` is the same command.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder of pictures, in it or in its subfolders (boxes.json in it is used), or a picture; "
        "with --ray also s3://, gs:// or hf://",
    )
    parser.add_argument("--classes", metavar="HOW", help=f"true classes, which are then explained: {FORMS}")
    parser.add_argument("--boxes", type=Path, metavar="PATH", help=f"boxes drawn by hand: {BOX_FORMS}")
    parser.add_argument("--limit", type=int, metavar="N", help="take a random sample of N pictures")
    parser.add_argument("--seed", type=int, default=0, help="of that sample; default: 0")
    parser.add_argument("--shard", type=_shard, metavar="I/N", help="measure the I-th of N parts of the pictures only")
    parser.add_argument(
        "--merge", nargs="+", type=Path, default=(), metavar="DIR", help="take what runs with these --out have finished"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="let Ray's workers measure: local, or a cluster's address")
    parser.add_argument("--workers", type=int, metavar="N", help="default: one for each GPU, else for every two CPUs")
    add_model_options(parser)
    add_window_option(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where report, CSV and checkpoint go")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=DEFAULT_METHODS)
    parser.add_argument("--target-layer", help="default: the model's last")
    parser.add_argument("--max-n", type=int, metavar="N", help="channels of Faster Score-CAM; default: 10")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="points of the insertion and deletion curves")
    parser.add_argument(
        "--coherency",
        choices=tuple(COHERENCY),
        default=Settings.coherency,
        help="; ".join(f"{key}: for {words}" for key, words in COHERENCY.items()),
    )
    parser.add_argument("--claims", action="store_true", help="also measure earlier layers, noise and tuning")
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help=f"write the comparison table between {BEGIN} and {END} in it"
    )
    return parser


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if not match or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"'{quoted(text)}' is no part of a whole: give 1/8, 2/8 and so on to 8/8")
    return int(match[1]), int(match[2])


def _run(options: argparse.Namespace) -> None:
    if options.readme and not options.claims:
        raise InputError("--readme writes the measured claims: give --claims as well.")
    if options.workers is not None and not options.ray:
        raise InputError("--workers are Ray's: give --ray local, or the address of a cluster, as well.")
    found = gather(options.sources, list_files if options.ray else None)
    sample = random_sample(found.pictures, options.limit, options.seed)
    settings = Settings(
        tuple(options.methods),
        options.target_layer,
        options.max_n,
        options.steps,
        options.coherency,
        window=options.window,
    )
    check_known(options, options.target_layer)
    if options.readme:
        around_table(options.readme)
    options.out.mkdir(parents=True, exist_ok=True)
    # Files are read before a known model is loaded: what is wrong with them is said at once.
    loaded = None if options.model in MODELS else load_with_progress(options, StatusLine().show)
    labels = loaded.labels if loaded else MODELS[options.model].labels()
    classes = read_classes(options.classes, sample, labels) if options.classes else None
    if options.boxes:
        drawn = boxes_for(options.boxes, sample, labels)
        found.boxes.update(drawn.boxes)
        for sentence in drawn.left_out:
            print(f"Left out: {sentence}", file=sys.stderr)
    classifier = loaded or load_with_progress(options, StatusLine().show)
    part, parts = options.shard or (1, 1)
    pictures = plan(sample, found.boxes, classes)[part - 1 :: parts]
    checkpoint = Checkpoint(options.out / CHECKPOINT, [folder / CHECKPOINT for folder in options.merge])
    measurements = tuple(MEASUREMENTS) if options.claims else ("metrics",)
    if options.ray:
        given = (pictures, settings, measurements, checkpoint, options.ray, options.workers, found.skipped)
        states = study_on_ray(classifier, loader(options), *given)
    else:
        states = study_stream(classifier, pictures, settings, None, measurements, checkpoint, skipped=found.skipped)
    status = StatusLine()
    for state in states:
        status.show(_progress(state), state.complete)
    results = Results.of(classifier, settings, state)
    print(account(f"{results.pictures} measured", results.skipped), file=sys.stderr)
    for path in write_reports(options.out, results):
        print(os.fsencode(path).decode("utf-8", "backslashreplace"))
    if options.readme:
        put_table(options.readme, comparison_table(results))


def _progress(state: StudyState) -> str:
    """Return in one line how far the study is."""
    rate = "" if state.per_minute is None else f", {state.per_minute:.3g} a minute"
    minutes = (state.seconds_left or 0.0) / 60
    words = f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    left = "" if state.seconds_left is None else f", about {words} left"
    return f"{state.done} of {state.total} pictures{rate}{left} {state.picture} {state.label}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
