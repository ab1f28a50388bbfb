"""Which models can answer now; what makes them ready in the background is in warming.py.

The page opens before TensorFlow is loaded: whatever needs it is imported when it is first used.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from functools import cache
from typing import TYPE_CHECKING

from ...errors import InputError
from ...models.registry import MODELS, ModelSpec, OperatorModel, check_model, load, load_in_background, load_status
from .refusals import log

if TYPE_CHECKING:
    from ...classifier import Classifier

WARMED_UP = threading.Event()
LONGEST_LOADING = 30.0  # seconds that a visitor is kept waiting for a model that the operator named
RETRY_AFTER = 60.0  # seconds before a visitor makes the server load a model again that failed
# The operator's models whose loading has begun: the first attempt, and when the last one was made.
_begun: dict[OperatorModel, tuple[Future, float]] = {}
_guard = threading.Lock()  # for `_begun`


def model_choices() -> list[tuple[str, str]]:
    return [(spec.name, key) for key, spec in MODELS.items()]


def is_here(model: str) -> bool:
    """Return True when the model can be loaded without a download; of the operator's, when it has been loaded."""
    spec = MODELS[model]
    if spec.operator_model is not None:
        return load_status(model)[0] == "ready"
    return spec.weights is None or spec.weights.state.status == "ready"


def is_ready(model: str) -> bool:
    """Return True for a bundled model, and for another once it was loaded: a file may turn out to be unusable."""
    return is_here(model) and (MODELS[model].weights is None or load_status(model)[0] == "ready")


def default_model() -> str:
    """Return the first model of the registry that is ready; a bundled one always is."""
    return next(key for key in MODELS if is_ready(key))


def classifier(model: str) -> Classifier:
    """Return the classifier, loaded once. A model whose weights are missing starts their download, and one of the
    operator's that failed is tried again after a while; either is refused in words until it is there."""
    model = opening_model() if model == "auto" else model
    spec = check_model(model)
    if spec.operator_model is not None and not is_ready(model):
        wait_for(spec)
        if not is_ready(model):
            _, sentence = operator_status(spec)  # read before another attempt replaces what the last one has to say
            _try_again(spec)
            raise InputError(f"{sentence} Meanwhile use {MODELS[default_model()].name}.")
    if spec.weights is not None and not is_here(model):
        failed = spec.weights.state  # read before, as above
        spec.weights.download_in_background()
        state = failed if failed.status == "failed" else spec.weights.state
        raise InputError(
            f"{spec.name} has no weights here yet. {state.sentence} Meanwhile use {MODELS[default_model()].name}."
        )
    return load(model)


def begin_loading(spec: ModelSpec) -> Future | None:
    """Load an operator's model in the background, unless that was begun; return the future of the first attempt."""
    given = spec.operator_model
    if given is None:
        return None
    with _guard:
        if given not in _begun:
            _begun[given] = _in_background(spec), time.monotonic()
        return _begun[given][0]


def wait_for(spec: ModelSpec) -> None:
    """Wait until an operator's model was loaded or has failed for the first time, at most LONGEST_LOADING: its download
    can take minutes."""
    if (first := begin_loading(spec)) is not None:
        wait([first], LONGEST_LOADING)


def _try_again(spec: ModelSpec) -> None:
    given = spec.operator_model
    with _guard:
        if given in _begun and time.monotonic() - _begun[given][1] > RETRY_AFTER:
            _begun[given] = _begun[given][0], time.monotonic()
            _in_background(spec)


def _in_background(spec: ModelSpec) -> Future:
    def tell(future: Future) -> None:
        error = future.exception()
        log.warning("%s", error) if error else log.info("%s is loaded.", spec.name)

    future = load_in_background(spec.key)
    future.add_done_callback(tell)
    return future


def opening_model() -> str:
    """Return what the page opens on and "auto" means: the operator's first model that is ready, else the default."""
    for spec in list(MODELS.values()):
        wait_for(spec)
        if is_ready(spec.key):
            break
    return default_model()


def operator_status(spec: ModelSpec) -> tuple[str, str]:
    """Return how far an operator's model is, "loading", "ready" or "failed", and the same in a sentence."""
    status, why = load_status(spec.key)
    if status == "absent":  # and about to be loaded
        status = "loading"
    return status, {"ready": f"{spec.name} is ready.", "failed": why}.get(status, f"{spec.name} is being loaded.")


def downloading() -> bool:
    """Return True while a model is on its way: weights that are downloaded, or an operator's model that is loaded."""
    return any(
        operator_status(spec)[0] == "loading"
        if spec.operator_model
        else spec.weights is not None and spec.weights.state.status == "downloading"
        for spec in list(MODELS.values())
    )


def device_in_words() -> str:
    """Return the device's name; it is known once the background thread has loaded what can tell."""
    return _device() if WARMED_UP.is_set() else "a machine that is just starting"


@cache
def _device() -> str:
    from ...classifier import device_name

    return device_name()
