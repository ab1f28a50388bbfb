"""What camkit's maps cost, in units of the model's own forward pass, all in one run; peers.py compares libraries.

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
from peers import classifier_of  # noqa: E402

import camkit  # noqa: E402
from camkit.models.registry import MODELS  # noqa: E402

# The wanted figures in the table's order: gradients / F, ten channels / 10 B, full run / live B.
WANTED = {"vgg16": (1.3, 1.25, 1.05), "efficientnet_lite0": (1.7, 1.6, 1.10)}
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
    forward, without, with_ten, ten_batch = medians(
        arguments.repeats,
        (
            lambda: classifier.logits(inputs),
            lambda: camkit.explain(classifier, image, GRADIENTS),
            lambda: camkit.explain(classifier, image, (*GRADIENTS, "faster_scorecam")),
            plain,
        ),
    )
    seconds, live, batched = full_run(classifier, image, arguments.channels, plain)
    print(
        f"F {forward:.3f} s, B {batched / batch:.4f} s (batch {batch}), {live} live channels run in {seconds:.1f} s; "
        f"load now {os.getloadavg()[0]:.1f}\n"
    )
    measured = without / forward, (with_ten - without) / (10 * ten_batch / batch), seconds * batch / (live * batched)
    table(arguments.model, measured, added)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(WANTED), default="efficientnet_lite0")
    parser.add_argument("--picture", default=ROOT / "examples" / "chelsea.jpg")
    parser.add_argument("--repeats", type=int, default=9, help="runs of the short measurements; their median counts")
    parser.add_argument("--channels", type=int, help="run Score-CAM on this many channels only and scale")
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
    return (
        (camkit.load(name, path), "real weights")
        if path
        else (classifier_of("VGG16, random weights"), "seeded random weights")
    )


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


def table(model, measured, added):
    names = (
        "prediction + Grad-CAM + Grad-CAM++ together, warm, in F",
        "Faster Score-CAM, 10 channels, on top, in 10 B",
        "full Score-CAM, in live channels x B",
    )
    print(f"| what | {MODELS[model].name} | wanted |\n| --- | --- | --- |")
    for name, figure, wanted in zip(names, measured, WANTED[model], strict=True):
        print(f"| {name} | {figure:.2f} | <= {wanted} |")
    print(f"| memory added by a full Score-CAM at its peak | {added / 1e6:.0f} MB | <= {MEGABYTES} MB |")


if __name__ == "__main__":
    main()
