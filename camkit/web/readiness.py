"""Which models can answer now, the status line that says so, and the background work that makes them ready.

The page opens before TensorFlow is loaded: whatever needs it is imported when it is first used.
"""

from __future__ import annotations

import html
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, WeightsError
from ..explain import explain, explain_stream
from ..models import MODELS, ModelSpec, check_model, load
from .visitors import log

if TYPE_CHECKING:
    from ..classifier import Classifier

WARMED_UP = threading.Event()
LONGEST_LOADING = 30.0  # seconds that a visitor is kept waiting for a model that the operator named


def model_choices() -> list[tuple[str, str]]:
    return [(spec.name, key) for key, spec in MODELS.items()]


def is_ready(model: str) -> bool:
    """True when the model can be used without a download; of the operator's models, when it has been loaded."""
    spec = MODELS[model]
    if spec.own is not None:
        return spec.own.status == "ready"
    return spec.weights is None or spec.weights.state.status == "ready"


def default_model() -> str:
    """The first model of the registry that is ready; a bundled one always is."""
    return next(key for key in MODELS if is_ready(key))


def classifier(model: str) -> Classifier:
    """The classifier, loaded once. A model whose weights are missing starts their download and is refused in words."""
    model = opening_model() if model == "auto" else model
    spec = check_model(model)
    if spec.own is not None and not is_ready(model):
        wait_for(spec)
        if not is_ready(model):
            raise InputError(f"{own_in_words(spec)} Meanwhile use {MODELS[default_model()].name}.")
    if spec.weights is not None and not is_ready(model):
        failed = spec.weights.state  # read before the new attempt replaces what the last one has to say
        spec.weights.download_in_background()
        state = failed if failed.status == "failed" else spec.weights.state
        raise InputError(
            f"{spec.name} has no weights here yet. {state.sentence} Meanwhile use {MODELS[default_model()].name}."
        )
    return load(model)


def wait_for(spec: ModelSpec) -> None:
    """Until an operator's model is loaded or failed, or LONGEST_LOADING is over: its download can take minutes."""
    if spec.own is not None and not spec.own.settled.is_set():
        load_in_background(spec.key)
        spec.own.settled.wait(LONGEST_LOADING)


def opening_model() -> str:
    """What the page opens on and "auto" means: the operator's first model that can be loaded, else the default."""
    for spec in list(MODELS.values()):
        wait_for(spec)
        if is_ready(spec.key):
            break
    return default_model()


_loading_own: set[str] = set()  # keys whose loading has begun
_guard = threading.Lock()


def load_in_background(model: str) -> None:
    """Begins to load an operator's model, unless that has begun; its `own` says what became of it."""
    with _guard:
        if model in _loading_own:
            return
        _loading_own.add(model)

    def work() -> None:
        try:
            load(model)
        except InputError as error:
            log.warning("%s", error)
        else:
            log.info("%s is loaded.", MODELS[model].name)
            if WARMED_UP.is_set():  # a download that took longer than the rest
                warm(model)

    threading.Thread(target=work, name=f"{model}-loading", daemon=True).start()


def own_in_words(spec: ModelSpec) -> str:
    """The state of an operator's model in a sentence, without a path."""
    if spec.own is None or spec.own.status == "ready":
        return f"{spec.name} is ready."
    if spec.own.status == "failed":
        return f"{spec.name} cannot be used. {spec.own.message}"
    return f"{spec.name} is being loaded."


def downloading() -> bool:
    """True while a model is on its way: weights that are downloaded, or an operator's model that is loaded."""
    if any(spec.own and spec.own.status == "loading" for spec in MODELS.values()):
        return True
    return any(spec.weights and spec.weights.state.status == "downloading" for spec in MODELS.values())


# What TensorFlow's C++ side writes while it is loaded, before any setting of its own log is read.
_REMARKS = re.compile(rb"[IW]\d{4} |WARNING: All log messages before absl|To enable the following instructions")


@contextmanager
def without_remarks() -> Iterator[None]:
    """Holds back what the process writes to stderr and lets go of all of it afterwards but the remarks that TensorFlow
    makes of every machine without a GPU. By file descriptor, since they do not come through Python."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not _REMARKS.match(line):
                    os.write(2, line)


def warm_up() -> None:
    """Loads and compiles what the first visitor will need, so that no visitor waits for it."""
    with without_remarks():
        import_module("camkit.classifier")  # and TensorFlow with it
    for spec in list(MODELS.values()):
        if spec.own is not None:
            load_in_background(spec.key)
    for spec in list(MODELS.values()):
        wait_for(spec)
    for spec in MODELS.values():
        if spec.weights is not None:
            try:
                spec.weights.find()  # a copy in Keras's cache counts once its checksum was seen
            except WeightsError as error:
                log.warning("%s", error)  # the status line says so too; the bundled classifier goes on
            else:
                log.info("%s", spec.weights.state.sentence)
    for model in dict.fromkeys([default_model(), *filter(is_ready, list(MODELS))]):
        try:
            warm(model)
        except WeightsError as error:
            log.warning("%s", error)


def warm(model: str) -> None:
    """Loads a model and compiles what its first explanation needs."""
    from ..classifier import device_name

    clf = load(model)
    noise = np.random.default_rng(0).integers(0, 256, (*clf.input_size, 3), dtype=np.uint8)
    for snapshot in explain_stream(clf, noise, max_n=1):
        if snapshot.cams.get("faster_scorecam"):
            break
    explain(clf, noise, ["faster_scorecam"], max_n=1)
    log.info("%s is ready on %s", clf.spec.name, device_name())


def start_warming() -> threading.Thread:
    def work() -> None:
        try:
            warm_up()
        finally:
            WARMED_UP.set()

    thread = threading.Thread(target=work, name="warm-up", daemon=True)
    thread.start()
    return thread


@cache
def _device() -> str:
    from ..classifier import device_name

    return device_name()


def status_html(model: str) -> str:
    """The line that says what runs here. The device is named once the background thread has loaded what can tell."""
    spec = MODELS[default_model() if model == "auto" else model]
    device = _device() if WARMED_UP.is_set() else "a machine that is just starting"
    bundled = " (bundled)" if spec.weights is None and spec.own is None else ""
    parts = [f"<b>{html.escape(spec.name)}</b>{bundled} on {device}"]
    parts += [
        html.escape(own_in_words(other)) for other in MODELS.values() if other.own and other.own.status != "ready"
    ]
    parts += [other.weights.state.sentence for other in MODELS.values() if other.weights is not None]
    return (
        f'<div class="headline"><h1>What did the classifier look at?</h1><p role="status">{" · ".join(parts)}</p></div>'
    )
