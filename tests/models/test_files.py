"""Model files: each format, what Keras itself reads wrongly, and what is refused without a path or a configuration."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import save, small
from keras import layers

import camkit
from camkit import InputError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SHAPE = (16, 12, 3)


def loss_of_ones_own(wanted, found):
    """No other process knows it, and no explanation needs it."""
    return keras.ops.mean(found)


def compiled():
    model = small()
    model.compile("adam", loss=loss_of_ones_own)
    return model


def normalised_inside():
    """A Normalization in a nested model: Keras reloads it from .h5 as if it had never been adapted."""
    normal = layers.Normalization()
    normal.adapt(np.random.default_rng(0).uniform(0, 255, (8, *SHAPE)).astype(np.float32))
    inputs = keras.Input(SHAPE)
    base = keras.Model(inputs, layers.Conv2D(4, 3, activation="relu", name="only")(normal(inputs)), name="base")
    wide = keras.initializers.VarianceScaling(30.0)
    head = layers.Dense(3, "softmax", kernel_initializer=wide)
    outer = keras.Sequential([base], name="outer")
    return keras.Sequential([keras.Input(SHAPE), outer, layers.GlobalAveragePooling2D(), head])


def with_tensorflows_softmax():
    return small(activation=tf.nn.softmax)


def with_operations():
    """Keras takes the operation `x + y` in .h5 for the layer Add, and finds no other operation."""
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="only")(inputs[:, :, :, ::-1] / 255.0)
    x = layers.Add()([x, keras.ops.relu(x + layers.Conv2D(4, 3, padding="same")(x))])
    return keras.Model(inputs, keras.ops.softmax(layers.Dense(3)(keras.ops.mean(x, axis=(1, 2)))))


def convnext():
    base = keras.applications.ConvNeXtTiny(weights=None, include_top=False, input_shape=(32, 32, 3))
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(base(inputs))))


SAVED = [
    *(
        (make, f"my.{end}")
        for make in (compiled, normalised_inside, with_tensorflows_softmax)
        for end in ("keras", "h5")
    ),
    (compiled, "my.hdf5"),
    (compiled, "MY.H5"),
    (compiled, "my.Keras"),
    (with_operations, "my.h5"),
    (convnext, "my.h5"),
]


@pytest.mark.parametrize(("make", "name"), SAVED, ids=lambda value: getattr(value, "__name__", value))
def test_a_file_answers_as_the_model_that_was_saved(tmp_path, name, make, noise):
    keras.utils.set_random_seed(3)
    model = make()
    save(model, tmp_path / name.lower())
    (tmp_path / name.lower()).rename(tmp_path / name)
    classifier = camkit.load(tmp_path / name, ["a", "b", "c"])
    assert (classifier.name, classifier.input_size) == (name.split(".")[0], model.input_shape[1:3])
    expected = np.asarray(model(classifier.preprocess(noise), training=False))[0]
    np.testing.assert_allclose(classifier.predict(noise), expected, rtol=0, atol=1e-5)
    assert camkit.explain(classifier, noise).class_name == "abc"[int(np.argmax(expected))]


# What is refused


class OfOnesOwn(layers.Layer):
    def call(self, inputs):
        return inputs * 2


def own_gelu(x):
    return x * keras.ops.sigmoid(1.7 * x)


def with_lambda():
    return keras.Sequential([keras.Input(SHAPE), layers.Lambda(lambda x: x / 2), *small().layers[1:]])


def with_own_layer():
    return keras.Sequential([keras.Input(SHAPE), OfOnesOwn(), *small().layers])


def with_own_function():
    return keras.Sequential([keras.Input(SHAPE), layers.Activation(own_gelu), *small().layers])


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(name, change):
    """Return a function that changes one file inside a .keras file."""

    def change_file(path):
        with zipfile.ZipFile(path) as archive:
            held = {each: archive.read(each) for each in archive.namelist()}
        held[name] = change(held[name])
        with zipfile.ZipFile(path, "w") as archive:
            for each, content in held.items():
                archive.writestr(each, content)

    return change_file


def surprised(content):
    config = json.loads(content)
    config["config"]["layers"][1]["config"]["surprise"] = 1
    return json.dumps(config).encode()


def made_elsewhere(content):
    return content.replace(b'"test_files"', b'"elsewhere"')


def one_layer(content):
    return json.dumps(keras.saving.serialize_keras_object(layers.Dense(2))).encode()


def saved_model(path):
    path.mkdir()
    (path / "saved_model.pb").write_text("")


DAMAGED = r"The model file is damaged or cut short, or "
FOREIGN = r"The model needs a class that is not Keras's own \({}\): "
LAMBDA = r"The model has a Lambda layer, which is code inside the file and is not run: "
VERSION = r"Keras 3\.\S+ cannot load the model \(\w+Error\): "
REFUSED = {
    **{
        f"{what}{ending}": (ending, small, change, DAMAGED)
        for ending in (".keras", ".h5")
        for what, change in {
            "cut short": halved,
            "empty": lambda path: path.write_bytes(b""),
            "text": lambda path: path.write_text("not a model"),
        }.items()
    },
    "weights": (".keras", small, changed("model.weights.h5", lambda _: b"nothing"), DAMAGED),
    "no configuration": (".keras", small, changed("config.json", lambda _: b"{"), DAMAGED),
    "a list": (".keras", small, changed("config.json", lambda _: b"[]"), DAMAGED),
    "another version": (".keras", small, changed("config.json", surprised), VERSION),
    "lambda": (".keras", with_lambda, None, LAMBDA),
    "lambda in h5": (".h5", with_lambda, None, LAMBDA),
    "own layer": (".keras", with_own_layer, changed("config.json", made_elsewhere), FOREIGN.format("OfOnesOwn")),
    "own layer in h5": (".h5", with_own_layer, None, FOREIGN.format("OfOnesOwn")),
    "own function": (".keras", with_own_function, None, FOREIGN.format("own_gelu")),
    "a layer alone": (".keras", small, changed("config.json", one_layer), r"The file holds a Dense and no Keras model"),
    "no file": (".keras", None, None, r"There is no model file of this name: give the path of a \.keras or \.h5 file"),
    "another ending": (".onnx", None, lambda path: path.write_text(""), r"The model file has another ending than "),
    "weights alone": (".weights.H5", None, lambda path: path.write_text(""), r"The file holds weights without a model"),
    "a folder": (".keras", None, lambda path: path.mkdir(), r"There is no model file of this name: "),
    "a saved model": (
        "",
        None,
        saved_model,
        r"The model is a folder in TensorFlow's SavedModel format, .*",
    ),
}


@pytest.mark.parametrize(("ending", "make", "change", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, ending, make, change, message):
    path = tmp_path / f"secret{ending}"
    if make is not None:
        save(make(), path)
    if change is not None:
        change(path)
    with pytest.raises(InputError, match=rf"^{message}[^\n]*\.$") as caught:
        camkit.load(path, preprocess="unit")
    assert str(tmp_path) not in str(caught.value)
