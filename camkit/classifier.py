"""`Classifier`: one Keras model with linear outputs, compiled per target layer, one pass at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .errors import InputError
from .maps import corner_aligned, softmax
from .picture import to_rgb
from .weights import WeightsFile

# What one batch may hold in activations, input and output of the widest layer counted. On a CPU larger batches are no
# faster per picture; on a GPU they are, until its memory ends.
CPU_BLOCK_BYTES = 128 * 2**20
GPU_BLOCK_SHARE = 0.25
LARGEST_BLOCK = 128


@dataclass(frozen=True)
class ModelSpec:
    """One entry of MODELS. `build(weights_path)` returns a Keras model that ends in logits; `preprocess` takes
    (224, 224, 3) float32 RGB in [0, 255] and returns the model's inputs in a new array; `target_layers` are the layers
    whose activations can be explained, in network order, the default last; `weights` is None for bundled models."""

    key: str
    name: str
    build: Callable[[Path | None], Any]
    preprocess: Callable[[np.ndarray], np.ndarray]
    target_layers: tuple[str, ...]
    weights: WeightsFile | None
    zero: str  # what a preprocessed value of zero looks like, in words
    source: str
    input_size: tuple[int, int] = (224, 224)


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
        return Meter(self.seconds, self.forward_passes, self.backward_passes)


class FairLock:
    """A mutual exclusion lock that serves in order of arrival. `threading.Lock` lets a loop that releases and takes it
    again starve everybody else, so a short request would wait for the end of a Score-CAM, not of a block."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._held = False

    def __enter__(self) -> FairLock:
        with self._guard:
            if not self._held:
                self._held = True
                return self
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            turn.acquire()
        except BaseException:  # Ctrl-C while waiting: nobody would ever hand on a turn that nobody takes
            self._give_up(turn)
            raise
        return self

    def _give_up(self, turn: threading.Lock) -> None:
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return
        self.__exit__()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()  # handed on while held: nobody can step in between
            else:
                self._held = False

    def locked(self) -> bool:
        return self._held


class Classifier:
    """A Keras model with linear outputs and what the methods need of it. Make one with `load`.

    `name` is the registry key, `input_size` (height, width), `target_layers` the usable layers (default last).
    Every compiled pass runs under one lock, for its own duration only, and is counted in the `Meter` given.
    """

    def __init__(self, model, spec: ModelSpec) -> None:
        self.model = model
        self.spec = spec
        self.name = spec.key
        self.input_size = spec.input_size
        self.target_layers = spec.target_layers
        self.lock = FairLock()
        self._compiled: dict[tuple, Any] = {}

    def preprocess(self, image) -> np.ndarray:
        """Any Pillow image or (H, W, 3) uint8 RGB array -> (1, 224, 224, 3) float32 inputs; the input stays as it is.

        Resized with Pillow's bicubic filter without regard to aspect ratio, then the model's own scaling.
        """
        height, width = self.input_size
        resized = Image.fromarray(to_rgb(image)).resize((width, height), Image.Resampling.BICUBIC)
        return self.spec.preprocess(np.asarray(resized, np.float32))[None].astype(np.float32)

    def predict(self, image) -> np.ndarray:
        """(1000,) float32 probabilities of a picture: our softmax of the logits."""
        return softmax(self.logits(self.preprocess(image)))[0]

    def logits(self, inputs: np.ndarray, meter: Meter | None = None) -> np.ndarray:
        """(N, 224, 224, 3) inputs -> (N, classes) logits, in batches that the device holds."""
        import tensorflow as tf

        whole = self._function("whole", None, self._make_whole)
        found, done = [], 0
        while done < len(inputs) or not found:
            batch = inputs[done : done + self.block_size]
            try:
                found.append(self._run(whole, (batch,), meter, forward=len(batch)).numpy())
            except tf.errors.ResourceExhaustedError:
                if not gpus() or len(batch) == 1:
                    raise
                self.halve_block()
                continue
            done += len(batch)
        return np.concatenate(found)

    def score_fn(self, class_index: int, meter: Meter | None = None) -> Callable[[np.ndarray], np.ndarray]:
        """A function (N, H, W, 3) inputs -> (N,) probabilities of one class, for `camkit.faithfulness`."""
        return lambda inputs: softmax(self.logits(np.asarray(inputs, np.float32), meter))[:, class_index]

    def forward(self, inputs: np.ndarray, target_layer: str, meter: Meter | None = None):
        """One pass: (activations (1, h, w, C), logits (1, classes)) as tensors."""
        function = self._function("forward", target_layer, self._make_forward)
        return self._run(function, (inputs,), meter, forward=1)

    def forward_with_gradient(
        self, inputs: np.ndarray, target_layer: str, class_index: int | None, meter: Meter | None = None
    ):
        """One pass and its way back to the target layer: (activations, logits, gradients of one logit with respect to
        the activations, all as tensors). `class_index` None explains the top class without a second pass."""
        function = self._function("gradient", target_layer, self._make_gradient)
        index = np.int32(-1 if class_index is None else class_index)
        return self._run(function, (inputs, index), meter, forward=1, backward=1)

    def masked_logits(self, inputs: np.ndarray, maps, target_layer: str, meter: Meter | None = None):
        """(n, h, w) activation maps -> (n, classes) logits of the picture seen through each of them: the map expanded
        corner-aligned to the input's size, scaled to [0, 1] and multiplied with the inputs (Score-CAM, equation 5)."""
        function = self._function("masked", target_layer, self._make_masked)
        return self._run(function, (inputs, maps), meter, forward=int(maps.shape[0]))

    def trunk(self, target_layer: str):
        """The Keras model from the inputs to the target layer's activations; the same layer objects, no copy."""
        return self._function("trunk", target_layer, self._make_trunk)

    def head(self, target_layer: str):
        """The Keras model from the target layer's activations to the logits; the same layer objects, no copy."""
        return self._function("head", target_layer, self._make_head)

    def check_layer(self, target_layer: str | None) -> str:
        """The layer's name, the default for None; InputError when the model does not offer it."""
        if target_layer is None or target_layer == "":
            return self.target_layers[-1]
        if target_layer not in self.target_layers:
            raise InputError(
                f"Target layer '{target_layer}' is not offered by {self.spec.name}: "
                f"use one of {', '.join(self.target_layers)}."
            )
        return target_layer

    def channels(self, target_layer: str) -> int:
        """The number of channels of a target layer."""
        return int(self.model.get_layer(target_layer).output.shape[-1])

    @cached_property
    def block_size(self) -> int:
        """Pictures in one batch: bounded memory on a CPU, a share of the memory on a GPU; a power of two."""
        room = gpu_memory() * GPU_BLOCK_SHARE if gpus() else CPU_BLOCK_BYTES
        fits = max(1, int(room // self._bytes_per_picture()))
        return min(LARGEST_BLOCK, 1 << (fits.bit_length() - 1))

    def halve_block(self) -> int:
        """Halves the block after an out-of-memory error on a GPU and returns the new size."""
        self.block_size = max(1, self.block_size // 2)
        return self.block_size

    def _bytes_per_picture(self) -> int:
        sizes = [4 * int(np.prod(layer.output.shape[1:])) for layer in self.model.layers]
        return 2 * max(sizes)

    def _run(self, function, arguments: tuple, meter: Meter | None, forward: int, backward: int = 0):
        with self.lock:
            begin = time.perf_counter()
            result = function(*arguments)
            if gpus():
                _wait_for_gpu()
            seconds = time.perf_counter() - begin
        if meter is not None:
            meter.add(seconds, forward, backward)
        return result

    def _function(self, kind: str, target_layer: str | None, make: Callable):
        """The compiled function or model of this kind for this layer, made on first use and kept."""
        key = (kind, target_layer)
        if key not in self._compiled:
            layer = target_layer and self.check_layer(target_layer)
            with self.lock:
                if key not in self._compiled:
                    self._compiled[key] = make(layer)
        return self._compiled[key]

    def _make_trunk(self, layer: str):
        import keras

        return keras.Model(self.model.inputs, self.model.get_layer(layer).output)

    def _make_head(self, layer: str):
        import keras

        return keras.Model(self.model.get_layer(layer).output, self.model.outputs[0])

    def _input_spec(self, batch: int | None):
        import tensorflow as tf

        return tf.TensorSpec([batch, *self.input_size, 3], tf.float32)

    def _make_whole(self, _: None):
        import tensorflow as tf

        return tf.function(
            lambda inputs: self.model(inputs, training=False), autograph=False, input_signature=[self._input_spec(None)]
        )

    def _make_forward(self, layer: str):
        import keras
        import tensorflow as tf

        both = keras.Model(self.model.inputs, [self.model.get_layer(layer).output, self.model.outputs[0]])
        return tf.function(
            lambda inputs: both(inputs, training=False), autograph=False, input_signature=[self._input_spec(1)]
        )

    def _make_gradient(self, layer: str):
        import tensorflow as tf

        trunk, head = self._make_trunk(layer), self._make_head(layer)

        def passes(inputs, class_index):
            activations = trunk(inputs, training=False)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(activations)
                logits = head(activations, training=False)
                index = tf.where(class_index < 0, tf.argmax(logits[0], output_type=tf.int32), class_index)
                score = tf.gather(logits[0], index)
            return activations, logits, tape.gradient(score, activations)

        return tf.function(passes, autograph=False, input_signature=[self._input_spec(1), tf.TensorSpec([], tf.int32)])

    def _make_masked(self, layer: str):
        import tensorflow as tf

        height, width = self.model.get_layer(layer).output.shape[1:3]
        rows = tf.constant(corner_aligned(height, self.input_size[0]))
        columns = tf.constant(corner_aligned(width, self.input_size[1]))
        epsilon = tf.constant(1e-7)  # keras.backend.epsilon(), as in tf-keras-vis

        def passes(inputs, maps):
            masks = tf.einsum("Hh,nhw,Ww->nHW", rows, maps, columns)
            low = tf.reduce_min(masks, axis=(1, 2), keepdims=True)
            high = tf.reduce_max(masks, axis=(1, 2), keepdims=True)
            masks = (masks - low) / (high - low + epsilon)
            return self.model(inputs * masks[..., None], training=False)

        maps = tf.TensorSpec([None, height, width], tf.float32)
        return tf.function(passes, autograph=False, input_signature=[self._input_spec(1), maps])


@cache
def gpus() -> tuple[str, ...]:
    """Names of the GPUs that TensorFlow sees; empty on a CPU machine."""
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return tuple(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in devices)


def device_name() -> str:
    """The GPU's name, or "CPU"."""
    return gpus()[0] if gpus() else "CPU"


def gpu_memory() -> int:
    """Bytes of memory that the first GPU's driver reports as its own; 8 GB when it cannot be asked."""
    import subprocess

    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 8 * 2**30
    return int(answer.split()[0]) * 2**20


def _wait_for_gpu() -> None:
    """Returns when the GPU has done what it was given: a call returns before that, its time and its turn too short."""
    import tensorflow as tf

    tf.test.experimental.sync_devices()


@cache
def _prepare_device() -> None:
    """Lets TensorFlow take GPU memory as it needs it, not all at once; must run before the first operation."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
