"""The background work that makes models ready before the first visitor needs them."""

from __future__ import annotations

import threading
from importlib import import_module

import numpy as np

from ...errors import WeightsError
from ...explain import explain, explain_stream
from ...models.registry import MODELS, load
from .readiness import WARMED_UP, begin_loading, is_here, wait_for
from .refusals import log


def warm_up() -> None:
    """Load and compile what the first visitor will need, so that no visitor waits for it."""
    import_module("camkit.classifier")  # and TensorFlow with it
    for spec in list(MODELS.values()):
        begin_loading(spec)
    for spec in list(MODELS.values()):
        wait_for(spec)
    for spec in list(MODELS.values()):
        if spec.weights is not None:
            try:
                spec.weights.find()  # a copy in Keras's cache counts once its checksum was seen
            except WeightsError as error:
                log.warning("%s", error)  # the status line says so too; the bundled classifier goes on
            else:
                log.info("%s", spec.weights.state.sentence)
    bundled_first = sorted(filter(is_here, list(MODELS)), key=lambda key: MODELS[key].weights is not None)
    for model in bundled_first:
        try:
            warm(model)
        except WeightsError as error:
            log.warning("%s", error)


def warm(model: str) -> None:
    """Load a model and compile what its first explanation needs."""
    from ...classifier import device_name

    clf = load(model)
    noise = np.random.default_rng(0).integers(0, 256, (*clf.input_size, 3), dtype=np.uint8)
    for snapshot in explain_stream(clf, noise, max_n=1):
        if snapshot.cams.get("faster_scorecam"):
            break
    explain(clf, noise, ["faster_scorecam"], max_n=1)
    clf.predict(noise)
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
