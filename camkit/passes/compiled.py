"""`Passes`: the compiled functions of one model, by target layer.

They are put together of few parts, so that there is one copy of the frozen weights: in the trunk of the default layer.
Shapes: `inputs` (N, h, w, c), `activations` (N, h', w', C), `maps` (n, h', w'), `logits` (N, classes), all float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, wraps

import keras
import tensorflow as tf

from .arithmetic import corner_aligned
from .folding import folded

# A weight tensor of more bytes stays a variable: such a layer is dense, and bounded by reading its weights.
LARGEST_CONSTANT = 12 * 2**20


def kept(make: Callable) -> Callable:
    """Let a method that makes a function for a layer make it once for each layer."""

    @wraps(make)
    def function(self, layer: str) -> Callable:
        if (make, layer) not in self.made:
            self.made[make, layer] = make(self, layer)
        return self.made[make, layer]

    return function


class Passes:
    """Functions of a model whose input is (N, h, w, c) and whose output is (N, classes) logits. Each is compiled when
    it is first asked for, which only one thread may do.

    `input_shape` is (h, w, c). `default_layer` is the target layer whose trunk serves the passes of the whole model.
    `frozen`: that trunk holds the weights that the model has when it is first used; False reads the model's variables
    each time.
    """

    def __init__(
        self, model: keras.Model, input_shape: tuple[int, int, int], default_layer: str, *, frozen: bool
    ) -> None:
        self.model = model
        self.input_shape = input_shape
        self.default_layer = default_layer
        self.frozen = frozen
        self.made: dict[tuple[Callable, str], Callable] = {}

    def _compile(self, function: Callable, *signature: tf.TensorSpec) -> Callable:
        return tf.function(function, autograph=False, input_signature=signature)

    def _inputs(self, batch: int | None) -> tf.TensorSpec:
        return tf.TensorSpec([batch, *self.input_shape], tf.float32)

    @kept
    def trunk(self, layer: str) -> Callable:
        """Make inputs -> activations of the layer."""
        trunk = keras.Model(self.model.inputs[0], self.model.get_layer(layer).output)
        frozen = self.frozen and layer == self.default_layer
        function = _with_constants(folded(trunk)) if frozen else partial(trunk, training=False)
        return self._compile(function, self._inputs(None))

    def _head(self, layer: str) -> keras.Model:
        """Return the model of (activations of the layer, inputs) -> logits. Only a network of several parts, whose
        layer does not hold all that the rest sees, goes on from the inputs too."""
        return keras.Model([self.model.get_layer(layer).output, *self.model.inputs], self.model.outputs[0])

    @kept
    def head(self, layer: str) -> Callable:
        """Make (activations of the layer, inputs) -> logits."""
        head = self._head(layer)
        middle = tf.TensorSpec(head.inputs[0].shape, tf.float32)

        def logits(activations, inputs):
            return head([activations, tf.convert_to_tensor(inputs)], training=False)

        return self._compile(logits, middle, self._inputs(None))

    @kept
    def head_gradient(self, layer: str) -> Callable:
        """Make (activations of the layer, inputs, class index or -1 for the top class) -> (logits, gradients)."""
        head = self._head(layer)

        def passes(activations, inputs, class_index):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(activations)
                logits = head([activations, tf.convert_to_tensor(inputs)], training=False)
                index = tf.where(class_index < 0, tf.argmax(logits[0], output_type=tf.int32), class_index)
                score = tf.gather(logits[0], index)
            # Zero where an operation has no gradient, such as a rounding.
            return logits, tape.gradient(score, activations, unconnected_gradients=tf.UnconnectedGradients.ZERO)

        middle = tf.TensorSpec([1, *head.inputs[0].shape[1:]], tf.float32)
        return self._compile(passes, middle, self._inputs(1), tf.TensorSpec([], tf.int32))

    @kept
    def mask(self, layer: str) -> Callable:
        """Make (inputs, maps at the layer's resolution) -> inputs seen through each of them."""
        height, width = self.model.get_layer(layer).output.shape[1:3]
        rows = tf.constant(corner_aligned(height, self.input_shape[0]))
        columns = tf.constant(corner_aligned(width, self.input_shape[1]))
        # Each column once for every colour: a product over (n, H, W, 1) and (1, H, W, c) takes twice as long.
        colour_columns = tf.repeat(columns, self.input_shape[2], axis=0)
        epsilon = tf.constant(1e-7)  # keras.backend.epsilon(), as in tf-keras-vis

        def mask(inputs, maps):
            masks = tf.einsum("Hh,nhw,Ww->nHW", rows, maps, columns)
            low = tf.reduce_min(masks, axis=(1, 2), keepdims=True)
            high = tf.reduce_max(masks, axis=(1, 2), keepdims=True)
            masks = tf.einsum("Hh,nhw,Ww->nHW", rows, maps, colour_columns)
            masked = tf.reshape(inputs, (1, self.input_shape[0], -1)) * ((masks - low) / (high - low + epsilon))
            return tf.reshape(masked, (-1, *inputs.shape[1:]))

        return self._compile(mask, self._inputs(1), tf.TensorSpec([None, height, width], tf.float32))

    @kept
    def forward(self, layer: str) -> Callable:
        """Make inputs -> (activations of the layer, logits)."""
        trunk, head = self.trunk(layer), self.head(layer)

        def forward(inputs):
            activations = trunk(inputs)
            return activations, head(activations, inputs)

        return forward

    @kept
    def gradient(self, layer: str) -> Callable:
        """Make (inputs, class index or -1 for the top class) -> (activations, logits, gradients)."""
        trunk, head = self.trunk(layer), self.head_gradient(layer)

        def forward_and_back(inputs, class_index):
            activations = trunk(inputs)
            return activations, *head(activations, inputs, class_index)

        return forward_and_back

    @kept
    def whole(self, layer: str) -> Callable:
        """Make inputs -> logits, by way of the layer."""
        forward = self.forward(layer)
        return lambda inputs: forward(inputs)[1]

    @kept
    def masked(self, layer: str) -> Callable:
        """Make (inputs, maps at the layer's resolution) -> logits of the inputs seen through each of them."""
        whole, mask = self.whole(self.default_layer), self.mask(layer)
        return lambda inputs, maps: whole(mask(inputs, maps))


def _with_constants(model: keras.Model) -> Callable:
    """Return a model's forward pass with its weights as constants of the graph that is traced: oneDNN packs them once,
    not in every pass."""

    def forward(inputs):
        weights = [list(map(_constant, part)) for part in (model.trainable_variables, model.non_trainable_variables)]
        return model.stateless_call(*weights, inputs, training=False)[0]

    return forward


def _constant(variable: keras.Variable):
    """Return a variable's value as a constant of the graph that is being traced; a large one as the variable itself."""
    if math.prod(variable.shape) * tf.as_dtype(variable.dtype).size > LARGEST_CONSTANT:
        return variable.value
    with tf.init_scope():  # outside that graph, where a value can be read
        value = variable.numpy()
    return tf.constant(value)
