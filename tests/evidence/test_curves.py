"""Curves, the stream of measurements and its refusals, against the oracle whose answers are worked out by hand."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from oracle import SQUARE, Recorder, brightness_of_square, deletion_curve, insertion_curve, measure

from camkit.evidence.curves import measure_stream
from camkit.evidence.metrics import BASELINES, CONTROLS, masked
from camkit.evidence.observations import Curve
from camkit.evidence.road import REMOVED

# --- curves --------------------------------------------------------------------------------------------------------


def test_deletion_of_the_perfect_map(ones, perfect):
    # 1 on the picture, 0 as soon as the first 4 pixels are gone. Trapezoid: 1/16 wide, from 1 to 0 = 1/32.
    curve = deletion_curve(brightness_of_square, ones, perfect, steps=16)
    np.testing.assert_allclose(curve.probabilities, [1] + [0] * 16)
    np.testing.assert_allclose(curve.fractions, np.arange(17) / 16)
    assert curve.auc == pytest.approx(1 / 32)


def test_insertion_of_the_perfect_map(ones, perfect):
    # From zero: 0, then 1 from the first step on. 1/32 for the ramp, 15/16 for the plateau = 31/32.
    curve = insertion_curve(brightness_of_square, ones, perfect, steps=16, insertion_baseline="zero")
    np.testing.assert_allclose(curve.probabilities, [0] + [1] * 16)
    assert curve.auc == pytest.approx(31 / 32)


def test_the_inverted_map_is_the_mirror_image(ones, perfect):
    # The square comes last: deletion stays at 1 until the last step (15/16 + 1/32), insertion at 0 (1/32).
    assert deletion_curve(brightness_of_square, ones, 1 - perfect, steps=16).auc == pytest.approx(31 / 32)
    inserted = insertion_curve(brightness_of_square, ones, 1 - perfect, steps=16, insertion_baseline="zero")
    assert inserted.auc == pytest.approx(1 / 32)


def test_values_inside_the_square_set_the_order(ones):
    # 4 pixels of weight .9, .8, .7, .6 and 64 steps: one pixel a step, so 1, 3/4, 1/2, 1/4, 0, 0, ...
    cam_map = np.zeros((8, 8), np.float32)
    cam_map[SQUARE] = [[0.7, 0.9], [0.6, 0.8]]
    recorder = Recorder()
    curve = deletion_curve(recorder, ones, cam_map, steps=64)
    np.testing.assert_allclose(curve.probabilities[:6], [1, 0.75, 0.5, 0.25, 0, 0])
    after_one_pixel = np.concatenate(recorder.batches)[-64, ..., 0]  # the last 64 pictures are the deletion's
    assert np.argwhere(after_one_pixel == 0).tolist() == [[2, 5]]


def test_insertion_starts_on_a_blurred_picture_by_default(ones, perfect):
    # A blur leaves a flat picture as it is, so there is nothing to restore and the probability is 1 throughout.
    np.testing.assert_allclose(insertion_curve(brightness_of_square, ones, perfect).probabilities, 1, rtol=1e-5)


def test_curves_end_where_they_should(picture, noise_map):
    recorder = Recorder()
    measure(recorder, picture, noise_map, steps=5)
    sent = np.concatenate(recorder.batches)  # the picture, the masked one, ROAD's, five insertions, five deletions
    np.testing.assert_array_equal(sent[0], picture)
    np.testing.assert_array_equal(sent[1], masked(picture, noise_map))
    np.testing.assert_array_equal(sent[2 + len(REMOVED)], BASELINES["blur"].compute(picture))
    np.testing.assert_array_equal(sent[-1], np.zeros_like(picture))
    assert len(sent) == 12 + len(REMOVED)


def test_steps_that_do_not_divide_the_pixels_are_rounded(ones, perfect):
    # 64 pixels in 5 steps: 0, 12.8, 25.6, 38.4, 51.2, 64 -> 0, 13, 26, 38, 51, 64 pixels gone.
    recorder = Recorder()
    curve = deletion_curve(recorder, ones, perfect, steps=5)
    gone = (np.concatenate(recorder.batches)[-5:, ..., 0] == 0).sum(axis=(1, 2))
    assert gone.tolist() == [13, 26, 38, 51, 64]
    np.testing.assert_allclose(curve.fractions, [0, *gone / 64])


@pytest.mark.parametrize("curve_of", [insertion_curve, deletion_curve])
def test_28_and_224_steps_agree(curve_of, picture, noise_map):
    def score_fn(batch):
        return batch[:, 8:24, 8:24].mean(axis=(1, 2, 3))

    coarse, fine = (curve_of(score_fn, picture, noise_map, steps=steps) for steps in (28, 224))
    assert (coarse.fractions.shape, fine.probabilities.shape) == ((29,), (225,))
    assert (fine.fractions[0], fine.fractions[-1]) == (0, 1)
    assert coarse.auc == pytest.approx(fine.auc, abs=0.005)
    # 224 / 28 = 8: each coarse point is also a fine one, with the same pixels changed.
    np.testing.assert_allclose(coarse.probabilities, fine.probabilities[::8], atol=1e-6)


def test_more_steps_than_pixels_repeat_points_and_keep_the_area(ones, perfect):
    # One pixel a step at most: 1, 3/4, 1/2, 1/4, 0, ... whose trapezoids are 1/64 wide:
    # (7/8 + 5/8 + 3/8 + 1/8) / 64 = 2/64.
    assert deletion_curve(brightness_of_square, ones, perfect, steps=64).auc == pytest.approx(2 / 64)
    assert deletion_curve(brightness_of_square, ones, perfect, steps=100).auc == pytest.approx(2 / 64)


def test_removing_brightness_never_raises_the_oracle(ones):
    cam_map = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    removed = deletion_curve(brightness_of_square, ones, cam_map).probabilities
    restored = insertion_curve(brightness_of_square, ones, cam_map, insertion_baseline="zero").probabilities
    assert (np.diff(removed) <= 0).all() and removed[0] == 1 and removed[-1] == 0
    assert (np.diff(restored) >= 0).all() and restored[0] == 0 and restored[-1] == 1


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rows", [slice(32), slice(32, 64)])
@pytest.mark.parametrize("columns", [slice(32), slice(32, 64)])
def test_ties_are_neutral_and_repeatable(level, rows, columns):
    # With no opinion in the map, each corner should lose its brightness in step with the whole picture: the curve is
    # the straight line 1 - fraction up to sampling noise. Reading order would empty the top corners first.
    def corner(batch):
        return batch[:, rows, columns].mean(axis=(1, 2, 3))

    inputs, flat = np.ones((64, 64, 3), np.float32), np.full((64, 64), level, np.float32)
    curve = deletion_curve(corner, inputs, flat)
    np.testing.assert_allclose(curve.probabilities, 1 - curve.fractions, atol=0.05)
    np.testing.assert_array_equal(curve.probabilities, deletion_curve(corner, inputs, flat).probabilities)


def test_the_area_is_a_trapezoid_over_the_fraction():
    # Uneven steps: 1/4 * (1 + 1/2)/2 + 3/4 * (1/2 + 0)/2 = 3/16 + 3/16.
    curve = Curve(np.array([0, 0.25, 1]), np.array([1, 0.5, 0]))
    assert curve.auc == pytest.approx(3 / 8)


# --- measure -------------------------------------------------------------------------------------------------------


def test_every_metric_of_the_perfect_map(ones, perfect):
    # Y = O = 1 (the mask keeps the whole square): drop 0, increase 0, gain 0. Complexity 4/64. The method finds the
    # same map on the masked picture: coherency 1. ADCC 3 / (1 + 1/(15/16) + 1) = 3 / (46/15) = 45/46.
    recorder = Recorder()
    result = measure(recorder, ones, perfect, lambda inputs: perfect, key="oracle", steps=16, insertion_baseline="zero")
    assert result.key == "oracle"
    assert result.metrics == pytest.approx(
        {
            "confidence_drop": 0,
            "increase": 0,
            "gain": 0,
            "insertion": 31 / 32,
            "deletion": 1 / 32,
            "insertion_minus_deletion": 30 / 32,
            "road": 1,  # of a flat picture nothing can be removed: its neighbours tell each pixel
            "complexity": 1 / 16,
            "coherency": 1,
            "adcc": 45 / 46,
        }
    )
    # The picture once, the masked one, 16 more for each curve, and ROAD's.
    assert recorder.pictures == 34 + len(REMOVED)


def test_half_a_map_halves_the_confidence(ones, perfect):
    # L = 1/2 on the square: O = 1/2, drop (1 - 1/2) / 1; complexity 4 * 0.5 / 64; ADCC 3 / (1 + 32/31 + 2) = 93/125.
    result = measure(brightness_of_square, ones, perfect / 2, lambda inputs: perfect)
    assert result.metrics["confidence_drop"] == pytest.approx(0.5)
    assert result.metrics["complexity"] == pytest.approx(1 / 32)
    assert result.metrics["adcc"] == pytest.approx(93 / 125)


def test_hiding_a_distractor_is_a_gain(ones, perfect):
    # The classifier is put off by the square, 3/4 bright: Y = 1/4. A map that leaves it out gives O = 1, so the whole
    # missing 3/4 is won; keeping half of it gives O = 1 - 3/8, of which (5/8 - 1/4) / (3/4) = 1/2.
    def put_off(batch):
        return 1 - brightness_of_square(batch)

    hidden = measure(put_off, 0.75 * ones, 1 - perfect).metrics
    assert (hidden["increase"], hidden["confidence_drop"]) == (1, 0)
    assert hidden["gain"] == pytest.approx(1)
    assert measure(put_off, 0.75 * ones, 1 - perfect / 2).metrics["gain"] == pytest.approx(0.5)


def test_one_class_on_both_sides():
    # Two classes share the probability by the brightness of the left and the right half. Left is the top class of the
    # picture (0.8 against 0.2); behind a map that shows the right half only, right is (0 against 1). The drop of
    # "left" is all of it, of "right" nothing, whatever the top class of the masked picture is.
    inputs = np.full((4, 4, 3), 0.8, np.float32)
    inputs[:, 2:] = 0.2
    right_only = np.zeros((4, 4), np.float32)
    right_only[:, 2:] = 1

    def score_of(half):
        def score_fn(batch):
            sums = np.stack([batch[:, :, :2].sum(axis=(1, 2, 3)), batch[:, :, 2:].sum(axis=(1, 2, 3))])
            return sums[half] / np.maximum(sums.sum(axis=0), 1e-6)

        return score_fn

    left, right = (measure(score_of(half), inputs, right_only).metrics for half in (0, 1))
    assert (left["confidence_drop"], left["increase"]) == (1, 0)
    assert (right["confidence_drop"], right["increase"]) == (0, 1)
    assert right["gain"] == pytest.approx(1)


def test_the_perfect_map_beats_the_random_and_the_inverted_one(ones, perfect):
    random_map = CONTROLS["random"].make((8, 8), 0)
    best, chance, worst = (
        measure(brightness_of_square, ones, cam_map, insertion_baseline="zero").metrics["insertion_minus_deletion"]
        for cam_map in (perfect, random_map, 1 - perfect)
    )
    assert best > chance > worst


def test_without_cam_fn_coherency_and_adcc_are_not_claimed(ones, perfect):
    metrics = measure(brightness_of_square, ones, perfect).metrics
    assert {key for key, value in metrics.items() if value is None} == {"coherency", "adcc"}


def test_cam_fn_sees_the_masked_picture(picture, noise_map):
    seen = []

    def cam_fn(inputs):
        seen.append(inputs)
        return 1 - noise_map

    assert measure(lambda batch: np.full(len(batch), 0.5), picture, noise_map, cam_fn).metrics["coherency"] < 1e-6
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], masked(picture, noise_map))


def test_a_known_probability_is_not_scored_again(picture, noise_map):
    recorder = Recorder()
    known = float(brightness_of_square(picture[np.newaxis])[0])
    result = measure(recorder, picture, noise_map, probability=known, steps=16, batch_size=5)
    assert recorder.pictures == 33 + len(REMOVED)
    assert not (np.concatenate(recorder.batches) == picture).all(axis=(1, 2, 3)).any()
    scored = measure(brightness_of_square, picture, noise_map, steps=16)
    assert result.metrics == pytest.approx(scored.metrics)
    np.testing.assert_allclose(result.deletion.probabilities, scored.deletion.probabilities)


def test_the_baselines_are_the_ones_asked_for(ones, perfect):
    result = measure(brightness_of_square, ones, perfect, insertion_baseline="zero", deletion_baseline="blur", steps=4)
    assert result.insertion.probabilities[0] == 0
    assert result.deletion.probabilities[-1] == pytest.approx(1)


@pytest.mark.parametrize("batch_size", [1, 7, 29, 1000])
def test_the_batch_size_changes_nothing_but_the_batches(batch_size, picture, noise_map):
    recorder = Recorder()
    one = measure(recorder, picture, noise_map, batch_size=batch_size)
    assert one.metrics == measure(brightness_of_square, picture, noise_map).metrics
    assert max(len(batch) for batch in recorder.batches) == min(batch_size, 58 + len(REMOVED))
    assert recorder.pictures == 58 + len(REMOVED)
    assert {batch.dtype for batch in recorder.batches} == {np.dtype(np.float32)}


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("certainty", [0.0, 0.5, 1.0])
def test_flat_maps_and_extreme_confidence_give_numbers(level, certainty, picture):
    flat = np.full((32, 32), level, np.float32)
    result = measure(lambda batch: np.full(len(batch), certainty), picture, flat, lambda inputs: flat)
    # Nothing the map does changes the probability; both areas are the certainty itself.
    assert result.metrics == pytest.approx(
        {
            "confidence_drop": 0,
            "increase": 0,
            "gain": 0,
            "insertion": certainty,
            "deletion": certainty,
            "insertion_minus_deletion": 0,
            "road": certainty,
            "complexity": level,
            "coherency": 1,
            "adcc": 3 / (2 + 1 / (1 - level)) if level < 1 else 0,
        }
    )


def test_an_all_zero_map_loses_everything(ones):
    # O = 0: the whole confidence is lost, and ADCC's third term is 0.
    nothing = np.zeros((8, 8), np.float32)
    metrics = measure(brightness_of_square, ones, nothing, lambda inputs: nothing).metrics
    assert (metrics["confidence_drop"], metrics["complexity"], metrics["adcc"]) == (1, 0, 0)


def test_nothing_handed_in_is_modified(picture, noise_map):
    inputs, cam_map = picture.copy(), noise_map.copy()

    def vandal(batch):
        batch[...] = 0
        return np.zeros(len(batch))

    def vandal_cam(seen):
        seen[...] = 0
        return noise_map

    measure(vandal, inputs, cam_map, vandal_cam)
    list(measure_stream(vandal, inputs, {"map": cam_map}, {"map": vandal_cam}))
    np.testing.assert_array_equal(inputs, picture)
    np.testing.assert_array_equal(cam_map, noise_map)


def test_read_only_arrays_are_enough(picture, noise_map):
    picture.flags.writeable = noise_map.flags.writeable = False
    measure(brightness_of_square, picture, noise_map)


def test_results_are_frozen(ones, perfect):
    result = measure(brightness_of_square, ones, perfect)
    with pytest.raises(FrozenInstanceError):
        result.key = "other"
    with pytest.raises(FrozenInstanceError):
        result.deletion.fractions = None


# --- the stream ----------------------------------------------------------------------------------------------------


def test_stream_yields_methods_then_controls(ones, perfect):
    maps = {"good": perfect, "bad": 1 - perfect}
    stream = dict(measure_stream(brightness_of_square, ones, maps, {"good": lambda inputs: perfect}, steps=16))
    assert list(stream) == ["good", "bad", *CONTROLS]
    assert [result.key for result in stream.values()] == list(stream)
    alone = measure(brightness_of_square, ones, perfect, lambda inputs: perfect, steps=16)
    assert stream["good"].metrics == alone.metrics
    assert stream["bad"].metrics["coherency"] is None


def test_stream_scores_the_picture_itself_once(ones, perfect):
    recorder = Recorder()
    dict(measure_stream(recorder, ones, {"good": perfect, "bad": 1 - perfect}, steps=16))
    assert recorder.pictures == 34 + 4 * 33 + 5 * len(REMOVED)


def test_controls_keep_their_map_so_their_coherency_is_one(ones, perfect):
    # The uniform map is all ones: nothing is masked (drop 0), but 1 - complexity is 0 and so is ADCC.
    stream = dict(measure_stream(brightness_of_square, ones, {"good": perfect}))
    assert [stream[key].metrics["coherency"] for key in CONTROLS] == pytest.approx([1, 1, 1])
    uniform = stream["uniform"].metrics
    assert (uniform["confidence_drop"], uniform["complexity"], uniform["adcc"]) == (0, 1, 0)


def test_stream_controls_can_be_chosen_and_seeded(picture, noise_map):
    def random_of(seed):
        found = dict(measure_stream(brightness_of_square, picture, {}, controls=["random"], seed=seed))
        assert list(found) == ["random"]
        return found["random"].metrics

    assert random_of(1) == random_of(1)
    assert random_of(1) != random_of(2)


def test_closing_stops_between_two_batches(ones, perfect):
    recorder = Recorder()
    stream = measure_stream(recorder, ones, {"good": perfect}, steps=16, batch_size=10)
    assert recorder.pictures == 0
    # 37 pictures in batches of 10 are 4 calls, each followed by a beat; then the result.
    assert [next(stream) for _ in range(2)] == [("good", None)] * 2
    assert [len(batch) for batch in recorder.batches] == [10, 10]
    rest = [next(stream) for _ in range(3)]
    assert [result is None for _, result in rest] == [True, True, False]
    next(stream)
    stream.close()
    assert len(recorder.batches) == 5


def test_closing_stops_before_a_costly_cam_fn(ones, perfect):
    called = []
    stream = measure_stream(brightness_of_square, ones, {"good": perfect}, {"good": called.append})
    beats = [next(stream), next(stream)]  # 61 pictures in batches of 32
    stream.close()
    assert beats == [("good", None)] * 2 and called == []


def test_an_exception_in_score_fn_passes_through(ones, perfect):
    class Stopped(Exception):
        pass

    def stop(batch):
        raise Stopped

    with pytest.raises(Stopped):
        next(measure_stream(stop, ones, {"good": perfect}))


# --- refusals ------------------------------------------------------------------------------------------------------


BAD_INPUTS = [
    (np.ones((1, 8, 8, 3), np.float32), r"shape \(H, W, 3\)"),
    (np.ones((8, 8), np.float32), r"shape \(H, W, 3\)"),
    (np.ones((8, 8, 4), np.float32), r"shape \(H, W, 3\)"),
    (np.ones((0, 8, 3), np.float32), r"shape \(H, W, 3\)"),
    (np.ones((8, 8, 3), np.uint8), "preprocessed floats, got uint8"),
    (np.full((8, 8, 3), np.nan, np.float32), "inputs must be finite"),
    (np.full((8, 8, 3), np.inf, np.float32), "inputs must be finite"),
]
BAD_MAPS = [
    (np.ones((8, 7), np.float32), r"shape \(8, 8\), got \(8, 7\)"),
    (np.ones((8, 8, 1), np.float32), r"shape \(8, 8\), got \(8, 8, 1\)"),
    (np.full((8, 8), np.nan, np.float32), "finite"),
    (np.full((8, 8), 1.1, np.float32), r"\[0, 1\], got 1.1 to 1.1"),
    (np.full((8, 8), -0.1, np.float32), r"\[0, 1\], got -0.1 to -0.1"),
]


def refused(message, inputs, cam_map, **options):
    """At the call, not at the first result."""
    with pytest.raises(ValueError, match=message):
        measure_stream(brightness_of_square, inputs, {"m": cam_map}, **options)


@pytest.mark.parametrize(("inputs", "message"), BAD_INPUTS)
def test_bad_inputs_are_refused(inputs, message, perfect):
    refused(message, inputs, perfect)


@pytest.mark.parametrize(("cam_map", "message"), BAD_MAPS)
def test_bad_maps_are_refused(cam_map, message, ones):
    refused(message, ones, cam_map)


@pytest.mark.parametrize("option", ["steps", "batch_size"])
@pytest.mark.parametrize("value", [0, -3, 2.5, "28", None])
def test_bad_counts_are_refused(option, value, ones, perfect):
    refused(f"{option} must be a whole number of at least 1, got {value!r}", ones, perfect, **{option: value})


@pytest.mark.parametrize("option", ["insertion_baseline", "deletion_baseline"])
def test_unknown_baselines_are_refused(option, ones, perfect):
    refused("Unknown baseline 'black'; it must be one of blur, zero", ones, perfect, **{option: "black"})


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_an_impossible_probability_is_refused(probability, ones, perfect):
    refused("probability must lie in", ones, perfect, probability=probability)


@pytest.mark.parametrize(
    ("score_fn", "message"),
    [
        (lambda batch: np.zeros((len(batch), 2)), r"one probability per picture, shape \(32,\), got \(32, 2\)"),
        (lambda batch: 0.5, r"got \(\)"),
        (lambda batch: np.full(len(batch), 7.0), "not logits, got 7 to 7"),
        (lambda batch: np.full(len(batch), -1.0), "not logits"),
        (lambda batch: np.full(len(batch), np.nan), "probabilities in"),
    ],
)
def test_a_score_fn_that_returns_no_probabilities_is_refused(score_fn, message, ones, perfect):
    with pytest.raises(ValueError, match=message):
        deletion_curve(score_fn, ones, perfect)


def test_rounding_beyond_one_is_not_an_error(ones, perfect):
    too_much = np.float32(1 + 1e-6)
    curve = deletion_curve(lambda batch: np.full(len(batch), too_much), ones, perfect * too_much)
    assert (curve.probabilities == 1).all()


@pytest.mark.parametrize(("cam_map", "message"), BAD_MAPS)
def test_a_cam_fn_that_returns_no_map_is_refused(cam_map, message, ones, perfect):
    with pytest.raises(ValueError, match="the map of cam_fn must.*" + message):
        measure(brightness_of_square, ones, perfect, lambda inputs: cam_map)


def test_stream_names_the_bad_map(ones, perfect):
    with pytest.raises(ValueError, match="the map of 'second' must"):
        measure_stream(brightness_of_square, ones, {"first": perfect, "second": perfect * 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"controls": ["noise"]}, r"Unknown controls \['noise'\]; they must be among random, gaussian, uniform"),
        ({"cam_fns": {"gradcam": None}}, r"no map for \['gradcam'\]; its keys must be among \['random'\]"),
        ({}, r"must not use the keys of the controls, got \['random'\]"),
    ],
)
def test_stream_refuses_keys_that_do_not_fit(options, message, ones, perfect):
    with pytest.raises(ValueError, match=message):
        measure_stream(brightness_of_square, ones, {"random": perfect}, **options)
