"""Files of Keras 2: they answer as tf_keras, which writes them here, and what cannot be read is refused by its name."""

import json
import warnings
import zipfile
from functools import partial

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import camkit
from camkit import InputError
from camkit.models.files import from_file
from camkit.models.keras2 import cleaned

pytestmark = pytest.mark.numeric
SIDE = 32


@pytest.fixture(scope="module")
def old():
    """tf_keras, which is Keras 2 to this day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tf_keras

        return tf_keras


def network(old, base, first=(), head=()):
    """A model around a nested one, as tutorials make it."""
    x = inputs = old.Input((SIDE, SIDE, 3))
    for each in first:
        x = each(x)
    x = base(x, training=False) if base is not None else x
    for each in head or [old.layers.GlobalAveragePooling2D(), old.layers.Dropout(0.2)]:
        x = each(x)
    wide = old.initializers.VarianceScaling(1.0 if base is not None else 1e-3)  # so that no class takes all
    return old.Model(inputs, old.layers.Dense(3, activation="softmax", kernel_initializer=wide)(x))


def without_head(old, name, **options):
    """A network whose BatchNormalization has seen pictures: else what it answers hardly depends on the picture."""
    made = getattr(old.applications, name)(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3), **options)
    normal = [layer for layer in made.layers if isinstance(layer, old.layers.BatchNormalization)]
    usual = [layer.momentum for layer in normal]
    for layer in normal:
        layer.momentum = 0.0
    made(np.random.default_rng(0).uniform(-1, 1, (64, SIDE, SIDE, 3)).astype(np.float32), training=True)
    for layer, momentum in zip(normal, usual, strict=True):
        layer.momentum = momentum
    return made


def mobilenet(old):
    L, name = old.layers, "augmentation"
    augmentation = old.Sequential([L.RandomFlip(), L.RandomRotation(0.1), L.RandomContrast(0.1)], name=name)
    base = without_head(old, "MobileNetV2", alpha=0.35)
    return network(old, base, [augmentation, old.applications.mobilenet_v2.preprocess_input])


def teachable_machine(old):
    features = [without_head(old, "MobileNetV2", alpha=0.35), old.layers.GlobalAveragePooling2D()]
    dense = [old.layers.Dense(100, activation="relu", input_shape=(1280,)), old.layers.Dense(3, "softmax")]
    return old.Sequential([old.Sequential(features), old.Sequential(dense)])


def slashes(old):
    L = old.layers
    return network(old, None, [L.Conv2D(6, 3, name="block/conv"), L.BatchNormalization(name="block/bn")])


def torch_means(old):
    first, head = [old.applications.densenet.preprocess_input], [old.layers.Flatten()]
    return network(old, without_head(old, "VGG16"), first, head)


def caffe_means(old):
    return network(old, None, [old.applications.resnet50.preprocess_input, old.layers.Conv2D(6, 3, activation="relu")])


def separable(old):
    L = old.layers
    return network(
        old,
        None,
        [L.SeparableConv2D(8, 3, activation="hard_sigmoid"), L.DepthwiseConv2D(3), L.SpatialDropout2D(0.2)]
        + [L.Conv2DTranspose(6, 3), L.LeakyReLU(0.2)],
    )


def prepared(old):
    L, normal = old.layers, old.layers.Normalization()
    normal.adapt(np.random.default_rng(0).uniform(0, 255, (8, 20, 20, 3)).astype(np.float32))
    return network(old, None, [L.Resizing(24, 24), L.CenterCrop(20, 20), normal, L.Conv2D(8, 3)], [L.Flatten()])


def arithmetic(old):
    inputs = old.Input((SIDE, SIDE, 3))
    x = (tf.cast(inputs, tf.float32) / 255.0 - 0.5) * 2.0
    x = tf.nn.relu(x[:, 1:-1, 2:]) + 0.1 * tf.abs(1.0 - x[:, 1:-1, 2:])
    y = old.layers.Conv2D(8, 3, activation="relu")(x)
    y = tf.reduce_mean(y + old.layers.Conv2D(8, 3, padding="same")(y), axis=[1, 2])
    return old.Model(inputs, tf.nn.softmax(old.layers.Dense(3)(y)))


def mixed_precision(old):
    old.mixed_precision.set_global_policy("mixed_float16")
    try:
        made = network(old, None, [old.layers.Conv2D(8, 3, 2), old.layers.BatchNormalization()])
        return old.Model(made.input, old.layers.Activation("linear", dtype="float32")(made.output))
    finally:
        old.mixed_precision.set_global_policy("float32")


def with_erf(old):
    return network(old, None, [old.layers.Conv2D(8, 3), tf.math.erf])


def stir(model):
    """Give a BatchNormalization's weights values of their own, so that one taken for another shows."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if hasattr(layer, "layers"):
            stir(layer)
        elif type(layer).__name__ == "BatchNormalization":
            gamma, beta, mean, variance = layer.get_weights()
            around_one, around_zero = (partial(rng.uniform, 0.5, 1.5), partial(rng.uniform, -0.5, 0.5))
            moved = mean + around_zero(mean.shape) * np.sqrt(variance)
            layer.set_weights(
                [around_one(gamma.shape), around_zero(beta.shape), moved, variance * around_one(variance.shape)]
            )


def written(old, make, path):
    """Save a model as Keras 2 did, under Keras's own name; return inputs and the model's answer to them."""
    old.utils.set_random_seed(3)
    model = make(old)
    stir(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)

    def renamed(text):
        return text.replace("tf_keras.src.", "keras.src.").replace('"tf_keras', '"keras')

    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = renamed(file.attrs["model_config"])
            file.attrs["keras_version"] = "2.15.0"
    else:
        with zipfile.ZipFile(path) as archive:
            held = {name: archive.read(name) for name in archive.namelist()}
        held["config.json"] = renamed(held["config.json"].decode()).encode()
        held["metadata.json"] = json.dumps({"keras_version": "2.15.0"}).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in held.items():
                archive.writestr(name, content)
    inputs = np.random.default_rng(5).uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32)
    inputs[1, :, SIDE // 2 :] /= 2
    if make is teachable_machine:  # the one whose inputs are scaled outside
        inputs = inputs / np.float32(127.5) - 1
    return inputs, np.asarray(model(inputs, training=False))


MADE = (mobilenet, teachable_machine, slashes, torch_means, separable, prepared, arithmetic, mixed_precision)


@pytest.mark.parametrize(
    ("make", "ending"),
    [*((make, ending) for make in MADE for ending in (".keras", ".h5")), (caffe_means, ".h5")],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_file_of_keras_2_answers_as_there(old, make, ending, tmp_path, chelsea):
    path = tmp_path / f"old{ending}"
    inputs, expected = written(old, make, path)
    found = np.asarray(from_file(path)(inputs, training=False))
    # Half precision has 11 bits, and each Keras orders its operations in its own way.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2 if make is mixed_precision else 1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-5
    if make in (mobilenet, teachable_machine, torch_means):
        classifier = camkit.load(path, preprocess="tf" if make is teachable_machine else None)
        assert camkit.explain(classifier, chelsea, ["gradcam"]).cams["gradcam"].map.shape == (SIDE, SIDE)


def small_of_keras_3():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(x)))


def edited(path, change):
    """Save a small model of Keras 3, and change its configuration's text."""
    (model := small_of_keras_3()).save(path)
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = change(file.attrs["model_config"])
            file.attrs["keras_version"] = "2.15.0"
        return model
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    held["config.json"] = change(held["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return model


@pytest.mark.parametrize(
    ("ending", "before", "after"),
    [
        (".h5", '"first"', '"block/first"'),
        (".keras", "keras.src.models.functional", "keras.src.engine.functional"),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_marks_of_keras_2_in_a_configuration_of_keras_3_are_cleaned(ending, before, after, tmp_path):
    model = edited(tmp_path / f"m{ending}", lambda text: text.replace(before, after))
    inputs = np.random.default_rng(5).uniform(0, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    np.testing.assert_array_equal(from_file(tmp_path / f"m{ending}")(inputs), model(inputs))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_an_operation_of_tensorflow_without_a_name_is_refused(tmp_path):
    edited(tmp_path / "m.h5", lambda text: text.replace('"class_name": "Conv2D"', '"class_name": "TFOpLambda"'))
    with pytest.raises(InputError, match=r"^The model has TensorFlow's operation without a name .* save it again\.$"):
        from_file(tmp_path / "m.h5")


def test_an_operation_of_tensorflow_without_a_counterpart_is_named(old, tmp_path):
    written(old, with_erf, tmp_path / "old.h5")
    with pytest.raises(InputError, match=r"^The model has TensorFlow's operation tf\.math\.erf .* save it again\.$"):
        from_file(tmp_path / "old.h5")


def test_a_layer_that_keras_3_reads_otherwise_is_refused_with_advice_for_keras_2(old, tmp_path):
    def attentive(old):
        x = inputs = old.Input((SIDE, SIDE, 3))
        x = old.layers.Reshape((-1, 3))(x)
        return old.Model(inputs, old.layers.GlobalAveragePooling1D()(old.layers.MultiHeadAttention(1, 2)(x, x)))

    written(old, attentive, tmp_path / "old.h5")
    with pytest.raises(InputError, match=r"^Keras \S+ cannot read this model of Keras 2\.15\.0 .* load_weights, and "):
        from_file(tmp_path / "old.h5")


def a_call(function, **given):
    layer = {"class_name": "TFOpLambda", "name": "op", "config": {"name": "op", "function": function}}
    layer["inbound_nodes"] = [["in", 0, 0, given]]
    inside = {"name": "m", "layers": [layer], "input_layers": [["in", 0, 0]], "output_layers": [["op", 0, 0]]}
    return {"class_name": "Functional", "config": inside}


@pytest.mark.parametrize(
    "config",
    [
        a_call("nn.bias_add", bias=[1.0], data_format="NCHW"),
        a_call("math.reduce_mean", axis=1, surprise=2),
        a_call("__operators__.getitem", slice_spec=[{"class_name": "__ellipsis__"}, 0]),
    ],
)
def test_an_argument_that_says_something_is_not_left_out(config):
    with pytest.raises(InputError, match=r"^The model has TensorFlow's operation tf\.\S+ that has no counterpart "):
        cleaned(config, "2.15.0")


def test_a_configuration_of_keras_3_stays_as_it_is():
    config = keras.saving.serialize_keras_object(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]))
    assert cleaned(config, keras.__version__) == config
