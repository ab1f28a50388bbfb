"""One raw map by tf-keras-vis, and Score-CAM as a sum over channels, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pkgutil import resolve_name

import numpy as np

from .classifier import Classifier, Meter, gpus
from .maps import expand
from .methods import Method

# Grad-CAM++ takes exp(score), infinite in float32 above 88.7. The factor is common to the whole map and falls out when
# the map is normalised, so a larger score is lowered to this first; `raw` is then smaller by exp(score - 60).
LARGEST_SCORE = 60.0
# Grad-CAM++ divides by 2 + gradient x sum of activations, and all of its map is NaN when that is exactly 0 somewhere;
# gradients larger by this factor give the limit.
NUDGE = 1.00001
# Stock Scorecam tiles its inputs once per channel; at early layers a block is weighed in parts of this many floats.
WEIGH_FLOATS = 4_000_000


@dataclass(frozen=True)
class Progress:
    """The state after a block: `total` is the map before ReLU, (h, w) float32, summed over `done` channels of the
    `live` ones of this run; `seconds_left` extrapolates the time per channel so far, waiting for the model included.
    `ranks` are the live channels' places, from 1, in the order of all channels."""

    total: np.ndarray
    done: int
    live: int
    seconds_left: float
    meter: Meter
    ranks: np.ndarray

    def to_do(self, channels: int) -> int:
        """How many of the first `channels` by standard deviation are live, and so go into their map."""
        return int(np.searchsorted(self.ranks, channels, side="right"))


def ranked_channels(activations) -> tuple[np.ndarray, np.ndarray]:
    """(1, h, w, C) activations -> indices of the channels that are not zero everywhere, in order of falling standard
    deviation, which is how Faster Score-CAM chooses, and the place, from 1, of each in that order of all C channels.

    A channel that is zero everywhere adds exactly nothing to the map and needs no pass. It keeps its place: a channel
    that is constant but not zero ties with it, and is chosen or not as tf-keras-vis's own tf.math.top_k decides.
    """
    import tensorflow as tf

    deviation = tf.math.reduce_std(activations, axis=(1, 2))[0]
    order = tf.math.top_k(deviation, deviation.shape[0]).indices.numpy()
    live = tf.reduce_any(activations != 0, axis=(0, 1, 2)).numpy()[order]
    return order[live], np.flatnonzero(live) + 1


def blocks(
    classifier: Classifier,
    inputs: np.ndarray,
    activations,
    target_layer: str,
    weigh: Callable,
    stops: list[int],
    meter: Meter,
) -> Iterator[Progress]:
    """Sums the channels' terms block by block, up to the last of `stops` (numbers of channels, the dead counted too); a
    block never runs past a stop, so that the state there is exact. `weigh((1, h, w, n) activations, (n, classes)
    logits)` returns the block's term, (h, w). Closing the iterator stops the work; no lock is held between two blocks.
    """
    order, ranks = ranked_channels(activations)
    stops = sorted({int(np.searchsorted(ranks, stop, side="right")) for stop in stops})
    live = stops[-1]
    begin, done, total = time.perf_counter(), 0, np.zeros(activations.shape[1:3], np.float32)
    if not live:
        yield Progress(total, 0, 0, 0.0, meter.copy(), ranks)
    while done < live:
        end = min(done + classifier.block_size, next(stop for stop in stops if stop > done))
        term = _block(classifier, inputs, activations, order[done:end], target_layer, weigh, meter)
        if term is None:
            continue  # the block was too large for the GPU and has been halved
        total, done = total + term, end
        spent = time.perf_counter() - begin
        yield Progress(total, done, live, spent / done * (live - done), meter.copy(), ranks)


def _block(classifier, inputs, activations, channels, target_layer, weigh, meter) -> np.ndarray | None:
    """One block's term, or None when it did not fit into the GPU's memory."""
    import tensorflow as tf

    chosen = tf.gather(activations, channels, axis=-1)
    try:
        logits = classifier.masked_logits(inputs, tf.transpose(chosen[0], (2, 0, 1)), target_layer, meter)
    except tf.errors.ResourceExhaustedError:
        if not gpus() or len(channels) == 1:
            raise
        classifier.halve_block()
        return None
    begin = time.perf_counter()
    term = weigh(chosen, logits)
    meter.add(time.perf_counter() - begin, 0, 0)
    return term


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
