"""One run: picture -> prediction -> class activation maps, as a stream of snapshots that get better.

Owns the order of the work: one pass for the prediction and the gradient methods, then Score-CAM's channels block by
block, Faster Score-CAM's map out of the same run; and the contrast of two classes. Draws nothing. TensorFlow is
imported when there is something to explain, not before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .explanation import Cam, Explanation, Question
from .methods import DEFAULT_METHODS, METHODS, check_methods
from .passes.arithmetic import expand
from .picture import to_rgb

if TYPE_CHECKING:
    from .classifier import Classifier


def explain(
    classifier: Classifier,
    image,
    methods: Iterable[str] = DEFAULT_METHODS,
    class_index: int | None = None,
    target_layer: str | None = None,
    max_n: int | None = None,
) -> Explanation:
    """Explain one picture and return when every map is final. Arguments and errors are those of `explain_stream`.

    >>> import camkit
    >>> classifier, image = camkit.load("efficientnet_lite0"), camkit.open_picture("examples/chelsea.jpg")
    >>> explanation = camkit.explain(classifier, image, ["gradcam"])
    >>> explanation.class_name, explanation.cams["gradcam"].map.shape
    ('Egyptian cat', (224, 224))
    """
    for snapshot in explain_stream(classifier, image, methods, class_index, target_layer, max_n):
        pass
    return snapshot


def explain_stream(
    classifier: Classifier,
    image,
    methods: Iterable[str] = DEFAULT_METHODS,
    class_index: int | None = None,
    target_layer: str | None = None,
    max_n: int | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[Explanation]:
    """Yield explanations that get better: the prediction first, then one more after each gradient method, and several
    a second while a Score-CAM goes on.

    Closing the iterator stops the work. Setting `cancel`, from any thread, ends the stream after the pass or block
    under way, whose channels are in the last snapshot's partial map. What was yielded stays valid.

    image: a Pillow image or an (H, W, 3) uint8 RGB array, which is never modified. methods: keys of METHODS.
    class_index: None explains the top class. target_layer: None takes the model's default. max_n: the number of
    channels that Faster Score-CAM takes, from 1 to the layer's; None takes 10, or all of a layer that has fewer.

    Raises InputError, at the call, with one sentence that says what is wrong and what is allowed.

    >>> import camkit
    >>> classifier, image = camkit.load("efficientnet_lite0"), camkit.open_picture("examples/chelsea.jpg")
    >>> for snapshot in camkit.explain_stream(classifier, image, ["gradcam", "faster_scorecam"], max_n=2):
    ...     print([(key, cam.channels, cam.complete) for key, cam in snapshot.cams.items()])
    []
    [('gradcam', 1280, True)]
    [('gradcam', 1280, True), ('faster_scorecam', 2, True)]
    """
    question = classifier.question(class_index, target_layer, max_n)
    return _stream(classifier, to_rgb(image), check_methods(methods), question, cancel or threading.Event())


def _stream(
    classifier: Classifier, image: np.ndarray, keys: tuple[str, ...], question: Question, cancel: threading.Event
) -> Iterator[Explanation]:
    from .classifier import Meter
    from .scorecam import scorecam_cams
    from .stock import finish, gradient_cam

    begin, shared = time.perf_counter(), Meter()
    inputs, layer = classifier.preprocess(image), question.target_layer
    gradient_methods = [METHODS[key] for key in keys if METHODS[key].uses_gradient]
    scorecams = [METHODS[key] for key in keys if not METHODS[key].uses_gradient]
    if gradient_methods:
        activations, logits, gradients = classifier.forward_with_gradient(inputs, layer, question.class_index, shared)
    else:
        activations, logits = classifier.forward(inputs, layer, shared)
    outputs = classifier.outputs
    answers = outputs.answers(logits.numpy())[0]
    predictions = classifier.labels.top_predictions(answers, quantity=outputs.quantity)
    index = predictions[0].class_index if question.class_index is None else question.class_index
    question = replace(question, class_index=index)
    answer: dict[str, Any] = {outputs.quantity: float(answers[index])}
    snapshot = Explanation(
        image=image,
        model=classifier.name,
        methods=keys,
        **vars(question),
        class_name=classifier.labels.class_at(index).name,
        predictions=predictions,
        cams={},
        seconds=time.perf_counter() - begin,
        outputs=outputs.key,
        **answer,
        placement=classifier.placement(image),
    )
    yield snapshot

    def with_cams(cams: dict[str, Cam]) -> Explanation:
        sized = {
            key: replace(cam, image_size=image.shape[1::-1], placement=snapshot.placement) for key, cam in cams.items()
        }
        return replace(snapshot, cams=snapshot.cams | sized, seconds=time.perf_counter() - begin)

    for method in gradient_methods:
        if cancel.is_set():
            return
        started = time.perf_counter()
        raw = gradient_cam(method, activations, logits, gradients, index, outputs)
        mapped = finish(raw, classifier.input_size)
        seconds = shared.seconds + time.perf_counter() - started
        count = activations.shape[-1]
        cam = Cam(method.key, raw, mapped, seconds, shared.forward_passes, shared.backward_passes, count, count, True)
        snapshot = with_cams({method.key: cam})
        yield snapshot
    if scorecams and not cancel.is_set():
        # They pay for the one forward pass that a Score-CAM by itself needs, not for a gradient's way back.
        shared.backward_passes = 0
        for cams in scorecam_cams(classifier, scorecams, inputs, activations, question, shared, cancel):
            snapshot = with_cams(cams)
            yield snapshot


@dataclass(frozen=True)
class Contrast:
    """Two maps on one scale and their difference: `first` and `second` (height, width) float32 in [0, 1], divided by
    the larger one's maximum; `difference` = first - second, in [-1, 1]."""

    first: np.ndarray
    second: np.ndarray
    difference: np.ndarray


def contrast(first: Cam, second: Cam) -> Contrast:
    """Return the comparison of one method's raw maps for two classes of one picture."""
    size = first.map.shape
    maps = [expand(cam.raw, size) for cam in (first, second)]
    scale = max(float(maps[0].max()), float(maps[1].max())) or 1.0
    one, other = (np.clip(each / scale, 0, 1) for each in maps)
    return Contrast(one, other, one - other)
