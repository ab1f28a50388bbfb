"""What a classifier ends in, by what it computes: its probabilities stay, and gradients are those of the scores."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import camkit
from camkit import InputError
from camkit.models.adapt import adapt
from camkit.models.endings import LogitOfProbability, LogOfProbabilities, OneUnitAsTwo
from camkit.passes.outputs import softmax

pytestmark = pytest.mark.numeric
SIDE = 16
LARGE = keras.initializers.VarianceScaling(30.0, seed=3)  # without a seed it draws one when it is made


def network(end, wide=LARGE):
    """A model that ends as `end` says: features (N, 8, 8, 6) -> the output."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIDE, SIDE, 3))
    features = layers.Conv2D(6, 3, 2, "same", activation="relu", kernel_initializer=wide, name="map")(inputs)
    return keras.Model(inputs, end(features))


def dense(units, activation=None):
    """A dense layer, the same in each network by its seed."""

    def layer(features, seed=1):
        kernel = keras.initializers.VarianceScaling(30.0, seed=seed)
        return layers.Dense(units, activation, kernel_initializer=kernel)(layers.GlobalAveragePooling2D()(features))

    return layer


def shares(z):
    return ops.exp(z) / ops.sum(ops.exp(z), -1, keepdims=True)


def sure(x):
    return dense(4)(x) * 1e4


@keras.saving.register_keras_serializable("tests")
class Head(layers.Layer):
    """Weights and an activation in one layer, as people write them."""

    def __init__(self, units, end, **options):
        super().__init__(**options)
        self.units, self.end = units, end

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], self.units), initializer=LARGE)

    def call(self, x):
        scores = ops.mean(x, (1, 2)) @ self.kernel
        return {"softmax": ops.softmax, "sigmoid": ops.sigmoid, "none": lambda z: z}[self.end](scores)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "end": self.end}


def batch_normal(mean, variance, units):
    made = layers.BatchNormalization()
    made.build((None, units))
    made.set_weights([np.ones(units), np.zeros(units), np.full(units, mean), np.full(units, variance)])
    return made


def average(end, *more):
    return lambda x: layers.Average()([end(x, seed) for seed in (1, 2, *more)])


SOFT, ONE = dense(4, "softmax"), dense(1, "sigmoid")
# Ending -> the kind that it is found to be, and a function of the features.
SOFTMAX = {
    "inside": ("softmax", SOFT),
    "a layer": ("softmax", lambda x: layers.Softmax()(dense(4)(x))),
    "an activation": ("softmax", lambda x: layers.Activation("softmax")(dense(4)(x))),
    "an operation": ("softmax", lambda x: ops.softmax(dense(4)(x))),
    "tensorflow's": ("softmax", dense(4, tf.nn.softmax)),
    "a lambda": ("softmax", lambda x: layers.Lambda(lambda z: tf.nn.softmax(z))(dense(4)(x))),
    "a function": ("softmax", dense(4, shares)),
    "log": ("log_softmax", dense(4, "log_softmax")),
    "log of it": ("log_softmax", lambda x: ops.log(SOFT(x))),
    "clipped": ("softmax", lambda x: ops.clip(SOFT(x), 1e-6, 1 - 1e-6)),
    "cast": ("softmax", lambda x: ops.cast(ops.cast(SOFT(x), "float16"), "float32")),
    "divided": ("softmax", lambda x: SOFT(x) / 3.0),
    "in percent": ("softmax", lambda x: layers.Rescaling(100.0)(SOFT(x))),
    "with a temperature": ("softmax", lambda x: ops.softmax(dense(4)(x) / 2.5)),
    "twice by mistake": ("softmax", lambda x: ops.softmax(SOFT(x))),
    "reshaped": ("softmax", lambda x: layers.Dropout(0.5)(layers.Reshape((1, 4))(SOFT(x)))),
    "one by one": (
        "softmax",
        lambda x: layers.Conv2D(4, 1, activation="softmax")(layers.GlobalAveragePooling2D(keepdims=True)(x)),
    ),
}
BY_VALUES = {
    "average of heads": ("probabilities", average(SOFT)),
    "weighted heads": ("probabilities", lambda x: 0.3 * SOFT(x) + 0.7 * SOFT(x, 2)),
    "smoothed": ("probabilities", lambda x: SOFT(x) * 0.9 + 0.025),
    "shares": ("probabilities", lambda x: (y := dense(4, "softplus")(x) + 0.1) / ops.sum(y, -1, keepdims=True)),
    "zeros among them": ("probabilities", lambda x: (y := dense(4, "relu")(x) + 1e-9) / ops.sum(y, -1, keepdims=True)),
    "sure of itself": ("probabilities", lambda x: layers.Average()([ops.softmax(sure(x)), ops.softmax(sure(x))])),
    "a mean over places": (
        "probabilities",
        lambda x: layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, activation="softmax")(x)),
    ),
    "both sides of a sigmoid": ("probabilities", lambda x: ops.concatenate([1 - ONE(x), ONE(x)], -1)),
    "a head of one's own": ("probabilities", Head(4, "softmax")),
}
SIGMOID = {
    "inside": ("sigmoid", ONE),
    "an operation": ("sigmoid", lambda x: ops.sigmoid(dense(1)(x))),
    "tensorflow's": ("sigmoid", dense(1, tf.nn.sigmoid)),
    "clipped": ("sigmoid", lambda x: ops.clip(ONE(x), 1e-6, 1 - 1e-6)),
    "cast": ("sigmoid", lambda x: ops.cast(ONE(x), "float64")),
    "average of heads": ("probability", average(ONE, 3)),
    "divided": ("probability", lambda x: ONE(x) / 2.0),
    "normalised": ("probability", lambda x: layers.BatchNormalization()(ONE(x))),
    "hard": ("probability", dense(1, "hard_sigmoid")),
    "sure of itself": ("probability", lambda x: layers.Average()([ops.sigmoid(1e4 * dense(1)(x)), ONE(x)])),
    "the largest of places": (
        "probability",
        lambda x: layers.GlobalMaxPooling2D()(layers.Conv2D(1, 1, activation="sigmoid")(x)),
    ),
    "a head of one's own": ("probability", Head(1, "sigmoid")),
}
LOGITS = {
    "dense": dense(4),
    "with a temperature": lambda x: dense(4)(x) / 2.5,
    "normalised": lambda x: layers.BatchNormalization()(dense(4)(x)),
    "pooled": lambda x: layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, activation="relu")(x)),
    "gated": lambda x: dense(4)(x) * dense(4, "sigmoid")(x, 2),
    "swish": lambda x: ops.swish(dense(4)(x)) + 0.0,
    "average of heads": average(dense(4)),
    "small": lambda x: dense(4)(x) * 1e-4 + 0.5,
    "a head of one's own": Head(4, "none"),
}


def given(model, inputs):
    """The model's own answer as probabilities of classes: (classes,) float64."""
    out = np.asarray(model(inputs, training=False), np.float64)[0].ravel()
    if len(out) == 1:
        return np.array([1 - out[0], out[0]])
    return np.exp(out) if out.max() <= 0 else out / out.sum()


@pytest.mark.parametrize(
    ("kind", "end"),
    [*SOFTMAX.values(), *BY_VALUES.values(), *SIGMOID.values()],
    ids=[*SOFTMAX, *BY_VALUES, *(f"sigmoid: {each}" for each in SIGMOID)],
)
def test_probabilities_are_the_models_and_no_gradient_is_lost(kind, end, noise):
    model = network(end)
    assert adapt(model).ending == kind
    classifier = camkit.load(model, preprocess="unit")
    inputs = classifier.preprocess(noise)
    np.testing.assert_allclose(classifier.predict(noise), given(model, inputs), rtol=0, atol=1e-4)
    for index in range(len(classifier.labels)):
        gradient = np.asarray(classifier.forward_with_gradient(inputs, "map", index)[2])
        assert np.isfinite(gradient).all()
        if "sure" not in str(end) and kind in ("softmax", "log_softmax", "sigmoid"):
            assert gradient.any()


@pytest.mark.parametrize("name", ["clipped", "cast", "divided", "in percent", "log of it", "tensorflow's", "a lambda"])
def test_what_follows_a_softmax_leaves_the_maps_as_they_are(name, noise):
    maps = [
        camkit.explain(camkit.load(network(end), preprocess="unit"), noise, ["gradcam", "scorecam"], 2).cams
        for end in (SOFT, SOFTMAX[name][1])
    ]
    for key in maps[0]:
        np.testing.assert_array_equal(maps[0][key].raw, maps[1][key].raw)


def test_probabilities_taken_back_to_logits_have_the_gradients_of_the_scores(noise):
    """d log(p / (1 - p)) = dz for a sigmoid; d log p_c = dz_c less the mean gradient for a softmax."""
    models = [network(end) for end in (ONE, lambda x: layers.Average()([ONE(x), ONE(x)]))]
    gradients = []
    for model in models:
        classifier = camkit.load(model, preprocess="unit")
        gradients.append(np.asarray(classifier.forward_with_gradient(classifier.preprocess(noise), "map", 1)[2]))
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-6 * np.abs(gradients[0]).max())


@pytest.mark.parametrize("end", LOGITS.values(), ids=LOGITS)
def test_scores_stay_scores(end, noise):
    model = network(end)
    assert adapt(model).ending == "linear"
    classifier = camkit.load(model, preprocess="unit")
    scores = np.asarray(model(classifier.preprocess(noise)))
    np.testing.assert_allclose(classifier.predict(noise), softmax(scores)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("end", [ONE, lambda x: layers.Activation("sigmoid")(dense(1)(x)), average(ONE)])
def test_one_sigmoid_unit_is_two_classes_and_each_can_be_explained(end, noise):
    classifier = camkit.load(network(end), ["dog", "cat"], "unit")
    inputs = classifier.preprocess(noise)
    assert classifier.logits(inputs)[0, 0] == 0
    for index, name in enumerate(("dog", "cat")):
        assert camkit.explain(classifier, noise, ["gradcam"], index).class_name == name
    for_dog, for_cat = (np.asarray(classifier.forward_with_gradient(inputs, "map", index)[2]) for index in (0, 1))
    assert for_cat.any()
    np.testing.assert_array_equal(for_dog, -for_cat)


def test_one_linear_unit_is_two_classes_with_two_labels(noise):
    model = network(dense(1))
    classifier = camkit.load(model, ["dog", "cat"], "unit")
    z = float(model(classifier.preprocess(noise), training=False)[0, 0])
    np.testing.assert_allclose(classifier.predict(noise)[1], 1 / (1 + np.exp(-z)), atol=1e-5)


SEVERAL = {
    "sigmoids": ("sigmoid", dense(5, "sigmoid")),
    "apart": ("sigmoid", lambda x: ops.sigmoid(dense(5)(x))),
    "clipped": ("sigmoid", lambda x: ops.clip(dense(5, "sigmoid")(x), 1e-6, 1 - 1e-6)),
    "average of heads": ("probability", average(dense(5, "sigmoid"))),
    "divided": ("probability", lambda x: dense(5, "sigmoid")(x) / 2.0),
    "normalised": ("probability", lambda x: layers.BatchNormalization()(dense(5, "sigmoid")(x))),
    "largest of places": (
        "probability",
        lambda x: layers.GlobalMaxPooling2D()(layers.Conv2D(5, 1, activation="sigmoid")(x)),
    ),
    "scores cut off": ("probability", lambda x: ops.clip(dense(5)(x), 0.0, 1.0)),
    "a head of one's own": ("probability", Head(5, "sigmoid")),
}


@pytest.mark.parametrize(("kind", "end"), SEVERAL.values(), ids=SEVERAL)
def test_several_probabilities_that_do_not_add_up_are_labels_of_their_own(kind, end, noise):
    model = network(end)
    classifier = camkit.load(model, preprocess="unit")
    assert (adapt(model).ending, classifier.outputs.key) == (kind, "labels")
    expected = np.asarray(model(classifier.preprocess(noise), training=False))[0]
    np.testing.assert_allclose(classifier.predict(noise), expected, rtol=0, atol=1e-5)
    assert camkit.explain(classifier, noise, ["gradcam"]).class_index == expected.argmax()


ASKED = {
    "logits of labels": ("labels", dense(5), lambda z: 1 / (1 + np.exp(-z))),
    "one label": ("labels", ONE, lambda p: p),
    "the logit of one label": ("labels", dense(1), lambda z: 1 / (1 + np.exp(-z))),
    "classes": ("classes", dense(5), lambda z: softmax(z[None])[0]),
    "a value": ("value", dense(1), lambda y: y),
    "a value of no activation that is known": ("value", lambda x: 40 * dense(1, "tanh")(x) - 7, lambda y: y),
    "a value within a sigmoid": ("value", ONE, lambda y: y),
    "a value at each side": ("value", lambda x: layers.Reshape((1, 1, 1))(dense(1, "relu")(x)), lambda y: y.ravel()),
}


@pytest.mark.parametrize(("outputs", "end", "expected"), ASKED.values(), ids=ASKED)
def test_the_kind_of_outputs_can_be_said(outputs, end, expected, noise):
    model = network(end)
    classifier = camkit.load(model, preprocess="unit", outputs=outputs)
    assert classifier.outputs.key == outputs
    given = np.asarray(model(classifier.preprocess(noise), training=False), np.float64)[0]
    np.testing.assert_allclose(classifier.predict(noise), expected(given), rtol=1e-5, atol=1e-5)
    assert len(classifier.labels) == len(classifier.predict(noise))


NEITHER = r"The model's last operation \(BatchNormalization\) makes numbers of probabilities that are neither .*"
REFUSED = {
    "normalised into neither": (None, lambda x: batch_normal(0.5, 0.01, 5)(dense(5, "softmax")(x)), NEITHER),
    "one unit normalised into neither": (None, lambda x: batch_normal(0.5, 0.01, 1)(ONE(x)), NEITHER),
    "tanh": (None, dense(5, "tanh"), r"The model's last activation is tanh: softmax, logits without an activation, .*"),
    "relu apart": (None, lambda x: layers.ReLU()(dense(5)(x)), r"The model's last activation is ReLU: .* allowed\."),
    "one relu": (None, dense(1, "relu"), r".* last activation is relu: .*, or a number by outputs='value'\."),
    "one softmax": (None, dense(1, "softmax"), r"The model ends in one unit with a softmax, which is always 1: .*"),
    "one linear": (None, dense(1), r"The model ends in one unit without a sigmoid, .*: say so by outputs='value', .*"),
    "a map": (
        None,
        layers.Conv2D(4, 1, activation="softmax"),
        r"The model gives an output of shape \(8, 8, 4\) for .*",
    ),
    "an unknown kind": ("regression", ONE, r"outputs is 'regression': it must be one of 'classes' \(.*"),
    "labels of a softmax": ("labels", SOFT, r"outputs='labels' means .* with softmax: use 'classes' \(one class .*"),
    "classes of sigmoids": ("classes", dense(5, "sigmoid"), r".* ends in 5 units with sigmoid: use 'labels' \(.*"),
    "classes of a relu": ("classes", dense(5, "relu"), r".* ends in 5 units with relu: use another model\."),
    "a value of several": (
        "value",
        dense(5),
        r"outputs='value' means one value, .*: use 'classes' \(.*\) or 'labels' .*",
    ),
}


@pytest.mark.parametrize(("outputs", "end", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1:UserWarning")
def test_what_no_kind_of_outputs_fits_is_refused(outputs, end, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        camkit.load(network(end), preprocess="unit", outputs=outputs)


def several_outputs(named):
    """One linear unit "age", three classes "breed"."""
    base = network(lambda x: x)
    age = layers.Dense(1, name="age", kernel_initializer=LARGE)(layers.GlobalAveragePooling2D()(base.output))
    breed = layers.Dense(3, "softmax", name="breed")(layers.GlobalAveragePooling2D()(base.output))
    return keras.Model(base.input, {"years": age, "kind": breed} if named else [age, breed])


@pytest.mark.parametrize(("named", "age", "breed"), [(True, "years", "kind"), (False, "age", "breed")])
def test_one_of_several_outputs_is_explained(named, age, breed, noise):
    model = several_outputs(named)
    value = camkit.load(model, ["age in years"], "unit", outputs="value", output=age)
    classes = camkit.load(model, preprocess="unit", output=breed)
    given = dict(
        zip(sorted([age, breed]) if named else [age, breed], keras.tree.flatten(model(value.preprocess(noise))))
    )
    for classifier, name in ((value, age), (classes, breed)):
        np.testing.assert_allclose(classifier.predict(noise), np.asarray(given[name])[0], rtol=1e-5, atol=1e-6)
    names = ", ".join(given)
    with pytest.raises(InputError, match=f"^The model has 2 outputs: choose one by output, of {names}\\.$"):
        camkit.load(model, preprocess="unit")
    with pytest.raises(InputError, match=f"^The model has no output 'sex': output is one of {names}\\.$"):
        camkit.load(model, preprocess="unit", output="sex")
    with pytest.raises(InputError, match=r"^The model has no output 'sex': output is one of age\.$"):
        camkit.load(
            keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(2, name="age")]), output="sex"
        )


def test_inverses_are_finite_everywhere_and_exact():
    p = np.array([[0.0, 1e-38, 1e-20, 0.25, 0.75, 1.0]], np.float32)
    log = np.asarray(LogOfProbabilities()(p))
    np.testing.assert_allclose(softmax(log), p / p.sum(), atol=1e-7)
    z = np.asarray(LogitOfProbability()(p.T), np.float64)
    np.testing.assert_allclose(1 / (1 + np.exp(-z)), p.T, atol=1e-7)
    np.testing.assert_allclose(softmax(np.asarray(OneUnitAsTwo()(z)))[:, 1:], p.T, atol=1e-7)
