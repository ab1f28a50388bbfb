"""Score-CAM as a sum over channels, block by block: which channels, in which order, in which blocks, how far it is.

Before its ReLU a Score-CAM map is the sum of weight x activation over channels (Wang et al. 2020, equation 3), so a
prefix of the channels gives a valid map, and the prefix of `max_n` channels in order of falling standard deviation *is*
Faster Score-CAM. Refuses to know how a weight is made: `methods` passes that in, through tf-keras-vis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .models import Classifier, Meter, gpus


@dataclass(frozen=True)
class Progress:
    """The state after a block: `total` is the map before ReLU, (h, w) float32, summed over `done` channels of the `live`
    ones; `seconds_left` extrapolates the time per channel so far, waiting for the model included."""

    total: np.ndarray
    done: int
    live: int
    seconds_left: float
    meter: Meter


def ranked_channels(activations) -> np.ndarray:
    """(1, h, w, C) activations -> indices of the channels that are not zero everywhere, in order of falling standard
    deviation, which is how Faster Score-CAM chooses (tf.math.top_k, as tf-keras-vis does, so ties fall alike).

    A channel that is zero everywhere adds exactly nothing to the map and needs no pass.
    """
    import tensorflow as tf

    deviation = tf.math.reduce_std(activations, axis=(0, 1, 2))
    order = tf.math.top_k(deviation, deviation.shape[0]).indices.numpy()
    live = tf.reduce_any(activations != 0, axis=(0, 1, 2)).numpy()
    return order[live[order]]


def blocks(
    classifier: Classifier, inputs: np.ndarray, activations, target_layer: str, weigh: Callable,
    stops: list[int], meter: Meter,
) -> Iterator[Progress]:
    """Sums the channels' terms block by block, up to the last of `stops` (numbers of channels); a block never runs past
    a stop, so that the state there is exact. `weigh((1, h, w, n) activations, (n, classes) logits)` returns the block's
    term, (h, w). Closing the iterator stops the work; no lock is held between two blocks.
    """
    order = ranked_channels(activations)
    live = min(stops[-1], len(order))
    stops = sorted({min(stop, live) for stop in stops})
    begin, done, total = time.perf_counter(), 0, np.zeros(activations.shape[1:3], np.float32)
    if not live:
        yield Progress(total, 0, 0, 0.0, meter.copy())
    while done < live:
        end = min(done + classifier.block_size, next(stop for stop in stops if stop > done))
        term = _block(classifier, inputs, activations, order[done:end], target_layer, weigh, meter)
        if term is None:
            continue  # the block was too large for the GPU and has been halved
        total, done = total + term, end
        spent = time.perf_counter() - begin
        yield Progress(total, done, live, spent / done * (live - done), meter.copy())


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
    return weigh(chosen, logits)
