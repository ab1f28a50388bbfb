"""What a measurement depends on: settings and boxes that cannot be are refused."""

import pytest

from camkit.evidence.settings import Box, Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ()}, "No method is chosen"),
        ({"methods": ("x",)}, "x"),
        ({"coherency": "some"}, "it must be one of all"),
        ({"steps": 0}, "steps is 0"),
        ({"insertion_baseline": "white"}, "Baseline 'white' is unknown"),
        ({"window": (4095, 0)}, "The window is"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_a_box_is_a_region_in_shares_of_the_sides():
    region = Box("x", 0, (0.5, 0.0, 1.0, 0.25)).region((8, 4))
    assert region[:2, 2:].all() and region.sum() == 4


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (0, 0, 1.1, 1), (-0.1, 0, 1, 1), (0, 0.9, 1, 0.1)])
def test_a_box_outside_the_picture_is_refused(box):
    with pytest.raises(ValueError, match=r"^The box of 'x' is \["):
        Box("x", 0, box)
