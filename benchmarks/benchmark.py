"""What camkit's maps cost, in units of the model's own forward pass and against stock tf-keras-vis, all in one run.

`python benchmarks/benchmark.py --model efficientnet_lite0` prints a Markdown table: measured beside wanted. VGG16 has
seeded random weights where the real ones are not on the machine: a pass costs the same, the live channels are others.
`--server` measures what the server adds to the engine and what visitors leave behind (serving_benchmark.py).
"""

import argparse
import os
import statistics
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "web")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402

import camkit  # noqa: E402
from camkit.classifier import Classifier  # noqa: E402
from camkit.models.registry import MODELS  # noqa: E402

# The wanted figures in the table's order: gradients / F, ten channels / 10 B, full run / live B, stock / ours twice.
WANTED = {"vgg16": (1.3, 1.25, 1.05, 3.3, 1.1), "efficientnet_lite0": (1.7, 1.6, 1.10, 9.0, 3.8)}
MEGABYTES = 400
TURN_SECONDS, RUN_SECONDS = 1, 20
GRADIENTS = ("gradcam", "gradcam_plus_plus")
BATCHES = (1, 2, 4, 8, 16, 32)


def main():
    arguments = parse()
    if arguments.server:
        import serving_benchmark

        serving_benchmark.main(arguments.repeats, arguments.visitors)
        return
    classifier, weights = load(arguments.model)
    image = camkit.open_picture(arguments.picture)
    inputs = classifier.preprocess(image)
    print(
        f"{classifier.spec.name}, {weights}, {Path(arguments.picture).name}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    added = memory_of_ten_blocks(classifier, image)
    batch, plain = best_batch(classifier, inputs)
    forward, gradients, gradcam, stock_gradcam = medians(
        arguments.repeats,
        (
            lambda: classifier.logits(inputs),
            lambda: camkit.explain(classifier, image, GRADIENTS),
            lambda: camkit.explain(classifier, image, ("gradcam",)),
            stock_gradcam_call(classifier, inputs),
        ),
    )
    without, with_ten, ten_batch = medians(
        arguments.repeats,
        (
            lambda: camkit.explain(classifier, image, GRADIENTS),
            lambda: camkit.explain(classifier, image, (*GRADIENTS, "faster_scorecam")),
            plain,
        ),
    )
    # Before and after stock's run, which cannot be taken in turns with anything: it is slower then.
    full = partial(full_run, classifier, image, arguments.channels, plain)
    before, live, batched_before = full()
    stock_full, total = stock_scorecam(classifier, inputs, arguments.stock_channels), channels_of(classifier)
    after, _, batched_after = full()
    seconds, batched = (before + after) / 2, (batched_before + batched_after) / 2 / batch
    print(
        f"F {forward:.3f} s, B {batched:.4f} s (batch {batch}), {live} live channels run in {seconds:.1f} s; "
        f"stock Grad-CAM {stock_gradcam:.2f} s, stock Score-CAM {stock_full:.0f} s"
        f"{f' scaled from {arguments.stock_channels} of {total} channels' if arguments.stock_channels else ''}; "
        f"load now {os.getloadavg()[0]:.1f}\n"
    )
    ours = seconds / live * (arguments.live or (total if arguments.channels else live))
    table(
        arguments.model,
        (
            gradients / forward,
            (with_ten - without) / (10 * ten_batch / batch),
            seconds / (live * batched),
            stock_gradcam / gradcam,
            stock_full / ours,
        ),
        added,
    )


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(WANTED), default="efficientnet_lite0")
    parser.add_argument("--picture", default=ROOT / "examples" / "chelsea.jpg")
    parser.add_argument("--repeats", type=int, default=9, help="runs of the short measurements; their median counts")
    parser.add_argument("--channels", type=int, help="run Score-CAM on this many channels only and scale")
    parser.add_argument(
        "--live", type=int, help="live channels to scale our full run to, where random weights have others"
    )
    parser.add_argument(
        "--stock-channels",
        type=int,
        help="run stock Score-CAM on this many channels only and scale: VGG16's full run takes 4.5 minutes and 4.4 GB",
    )
    parser.add_argument(
        "--server", action="store_true", help="measure the server around the bundled classifier instead"
    )
    parser.add_argument(
        "--visitors", type=int, default=300, help="visitors in a row whose memory is measured; 2000 take half an hour"
    )
    return parser.parse_args()


def load(name):
    """The classifier and a word on its weights."""
    spec = MODELS[name]
    if spec.weights is None:
        return camkit.load(name), "bundled weights"
    path = spec.weights.find()
    return (camkit.load(name, path), "real weights") if path else (random_vgg16(), "seeded random weights")


def random_vgg16():
    """VGG16 with seeded weights, scaled so that activations neither fade nor grow from layer to layer."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.VGG16(weights=None, classifier_activation=None)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(layer.kernel * 2**0.5)
    return Classifier(model, MODELS["vgg16"])


def channels_of(classifier):
    return classifier.model.get_layer(classifier.target_layers[-1]).output.shape[-1]


def memory_of_ten_blocks(classifier, image):
    """Bytes that Score-CAM adds at its peak: its memory does not grow with the number of its blocks.

    Measured first, before batches larger than its own have made TensorFlow's pools grow.
    """
    camkit.explain(classifier, image, ("gradcam",))
    with peak_memory() as added:
        camkit.explain(
            classifier, image, ("faster_scorecam",), max_n=min(10 * classifier.block_size, channels_of(classifier))
        )
    return added[0]


def full_run(classifier, image, channels, plain):
    """Seconds and channels of a Score-CAM run, and the seconds of a plain batch, in turns of a second each: what
    else the machine does slows both alike. Shorter turns would make a run draw its map more often than it does.
    Quick runs are repeated, and their mean counts."""
    method = "faster_scorecam" if channels else "scorecam"
    seconds, runs, batches = 0.0, 0, []
    while seconds < RUN_SECONDS:
        begin = time.perf_counter()
        for snapshot in camkit.explain_stream(classifier, image, (method,), max_n=channels or 1):
            cam = snapshot.cams.get(method)
            turn = time.perf_counter() - begin
            if turn > TURN_SECONDS or (cam and cam.complete):
                seconds += turn
                begin = time.perf_counter()
                while time.perf_counter() - begin < turn:
                    batches.append(timed(plain))
                begin = time.perf_counter()
        runs += 1
    return seconds / runs, cam.channels, statistics.mean(batches)


@contextmanager
def peak_memory():
    """Yields a list whose one number is, in the end, the peak of resident bytes over those at the start."""
    before, peak, stop = resident(), [0], threading.Event()

    def sample():
        while not stop.wait(0.02):
            peak[0] = max(peak[0], resident() - before)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def resident():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def medians(repeats, calls):
    """The median seconds of each call, made in turn, so that what else the machine does falls on all of them."""
    for call in calls:
        call()  # compiles
    return [
        statistics.median(column)
        for column in zip(*([timed(call) for call in calls] for _ in range(repeats)), strict=True)
    ]


def best_batch(classifier, inputs):
    """The batch with the fewest seconds a picture, whatever block size camkit has chosen, and its pass."""
    whole = classifier.passes.whole(classifier.target_layers[-1])
    calls = [partial(whole, np.repeat(inputs, batch, axis=0)) for batch in BATCHES]
    seconds = medians(15 if classifier.block_size >= 8 else 3, calls)
    _, batch, plain = min(zip(seconds, BATCHES, calls, strict=True), key=lambda each: each[0] / each[1])
    return batch, plain


def stock_arguments(classifier, inputs):
    import keras
    from tf_keras_vis.utils.scores import CategoricalScore

    keras.config.disable_interactive_logging()
    score = CategoricalScore(int(classifier.logits(inputs)[0].argmax()))
    return (score, inputs), {"penultimate_layer": classifier.target_layers[-1], "seek_penultimate_conv_layer": False}


def stock_gradcam_call(classifier, inputs):
    from tf_keras_vis.gradcam import Gradcam

    given, named = stock_arguments(classifier, inputs)
    return lambda: Gradcam(classifier.model)(*given, **named)


def stock_scorecam(classifier, inputs, channels):
    """Seconds of a full stock Score-CAM on the same model; a straight line through two runs when only some are run."""
    from tf_keras_vis.scorecam import Scorecam

    given, named = stock_arguments(classifier, inputs)
    Scorecam(classifier.model)(*given, max_N=2, **named)  # compiles
    half, whole = (
        timed(lambda count=count: Scorecam(classifier.model)(*given, max_N=count, **named)) if count else 0.0
        for count in (channels and channels // 2, channels or channels_of(classifier))
    )
    if not channels:
        return whole
    return whole + (whole - half) / (channels - channels // 2) * (channels_of(classifier) - channels)


def table(model, measured, added):
    names = (
        "prediction + Grad-CAM + Grad-CAM++ together, warm, in F",
        "Faster Score-CAM, 10 channels, on top, in 10 B",
        "full Score-CAM, in live channels x B",
        "stock Grad-CAM / ours",
        "stock full Score-CAM / ours",
    )
    print(f"| what | {MODELS[model].name} | wanted |\n| --- | --- | --- |")
    for name, figure, wanted in zip(names, measured, WANTED[model], strict=True):
        sign = ">=" if name.startswith("stock") else "<="
        print(f"| {name} | {figure:.2f} | {sign} {wanted} |")
    print(f"| memory added by a full Score-CAM at its peak | {added / 1e6:.0f} MB | <= {MEGABYTES} MB |")


if __name__ == "__main__":
    main()
