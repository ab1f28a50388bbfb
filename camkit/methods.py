"""The METHODS registry: one entry a visualizer of tf-keras-vis, which is imported here and nowhere else.

Every map comes out of tf-keras-vis's own classes. What they would compute again (the passes through the network) they
are given: a `_Recorded` model stands in for the network and answers with the logits and gradients that one compiled
pass gave. Shapes: raw (h, w) float32 >= 0 at the target layer's resolution; map (224, 224) float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pkgutil import resolve_name

import numpy as np

from .models import expand

# Grad-CAM++ takes exp(score), infinite in float32 above 88.7. The factor is common to the whole map and falls out when
# the map is normalised, so a larger score is lowered to this first; `raw` is then smaller by exp(score - 60).
LARGEST_SCORE = 60.0
# Grad-CAM++ divides by 2 + gradient x sum of activations, and all of its map is NaN when that is exactly 0 somewhere;
# gradients larger by this factor give the limit.
NUDGE = 1.00001
# Stock Scorecam tiles its inputs once per channel; at early layers a block is weighed in parts of this many floats.
WEIGH_FLOATS = 4_000_000


@dataclass(frozen=True)
class Method:
    """One entry of METHODS. `visualizer` is where tf-keras-vis keeps the class; `channels(C, max_n)` says how many
    channels a Score-CAM run takes and is None for methods that read one gradient instead."""

    key: str
    name: str
    summary: str  # how it works, one line
    formula: str  # what is computed, in LaTeX
    differs: str  # from the paper, as tf-keras-vis computes it
    paper: str
    url: str
    visualizer: str
    channels: Callable[[int, int], int] | None = None
    traceable: bool = False  # the visualizer's code runs inside a tf.function; stock Gradcam's calls NumPy and does not

    @property
    def uses_gradient(self) -> bool:
        return self.channels is None


METHODS: dict[str, Method] = {
    method.key: method
    for method in (
        Method(
            "gradcam",
            "Grad-CAM",
            "Adds up the layer's channels, each weighted by its mean gradient.",
            r"\mathrm{ReLU}\Big(\sum_k \alpha_k A^k\Big),\quad \alpha_k = \frac{1}{hw}\sum_{i,j}\frac{\partial y^c}{\partial A^k_{ij}}",
            "Computed as in the paper.",
            "Selvaraju et al. 2017, Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
            "https://arxiv.org/abs/1610.02391",
            "tf_keras_vis.gradcam:Gradcam",
        ),
        Method(
            "gradcam_plus_plus",
            "Grad-CAM++",
            "Like Grad-CAM, but each position's positive gradient counts by its share.",
            r"\mathrm{ReLU}\Big(\sum_k w_k A^k\Big),\quad w_k = \sum_{i,j} \frac{\alpha^k_{ij}}{\sum_{a,b}\alpha^k_{ab}}"
            r"\,\mathrm{ReLU}\Big(e^{y^c}\,g^k_{ij}\Big),\quad "
            r"\alpha^k_{ij} = \frac{(g^k_{ij})^2}{2 (g^k_{ij})^2 + (g^k_{ij})^3 \sum_{a,b} A^k_{ab}},\quad "
            r"g^k_{ij} = \frac{\partial y^c}{\partial A^k_{ij}}",
            "tf-keras-vis divides by the sum of all alphas; the authors' code sums only those with a positive gradient. The "
            "paper does not divide. A score above 60 is lowered to 60 before the exponential, which would overflow.",
            "Chattopadhay et al. 2018, Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
            "https://arxiv.org/abs/1710.11063",
            "tf_keras_vis.gradcam_plus_plus:GradcamPlusPlus",
            traceable=True,
        ),
        Method(
            "faster_scorecam",
            "Faster Score-CAM",
            "Score-CAM on the few channels that vary most over the picture.",
            r"\mathrm{ReLU}\Big(\sum_{k \in K} p_c(x \circ H^k)\, A^k\Big),\quad "
            r"K = \text{the } N \text{ channels of largest standard deviation}",
            "Not from a paper: an idea by Tabayashi, published as code. Weights as in Score-CAM here.",
            "tabayashi0117, Score-CAM (code), section Faster-Score-CAM",
            "https://github.com/tabayashi0117/Score-CAM#faster-score-cam",
            "tf_keras_vis.scorecam:Scorecam",
            channels=lambda count, max_n: min(count, max_n),
        ),
        Method(
            "scorecam",
            "Score-CAM",
            "Shows the model the picture through each channel; the answer is its weight.",
            r"\mathrm{ReLU}\Big(\sum_k p_c(x \circ H^k)\, A^k\Big),\quad H^k = \mathrm{normalise}(\mathrm{expand}(A^k))",
            "The weight is the class probability of the masked picture; the paper takes the rise of the score over a "
            "baseline picture, then a softmax over channels.",
            "Wang et al. 2020, Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
            "https://arxiv.org/abs/1910.01279",
            "tf_keras_vis.scorecam:Scorecam",
            channels=lambda count, max_n: count,
        ),
    )
}


def check_methods(methods) -> tuple[str, ...]:
    """The method keys in the registry's order, each once; ValueError when there is none or one is unknown."""
    wanted = (methods,) if isinstance(methods, str) else tuple(methods or ())
    if not wanted:
        raise ValueError(f"No method is chosen: choose at least one of {', '.join(METHODS)}.")
    for key in wanted:
        if not isinstance(key, str) or key not in METHODS:
            raise ValueError(f"Method '{key}' is unknown: use one of {', '.join(METHODS)}.")
    return tuple(key for key in METHODS if key in wanted)


def gradient_cam(method: Method, activations, logits, gradients, class_index: int) -> np.ndarray:
    """The raw map of a gradient method by its stock visualizer: (1, h, w, C) activations, (1, classes) logits and
    (1, h, w, C) gradients of the class's logit -> (h, w) float32 >= 0."""
    import tensorflow as tf

    excess = max(0.0, float(logits[0, class_index]) - LARGEST_SCORE)
    run = _traced(method) if method.traceable else partial(_stock_gradient_cam, method)
    scalars = tf.constant(class_index), tf.constant(excess)
    cam = run(activations, logits, gradients, *scalars)
    if not np.isfinite(cam).all():
        cam = run(activations, logits, gradients * NUDGE, *scalars)
    return np.asarray(cam, np.float32)[0]


def _stock_gradient_cam(method: Method, activations, logits, gradients, class_index, excess):
    model = _recorded_model(tuple(activations.shape[1:]), int(logits.shape[-1]))
    with model.recording(logits, gradients):
        return resolve_name(method.visualizer)(model)(
            lambda output: output[:, class_index] - excess,
            activations,
            penultimate_layer=model.layers[0],
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )


@cache
def _traced(method: Method):
    import tensorflow as tf

    return tf.function(partial(_stock_gradient_cam, method), autograph=False)


def channel_terms(method: Method, activations, logits, class_index: int) -> np.ndarray:
    """The term of some channels in a Score-CAM by its stock visualizer, before ReLU: (1, h, w, n) activations and the
    (n, classes) logits of the pictures masked by them -> (h, w) float32."""
    height, width, count = activations.shape[1:]
    part = max(1, int((WEIGH_FLOATS / (height * width)) ** 0.5))
    return sum(
        _term(method, activations[..., i : i + part], logits[i : i + part], class_index) for i in range(0, count, part)
    )


def _term(method: Method, activations, logits, class_index: int) -> np.ndarray:
    model = _recorded_model(tuple(activations.shape[1:]), int(logits.shape[-1]))
    with model.recording(logits, None):
        cam = resolve_name(method.visualizer)(model)(
            lambda output: output.numpy()[:, class_index],
            activations,
            penultimate_layer=model.layers[0],
            seek_penultimate_conv_layer=False,
            activation_modifier=None,
            expand_cam=False,
            normalize_cam=False,
        )
    return np.asarray(cam, np.float32)[0]


def finish(raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) raw map -> (height, width) float32 in [0, 1]: expanded, then scaled by tf-keras-vis's own min-max. A map that
    is zero everywhere stays zero."""
    from tf_keras_vis.utils import normalize

    return np.asarray(normalize(expand(raw, size)[None])[0], np.float32)


@cache
def _recorded_model(shape: tuple[int, int, int], classes: int):
    """A Keras model from (1, h, w, C) activations to logits that plays back what it was given, gradient included."""
    return _recorded_class()(shape, classes)


@cache
def _recorded_class():
    import threading
    from contextlib import contextmanager

    import keras
    import tensorflow as tf

    class Playback(keras.layers.Layer):
        """(1, h, w, C) -> (1, classes): the recorded logits, and on the way back the recorded gradients."""

        def __init__(self, classes: int) -> None:
            super().__init__()
            self.classes = classes
            self.logits = self.gradients = None

        def compute_output_shape(self, input_shape):
            return (input_shape[0], self.classes)

        def call(self, activations):
            @tf.custom_gradient
            def play(_):
                # The score reads one logit, so what comes back is zero but for that one's weight.
                return self.logits, lambda upstream: tf.reduce_sum(upstream) * self.gradients

            return play(activations)

    class Recorded(keras.Model):
        """Stands in for the network in one call of a visualizer."""

        def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
            inputs = keras.Input(shape)
            playback = Playback(classes)
            super().__init__(inputs, playback(inputs))
            self.playback = playback
            self.turn = threading.Lock()

        @contextmanager
        def recording(self, logits, gradients):
            with self.turn:
                self.playback.logits, self.playback.gradients = logits, gradients
                try:
                    yield
                finally:
                    self.playback.logits = self.playback.gradients = None

        def predict(self, *_, **__):
            """What Scorecam asks the network for: the logits of the masked pictures."""
            return self.playback.logits.numpy()

    return Recorded
