"""Which models can answer now; what makes them ready in the background is in warming.py.

The page opens before TensorFlow is loaded: whatever needs it is imported when it is first used.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from ..errors import InputError
from ..models import MODELS, check_model, load

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


def device_in_words() -> str:
    """Named once the background thread has loaded what can tell."""
    return _device() if WARMED_UP.is_set() else "a machine that is just starting"


@cache
def _device() -> str:
    from ..classifier import device_name

    return device_name()
