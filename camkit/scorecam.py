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
class ScorecamState:
    """The state after a block.

    total: (h, w) float32, the map before ReLU, summed over `done` of the run's `live` channels. seconds_left:
    extrapolated from the time per channel so far, waiting for the model included. meter: what this run has taken.
    ranks: (live,) int, the places of the live channels, from 1, in the order of all channels.
    """

    total: np.ndarray
    done: int
    live: int
    seconds_left: float
    meter: Meter
    ranks: np.ndarray

    def to_do(self, channels: int) -> int:
        """Return how many of the first `channels` by standard deviation are live, and so go into their map."""
        return int(np.searchsorted(self.ranks, channels, side="right"))


def ranked_channels(activations) -> tuple[np.ndarray, np.ndarray]:
    """Return, of (1, h, w, C) activations, the indices of the channels that are not zero everywhere, in order of
    falling standard deviation, as Faster Score-CAM chooses; and the place, from 1, of each in that order of all C.

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
) -> Iterator[ScorecamState]:
    """Yield the sum of the channels' terms as it grows, block by block, up to the last of `stops`.

    inputs: (1, height, width, c) float32 and activations: (1, h, w, C) float32, of one picture. stops: numbers of
    channels, those that are zero everywhere counted too; no block runs past one, so that the state there is exact.
    meter: counts the passes. cancel: when it is set, the block under way is the last, and in the last total. The
    network is free between two blocks. The terms are summed, and a state yielded, at every stop, at the end, and
    otherwise once in REFRESH_SECONDS.
    """
    order, ranks = ranked_channels(activations)
    stops = sorted({int(np.searchsorted(ranks, stop, side="right")) for stop in stops})
    live, outputs = stops[-1], classifier.outputs
    begin, done, total = time.perf_counter(), 0, np.zeros(activations.shape[1:3], np.float32)
    baseline = classifier.logits(np.zeros_like(inputs), meter) if outputs.over_baseline and live else 0.0
    state = ScorecamState(total, 0, live, 0.0, meter.copy(), ranks)
    if not live:
        yield state
    activations = tf.gather(activations, order[:live], axis=-1)
    maps = tf.transpose(activations[0], (2, 0, 1))
    logits: list = []
    refreshed = -REFRESH_SECONDS
    cancel = cancel or threading.Event()
    ended = cancel.is_set()
    while done < live and not ended:
        end = min(done + classifier.block_size, next(stop for stop in stops if stop > done))
        logits.append(classifier.masked_logits(inputs, maps[done:end], question.target_layer, meter))
        done, now = end, time.perf_counter()
        ended = cancel.is_set()
        if ended or done in stops or now - begin - refreshed >= REFRESH_SECONDS:
            chosen = activations[..., state.done : done]
            scores = tf.concat(logits, axis=0) - baseline
            total = total + channel_terms(method, chosen, scores, question.class_index, outputs)
            logits.clear()
            spent = refreshed = time.perf_counter() - begin
            meter.add(begin + spent - now, 0, 0)
            state = ScorecamState(total, done, live, spent / done * (live - done), meter.copy(), ranks)
            yield state
            ended = cancel.is_set()


def scorecam_cams(
    classifier: Classifier,
    methods: list[Method],
    inputs: np.ndarray,
    activations,
    question: Question,
    meter: Meter,
    cancel: threading.Event | None = None,
) -> Iterator[dict[str, Cam]]:
    """Yield, after each state of one run, the maps of all Score-CAM methods that have changed, by method key; arguments
    are those of `scorecam_blocks`."""
    wanted = {method.key: method.takes(activations.shape[-1], question.max_n) for method in methods}
    blocks = scorecam_blocks(
        classifier, methods[-1], inputs, activations, question, sorted(wanted.values()), meter, cancel
    )
    for state in blocks:
        cams = {key: _cam_at(state, key, channels, classifier.input_size) for key, channels in wanted.items()}
        wanted = {key: channels for key, channels in wanted.items() if not cams[key].complete}
        yield cams


def _cam_at(state: ScorecamState, method: str, channels: int, size: tuple[int, int]) -> Cam:
    """Return the map of a method that takes the first `channels` of a layer."""
    raw, total = np.maximum(state.total, 0), state.to_do(channels)
    return Cam(
        method=method,
        raw=raw,
        map=finish(raw, size),
        seconds=state.meter.seconds,
        forward_passes=state.meter.forward_passes,
        backward_passes=state.meter.backward_passes,
        channels=state.done,
        channels_total=total,
        complete=state.done >= total,
        seconds_left=state.seconds_left * (total - state.done) / max(1, state.live - state.done),
    )


def map_of_inputs(
    classifier: Classifier,
    inputs: np.ndarray,
    method: str,
    question: Question,
    cancel: threading.Event | None = None,
) -> Iterator[np.ndarray]:
    """Yield maps that get better, block by block, of preprocessed inputs (1, height, width, c) that no picture gave,
    such as a masked one: (height, width) float32 in [0, 1], the last one final unless `cancel` was set."""
    entry = METHODS[method]
    if entry.uses_gradient:
        activations, logits, gradients = classifier.forward_with_gradient(
            inputs, question.target_layer, question.class_index
        )
        raw = gradient_cam(entry, activations, logits, gradients, question.class_index, classifier.outputs)
        yield finish(raw, classifier.input_size)
        return
    activations, _ = classifier.forward(inputs, question.target_layer)
    for cams in scorecam_cams(classifier, [entry], inputs, activations, question, Meter(), cancel):
        yield cams[method].map
