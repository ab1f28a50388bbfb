"""The operator's settings: the command line of app.py and `camkit serve`, and environment variables of the
same meaning.

Models are named here and nowhere else: a visitor chooses among the keys of MODELS and can neither send one nor name a
path. Options of a model follow its --model; variables of the second model end in _2, of the third in _3, and so on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..models.options import HELP
from ..models.registry import register

VARIABLES = {"source": "CAMKIT_MODEL", "labels": "CAMKIT_LABELS", "preprocess": "CAMKIT_PREPROCESS"}


@dataclass
class Named:
    """One --model and the options that follow it."""

    source: str
    labels: str | None = None
    preprocess: str | None = None


class _Model(argparse.Action):
    def __call__(self, parser, namespace, value, option_string=None) -> None:
        namespace.models = [*namespace.models, Named(value)]


class _OfTheLastModel(argparse.Action):
    def __call__(self, parser, namespace, value, option_string=None) -> None:
        if not namespace.models:
            parser.error(f"{option_string} belongs to the --model before it: give a --model first")
        if getattr(namespace.models[-1], self.dest) is not None:
            parser.error(f"{option_string} is given twice for the model {namespace.models[-1].source}")
        setattr(namespace.models[-1], self.dest, value)


def parse(arguments: list[str] | None = None, program: str | None = None) -> argparse.Namespace:
    """Return the command line: `host`, `port`, `share` and `models`, a list of Named. `program` is its name in
    messages, None for the file that runs."""
    parser = argparse.ArgumentParser(
        program,
        description="Class activation maps of one picture, side by side.",
        epilog="Several models: repeat --model; --labels and --preprocess belong to the --model before them. The page "
        "opens on the first. Where no --model is given, the variables CAMKIT_MODEL, CAMKIT_LABELS and "
        "CAMKIT_PREPROCESS say the same, CAMKIT_MODEL_2 and so on for a second model.",
    )
    parser.add_argument("--host", help="the address to listen on; default: GRADIO_SERVER_NAME, else 127.0.0.1")
    parser.add_argument("--port", type=int, help="default: GRADIO_SERVER_PORT, else the first free one from 7860 on")
    parser.add_argument(
        "--share",
        action="store_true",
        help="open a public address for up to a week through Gradio's server: needs the internet, and everybody who "
        "has the address can use this machine's page",
    )
    parser.add_argument("--model", action=_Model, dest="models", default=[], metavar="MODEL", help=HELP["model"])
    for option in ("labels", "preprocess"):
        parser.add_argument(f"--{option}", action=_OfTheLastModel, help=f"of the --model before: {HELP[option]}")
    return parser.parse_args(arguments)


def from_environment(environment: Mapping[str, str] = os.environ) -> list[Named]:
    """Return the models that the variables name: CAMKIT_MODEL, CAMKIT_MODEL_2 ... until one is missing or empty."""
    found: list[Named] = []
    while True:
        ending = f"_{len(found) + 1}" if found else ""
        values = {name: environment.get(variable + ending) or None for name, variable in VARIABLES.items()}
        if values["source"] is None:
            return found
        found.append(Named(values["source"], values["labels"], values["preprocess"]))


def register_all(models: Iterable[Named]) -> list[str]:
    """Put the models into MODELS, in their order, and return their keys."""
    return [register(each.source, each.labels, each.preprocess) for each in models]
