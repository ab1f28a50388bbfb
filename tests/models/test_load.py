"""`load` of the registry's own models: one object each, and refusals of weights that are not theirs."""

import warnings

import numpy as np
import pytest
from conftest import VGG16_PATH, example, tiny_model, together

from camkit import InputError, WeightsError
from camkit.models import registry as models
from camkit.models.registry import load


def test_load_gives_one_object(lite0, tmp_path):
    found = []
    together(*[lambda: found.append(load("efficientnet_lite0"))] * 2)
    assert all(classifier is lite0 for classifier in found)
    assert (lite0.name, lite0.input_size) == ("efficientnet_lite0", (224, 224))


def test_load_of_an_unknown_model():
    with pytest.raises(InputError, match=r"^Model 'resnet50' is unknown: give .* Did you mean ResNet50\?$"):
        load("resnet50")
    with pytest.raises(InputError, match=r"^Model 'resnet50' is unknown: use one of vgg16, efficientnet_lite0\.$"):
        models.check_model("resnet50")


def test_load_of_vgg16_from_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError):
        load("vgg16", weights=tmp_path / "none.h5")


def damaged(path, damage):
    """`path` with one thing taken out of it."""
    import h5py

    with h5py.File(path, "a") as file:
        damage(file)


def without_a_layer(file):
    file.attrs["layer_names"] = file.attrs["layer_names"][:-1]


def without_names(file):
    del file.attrs["layer_names"]


def without_a_dataset(file):
    group = file[file.attrs["layer_names"][1]]
    del group[group.attrs["weight_names"][0]]


def with_a_number_for_names(file):
    file.attrs["layer_names"] = 7


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_a_layer, "does not fit the model .*expected . layers, found . saved layers"),
        (without_names, "does not fit the model .*found 0 saved layers"),
        (without_a_dataset, "not laid out as Keras"),
        (with_a_number_for_names, "not laid out as Keras"),
    ],
)
def test_weights_of_another_layout_are_refused_in_a_sentence(tmp_path, damage, message):
    path, model = tmp_path / "tiny.h5", tiny_model()
    save_published(path, model)
    damaged(path, damage)
    with pytest.raises(WeightsError, match=rf"^tiny\.h5 .*{message}[^\n]*$"):
        models._load_weights(model, path)


def test_weights_that_are_no_hdf5_or_only_part_of_one_are_refused_in_a_sentence(tmp_path):
    path, model = tmp_path / "tiny.h5", tiny_model()
    save_published(path, model)
    whole = path.read_bytes()
    for content in (b"", b"<html>not found</html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"^tiny\.h5 is no HDF5 file, or only part of one: [^\n]*$"):
            models._load_weights(model, path)


def save_published(path, model):
    """In the layout of the files that Keras publishes, which no public function of Keras writes any more."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # Keras's with NumPy 2
        save_weights_to_hdf5_group(file, model)


@pytest.mark.slow
def test_load_of_vgg16_from_a_file_in_the_official_layout(vgg16_random, chelsea, tmp_path, monkeypatch):
    path = tmp_path / "vgg16.h5"
    save_published(path, vgg16_random.model)
    monkeypatch.setattr(models, "_loads", {})  # half a gigabyte that only this test needs
    loaded = load("vgg16", weights=path)
    inputs = loaded.preprocess(chelsea)
    expected = vgg16_random.model(inputs, training=False)  # not compiled: that takes seconds
    np.testing.assert_allclose(loaded.model(inputs, training=False), expected, atol=1e-5)
    assert load("vgg16", weights=str(path)) is loaded
    path.unlink()


@pytest.mark.network
def test_vgg16_with_its_real_weights_names_the_example_pictures():
    if not VGG16_PATH:
        pytest.skip("VGG16's real weights are not here: name the file in CAMKIT_VGG16_WEIGHTS")
    classifier = load("vgg16", weights=VGG16_PATH)
    found = {name: int(classifier.predict(example(name)).argmax()) for name in ("chelsea", "coffee")}
    assert found["chelsea"] in (281, 282, 285)
    assert found["coffee"] in (504, 967, 968)
