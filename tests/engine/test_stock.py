"""The maps: equal to stock tf-keras-vis, equal to what one reckons by hand, and whole in the corner cases."""

import json
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
from conftest import GRADIENT, SCORECAM, example, stock
from scipy.ndimage import zoom

from camkit import METHODS, classifier, explain, load
from camkit.classifier import Classifier
from camkit.methods import check_methods
from camkit.stock import finish, gradient_cam

pytestmark = pytest.mark.numeric

RAW = {"expand_cam": False, "normalize_cam": False}
EXACT = 1e-4
DEFAULT_N = 10  # Faster Score-CAM's channels


def assert_stock(classifier, image, key, layer, index, max_n=DEFAULT_N):
    """`.map` within 1e-4 of the stock visualizer's, and `.raw`, divided by its largest value, too. That value itself is
    within 0.2 %: Grad-CAM++'s holds exp(score), and scores differ by some 1e-4 with the order of summation."""
    cam = explain(classifier, image, (key,), index, layer, max_n).cams[key]
    inputs = classifier.preprocess(image)
    channels = taken(key, classifier.channels(layer), max_n)
    raw = stock(classifier.model, key, inputs, index, layer, channels, **RAW)
    expected = stocks_map(raw, classifier.input_size)
    assert expected.max() > 0.9  # there is something to compare
    assert (cam.map.shape, cam.map.dtype, cam.raw.dtype) == (classifier.input_size, np.float32, np.float32)
    np.testing.assert_allclose(cam.map, expected, atol=EXACT, rtol=0)
    np.testing.assert_allclose(cam.raw / cam.raw.max(), raw / raw.max(), atol=EXACT, rtol=0)
    np.testing.assert_allclose(cam.raw.max(), raw.max(), rtol=2e-3)
    assert cam.map.min() >= 0
    assert cam.map.max() <= 1
    assert cam.raw.min() >= 0


def stocks_map(raw, size):
    """(h, w) as stock's visualizers expand and normalise it, so that one run of stock gives both."""
    from tf_keras_vis.utils import normalize, zoom_factor

    return normalize(zoom(raw[None], zoom_factor((1, *raw.shape), (1, *size)), order=1))[0]


def taken(key, count, max_n):
    """How many channels stock is to take: None for a gradient method and for all of them."""
    channels = METHODS[key].channels
    return None if channels is None or channels(count, max_n) == count else channels(count, max_n)


# Parity with stock tf-keras-vis. A network of random weights is ill-conditioned: Grad-CAM++ divides by 2 + gradient x
# sum of activations, and near a zero of that stock itself moves by 2e-3 from one CPU's arithmetic to another's. So the
# gradient methods' formulas are tested on numbers away from it, the same for stock and for us; the passes that make
# such numbers on their own (test_classifier); and the whole on the trained classifier.


@pytest.mark.parametrize("shape", [(5, 3, 4), (7, 7, 1280), (14, 14, 512)], ids=str)
@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("key", GRADIENT)
def test_a_formula_gives_stocks_map_on_the_same_numbers(key, shape, index):
    """A linear layer has its kernel for a gradient, whatever the arithmetic. |gradient x sum| stays below 1."""
    import keras

    random = np.random.default_rng(1)
    activations = np.maximum(random.normal(size=(1, *shape)), 0).astype(np.float32)
    largest = activations.sum(axis=(1, 2)).max()
    kernel = random.uniform(-1 / largest, 1 / largest, (np.prod(shape), 3)).astype(np.float32)
    inputs = keras.Input(shape)
    cells = keras.layers.Activation("linear", name="cells")(inputs)
    outputs = keras.layers.Dense(3, use_bias=False, name="logits")(keras.layers.Flatten()(cells))
    model = keras.Model(inputs, outputs)
    model.get_layer("logits").set_weights([kernel])
    expected = stock(model, key, activations, index, "cells", **RAW)
    gradients = kernel[:, index].reshape(1, *shape)
    found = gradient_cam(METHODS[key], *map(tf_tensor, (activations, model(activations), gradients)), index)
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max(), rtol=0)


def tf_tensor(values):
    import tensorflow as tf

    return tf.convert_to_tensor(values)


@pytest.mark.parametrize("index", [None, 7, 812], ids=["top class", "7", "812"])
@pytest.mark.parametrize("layer", ["early", "late"])
@pytest.mark.parametrize("key", SCORECAM)
def test_tiny_equals_stock(tiny, noise, key, layer, index):
    assert_stock(tiny, noise, key, layer, int(tiny.predict(noise).argmax()) if index is None else index, 4)


@pytest.mark.parametrize("key", METHODS)
def test_stock_makes_its_map_of_its_raw_map(tiny, noise, key):
    expected = stock(tiny.model, key, tiny.preprocess(noise), 7, "late")
    raw = stock(tiny.model, key, tiny.preprocess(noise), 7, "late", **RAW)
    np.testing.assert_array_equal(stocks_map(raw, tiny.input_size), expected)


@pytest.mark.parametrize("layer", ["early", "late"])
@pytest.mark.parametrize("key", METHODS)
def test_tiny_maps_are_not_trivial(tiny, noise, key, layer):
    cam = explain(tiny, noise, (key,), None, layer, 4).cams[key]
    assert cam.map.max() > 0.9
    assert cam.map.std() > 0.02


@pytest.mark.parametrize(
    ("key", "layer"),
    [
        *((key, layer) for key in METHODS if key != "scorecam" for layer in ("top_activation", "block5c_add")),
        ("scorecam", "block3b_add"),  # all of its 40 channels; stock takes half a minute for the default layer's 1280
    ],
)
def test_lite0_equals_stock(lite0, chelsea, key, layer):
    assert_stock(lite0, chelsea, key, layer, 285)


@pytest.mark.slow
def test_full_scorecam_equals_stock_and_finds_the_shuttle(lite0):
    """All 1280 channels of the default layer, for pictures of 160 x 160 pixels: half the work. Stock's own map was
    written down once: stock(model, "scorecam", inputs, 812, "top_activation", **RAW) on astronaut.jpg. Class 812 is in
    the picture's right third, upper half; with the softmax taken twice it is missed."""
    import keras

    model = keras.models.clone_model(lite0.model, input_tensors=keras.Input((160, 160, 3)))
    model.set_weights(lite0.model.get_weights())
    smaller = Classifier(model, replace(lite0.spec, input_size=(160, 160)))
    reference = np.float32(json.loads(Path(__file__).with_name("stock_scorecam.json").read_text())["raw"])
    cam = explain(smaller, example("astronaut"), ("scorecam",), class_index=812).cams["scorecam"]
    np.testing.assert_allclose(cam.raw / cam.raw.max(), reference / reference.max(), atol=EXACT, rtol=0)
    np.testing.assert_allclose(cam.raw.max(), reference.max(), rtol=2e-3)
    assert_shuttle(cam)


@pytest.mark.parametrize("layer", ["block5_conv3", "block4_conv2"])
def test_vgg16_scorecam_of_4_channels_equals_stock(vgg16_small, chelsea, layer):
    index = int(vgg16_small.predict(chelsea).argmax())
    cam = explain(vgg16_small, chelsea, ("faster_scorecam",), index, layer, 4).cams["faster_scorecam"]
    expected = stock(vgg16_small.model, "faster_scorecam", vgg16_small.preprocess(chelsea), index, layer, 4)
    np.testing.assert_allclose(cam.map, expected, atol=EXACT, rtol=0)
    assert expected.max() > 0.9


@pytest.mark.network
@pytest.mark.parametrize("key", GRADIENT)
def test_vgg16_with_its_real_weights_equals_stock(key, chelsea):
    from conftest import VGG16_PATH

    if not VGG16_PATH:
        pytest.skip("VGG16's real weights are not here: name the file in CAMKIT_VGG16_WEIGHTS")
    classifier = load("vgg16", weights=VGG16_PATH)
    assert_stock(classifier, chelsea, key, "block5_conv3", int(classifier.predict(chelsea).argmax()))


@pytest.mark.gpu
def test_a_gpu_gives_stocks_map(lite0, chelsea):
    if not classifier.gpus():
        pytest.skip("this machine has no GPU that TensorFlow sees")
    cam = explain(lite0, chelsea, ("faster_scorecam",)).cams["faster_scorecam"]
    expected = stock(lite0.model, "faster_scorecam", lite0.preprocess(chelsea), 285, "top_activation", 10)
    np.testing.assert_allclose(cam.map, expected, atol=1e-3, rtol=0)


# By hand, on the quarters model. The picture's cells are, with R, G, B at [row, column]:
#   R = [[1, 0], [0, 0]]   G = [[0, 1], [0, 0]]   B = [[0, 0], [1, 0]]
# so the logit of class 0 is 4 x 1/4 - 8 x 1/4 = -1. Expanded from 2 x 2 to 8 x 8 with aligned corners, a cell that is 1
# falls off as (7 - i)/7 along each axis; over the near half of an axis that is (7+6+5+4)/28 = 11/14 on average, over
# the far half (3+2+1+0)/28 = 3/14.

FALLING = (7 - np.arange(8)) / 7


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def test_gradcam_by_hand(quarters, red_green_blue_black):
    # A mean over 4 cells passes back a quarter: the gradients are 4/4 = 1 for R, -8/4 = -2 for G, 0 for B, anywhere.
    # The map is ReLU(1 R - 2 G + 0 B) = R: 1 in the upper left cell, 0 in the upper right, where it was -2.
    cam = explain(quarters, red_green_blue_black, ("gradcam",), class_index=0, max_n=3).cams["gradcam"]
    np.testing.assert_allclose(cam.raw, [[1, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(cam.map, np.outer(FALLING, FALLING), atol=1e-6)
    assert (cam.forward_passes, cam.backward_passes, cam.channels, cam.channels_total) == (1, 1, 3, 3)


def test_gradcam_plus_plus_by_hand(quarters, red_green_blue_black):
    # exp(-1) = 0.3679. R: each alpha is g^2 / (2 g^2 + g^3 sum(R)) = 1 / (2 + 1) = 1/3, a quarter once divided by their
    # sum; the weight is 4 x 1/4 x ReLU(0.3679 x 1). G: its first derivative is negative, so its weight is 0 (its alpha
    # divides by 2 g^2 + g^3 sum(G) = 8 - 8 = 0, which makes stock's map NaN: ours is the limit). B: no gradient.
    cam = explain(quarters, red_green_blue_black, ("gradcam_plus_plus",), class_index=0, max_n=3).cams[
        "gradcam_plus_plus"
    ]
    np.testing.assert_allclose(cam.raw, [[np.exp(-1), 0], [0, 0]], rtol=2e-5)
    np.testing.assert_allclose(cam.map, np.outer(FALLING, FALLING), atol=1e-5)


def weights_by_hand():
    """The probability of class 0 through each channel. near = 11/14 and far = 3/14 are the mask's means, as above.

    R: red keeps near x near, green near x far.  G: red keeps near x far, green near x near.
    B: red keeps far x near, green far x far. The logit is red - 2 green.
    """
    near, far = 11 / 14, 3 / 14
    return (
        sigmoid(near * near - 2 * near * far),
        sigmoid(near * far - 2 * near * near),
        sigmoid(far * near - 2 * far * far),
    )


def test_scorecam_by_hand(quarters, red_green_blue_black):
    # The map is w_R R + w_G G + w_B B with w = (0.5697, 0.2561, 0.5191): each cell shows its own colour's weight.
    cam = explain(quarters, red_green_blue_black, ("scorecam",), class_index=0, max_n=3).cams["scorecam"]
    red, green, blue = weights_by_hand()
    assert (round(red, 4), round(green, 4), round(blue, 4)) == (0.5697, 0.2561, 0.5191)
    np.testing.assert_allclose(cam.raw, [[red, green], [blue, 0]], atol=1e-6)
    assert (cam.forward_passes, cam.backward_passes, cam.channels, cam.channels_total) == (4, 0, 3, 3)


def test_faster_scorecam_by_hand(quarters, red_green_blue_black):
    # Blue at half strength varies least, so of N = 2 channels R and G remain.
    image = red_green_blue_black // np.uint8([1, 1, 2])
    cam = explain(quarters, image, ("faster_scorecam",), class_index=0, max_n=2).cams["faster_scorecam"]
    red, green, _ = weights_by_hand()
    np.testing.assert_allclose(cam.raw, [[red, green], [0, 0]], atol=1e-6)
    assert (cam.forward_passes, cam.channels, cam.channels_total) == (3, 2, 2)


def test_a_dead_channel_needs_no_pass(quarters, red_green_blue_black):
    image = red_green_blue_black * np.uint8([1, 1, 0])
    cam = explain(quarters, image, ("scorecam",), class_index=0, max_n=3).cams["scorecam"]
    red, green, _ = weights_by_hand()
    np.testing.assert_allclose(cam.raw, [[red, green], [0, 0]], atol=1e-6)
    assert (cam.forward_passes, cam.channels, cam.channels_total) == (3, 2, 2)


# Corner cases


def test_stock_divides_by_zero_where_ours_does_not(quarters, red_green_blue_black):
    """The trap is there: 2 + gradient x sum of activations is 0 for the green channel (see above)."""
    with np.errstate(all="ignore"):
        expected = stock(
            quarters.model, "gradcam_plus_plus", quarters.preprocess(red_green_blue_black), 0, "cells", **RAW
        )
    assert np.isnan(expected).all()


def test_all_activations_zero_is_a_map_of_zeros(quarters):
    cams = explain(quarters, np.zeros((8, 8, 3), np.uint8), METHODS, class_index=0, max_n=3).cams
    assert set(cams) == set(METHODS)
    for cam in cams.values():
        np.testing.assert_array_equal(cam.raw, np.zeros((2, 2)))
        np.testing.assert_array_equal(cam.map, np.zeros((8, 8)))
        assert cam.complete
        assert cam.all_zero
        assert cam.forward_passes == 1
    assert {cams[key].channels_total for key in SCORECAM} == {0}


@pytest.mark.parametrize("key", GRADIENT)
def test_a_map_that_is_negative_everywhere_is_zero(quarters, key):
    # Green speaks against class 0 and there is nothing else: ReLU leaves nothing, and nothing over nothing stays so.
    image = np.full((8, 8, 3), (0, 200, 0), np.uint8)
    cam = explain(quarters, image, (key,), class_index=0, max_n=3).cams[key]
    assert cam.all_zero
    np.testing.assert_array_equal(cam.map, np.zeros((8, 8)))


def test_a_map_with_something_in_it_is_not_all_zero(quarters, red_green_blue_black):
    assert not any(
        cam.all_zero for cam in explain(quarters, red_green_blue_black, class_index=0, max_n=3).cams.values()
    )


@pytest.mark.parametrize("key", GRADIENT)
def test_no_gradient_is_a_map_of_zeros(quarters, red_green_blue_black, key):
    cam = explain(quarters, red_green_blue_black, (key,), class_index=5, max_n=3).cams[key]  # a constant logit
    assert cam.all_zero
    assert np.isfinite(cam.map).all()


@pytest.mark.parametrize("logit", [88.0, 89.0, 500.0, 3e4])
def test_gradcam_plus_plus_of_a_score_whose_exponential_overflows(tiny, noise, logit):
    """exp(89) is infinite in float32; the map is that of the same model with all logits shifted down."""
    activations, logits, gradients = tiny.forward_with_gradient(tiny.preprocess(noise), "late", 7)
    shift = logit - float(logits[0, 7])
    method = METHODS["gradcam_plus_plus"]
    raw = gradient_cam(method, activations, logits + shift, gradients, 7)
    usual = gradient_cam(method, activations, logits + (20.0 - float(logits[0, 7])), gradients, 7)
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(finish(raw, (48, 40)), finish(usual, (48, 40)), atol=1e-4)
    assert usual.any()


def test_stock_overflows_where_ours_does_not(tiny, noise):
    """The trap is there: without it the lowering of the score would be idle."""
    import keras

    shifted = keras.models.clone_model(tiny.model)
    shifted.set_weights(tiny.model.get_weights())
    kernel, bias = shifted.get_layer("logits").get_weights()
    shifted.get_layer("logits").set_weights([kernel, bias + 200])
    with np.errstate(all="ignore"):
        expected = stock(shifted, "gradcam_plus_plus", tiny.preprocess(noise), 7, "late")
    assert not np.isfinite(expected).all()
    ours = explain(Classifier(shifted, tiny.spec), noise, ("gradcam_plus_plus",), 7).cams["gradcam_plus_plus"]
    usual = explain(tiny, noise, ("gradcam_plus_plus",), 7).cams["gradcam_plus_plus"]
    np.testing.assert_allclose(ours.map, usual.map, atol=1e-3)


def test_finish_of_one_cell_and_of_a_constant():
    np.testing.assert_array_equal(finish(np.float32([[3]]), (8, 8)), np.zeros((8, 8)))
    np.testing.assert_allclose(finish(np.float32([[0, 2]]), (3, 3)), [[0, 0.5, 1]] * 3, atol=1e-6)


def test_a_layer_of_one_cell(tiny):
    """Every channel of a 1 x 1 map is constant: no mask, no shape, but valid maps, and stock agrees."""
    import keras
    from conftest import TINY

    keras.utils.set_random_seed(1)
    inputs = keras.Input((48, 40, 3))
    cell = keras.layers.Conv2D(6, (48, 40), activation="relu", bias_initializer="ones", name="cell")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1000)(keras.layers.Flatten()(cell)))
    classifier = Classifier(model, replace(TINY, target_layers=("cell",)))
    image = np.random.default_rng(0).integers(100, 150, (48, 40, 3), np.uint8)
    cams = explain(classifier, image, class_index=7, max_n=2).cams
    for key, cam in cams.items():
        expected = stock(model, key, classifier.preprocess(image), 7, "cell", taken(key, 6, 2), **RAW)
        np.testing.assert_allclose(cam.raw, expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(cam.map, np.zeros((48, 40)))


@pytest.mark.parametrize("name", ["astronaut.jpg", "astronaut.png"])
def test_grad_cam_finds_the_shuttle(lite0, name):
    from test_classifier import in_wheel

    from camkit import open_picture

    image = example("astronaut") if name.endswith("jpg") else open_picture(in_wheel(name))
    assert_shuttle(explain(lite0, image, ("gradcam",), class_index=812).cams["gradcam"])


def assert_shuttle(cam):
    height, width = cam.map.shape
    row, column = np.unravel_index(cam.map.argmax(), cam.map.shape)
    assert row < height / 2
    assert column >= width * 2 / 3


# The registry


def test_every_entry_is_whole():
    from tf_keras_vis import ModelVisualization

    assert {"gradcam", "gradcam_plus_plus", "faster_scorecam", "scorecam"} <= set(METHODS)
    for key, method in METHODS.items():
        assert method.key == key
        assert issubclass(resolve_name(method.visualizer), ModelVisualization)
        assert method.url.startswith("https://")
        assert all((method.name, method.summary, method.formula, method.differs, method.paper))


def test_check_methods_orders_and_drops_doubles():
    assert check_methods(["scorecam", "gradcam", "scorecam"]) == ("gradcam", "scorecam")
    assert check_methods("gradcam") == ("gradcam",)
    assert check_methods(iter(METHODS)) == tuple(METHODS)


@pytest.mark.parametrize("methods", [(), [], None, {}])
def test_no_method(methods):
    with pytest.raises(ValueError, match=r"^No method is chosen: choose at least one of Grad-CAM \(gradcam\), .*\.$"):
        check_methods(methods)


@pytest.mark.parametrize("methods", ["gradcam2", ["gradcam", "Grad-CAM"], [None], [["gradcam"]]])
def test_an_unknown_method(methods):
    with pytest.raises(ValueError, match=rf"^Method '.*' is unknown: use one of {', '.join(METHODS)}\.$"):
        check_methods(methods)
