"""What the figures say in words: each sentence against figures of which it is known."""

import numpy as np
import pytest

from camkit.evidence.observations import Curve, Measurement
from camkit.report.words import listed, verdict


def measured(key: str, worth: float) -> Measurement:
    """A Measurement that is worth `worth`: insertion at that height or deletion at its negative, the other at zero."""
    ends = np.array([0.0, 1.0])
    curves = [Curve(ends, np.full(2, max(0.0, value))) for value in (worth, -worth)]
    return Measurement(key, {}, *curves)


def said(probability: float = 0.5, **worth: float) -> str:
    return verdict({key: measured(key, value) for key, value in worth.items()}, probability)


CONTROLS = {"random": 0.1, "gaussian": 0.2, "uniform": 0.05}


@pytest.mark.parametrize(
    ("worth", "sentence"),
    [
        (
            {"gradcam": 0.3, "gradcam_plus_plus": 0.2, "scorecam": 0.5, **CONTROLS},
            "On this picture Score-CAM's map is worth most (insertion less deletion +0.500); "
            "Grad-CAM++ is no better than a centred blob.",
        ),
        (
            {"gradcam": 0.5, "gradcam_plus_plus": 0.1, "scorecam": 0.498, "faster_scorecam": 0.0, **CONTROLS},
            "On this picture the maps of Grad-CAM and Score-CAM are worth most (insertion less deletion +0.500); "
            "Grad-CAM++ and Faster Score-CAM are no better than a centred blob.",
        ),
        (
            {"gradcam": 0.3, "scorecam": 0.4, **CONTROLS},
            "On this picture Score-CAM's map is worth most (insertion less deletion +0.400); "
            "every map is better than the controls.",
        ),
        (
            {"gradcam": 0.1, "scorecam": -0.2, **CONTROLS, "random": 0.6},
            "On this picture no map is better than random blobs; Grad-CAM's map comes closest "
            "(insertion less deletion +0.100).",
        ),
        (
            {"gradcam": 0.3, **CONTROLS},
            "On this picture Grad-CAM's map is worth most (insertion less deletion +0.300).",
        ),
        (
            {"gradcam": 0.3, "scorecam": 0.3},
            "On this picture the maps are worth the same (insertion less deletion +0.300).",
        ),
        (CONTROLS, ""),
    ],
)
def test_whose_map_is_worth_most_and_whose_is_no_better_than_a_control(worth, sentence):
    assert said(**worth) == sentence


def test_small_figures_are_called_small():
    assert said(0.002, gradcam=0.01, scorecam=0.0).endswith(
        " The class has a probability of 0.2% only, so all figures are small."
    )


def test_lists_of_names():
    assert [listed(names) for names in (["A"], ["A", "B"], ["A", "B", "C"])] == ["A", "A and B", "A, B and C"]
