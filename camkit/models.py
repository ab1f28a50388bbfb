"""The MODELS registry and `load`. TensorFlow is imported by the first load, not before."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError, WeightsError, shown
from .weights import VGG16_WEIGHTS, WeightsFile

if TYPE_CHECKING:
    import keras

    from .classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One entry of MODELS.

    build: weights file or None -> a Keras model that ends in logits.
    preprocess: (h, w, 3) float32 RGB in [0, 255] -> the model's inputs, a new array.
    target_layers: the layers whose activations can be explained, in network order, the default last.
    weights: where the weights file comes from; None for bundled models.
    zero: what a preprocessed value of zero looks like, in words.
    input_size: (height, width).
    """

    key: str
    name: str
    build: Callable[[Path | None], keras.Model]
    preprocess: Callable[[np.ndarray], np.ndarray]
    target_layers: tuple[str, ...]
    weights: WeightsFile | None
    zero: str
    source: str
    input_size: tuple[int, int] = (224, 224)


def _build_vgg16(weights: Path | None) -> keras.Model:
    import keras

    if weights is None:  # Keras would initialise at random, and every map would be noise
        raise InputError("VGG16 cannot be built without a weights file.")
    model = keras.applications.VGG16(weights=None, classifier_activation=None)
    _load_weights(model, weights)
    return model


def _load_weights(model: keras.Model, weights: Path) -> None:
    """Keras compares the number of layers and every shape; WeightsError says in a sentence what it found."""
    try:
        model.load_weights(weights)
    except OSError as error:
        reason = "is no HDF5 file, or only part of one"
        raise WeightsError(f"{weights.name} {reason}: name a whole .h5 file with this model's weights.") from error
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(".:")
        raise WeightsError(f"{weights.name} does not fit the model ({reason}): name this model's weights.") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{weights.name} is not laid out as Keras's .h5 weights: name the file that Keras publishes."
        ) from error


def _preprocess_vgg16(image: np.ndarray) -> np.ndarray:
    from keras.applications.vgg16 import preprocess_input

    return preprocess_input(image.copy())  # Keras's own works in place


def _build_lite0(weights: Path | None) -> keras.Model:
    import keras

    bundled = Path(__file__).with_name("bundled") / "efficientnet_lite0.keras"
    return keras.models.load_model(weights or bundled, compile=False)


MODELS: dict[str, ModelSpec] = {
    spec.key: spec
    for spec in (
        ModelSpec(
            key="vgg16",
            name="VGG16",
            build=_build_vgg16,
            preprocess=_preprocess_vgg16,
            target_layers=tuple(
                f"block{block}_conv{conv}"
                for block, convs in enumerate((2, 2, 3, 3, 3), 1)
                for conv in range(1, convs + 1)
            ),
            weights=VGG16_WEIGHTS,
            zero="the mean colour of ImageNet",
            source="Simonyan and Zisserman 2015, arXiv:1409.1556; "
            "weights by the Visual Geometry Group, Oxford, CC BY 4.0",
        ),
        ModelSpec(
            key="efficientnet_lite0",
            name="EfficientNet-Lite0",
            build=_build_lite0,
            preprocess=lambda image: (image - 127.0) / 128.0,
            target_layers=(
                "block1a_project_bn",
                "block2b_add",
                "block3b_add",
                "block4c_add",
                "block5c_add",
                "block6d_add",
                "block7a_project_bn",
                "top_activation",
            ),
            weights=None,
            zero="mid grey",
            source="Tan and Le 2019, arXiv:1905.11946, Lite variant; weights Apache 2.0, see camkit/bundled",
        ),
    )
}

_loaded: dict[tuple[str, Path | None], Classifier] = {}
_loading = threading.Lock()  # for `_loaded`


def load(name: str, weights: str | os.PathLike | None = None) -> Classifier:
    """The classifier `name` of MODELS, one object per model and weights file, however often it is asked for.

    `weights` is a path; None finds the file or, failing that, downloads it (`camkit.weights`); bundled models need none
    and never touch a network. Raises InputError for an unknown name, WeightsError when there are no usable weights.
    """
    from .classifier import Classifier, prepare_device

    spec = check_model(name)
    path = Path(weights) if weights is not None else None
    if spec.weights is not None:
        path = spec.weights.obtain(path)
    key = (name, path and path.resolve())
    with _loading:
        if key not in _loaded:
            prepare_device()
            try:
                _loaded[key] = Classifier(spec.build(path), spec)
            except WeightsError as error:
                if spec.weights is not None and path is not None:
                    spec.weights.refuse(path, str(error))
                raise
        return _loaded[key]


def is_loaded(name: str) -> bool:
    """True once `load` has made this classifier, so that its weights are known to be usable."""
    return any(model == name for model, _ in list(_loaded))


def check_model(name: str) -> ModelSpec:
    """The registry entry; InputError for an unknown key."""
    if name not in MODELS:
        raise InputError(f"Model '{shown(name)}' is unknown: use one of {', '.join(MODELS)}.")
    return MODELS[name]
