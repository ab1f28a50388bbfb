"""The operator's settings: the command line of app.py and `camkit serve`, and environment variables of the
same meaning.

Models are named here and nowhere else: a visitor chooses among the keys of MODELS and can neither send one nor name a
path. Options of a model follow its --model; variables of the second model end in _2, of the third in _3, and so on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..models.options import HELP, OF_A_MODEL
from ..models.registry import OperatorModel, register

VARIABLES = {"source": "CAMKIT_MODEL"} | {name: f"CAMKIT_{name.upper()}" for name in OF_A_MODEL}


class _Model(argparse.Action):
    def __call__(self, parser, namespace, value, option_string=None) -> None:
        namespace.models = [*namespace.models, OperatorModel(value)]


class _OfTheLastModel(argparse.Action):
    def __call__(self, parser, namespace, value, option_string=None) -> None:
        if not namespace.models:
            parser.error(f"{option_string} belongs to the --model before it: give a --model first")
        if getattr(namespace.models[-1], self.dest) is not None:
            parser.error(f"{option_string} is given twice for the model {namespace.models[-1].source}")
        namespace.models = [*namespace.models[:-1], replace(namespace.models[-1], **{self.dest: value})]


def parse(arguments: list[str] | None = None, program: str | None = None) -> argparse.Namespace:
    """Return the command line: `host`, `port`, `share` and `models`, a list of OperatorModel. `program` is its name in
    messages, None for the file that runs."""
    parser = argparse.ArgumentParser(
        program,
        description="Class activation maps of one picture, side by side.",
        epilog="Several models: repeat --model; its options belong to the --model before them. The page opens on the "
        f"first. Where no --model is given, the variables {', '.join(VARIABLES.values())} say the same, CAMKIT_MODEL_2 "
        "and so on for a second model.",
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
    for option in OF_A_MODEL:
        parser.add_argument(f"--{option}", action=_OfTheLastModel, help=f"of the --model before: {HELP[option]}")
    return parser.parse_args(arguments)


def from_environment(environment: Mapping[str, str] = os.environ) -> list[OperatorModel]:
    """Return the models that the variables name: CAMKIT_MODEL, CAMKIT_MODEL_2 ... until one is missing or empty."""
    found: list[OperatorModel] = []
    while True:
        ending = f"_{len(found) + 1}" if found else ""
        values = {name: environment.get(variable + ending) or None for name, variable in VARIABLES.items()}
        source = values.pop("source")
        if source is None:
            return found
        found.append(OperatorModel(source, **values))


def register_all(models: Iterable[OperatorModel]) -> list[str]:
    """Put the models into MODELS, in their order, and return their keys."""
    return [register(**vars(each)) for each in models]
