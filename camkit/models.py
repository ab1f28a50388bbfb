"""The MODELS registry and `load`."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np

from .classifier import Classifier, ModelSpec, _prepare_device
from .errors import InputError
from .weights import VGG16_LAYERS, VGG16_WEIGHTS, check_layout


def _build_vgg16(weights: Path | None):
    import keras

    check_layout(weights, VGG16_LAYERS)
    return keras.applications.VGG16(weights=str(weights), classifier_activation=None)


def _preprocess_vgg16(image: np.ndarray) -> np.ndarray:
    from keras.applications.vgg16 import preprocess_input

    return preprocess_input(image.copy())  # Keras's own works in place


def _build_lite0(weights: Path | None):
    import keras

    return keras.models.load_model(
        weights or Path(__file__).with_name("bundled") / "efficientnet_lite0.keras", compile=False
    )


def _preprocess_lite0(image: np.ndarray) -> np.ndarray:
    return (image - 127.0) / 128.0


MODELS: dict[str, ModelSpec] = {
    spec.key: spec
    for spec in (
        ModelSpec(
            "vgg16",
            "VGG16",
            _build_vgg16,
            _preprocess_vgg16,
            tuple(
                f"block{block}_conv{conv}"
                for block, convs in enumerate((2, 2, 3, 3, 3), 1)
                for conv in range(1, convs + 1)
            ),
            VGG16_WEIGHTS,
            "the mean colour of ImageNet",
            "Simonyan and Zisserman 2015, arXiv:1409.1556; weights by the Visual Geometry Group, Oxford, CC BY 4.0",
        ),
        ModelSpec(
            "efficientnet_lite0",
            "EfficientNet-Lite0",
            _build_lite0,
            _preprocess_lite0,
            (
                "block1a_project_bn",
                "block2b_add",
                "block3b_add",
                "block4c_add",
                "block5c_add",
                "block6d_add",
                "block7a_project_bn",
                "top_activation",
            ),
            None,
            "mid grey",
            "Tan and Le 2019, arXiv:1905.11946, Lite variant; weights Apache 2.0, see camkit/bundled",
        ),
    )
}
_loaded: dict[tuple, Classifier] = {}
_loading = threading.Lock()


def load(name: str, weights: str | os.PathLike | None = None) -> Classifier:
    """The classifier `name` of MODELS, one object per model and weights file, however often it is asked for.

    `weights` is a path; None finds the file or, failing that, downloads it (`camkit.weights`); bundled models need none
    and never touch a network. Raises InputError for an unknown name, WeightsError when there are no usable weights.
    """
    spec = check_model(name)
    path = Path(weights) if weights is not None else None
    if spec.weights is not None:
        path = spec.weights.obtain(weights)
    key = (name, path and path.resolve())
    with _loading:
        if key not in _loaded:
            _prepare_device()
            _loaded[key] = Classifier(spec.build(path), spec)
        return _loaded[key]


def check_model(name: str) -> ModelSpec:
    """The registry entry; InputError for an unknown key."""
    if name not in MODELS:
        raise InputError(f"Model '{name}' is unknown: use one of {', '.join(MODELS)}.")
    return MODELS[name]
