"""The observations of one map and what was measured: `Curve`, `Maps`, `Observations`, `Measurement`. Computes nothing.

Shapes: `cam_map` (H, W) float32 in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Curve:
    """Probability of one class while pixels change, most important first.

    fractions: (steps + 1,) float64 in [0, 1], share of the pixels changed so far, from 0 to 1, never decreasing.
    probabilities: (steps + 1,) float64 in [0, 1].
    """

    fractions: np.ndarray
    probabilities: np.ndarray

    @property
    def auc(self) -> float:
        """Return the area under the curve, trapezoid rule over the fraction, in [0, 1] (RISE, Petsiuk et al. 2018)."""
        return float(np.trapezoid(self.probabilities, self.fractions))


@dataclass(frozen=True, eq=False)
class Maps:
    """The observations of a map without the classifier's answer.

    cam_map: (H, W) float32 in [0, 1].
    masked_cam: (H, W) float32 in [0, 1], the method's map of the masked picture, or None if it was not asked for.
    """

    cam_map: np.ndarray
    masked_cam: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Observations(Maps):
    """The raw observations of one map, from which every metric is computed; a new metric needs no other source.

    probability, masked_probability: Y and O, floats in [0, 1], of the same class.
    imputed: (n,) float64 in [0, 1], probabilities once each share of `camkit.evidence.road.REMOVED` of the pixels, the
    most important ones, is imputed from the others.
    """

    probability: float
    masked_probability: float
    insertion: Curve
    deletion: Curve
    imputed: np.ndarray


@dataclass(frozen=True, eq=False)
class Measurement:
    """Everything measured on one map.

    key: the method's or the control's key.
    metrics: one value per entry of METRICS; None where the value was not measured (coherency without a map of
    the masked picture). Of a model that gives no probability, those of the map alone, and no curves.
    """

    key: str
    metrics: dict[str, float | None]
    insertion: Curve | None = None
    deletion: Curve | None = None

    @property
    def curves(self) -> dict[str, Curve]:
        """Return the curves that were measured, by name."""
        both = {"insertion": self.insertion, "deletion": self.deletion}
        return {name: curve for name, curve in both.items() if curve is not None}

    @property
    def insertion_minus_deletion(self) -> float | None:
        """Return the insertion area less the deletion area, -1 to 1: how much the map's order of the pixels tells;
        None without curves."""
        if self.insertion is None or self.deletion is None:
            return None
        return self.insertion.auc - self.deletion.auc
