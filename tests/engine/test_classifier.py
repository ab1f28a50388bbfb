"""`Classifier`: preprocessing, compiled passes at every target layer against plain Keras, blocks, order."""

import json
import threading
from contextlib import contextmanager, nullcontext
from importlib.metadata import distribution
from itertools import count
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import EXAMPLES, LIMIT, TINY, example, tiny_model, together
from PIL import Image
from scipy.ndimage import zoom
from test_picture import MODES, red_and_blue

from camkit import classifier as classifier_module
from camkit.classifier import Classifier, Meter
from camkit.models.registry import MODELS
from camkit.passes.arithmetic import corner_aligned, expand
from camkit.passes.outputs import softmax
from camkit.passes.worker import BLOCK, ONE_PICTURE, Worker
from camkit.picture import open_picture, to_rgb

pytestmark = pytest.mark.numeric

TOP = {"chelsea": 285, "coffee": 967, "astronaut": 450, "rocket": 540, "china": 442, "flower": 985}
WHEELS = {
    "chelsea.png": ("scikit-image", "skimage/data"),
    "coffee.png": ("scikit-image", "skimage/data"),
    "astronaut.png": ("scikit-image", "skimage/data"),
    "rocket.jpg": ("scikit-image", "skimage/data"),
    "china.jpg": ("scikit-learn", "sklearn/datasets/images"),
    "flower.jpg": ("scikit-learn", "sklearn/datasets/images"),
}


def in_wheel(name):
    """A picture inside scikit-image's or scikit-learn's wheel, without importing either."""
    wheel, folder = WHEELS[name]
    return distribution(wheel).locate_file(f"{folder}/{name}")


@pytest.fixture
def fresh(tiny):
    """The tiny model in a Classifier that has compiled nothing yet."""
    return Classifier(tiny.model, tiny.spec)


# Preprocessing


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("key", MODELS)
def test_preprocess_takes_every_mode_and_leaves_it_alone(key, mode):
    classifier, image = Classifier(None, MODELS[key]), red_and_blue(mode)
    before = image.tobytes()
    inputs = classifier.preprocess(image)
    assert (inputs.shape, inputs.dtype, image.mode, image.tobytes()) == ((1, 224, 224, 3), np.float32, mode, before)
    np.testing.assert_array_equal(inputs, classifier.preprocess(to_rgb(image)))


@pytest.mark.parametrize("key", MODELS)
def test_preprocess_leaves_arrays_alone(key):
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)  # no resizing that would copy it
    before = image.copy()
    image.flags.writeable = False
    Classifier(None, MODELS[key]).preprocess(image)
    np.testing.assert_array_equal(image, before)


def test_preprocess_of_vgg16_is_that_of_keras(chelsea):
    from keras.applications.vgg16 import preprocess_input

    resized = np.asarray(Image.fromarray(chelsea).resize((224, 224), Image.Resampling.BICUBIC), np.float32)
    expected = preprocess_input(resized.copy())
    np.testing.assert_array_equal(Classifier(None, MODELS["vgg16"]).preprocess(chelsea)[0], expected)
    # By hand: BGR, less ImageNet's mean.
    np.testing.assert_allclose(expected[5, 7], resized[5, 7, ::-1] - (103.939, 116.779, 123.68), atol=1e-4)


def test_preprocess_of_lite0_by_hand():
    image = np.zeros((224, 224, 3), np.uint8)
    image[0, 0] = (255, 127, 0)
    inputs = Classifier(None, MODELS["efficientnet_lite0"]).preprocess(image)
    assert inputs[0, 0, 0].tolist() == [1.0, 0.0, -127 / 128]


def test_preprocess_takes_height_and_width_for_what_they_are():
    image = np.zeros((40, 48, 3), np.uint8)
    image[:20] = 255  # the upper half stays the upper half
    inputs = Classifier(None, TINY).preprocess(image)
    assert inputs.shape == (1, 48, 40, 3)
    assert inputs[0, :20].min() == 1.0
    assert inputs[0, -20:].max() == -1.0


# Every target layer of every model: trunk and head are the model, and the gradient is Keras's own


@pytest.fixture(scope="session", params=["tiny", "efficientnet_lite0", "vgg16"])
def referenced(request):
    """A classifier, inputs, and what one eager pass through plain Keras gives: all activations, logits, gradients."""
    import keras
    import tensorflow as tf

    fixture = {"tiny": "tiny", "efficientnet_lite0": "lite0", "vgg16": "vgg16_small"}[request.param]
    classifier = request.getfixturevalue(fixture)
    inputs = classifier.preprocess(example("chelsea"))
    outputs = [classifier.model.get_layer(layer).output for layer in classifier.target_layers]
    with tf.GradientTape() as tape:
        watched = tf.constant(inputs)
        tape.watch(watched)
        *activations, logits = keras.Model(classifier.model.inputs[0], [*outputs, classifier.model.outputs[0]])(watched)
        score = tf.reduce_max(logits)
    gradients = tape.gradient(score, activations)
    by_layer = dict(zip(classifier.target_layers, zip(activations, gradients, strict=True), strict=True))
    return classifier, inputs, by_layer, logits.numpy()


@pytest.fixture
def uncompiled():
    """A context in which a tf.function runs as the Python that it is made of."""
    import tensorflow as tf

    @contextmanager
    def eagerly():
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(False)

    return eagerly


def close(actual, expected, relative=1e-4):
    """Equal to a part of the largest value: activations and gradients differ by orders of magnitude between layers."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=relative * np.abs(expected).max())


def test_passes_are_those_of_plain_keras_at_every_target_layer(referenced, uncompiled):
    """Compiled at the first, the middle and the last layer; the same functions uncompiled at the others, where only
    the place of the cut is another, and compiling takes most of a second."""
    classifier, inputs, by_layer, logits = referenced
    compiled = {classifier.target_layers[place] for place in (0, len(by_layer) // 2, -1)}
    for layer, (activations, gradients) in by_layer.items():
        assert np.ptp(activations.numpy()) > 0, layer
        assert np.abs(gradients).max() > 0, layer
        with nullcontext() if layer in compiled else uncompiled():
            found_activations, found_logits, found = classifier.forward_with_gradient(inputs, layer, None)
        assert found_activations.shape == activations.shape, layer
        close(found, gradients, 1e-3)
        close(found_activations, activations)
        close(found_logits, logits)


def test_a_pass_without_gradient_is_that_of_plain_keras(referenced):
    classifier, inputs, by_layer, logits = referenced
    for layer in (classifier.target_layers[0], classifier.target_layers[-1]):
        found, found_logits = classifier.forward(inputs, layer)
        close(found, by_layer[layer][0])
        close(found_logits, logits)


def test_the_default_target_layer_is_the_last(lite0, vgg16_random):
    assert lite0.check_layer(None) == lite0.check_layer("") == "top_activation"
    assert vgg16_random.check_layer(None) == "block5_conv3"
    assert [layer.name for layer in vgg16_random.model.layers if "conv" in layer.name] == list(
        vgg16_random.target_layers
    )


def test_a_layer_that_is_not_offered(tiny):
    with pytest.raises(ValueError, match=r"^Target layer 'logits' is not offered by Tiny: use one of early, late\.$"):
        tiny.check_layer("logits")


def test_gradient_of_a_class_asked_for(tiny, noise):
    import keras
    import tensorflow as tf

    inputs = tiny.preprocess(noise)
    activations, _, gradients = tiny.forward_with_gradient(inputs, "late", 812)
    head = keras.Model(tiny.model.get_layer("late").output, tiny.model.outputs[0])
    with tf.GradientTape() as tape:
        tape.watch(activations)
        score = head(activations)[0, 812]
    close(gradients, tape.gradient(score, activations))


# The picture seen through a map


@pytest.mark.parametrize("layer", TINY.target_layers)
def test_masked_logits_by_numpy(tiny, noise, layer):
    inputs = tiny.preprocess(noise)
    maps = np.moveaxis(tiny.forward(inputs, layer)[0].numpy()[0], -1, 0)
    meter = Meter()
    found = tiny.masked_logits(inputs, maps, layer, meter).numpy()
    for logits, cam in zip(found, maps, strict=True):
        mask = zoom(cam, (48 / cam.shape[0], 40 / cam.shape[1]), order=1)
        mask = (mask - mask.min()) / (np.ptp(mask) + 1e-7)
        close(logits, tiny.model(inputs * mask[None, ..., None])[0])
    assert meter.forward_passes == len(maps)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3), (7, 7), (14, 14), (56, 28), (48, 40), (224, 224)])
@pytest.mark.parametrize("size", [(224, 224), (48, 40)])
def test_expand_is_scipys_zoom(shape, size):
    cam = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(expand(cam, size), zoom(cam, np.divide(size, shape), order=1), atol=1e-5)


def test_corner_aligned_by_hand():
    # From 3 to 5: every second output lies on an input, the others halfway between two.
    expected = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]
    np.testing.assert_array_equal(corner_aligned(3, 5), np.float32(expected))


def test_softmax_of_logits_that_overflow():
    np.testing.assert_allclose(softmax(np.float32([[1000, 1000, -1000]])), [[0.5, 0.5, 0]])
    assert softmax(np.zeros((2, 4))).dtype == np.float32


# Predictions


@pytest.mark.parametrize("name", WHEELS)
def test_lite0_reproduces_the_reference_logits(lite0, name):
    reference = json.loads(Path(__file__).with_name("reference_logits.json").read_text())
    logits = lite0.logits(lite0.preprocess(open_picture(in_wheel(name))))[0]
    np.testing.assert_allclose(logits, reference[name], atol=1e-4)
    assert logits.argmax() == TOP[Path(name).stem]


@pytest.mark.parametrize(("name", "class_index"), TOP.items())
def test_lite0_names_the_example_pictures(lite0, name, class_index):
    probabilities = lite0.predict(open_picture(EXAMPLES / f"{name}.jpg"))
    assert (probabilities.shape, probabilities.dtype) == ((1000,), np.float32)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert probabilities.argmax() == class_index


def test_lite0_sees_both_halves_of_the_composite(lite0):
    probabilities = lite0.predict(example("cat_and_coffee"))
    best = set(np.argsort(-probabilities)[:10].tolist())
    assert best & {281, 282, 283, 284, 285}  # cats
    assert best & {504, 505, 925, 960, 967, 968}  # cups and what is in them


def test_score_fn_is_the_probability_of_its_class(tiny, noise):
    inputs, meter = tiny.preprocess(noise), Meter()
    scores = tiny.score_fn(7, meter)(np.repeat(inputs, 3, axis=0).astype(np.float64))
    np.testing.assert_allclose(scores, [tiny.predict(noise)[7]] * 3, rtol=1e-4)
    assert (meter.forward_passes, meter.backward_passes) == (3, 0)
    assert meter.seconds > 0


def test_logits_in_several_batches_are_those_of_one(tiny, monkeypatch):
    inputs = np.random.default_rng(0).normal(size=(7, 48, 40, 3)).astype(np.float32)
    monkeypatch.setattr(tiny, "block_size", 3)
    monkeypatch.setattr(tiny, "largest_block", 3)
    close(tiny.logits(inputs), tiny.model(inputs))


def test_an_empty_batch_is_answered_without_the_network(fresh):
    meter = Meter()
    logits = fresh.logits(np.zeros((0, 48, 40, 3), np.float32), meter)
    assert (logits.shape, logits.dtype) == ((0, 1000), np.float32)
    assert (fresh.passes.made, meter) == ({}, Meter())


# Blocks


@pytest.mark.parametrize("name", ["tiny", "lite0", "vgg16_random"])
def test_a_block_is_bounded_in_bytes(request, name):
    classifier = Classifier(request.getfixturevalue(name).model, request.getfixturevalue(name).spec)
    widest = max(np.prod(layer.output.shape[1:]) for layer in classifier.model.layers)
    size = classifier.largest_block
    assert 1 <= size <= classifier_module.LARGEST_BLOCK
    assert size & (size - 1) == 0
    assert size * 2 * 4 * widest <= classifier_module.CPU_BLOCK_BYTES
    assert size == classifier_module.LARGEST_BLOCK or 2 * size * 2 * 4 * widest > classifier_module.CPU_BLOCK_BYTES


@pytest.mark.parametrize(
    ("block_seconds", "largest", "size"),
    [(0.7, 128, 4), (15.9, 128, 8), (16, 128, 16), (16, 8, 8), (16, 2, 4)],
    ids=["never under four", "a power of two", "as many as fit", "no more than memory holds", "four all the same"],
)
def test_one_measured_pass_chooses_the_block(fresh, monkeypatch, block_seconds, largest, size):
    """The clock goes on by a second each time that it is read: a pass lasts one."""
    clock = count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(classifier_module, "BLOCK_SECONDS", block_seconds)
    fresh.largest_block = largest
    assert fresh.block_size == size
    read = next(clock)
    assert fresh.block_size == size and next(clock) == read + 1, "it is measured once"


@pytest.mark.parametrize(("gigabytes", "size"), [(0.05, 1), (1, 8), (8, 64), (80, 128)])
def test_a_block_follows_the_memory_of_a_gpu(vgg16_random, monkeypatch, gigabytes, size):
    monkeypatch.setattr(classifier_module, "gpus", lambda: ("a GPU",))
    monkeypatch.setattr(classifier_module, "gpu_memory", lambda: int(gigabytes * 2**30))
    assert Classifier(vgg16_random.model, vgg16_random.spec).block_size == size


def test_memory_of_a_gpu_is_what_its_driver_says(monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "24564\n24564\n"))
    assert classifier_module.gpu_memory() == 24564 * 2**20


def test_memory_of_a_gpu_whose_driver_cannot_be_asked(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert classifier_module.gpu_memory() == 8 * 2**30


def test_memory_growth_is_set_on_every_gpu(monkeypatch):
    import tensorflow as tf

    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind + ":0", kind + ":1"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, grow: grown.append((gpu, grow)))
    classifier_module.prepare_device.__wrapped__()
    assert grown == [("GPU:0", True), ("GPU:1", True)]


@pytest.mark.parametrize(
    ("gpus", "asked"), [(("a GPU",), [5, 4, 2, 2, 1]), ((), [5])], ids=["halved on a GPU", "an error on a CPU"]
)
def test_a_batch_for_which_there_is_no_memory(fresh, monkeypatch, gpus, asked):
    import tensorflow as tf

    monkeypatch.setattr(classifier_module, "gpus", lambda: gpus)
    fresh.block_size, sizes = 8, []
    whole = fresh.passes.whole("late")

    def cramped(inputs):
        sizes.append(len(inputs))
        if len(inputs) > 3:
            raise tf.errors.ResourceExhaustedError(None, None, "full")
        return whole(inputs)

    monkeypatch.setattr(fresh.passes, "whole", lambda layer: cramped)
    inputs = np.random.default_rng(0).normal(size=(5, 48, 40, 3)).astype(np.float32)
    with nullcontext() if gpus else pytest.raises(tf.errors.ResourceExhaustedError):
        close(fresh.logits(inputs), fresh.model(inputs))
    assert sizes == asked


# Compiled once, and frozen


def compiled(classifier) -> dict:
    """The compiled functions so far, by name and layer."""
    made = classifier.passes.made.items()
    return {
        (make.__name__, layer): function
        for (make, layer), function in made
        if hasattr(function, "get_concrete_function")
    }


def test_functions_are_compiled_once(fresh, noise):
    inputs = fresh.preprocess(noise)
    maps = np.random.default_rng(0).random((5, 12, 10), np.float32)
    for size in (1, 2, 5):
        fresh.logits(np.repeat(inputs, size, axis=0))
        fresh.forward(inputs, "late")
        fresh.forward_with_gradient(inputs, "late", size)
        fresh.masked_logits(inputs, maps[:size], "late")
    functions = compiled(fresh)
    assert set(functions) == {(name, "late") for name in ("trunk", "head", "head_gradient", "mask")}
    assert [function.experimental_get_tracing_count() for function in functions.values()] == [1] * 4


def kernels_in(classifier, function) -> bool:
    """True when a weight of two dimensions or more is a constant of a compiled function's graph."""
    operations = function.get_concrete_function().graph.get_operations()
    constants = {tuple(each.outputs[0].shape) for each in operations if each.type == "Const"}
    return bool(constants & {tuple(weight.shape) for weight in classifier.model.weights if len(weight.shape) > 1})


def test_the_weights_are_constants_of_the_default_trunk_alone(fresh, noise):
    inputs = fresh.preprocess(noise)
    for layer in fresh.target_layers:
        fresh.forward_with_gradient(inputs, layer, 1)
    fresh.logits(inputs)
    fresh.masked_logits(inputs, np.ones((1, 12, 10), np.float32), "late")
    holding = [name for name, function in compiled(fresh).items() if kernels_in(fresh, function)]
    assert holding == [("trunk", "late")]


def test_a_classifier_that_is_not_frozen_reads_the_weights_each_time(tiny, noise):
    model = keras.models.clone_model(tiny.model)
    model.set_weights(tiny.model.get_weights())
    frozen, reading = Classifier(model, tiny.spec), Classifier(model, tiny.spec, frozen=False)
    inputs = frozen.preprocess(noise)
    before = frozen.logits(inputs)
    np.testing.assert_allclose(reading.logits(inputs), before, atol=1e-5)
    first = next(layer for layer in model.layers if layer.weights)
    first.set_weights([2 * weight for weight in first.get_weights()])
    assert np.array_equal(frozen.logits(inputs), before)
    after = model(inputs, training=False).numpy()
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(reading.logits(inputs), after, atol=1e-5)


def test_a_large_weight_stays_a_variable(fresh, noise, monkeypatch):
    monkeypatch.setattr("camkit.passes.compiled.LARGEST_CONSTANT", 0)
    logits = fresh.logits(fresh.preprocess(noise))
    assert not kernels_in(fresh, compiled(fresh)["trunk", "late"])
    np.testing.assert_allclose(logits, fresh.model(fresh.preprocess(noise), training=False), atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_gives_the_cpus_logits(lite0, chelsea):
    import tensorflow as tf

    if not classifier_module.gpus():
        pytest.skip("this machine has no GPU that TensorFlow sees")
    inputs = np.repeat(lite0.preprocess(chelsea), lite0.block_size, axis=0)
    with tf.device("/CPU:0"):
        expected = lite0.model(inputs[:1]).numpy()
    close(lite0.logits(inputs), np.repeat(expected, len(inputs), axis=0), 1e-3)
    assert tf.config.experimental.get_memory_growth(tf.config.list_physical_devices("GPU")[0])


def test_without_a_gpu_the_device_is_the_cpu(monkeypatch):
    monkeypatch.setattr(classifier_module, "gpus", lambda: ())
    assert classifier_module.device_name() == "CPU"
    monkeypatch.setattr(classifier_module, "gpus", lambda: ("NVIDIA A100",))
    assert classifier_module.device_name() == "NVIDIA A100"


# One pass at a time


def test_a_single_picture_is_a_short_call_and_a_batch_a_block(fresh, noise, monkeypatch):
    """What `Worker` does with the two is in test_worker.py."""
    costs, submit = [], Worker.submit
    monkeypatch.setattr(
        Worker, "submit", lambda worker, call, cost: (costs.append(cost), submit(worker, call, cost))[1]
    )
    inputs = fresh.preprocess(noise)
    fresh.predict(noise)
    fresh.forward(inputs, "late")
    fresh.forward_with_gradient(inputs, "late", 7)
    assert costs == [ONE_PICTURE] * 3
    fresh.block_size = 4
    costs.clear()
    fresh.logits(np.repeat(inputs, 6, axis=0))
    fresh.masked_logits(inputs, np.ones((3, 12, 10), np.float32), "late")
    assert costs == [BLOCK] * 3


def test_two_threads_at_once_get_what_each_gets_alone(tiny):
    inputs = np.random.default_rng(0).normal(size=(8, 48, 40, 3)).astype(np.float32)
    expected, both = tiny.model(inputs).numpy(), threading.Barrier(2)

    def work(begin):
        both.wait(LIMIT)
        for i in range(begin, 8, 2):
            close(tiny.logits(inputs[i : i + 1])[0], expected[i])

    together(lambda: work(0), lambda: work(1))


def test_a_model_of_its_own_is_the_same_every_time(tiny):
    """The other tests stand on it: the seeded model's weights."""
    for one, other in zip(tiny.model.get_weights(), tiny_model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
