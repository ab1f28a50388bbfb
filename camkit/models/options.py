"""The options that the command lines share: those that name one classifier, how it is loaded by them, and how grey
pictures of many bits are shown."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .registry import HELP, load

if TYPE_CHECKING:
    from ..classifier import Classifier


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --labels, --preprocess and --weights, the arguments of `load`."""
    parser.add_argument("--model", default="efficientnet_lite0", help=f"{HELP['model']}; default: %(default)s")
    parser.add_argument("--labels", help=HELP["labels"])
    parser.add_argument("--preprocess", help=HELP["preprocess"])
    parser.add_argument("--weights", type=Path, help="the model's weights file; default: found, else downloaded")


def add_window_option(parser: argparse.ArgumentParser) -> None:
    """Add --window, that of `open_picture`."""
    parser.add_argument(
        "--window",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="the values that grey pictures of more than 8 bits show as black and white; default: the file's own "
        "window, else its smallest and largest value",
    )


def loader(options: argparse.Namespace) -> Callable[[], Classifier]:
    """Return the call of `load` that these options ask for; it can be sent to another process."""
    return partial(load, options.model, options.labels, options.preprocess, weights=options.weights)
