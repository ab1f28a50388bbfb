"""One run as a stream: what comes when, what it counts, how it is stopped, and which arguments are refused and how."""

import threading
from dataclasses import FrozenInstanceError
from itertools import count

import numpy as np
import pytest
from conftest import GRADIENT, LIMIT, TINY, together
from PIL import Image

from camkit import METHODS, Classifier, explain, explain_stream, scorecam, top_predictions
from camkit.evidence.sanity import sanity_stream
from camkit.evidence.sweep import sweep
from camkit.explain import contrast
from camkit.passes.worker import ONE_PICTURE, Worker

pytestmark = pytest.mark.numeric


@pytest.fixture
def fresh(tiny):
    """The tiny model in a Classifier whose block size and functions a test may replace."""
    classifier = Classifier(tiny.model, TINY)
    classifier.block_size = classifier.largest_block = 4
    return classifier


@pytest.fixture
def counted(fresh):
    """`fresh` and a list of the pictures in each masked pass, written where the passes happen."""
    sizes, masked = [], fresh.masked_logits
    fresh.masked_logits = lambda inputs, maps, *rest: (sizes.append(int(maps.shape[0])), masked(inputs, maps, *rest))[1]
    return fresh, sizes


# Snapshots


def test_snapshots_come_in_order_and_only_get_better(fresh, noise, monkeypatch):
    monkeypatch.setattr(scorecam, "REFRESH_SECONDS", 0.0)
    # `late` has 11 live channels; with blocks of 4 and Faster Score-CAM's stop at 6 they are taken as 4, 2, 4, 1.
    found = list(explain_stream(fresh, noise, METHODS, max_n=6))
    first = len(GRADIENT) + 1  # the prediction, then one map after another
    assert [tuple(snapshot.cams) for snapshot in found[:first]] == [GRADIENT[:count] for count in range(first)]
    assert [set(snapshot.cams) for snapshot in found[first:]] == [set(METHODS)] * 4
    assert [snapshot.cams["scorecam"].channels for snapshot in found[first:]] == [4, 6, 10, 11]
    assert [snapshot.cams["faster_scorecam"].channels for snapshot in found[first:]] == [4, 6, 6, 6]
    assert [snapshot.cams["scorecam"].complete for snapshot in found[first:]] == [False, False, False, True]
    assert [snapshot.cams["faster_scorecam"].complete for snapshot in found[first:]] == [False, True, True, True]
    assert [snapshot.complete for snapshot in found] == [False] * (len(found) - 1) + [True]
    seconds = [snapshot.seconds for snapshot in found]
    assert seconds == sorted(seconds)
    for snapshot in found:
        assert snapshot.predictions == found[0].predictions


def test_a_partial_map_is_the_map_of_its_channels(fresh, tiny, noise, monkeypatch):
    """The snapshot after eight of the channels is a Faster Score-CAM of eight channels, valid and not called final."""
    monkeypatch.setattr(scorecam, "REFRESH_SECONDS", 0.0)
    snapshot = next(
        snapshot
        for snapshot in explain_stream(fresh, noise, ("scorecam",), max_n=1)
        if snapshot.cams and snapshot.cams["scorecam"].channels == 8
    )
    cam = snapshot.cams["scorecam"]
    assert (cam.complete, cam.channels_total, cam.seconds_left > 0) == (False, 11, True)
    assert (cam.map.min(), cam.map.dtype) == (0, np.float32)
    assert cam.map.max() > 0.99
    expected = explain(tiny, noise, ("faster_scorecam",), max_n=8).cams["faster_scorecam"]
    np.testing.assert_allclose(cam.map, expected.map, atol=1e-5)


def test_seconds_left_are_those_of_each_method(fresh, noise):
    snapshots = list(explain_stream(fresh, noise, ("faster_scorecam", "scorecam"), max_n=6))
    first = snapshots[1].cams  # after 4 of 6 and of 11 channels: 2 and 7 are left
    assert first["faster_scorecam"].seconds_left == pytest.approx(first["scorecam"].seconds_left * 2 / 7)
    assert all(cam.seconds_left == 0 for cam in snapshots[-1].cams.values())


def test_faster_scorecam_beside_scorecam_is_faster_scorecam_alone(fresh, noise):
    beside = explain(fresh, noise, max_n=6).cams["faster_scorecam"]
    alone = explain(fresh, noise, ("faster_scorecam",), max_n=6).cams["faster_scorecam"]
    np.testing.assert_array_equal(beside.raw, alone.raw)
    np.testing.assert_array_equal(beside.map, alone.map)
    assert (beside.forward_passes, beside.channels) == (alone.forward_passes, alone.channels) == (7, 6)


def test_faster_scorecam_of_all_channels_is_scorecam(fresh, noise):
    cams = explain(fresh, noise, max_n=12).cams
    np.testing.assert_array_equal(cams["faster_scorecam"].map, cams["scorecam"].map)


def test_passes_are_counted_where_they_happen(counted, noise):
    classifier, sizes = counted
    cams = explain(classifier, noise, METHODS, max_n=6).cams
    assert sizes == [4, 2, 4, 1]
    assert {key: (cam.forward_passes, cam.backward_passes) for key, cam in cams.items()} == {
        **dict.fromkeys(GRADIENT, (1, 1)),
        "faster_scorecam": (1 + 6, 0),
        "scorecam": (1 + 11, 0),
    }
    assert all(cam.seconds > 0 for cam in cams.values())


def test_the_prediction_needs_one_pass_for_everything(fresh, noise, monkeypatch):
    costs, submit = [], Worker.submit
    monkeypatch.setattr(Worker, "submit", lambda *given: (costs.append(given[-1]), submit(*given))[1])
    explain(fresh, noise, GRADIENT)
    assert costs == [ONE_PICTURE]


def test_seconds_of_scorecam_hold_its_weighing_too(fresh, noise, monkeypatch):
    """A weighing that takes long shows in the method's seconds: the clock is one that the weighing turns."""
    clock = count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    cam = explain(fresh, noise, ("scorecam",)).cams["scorecam"]
    assert cam.seconds == 1 + 3 * 2  # the first pass, then three blocks of a pass and a weighing, one tick each


def test_what_an_explanation_says(fresh, noise):
    result = explain(fresh, noise, ["scorecam", "gradcam"], class_index=812, target_layer="early", max_n=3)
    probabilities = fresh.predict(noise)
    assert (result.model, result.target_layer, result.methods, result.max_n) == (
        "tiny",
        "early",
        ("gradcam", "scorecam"),
        3,
    )
    assert (result.class_index, result.class_name) == (812, "space shuttle")
    assert result.probability == pytest.approx(probabilities[812], rel=1e-3)
    assert [entry.class_index for entry in result.predictions] == np.argsort(-probabilities)[:10].tolist()
    assert result.cams["gradcam"].raw.shape == (24, 20)
    assert result.cams["gradcam"].map.shape == (48, 40)
    with pytest.raises(FrozenInstanceError):
        result.seconds = 0


def test_without_a_class_the_top_one_is_explained(fresh, noise):
    top = int(fresh.predict(noise).argmax())
    result = explain(fresh, noise, METHODS, max_n=3)
    assert result.class_index == top == result.predictions[0].class_index
    assert result.probability == result.predictions[0].probability
    given = explain(fresh, noise, METHODS, class_index=np.int64(top), max_n=3)
    for key in METHODS:
        np.testing.assert_array_equal(result.cams[key].map, given.cams[key].map)


def test_by_default_the_default_methods_are_computed_with_channels_that_the_layer_has(fresh, noise):
    """`early` has 8 channels, fewer than the default of Faster Score-CAM."""
    explanation = explain(fresh, noise, target_layer="early")
    assert set(explanation.cams) == {key for key, method in METHODS.items() if method.default}
    assert explanation.max_n == 8


def test_top_predictions_are_the_ten_best_in_order():
    probabilities = np.zeros(1000, np.float32)
    probabilities[[5, 812, 7]] = (0.2, 0.5, 0.2)
    found = top_predictions(probabilities)
    assert [entry.class_index for entry in found[:4]] == [812, 5, 7, 0]  # equals stay in order
    assert (len(found), found[0].name, found[0].wordnet_id) == (10, "space shuttle", "n04266014")
    assert found[0].probability == pytest.approx(0.5)


def test_the_picture_is_kept_as_given_and_never_changed(fresh):
    array = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    before = array.copy()
    array.flags.writeable = False
    result = explain(fresh, array, max_n=3)
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(result.image, before)
    assert not np.shares_memory(result.image, array)
    image = Image.fromarray(before).convert("RGBA")
    explain(fresh, image, max_n=3)
    assert (image.mode, image.size, image.convert("RGB").tobytes()) == ("RGBA", (40, 48), before.tobytes())


def test_a_picture_changed_while_the_stream_waits_does_not_matter(fresh):
    array = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    expected = explain(fresh, array, ("gradcam",), max_n=3).cams["gradcam"].map
    stream = explain_stream(fresh, array, ("gradcam",), max_n=3)
    array[:] = 0
    np.testing.assert_array_equal(list(stream)[-1].cams["gradcam"].map, expected)


@pytest.mark.parametrize("key", METHODS)
def test_one_method_alone_is_the_one_among_all(fresh, noise, key):
    alone = explain(fresh, noise, (key,), max_n=6)
    among = explain(fresh, noise, METHODS, max_n=6)
    assert tuple(alone.cams) == (key,)
    np.testing.assert_allclose(alone.cams[key].map, among.cams[key].map, atol=1e-5)


# Stopping


def test_closing_the_stream_stops_the_work_and_leaves_nothing_behind(counted, noise):
    classifier, sizes = counted
    stream = explain_stream(classifier, noise, ("scorecam",), max_n=3)
    next(stream)
    kept = next(stream)
    stream.close()
    assert sizes == [4]
    assert kept.cams["scorecam"].channels == 4
    assert next(stream, None) is None
    assert explain(classifier, noise, ("scorecam",), max_n=3).complete
    assert sizes == [4, 4, 4, 3]


@pytest.mark.parametrize(
    ("at", "sizes", "channels"),
    [(0, [], None), (1, [], None), (2, [4], 4), (3, [4, 2], 6)],
    ids=["before the first pass", "after the prediction", "after a block", "at Faster Score-CAM's end"],
)
def test_cancelling_ends_the_stream_after_the_pass_under_way_with_the_partial_map(counted, noise, at, sizes, channels):
    classifier, taken = counted
    cancel = threading.Event()
    if at == 0:
        cancel.set()
    masked = classifier.masked_logits

    def cancelled_meanwhile(*arguments):
        if len(taken) == at - 2:
            cancel.set()
        return masked(*arguments)

    classifier.masked_logits = cancelled_meanwhile
    found = []
    for snapshot in explain_stream(classifier, noise, ("faster_scorecam", "scorecam"), max_n=6, cancel=cancel):
        found.append(snapshot)
        if at == 1:
            cancel.set()
    assert taken == sizes
    assert not found[-1].complete
    if channels is None:
        assert not found[-1].cams
    else:
        assert found[-1].cams["scorecam"].channels == channels
        expected = explain(classifier, noise, ("faster_scorecam",), max_n=channels).cams["faster_scorecam"]
        np.testing.assert_allclose(found[-1].cams["scorecam"].map, expected.map, atol=1e-6)


def test_cancelling_ends_the_sweep_and_the_sanity_check_too(counted, noise):
    classifier, taken = counted
    for stream in (
        lambda cancel: sweep(classifier, noise, cancel=cancel),
        lambda cancel: sanity_stream(
            classifier, noise, {"scorecam": np.zeros((48, 40))}, classifier.question(7), cancel=cancel
        ),
    ):
        cancel, last = threading.Event(), None
        for last in stream(cancel):
            cancel.set()
        assert not last.complete
    assert taken == [1]  # the sweep's first stop; the sanity check ends before its first block


def test_another_thread_is_served_between_two_snapshots(fresh, noise):
    for _ in explain_stream(fresh, noise, max_n=6):
        together(lambda: fresh.predict(noise))


def test_a_stream_that_is_not_read_computes_nothing(counted, noise):
    classifier, sizes = counted
    explain_stream(classifier, noise, max_n=3).close()
    assert sizes == []
    assert classifier.passes.made == {}


def test_after_an_error_in_a_pass_the_next_call_works(fresh, noise, monkeypatch):
    def broken(*_):
        raise RuntimeError("a broken pass")

    with monkeypatch.context() as patch:
        patch.setattr(fresh.passes, "masked", lambda layer: broken)
        with pytest.raises(RuntimeError, match="a broken pass"):
            explain(fresh, noise, max_n=3)
    assert explain(fresh, noise, max_n=3).complete


# Several at once


def test_two_explanations_at_once_are_those_of_each_alone(fresh):
    images = [np.random.default_rng(seed).integers(0, 256, (48, 40, 3), np.uint8) for seed in range(2)]
    expected = [explain(fresh, image, METHODS, class_index=7, max_n=6) for image in images]
    found, both = {}, threading.Barrier(2)

    def work(number):
        both.wait(LIMIT)
        found[number] = [explain(fresh, images[number], METHODS, class_index=7, max_n=6) for _ in range(3)]

    together(lambda: work(0), lambda: work(1))
    for number, alone in enumerate(expected):
        for result in found[number]:
            for key in METHODS:
                np.testing.assert_allclose(result.cams[key].map, alone.cams[key].map, atol=1e-6)
                assert result.cams[key].forward_passes == alone.cams[key].forward_passes


def test_two_first_explanations_at_once(tiny, noise):
    """Nothing is compiled yet when both begin."""
    expected, classifier, both, found = (
        explain(tiny, noise, METHODS, max_n=6),
        Classifier(tiny.model, TINY),
        threading.Barrier(2),
        [],
    )

    def work():
        both.wait(LIMIT)
        found.append(explain(classifier, noise, METHODS, max_n=6))

    together(work, work)
    for result in found:
        for key in METHODS:
            np.testing.assert_allclose(result.cams[key].map, expected.cams[key].map, atol=1e-5)


# Bad arguments: at the call, before the stream is read, and nothing half-done stays behind

PICTURE = np.zeros((48, 40, 3), np.uint8)
BAD = {
    "no picture": (
        {"image": None},
        r"^The picture is a NoneType: give a Pillow image or an \(H, W, 3\) uint8 RGB array\.$",
    ),
    "a path": ({"image": "cat.jpg"}, r"^The picture is a str: give a Pillow image"),
    "1 x 1": ({"image": Image.new("RGB", (1, 1))}, r"^The picture is 1 x 1 pixels: each side must have at least 8\.$"),
    "empty": (
        {"image": np.zeros((0, 0, 3), np.uint8)},
        r"^The picture is 0 x 0 pixels: each side must have at least 8\.$",
    ),
    "enormous": (
        {"image": Image.new("1", (10_001, 10_001))},
        r"^The picture is 10001 x 10001 pixels: at most 25 megapixels",
    ),
    "grey array": (
        {"image": PICTURE[..., 0]},
        r"^The picture array is \(48, 40\) uint8: it must be \(H, W, 3\) uint8 RGB\.$",
    ),
    "float array": (
        {"image": PICTURE / 255},
        r"^The picture array is \(48, 40, 3\) float64: it must be \(H, W, 3\) uint8 RGB\.$",
    ),
    "no method": ({"methods": ()}, r"^No method is chosen: choose at least one of Grad-CAM \(gradcam\), "),
    "methods None": ({"methods": None}, r"^No method is chosen: choose at least one of Grad-CAM \(gradcam\), "),
    "method": ({"methods": ("gradcam", "lime")}, r"^Method 'lime' is unknown: use one of gradcam, "),
    "layer": ({"target_layer": "conv9"}, r"^Target layer 'conv9' is not offered by Tiny: use one of early, late\.$"),
    "class 1000": (
        {"class_index": 1000},
        r"^Class index 1000 does not exist: it must be a whole number from 0 to 999\.$",
    ),
    "class -1": ({"class_index": -1}, r"^Class index -1 does not exist"),
    "class 1.5": ({"class_index": 1.5}, r"^Class index 1\.5 does not exist"),
    "class by name": ({"class_index": "tabby"}, r"^Class index tabby does not exist"),
    "class True": ({"class_index": True}, r"^Class index True does not exist"),
    "max_n 0": ({"max_n": 0}, r"^max_n is 0: it must be a whole number from 1 to 12, the channels of late\.$"),
    "max_n -1": ({"max_n": -1}, r"^max_n is -1: it must be a whole number from 1 to 12"),
    "max_n 13": ({"max_n": 13}, r"^max_n is 13: it must be a whole number from 1 to 12, the channels of late\.$"),
    "max_n 9 of 8": ({"max_n": 9, "target_layer": "early"}, r"^max_n is 9: .* from 1 to 8, the channels of early\.$"),
    "max_n 2.0": ({"max_n": 2.0}, r"^max_n is 2\.0: it must be a whole number"),
    "max_n True": ({"max_n": True}, r"^max_n is True: it must be a whole number"),
}


@pytest.mark.parametrize(("change", "sentence"), BAD.values(), ids=BAD)
def test_bad_arguments(tiny, change, sentence):
    arguments = {"image": PICTURE, "max_n": 3} | change
    with pytest.raises(ValueError, match=sentence):
        explain_stream(tiny, **arguments)  # not even iterated
    assert explain(tiny, PICTURE, ("gradcam",), max_n=3).complete


@pytest.mark.parametrize("max_n", [1, np.int64(12)])
def test_the_ends_of_max_n(tiny, noise, max_n):
    assert explain(tiny, noise, ("faster_scorecam",), max_n=max_n).cams["faster_scorecam"].channels == min(11, max_n)


# Two classes


def test_contrast_is_on_one_scale(quarters, red_green_blue_black):
    """By hand: Grad-CAM's raw map for class 0 is 1 in the upper left cell (see test_stock), and for class 1, whose
    logit is constant, 0 everywhere."""
    first, second = (
        explain(quarters, red_green_blue_black, ("gradcam",), index, max_n=3).cams["gradcam"] for index in (0, 1)
    )
    result = contrast(first, second)
    falling = (7 - np.arange(8)) / 7
    np.testing.assert_allclose(result.first, np.outer(falling, falling), atol=1e-6)
    np.testing.assert_array_equal(result.second, np.zeros((8, 8)))
    np.testing.assert_array_equal(result.difference, result.first)
    np.testing.assert_array_equal(contrast(second, first).difference, -result.first)
    np.testing.assert_array_equal(contrast(second, second).difference, np.zeros((8, 8)))
