"""Score-CAM as a sum over channels, block by block.

Before its ReLU a Score-CAM map is the sum of weight x activation over channels (Wang et al. 2020, equation 3), so a
prefix of the channels gives a valid map, and the prefix of `max_n` channels in order of falling standard deviation *is*
Faster Score-CAM. `map_of_inputs` makes one map by any method. Shapes: raw (h, w) float32 >= 0 at the target layer's
resolution; map (height, width) float32 in [0, 1].
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from .classifier import Classifier, Meter
from .explanation import Cam, Question
from .methods import METHODS, Method
from .stock import channel_terms, finish, gradient_cam

REFRESH_SECONDS = 0.3  # between two states of a Score-CAM's map: making one costs about a seventh of a block's passes


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
    deviation = tf.math.reduce_std(activations, axis=(1, 2))[0]
    order = tf.math.top_k(deviation, deviation.shape[0]).indices.numpy()
    live = tf.reduce_any(activations != 0, axis=(0, 1, 2)).numpy()[order]
    return order[live], np.flatnonzero(live) + 1


def scorecam_blocks(
    classifier: Classifier,
    method: Method,
    inputs: np.ndarray,
    activations,
    question: Question,
    stops: list[int],
    meter: Meter,
    cancel: threading.Event | None = None,
) -> Iterator[Progress]:
    """Sums the channels' terms block by block, up to the last of `stops` (numbers of channels, the dead counted too); a
    block never runs past a stop, so that the state there is exact. `inputs` (1, height, width, 3) and `activations`
    (1, h, w, C) are of one picture. Closing the iterator stops the work; the network is free between two blocks. When
    `cancel` is set the block under way is the last; its channels are in the last total.

    The terms are summed at every stop and otherwise once in REFRESH_SECONDS; after a block in between the last Progress
    comes again, the same object, so that the work can be stopped there too.
    """
    order, ranks = ranked_channels(activations)
    stops = sorted({int(np.searchsorted(ranks, stop, side="right")) for stop in stops})
    live = stops[-1]
    begin, done, total = time.perf_counter(), 0, np.zeros(activations.shape[1:3], np.float32)
    progress = Progress(total, 0, live, 0.0, meter.copy(), ranks)
    if not live:
        yield progress
    activations = tf.gather(activations, order[:live], axis=-1)
    maps = tf.transpose(activations[0], (2, 0, 1))
    logits: list = []
    refreshed = -REFRESH_SECONDS
    ended = cancel is not None and cancel.is_set()
    while done < live and not ended:
        end = min(done + classifier.block_size, next(stop for stop in stops if stop > done))
        logits.append(classifier.masked_logits(inputs, maps[done:end], question.target_layer, meter))
        done, now = end, time.perf_counter()
        ended = cancel is not None and cancel.is_set()
        if ended or done in stops or now - begin - refreshed >= REFRESH_SECONDS:
            chosen = activations[..., progress.done : done]
            total = total + channel_terms(method, chosen, tf.concat(logits, axis=0), question.class_index)
            logits.clear()
            spent = refreshed = time.perf_counter() - begin
            meter.add(begin + spent - now, 0, 0)
            progress = Progress(total, done, live, spent / done * (live - done), meter.copy(), ranks)
        yield progress
        ended = ended or (cancel is not None and cancel.is_set() and not logits)


def scorecam_cams(
    classifier: Classifier,
    methods: list[Method],
    inputs: np.ndarray,
    activations,
    question: Question,
    meter: Meter,
    cancel: threading.Event | None = None,
) -> Iterator[dict[str, Cam]]:
    """After each block of one run the maps of all Score-CAM methods that the block served, by method key; the same dict
    again where no map has changed."""
    wanted = {method.key: method.takes(activations.shape[-1], question.max_n) for method in methods}
    blocks = scorecam_blocks(
        classifier, methods[-1], inputs, activations, question, sorted(wanted.values()), meter, cancel
    )
    last, cams = None, {}
    for progress in blocks:
        if progress is not last:
            last, cams = progress, {key: _cam_at(progress, key, wanted[key], classifier.input_size) for key in wanted}
            wanted = {key: channels for key, channels in wanted.items() if not cams[key].complete}
        yield cams


def _cam_at(progress: Progress, method: str, channels: int, size: tuple[int, int]) -> Cam:
    """The state of a method that takes the first `channels` of a layer."""
    raw, total = np.maximum(progress.total, 0), progress.to_do(channels)
    return Cam(
        method=method,
        raw=raw,
        map=finish(raw, size),
        seconds=progress.meter.seconds,
        forward_passes=progress.meter.forward_passes,
        backward_passes=progress.meter.backward_passes,
        channels=progress.done,
        channels_total=total,
        complete=progress.done >= total,
        seconds_left=progress.seconds_left * (total - progress.done) / max(1, progress.live - progress.done),
    )


def map_of_inputs(
    classifier: Classifier,
    inputs: np.ndarray,
    method: str,
    question: Question,
    cancel: threading.Event | None = None,
) -> Iterator[np.ndarray]:
    """Maps that get better, block by block, of preprocessed inputs (1, height, width, c) that no picture gave, such as
    a masked one: (height, width) float32 in [0, 1], the last one final unless `cancel` was set."""
    entry = METHODS[method]
    if entry.uses_gradient:
        activations, logits, gradients = classifier.forward_with_gradient(
            inputs, question.target_layer, question.class_index
        )
        raw = gradient_cam(entry, activations, logits, gradients, question.class_index)
        yield finish(raw, classifier.input_size)
        return
    activations, _ = classifier.forward(inputs, question.target_layer)
    for cams in scorecam_cams(classifier, [entry], inputs, activations, question, Meter(), cancel):
        yield cams[method].map
