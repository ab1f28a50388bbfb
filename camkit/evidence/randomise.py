"""A copy of a classifier whose weights are drawn anew in stages, from the output downwards (Adebayo et al. 2018).

The classifier itself is only read. A copy costs as much memory as the model (VGG16: 528 MB), so one is kept at a time,
and all work with it holds `in_use`. What prepares a picture (Normalization) was not learned from labels and stays.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import keras
import numpy as np

from ..classifier import Classifier
from ..errors import InputError
from ..models.flatten import copy_operation, copy_weights

STAGES = 8  # at most; the first is the output layer alone, the others are spread evenly over the rest


@dataclass(frozen=True)
class Stage:
    """Layers that are drawn anew together, from the output's side; `layer` is the last, nearest to the picture.
    `done` layers are random by then, of `total` that have weights."""

    layer: str
    layers: tuple[str, ...]
    done: int
    total: int


class RandomisedCopy:
    """`classifier` is the copy, of the same weights until `randomise`; `stages` in the order in which to go."""

    def __init__(self, original: Classifier) -> None:
        self.original = original.model
        self.classifier = Classifier(_copied(original.model), original.spec, frozen=False)
        self.stages = stages(original.model)
        self.in_use = threading.Lock()

    def restore(self) -> None:
        """Give the copy the weights of the original again."""
        _copy_weights(self.original, self.classifier.model)

    def randomise(self, stage: Stage, seed: int) -> None:
        """Draw a stage's weights from the layers' own initialisers: the same seed, the same weights. A custom layer
        that draws without an initialiser in its configuration gets others each time."""
        for name in stage.layers:
            layer = self.classifier.model.get_layer(name)
            place = self.classifier.model.layers.index(layer)
            for weight, value in zip(layer.weights, _drawn(layer, np.random.default_rng([seed, place])), strict=True):
                weight.assign(value)


@lru_cache(maxsize=1)
def copy_of(classifier: Classifier) -> RandomisedCopy:
    """Return the copy, which is kept until another classifier's is asked for; InputError for a model that cannot be
    copied."""
    return RandomisedCopy(classifier)


def stages(model: keras.Model) -> tuple[Stage, ...]:
    """Return all layers that have weights in at most STAGES stages, from the output to the picture."""
    learned = [
        layer.name for layer in model.layers if layer.weights and not isinstance(layer, keras.layers.Normalization)
    ][::-1]
    total = len(learned)
    ends = sorted({min(1, total), *np.linspace(0, total, STAGES).round().astype(int)[1:].tolist()})
    return tuple(
        Stage(learned[end - 1], tuple(learned[begin:end]), end, total)
        for begin, end in zip([0, *ends], ends, strict=False)
        if end > begin
    )


def _copied(model: keras.Model) -> keras.Model:
    copies: dict[int, keras.layers.Layer] = {}  # a layer that is called twice stays one layer

    def copied(layer):
        if id(layer) not in copies:
            copies[id(layer)] = copy_operation(layer, layer.name)
        return copies[id(layer)]

    try:
        copy = keras.models.clone_model(model, clone_function=copied)
        _copy_weights(model, copy)
    except (NotImplementedError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"The model cannot be copied ({type(error).__name__}), and only a copy is randomised: build it of layers "
            "that can be saved."
        ) from error
    return copy


def _copy_weights(model: keras.Model, copy: keras.Model) -> None:
    for layer in model.layers:
        if layer.weights:  # the others may have another name in the copy: an input has its tensor's
            copy_weights(layer, copy.get_layer(layer.name))


def _drawn(layer: keras.layers.Layer, rng: np.random.Generator) -> list:
    """Return the weights of a layer made anew out of the configuration of this one."""
    fresh = type(layer).from_config(_seeded(layer.get_config(), rng))
    fresh.build_from_config(layer.get_build_config() or {})
    if len(fresh.weights) != len(layer.weights):  # layers inside it are built when it is called
        fresh(keras.tree.map_structure(lambda given: keras.Input(batch_shape=given.shape), layer.input))
    return fresh.weights


def _seeded(config, rng: np.random.Generator):
    """Return a layer's configuration with a seed in each initialiser that takes one."""
    if isinstance(config, list | tuple):
        return type(config)(_seeded(each, rng) for each in config)
    if not isinstance(config, dict):
        return config
    seeded = {}
    for key, value in config.items():
        if not str(key).endswith("initializer") or value is None:
            seeded[key] = _seeded(value, rng)
            continue
        initializer = keras.initializers.get(value)
        settings = initializer.get_config()
        if "seed" in settings:
            initializer = type(initializer).from_config(settings | {"seed": int(rng.integers(2**31))})
        seeded[key] = keras.initializers.serialize(initializer)
    return seeded
