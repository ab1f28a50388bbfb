"""Batch normalisation folded into the layer before it: the same answers of fewer layers, the model untouched."""

import keras
import numpy as np
import pytest
from keras import layers

from camkit.classifier import Classifier
from camkit.passes.folding import folded

pytestmark = pytest.mark.numeric


def normalised(**options):
    """A normalisation whose every number counts."""
    drawn = {f"{name}_initializer": keras.initializers.RandomUniform(0.3, 1.7, 5) for name in ("gamma", "beta")}
    drawn |= {
        f"moving_{name}_initializer": keras.initializers.RandomUniform(0.3, 1.7, 6) for name in ("mean", "variance")
    }
    return layers.BatchNormalization(**(drawn | options))


def network(*steps, shape=(6, 5, 4)) -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = outputs = keras.Input(shape)
    for step in steps:
        outputs = step(outputs)
    return keras.Model(inputs, outputs)


def twice():
    shared, norm = layers.Conv2D(4, 3, padding="same"), normalised()
    return lambda x: norm(shared(norm(shared(x))))


def used_before_and_after():
    conv, norm = layers.Conv2D(4, 3, padding="same"), normalised()

    def step(x):
        x = conv(x)
        return layers.Concatenate()([layers.ReLU()(x), norm(x)])

    return step


FOLDED = {
    "convolution": lambda: [layers.Conv2D(7, 3, 2, "same"), normalised()],
    "without a bias": lambda: [layers.Conv2D(7, (3, 1), use_bias=False), normalised()],
    "of groups": lambda: [layers.Conv2D(8, 3, groups=2), normalised()],
    "depthwise": lambda: [layers.DepthwiseConv2D(3, 2, "same", use_bias=False), normalised()],
    "depthwise with a multiplier": lambda: [layers.DepthwiseConv2D(3, depth_multiplier=3), normalised()],
    "separable": lambda: [layers.SeparableConv2D(7, 3, depth_multiplier=2), normalised()],
    "dense": lambda: [layers.Dense(9), normalised()],
    "axis by its number": lambda: [layers.Conv2D(7, 3), normalised(axis=3)],
    "neither scaled nor shifted": lambda: [layers.Conv2D(7, 3), normalised(scale=False, center=False)],
    "followed by more": lambda: [
        layers.Conv2D(7, 3),
        normalised(),
        layers.ReLU(6.0),
        layers.Flatten(),
        layers.Dense(3),
    ],
    "called twice": lambda: [twice()],
}
LEFT = {
    "behind an activation": lambda: [layers.Conv2D(7, 3, activation="relu"), normalised()],
    "behind another layer": lambda: [layers.Conv2D(7, 3), layers.ReLU(), normalised()],
    "of the picture": lambda: [normalised(), layers.Conv2D(7, 3)],
    "over another axis": lambda: [layers.Conv2D(7, 3), normalised(axis=1)],
    "nothing to fold": lambda: [layers.Conv2D(7, 3)],
}


def normalisations(model) -> int:
    return sum(isinstance(layer, layers.BatchNormalization) for layer in model.layers)


def assert_same_answers(model, found, shape=(6, 5, 4)):
    inputs = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    expected = model(inputs, training=False).numpy()
    np.testing.assert_allclose(found(inputs, training=False), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("steps", FOLDED.values(), ids=FOLDED)
def test_one_layer_stands_for_two(steps):
    model = network(*steps())
    found = folded(model)
    assert normalisations(model) > normalisations(found) == 0
    assert_same_answers(model, found)


def test_an_output_that_others_read_too_stays_as_it_was():
    model = network(used_before_and_after())
    found = folded(model)
    assert normalisations(found) == 0
    assert_same_answers(model, found)


@pytest.mark.parametrize("steps", LEFT.values(), ids=LEFT)
def test_what_is_not_one_linear_step_is_left(steps):
    model = network(*steps())
    assert folded(model) is model


def test_the_model_given_stays_as_it_is():
    model = network(*FOLDED["followed by more"]())
    before, outputs = model.get_weights(), [layer.output for layer in model.layers]
    found = folded(model)
    assert all(one is other for one, other in zip(outputs, [layer.output for layer in model.layers], strict=True))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.layers[-1] is model.layers[-1]  # nothing is copied that can be shared


def test_a_network_of_many_blocks_gives_its_answers():
    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None, classes=10, classifier_activation=None)
    random = np.random.default_rng(2)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    found = folded(model)
    assert (normalisations(model), normalisations(found)) == (52, 0)
    assert_same_answers(model, found, (96, 96, 3))


def test_a_trained_network_is_no_further_from_exact_arithmetic(lite0, chelsea):
    """Both round: the folded passes of a Classifier are as near to those in float64 as the model's own."""

    def exact(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": "float64"})

    in_float64 = keras.models.clone_model(
        lite0.model, input_tensors=keras.Input((224, 224, 3), dtype="float64"), clone_function=exact
    )
    in_float64.set_weights(lite0.model.get_weights())
    inputs = lite0.preprocess(chelsea)
    truth = in_float64(inputs.astype(np.float64), training=False).numpy()
    off = np.abs(Classifier(lite0.model, lite0.spec).logits(inputs) - truth).max()
    assert off < 1e-5
    assert off < 3 * np.abs(lite0.model(inputs, training=False).numpy() - truth).max()
