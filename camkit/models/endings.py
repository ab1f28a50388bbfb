"""The end of a classifier, and its logits: what is taken off or put behind the last layers of a flat model.

Owns the refusals of endings that no entry of OUTPUTS fits. A flat model's output is (N, classes) or holds ones
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

from ..errors import InputError, quoted
from ..passes.outputs import OUTPUTS, Outputs, softmax
from .flatten import shape_in_words

# Layers and operations of keras.ops by the name of their class: what may stand between the activation that ends a
# classifier and its output and changes no number, and activations that stand alone.
_SHAPING = ("linear", "Flatten", "Reshape", "Dropout", "Identity", "Squeeze", "Cast")
_ACTIVATIONS = ("ReLU", "Relu", "LeakyReLU", "PReLU", "ELU", "Tanh", "Softplus", "HardSigmoid", "Activation")
_ALLOWED = "softmax, logits without an activation, or sigmoids are allowed"
_CHOICES = "; ".join(f"'{each.key}' ({each.summary})" for each in OUTPUTS.values())
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
    """(N, units) p -> log(p / (1 - p)), of which p is the sigmoid; finite at 0 and 1, where the gradient is 0."""

    def call(self, inputs):
        against = keras.ops.maximum(1.0 - inputs, NEAR_ONE)
        return keras.ops.log(keras.ops.maximum(inputs, TINY)) - keras.ops.log(against)


@dataclass(frozen=True)
class Tail:
    """The end of a flat model: `tensor` is the scores before the ending, or holds it when `layer` has it inside;
    `units` is the length of the output.

    kind: "softmax" (or shares in that proportion), "log_softmax", "sigmoid", "linear", "probabilities" that add up to 1
    or "probability" of each unit (found by their values alone), or the name of another activation.
    """

    tensor: keras.KerasTensor
    layer: keras.layers.Layer | None
    kind: str
    units: int

    @property
    def ending(self) -> str:
        """Return the kind as OUTPUTS knows it, such as "one sigmoid" where there is one unit."""
        return self.kind if self.units > 1 else f"one {self.kind}"


def find_tail(flat: keras.Model, whole: bool = False) -> Tail:
    """Return how a flat model ends; InputError for an output that is not one number for each class. `whole`: nothing is
    to be taken off, whatever it ends in."""
    output = flat.outputs[0]
    sizes = [size for size in output.shape[1:] if size != 1]
    if None in sizes or len(sizes) > 1 or len(output.shape) < 2:
        shape = shape_in_words(output.shape[1:])
        raise InputError(
            f"The model gives an output of shape {shape} for a picture: one number for each class is allowed."
        )
    units = int(sizes[0]) if sizes else 1
    if whole:
        return Tail(output, None, "linear", units)
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
    """Return "probabilities" when the outputs on drawn pictures are such, "probability" when each is one for itself,
    None when they are scores. InputError for probabilities that something has changed into neither.
    """
    outputs = np.asarray(flat(_pictures(flat.inputs[0].shape[1:]), training=False), np.float64).reshape(_PICTURES, -1)
    inside = (outputs >= 0).all() and (outputs <= 1 + _SUM).all()
    if units > 1 and inside and np.abs(outputs.sum(axis=1) - 1).max() < _SUM:
        return "probabilities"
    squashed = _is_squashed(flat.outputs[0], makers)
    if squashed is False or not np.isfinite(outputs).all():
        return None
    if inside:
        return "probability"
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


def outputs_of(key: str | None) -> Outputs | None:
    """Return the entry of OUTPUTS; None for None. InputError for an unknown key."""
    if key is not None and key not in OUTPUTS:
        raise InputError(f"outputs is '{quoted(key)}': it must be one of {_CHOICES}.")
    return OUTPUTS[key] if key is not None else None


def find_outputs(tail: Tail, said: Outputs | None, two_labels: bool) -> Outputs:
    """Return what a model's outputs are: what is `said`, None for what its ending decides. `two_labels`: two class
    names were given, so that one linear unit at the end is the logit of the second class and no regression.

    Raises InputError for an ending that fits none or another one, and where it does not decide.
    """
    if tail.ending in ("one softmax", "one log_softmax"):
        raise InputError(f"The model ends in one unit with a softmax, which is always 1: {_ALLOWED}.")
    fitting = [each for each in OUTPUTS.values() if _fits(each, tail)]
    if said is not None and said not in fitting:
        others = " or ".join(f"'{each.key}' ({each.summary})" for each in fitting) or "another model"
        raise InputError(
            f"outputs='{said.key}' means {said.summary}, but the model ends in {_in_words(tail)}: use {others}."
        )
    if said is not None:
        return said
    guessed = next((each for each in fitting if tail.ending in each.guessed), None)
    if guessed is None and tail.ending == "one linear" and two_labels:
        guessed = fitting[0]
    if guessed is None and tail.kind == "linear":
        raise InputError(
            "The model ends in one unit without a sigmoid, which may be a regression: say so by outputs='value', give "
            "two labels if it is the logit of the second class, or say outputs='labels' if it is that of one label."
        )
    if guessed is None:
        value = f", or a number by outputs='{fitting[-1].key}'" if fitting else ""
        raise InputError(f"The model's last activation is {tail.kind}: {_ALLOWED}{value}.")
    return guessed


def _fits(outputs: Outputs, tail: Tail) -> bool:
    return (outputs.units or tail.units) == tail.units and (outputs.fits is None or tail.ending in outputs.fits)


def _in_words(tail: Tail) -> str:
    units = f"{tail.units} units" if tail.units > 1 else "one unit"
    words = {"linear": "no activation", "probability": "a probability each", "probabilities": "shares of 1"}
    return f"{units} with {words.get(tail.kind, tail.kind)}"


def with_logits(flat: keras.Model, tail: Tail, outputs: Outputs) -> keras.Model:
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
    if tail.units == 1 and outputs.pairs:
        logits = OneUnitAsTwo(name=_unique("two_classes", flat))(logits)
    return flat if logits is output else keras.Model(flat.inputs[0], logits, name=flat.name)


def answers(given: np.ndarray, ending: str, outputs: Outputs) -> np.ndarray:
    """Return the (classes,) probabilities, or the (1,) value, that (units,) of a model with this ending mean."""
    if ending == "linear":
        scores = given[None]
        if len(given) == 1 and outputs.pairs:
            scores = np.array([[0.0, given[0]]])
        return outputs.answers(scores)[0]
    if len(given) == 1 and outputs.pairs:
        return np.array([1 - given[0], given[0]])
    if ending in ("softmax", "probabilities"):
        return given / given.sum()
    return np.exp(given) if ending == "log_softmax" else given


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
