"""Localisation against figures that can be counted by hand."""

import numpy as np
import pytest

from camkit.evidence.localisation import THRESHOLDS, iou, localise, max_box_acc, packed, unpacked
from camkit.evidence.metrics import CONTROLS
from camkit.evidence.settings import Box

MAP = np.zeros((10, 10), np.float32)
MAP[2:6, 2:6], MAP[3, 3], MAP[8, 0:3] = 0.5, 1.0, 0.1  # 16 pixels, one of which is the maximum, and a lower region of 3


def box(left, top, right, bottom) -> Box:
    return Box("it", 0, (left / 10, top / 10, right / 10, bottom / 10))


def test_overlaps_are_shares_of_the_union():
    first = np.array([[0, 0, 4, 4], [8, 8, 9, 9]])
    second = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [2, 2, 6, 6]])
    np.testing.assert_allclose(iou(first, second), [[1, 8 / 24, 4 / 28], [0, 0, 0]])


@pytest.mark.parametrize(
    ("boxes", "overlap", "pointing", "energy"),
    [
        ([box(2, 2, 6, 6)], 1.0, 1.0, 8.5 / 8.8),
        ([box(2, 2, 6, 10)], 0.5, 1.0, 8.6 / 8.8),
        ([box(4, 2, 6, 6)], 0.5, 0.0, 4 / 8.8),
        ([box(8, 8, 10, 10), box(2, 2, 6, 6)], 1.0, 1.0, 8.5 / 8.8),  # any of its boxes counts
        ([box(8, 8, 10, 10)], 0.0, 0.0, 0.0),
    ],
)
def test_a_map_of_known_regions(boxes, overlap, pointing, energy):
    found = localise(MAP, boxes)
    assert (found.iou, found.hit, found.pointing) == (overlap, overlap >= 0.5, pointing)
    assert found.energy_inside == pytest.approx(energy, abs=1e-6)


def test_controls_and_a_map_of_nothing_get_what_chance_gives():
    assert vars(localise(np.zeros((10, 10), np.float32), [box(0, 0, 5, 10)]))["pointing"] == 0
    assert not localise(np.zeros((10, 10), np.float32), [box(0, 0, 5, 10)]).found.any()
    even = localise(CONTROLS["uniform"].make((10, 10), 0), [box(0, 0, 3, 10)])
    assert (even.pointing, even.energy_inside, even.iou) == pytest.approx((0.3, 0.3, 0.3))


def test_max_box_acc_of_four_maps_by_hand():
    """Each map has a level of 0.5 over the object and one of 1.0 over a part of it, or its object's region is the
    smaller of two. By threshold up to 0.5 and above: the overlaps 1 and 0.25; 0.5 and 1; 1 and 0.5; 0 and 1."""
    maps = [np.zeros((10, 10), np.float32) for _ in range(4)]
    maps[0][0:4, 0:4], maps[0][0:2, 0:2] = 0.5, 1  # object 4 x 4: all of it, then a quarter
    maps[1][0:4, 0:4], maps[1][0:4, 0:2] = 0.5, 1  # object 4 x 2: twice its size, then all of it
    maps[2][5:9, 5:9], maps[2][5:7, 5:9], maps[2][0, 0] = (
        0.5,
        1,
        1,
    )  # object 4 x 4: all, half; a spot elsewhere
    maps[3][:] = 0.5
    maps[3][0:2, 0:2] = 1  # object 2 x 2; the map's least value is 0.5, so that scaled the rest is 0
    objects = [box(0, 0, 4, 4), box(0, 0, 2, 4), box(5, 5, 9, 9), box(0, 0, 2, 2)]
    found = [localise(each, [of]).found for each, of in zip(maps, objects, strict=True)]
    # Threshold 0 takes in the whole picture, at most 0.16 of which is an object.
    assert not any(each[:, 0].any() for each in found)
    # Up to 0.5 all four reach 0.3 and 0.5; three of them 0.7 there (not the second), two above (not the first, third).
    low, high = THRESHOLDS[1:51], THRESHOLDS[51:]
    assert [each[:, 1:51].all(axis=1).tolist() for each in found] == [
        [True] * 3, [True, True, False], [True] * 3, [True] * 3
    ]  # fmt: skip
    assert [each[:, 51:].all(axis=1).tolist() for each in found] == [
        [False] * 3, [True] * 3, [True, True, False], [True] * 3
    ]  # fmt: skip
    assert len(low) == 50 and len(high) == 49
    np.testing.assert_allclose(max_box_acc(found), [1, 2 / 3, 1, 1])
    np.testing.assert_allclose(max_box_acc(found).mean(), (1 + 1 + 3 / 4) / 3)
    for each in found:
        np.testing.assert_array_equal(unpacked(packed(each)), each)
