"""The metrics, baselines and controls against values worked out by hand, and their registries."""

import ast
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracle import SQUARE, brightness_of_square, deletion_curve, measure

from camkit.evidence import curves, metrics, observations, road
from camkit.evidence.curves import measure_stream
from camkit.evidence.metrics import (
    BASELINES,
    CONTROLS,
    METRICS,
    Metric,
    adcc,
    beats_controls,
    coherency,
    complexity,
    confidence_drop,
    gain,
    increase,
    masked,
)
from camkit.evidence.observations import Curve, Measurement

# --- baselines -----------------------------------------------------------------------------------------------------


def test_blur_is_an_11_tap_gaussian_over_height_and_width_only():
    inputs = np.zeros((31, 31, 3), np.float32)
    inputs[15, 15, 1] = 1
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 5**2))
    expected = np.zeros((31, 31))
    expected[10:21, 10:21] = np.outer(taps, taps) / taps.sum() ** 2
    blurred = BASELINES["blur"].compute(inputs)
    np.testing.assert_allclose(blurred[..., 1], expected, atol=1e-7)
    assert not blurred[..., [0, 2]].any()
    assert blurred.dtype == np.float32


def test_blur_mirrors_the_border_and_so_keeps_the_mean(picture):
    assert BASELINES["blur"].compute(picture).mean() == pytest.approx(picture.mean(), rel=1e-5)


def test_zero_is_the_model_s_zero(picture):
    zero = BASELINES["zero"].compute(picture - 0.5)
    assert zero.shape == picture.shape and zero.dtype == np.float32 and not zero.any()


def test_a_baseline_is_one_entry(ones, perfect, monkeypatch):
    half = replace(BASELINES["zero"], key="half", compute=lambda inputs: np.full_like(inputs, 0.5))
    monkeypatch.setitem(BASELINES, "half", half)
    assert deletion_curve(brightness_of_square, ones, perfect, deletion_baseline="half").probabilities[
        -1
    ] == pytest.approx(0.5)


# --- numbers of one picture ----------------------------------------------------------------------------------------


def test_masked_is_the_product_after_preprocessing():
    inputs = np.array([[[2, -4, 6], [1, 1, 1]]], np.float32)
    np.testing.assert_allclose(masked(inputs, np.array([[0.5, 0]], np.float32)), [[[1, -2, 3], [0, 0, 0]]])


@pytest.mark.parametrize(
    ("y", "o", "drop", "rise", "won"),
    [
        (0.8, 0.2, 0.75, 0, 0),  # (0.8 - 0.2) / 0.8
        (0.2, 0.8, 0, 1, 0.75),  # (0.8 - 0.2) / (1 - 0.2)
        (0.5, 0.5, 0, 0, 0),
        (0, 0, 0, 0, 0),  # nothing to lose
        (0, 0.5, 0, 1, 0.5),
        (1, 1, 0, 0, 0),  # nothing to win
        (1, 0, 1, 0, 0),
        (0.5, 0.5 + 1e-7, 0, 0, 0),  # float32 noise is not an increase
        (1e-6, 2e-6, 0, 1, 1e-6),  # but doubling a small confidence is
    ],
)
def test_drop_increase_and_gain(y, o, drop, rise, won):
    assert confidence_drop(y, o) == pytest.approx(drop)
    assert increase(y, o) == rise
    assert gain(y, o) == pytest.approx(won, abs=2e-7)


def test_complexity_is_the_mean():
    assert complexity(np.array([[0, 1], [0.5, 0.5]])) == pytest.approx(0.5)
    assert (complexity(np.zeros((3, 3))), complexity(np.ones((3, 3)))) == (0, 1)


def test_coherency_by_hand():
    rising = np.array([[0, 0.25], [0.5, 0.75]])
    assert coherency(rising, rising) == pytest.approx(1)
    assert coherency(rising, rising / 2 + 0.1) == pytest.approx(1)  # a correlation sees neither scale nor level
    assert coherency(rising, 1 - rising) == pytest.approx(0)
    # deviations (-3, -1, 1, 3) and (-1, 1, 1, -1) / 2: the product sums to 3 - 1 + 1 - 3 = 0, so (0 + 1) / 2.
    assert coherency(rising, np.array([[0, 1], [1, 0]])) == pytest.approx(0.5)
    # (0, 0, 0, 1) deviates by (-1, -1, -1, 3) / 4: the product sums to 3 + 1 - 1 + 9 = 12, over sqrt(20 * 12).
    assert coherency(rising, np.array([[0, 0], [0, 1]])) == pytest.approx((12 / np.sqrt(240) + 1) / 2)


def test_coherency_of_flat_maps_is_defined():
    rising = np.array([[0, 0.25], [0.5, 0.75]])
    flat, almost_flat = np.full((2, 2), 0.3), np.full((2, 2), 0.3) + [[0, 1e-7], [-1e-7, 0]]
    assert coherency(flat, np.zeros((2, 2))) == 1
    assert coherency(almost_flat, flat) == 1
    assert coherency(rising, flat) == coherency(flat, rising) == coherency(rising, almost_flat) == 0.5


def test_adcc_is_the_harmonic_mean():
    assert adcc(1, 0, 0) == pytest.approx(1)
    # 3 / (1/0.5 + 1/(1 - 0.75) + 1/(1 - 0.2)) = 3 / (2 + 4 + 1.25)
    assert adcc(0.5, 0.75, 0.2) == pytest.approx(3 / 7.25)


@pytest.mark.parametrize("terms", [(0, 0.5, 0.5), (0.5, 1, 0.5), (0.5, 0.5, 1), (0, 1, 1)])
def test_adcc_with_a_zero_term_is_zero(terms):
    assert adcc(*terms) == 0


# --- controls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", CONTROLS)
@pytest.mark.parametrize("shape", [(224, 224), (33, 50), (5, 3), (1, 1)])
def test_controls_are_maps(key, shape):
    control = CONTROLS[key].make(shape, 0)
    assert control.shape == shape and control.dtype == np.float32
    assert control.min() >= 0 and control.max() <= 1
    np.testing.assert_array_equal(control, CONTROLS[key].make(shape, 0))


def test_only_the_random_control_depends_on_the_seed():
    changed = {key for key, c in CONTROLS.items() if (c.make((32, 32), 0) != c.make((32, 32), 1)).any()}
    assert changed == {"random"}


def test_the_random_control_is_smooth_and_spans_the_range():
    control = CONTROLS["random"].make((224, 224), 7)
    assert (control.min(), control.max()) == (0, 1)
    # The grid has one node in 32 pixels, so neighbours differ by at most 1/32 of the noise's full range.
    assert max(np.abs(np.diff(control, axis=axis)).max() for axis in (0, 1)) <= 1 / 31


def test_the_gaussian_control_is_centred():
    control = CONTROLS["gaussian"].make((65, 33), 0)
    assert np.unravel_index(control.argmax(), control.shape) == (32, 16)
    np.testing.assert_allclose(control, control[::-1, ::-1], atol=1e-7)
    # One sigma is a quarter of the side: 16.25 rows off centre would give exp(-1/2); row 16 is 16 off.
    assert control[16, 16] == pytest.approx(np.exp(-0.5 * (16 / 16.25) ** 2))


def test_control_keys_are_their_own():
    assert set(CONTROLS) == {"random", "gaussian", "uniform"}
    assert all(
        key == control.key and control.name and control.phrase and control.summary for key, control in CONTROLS.items()
    )


# --- beating the controls ------------------------------------------------------------------------------------------


def with_score(value):
    whole = np.array([0.0, 1.0])
    return Measurement("any", {}, Curve(whole, np.full(2, value)), Curve(whole, np.zeros(2)))


def test_beating_means_all_of_them_and_strictly():
    controls = [with_score(0.1), with_score(0.3)]
    assert beats_controls(with_score(0.31), controls) is True
    assert beats_controls(with_score(0.2), controls) is False
    assert beats_controls(with_score(0.3), controls) is False
    assert beats_controls(with_score(0.31), iter(controls)) is True


def test_beating_nothing_is_no_claim():
    with pytest.raises(ValueError, match="at least one"):
        beats_controls(with_score(1), [])


def test_confidence_drop_alone_would_crown_the_uniform_map(ones, perfect):
    # Half a perfect map loses half of the confidence where the uniform control loses none, and still ranks better.
    stream = dict(measure_stream(brightness_of_square, ones, {"map": perfect / 2}, insertion_baseline="zero"))
    controls = [stream[key] for key in CONTROLS]
    assert stream["map"].metrics["confidence_drop"] > stream["uniform"].metrics["confidence_drop"]
    assert beats_controls(stream["map"], controls)
    assert not beats_controls(stream["uniform"], controls)


# --- registries ----------------------------------------------------------------------------------------------------


def test_the_metrics_are_these():
    assert list(METRICS) == [
        "confidence_drop",
        "increase",
        "gain",
        "insertion",
        "deletion",
        "insertion_minus_deletion",
        "road",
        "complexity",
        "coherency",
        "adcc",
    ]


@pytest.mark.parametrize("key", METRICS)
def test_each_metric_is_complete(key):
    metric = METRICS[key]
    assert metric.key == key
    assert metric.better in {"lower", "higher"}
    assert metric.name and metric.formula and "20" in metric.source
    assert metric.summary.endswith(".") and "\n" not in metric.summary
    assert any(character.isdigit() for character in metric.format.format(0.25))


def test_the_directions_are_those_of_the_papers():
    assert {key for key, metric in METRICS.items() if metric.better == "lower"} == {
        "confidence_drop",
        "deletion",
        "road",
        "complexity",
    }


def test_a_metric_is_one_entry(ones, perfect, monkeypatch):
    def energy_in_square(seen):
        return float(seen.cam_map[SQUARE].sum() / seen.cam_map.sum())

    monkeypatch.setitem(METRICS, "energy", Metric("energy", "Energy", "{:.1%}", "higher", "", "", "", energy_in_square))
    assert measure(brightness_of_square, ones, perfect).metrics["energy"] == 1


@pytest.mark.parametrize(
    ("module", "libraries"),
    [(metrics, {"numpy", "scipy"}), (curves, {"numpy"}), (road, {"numpy", "scipy"}), (observations, {"numpy"})],
)
def test_they_import_numpy_and_scipy_only(module, libraries):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    outside = {name.split(".")[0] for name in names | {node.module for node in froms if not node.level}}
    assert outside - sys.stdlib_module_names == libraries
    assert {node.module for node in froms if node.level} <= {"metrics", "observations", "road"}
