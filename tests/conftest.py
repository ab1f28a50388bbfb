"""What tests share: classifiers (a tiny one, the bundled one, VGG16 with random weights) and pictures. No network.

TensorFlow is imported by the fixtures that need it: the process that only hands out tests to others starts at once.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browsing import (  # noqa: F401 - fixtures of the tests of the page
    browser,
    held_work,
    short_curves,
    short_measurement,
    visit,
    whole_measurement,
    windows,
)
from oracle import noise_map, ones, perfect, picture  # noqa: F401 - fixtures of the tests of metrics and curves
from studies import everything  # noqa: F401 - a fixture of the tests of studies and reports

from camkit import open_picture
from camkit.methods import METHODS
from camkit.models.registry import MODELS, ModelSpec, load

if TYPE_CHECKING:
    from camkit.classifier import Classifier

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 30  # seconds before a wait counts as failed
GRADIENT = tuple(key for key, method in METHODS.items() if method.uses_gradient)
SCORECAM = tuple(key for key, method in METHODS.items() if not method.uses_gradient)
EXAMPLES = ROOT / "examples"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the first import of TensorFlow
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core: threads of their own would only fight
    for setting in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(setting, "1")
VGG16_PATH = os.environ.get("CAMKIT_VGG16_WEIGHTS")  # read before the fixture below hides it


def pytest_collection_modifyitems(items):
    """Files with long tests come first, then those of the web, so that no worker is left alone with one of them."""
    long = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("browser")}
    items.sort(key=lambda item: (item.path not in long, "web" not in item.path.parts))


def pytest_collection_finish():
    """What is imported stays: the garbage collector need not look through TensorFlow and Gradio, 0.3 s each time."""
    gc.freeze()


@pytest.fixture(autouse=True)
def surroundings_of_their_own(monkeypatch, tmp_path_factory):
    """No setting of this machine and no cache of its user reaches a test."""
    for variable in [name for name in os.environ if name.startswith("CAMKIT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.getbasetemp() / "keras"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny() -> Classifier:
    """Two convolutions and a dense layer with 1000 outputs, neither square nor 224 pixels wide, so that an axis or a
    size taken for another shows. Of the 12 channels of `late`, 3 is zero everywhere and 5 is one everywhere."""
    from camkit.classifier import Classifier

    return Classifier(tiny_model(), TINY)


TINY = ModelSpec(
    key="tiny",
    name="Tiny",
    build=lambda weights: tiny_model(),
    preprocess=lambda image: image / 127.5 - 1.0,
    target_layers=("early", "late"),
    weights=None,
    zero="mid grey",
    inputs="-1 to 1",
    source="these tests",
    input_size=(48, 40),
)


def tiny_model():
    import keras

    keras.utils.set_random_seed(7)
    wide = keras.initializers.VarianceScaling(4.0)  # maps of the second layer vary as much as those of the first
    inputs = keras.Input((48, 40, 3))
    early = keras.layers.Conv2D(8, 3, 2, "same", activation="relu", kernel_initializer=wide, name="early")(inputs)
    late = keras.layers.Conv2D(12, 3, 2, "same", activation="relu", kernel_initializer=wide, name="late")(early)
    outputs = keras.layers.Dense(1000, kernel_initializer=wide, name="logits")(keras.layers.Flatten()(late))
    model = keras.Model(inputs, outputs)
    kernel, bias = model.get_layer("late").get_weights()
    kernel[..., [3, 5]], bias[5] = 0.0, 1.0
    model.get_layer("late").set_weights([kernel, bias])
    return model


@contextmanager
def registry_kept():
    """MODELS without an operator's, and afterwards as it was."""
    before = dict(MODELS)
    for key in [key for key, spec in before.items() if spec.operator_model is not None]:
        del MODELS[key]
    yield MODELS
    MODELS.clear()
    MODELS.update(before)


@pytest.fixture
def registry():
    with registry_kept() as models:
        yield models


@pytest.fixture(scope="session")
def lite0() -> Classifier:
    """The bundled classifier."""
    return load("efficientnet_lite0")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory):
    """The address of the app, launched once in this process with the bundled classifier, the tests' `lite0`, warm."""
    with pytest.MonkeyPatch.context() as session:
        for variable in [name for name in os.environ if name.startswith("CAMKIT_")]:
            session.delenv(variable)
        session.setenv("KERAS_HOME", str(tmp_path_factory.getbasetemp() / "keras"))
        session.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))  # read when components are made
        from camkit.web.command_line import parse
        from camkit.web.page import open_page
        from camkit.web.server.warming import start_warming

        demo = open_page(parse([]))
        start_warming().join()
        _, url, _ = demo.launch(prevent_thread_lock=True, server_port=free_port(), quiet=True)
        yield url.rstrip("/")
        demo.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def vgg16_random() -> Classifier:
    """VGG16 with seeded weights, half a gigabyte of them."""
    return random_vgg16(224)


@pytest.fixture(scope="session")
def vgg16_small() -> Classifier:
    """VGG16 with seeded weights, layer for layer, for pictures of 96 x 96 pixels: a fifth of the work."""
    return random_vgg16(96)


def random_vgg16(side: int) -> Classifier:
    """Weights are scaled so that activations neither fade nor grow from layer to layer."""
    import keras

    from camkit.classifier import Classifier

    keras.utils.set_random_seed(0)
    model = keras.applications.VGG16(weights=None, classifier_activation=None, input_shape=(side, side, 3))
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(layer.kernel * 2**0.5)
    top = model.get_layer("predictions")
    top.kernel.assign(top.kernel * 0.1)  # logits below 10: stock Grad-CAM++ overflows above 88.7
    return Classifier(model, replace(MODELS["vgg16"], input_size=(side, side)))


def stock(model, key: str, inputs, class_index: int, layer: str, max_n: int | None = None, **options) -> np.ndarray:
    """The map of tf-keras-vis's own visualizer on the whole linear model, as a user of tf-keras-vis would call it.
    `max_n` makes a Score-CAM take that many channels."""
    import keras
    from tf_keras_vis.utils.scores import CategoricalScore

    keras.config.disable_interactive_logging()
    if max_n:
        options["max_N"] = max_n
    visualizer = resolve_name(METHODS[key].visualizer)(model)
    options |= {"penultimate_layer": layer, "seek_penultimate_conv_layer": False}
    with warnings.catch_warnings():  # it hands a one-input model its input in a list, which Keras remarks upon
        warnings.filterwarnings("ignore", "The structure of `inputs` doesn't match", UserWarning)
        cam = visualizer(CategoricalScore(class_index), inputs, **options)
    return np.asarray(cam)[0]


def small(classes=3, **ending):
    """A Sequential of one convolution that scales inside, for pictures of 16 x 12 pixels."""
    import keras
    from keras import layers

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


def save(model, path) -> None:
    """`model.save(path)`, less Keras's own remarks: its arrays do not know NumPy 2's `copy`, and .h5 is old."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save(path)


def together(*calls) -> None:
    """Runs the calls at once, each in a thread; what one raises is raised here."""
    errors = []

    def guarded(call):
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    for error in errors:
        raise error


def example(name: str) -> np.ndarray:
    """A picture of examples/ by its stem, (H, W, 3) uint8 RGB."""
    return open_picture(EXAMPLES / f"{name}.jpg")


@pytest.fixture(scope="session")
def quarters() -> Classifier:
    """A model small enough to reckon with. Its target layer `cells` holds the mean of each quarter of an 8 x 8 picture,
    per colour: (1, 2, 2, 3). With R, G, B the means of the four cells, class 0 has the logit 4 R - 8 G, class 1 has 0,
    every other class -50, so that the probability of class 0 is sigmoid(4 R - 8 G)."""
    import keras

    from camkit.classifier import Classifier

    inputs = keras.Input((8, 8, 3))
    cells = keras.layers.AveragePooling2D(4, name="cells")(inputs)
    outputs = keras.layers.Dense(1000, name="logits")(keras.layers.GlobalAveragePooling2D()(cells))
    model = keras.Model(inputs, outputs)
    kernel, bias = np.zeros((3, 1000), np.float32), np.full(1000, -50, np.float32)
    kernel[:, 0], bias[:2] = (4, -8, 0), 0
    model.get_layer("logits").set_weights([kernel, bias])
    return Classifier(
        model,
        replace(
            TINY,
            key="quarters",
            name="Quarters",
            preprocess=lambda image: image / 255.0,
            target_layers=("cells",),
            zero="black",
            input_size=(8, 8),
        ),
    )


@pytest.fixture
def red_green_blue_black() -> np.ndarray:
    """An (8, 8, 3) picture: its upper quarters red and green, its lower ones blue and black."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :4, 0] = image[:4, 4:, 1] = image[4:, :4, 2] = 255
    return image


@pytest.fixture
def chelsea() -> np.ndarray:
    return example("chelsea")


@pytest.fixture
def astronaut() -> np.ndarray:
    return example("astronaut")


@pytest.fixture
def noise() -> np.ndarray:
    """A seeded (60, 50, 3) uint8 picture that excites every channel of the tiny model."""
    return np.random.default_rng(3).integers(0, 256, (60, 50, 3), np.uint8)
