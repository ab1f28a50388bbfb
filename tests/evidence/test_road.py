"""Noisy linear imputation against a dense system written down equation by equation, and what ROAD makes of it."""

import numpy as np
import pytest

from camkit.evidence.curves import measure_stream
from camkit.evidence.road import REMOVED, ROAD_NOISE, imputed


def by_the_dense_system(picture, removed):
    """Every pixel is an unknown of one dense system: a known one is itself, a removed one the mean of its neighbours
    inside the picture, 2 parts each of those that share an edge and 1 part each of those that share a corner."""
    height, width, channels = picture.shape
    system, values = np.zeros((height * width,) * 2), np.zeros((height * width, channels))
    for row in range(height):
        for column in range(width):
            place = row * width + column
            if not removed[row, column]:
                system[place, place], values[place] = 1, picture[row, column]
                continue
            parts = {
                (row + down) * width + column + right: 2 if 0 in (down, right) else 1
                for down in (-1, 0, 1)
                for right in (-1, 0, 1)
                if (down, right) != (0, 0) and 0 <= row + down < height and 0 <= column + right < width
            }
            system[place, place] = sum(parts.values())
            for neighbour, weight in parts.items():
                system[place, neighbour] = -weight
    return np.linalg.solve(system, values).reshape(picture.shape)


@pytest.fixture
def picture():
    return np.random.default_rng(1).normal(0, 40, (11, 9, 3)).astype(np.float32)


def some(share, shape=(11, 9)):
    return np.random.default_rng(2).random(shape) < share


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_it_is_the_solution_of_the_dense_system(share, picture):
    removed = some(share)
    filled = imputed(picture, removed, noise=0)
    assert filled.dtype == np.float32
    # float64 inside, float32 out: half a unit in the last place of values up to some 150.
    np.testing.assert_allclose(filled, by_the_dense_system(picture, removed), rtol=1e-6, atol=1e-5)


def test_a_whole_side_and_all_corners_may_be_gone(picture):
    removed = np.ones((11, 9), bool)
    removed[4:6, 3] = False
    np.testing.assert_allclose(
        imputed(picture, removed, noise=0), by_the_dense_system(picture, removed), rtol=1e-6, atol=1e-5
    )


def test_the_noise_is_seeded_and_on_removed_pixels_only(picture):
    removed = some(0.5)
    noisy, clean = imputed(picture, removed, noise=0.1, seed=5), imputed(picture, removed, noise=0)
    added = np.random.default_rng(5).normal(0, 0.1 * picture.std(dtype=np.float64), (removed.sum(), 3))
    np.testing.assert_allclose(noisy[removed], by_the_dense_system(picture, removed)[removed] + added, atol=2e-5)
    np.testing.assert_array_equal(noisy[~removed], picture[~removed])
    np.testing.assert_array_equal(noisy, imputed(picture, removed, noise=0.1, seed=5))
    assert (noisy[removed] != imputed(picture, removed, noise=0.1, seed=6)[removed]).all()
    assert ROAD_NOISE > 0 and (imputed(picture, removed)[removed] != clean[removed]).any()


def test_a_plane_comes_back_whatever_is_inside_it():
    """The weights are even, so that what rises evenly is its own mean of neighbours."""
    rows, columns = np.mgrid[:12, :10]
    plane = np.stack([rows + 2 * columns, 5 - columns], axis=-1).astype(np.float32)
    removed = np.zeros((12, 10), bool)
    removed[1:-1, 1:-1] = True
    np.testing.assert_allclose(imputed(plane, removed, noise=0), plane, atol=1e-5)


def test_the_picture_given_stays_and_grey_ones_work(picture):
    before = picture.copy()
    grey = picture[..., :1]
    assert imputed(grey, some(0.5), noise=0).shape == (11, 9, 1)
    np.testing.assert_array_equal(imputed(picture, np.zeros((11, 9), bool)), picture)
    np.testing.assert_array_equal(picture, before)


def test_road_is_the_mean_over_the_shares_most_important_first():
    """The classifier sees a bright 4 x 4 square on a dark picture by its mean. A map of the square removes 16 of 144
    pixels first, and the dark around it fills the hole; the inverted map leaves the square for the last half."""
    inputs = np.zeros((12, 12, 3), np.float32)
    inputs[4:8, 4:8] = 1
    square = inputs[..., 0].copy()
    sent = []

    def score_fn(batch):
        sent.extend(batch)
        return np.clip(batch[:, 4:8, 4:8].mean(axis=(1, 2, 3)), 0, 1)

    found = dict(measure_stream(score_fn, inputs, {"good": square, "bad": 1 - square}, controls=()))
    pictures = np.stack(sent[2 : 2 + len(REMOVED)])
    changed = (pictures != inputs).any(axis=-1).sum(axis=(1, 2))
    assert changed.tolist() == [round(share * 144) for share in REMOVED]
    expected = np.clip(pictures[:, 4:8, 4:8].mean(axis=(1, 2, 3)), 0, 1).mean()
    assert found["good"].metrics["road"] == pytest.approx(expected)
    assert found["good"].metrics["road"] < 0.2 and found["bad"].metrics["road"] == pytest.approx(1)
