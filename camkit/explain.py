"""One run: picture -> prediction -> class activation maps, as a stream of snapshots that get better.

Owns the dataclasses `Explanation` and `Cam` and the order of the work: one pass for the prediction and the gradient
methods, then Score-CAM's channels block by block, Faster Score-CAM's map out of the same run. Draws nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .cams import Progress, blocks, channel_terms, finish, gradient_cam
from .classifier import Classifier, Meter
from .errors import InputError
from .explanation import Cam, Explanation, Prediction
from .labels import ImageNetClass, class_at
from .maps import expand, softmax
from .methods import METHODS, check_methods
from .picture import to_rgb


def explain(
    classifier: Classifier,
    image,
    methods: Iterable[str] = tuple(METHODS),
    class_index: int | None = None,
    target_layer: str | None = None,
    max_n: int = 10,
) -> Explanation:
    """Explains one picture and returns when every map is final; arguments and errors as for `explain_stream`."""
    for snapshot in explain_stream(classifier, image, methods, class_index, target_layer, max_n):
        pass
    return snapshot


def explain_stream(
    classifier: Classifier,
    image,
    methods: Iterable[str] = tuple(METHODS),
    class_index: int | None = None,
    target_layer: str | None = None,
    max_n: int = 10,
) -> Iterator[Explanation]:
    """Explanations that get better: the prediction first, then one more after each method and each block of Score-CAM's
    channels. Closing the iterator stops the work; what was yielded stays valid.

    `image` is a Pillow image or an (H, W, 3) uint8 RGB array and is never modified; `class_index` None explains the top
    class; `target_layer` None the model's default; `max_n` is Faster Score-CAM's number of channels. Arguments are
    checked before anything is computed: InputError with one sentence that says what is wrong and what is allowed.
    """
    layer = classifier.check_layer(target_layer)
    channels = classifier.channels(layer)
    if isinstance(max_n, bool) or not isinstance(max_n, (int, np.integer)) or not 1 <= max_n <= channels:
        raise InputError(f"max_n is {max_n}: it must be a whole number from 1 to {channels}, the channels of {layer}.")
    index = (
        None
        if class_index is None
        else class_at(int(class_index) if isinstance(class_index, np.integer) else class_index).index
    )
    keys = check_methods(methods)
    return _stream(classifier, to_rgb(image), keys, index, layer, int(max_n))


def map_of_inputs(
    classifier: Classifier, inputs: np.ndarray, method: str, class_index: int, target_layer: str, max_n: int = 10
) -> np.ndarray:
    """(224, 224) map in [0, 1] of preprocessed inputs (1, 224, 224, 3) that no picture gave, such as a masked one."""
    entry, meter = METHODS[method], Meter()
    if entry.uses_gradient:
        activations, logits, gradients = classifier.forward_with_gradient(inputs, target_layer, class_index, meter)
        return finish(gradient_cam(entry, activations, logits, gradients, class_index), classifier.input_size)
    activations, _ = classifier.forward(inputs, target_layer, meter)
    for cams in _channel_cams(classifier, [entry], inputs, activations, class_index, target_layer, max_n, meter):
        cam = cams[method]
    return cam.map


@dataclass(frozen=True)
class Contrast:
    """Two maps on one scale and their difference: `first` and `second` (224, 224) float32 in [0, 1], divided by the larger
    one's maximum; `difference` = first - second, in [-1, 1]."""

    first: np.ndarray
    second: np.ndarray
    difference: np.ndarray


def contrast(first: Cam, second: Cam) -> Contrast:
    """Why the one class and not the other: compares the raw maps of one method for two classes of one picture."""
    size = first.map.shape
    maps = [expand(cam.raw, size) for cam in (first, second)]
    scale = max(float(maps[0].max()), float(maps[1].max())) or 1.0
    one, other = (np.clip(each / scale, 0, 1) for each in maps)
    return Contrast(one, other, one - other)


def top_predictions(probabilities: np.ndarray, count: int = 10) -> tuple[Prediction, ...]:
    """(1000,) probabilities -> the `count` most probable classes, best first."""
    best = np.argsort(-probabilities, kind="stable")[:count]
    return tuple(_prediction(class_at(int(index)), probabilities) for index in best)


def _prediction(entry: ImageNetClass, probabilities: np.ndarray) -> Prediction:
    return Prediction(entry.index, entry.wordnet_id, entry.name, float(probabilities[entry.index]))


def _stream(classifier, image, keys, class_index, layer, max_n) -> Iterator[Explanation]:
    begin, shared = time.perf_counter(), Meter()
    inputs = classifier.preprocess(image)
    gradient_methods = [METHODS[key] for key in keys if METHODS[key].uses_gradient]
    if gradient_methods:
        activations, logits, gradients = classifier.forward_with_gradient(inputs, layer, class_index, shared)
    else:
        activations, logits = classifier.forward(inputs, layer, shared)
    probabilities = softmax(logits.numpy())[0]
    predictions = top_predictions(probabilities)
    index = predictions[0].class_index if class_index is None else class_index
    snapshot = Explanation(
        image,
        classifier.name,
        layer,
        keys,
        max_n,
        index,
        class_at(index).name,
        float(probabilities[index]),
        predictions,
        {},
        time.perf_counter() - begin,
    )
    yield snapshot
    for method in gradient_methods:
        cam = _gradient_cam(classifier, method, activations, logits, gradients, index, shared)
        snapshot = _with(snapshot, {method.key: cam}, begin)
        yield snapshot
    channel_methods = [METHODS[key] for key in keys if not METHODS[key].uses_gradient]
    if channel_methods:
        # Its own methods pay for the one forward pass that a Score-CAM by itself needs, not for a gradient's way back.
        shared.backward_passes = 0
        for cams in _channel_cams(classifier, channel_methods, inputs, activations, index, layer, max_n, shared):
            snapshot = _with(snapshot, cams, begin)
            yield snapshot


def _with(snapshot: Explanation, cams: dict[str, Cam], begin: float) -> Explanation:
    return replace(snapshot, cams=snapshot.cams | cams, seconds=time.perf_counter() - begin)


def _gradient_cam(classifier, method, activations, logits, gradients, index, shared: Meter) -> Cam:
    begin = time.perf_counter()
    raw = gradient_cam(method, activations, logits, gradients, index)
    mapped = finish(raw, classifier.input_size)
    count = activations.shape[-1]
    return Cam(
        method.key,
        raw,
        mapped,
        shared.seconds + time.perf_counter() - begin,
        shared.forward_passes,
        shared.backward_passes,
        count,
        count,
        True,
    )


def _channel_cams(
    classifier, methods, inputs, activations, index, layer, max_n, shared: Meter
) -> Iterator[dict[str, Cam]]:
    """After each block the maps of all Score-CAM methods that the block served."""
    wanted = {method.key: method.channels(activations.shape[-1], max_n) for method in methods}
    weigh = partial(channel_terms, methods[-1], class_index=index)
    finished: set[str] = set()
    for progress in blocks(classifier, inputs, activations, layer, weigh, sorted(wanted.values()), shared):
        cams = {}
        for key, channels in wanted.items():
            if key in finished:
                continue
            cams[key] = _channel_cam(classifier, key, progress, progress.to_do(channels))
            if cams[key].complete:
                finished.add(key)
        yield cams


def _channel_cam(classifier, key: str, progress: Progress, total: int) -> Cam:
    raw = np.maximum(progress.total, 0)
    left = progress.seconds_left * (total - progress.done) / max(1, progress.live - progress.done)
    meter = progress.meter
    return Cam(
        key,
        raw,
        finish(raw, classifier.input_size),
        meter.seconds,
        meter.forward_passes,
        meter.backward_passes,
        progress.done,
        total,
        progress.done >= total,
        left,
    )
