"""camkit beside its peers on the same networks with the same weights, in one run.

Maps by stock tf-keras-vis, torch-cam and pytorch-grad-cam; passes by ONNX Runtime and OpenVINO on the graph that camkit
folds (not VGG16: to export it takes 22 GB). `pip install -r benchmarks/requirements.txt`, then `python
benchmarks/peers.py`, which prints Markdown: camkit's times, and the others' as multiples of them.
Each library has a process of its own, for TensorFlow's and PyTorch's cannot share one, and takes its turn while the
others wait. camkit's times hold all of `explain`; the others are given their inputs and the class.
"""

import argparse
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

BATCH, TURN_SECONDS = 16, 0.3
NETWORKS = {  # name -> the network, the weights, and the module of PyTorch's network that is the target layer
    "EfficientNet-Lite0, bundled weights": ("efficientnet_lite0", False, "bn2"),
    "EfficientNet-Lite0, random weights": ("efficientnet_lite0", True, "bn2"),
    "VGG16, random weights": ("vgg16", True, "features.29"),
}
INSTRUCTIONS = ("sse4_1", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
SETTINGS = ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="turns of the short measurements; their median counts")
    parser.add_argument(
        "--channels", type=int, help="run Score-CAM on this many channels, a multiple of 64, and scale to all"
    )
    parser.add_argument("--only", choices=(*LIBRARIES, *MAPS, "passes"), nargs="*", help="measure no more than these")
    parser.add_argument("--network", choices=NETWORKS, nargs="*", default=list(NETWORKS))
    arguments = parser.parse_args()
    print(processor())
    for name in arguments.network:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, Path(folder), arguments)


def compare(name, folder, arguments):
    """Print the tables of one network."""
    only = arguments.only or (*LIBRARIES, *MAPS, "passes")
    without = ("ONNX Runtime", "OpenVINO") if NETWORKS[name][0] == "vgg16" else ()
    names = [each for each in LIBRARIES if each == "camkit" or (each in only and each not in without)]
    pools = {library: ProcessPoolExecutor(1, get_context("spawn")) for library in names}
    try:
        # camkit comes first and writes what the others read.
        live, *_ = [pool.submit(begin, library, name, folder).result() for library, pool in pools.items()]
        print(f"\n{name}, {live[0]} of {live[1]} channels live\n")
        print(f"| | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}")
        for call in ("one picture", f"batch of {BATCH}", *MAPS):
            if (call if call in MAPS else "passes") in only:
                print(row(call, *times(pools, call, arguments.channels, arguments.rounds, live)), flush=True)
    finally:
        for pool in pools.values():
            pool.shutdown()


def times(pools, call, wanted, rounds, live):
    """Return the seconds of a call by library: in turns, their median; a full Score-CAM once, since it takes minutes,
    or `wanted` channels of it, scaled by a straight line through two runs."""
    if call != "Score-CAM":
        rows = [[pool.submit(turn, call).result() for pool in pools.values()] for _ in range(rounds)]
        return [column[0] and statistics.median(column) for column in zip(*rows, strict=True)]
    found = []
    for library, pool in pools.items():
        channels = live[0 if library == "camkit" else 1]
        some = min(wanted or channels, channels)
        whole = pool.submit(turn, call, some).result()
        if whole and some < channels:
            half = pool.submit(turn, call, some // 2).result()
            whole += (whole - half) / (some - some // 2) * (channels - some)
        found.append(whole)
    return found


def row(call, ours, *others):
    unit, factor = ("s", 1) if call == "Score-CAM" else ("ms", 1000 / (BATCH if "batch" in call else 1))
    ratios = (f"{taken / ours:.2f}" if taken else "" for taken in others)
    return f"| {call} | {' | '.join([f'{ours * factor:.1f} {unit}', *ratios])} |"


def processor():
    """Say what the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    about = dict(re.findall(r"^([^\t:]+)\s*: (.*)", cpuinfo.read_text("utf-8") if cpuinfo.exists() else "", re.M))
    has = [each for each in INSTRUCTIONS if each in about.get("flags", "").split()]
    named = [f"{key}={os.environ[key]}" for key in SETTINGS if key in os.environ]
    model = about.get("model name", platform.processor() or platform.machine())
    return ", ".join([model, f"{os.cpu_count()} cores", " ".join(has), *named])


# --- in a library's own process --------------------------------------------------------------------------------------

_calls: dict = {}


def begin(library, name, folder):
    """Make the library's calls of a network ready; for camkit, return its numbers of live channels and of all."""
    if library == "camkit":
        write_network(name, folder)
    _calls.clear()
    _calls.update(LIBRARIES[library](name, folder))
    return _calls.pop("channels", None)


def turn(call, *arguments):
    """Return the seconds of a call, or None where the library has none: the median of as many as fit into TURN_SECONDS.
    One before them is not counted: the process was asleep, and what compiles at first is compiled."""
    if call not in _calls:
        return None
    _calls[call](*([min(arguments[0], 2)] if arguments else []))
    taken = []
    while sum(taken) < TURN_SECONDS:
        start = time.perf_counter()
        _calls[call](*arguments)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def classifier_of(name):
    """Return camkit's classifier. Random weights are seeded, keep activations from fading, and leave no channel zero
    everywhere."""
    import keras

    import camkit
    from camkit.classifier import Classifier
    from camkit.models.registry import MODELS

    key, random, _ = NETWORKS[name]
    if not random:
        return camkit.load(key)
    vgg16 = key == "vgg16"
    model = keras.applications.VGG16(weights=None, classifier_activation=None) if vgg16 else camkit.load(key).model
    draws = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([np.full(each.shape, value) for each, value in zip(layer.weights, (1, 0, 0, 1))])
        elif layer.weights:
            kernel, *bias = layer.weights
            fan_in = np.prod(kernel.shape[: 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else -1])
            values = draws.standard_normal(kernel.shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
            # Every channel is live: VGG16's last convolution adds up what is not negative.
            values = np.abs(values) if layer.name == "block5_conv3" else values
            layer.set_weights([values, *(np.zeros(each.shape) for each in bias)])
    if not vgg16:
        model.get_layer("top_bn").beta.assign(np.full(1280, 3))
    return Classifier(model, MODELS[key])


def write_network(name, folder):
    """Write what the other libraries read: weights in PyTorch's layout, inputs, the class, the frozen graph as ONNX."""
    import keras

    import camkit
    from camkit.passes.folding import folded

    classifier = classifier_of(name)
    inputs = classifier.preprocess(camkit.open_picture(ROOT / "examples" / "chelsea.jpg"))
    weights = []
    for layer in classifier.model.layers:
        values = layer.get_weights()
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            values[0] = values[0].transpose(2, 3, 0, 1)
        elif isinstance(layer, keras.layers.Conv2D):
            values[0] = values[0].transpose(3, 2, 0, 1)
        elif isinstance(layer, keras.layers.Dense):
            if isinstance(before := layer.input._keras_history.operation, keras.layers.Flatten):
                values[0] = values[0].reshape(*before.input.shape[1:], -1).transpose(2, 0, 1, 3)
            values[0] = values[0].reshape(-1, layer.units).T
        weights += values
    np.savez(folder / "network.npz", inputs, classifier.logits(inputs), *weights)
    if NETWORKS[name][0] == "vgg16":
        return
    network = folded(classifier.model)
    network.predict(inputs, verbose=0)  # Keras exports what has been called
    network.export(folder / "network.onnx", format="onnx", verbose=False)


def read_network(folder):
    """Return the inputs, the logits that camkit gives them, and after them the weights in the network's order."""
    return np.load(folder / "network.npz").values()


def passes(run, inputs, expected):
    """Return the calls of a pass; AssertionError where the network is not camkit's."""
    np.testing.assert_allclose(run(inputs), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    batch = np.repeat(inputs, BATCH, axis=0)
    return {"one picture": lambda: run(inputs), f"batch of {BATCH}": lambda: run(batch)}


def by_camkit(name, folder):
    import camkit

    classifier, image = classifier_of(name), camkit.open_picture(ROOT / "examples" / "chelsea.jpg")
    layer = classifier.target_layers[-1]
    inputs, logits, *_ = read_network(folder)
    activations = classifier.forward(inputs, layer)[0].numpy()
    explain = partial(camkit.explain, classifier, image)
    whole = classifier.passes.whole(layer)
    return passes(lambda given: whole(given).numpy(), inputs, logits) | {
        "Grad-CAM": lambda: explain(["gradcam"]),
        "Score-CAM": lambda channels: explain(["faster_scorecam"], max_n=channels),
        "channels": (int(activations.any(axis=(0, 1, 2)).sum()), activations.shape[-1]),
    }


def by_stock(name, folder):
    import keras
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.scorecam import Scorecam
    from tf_keras_vis.utils.scores import CategoricalScore

    keras.config.disable_interactive_logging()
    classifier, (inputs, logits, *_) = classifier_of(name), read_network(folder)
    given = CategoricalScore(int(logits[0].argmax())), inputs
    named = {"penultimate_layer": classifier.target_layers[-1], "seek_penultimate_conv_layer": False}
    return {
        "Grad-CAM": lambda: Gradcam(classifier.model)(*given, **named),
        "Score-CAM": lambda channels: Scorecam(classifier.model)(*given, max_N=channels, **named),
    }


class EnoughError(Exception):
    """As many pictures went through the network as were asked for."""


def torch_network(name, folder):
    """Return PyTorch's network with camkit's weights, the target layer, the inputs, the class, and what runs a map of
    some channels. Channels last, which is faster in both networks than PyTorch's own order."""
    import torch
    import torchvision
    from timm import create_model

    key, _, layer = NETWORKS[name]
    network = (torchvision.models.vgg16() if key == "vgg16" else create_model("tf_efficientnet_lite0")).eval()
    inputs, logits, *weights = read_network(folder)
    theirs = [(key, value) for key, value in network.state_dict().items() if value.dim()]
    network.load_state_dict(
        {key: torch.from_numpy(mine) for (key, _), mine in zip(theirs, weights, strict=True)}, strict=False
    )
    network = network.to(memory_format=torch.channels_last)
    left = [0]

    def count(_, given):
        left[0] -= len(given[0])
        if left[0] < 0:
            raise EnoughError

    network.register_forward_pre_hook(count)

    def limited(call, channels):
        left[0] = channels + 1  # one picture by itself first
        with suppress(EnoughError):
            call()

    def run(given):
        left[0] = len(given)
        with torch.inference_mode():
            return network(tensor(given)).numpy()

    def tensor(given):
        return torch.from_numpy(given.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)

    calls = passes(run, inputs, logits)
    return network, network.get_submodule(layer), tensor(inputs), int(logits.argmax()), limited, calls


def by_torch_cam(name, folder):
    import torch
    from torchcam.methods import GradCAM, ScoreCAM

    network, layer, inputs, index, limited, calls = torch_network(name, folder)

    def gradcam():
        with GradCAM(network, layer) as extractor:
            upsampled(extractor(index, network(inputs)))

    def scorecam():
        with ScoreCAM(network, layer) as extractor:
            with torch.inference_mode():
                network(inputs)
            upsampled(extractor(index))

    def upsampled(maps):
        return torch.nn.functional.interpolate(maps[0][None], inputs.shape[-2:], mode="bilinear").numpy()

    return calls | {"Grad-CAM": lambda: limited(gradcam, 0), "Score-CAM": partial(limited, scorecam)}


def by_pytorch_grad_cam(name, folder):
    from pytorch_grad_cam import GradCAM, ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, layer, inputs, index, limited, _ = torch_network(name, folder)

    def by(method):
        with method(model=network, target_layers=[layer]) as cam:
            return cam(input_tensor=inputs, targets=[ClassifierOutputTarget(index)])

    return {"Grad-CAM": lambda: limited(partial(by, GradCAM), 0), "Score-CAM": partial(limited, partial(by, ScoreCAM))}


def by_onnx_runtime(name, folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    named = session.get_inputs()[0].name
    inputs, logits, *_ = read_network(folder)
    return passes(lambda given: session.run(None, {named: given})[0], inputs, logits)


def by_openvino(name, folder):
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    network = openvino.Core().compile_model(folder / "network.onnx", "CPU", hints)
    inputs, logits, *_ = read_network(folder)
    return passes(lambda given: network(given)[0], inputs, logits)


MAPS = ("Grad-CAM", "Score-CAM")
LIBRARIES = {
    "camkit": by_camkit,
    "tf-keras-vis": by_stock,
    "torch-cam": by_torch_cam,
    "pytorch-grad-cam": by_pytorch_grad_cam,
    "ONNX Runtime": by_onnx_runtime,
    "OpenVINO": by_openvino,
}

if __name__ == "__main__":
    main()
