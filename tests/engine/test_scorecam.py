"""Score-CAM's channels: their order, the dead among them, the blocks, and what happens when a GPU's memory ends."""

import numpy as np
import pytest
from conftest import stock

from camkit import METHODS, scorecam
from camkit.classifier import Classifier, Meter
from camkit.explanation import Question
from camkit.scorecam import ranked_channels, scorecam_blocks

pytestmark = pytest.mark.numeric


def run(classifier, image, layer, stops):
    """Return all states of a run, and its meter."""
    inputs, meter = classifier.preprocess(image), Meter()
    activations = classifier.forward(inputs, layer)[0]
    method = METHODS["scorecam"]
    return list(scorecam_blocks(classifier, method, inputs, activations, Question(7, layer, 1), stops, meter)), meter


@pytest.fixture
def fresh(tiny):
    """The tiny model in a Classifier whose parts a test may replace."""
    return Classifier(tiny.model, tiny.spec)


def test_channels_in_order_of_falling_deviation_without_the_dead():
    # Six channels over two positions: deviations 0.5, 0 (dead), 2, 0 (constant), 0 (dead), 1.
    activations = np.float32([[0, 0, 0, 3, 0, 1], [1, 0, 4, 3, 0, 3]]).reshape(1, 1, 2, 6)
    channels, ranks = ranked_channels(activations)
    assert channels.tolist() == [2, 5, 0, 3]
    assert ranks.tolist() == [1, 2, 3, 5]  # the dead channel 1 ties with 3 and comes first


def test_a_live_channel_may_be_negative_or_sum_to_zero():
    activations = np.float32([[-1, 1, 0], [-1, -1, 0]]).reshape(1, 1, 2, 3)
    assert ranked_channels(activations)[0].tolist() == [1, 0]


def test_blocks_end_at_every_stop(fresh, noise, monkeypatch):
    fresh.block_size = fresh.largest_block = 4
    monkeypatch.setattr(scorecam, "REFRESH_SECONDS", 0.0)
    found, meter = run(fresh, noise, "late", [6, 12])
    assert [state.done for state in found] == [4, 6, 10, 11]
    assert {state.live for state in found} == {11}  # channel 3 is dead
    assert meter.forward_passes == 11
    assert [state.meter.forward_passes for state in found] == [4, 6, 10, 11]
    assert [found[0].to_do(channels) for channels in (1, 6, 10, 11, 12)] == [1, 6, 10, 10, 11]


def test_between_two_stops_the_map_is_made_no_more_often_than_it_is_wanted(fresh, noise, monkeypatch):
    fresh.block_size = fresh.largest_block = 2
    monkeypatch.setattr(scorecam, "REFRESH_SECONDS", 1000.0)
    found, meter = run(fresh, noise, "late", [6, 12])
    assert [state.done for state in found] == [2, 6, 11]  # the first block and the stops
    assert [state.meter.forward_passes for state in found] == [2, 6, 11]
    assert meter.forward_passes == 11
    monkeypatch.setattr(scorecam, "REFRESH_SECONDS", 0.0)
    often, _ = run(fresh, noise, "late", [6, 12])
    assert [state.done for state in often] == [2, 4, 6, 8, 10, 11]
    for number, same in ((1, 2), (2, 5)):
        np.testing.assert_allclose(found[number].total, often[same].total, atol=1e-6)


def test_seconds_left_end_at_zero_and_seconds_grow(fresh, noise):
    fresh.block_size = fresh.largest_block = 2
    found, _ = run(fresh, noise, "late", [12])
    assert found[-1].seconds_left == 0
    assert all(state.seconds_left > 0 for state in found[:-1])
    seconds = [state.meter.seconds for state in found]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


@pytest.mark.parametrize("size", [1, 3, 5, 128])
def test_the_sum_does_not_depend_on_the_blocks(fresh, noise, size):
    fresh.block_size = fresh.largest_block = size
    found, _ = run(fresh, noise, "late", [12])
    expected = stock(
        fresh.model,
        "scorecam",
        fresh.preprocess(noise),
        7,
        "late",
        expand_cam=False,
        normalize_cam=False,
        activation_modifier=None,
    )
    np.testing.assert_allclose(found[-1].total, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("max_n", range(1, 13))
def test_every_prefix_is_stock_faster_scorecam(tiny, noise, max_n):
    """Up to the places where dead and constant channels tie: 3 (dead) is 11th, 5 (constant) is 12th."""
    found, _ = run(tiny, noise, "late", [max_n])
    expected = stock(
        tiny.model, "faster_scorecam", tiny.preprocess(noise), 7, "late", max_n, expand_cam=False, normalize_cam=False
    )
    np.testing.assert_allclose(np.maximum(found[-1].total, 0), expected, rtol=1e-4, atol=1e-6)


def test_weighing_in_parts_is_weighing_at_once(tiny, noise, monkeypatch):
    whole, _ = run(tiny, noise, "early", [8])
    monkeypatch.setattr("camkit.stock.WEIGH_FLOATS", 24 * 20 * 3 * 3)  # three channels of 24 x 20 at a time
    parts, _ = run(tiny, noise, "early", [8])
    np.testing.assert_allclose(parts[-1].total, whole[-1].total, rtol=1e-5, atol=1e-6)


def cramped(classifier, room) -> list[int]:
    """Let the classifier's device hold `room` masked pictures; return the list of sizes asked for from now on."""
    import tensorflow as tf

    sizes, original = [], classifier.passes.masked("late")

    def masked(inputs, maps):
        sizes.append(int(maps.shape[0]))
        if maps.shape[0] > room:
            raise tf.errors.ResourceExhaustedError(None, None, "the GPU is full")
        return original(inputs, maps)

    classifier.passes.masked = lambda layer: masked
    return sizes


def test_a_full_gpu_halves_the_block_and_goes_on(fresh, tiny, noise, monkeypatch):
    monkeypatch.setattr("camkit.classifier.gpus", lambda: ("a GPU",))
    fresh.block_size = fresh.largest_block = 16
    sizes = cramped(fresh, 4)
    found, meter = run(fresh, noise, "late", [12])
    expected, _ = run(tiny, noise, "late", [12])
    assert sizes == [11, 8, 4, 4, 3]
    assert fresh.block_size == 4
    assert meter.forward_passes == 11  # what did not run is not counted
    np.testing.assert_allclose(found[-1].total, expected[-1].total, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("gpus", "room", "sizes"),
    [((), 4, [11]), (("a GPU",), 0, [11, 8, 4, 2, 1])],
    ids=["on a CPU", "not even one picture fits"],
)
def test_memory_that_halving_cannot_help_is_an_error(fresh, noise, monkeypatch, gpus, room, sizes):
    import tensorflow as tf

    fresh.block_size = fresh.largest_block = 16
    monkeypatch.setattr("camkit.classifier.gpus", lambda: gpus)
    asked = cramped(fresh, room)
    with pytest.raises(tf.errors.ResourceExhaustedError, match="the GPU is full"):
        run(fresh, noise, "late", [12])
    assert asked == sizes
