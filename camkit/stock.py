"""One raw map by tf-keras-vis, which only this module imports.

Every map comes out of a documented call of tf-keras-vis's own classes. What they would compute again (the passes
through the network) they are given: a `PrecomputedModel` stands in for the network and answers with the logits and
gradients that one compiled pass gave. Shapes: raw (h, w) float32 >= 0 at the target layer's resolution; map (height,
width) float32 in [0, 1].
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pkgutil import resolve_name
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.utils import normalize

from .methods import Method
from .passes.arithmetic import expand
from .passes.outputs import CLASSES, Outputs

# Grad-CAM++ takes exp(score), infinite in float32 above 88.7. The factor is common to the whole map and falls out when
# the map is normalised, so a larger score is lowered to this first; `raw` is then smaller by exp(score - 60).
LARGEST_SCORE = 60.0
# Grad-CAM++ divides by 2 + gradient x sum of activations, and all of its map is NaN when that is exactly 0 somewhere;
# gradients larger by this factor give the limit.
OFF_THE_POLE = 1.00001
# Stock Scorecam tiles its inputs once per channel; at early layers a block is weighed in parts of this many floats.
WEIGH_FLOATS = 4_000_000


class PrecomputedLayer(keras.layers.Layer):
    """(1, h, w, C) activations -> (1, classes): the logits it holds, and on the way back the gradients it holds."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.logits: Any = None
        self.gradients: Any = None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.classes)

    def call(self, activations):
        @tf.custom_gradient
        def answer(_):
            # The score is one logit, and what comes back its weight.
            return self.logits, lambda upstream: tf.reduce_sum(upstream) * self.gradients

        return answer(activations)


class PrecomputedModel(keras.Model):
    """Stands in for the network in one call of a visualizer: (1, h, w, C) activations -> (1, classes) logits."""

    def __init__(self, classes: int) -> None:
        inputs = keras.Input((None, None, None))
        layer = PrecomputedLayer(classes)
        super().__init__(inputs, layer(inputs))
        self.layer = layer
        self.in_use = threading.Lock()

    @contextmanager
    def holding(self, logits, gradients=None) -> Iterator[None]:
        """Answer with these while the context lasts; one caller at a time."""
        with self.in_use:
            self.layer.logits, self.layer.gradients = logits, gradients
            try:
                yield
            finally:
                self.layer.logits = self.layer.gradients = None

    def predict(self, *_, **__):
        """Return the logits of the masked pictures, which Scorecam asks the network for."""
        return self.layer.logits.numpy()


# One for each number of classes: building one costs more than using it.
_precomputed_model = cache(PrecomputedModel)


def finish(raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a raw map (h, w) as (height, width) float32 in [0, 1]: expanded, then scaled by tf-keras-vis's own
    min-max. A map that is zero everywhere stays zero."""
    return np.asarray(normalize(expand(raw, size)[None])[0], np.float32)


# --- by the gradient -------------------------------------------------------------------------------------------------


def gradient_cam(
    method: Method, activations, logits, gradients, class_index: int, outputs: Outputs = CLASSES
) -> np.ndarray:
    """Return the raw map of a gradient method by its stock visualizer: (1, h, w, C) activations, (1, classes) logits
    and (1, h, w, C) gradients of the class's logit, all float32 tensors -> (h, w) float32 >= 0."""
    score = max(float(np.asarray(logits)[0, class_index]), outputs.lowest_score)
    logit = tf.constant([[min(score, LARGEST_SCORE)]])
    call = _traced(method) if method.traceable else partial(_call, method)
    cam = call(activations, logit, gradients)
    if not np.isfinite(cam).all():
        cam = call(activations, logit, gradients * OFF_THE_POLE)
    return np.asarray(cam, np.float32)[0]


def _call(method: Method, activations, logit, gradients):
    # One logit stands for all: to pick it out of a thousand, forward and back, takes a quarter of an eager call.
    model = _precomputed_model(1)
    with model.holding(logit, gradients):
        return resolve_name(method.visualizer)(model)(
            lambda output: output,
            activations,
            penultimate_layer=model.layers[0],
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )


@cache
def _traced(method: Method):
    return tf.function(partial(_call, method), autograph=False)


# --- by the score of masked pictures ---------------------------------------------------------------------------------


def channel_terms(method: Method, activations, logits, class_index: int, outputs: Outputs = CLASSES) -> np.ndarray:
    """Return the term of some channels in a Score-CAM by its stock visualizer, before ReLU: (1, h, w, n) activations
    and the (n, classes) logits of the pictures masked by them -> (h, w) float32. The weights are those of `outputs`:
    the visualizer lets a score make them of the softmax that it takes."""
    height, width, count = activations.shape[1:]
    part = max(1, int((WEIGH_FLOATS / (height * width)) ** 0.5))
    total = np.zeros((height, width), np.float32)
    for begin in range(0, count, part):
        some, their_logits = activations[..., begin : begin + part], logits[begin : begin + part]
        model = _precomputed_model(int(logits.shape[-1]))
        with model.holding(their_logits):
            cam = resolve_name(method.visualizer)(model)(
                _weight_score(outputs, their_logits, class_index),
                some,
                penultimate_layer=model.layers[0],
                seek_penultimate_conv_layer=False,
                activation_modifier=None,
                expand_cam=False,
                normalize_cam=False,
            )
        total += np.asarray(cam, np.float32)[0]
    return total


def _weight_score(outputs: Outputs, logits, class_index: int):
    """Return the score that gives Scorecam its weights: it calls one for each masked picture, in their order, with the
    (1, classes) softmax of its logits."""
    if outputs.channel_weights is None:
        return lambda output: output.numpy()[:, class_index]
    weights = iter(outputs.channel_weights(logits.numpy(), class_index))
    return lambda _: next(weights)[None]
