"""How pictures are scaled for a model: the choices are Keras's, and the constants inside a model decide or do not."""

import keras
import numpy as np
import pytest
from keras import layers

import camkit
from camkit import InputError
from camkit.models.adapt import adapt
from camkit.models.scaling import find_preprocess, inputs_in_words, zero_in_words

SIDE = 16


def network(*first, channels=3):
    """A small classifier behind what is called first: layers, or functions of a tensor."""
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((SIDE, SIDE, channels))
    for each in first:
        x = each(x)
    x = layers.Conv2D(4, 3, activation="relu", name="only")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


def normal(mean, deviation, **options):
    return layers.Normalization(mean=mean, variance=np.square(deviation), **options)


def adapted(low, high):
    """A Normalization adapted to pictures of this range, each colour with a mean of its own."""
    made = layers.Normalization()
    pictures = np.random.default_rng(0).beta([1.5, 2, 3], 2, (64, SIDE, SIDE, 3))
    made.adapt((low + (high - low) * pictures).astype(np.float32))
    return made


def batch_normal(mean, variance):
    made = layers.BatchNormalization()
    made.build((None, SIDE, SIDE, 3))
    made.set_weights([np.ones(3), np.zeros(3), np.full(3, mean), np.full(3, variance)])
    return made


def nested(*first):
    inputs = keras.Input((SIDE, SIDE, 3))
    x = inputs
    for each in first:
        x = each(x)
    return keras.Model(inputs, x)


IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
KERAS = keras.applications
DECIDED = {
    "rescaling": ("none", lambda: [layers.Rescaling(1 / 255)]),
    "rescaling to -1..1": ("none", lambda: [layers.Rescaling(1 / 127.5, offset=-1)]),
    "rescaling to -.5..0.5": ("none", lambda: [layers.Rescaling(1 / 255, offset=-0.5)]),
    "a scale of its own for each colour": ("none", lambda: [layers.Rescaling([1 / 255, 1 / 250, 1 / 260])]),
    "negative": ("none", lambda: [layers.Rescaling(-1 / 255, offset=1)]),
    "arithmetic": ("none", lambda: [lambda x: x / 255.0 - 0.5]),
    "preprocess_input tf": ("none", lambda: [KERAS.mobilenet_v2.preprocess_input]),
    "preprocess_input caffe": ("none", lambda: [KERAS.resnet50.preprocess_input]),
    "preprocess_input torch": ("none", lambda: [KERAS.densenet.preprocess_input]),
    "adapted to bytes": ("none", lambda: [adapted(0, 255)]),
    "adapted to dark pictures": ("none", lambda: [normal([20.0] * 3, [15.0] * 3)]),
    "adapted to bytes, one mean": ("none", lambda: [normal(33.3, 78.6, axis=None)]),
    "rescaled, then adapted": ("none", lambda: [layers.Rescaling(1 / 255), adapted(0, 1)]),
    "imagenet in bytes": ("none", lambda: [normal(*(255 * each for each in IMAGENET))]),
    "batch normalisation of bytes": ("none", lambda: [batch_normal(115.0, 60.0**2)]),
    "behind augmentation and a nested model": (
        "none",
        lambda: [layers.RandomFlip(), nested(layers.Rescaling(1 / 255)), layers.ZeroPadding2D(3)],
    ),
    "adapted to 0..1": ("unit", lambda: [adapted(0, 1)]),
    "imagenet": ("unit", lambda: [normal(*IMAGENET)]),
    "imagenet's deviation for its variance": ("unit", lambda: [normal(IMAGENET[0], np.sqrt(IMAGENET[1]))]),
    "mnist": ("unit", lambda: [normal(0.1307, 0.3081, axis=None)]),
    "multiplied by 255": ("unit", lambda: [layers.Rescaling(255.0)]),
    "multiplied by 255, then as usual": ("unit", lambda: [layers.Rescaling(255.0), layers.Rescaling(1 / 127.5, -1)]),
    "multiplied by 255, then imagenet": (
        "unit",
        lambda: [lambda x: 255 * x, layers.Rescaling(1 / 255), normal(*IMAGENET)],
    ),
    "doubled less one": ("unit", lambda: [lambda x: 2.0 * x - 1.0]),
    "batch normalisation of 0..1": ("unit", lambda: [batch_normal(0.45, 0.06)]),
    "halved and moved up": ("tf", lambda: [layers.Rescaling(0.5, offset=0.5)]),
    "adapted to -1..1": ("tf", lambda: [adapted(-1, 1)]),
    "back to bytes": ("tf", lambda: [layers.Rescaling(127.5, offset=127.5)]),
    "bent, onto 0..1": ("none", lambda: [lambda x: keras.ops.power(x / 255.0, 2.2)]),
    "cut off beyond 1": ("unit", lambda: [lambda x: keras.ops.clip(x, 0, 1)]),
    "cut off beyond 255": ("none", lambda: [lambda x: keras.ops.clip(x, 0, 255) / 255.0]),
    "logarithm": (None, lambda: [keras.ops.log1p]),
    "tanh": (None, lambda: [keras.ops.tanh]),
    "direction alone": (None, lambda: [layers.UnitNormalization()]),
    "nothing": (None, lambda: []),
    "augmentation alone": (None, lambda: [layers.RandomFlip(), layers.RandomRotation(0.2)]),
    "there and back": (None, lambda: [layers.Rescaling(255.0), layers.Rescaling(1 / 255)]),
    "not adapted": (None, lambda: [normal(0.0, 1.0, axis=None)]),
    "a narrow normal of grey": (None, lambda: [normal(0.3, 0.4, axis=None)]),
}


@pytest.mark.parametrize(("wanted", "make"), DECIDED.values(), ids=DECIDED)
def test_the_constants_of_a_models_own_scaling_decide_or_are_refused(wanted, make, noise):
    model = network(*make())
    assert adapt(model).preprocess == wanted
    if wanted is None:
        with pytest.raises(InputError, match=r"^How pictures are scaled for the model must be said, "):
            camkit.load(model)
        return
    classifier = camkit.load(model)
    assert classifier.spec.inputs == {"none": "0 to 255", "unit": "0 to 1", "tf": "-1 to 1"}[wanted]
    expected = camkit.load(model, preprocess=wanted).preprocess(noise)
    np.testing.assert_array_equal(classifier.preprocess(noise), expected)
    np.testing.assert_allclose(classifier.predict(noise), np.asarray(model(expected))[0], rtol=0, atol=1e-5)


def test_branches_that_ask_for_different_inputs_decide_nothing():
    def both(x):
        return layers.Concatenate()([layers.Conv2D(4, 1)(layers.Rescaling(s)(x)) for s in (1 / 255, 2.0)])

    assert adapt(network(both)).preprocess is None
    assert adapt(network(layers.Rescaling(1 / 255), lambda x: x + layers.Conv2D(3, 1)(x))).preprocess == "none"


def test_whole_numbers_as_inputs_are_bytes():
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    outputs = layers.Dense(3)(layers.Flatten()(layers.Conv2D(4, 3)(keras.ops.cast(inputs, "float32"))))
    assert adapt(keras.Model(inputs, outputs)).preprocess == "none"


@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny", "MobileNetV3Small"])
def test_networks_of_keras_that_scale_inside_take_bytes(name):
    model = getattr(KERAS, name)(weights=None, input_shape=(32, 32, 3), classes=3)
    assert adapt(model).preprocess == "none"


@pytest.mark.parametrize("choice", ["tf", "torch", "caffe"])
def test_preprocessing_is_that_of_keras(choice):
    picture = np.random.default_rng(0).uniform(0, 255, (5, 4, 3)).astype(np.float32)
    before = picture.copy()
    expected = KERAS.imagenet_utils.preprocess_input(picture.copy(), mode=choice)
    np.testing.assert_allclose(find_preprocess(choice, 3)(picture), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize(
    ("choice", "zero", "inputs"),
    [
        ("none", "black", "0 to 255"),
        ("unit", "black", "0 to 1"),
        ("tf", "mid grey", "-1 to 1"),
        ("torch", "the mean colour of ImageNet", "0 to 1, less ImageNet's mean over its deviation"),
        ("caffe", "the mean colour of ImageNet", "BGR less ImageNet's mean"),
        (lambda image: KERAS.resnet50.preprocess_input(image.copy()), "the mean colour of ImageNet", "BGR less .*"),
        (lambda image: image / 10 + 3, "the model's own zero", "3 to 28.5, by a function of its own"),
    ],
)
def test_zero_and_inputs_are_said_in_words(choice, zero, inputs):
    function = find_preprocess(choice, 3)
    assert zero_in_words(function, 3) == zero
    assert inputs_in_words(function, 3) == (inputs if "*" not in inputs else "BGR less ImageNet's mean")
    assert inputs_in_words(find_preprocess("unit", 1), 1) == "0 to 1"


CHOICES = r"'none' \(0 to 255\); 'unit' \(0 to 1\); 'tf' .*'torch' .*'caffe' .*"


@pytest.mark.parametrize(
    ("choice", "channels", "message"),
    [
        (None, 3, rf"How pictures are scaled for the model must be said, .*{CHOICES}"),
        ("imagenet", 3, rf"Preprocessing 'imagenet' is unknown: use one of {CHOICES}"),
        ("caffe", 1, r"Preprocessing 'caffe' is for colour, but the model takes grey pictures: .*"),
        (lambda image: image[None], 3, r"The preprocessing makes .* it must keep the shape\."),
        (lambda image: image * np.nan, 3, r"The preprocessing makes .* it must keep the shape\."),
    ],
)
def test_a_scaling_that_cannot_be_used_is_refused(choice, channels, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        camkit.load(network(channels=channels), preprocess=choice)


def test_a_function_of_ones_own_is_used(noise):
    model = network(layers.Rescaling(1 / 255))
    classifier = camkit.load(model, preprocess=lambda image: 255 - image)
    np.testing.assert_array_equal(classifier.preprocess(noise), 255 - camkit.load(model).preprocess(noise))
