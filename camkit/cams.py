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
