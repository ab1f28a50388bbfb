"""The options of a command line that name one classifier, and how it is loaded by them."""

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


def loader(options: argparse.Namespace) -> Callable[[], Classifier]:
    """Return the call of `load` that these options ask for; it can be sent to another process."""
    return partial(load, options.model, options.labels, options.preprocess, weights=options.weights)
