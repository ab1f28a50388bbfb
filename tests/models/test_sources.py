"""Models by file, by repository and by name; what a picture must look like for them; and the operator's models."""

import json
import threading
import zipfile

import keras
import numpy as np
import pytest
from conftest import save
from keras import layers

import camkit
from camkit import InputError, WeightsError
from camkit.arithmetic import softmax
from camkit.models import registry as models
from camkit.models import sources
from camkit.models.registry import register


def small(classes=3, **ending):
    """A Sequential of one convolution that scales inside."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu", name="only"),
            layers.Flatten(),
            layers.Dense(classes, **{"activation": "softmax", **ending}),
        ]
    )


@pytest.fixture(scope="session")
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "my model.keras"
    save(small(), path)
    return path


# Files


def loss_of_somebody(wanted, found):
    """No other process knows it, and no explanation needs it."""
    return keras.ops.mean(found)


@pytest.mark.parametrize("name", ["my.keras", "my.h5"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_file_is_loaded_by_its_path(tmp_path, name, noise):
    model = small()
    model.compile("adam", loss=loss_of_somebody)
    save(model, tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name)):
        classifier = camkit.load(path, ["a", "b", "c"])
        assert (classifier.name, classifier.spec.name, classifier.input_size) == ("my", "my", (16, 12))
        assert (classifier.target_layers, classifier.spec.zero) == (("only",), "black")
        expected = model(classifier.preprocess(noise), training=False)[0]
        np.testing.assert_allclose(classifier.predict(noise), expected, rtol=0, atol=1e-5)
        assert camkit.explain(classifier, noise).class_name == "abc"[int(np.argmax(expected))]


def test_each_load_reads_the_file_anew(small_file):
    assert camkit.load(small_file) is not camkit.load(small_file)


def damaged(path):
    """Half of it; a zip cut short is none."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged_inside(path):
    """A zip whose weights are nothing."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    held["model.weights.h5"] = b"nothing"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)


def of_another_version(path):
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(held["config.json"])
    config["config"]["layers"][1]["config"]["surprise"] = 1
    held["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not a model")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("damage", [damaged, empty, text])
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, ending, damage):
    path = tmp_path / f"secret{ending}"
    save(small(), path)
    damage(path)
    refused(path, r"^The model file is damaged or cut short, or [^\n]*$")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damaged_inside, r"^The model file is damaged or cut short, "),
        (of_another_version, r"^Keras 3\.\S+ cannot load "),
    ],
)
def test_a_file_that_keras_cannot_load_is_refused_in_a_sentence(tmp_path, damage, message):
    path = tmp_path / "secret.keras"
    save(small(), path)
    damage(path)
    refused(path, message)


def test_what_is_no_file_is_refused(tmp_path):
    refused(
        tmp_path / "none.keras", r"^There is no model file of this name: give the path of a \.keras or \.h5 file\.$"
    )
    refused(tmp_path, r"^There is no model file of this name: ")
    (tmp_path / "secret.onnx").write_text("")
    refused(tmp_path / "secret.onnx", r"^The model file has another ending than \.keras or \.h5: ")
    (tmp_path / "secret.weights.h5").write_text("")
    refused(tmp_path / "secret.weights.h5", r"^The file holds weights without a model: save the whole model")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_lambda_layer_is_not_run(tmp_path, ending):
    model = keras.Sequential([keras.Input((16, 12, 3)), layers.Lambda(lambda x: x / 2), *small().layers[1:]])
    path = tmp_path / f"secret{ending}"
    save(model, path)
    refused(path, r"^The model has a Lambda layer, which is code inside the file and is not run: [^\n]*$")


class OfSomebody(layers.Layer):
    def call(self, inputs):
        return inputs * 2


def test_a_layer_of_somebodys_own_is_named(tmp_path):
    path = tmp_path / "secret.keras"
    save(keras.Sequential([keras.Input((16, 12, 3)), OfSomebody(), *small().layers]), path)
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    held["config.json"] = held["config.json"].replace(b'"test_sources"', b'"elsewhere"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    refused(path, r"^The model needs a class that is not Keras's own \(OfSomebody\): ")


def refused(path, message):
    """`load` raises this message, which tells nobody where the file lies."""
    with pytest.raises(InputError, match=message) as caught:
        camkit.load(path, preprocess="unit")
    assert str(path.parent) not in str(caught.value)
    assert "\n" not in str(caught.value)


# Repositories and names


def test_a_repository_is_fetched_and_its_one_file_loaded(monkeypatch, small_file, tmp_path):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *name, **options: asked.append((name, options)) or str(tmp_path)
    )
    with pytest.raises(InputError, match=r"^The repository owner/name holds 0 \.keras or \.h5 files: one is allowed"):
        camkit.load("hf://owner/name")
    (tmp_path / "model.keras").write_bytes(small_file.read_bytes())
    (tmp_path / "labels.txt").write_text("a\nb\nc")
    classifier = camkit.load("hf://owner/name@v2")
    assert (classifier.name, classifier.spec.name, classifier.spec.source) == (
        "name",
        "owner/name",
        "hf://owner/name@v2",
    )
    assert [entry.name for entry in classifier.labels] == ["a", "b", "c"]
    assert [(name, options["revision"]) for name, options in asked] == [
        (("owner/name",), None),
        (("owner/name",), "v2"),
    ]


def test_a_repository_as_keras_saves_one(monkeypatch, small_file, tmp_path):
    with zipfile.ZipFile(small_file) as archive:
        archive.extractall(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    classifier = camkit.load("hf://owner/name")
    assert classifier.target_layers == ("only",)
    assert [entry.name for entry in classifier.labels] == ["class 0", "class 1", "class 2"]


def test_a_repository_that_cannot_be_read_is_refused_in_a_sentence():
    """The tests' environment keeps the Hub's client offline."""
    with pytest.raises(WeightsError, match=r"^The repository owner/name cannot be read from the Hugging Face Hub: "):
        camkit.load("hf://owner/name")
    with pytest.raises(InputError, match=r"^'a/b/c' names no repository: give hf://owner/name\.$"):
        camkit.load("hf://a/b/c")


def test_a_network_of_keras_applications_brings_its_own_labels_and_preprocessing(tmp_path, chelsea):
    made = keras.applications.MobileNet(weights=None)
    path = tmp_path / "given.weights.h5"
    save_weights(made, path)
    classifier = camkit.load("MobileNet", weights=path)
    assert (classifier.name, classifier.input_size, classifier.labels.kind) == ("MobileNet", (224, 224), "ImageNet")
    assert classifier.spec.zero == "mid grey"
    inputs = classifier.preprocess(chelsea)
    assert (inputs.min() >= -1, inputs.max() <= 1) == (True, True)
    np.testing.assert_allclose(classifier.predict(chelsea), made(inputs, training=False)[0], rtol=0, atol=1e-5)
    with pytest.raises(WeightsError, match=r"^The weights of MobileNet do not fit"):
        path.write_bytes(b"nothing")
        camkit.load("MobileNet", weights=path)


def save_weights(model, path):
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save_weights(path)


def test_without_a_network_the_weights_are_missing_in_a_sentence(monkeypatch):
    def fail(*_, **__):
        raise Exception("URL fetch failure on https://somewhere: None -- [Errno -2] Name or service not known")

    monkeypatch.setitem(vars(keras.applications), "MobileNetV2", fail)
    monkeypatch.setattr(keras.applications.mobilenet_v2, "MobileNetV2", fail)
    with pytest.raises(WeightsError, match=r"^The weights of MobileNetV2 cannot be downloaded [^\n]*$") as caught:
        camkit.load("MobileNetV2")
    assert "somewhere" not in str(caught.value)


def test_names_of_nothing_say_what_is_allowed():
    with pytest.raises(InputError, match=r"^Model 'resnet' is unknown: give the path of a \.keras or \.h5 file, hf://"):
        camkit.load("resnet")
    with pytest.raises(InputError, match=r"^Weights of their own are for networks of keras\.applications"):
        camkit.load("my.keras", weights="other.h5")
    with pytest.raises(
        InputError, match=r"^VGG16 has labels and preprocessing of its own: give them for other models\.$"
    ):
        camkit.load("vgg16", labels=["a"])


# Labels


def test_labels_of_another_number_are_refused(small_file):
    with pytest.raises(InputError, match=r"^There are 2 labels, but the model has 3 classes: "):
        camkit.load(small_file, labels=["a", "b"])


# The operator's models


def test_a_registered_model_stands_first_and_is_loaded_once(registry, small_file, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    key = register(str(small_file), str(tmp_path / "names.txt"))
    assert (key, next(iter(registry)), registry[key].name) == ("my_model", "my_model", "my model")
    assert registry[key].target_layers == ()
    classifier = camkit.load(key)
    assert camkit.load(key) is classifier
    assert registry[key] is classifier.spec
    assert (models.load_status(key), registry[key].target_layers) == (("ready", ""), ("only",))
    assert [entry.name for entry in registry[key].labels()] == ["a", "b", "c"]
    assert str(small_file.parent) not in f"{registry[key].source}{registry[key].name}"


def test_several_registered_models_keep_their_order_and_have_keys_of_their_own(registry, small_file, tmp_path):
    other = tmp_path / "my model.keras"
    other.write_bytes(small_file.read_bytes())
    keys = [register(str(small_file)), register(str(other)), register("auto.keras"), register("efficientnet_lite0")]
    assert keys == ["my_model", "my_model_2", "auto_2", "efficientnet_lite0"]
    assert list(registry) == [*keys, "vgg16"]
    assert register(str(small_file)) == "my_model"
    assert camkit.load("my_model") is not camkit.load("my_model_2")


def test_a_registered_model_that_fails_says_why_and_is_tried_again(registry, small_file, tmp_path):
    path = tmp_path / "secret" / "late.keras"
    key = register(str(path))
    assert models.load_status(key) == ("absent", "")
    with pytest.raises(InputError, match=r"^late cannot be used\. There is no model file of this name: ") as caught:
        camkit.load(key)
    assert "secret" not in str(caught.value)
    assert models.load_status(key) == ("failed", str(caught.value))
    path.parent.mkdir()
    path.write_bytes(small_file.read_bytes())
    assert models.load_in_background(key).result(60) is camkit.load(key)
    assert models.load_status(key) == ("ready", "")


def test_what_cannot_be_foreseen_stays_in_the_log(registry, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("/a/path/of/the/server")

    monkeypatch.setattr(sources, "find_source", fail)
    with pytest.raises(InputError, match=r"^my cannot be used, for a reason that is in the server's log\.$"):
        camkit.load(register("my.keras"))
    assert "/a/path/of/the/server" in caplog.text


def test_callers_at_the_same_time_share_one_load_and_its_failure(registry, monkeypatch):
    go, told = threading.Event(), []

    def fail(*_):
        assert go.wait(60)
        raise KeyboardInterrupt  # even then who waits must not wait for ever

    def ask():
        try:
            camkit.load(key)
        except KeyboardInterrupt:
            told.append(True)

    monkeypatch.setattr(sources, "find_source", fail)
    key = register("interrupted.keras")
    first, second = models.load_in_background(key), models.load_in_background(key)
    assert first is second
    waiting = threading.Thread(target=ask)
    waiting.start()
    go.set()
    waiting.join(60)
    assert told == [True] and isinstance(first.exception(60), KeyboardInterrupt)


def test_probabilities_of_a_model_without_softmax_are_its_softmax(noise):
    model = small(activation=None)
    classifier = camkit.load(model)
    given = np.asarray(model(classifier.preprocess(noise), training=False))
    np.testing.assert_allclose(classifier.predict(noise), softmax(given)[0], rtol=0, atol=1e-6)
