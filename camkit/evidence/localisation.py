"""Localisation: how well a map finds an object that was drawn by hand, as the literature measures it.

Maps are (h, w) float32 in [0, 1]; boxes are (n, 4) left, top, right and bottom in the map's pixels, right and bottom
exclusive. Where an object has several boxes, any of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..maps import box_of, regions
from .metrics import energy_inside
from .settings import Box

OVERLAPS = (0.3, 0.5, 0.7)  # Choe et al. 2020, Evaluating Weakly Supervised Object Localization Methods Right
THRESHOLDS = np.arange(100) / 100  # of MaxBoxAccV2; a hundredth apart
HIT = 0.5  # the overlap that makes a hit, as in ImageNet's localisation task


@dataclass(frozen=True)
class Localisation:
    """The accuracy with which one map finds one object.

    energy_inside: the share of the map inside the boxes. iou: of `box_of` with the best box. hit: 1 where that is at
    least HIT. pointing: 1 where the map's maximum lies inside (Zhang et al. 2018, Top-down Neural Attention by
    Excitation Backprop; without a tolerance around the box), the share of several equal maxima that do.
    found: by overlap and threshold whether the best region of the map reaches it, (OVERLAPS, THRESHOLDS) bool.
    """

    energy_inside: float
    iou: float
    hit: float
    pointing: float
    found: np.ndarray


def localise(cam_map: np.ndarray, boxes: Sequence[Box]) -> Localisation:
    """Return how well a map finds the object that has these boxes, of which there must be at least one."""
    height, width = cam_map.shape
    region = np.any([box.region((height, width)) for box in boxes], axis=0)
    truth = np.array([box.box for box in boxes]) * [width, height, width, height]
    own = box_of(cam_map)
    best = 0.0 if own is None else float(iou(np.array([own]), truth).max())
    pointing = float(region[cam_map == cam_map.max()].mean()) if own else 0.0
    return Localisation(energy_inside(cam_map, region), best, float(best >= HIT), pointing, _found(cam_map, truth))


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return for (n, 4) and (m, 4) boxes the area of each pair's intersection over that of its union, (n, m)."""
    first, second = first[:, None], second[None]
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    one, other = ((boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (first, second))
    return shared / (one + other - shared)


def _found(cam_map: np.ndarray, truth: np.ndarray) -> np.ndarray:
    low, high = float(cam_map.min()), float(cam_map.max())
    if not high > 0:
        return np.zeros((len(OVERLAPS), len(THRESHOLDS)), bool)
    scaled = (cam_map - low) / (high - low) if high > low else np.ones_like(cam_map)
    best = [iou(regions(scaled >= threshold)[0], truth).max() for threshold in THRESHOLDS]
    return np.array(best) >= np.array(OVERLAPS)[:, None]


def max_box_acc(found: Iterable[np.ndarray]) -> np.ndarray:
    """Return MaxBoxAccV2 of every object, (objects,) in [0, 1], whose mean is that of the set (Choe et al. 2020): the
    share of OVERLAPS that its map reaches, each at the one threshold that is best over all objects. It looks at every
    region of a map, where `box_of` takes the largest. `found`: that of each object's `Localisation`, at least one.

    Thresholds are chosen on the pictures that are measured, as in the paper: the figure is the best that a threshold
    could give.
    """
    hits = np.array(list(found))
    best = hits.mean(axis=0).argmax(axis=1)
    return hits[:, np.arange(len(OVERLAPS)), best].mean(axis=1)


def packed(found: np.ndarray) -> str:
    """Return `Localisation.found` as hexadecimal text, for a file."""
    return np.packbits(found).tobytes().hex()


def unpacked(text: str) -> np.ndarray:
    """Return what `packed` was given."""
    shape = (len(OVERLAPS), len(THRESHOLDS))
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(bool)
