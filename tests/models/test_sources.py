"""Models by file, by repository and by name; what a picture must look like for them; and the operator's models."""

import threading
import zipfile

import keras
import numpy as np
import pytest
from conftest import save, small

import camkit
from camkit import InputError, WeightsError
from camkit.models import registry as models
from camkit.models import sources
from camkit.models.registry import register
from camkit.passes.outputs import softmax


@pytest.fixture(scope="session")
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "my model.keras"
    save(small(), path)
    return path


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
        InputError, match=r"^VGG16 has labels, preprocessing and a size of its own: give them for other models\.$"
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
