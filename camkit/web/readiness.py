"""Which models can answer now, and the background work that makes them ready.

The page opens before TensorFlow is loaded: whatever needs it is imported when it is first used.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, WeightsError
from ..explain import explain, explain_stream
from ..models import MODELS, check_model, load
from .visitors import log

if TYPE_CHECKING:
    from ..classifier import Classifier

MODEL_CHOICES = [(spec.name, key) for key, spec in MODELS.items()]
WARMED_UP = threading.Event()


def is_ready(model: str) -> bool:
    """True when the model can be loaded without a download."""
    weights = MODELS[model].weights
    return weights is None or weights.state.status == "ready"


def default_model() -> str:
    """The first model of the registry that is ready; a bundled one always is."""
    return next(key for key in MODELS if is_ready(key))


def classifier(model: str) -> Classifier:
    """The classifier, loaded once. A model whose weights are missing starts their download and is refused in words."""
    model = default_model() if model == "auto" else model
    spec = check_model(model)
    if spec.weights is not None and not is_ready(model):
        failed = spec.weights.state  # read before the new attempt replaces what the last one has to say
        spec.weights.download_in_background()
        state = failed if failed.status == "failed" else spec.weights.state
        raise InputError(
            f"{spec.name} has no weights here yet. {state.sentence} Meanwhile use {MODELS[default_model()].name}."
        )
    return load(model)


def downloading() -> bool:
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
        from ..classifier import device_name

    for spec in MODELS.values():
        if spec.weights is not None:
            try:
                spec.weights.find()  # a copy in Keras's cache counts once its checksum was seen
            except WeightsError as error:
                log.warning("%s", error)  # the status line says so too; the bundled classifier goes on
            else:
                log.info("%s", spec.weights.state.sentence)
    for model in dict.fromkeys([default_model(), *filter(is_ready, MODELS)]):
        try:
            clf = load(model)
        except WeightsError as error:
            log.warning("%s", error)
            continue
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


def device_in_words() -> str:
    """Named once the background thread has loaded what can tell."""
    return _device() if WARMED_UP.is_set() else "a machine that is just starting"


@cache
def _device() -> str:
    from ..classifier import device_name

    return device_name()
