"""A question, the explanation that answers it, and how it reads as JSON: `Question`, `Prediction`, `Cam`,
`Explanation`. Computes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import numpy as np

from .passes.outputs import OUTPUTS
from .passes.placement import WHOLE, Placement

DEFAULT_MAX_N = 10  # channels of Faster Score-CAM; a layer that has fewer gives all


@dataclass(frozen=True)
class Question:
    """A question about a picture: the class to explain (None for the top one, until a pass has found it), the layer
    whose activations are mapped, and the number of channels that Faster Score-CAM takes."""

    class_index: int
    target_layer: str
    max_n: int


@dataclass(frozen=True)
class Prediction:
    """One of the classes of a picture, with its probability in [0, 1]; for a model that gives a value, that value."""

    class_index: int
    wordnet_id: str
    name: str
    probability: float | None = None
    value: float | None = None

    @property
    def answer(self) -> float:
        return _answer(self)

    def to_json(self) -> dict:
        """Return what is known, as JSON can hold it: the probability or the value."""
        return _known(self)


@dataclass(frozen=True)
class Cam:
    """One method's map and what it cost.

    raw: (h, w) float32 >= 0 at the target layer's resolution, not normalised.
    map: (height, width) of the model's input, float32 in [0, 1], as the stock tf-keras-vis visualizer returns it.
    seconds, forward_passes, backward_passes: what this method takes by itself; a pass that several methods share is
    measured once and counted for each.
    channels of channels_total have gone into the map; it is final when `complete`, and a valid map of those channels
    before. seconds_left: until then, extrapolated. image_size: (width, height) of the picture in pixels.
    placement: which rectangle of the picture is which rectangle of the map.
    """

    method: str
    raw: np.ndarray
    map: np.ndarray
    seconds: float
    forward_passes: int
    backward_passes: int
    channels: int
    channels_total: int
    complete: bool
    seconds_left: float = 0.0
    image_size: tuple[int, int] | None = None
    placement: Placement = WHOLE

    @property
    def all_zero(self) -> bool:
        """True when nothing in the picture speaks for the class according to this method."""
        return not self.raw.any()

    def to_json(self) -> dict:
        """Return everything but the two maps, as JSON can hold it."""
        values = vars(self) | {"raw": None, "map": None}
        del values["placement"]  # the explanation's own
        return values | {"all_zero": self.all_zero, "raw_shape": list(self.raw.shape)}


@dataclass(frozen=True, repr=False)
class Explanation:
    """All that is known after a step. A notebook shows it as its figure.

    image: (H, W, 3) uint8 RGB as given. predictions: the ten top classes, best first. cams: by method key the maps so
    far. seconds: wall time since the start. outputs: a key of OUTPUTS. probability: of the class explained, None where
    the outputs are a `value`. placement: which rectangle of the image is which of the model's input, so of the
    maps.
    """

    image: np.ndarray
    model: str
    target_layer: str
    methods: tuple[str, ...]
    max_n: int
    class_index: int
    class_name: str
    predictions: tuple[Prediction, ...]
    cams: dict[str, Cam]
    seconds: float
    outputs: str = "classes"
    probability: float | None = None
    value: float | None = None
    placement: Placement = WHOLE

    @property
    def answer(self) -> float:
        """The probability of the class explained, or the value."""
        return _answer(self)

    @property
    def answer_in_words(self) -> str:
        """Return the answer with its name, such as "probability 12.5%"."""
        return OUTPUTS[self.outputs].said(self.answer)

    @property
    def question(self) -> Question:
        """The question, with the class that was explained."""
        return Question(self.class_index, self.target_layer, self.max_n)

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """Return by method key what the picture fills of each finished map, (h, w) float32 in [0, 1]."""
        return {key: self.placement.cut(cam.map) for key, cam in self.cams.items() if cam.complete}

    @property
    def complete(self) -> bool:
        """True when every method asked for has its final map."""
        return all(key in self.cams and self.cams[key].complete for key in self.methods)

    @property
    def seconds_left(self) -> float | None:
        """Until the last map under way is complete; None while none is."""
        return max((cam.seconds_left for cam in self.cams.values() if not cam.complete), default=None)

    def __repr__(self) -> str:
        maps = [
            key if cam.complete else f"{key} ({cam.channels} of {cam.channels_total} channels)"
            for key, cam in self.cams.items()
        ]
        said = f"{self.class_name} ({self.class_index}), {OUTPUTS[self.outputs].quantity} {self.answer:.3g}"
        return f"<Explanation of {said}, by {self.model} at {self.target_layer}: {', '.join(maps) or 'no map yet'}>"

    def _repr_png_(self) -> bytes:
        """Return the picture, the maps, the class and its probability as the PNG file that a notebook shows."""
        # By name, since drawing is above this file, which it imports; and late, since few explanations are drawn.
        return import_module("camkit.export.figure").figure_png(self)

    def to_json(self) -> dict:
        """Return everything but the picture and the maps, as JSON can hold it."""
        height, width = self.image.shape[:2]
        return _known(self) | {
            "image": None,
            "image_size": [width, height],
            "placement": self.placement.to_json(),
            "complete": self.complete,
            "predictions": [prediction.to_json() for prediction in self.predictions],
            "cams": {key: cam.to_json() for key, cam in self.cams.items()},
        }


def _answer(of: Prediction | Explanation) -> float:
    answer = of.value if of.probability is None else of.probability
    return float("nan") if answer is None else answer


def _known(of: Prediction | Explanation) -> dict:
    """Return the fields, without the one of probability and value that the outputs are not."""
    return {name: each for name, each in vars(of).items() if name not in ("probability", "value") or each is not None}
