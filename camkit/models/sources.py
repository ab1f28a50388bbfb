"""Read a model by its name: a file, a repository of the Hugging Face Hub, a network of keras.applications.

How a file is read is in files.py. Refuses in one sentence that names no path.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from inspect import getmodule
from pathlib import Path
from traceback import extract_tb
from typing import Any

import keras

from ..errors import InputError, WeightsError
from .files import SUFFIXES, from_file, loaded
from .scaling import Preprocess

HUB = "hf://"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A model as it was found. `preprocess`: the network's own, None where the user must say; `labels`: likewise;
    `origin`: one line on where it comes from, fit to be shown."""

    model: keras.Model
    origin: str
    preprocess: Preprocess | None = None
    labels: str | None = None


def find_source(name: str, weights: str | os.PathLike | None = None) -> Source:
    """Return the model that `name` means: "hf://owner/name", a network of keras.applications ("ResNet50"; `weights` is
    a file instead of Keras's download), else the path of a file."""
    if name.startswith(HUB):
        return _from_hub(name.removeprefix(HUB))
    if name in _networks():
        return _application(name, weights)
    if weights is not None:
        raise InputError("Weights of their own are for networks of keras.applications: a model file holds its weights.")
    if not name.lower().endswith(SUFFIXES) and not Path(name).exists():
        near = difflib.get_close_matches(name.casefold(), {key.casefold(): key for key in _networks()}, n=1, cutoff=0.8)
        meant = [key for key in _networks() if key.casefold() in near]
        hint = f" Did you mean {meant[0]}?" if meant else ""
        raise InputError(
            f"Model '{Path(name).name[:60]}' is unknown: give the path of a .keras or .h5 file, hf://owner/name, or "
            f"the name of a network of keras.applications.{hint}"
        )
    return Source(from_file(Path(name).expanduser()), "a model file")


# --- code of the operator's own --------------------------------------------------------------------------------------


def known_classes(code: str | os.PathLike | None) -> AbstractContextManager:
    """Return a context in which Keras knows the classes and functions of a Python file, which is run once in a process;
    None adds nothing. InputError for a file that cannot be run."""
    if code is None:
        return nullcontext()
    return keras.saving.custom_object_scope(_classes_of(Path(code).expanduser().resolve()))


@cache
def _classes_of(path: Path) -> dict[str, Any]:
    name = f"camkit_code_{path.stem}"
    spec = spec_from_file_location(name, path) if path.suffix == ".py" and path.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError("There is no Python file of the name that code gives: give the path of a .py file.")
    module = sys.modules[name] = module_from_spec(spec)  # before it runs, as `import` does: dataclasses ask for it
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # what code of the operator's own raises has no common type
        del sys.modules[name]
        logger.exception("The code file %s cannot be run.", path.name)
        last = extract_tb(error.__traceback__)[-1]
        where = f", line {last.lineno}" if last.filename == str(path) else ""
        raise InputError(
            f"The code file {path.name} cannot be run ({type(error).__name__}{where}): mend it."
        ) from error
    return {key: each for key, each in vars(module).items() if callable(each) and not key.startswith("_")}


# --- the Hugging Face Hub --------------------------------------------------------------------------------------------


def _from_hub(repository: str) -> Source:
    """Read a repository as Keras saves one (config.json and weights), else the one .keras or .h5 file in it, and its
    labels.txt or labels.json; once it has been fetched, without a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo_id, _, revision = repository.partition("@")
    wanted = [f"*{suffix}" for suffix in SUFFIXES] + ["*.json", "labels.txt"]
    try:
        folder = Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=wanted))
    except HFValidationError as error:
        raise InputError(f"'{repository[:60]}' names no repository: give hf://owner/name.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"The repository {repo_id} cannot be read from the Hugging Face Hub: it does not exist, is private, or "
            "this machine has no network."
        ) from error
    named = [str(folder / name) for name in ("labels.txt", "labels.json") if (folder / name).is_file()]
    labels = named[0] if named else None
    if (folder / "config.json").is_file() and (folder / "model.weights.h5").is_file():
        return Source(loaded(folder), f"{HUB}{repository}", labels=labels)
    found = [
        path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and ".weights." not in path.name
    ]
    if len(found) != 1:
        raise InputError(
            f"The repository {repo_id} holds {len(found)} .keras or .h5 files: one is allowed, or a model as "
            "model.save('hf://owner/name') puts it there."
        )
    return Source(from_file(found[0]), f"{HUB}{repository}", labels=labels)


# --- keras.applications ----------------------------------------------------------------------------------------------


def _networks() -> dict[str, Callable]:
    """Return the networks of keras.applications by name."""
    return {name: make for name, make in vars(keras.applications).items() if name[0].isupper() and callable(make)}


def _application(name: str, weights: str | os.PathLike | None) -> Source:
    make = _networks()[name]
    try:
        model = make(weights=weights or "imagenet", classifier_activation=None)
    except Exception as error:  # Keras raises a plain one for a failed download, ValueError for a wrong checksum
        if weights:
            reason = "do not fit: give the file that Keras publishes, or one of the whole network"
        else:
            reason = (
                "cannot be downloaded from Keras's storage, since this machine has no network or the download failed: "
                "try again, or put the file into Keras's cache"
            )
        raise WeightsError(f"The weights of {name} {reason}.") from error
    preprocess = getmodule(make).preprocess_input  # type: ignore[union-attr] # that a function is in a module
    origin = f"keras.applications.{name}, trained on ImageNet"
    return Source(model, origin, lambda image: preprocess(image.copy()), "imagenet")
