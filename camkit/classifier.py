"""`Classifier`: one Keras model with linear outputs, compiled per target layer; TensorFlow's one door.

Owns preprocessing, the passes in blocks that the device holds, their count and their time, and the device. Every pass
runs in the classifier's `Worker`, so that a short request waits for one block of a long one, not for its end. Knows
nothing of methods.
Shapes: `inputs` (N, h, w, c) float32 preprocessed, c = 3 or 1, `activations` (1, h', w', C) float32, `logits` (N,
classes) float32.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, cached_property

import keras
import numpy as np
import tensorflow as tf

from .errors import InputError, quoted
from .explanation import DEFAULT_MAX_N, Question
from .passes.compiled import Passes
from .passes.outputs import Outputs
from .passes.placement import Placement
from .passes.resizing import Resizing, grey_of
from .passes.worker import BLOCK, ONE_PICTURE, Worker
from .picture import to_rgb

# What one batch may hold in activations, input and output of the widest layer counted. On a CPU more makes no
# batch faster per picture; on a GPU it does, until its memory ends.
CPU_BLOCK_BYTES = 256 * 2**20
GPU_BLOCK_SHARE = 0.25
SMALLEST_BLOCK, LARGEST_BLOCK = 4, 128  # fewer pictures do not fill two cores
BLOCK_SECONDS = 0.7  # of a block on a CPU, unless it is the smallest: a short request waits for one block at most


@dataclass
class Meter:
    """Counts pictures sent through a network, and the seconds that took, where it happens."""

    seconds: float = 0.0
    forward_passes: int = 0
    backward_passes: int = 0

    def add(self, seconds: float, forward: int, backward: int) -> None:
        self.seconds += seconds
        self.forward_passes += forward
        self.backward_passes += backward

    def copy(self) -> Meter:
        return replace(self)


class Classifier:
    """A Keras model that gives scores and what the methods need of it. Make one with `camkit.load`.

    `spec` is an entry of MODELS, `name` its key, `input_size` (height, width), `target_layers` the usable layers
    (default last), `labels` the class names, `outputs` an entry of OUTPUTS. Every method may be called from any thread;
    passes are counted in the `Meter` given. `frozen`: on a CPU the passes may hold the weights that the model has when
    they are first used; False makes them read the model's variables each time, for weights that change.
    """

    def __init__(self, model: keras.Model, spec, *, frozen: bool = True) -> None:
        self.model = model
        self.spec = spec
        self.name = spec.key
        self.input_size = spec.input_size
        self.target_layers = spec.target_layers
        self.labels = spec.labels()
        self.outputs: Outputs = spec.outputs
        shape = (*spec.input_size, spec.channels)
        self.passes = Passes(model, shape, spec.target_layers[-1], frozen=frozen and not gpus())
        self._worker = Worker(f"passes of {spec.key}")

    def __repr__(self) -> str:
        height, width = self.input_size
        takes = f"pictures of {width} x {height} pixels{', grey' if self.spec.channels == 1 else ''}"
        return (
            f"<Classifier {self.spec.name}: {takes}, {len(self.labels)} classes, target layer {self.target_layers[-1]}>"
        )

    def preprocess(self, image) -> np.ndarray:
        """Return the (1, h, w, c) float32 inputs of a Pillow image or (H, W, 3) uint8 RGB array, which stays as it is.

        Resized as the model's `spec.resizing` says, made grey (ITU-R 601 luma) for a model of one channel, then the
        model's own scaling.
        """
        resized = self.spec.resizing.apply(to_rgb(image), self.input_size)
        if self.spec.channels == 1:
            resized = grey_of(resized)
        picture = resized.reshape(*self.input_size, self.spec.channels).astype(np.float32)
        return self.spec.preprocess(picture)[None].astype(np.float32)

    def placement(self, image: np.ndarray) -> Placement:
        """Return which rectangle of an (H, W, 3) picture is which rectangle of this model's input."""
        return self.spec.resizing.placement(image.shape[:2], self.input_size)

    def resizing_by(self, resizing: Resizing) -> Classifier:
        """Return this classifier with another resizing: the same network and passes. InputError when the input cannot
        be cut out of what it makes."""
        other = copy(self)
        other.spec = replace(self.spec, resizing=resizing.check(self.input_size))
        return other

    def predict(self, image) -> np.ndarray:
        """Return the (classes,) float32 probabilities of a picture, or its value (1,), as `outputs` says."""
        return self.outputs.answers(self.logits(self.preprocess(image)))[0]

    def logits(self, inputs: np.ndarray, meter: Meter | None = None) -> np.ndarray:
        """Return the (N, classes) float32 logits of (N, h, w, c) inputs, in batches that the device holds."""
        if not len(inputs):  # what a network answers to an empty batch differs from CPU to CPU
            return np.zeros((0, self.model.outputs[0].shape[-1]), np.float32)
        run = self._in_blocks(self.passes.whole, self.target_layers[-1], inputs, lambda block: (block,), meter)
        return np.concatenate([logits.numpy() for logits in run])

    def score_fn(self, class_index: int, meter: Meter | None = None) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function (N, h, w, c) inputs -> (N,) probabilities of one class, or values, for the evidence."""
        return lambda inputs: self.outputs.answers(self.logits(np.asarray(inputs, np.float32), meter))[:, class_index]

    def forward(self, inputs: np.ndarray, target_layer: str, meter: Meter | None = None):
        """Return (activations (1, h', w', C), logits (1, classes)), float32 tensors, of one pass of (1, h, w, c)."""
        return self._run(self.passes.forward, target_layer, (inputs,), meter, forward=1)

    def forward_with_gradient(
        self, inputs: np.ndarray, target_layer: str, class_index: int | None, meter: Meter | None = None
    ):
        """Return (activations, logits, gradients of one logit with respect to the activations), float32 tensors, of one
        pass and its way back to the target layer. `class_index` None takes the top class, without a second pass."""
        index = np.int32(-1 if class_index is None else class_index)
        return self._run(self.passes.gradient, target_layer, (inputs, index), meter, forward=1, backward=1)

    def masked_logits(self, inputs: np.ndarray, maps, target_layer: str, meter: Meter | None = None):
        """Return the (n, classes) logits of a picture's (1, h, w, c) inputs seen through each of (n, h', w') activation
        maps: the map expanded corner-aligned to the input's size, scaled to [0, 1] and multiplied with the inputs
        (Wang et al. 2020, equation 5)."""
        run = self._in_blocks(self.passes.masked, target_layer, maps, lambda block: (inputs, block), meter)
        return tf.concat(run, axis=0)

    def check_layer(self, target_layer: str | None) -> str:
        """Return the layer's name, the default for None or ""; InputError when the model does not offer it."""
        return self.spec.check_layer(target_layer)

    def channels(self, target_layer: str) -> int:
        """Return the number of channels of a target layer."""
        return int(self.model.get_layer(target_layer).output.shape[-1])

    def question(self, class_index=None, target_layer: str | None = None, max_n=None) -> Question:
        """Return what is asked of a picture, with defaults for what is None, except for the top class, which a pass
        must find; InputError for what this model cannot answer."""
        layer = self.check_layer(target_layer)
        channels = self.channels(layer)
        if max_n is None:
            max_n = min(DEFAULT_MAX_N, channels)
        if isinstance(max_n, bool) or not isinstance(max_n, (int, np.integer)) or not 1 <= max_n <= channels:
            said = quoted(repr(max_n)) + (", a text" if isinstance(max_n, str) else "")
            raise InputError(
                f"max_n is {said}: it must be a whole number from 1 to {channels}, the channels of {layer}."
            )
        if class_index is not None:
            wanted = int(class_index) if isinstance(class_index, np.integer) else class_index
            class_index = self.labels.class_at(wanted).index
        return Question(class_index, layer, int(max_n))

    @cached_property
    def block_size(self) -> int:
        """Pictures in one batch, a power of two: all that memory allows on a GPU; on a CPU as many of them as fit into
        BLOCK_SECONDS by one measured pass of a single picture, but at least SMALLEST_BLOCK."""
        if gpus():
            return self.largest_block
        picture = np.zeros((1, *self.input_size, self.spec.channels), np.float32)
        whole, layer = self.passes.whole, self.target_layers[-1]
        self._run(whole, layer, (picture,), None, forward=1)  # compiles
        self._run(whole, layer, (picture,), warm := Meter(), forward=1)
        return max(SMALLEST_BLOCK, min(self.largest_block, _power_of_two(BLOCK_SECONDS / warm.seconds)))

    @cached_property
    def largest_block(self) -> int:
        """Pictures in the largest batch: bounded memory on a CPU, a share of the memory on a GPU; a power of two."""
        shapes = [tensor.shape[1:] for layer in self.model.layers for tensor in keras.tree.flatten(layer.output)]
        widest = max(4 * int(np.prod([size or 1 for size in shape])) for shape in shapes)
        room = gpu_memory() * GPU_BLOCK_SHARE if gpus() else CPU_BLOCK_BYTES
        return min(LARGEST_BLOCK, _power_of_two(room / (2 * widest)))

    def _in_blocks(self, make: Callable, layer: str, items, arguments: Callable, meter: Meter | None) -> list:
        """Return the results of passes over blocks of `items`; the block is halved where a GPU has no room for it."""
        results: list = []
        done = 0
        while done < len(items):
            block = items[done : done + self.block_size] if len(items) > 1 else items
            try:
                results.append(self._run(make, layer, arguments(block), timed := Meter(), forward=len(block)))
            except tf.errors.ResourceExhaustedError:
                if not gpus() or len(block) == 1:
                    raise
                self.block_size = self.largest_block = max(1, self.block_size // 2)
                continue
            done += len(block)
            if meter is not None:
                meter.add(timed.seconds, timed.forward_passes, 0)
        return results

    def _run(self, make: Callable, layer: str, arguments: tuple, meter: Meter | None, forward: int, backward: int = 0):
        """Call, in the worker's thread, one of `passes` for a layer."""

        def call():
            function = make(layer)
            begin = time.perf_counter()
            result = function(*arguments)
            if gpus():  # a call returns before the GPU is done: its time and its turn would be too short
                tf.test.experimental.sync_devices()
            return result, time.perf_counter() - begin

        result, seconds = self._worker.submit(call, ONE_PICTURE if forward == 1 else BLOCK).result()
        if meter is not None:
            meter.add(seconds, forward, backward)
        return result


def _power_of_two(number: float) -> int:
    """Return the largest power of two that is not above `number`; 1 below 2."""
    return 1 << (max(1, int(number)).bit_length() - 1)


@cache
def gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that TensorFlow sees; none on a machine without."""
    devices = tf.config.list_physical_devices("GPU")
    return tuple(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in devices)


def device_name() -> str:
    """Return the GPU's name, or "CPU"."""
    return gpus()[0] if gpus() else "CPU"


def gpu_memory() -> int:
    """Return the bytes of memory that the first GPU's driver reports as its own; 8 GB when it cannot be asked."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 8 * 2**30
    return int(answer.split()[0]) * 2**20


@cache
def prepare_device() -> None:
    """Let TensorFlow take GPU memory as it needs it, not all at once; must run before the first operation."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
