"""How a classifier ends, and its logits: what is taken off or put behind the last layers of a flat model.

Owns the refusals of endings that are not one class out of several. A flat model's output is (N, classes) or holds ones
besides, such as (N, 1, 1, classes).
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from ..errors import InputError

# Layers and operations of keras.ops by the name of their class: what may stand between the activation that ends a
# classifier and its output and changes no number, and activations that stand alone.
_SHAPING = ("linear", "Flatten", "Reshape", "Dropout", "Identity", "Squeeze")
_ACTIVATIONS = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
    **{name: name for name in ("ReLU", "Relu", "LeakyReLU", "PReLU", "ELU", "Tanh", "Softplus", "HardSigmoid")},
}
_SOFTMAXES = ("softmax", "log_softmax")  # softmax(log_softmax(x)) is softmax(x)


class OneUnitAsTwo(keras.layers.Layer):
    """(N, 1) z -> (N, 2) logits whose softmax is (1 - sigmoid(z), sigmoid(z)): (0, z).

    The gradient of the first logit is that of -z, not 0, so that the class which the unit stands against can be
    explained by its gradient as well.
    """

    def call(self, inputs):
        return keras.ops.concatenate([keras.ops.stop_gradient(inputs) - inputs, inputs], axis=-1)


@dataclass(frozen=True)
class Tail:
    """How a flat model ends: `tensor` is what comes before the last activation, or holds it when `layer` has it inside;
    `kind` is that activation's name, "linear" for none; `units` the length of the output."""

    tensor: keras.KerasTensor
    layer: keras.layers.Layer | None
    kind: str
    units: int


def find_tail(flat: keras.Model) -> Tail:
    """Return how a flat model ends; InputError for an output that is not one number for each class."""
    output = tensor = flat.outputs[0]
    sizes = [size for size in output.shape[1:] if size != 1]
    if None in sizes or len(sizes) > 1 or len(output.shape) < 2:
        shape = in_words(output.shape[1:])
        raise InputError(
            f"The model gives an output of shape {shape} for a picture: one number for each class is allowed."
        )
    units = int(sizes[0]) if sizes else 1
    makers = {id(each): operation for operation in flat.operations for each in keras.tree.flatten(operation.output)}
    while True:
        operation = makers[id(tensor)]
        type_name = type(operation).__name__
        inside = getattr(operation, "activation", None)
        kind = "linear" if inside is None else getattr(inside, "__name__", type(inside).__name__)
        if isinstance(operation, keras.layers.Activation):
            type_name = kind
        if type_name in _SHAPING:
            tensor = operation.input
        elif type_name in _ACTIVATIONS or isinstance(operation, keras.layers.Activation):
            return Tail(operation.input, None, _ACTIVATIONS.get(type_name, type_name), units)
        else:
            return Tail(tensor, operation if kind != "linear" else None, kind, units)


def check_ending(tail: Tail, two_labels: bool) -> None:
    """InputError for an ending that is not softmax, logits, or one sigmoid unit."""
    allowed = "softmax, logits without an activation, or one sigmoid unit for two classes are allowed"
    if tail.kind == "sigmoid" and tail.units > 1:
        raise InputError(
            f"The model ends in {tail.units} sigmoid units, which answer for several labels at once and not for one "
            f"class out of {tail.units}: {allowed}."
        )
    if tail.kind not in ("linear", "sigmoid", *_SOFTMAXES):
        raise InputError(f"The model's last activation is {tail.kind}: {allowed}.")
    if tail.kind in _SOFTMAXES and tail.units == 1:
        raise InputError(f"The model ends in one unit with a softmax, which is always 1: {allowed}.")
    if tail.kind == "linear" and tail.units == 1 and not two_labels:
        raise InputError(
            "The model ends in one unit without a sigmoid, which may be a regression: give two labels to say that it "
            "is the logit of the second class."
        )


def with_logits(flat: keras.Model, tail: Tail) -> keras.Model:
    """The model, a copy of ours unless it ends in logits already, without its last activation."""
    if tail.kind != "linear" and tail.layer is not None:
        tail.layer.activation = keras.activations.linear
    logits = tail.tensor if tail.kind != "linear" else flat.outputs[0]
    if len(logits.shape) != 2:
        logits = keras.layers.Reshape((tail.units,), name=_unique("class_scores", flat))(logits)
    if tail.units == 1:
        logits = OneUnitAsTwo(name=_unique("two_classes", flat))(logits)
    return flat if logits is flat.outputs[0] else keras.Model(flat.inputs[0], logits, name=flat.name)


def _unique(name: str, flat: keras.Model) -> str:
    taken = {operation.name for operation in flat.operations}
    return next(
        each for each in (name, *(f"{name}_{number}" for number in range(1, len(taken) + 2))) if each not in taken
    )


def in_words(shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
