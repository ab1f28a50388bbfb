"""A classifier whose answer is known, so that each expected value can be worked out by hand.

It looks at one square: an 8 x 8 picture of ones (64 pixels) and a probability that is the mean brightness of the 4
pixels at rows 2-3, columns 4-5. With 16 steps each step changes 4 pixels, exactly the pixels of the square.
"""

import numpy as np
import pytest

from camkit.evidence.curves import measure_stream

SQUARE = (slice(2, 4), slice(4, 6))


def brightness_of_square(batch):
    return batch[:, 2:4, 4:6, :].mean(axis=(1, 2, 3))


class Recorder:
    """A score_fn that remembers what it was sent."""

    def __init__(self, score_fn=brightness_of_square):
        self.score_fn, self.batches = score_fn, []

    def __call__(self, batch):
        self.batches.append(batch.copy())
        return self.score_fn(batch)

    @property
    def pictures(self):
        return sum(len(batch) for batch in self.batches)


def measure(score_fn, inputs, cam_map, cam_fn=None, key="it", **options):
    """The Measurement of one map, without the controls."""
    cam_fns = {} if cam_fn is None else {key: cam_fn}
    return dict(measure_stream(score_fn, inputs, {key: cam_map}, cam_fns, controls=(), **options))[key]


def deletion_curve(score_fn, inputs, cam_map, **options):
    return measure(score_fn, inputs, cam_map, **options).deletion


def insertion_curve(score_fn, inputs, cam_map, **options):
    return measure(score_fn, inputs, cam_map, **options).insertion


@pytest.fixture
def ones():
    return np.ones((8, 8, 3), np.float32)


@pytest.fixture
def perfect():
    cam_map = np.zeros((8, 8), np.float32)
    cam_map[SQUARE] = 1
    return cam_map


@pytest.fixture
def picture():
    return np.random.default_rng(3).random((32, 32, 3), dtype=np.float32)


@pytest.fixture
def noise_map():
    return np.random.default_rng(4).random((32, 32), dtype=np.float32)
