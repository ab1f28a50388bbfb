"""The maps of one explanation, measured: METRICS of every map and of the controls, as a stream that can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..explanation import Explanation
from ..methods import METHODS
from .curves import measure_stream
from .metrics import CONTROLS, beats_controls, masked
from .observations import Measurement
from .settings import Settings

if TYPE_CHECKING:
    from ..classifier import Classifier

ON_THE_PAGE = Settings(coherency="fast")


def measure(
    classifier: Classifier,
    explanation: Explanation,
    settings: Settings = ON_THE_PAGE,
    controls: Iterable[str] | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[tuple[str, Measurement | None]]:
    """Yield (key, Measurement) of every finished map and of the controls; (key, None) wherever closing stops the work.
    Setting `cancel` ends it after the block of a Score-CAM under way.

    `settings.coherency` says for which methods the map of the masked picture is made: for a full Score-CAM it would
    double the cost. All is measured on what the picture fills of the model's input: the border of a padded one stays.
    """
    from ..scorecam import map_of_inputs

    placement, whole = explanation.placement, classifier.preprocess(explanation.image)[0]
    inputs, maps = placement.cut(whole), explanation.maps
    score = classifier.score_fn(explanation.class_index)
    question = explanation.question
    count = classifier.channels(question.target_layer)
    cam_fns = {}
    for key, cam_map in maps.items():
        fast = METHODS[key].is_fast(count, question.max_n)
        if settings.coherency == "all" or (settings.coherency == "fast" and fast):
            behind = placement.put(masked(inputs, cam_map), whole)[None]
            for seen in map_of_inputs(classifier, behind, key, question, cancel):
                yield key, None
            if cancel and cancel.is_set():
                return
            found = placement.cut(seen)
            cam_fns[key] = lambda _, unchanged=found: unchanged
    yield from measure_stream(
        (lambda pictures: score(placement.put(pictures, whole))) if classifier.outputs.are_probabilities else None,
        inputs,
        maps,
        cam_fns,
        explanation.probability,
        steps=settings.steps,
        insertion_baseline=settings.insertion_baseline,
        deletion_baseline=settings.deletion_baseline,
        batch_size=classifier.block_size,
        controls=controls,
        seed=settings.seed,
    )


def to_json(measurements: Mapping[str, Measurement]) -> dict:
    """Return by key the metrics, the comparison with the controls and the two curves, as /evaluate answers them."""
    controls = [each for key, each in measurements.items() if key in CONTROLS]
    answer = {}
    for key, each in measurements.items():
        is_control = key in CONTROLS
        curves: dict[str, Any] = {
            f"{name}_curve": {"fractions": curve.fractions.tolist(), "probabilities": curve.probabilities.tolist()}
            for name, curve in each.curves.items()
        }
        if each.curves:
            curves["beats_controls"] = None if is_control else beats_controls(each, controls)
        answer[key] = {
            "name": (CONTROLS if is_control else METHODS)[key].name,
            "control": is_control,
            **each.metrics,
            **curves,
        }
    return answer
