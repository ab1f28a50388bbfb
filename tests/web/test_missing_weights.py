"""A model whose weights are not here, or cannot be used: what the API and the page say of it."""

import hashlib
import json
from dataclasses import replace
from functools import partial

import h5py
import plain_http
import pytest
from conftest import EXAMPLES, free_port
from gradio_client import Client, handle_file

import camkit
from camkit.models.weights import WeightsFile
from camkit.web.tabs import headline

LIMIT = 60  # seconds until a wait counts as failed


@pytest.fixture(scope="module")
def client(server_url):
    made = Client(server_url, verbose=False, analytics_enabled=False)
    yield made
    made.close()


def file(name: str):
    return handle_file(str(EXAMPLES / f"{name}.jpg"))


@pytest.fixture
def weightless_vgg16(monkeypatch):
    """VGG16 whose weights lie behind a port that nobody listens on; for small pictures, which is built at once."""
    import keras

    monkeypatch.setattr(keras.applications, "VGG16", partial(keras.applications.VGG16, input_shape=(32, 32, 3)))
    spec = camkit.MODELS["vgg16"]
    url = f"http://127.0.0.1:{free_port()}/weights.h5"
    weights = WeightsFile(
        "VGG16", "weights.h5", url, spec.weights.md5, spec.weights.size, "CAMKIT_VGG16_WEIGHTS", "CAMKIT_WEIGHTS_REPO"
    )
    monkeypatch.setitem(camkit.MODELS, "vgg16", replace(spec, weights=weights))
    return weights


def test_vgg16_without_weights_says_what_to_do(client, weightless_vgg16):
    message = r"^VGG16 has no weights here yet\. .*Meanwhile use EfficientNet-Lite0\.$"
    with pytest.raises(Exception, match=message) as caught:
        client.predict(file("chelsea"), model="vgg16", api_name="/classify")
    plain_http.assert_clean(str(caught.value))
    weightless_vgg16.download_in_background().exception(LIMIT)
    assert headline.headline("auto")["sentence"] == ""  # what one asked for in vain is not told to all
    with pytest.raises(Exception, match=r"the connection to 127\.0\.0\.1:\d+ failed.*CAMKIT_VGG16_WEIGHTS") as caught:
        client.predict(file("chelsea"), model="vgg16", api_name="/classify")
    plain_http.assert_clean(str(caught.value))
    assert client.predict(file("chelsea"), api_name="/classify")["model"] == "efficientnet_lite0"
    weightless_vgg16.download_in_background().exception(LIMIT)


def test_the_path_of_missing_weights_is_not_shown(client, weightless_vgg16, monkeypatch, tmp_path):
    monkeypatch.setenv("CAMKIT_VGG16_WEIGHTS", str(tmp_path / "secret" / "mine.h5"))
    message = client.predict(api_name="/info")["models"]["vgg16"]["message"]
    assert message == (
        "There is no weights file at mine.h5 (from CAMKIT_VGG16_WEIGHTS): name an existing file, or none at all."
    )
    assert str(tmp_path) not in json.dumps(headline.headline("auto"))
    with pytest.raises(Exception, match=r"mine\.h5") as caught:
        client.predict(file("chelsea"), model="vgg16", api_name="/classify")
    plain_http.assert_clean(str(caught.value))
    weightless_vgg16.download_in_background().exception(LIMIT)


def test_a_weights_file_that_does_not_fit_is_not_shown_with_its_path(client, weightless_vgg16, monkeypatch, tmp_path):
    (tmp_path / "mine.h5").write_bytes(b"no HDF5")
    monkeypatch.setenv("CAMKIT_VGG16_WEIGHTS", str(tmp_path / "mine.h5"))
    with pytest.raises(Exception, match=r"^mine\.h5 is no HDF5 file, or only part of one: .*\.$") as caught:
        client.predict(file("chelsea"), model="vgg16", api_name="/classify")
    plain_http.assert_clean(str(caught.value))


@pytest.mark.parametrize("kind", ["no HDF5", "HDF5 without layers", "right checksum, not loadable"])
def test_weights_that_cannot_be_used_leave_the_bundled_classifier_in_charge(
    client, weightless_vgg16, monkeypatch, tmp_path, caplog, kind
):
    from camkit.web.server import warming

    path = tmp_path / "mine.h5"
    path.write_bytes(b"no HDF5")
    if kind == "HDF5 without layers":
        with h5py.File(path, "w") as file_:
            file_.create_group("nothing")
    if kind == "right checksum, not loadable":
        path = tmp_path / "models" / weightless_vgg16.filename
        path.parent.mkdir()
        path.write_bytes(b"no HDF5")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setattr(weightless_vgg16, "md5", hashlib.md5(b"no HDF5").hexdigest())
        monkeypatch.setattr(weightless_vgg16, "size", 7)
        assert weightless_vgg16.find() == path
    else:
        monkeypatch.setenv("CAMKIT_VGG16_WEIGHTS", str(path))
    before = client.predict(api_name="/info")
    assert (before["default_model"], before["models"]["vgg16"]["state"]) == ("efficientnet_lite0", "loading")
    caplog.set_level("INFO")
    warm = warming.warm
    monkeypatch.setattr(warming, "warm", lambda model: model == "vgg16" and warm(model))  # the bundled one is warm
    warming.warm_up()  # as at the start
    info = client.predict(api_name="/info")
    reason = info["models"]["vgg16"]["message"]
    assert (info["default_model"], info["models"]["vgg16"]["state"]) == ("efficientnet_lite0", "failed")
    assert reason.startswith(f"{path.name} ")
    plain_http.assert_clean(reason)
    assert reason in caplog.text
    assert headline.headline("auto")["sentence"] == reason
    assert client.predict(file("coffee"), api_name="/classify")["model"] == "efficientnet_lite0"
    with pytest.raises(Exception, match="VGG16 has no weights here yet") as caught:
        client.predict(file("coffee"), model="vgg16", api_name="/classify")
    plain_http.assert_clean(str(caught.value))
    weightless_vgg16.download_in_background().exception(LIMIT)
