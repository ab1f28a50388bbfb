"""Any Keras classifier becomes one flat model with logits: its probabilities are the original's, its maps stock's."""

import os
import re
from importlib.metadata import distribution

import keras
import numpy as np
import pytest
from conftest import GRADIENT, METHODS, SCORECAM, example, save, stock
from keras import layers

import camkit
from camkit import InputError
from camkit.models.adapt import adapt
from camkit.passes.outputs import softmax

pytestmark = pytest.mark.numeric
SIZE = (32, 40, 3)
# Grad-CAM++ divides by a difference that comes near zero on random weights, where stock itself moves by 1e-3 from CPU
# to CPU: it is compared on trained networks, below.
STEADY = tuple(key for key in METHODS if key != "gradcam_plus_plus")
# One method for each way through a flat model: with its gradient, and with pictures seen through maps.
ONE_OF_EACH = GRADIENT[0], SCORECAM[-1]


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(5)


# Shapes that people bring


def convolutions(inputs, pool=True):
    outputs = layers.Conv2D(8, 3, padding="same", activation="relu", name="early")(inputs)
    outputs = layers.BatchNormalization(name="normal")(outputs)
    if pool:
        outputs = layers.MaxPooling2D(name="pool")(outputs)
    return layers.Conv2D(12, 3, padding="same", activation="relu", name="late")(outputs)


def base(shape=SIZE, name="base"):
    inputs = keras.Input(shape)
    return keras.Model(inputs, convolutions(inputs), name=name)


def head(features, classes=5, activation="softmax"):
    return layers.Dense(classes, activation=activation)(layers.Flatten()(features))


def functional(make, shape=SIZE, **options):
    inputs = keras.Input(shape, **options)
    return keras.Model(inputs, make(inputs))


def sequential(*stack):
    return keras.Sequential([keras.Input(SIZE), *stack])


def flat_with_logits():
    return functional(lambda x: head(convolutions(x), activation=None))


def softmax_inside():
    return functional(lambda x: head(convolutions(x)))


def sequence():
    return sequential(layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(5, activation="softmax"))


def nested_in_a_sequence():
    return sequential(
        layers.RandomFlip(), base(), layers.GlobalAveragePooling2D(), layers.Dropout(0.5), layers.Dense(5, "softmax")
    )


def nested_and_called_for_inference():
    augmentation = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2)], name="augmentation")
    return functional(lambda x: head(base()(augmentation(x) * 2.0 - 1.0, training=False)))


def nested_twice():
    inner = base(name="inner")
    outer = functional(lambda x: layers.Conv2D(6, 3, activation="relu", name="last")(inner(x)))
    outer.name = "outer"
    return functional(lambda x: head(outer(x)))


def called_twice():
    shared = base((32, 40, 8), name="shared")

    def make(x):
        x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
        x = layers.Concatenate()([shared(x), shared(x * 0.5)])
        return head(layers.Conv2D(6, 1, activation="relu", name="join")(x))

    return functional(make)


def layer_called_twice():
    again = layers.Conv2D(8, 3, padding="same", activation="relu", name="again")

    def make(x):
        x = again(again(layers.Conv2D(8, 1, name="before")(x)))
        return head(layers.Conv2D(6, 3, activation="relu", name="after")(x))

    return functional(make)


def residual():
    def make(x):
        x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
        return head(layers.GlobalAveragePooling2D()(x + layers.Conv2D(8, 3, padding="same", name="branch")(x)))

    return functional(make)


def any_size():
    return functional(
        lambda x: layers.Dense(5, "softmax")(layers.GlobalMaxPooling2D()(convolutions(x))), (None, None, 3)
    )


def grey():
    return functional(lambda x: head(convolutions(x)), (28, 24, 1))


def bytes_in():
    return functional(lambda x: head(convolutions(layers.Rescaling(1 / 255)(x))), dtype="uint8")


def fixed_batch():
    return functional(lambda x: head(convolutions(x)), batch_size=2)


def normalised():
    normal = layers.Normalization()
    normal.adapt(np.random.default_rng(0).uniform(0, 255, (8, *SIZE)).astype(np.float32))
    return sequential(normal, base(), layers.Flatten(), layers.Dense(5, "softmax"))


def code_in_a_layer():
    """A model in memory is its owner's own code; a file with a Lambda layer is refused."""
    return functional(
        lambda x: head(convolutions(layers.Lambda(lambda pixels, by: pixels * by, arguments={"by": 2.0})(x)))
    )


def named_in_and_out():
    inputs = keras.Input(SIZE, name="photo")
    return keras.Model({"photo": inputs}, {"kind": head(convolutions(inputs))})


SHAPES = (
    flat_with_logits,
    softmax_inside,
    sequence,
    nested_in_a_sequence,
    nested_and_called_for_inference,
    nested_twice,
    called_twice,
    layer_called_twice,
    residual,
    any_size,
    grey,
    bytes_in,
    fixed_batch,
    normalised,
    code_in_a_layer,
    named_in_and_out,
)


def answer(model, inputs):
    """(classes,) probabilities as the model given says them."""
    batch = np.repeat(inputs, model.inputs[0].shape[0] or 1, axis=0)
    given = model({"photo": batch} if model.inputs[0].name == "photo" else batch, training=False)
    given = np.asarray(keras.tree.flatten(given)[0])[0].ravel()
    return given if (given >= 0).all() and abs(given.sum() - 1) < 1e-4 else softmax(given[None])[0]


def same_maps(classifier, image, keys, layer=None, class_index=None, max_n=4):
    """Every map equals that of stock's visualizer on the classifier's own model to 1e-4, and is not empty."""
    explanation = camkit.explain(classifier, image, keys, class_index, layer, max_n)
    inputs = classifier.preprocess(image)
    for key in keys:
        found, n = explanation.cams[key].map, max_n if key == "faster_scorecam" else None
        expected = stock(classifier.model, key, inputs, explanation.class_index, explanation.target_layer, n)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=key)
        assert found.max() > 0.99, key
    return explanation


@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_any_shape_answers_as_before_and_has_stocks_maps(make, chelsea):
    model = make()
    before = [weight.copy() for weight in model.get_weights()]
    classifier = camkit.load(model, preprocess="none" if make in (bytes_in, normalised) else "unit")
    inputs = classifier.preprocess(chelsea)
    np.testing.assert_allclose(classifier.predict(chelsea), answer(model, inputs), rtol=0, atol=1e-5)
    same_maps(classifier, chelsea, STEADY if make is nested_twice else ONE_OF_EACH)
    if make is nested_twice:
        same_maps(classifier, chelsea, STEADY, classifier.target_layers[0])
    np.testing.assert_allclose(classifier.predict(chelsea), answer(model, inputs), rtol=0, atol=1e-5)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_flat_model_with_logits_is_used_without_a_copy_and_others_are_copied():
    model = flat_with_logits()
    assert adapt(model).model is model
    for make in (softmax_inside, nested_twice):
        model = make()
        copy = adapt(model).model
        assert copy is not model
        assert not {id(each) for each in model.weights} & {id(each) for each in copy.weights}
        assert len(copy.weights) == len(model.weights)


def test_a_layer_that_another_model_called_first_is_copied(chelsea):
    """Its `output` is that other model's tensor, which a trunk and a head of this one cannot be cut at."""
    early = layers.Conv2D(8, 3, activation="relu", name="early")
    functional(early)
    model = functional(lambda x: head(early(x), activation=None))
    classifier = camkit.load(model, preprocess="unit")
    assert classifier.model is not model
    same_maps(classifier, chelsea, STEADY)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (flat_with_logits, ("early", "normal", "late")),
        (nested_in_a_sequence, ("base.early", "base.normal", "base.late")),
        (nested_twice, ("outer.inner.early", "outer.inner.normal", "outer.inner.late", "outer.last")),
        (called_twice, ("stem", "concatenate", "join")),
        (layer_called_twice, ("before", "after")),
        (residual, ("stem", "add")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_target_layers_are_those_that_every_path_goes_through(make, expected):
    """In network order, nested ones by readable names; nothing inside a branch, nothing that only pools."""
    found = adapt(make()).target_layers
    assert tuple(name.rstrip("_0123456789") for name in found) == expected


def test_branches_that_begin_at_the_picture_join_in_a_target_layer():
    def make(x):
        return head(layers.Concatenate(name="joined")([layers.Conv2D(4, 3)(x), layers.Conv2D(4, 3)(x)]))

    assert adapt(functional(make)).target_layers == ("joined",)


def test_a_pooling_layer_is_offered_where_there_is_no_other():
    again = layers.Conv2D(3, 3, padding="same")
    model = functional(lambda x: head(layers.MaxPooling2D(name="smaller")(again(again(x)))))
    assert adapt(model).target_layers == ("smaller",)


def backbone(name, count):
    inputs = keras.Input(SIZE)
    x = layers.Conv2D(count, 3, 2, padding="same", activation="relu", name="first")(inputs)
    x = x + layers.Conv2D(count, 3, padding="same", name="branch")(x)
    return keras.Model(inputs, layers.Conv2D(count, 3, activation="relu", name="last")(x), name=name)


def backbones():
    """Two networks that are pooled and concatenated."""

    def make(x):
        pooled = [
            layers.GlobalAveragePooling2D()(backbone("a", 6)(x)),
            layers.GlobalMaxPooling2D()(backbone("b", 4)(x)),
        ]
        return layers.Dense(5, "softmax")(layers.Concatenate()(pooled))

    return functional(make)


def several_depths():
    """Features of two depths are pooled and added up behind a stem that both share."""

    def make(x):
        x = layers.Conv2D(6, 3, activation="relu", name="stem")(x)
        deep = layers.Conv2D(6, 3, 2, activation="relu", name="deep")(x)
        pool = layers.GlobalAveragePooling2D(keepdims=True)
        return layers.Flatten()(
            layers.Conv2D(5, 1)(pool(layers.Conv2D(6, 1, activation="relu", name="shallow")(x)) + pool(deep))
        )

    return functional(make)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (backbones, {"a.first", "a.add", "a.last", "b.first", "b.add", "b.last"}),
        (several_depths, {"stem", "deep", "shallow"}),
    ],
)
def test_each_part_of_a_network_in_parts_has_its_target_layers(make, expected, chelsea):
    """A gradient with respect to one part's layer leaves the other part as it is."""
    model = make()
    classifier = camkit.load(model, preprocess="unit")
    assert {name.rstrip("_0123456789") for name in classifier.target_layers} == expected
    inputs = classifier.preprocess(chelsea)
    np.testing.assert_allclose(classifier.predict(chelsea), answer(model, inputs), rtol=0, atol=1e-5)
    for layer in classifier.target_layers:
        same_maps(classifier, chelsea, ONE_OF_EACH, layer)
        _, logits, gradients = classifier.forward_with_gradient(inputs, layer, 2)
        np.testing.assert_allclose(logits, classifier.logits(inputs), rtol=0, atol=1e-5)
        np.testing.assert_allclose(gradients, plain_keras(classifier, chelsea, layer, 2)[1], rtol=0, atol=1e-6)


@pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ,
    reason="TensorFlow asks the CPU whether oneDNN computes in 16 bits, and oneDNN's limit is not that of the CPU",
)
def test_16_bit_networks_are_explained_in_32(chelsea):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = sequential(
            layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(5), layers.Softmax(dtype="float32")
        )
    finally:
        keras.config.set_dtype_policy("float32")
    classifier = camkit.load(model, preprocess="unit")
    assert {layer.compute_dtype for layer in classifier.model.layers} == {"float32"}
    # Half precision has 11 bits: its own rounding is what is left.
    np.testing.assert_allclose(classifier.predict(chelsea), answer(model, classifier.preprocess(chelsea)), atol=2e-3)
    same_maps(classifier, chelsea, STEADY)


# Trained networks, every method


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A small network trained on scikit-learn's digits, as a file; its accuracy on digits that it has not seen; one of
    these as a picture, and what it is."""
    keras.utils.set_random_seed(2)
    path = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.random.default_rng(0).permutation(np.loadtxt(path, delimiter=","))
    pictures, classes = np.rint(table[:, :64].reshape(-1, 8, 8, 1) * 255 / 16).astype(np.float32), table[:, 64]
    (unseen, seen), (wanted, known) = np.split(pictures, [450]), np.split(classes, [450])
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Rescaling(1 / 255)])
    for count in (16, 32, 48):
        model.add(layers.Conv2D(count, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.8))
        model.add(layers.ReLU(name=f"strokes_{count}"))
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(seen, known, epochs=3, batch_size=32, verbose=0)
    _, accuracy = model.evaluate(unseen, wanted, verbose=0)
    path = tmp_path_factory.mktemp("digits") / "digits.keras"
    save(model, path)
    return path, accuracy, np.repeat(unseen[0].astype(np.uint8), 3, axis=-1), int(wanted[0])


def test_a_grey_network_trained_on_digits(digits):
    path, accuracy, picture, wanted = digits
    assert accuracy > 0.95
    classifier = camkit.load(path, labels=[f"digit {index}" for index in range(10)])
    assert (classifier.name, classifier.input_size, classifier.target_layers[-1]) == ("digits", (8, 8), "strokes_48")
    original = keras.saving.load_model(path)
    inputs = classifier.preprocess(picture)
    np.testing.assert_array_equal(inputs[0, ..., 0], picture[..., 0])
    np.testing.assert_allclose(classifier.predict(picture), original(inputs)[0], rtol=0, atol=1e-5)
    explanation = same_maps(classifier, picture, tuple(METHODS))
    assert (explanation.class_name, explanation.class_index) == (f"digit {wanted}", wanted)
    assert {each.wordnet_id for each in explanation.predictions} == {""}


def test_a_transfer_learning_model_on_the_bundled_network(lite0, chelsea, coffee):
    """Nested as every tutorial nests it, its head trained on the features of two pictures."""
    trunk = keras.Model(lite0.model.inputs[0], lite0.model.get_layer("top_activation").output, name="lite")
    model = keras.Sequential(
        [
            keras.Input((224, 224, 3)),
            layers.RandomFlip(),
            layers.Rescaling(1 / 128, offset=-127 / 128),
            trunk,
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(2, activation="softmax"),
        ]
    )
    features = [trunk(lite0.preprocess(image)).numpy().mean(axis=(0, 1, 2)) for image in (chelsea, coffee)]
    difference = features[0] - features[1]
    scale = 4 / (difference @ difference)
    middle = scale * difference @ (features[0] + features[1]) / 2
    model.layers[-1].set_weights([np.stack([difference, -difference], 1) * scale, np.array([-middle, middle])])
    classifier = camkit.load(model, ["cat", "coffee"])
    np.testing.assert_allclose(
        classifier.predict(chelsea), model(classifier.preprocess(chelsea), training=False)[0], rtol=0, atol=1e-5
    )
    assert classifier.labels.top_predictions(classifier.predict(coffee), 1)[0].name == "coffee"
    assert same_maps(classifier, chelsea, (*GRADIENT, "faster_scorecam"), max_n=3).class_name == "cat"
    assert same_maps(classifier, chelsea, GRADIENT[:1], "lite.block5c_add").target_layer == "lite.block5c_add"


@pytest.fixture
def coffee():
    return example("coffee")


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "ResNet50V2"])
def test_networks_of_keras_applications_with_random_weights(name, chelsea):
    model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3), classes=7)
    classifier = camkit.load(model, preprocess="tf")
    np.testing.assert_allclose(
        classifier.predict(chelsea), model(classifier.preprocess(chelsea), training=False)[0], rtol=0, atol=1e-5
    )
    # The activations and the gradient that every map is made of; normalising a map of 1e-12 would compare noise.
    layer = classifier.target_layers[-1]
    activations, logits, gradients = classifier.forward_with_gradient(classifier.preprocess(chelsea), layer, 3)
    expected_activations, expected = plain_keras(classifier, chelsea, layer, 3)
    for found, wanted in ((activations, expected_activations), (gradients, expected)):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert np.ptp(expected) > 0


def plain_keras(classifier, image, layer, class_index):
    """Activations and gradient of a class's logit by one eager pass of the flat model."""
    import tensorflow as tf

    both = keras.Model(
        classifier.model.inputs[0], [classifier.model.get_layer(layer).output, classifier.model.outputs[0]]
    )
    with tf.GradientTape() as tape:
        activations, logits = both(classifier.preprocess(image), training=False)
        score = logits[0, class_index]
    return activations.numpy(), tape.gradient(score, activations).numpy()


# What is refused


def several_inputs():
    inputs = [keras.Input(SIZE), keras.Input(SIZE)]
    return keras.Model(inputs, head(convolutions(inputs[0] + inputs[1])))


def several_outputs():
    inputs = keras.Input(SIZE)
    features = convolutions(inputs)
    return keras.Model(inputs, [head(features), head(features)])


def dense_network():
    return sequential(layers.Flatten(), layers.Dense(16, "relu"), layers.Dense(5, "softmax"))


def transformer():
    def make(x):
        x = layers.Reshape((80, 16))(layers.Conv2D(16, 4, 4, name="patches")(x))
        for _ in range(2):
            x = x + layers.MultiHeadAttention(2, 8)(x, x)
        return layers.Dense(5, "softmax")(layers.GlobalAveragePooling1D()(x))

    return functional(make)


def channels_first():
    return functional(lambda x: head(layers.Flatten()(x)), (3, 32, 40))


def of_vectors():
    return functional(lambda x: layers.Dense(5, "softmax")(x), (20,))


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def no_shape():
    return keras.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)])


def not_a_number():
    model = softmax_inside()
    model.layers[-1].bias.assign([np.nan] * 5)
    return model


@keras.saving.register_keras_serializable("tests")
class Keeping(layers.Layer):
    """Multiplies by something that is neither a weight nor in its configuration."""

    factor = 1.0

    def call(self, inputs):
        return inputs * self.factor


def with_a_secret():
    keeping = Keeping()
    keeping.factor = 3.0
    return functional(lambda x: head(keeping(convolutions(x))))


ALL_METHODS = re.escape(", ".join(method.name for method in METHODS.values()))
REFUSED = {
    several_inputs: r"The model has 2 inputs: one is allowed, a picture\.",
    several_outputs: r"The model has 2 outputs: choose one by output, of .*\.",
    dense_network: rf"None of the methods \({ALL_METHODS}\) can explain this model: a class "
    r"activation map adds up .* no layer that every path to the classes goes through has one; .*",
    transformer: rf"None of the methods \({ALL_METHODS}\) can explain this model: a class "
    r"activation map adds up .* in a transformer attention mixes all places .*",
    channels_first: r"The model takes pictures with their channels first: channels last, .* is allowed\.",
    of_vectors: r"The model takes inputs of shape \(20\): pictures of \(height, width, 1 or 3\) are allowed\.",
    Subclassed: r"The model is a subclass of keras\.Model \(Subclassed\) with code of its own and no graph .*",
    no_shape: r"The model has no input shape yet: add a keras\.Input, .*",
    not_a_number: r"The model answers a picture with values that are no numbers \(NaN or infinite\): .*",
    with_a_secret: r"The model's layers, called one by one, do not give the model's own answer: a layer keeps .*",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_cannot_be_explained_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=rf"^{REFUSED[make]}$") as caught:
        camkit.load(make(), preprocess="unit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", ["2", "1x224", "3x3"])
def test_a_size_that_the_layers_leave_nothing_of_is_refused(size):
    def make(x):
        return head(layers.GlobalMaxPooling2D()(layers.Conv2D(4, 4, 2)(layers.MaxPooling2D()(x))))

    height, _, width = size.partition("x")
    with pytest.raises(InputError, match=rf"^Pictures of {width or height} x {height} pixels are too small .* as 224"):
        camkit.load(functional(make, (None, None, 3)), preprocess="unit", size=size)
    with pytest.raises(InputError, match=r"^None of the methods .* convolutional network is allowed\.$"):
        camkit.load(functional(lambda x: head(layers.GlobalMaxPooling2D()(x)), (None, None, 3)), None, "unit", size=9)


def test_a_network_without_a_gradient_has_maps_of_zero(noise):
    rounded = functional(lambda x: keras.ops.round(head(convolutions(x)), 2))
    explanation = camkit.explain(camkit.load(rounded, preprocess="unit"), noise, ONE_OF_EACH, max_n=3)
    assert [explanation.cams[key].all_zero for key in ONE_OF_EACH] == [True, False]


def test_what_is_no_model_is_refused():
    with pytest.raises(
        InputError, match=r"^A dict is no Keras model: give a keras\.Model, a file of one, or a name\.$"
    ):
        camkit.load({})
