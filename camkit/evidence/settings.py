"""The settings of a measurement besides picture and classifier: `Settings`, hand-drawn boxes, and the layers, noise
and channels that a study compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..methods import DEFAULT_METHODS, check_methods
from ..picture import check_window
from .metrics import BASELINES

if TYPE_CHECKING:
    from ..classifier import Classifier

COHERENCY = {
    "all": "every method",
    "fast": "every method but full Score-CAM, whose cost it would double",
    "none": "no method",
}
TUNING = (5, 10, 20, 50)  # Faster Score-CAM's max_n for the claim on tuning; the second is the default
NOISE_SIGMAS = (5, 10, 20)  # grey levels


@dataclass(frozen=True)
class Settings:
    """The settings of a study besides pictures and classifier; `coherency` is a key of COHERENCY, `steps`,
    `insertion_baseline`, `deletion_baseline` and `seed` are those of `camkit.evidence.curves.measure_stream`, `window`
    is that of `camkit.open_picture`."""

    methods: tuple[str, ...] = DEFAULT_METHODS
    target_layer: str | None = None
    max_n: int | None = None  # as for `camkit.explain`
    steps: int = 28
    coherency: str = "all"
    insertion_baseline: str = "blur"
    deletion_baseline: str = "zero"
    seed: int = 0
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", check_methods(self.methods))
        object.__setattr__(self, "window", check_window(self.window))
        if self.coherency not in COHERENCY:
            raise InputError(f"Coherency is '{self.coherency}': it must be one of {', '.join(COHERENCY)}.")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(f"steps is {self.steps}: it must be a whole number of at least 1.")
        for baseline in (self.insertion_baseline, self.deletion_baseline):
            if baseline not in BASELINES:
                raise InputError(f"Baseline '{baseline}' is unknown: use one of {', '.join(BASELINES)}.")


@dataclass(frozen=True)
class Box:
    """A hand-drawn box round an object of a class: `box` is left, top, right, bottom as shares of width and height."""

    label: str
    class_index: int
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        if isinstance(self.class_index, bool) or not isinstance(self.class_index, int) or self.class_index < 0:
            raise InputError(
                f"The class index of '{self.label}' is {self.class_index}: it must be a whole number from 0."
            )
        left, top, right, bottom = self.box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError(
                f"The box of '{self.label}' is {list(self.box)}: it must be left < right, top < bottom, all in 0 to 1."
            )

    def region(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the box in a picture of this (H, W) as (H, W) bool, True inside."""
        left, top, right, bottom = self.box
        region = np.zeros(shape, bool)
        region[round(top * shape[0]) : round(bottom * shape[0]), round(left * shape[1]) : round(right * shape[1])] = (
            True
        )
        return region


def earlier_layers(classifier: Classifier) -> tuple[str, ...]:
    """Return the last offered layer at each of the two next finer resolutions before the default layer's."""
    last = {classifier.model.get_layer(name).output.shape[1:3]: name for name in classifier.target_layers}
    return tuple(reversed(list(last.values())[:-1]))[:2]
