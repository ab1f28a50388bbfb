"""The end of a classifier, and its logits: what is taken off or put behind the last layers of a flat model.

Owns the refusals of endings that are not one class out of several. A flat model's output is (N, classes) or holds ones
besides, such as (N, 1, 1, classes). What an ending computes is found by running it on drawn scores, not by its name: a
softmax, a cast and a division by 100 end as the softmax does. Where no such function is found, as behind the average of
several heads, the outputs on drawn pictures say whether they are probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from ..errors import InputError
from ..passes.arithmetic import softmax
from .flatten import shape_in_words

# Layers and operations of keras.ops by the name of their class: what may stand between the activation that ends a
# classifier and its output and changes no number, and activations that stand alone.
_SHAPING = ("linear", "Flatten", "Reshape", "Dropout", "Identity", "Squeeze", "Cast")
_ACTIVATIONS = ("ReLU", "Relu", "LeakyReLU", "PReLU", "ELU", "Tanh", "Softplus", "HardSigmoid", "Activation")
_ALLOWED = "softmax, logits without an activation, or one sigmoid unit for two classes are allowed"
_SCORES = 64  # drawn rows of scores on which an ending is compared with a softmax
_PICTURES = 6  # drawn pictures whose outputs say what they are
_SUM = 1e-3  # by which probabilities may miss 1 for all of float16's rounding
TINY = 1e-30  # float32 holds its inverse, the gradient of its logarithm
NEAR_ONE = 2.0**-25  # half the distance from 1 to the float32 below


class OneUnitAsTwo(keras.layers.Layer):
    """(N, 1) z -> (N, 2) logits whose softmax is (1 - sigmoid(z), sigmoid(z)): (0, z).

    The gradient of the first logit is that of -z, not 0, so that the class which the unit stands against can be
    explained by its gradient as well.
    """

    def call(self, inputs):
        return keras.ops.concatenate([keras.ops.stop_gradient(inputs) - inputs, inputs], axis=-1)


class LogOfProbabilities(keras.layers.Layer):
    """(N, classes) probabilities, or shares of any sum -> logits whose softmax they are; finite for a probability of 0,
    where the gradient is 0."""

    def call(self, inputs):
        return keras.ops.log(keras.ops.maximum(inputs, TINY))


class LogitOfProbability(keras.layers.Layer):
    """(N, 1) p -> (N, 1) log(p / (1 - p)), of which p is the sigmoid; finite at 0 and 1, where the gradient is 0."""

    def call(self, inputs):
        against = keras.ops.maximum(1.0 - inputs, NEAR_ONE)
        return keras.ops.log(keras.ops.maximum(inputs, TINY)) - keras.ops.log(against)


@dataclass(frozen=True)
class Tail:
    """The end of a flat model: `tensor` is the scores before the ending, or holds it when `layer` has it inside;
    `units` is the length of the output.

    kind: "softmax" (or shares in that proportion), "log_softmax", "sigmoid", "linear", "probabilities" or "probability"
    (found by their values alone), or the name of another activation.
    """

    tensor: keras.KerasTensor
    layer: keras.layers.Layer | None
    kind: str
    units: int


def find_tail(flat: keras.Model) -> Tail:
    """Return how a flat model ends; InputError for an output that is not one number for each class."""
    output = flat.outputs[0]
    sizes = [size for size in output.shape[1:] if size != 1]
    if None in sizes or len(sizes) > 1 or len(output.shape) < 2:
        shape = shape_in_words(output.shape[1:])
        raise InputError(
            f"The model gives an output of shape {shape} for a picture: one number for each class is allowed."
        )
    units = int(sizes[0]) if sizes else 1
    makers = {id(each): operation for operation in flat.operations for each in keras.tree.flatten(operation.output)}
    tolerance = 2e-3 if has_16_bits(flat) else 1e-4
    for tensor, layer in reversed(list(_cuts(output, makers))):
        kind = _computed(output, tensor, layer, tolerance)
        if kind in ("softmax", "log_softmax", "sigmoid") or (kind == "linear" and layer is not None):
            return Tail(tensor, layer, kind, units)
    return Tail(output, None, _by_values(flat, units, makers) or _last_activation(output, makers), units)


def _cuts(tensor, makers: dict) -> Iterator[tuple]:
    """Yield the places between the output and the last weights where scores may stand, the output first: each a tensor
    and None, at last the tensor and the layer whose own activation makes it. Merging operations end the way."""
    while (operation := makers.get(id(tensor))) is not None:
        if _is_weighted(operation):
            if callable(getattr(operation, "activation", None)):
                yield tensor, operation
            return
        inputs = keras.tree.flatten(operation.input)
        if len(inputs) != 1 or _size(inputs[0]) != _size(tensor):
            return
        tensor = inputs[0]
        yield tensor, None


def _is_weighted(operation) -> bool:
    """Return whether an operation has weights that mix its inputs: those of a BatchNormalization do not."""
    return bool(getattr(operation, "weights", ())) and not isinstance(operation, keras.layers.BatchNormalization)


def _size(tensor) -> int | None:
    return None if None in tensor.shape[1:] else int(np.prod(tensor.shape[1:]))


def _computed(output, tensor, layer, tolerance: float) -> str | None:
    """Return what the operations from `tensor`, or from before the activation of `layer`, to the output compute:
    "softmax" (up to a constant factor), "log_softmax", "sigmoid" of each score, "linear" for nothing, else None."""
    scores = np.random.default_rng(0).normal(0, 3, (_SCORES, *tensor.shape[1:])).astype(np.float32)
    found = keras.ops.convert_to_tensor(scores)
    found = found if layer is None else layer.activation(found)
    found = found if tensor is output else keras.Model(tensor, output)(found, training=False)
    given = np.asarray(found, np.float64).reshape(_SCORES, -1)
    scores = scores.reshape(_SCORES, -1)
    near = partial(np.allclose, rtol=0, atol=tolerance)
    if near(given, scores):
        return "linear"
    if near(given, 1 / (1 + np.exp(-scores))):
        return "sigmoid"
    with np.errstate(all="ignore"):
        if near(np.exp(given), softmax(scores)):
            return "log_softmax"
        sums = given.sum(axis=1)
        constant = sums.min() > 0 and np.ptp(sums) <= _SUM * sums.mean()
        return "softmax" if constant and near(given / sums[:, None], softmax(scores)) else None


def _last_activation(tensor, makers: dict) -> str:
    """Return the name of the activation that makes a tensor, "linear" when something else does."""
    while True:
        operation = makers[id(tensor)]
        name = getattr(getattr(operation, "activation", None), "__name__", None) or type(operation).__name__
        if name == "linear" and _is_weighted(operation):
            return name
        if name not in _SHAPING:
            standing_alone = type(operation).__name__ in _ACTIVATIONS
            return name if standing_alone or name != type(operation).__name__ else "linear"
        tensor = operation.input


# --- what the outputs say --------------------------------------------------------------------------------------------


def _by_values(flat: keras.Model, units: int, makers: dict) -> str | None:
    """Return "probabilities" or "probability" when the outputs on drawn pictures are such, None when they are scores.

    InputError for several labels at once, and for probabilities that something has changed into neither.
    """
    outputs = np.asarray(flat(_pictures(flat.inputs[0].shape[1:]), training=False), np.float64).reshape(_PICTURES, -1)
    inside = (outputs >= 0).all() and (outputs <= 1 + _SUM).all()
    if units > 1 and inside and np.abs(outputs.sum(axis=1) - 1).max() < _SUM:
        return "probabilities"
    squashed = _is_squashed(flat.outputs[0], makers)
    if squashed is False or not np.isfinite(outputs).all():
        return None
    if inside and units == 1:
        return "probability"
    if inside:
        raise InputError(
            f"The model's {units} outputs lie between 0 and 1 and do not add up to 1, so that they answer for several "
            f"labels at once and not for one class out of {units}: {_ALLOWED}."
        )
    if squashed:
        raise InputError(
            f"The model's last operation ({type(makers[id(flat.outputs[0])]).__name__}) makes numbers of probabilities "
            f"that are neither probabilities nor logits any more: {_ALLOWED}."
        )
    return None


def _pictures(shape: tuple[int, ...]) -> np.ndarray:
    """Return drawn inputs of three ranges (0 to 255, 0 to 1, -1 to 1), of each one of noise and one of large patches:
    what a model's outputs are does not depend on the scaling that it wants."""
    rng = np.random.default_rng(0)
    fine = rng.uniform(0, 1, (3, *shape))
    rows, columns = (np.arange(size) * 4 // size for size in shape[:2])
    patches = rng.uniform(0, 1, (3, 4, 4, shape[2]))[:, rows][:, :, columns]
    scale, offset = (np.reshape(each, (3, 1, 1, 1)) for each in ([255, 1, 2], [0, 0, -1]))
    return np.concatenate([each * scale + offset for each in (fine, patches)]).astype(np.float32)


def _is_squashed(tensor, makers: dict) -> bool | None:
    """Return whether a tensor is made of values that activations keep within 0 and 1, on every path back to the last
    weights; None when a layer of another library's or the user's own makes it, which may do anything."""
    operation = makers.get(id(tensor))
    if operation is None or isinstance(operation, keras.layers.InputLayer):
        return False
    inputs = keras.tree.flatten(operation.input)
    if _is_weighted(operation):
        activation = getattr(operation, "activation", None)
        if callable(activation):
            return _keeps_inside(tensor, activation)
        return False if type(operation).__module__.startswith("keras.") else None
    if len(inputs) == 1 and None not in (_size(tensor), _size(inputs[0])):
        one = keras.Model(inputs[0], tensor)
        if _keeps_inside(inputs[0], lambda scores: one(scores, training=False)):
            return True
    found = [_is_squashed(each, makers) for each in inputs]
    return False if False in found else (None if None in found else True)


def _keeps_inside(tensor, function) -> bool:
    scores = np.random.default_rng(0).normal(0, 10, (8, *tensor.shape[1:])).astype(np.float32)
    values = np.asarray(function(keras.ops.convert_to_tensor(scores)))
    return bool((values >= 0).all() and (values <= 1 + _SUM).all())


# --- what is allowed, and its logits ---------------------------------------------------------------------------------


def check_ending(tail: Tail, two_labels: bool) -> None:
    """Raise InputError for an ending that is not softmax, logits, or one sigmoid unit."""
    if tail.kind == "sigmoid" and tail.units > 1:
        raise InputError(
            f"The model ends in {tail.units} sigmoid units, which answer for several labels at once and not for one "
            f"class out of {tail.units}: {_ALLOWED}."
        )
    if tail.kind in ("softmax", "log_softmax") and tail.units == 1:
        raise InputError(f"The model ends in one unit with a softmax, which is always 1: {_ALLOWED}.")
    if tail.kind not in ("linear", "sigmoid", "softmax", "log_softmax", "probabilities", "probability"):
        raise InputError(f"The model's last activation is {tail.kind}: {_ALLOWED}.")
    if tail.kind == "linear" and tail.units == 1 and not two_labels:
        raise InputError(
            "The model ends in one unit without a sigmoid, which may be a regression: give two labels to say that it "
            "is the logit of the second class."
        )


def with_logits(flat: keras.Model, tail: Tail) -> keras.Model:
    """Return the model, a copy of ours unless it ends in logits already, without its ending, or with its inverse."""
    output = flat.outputs[0]
    if tail.kind != "linear" and tail.layer is not None:
        tail.layer.activation = keras.activations.linear
    logits = output if tail.kind == "linear" else tail.tensor
    if len(logits.shape) != 2:
        logits = keras.layers.Reshape((tail.units,), name=_unique("class_scores", flat))(logits)
    if tail.kind == "probabilities":
        logits = LogOfProbabilities(name=_unique("log", flat))(logits)
    if tail.kind == "probability":
        logits = LogitOfProbability(name=_unique("logit", flat))(logits)
    if tail.units == 1:
        logits = OneUnitAsTwo(name=_unique("two_classes", flat))(logits)
    return flat if logits is output else keras.Model(flat.inputs[0], logits, name=flat.name)


def probabilities(given: np.ndarray, ending: str) -> np.ndarray:
    """Return the (classes,) probabilities that (outputs,) of a model with this ending mean."""
    if len(given) == 1:
        unit = 1 / (1 + np.exp(-given[0])) if ending == "linear" else given[0]
        return np.array([1 - unit, unit])
    if ending in ("softmax", "probabilities"):
        return given / given.sum()
    return np.exp(given) if ending == "log_softmax" else softmax(given[None])[0]


def _unique(name: str, flat: keras.Model) -> str:
    taken = {operation.name for operation in flat.operations}
    return next(
        each for each in (name, *(f"{name}_{number}" for number in range(1, len(taken) + 2))) if each not in taken
    )


def has_16_bits(model) -> bool:
    """Return whether anything in a model is computed in 16 bits; nested models are gone through."""
    operations = model.layers if isinstance(model, keras.Sequential) else model.operations
    return any(
        has_16_bits(each)
        if isinstance(each, keras.Sequential | keras.Function)
        else "16" in str(getattr(each, "compute_dtype", ""))
        or any("float16" in str(tensor.dtype) for tensor in keras.tree.flatten(each.output))
        for each in operations
    )
