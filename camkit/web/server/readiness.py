"""Which models can answer now; what makes them ready in the background is in warming.py.

The page opens before TensorFlow is loaded: whatever needs it is imported when it is first used.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from ...errors import InputError
from ...models.registry import MODELS, ModelSpec, check_model, is_loaded, load
from .runs import log

if TYPE_CHECKING:
    from ...classifier import Classifier

WARMED_UP = threading.Event()
LONGEST_LOADING = 30.0  # seconds that a visitor is kept waiting for a model that the operator named


def model_choices() -> list[tuple[str, str]]:
    return [(spec.name, key) for key, spec in MODELS.items()]


def is_here(model: str) -> bool:
    """True when the model can be loaded without a download; of the operator's models, when it has been loaded."""
    spec = MODELS[model]
    if spec.own is not None:
        return spec.own.status == "ready"
    return spec.weights is None or spec.weights.state.status == "ready"


def is_ready(model: str) -> bool:
    """True for a bundled model, and for another once it was loaded: a file by itself may turn out to be unusable."""
    return is_here(model) and (MODELS[model].weights is None or is_loaded(model))


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
    if spec.weights is not None and not is_here(model):
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


def device_in_words() -> str:
    """Named once the background thread has loaded what can tell."""
    return _device() if WARMED_UP.is_set() else "a machine that is just starting"


@cache
def _device() -> str:
    from ...classifier import device_name

    return device_name()
