"""From any Keras image classifier to one flat functional model with logits out, and what the engine must know of it.

Owns the refusals of models that cannot be explained, each in one sentence. A flat model has no model among its layers,
a fixed input (h, w, 1 or 3) float32, and (N, classes) logits out: tf-keras-vis works on nothing else (with Keras 3 its
Grad-CAM fails on a Sequential around a nested model), and softmax would be taken twice. A model that is flat already is
used as it is, without a copy; every other one is built anew out of copies of its layers, whose weights it copies, so
that the model given stays as it was. A layer of a nested model is called "outer.inner": Keras forbids "/" in a name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from ..errors import InputError
from ..maps import softmax
from ..methods import METHODS

DEFAULT_SIZE = 224  # of an input whose height or width is None
# Layers that add nothing to the map of the layer before them: they pool, pad, crop, drop or rename it.
_PASSING_ON = (
    keras.layers.InputLayer,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.UpSampling2D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
)
_SCALING = (keras.layers.Rescaling, keras.layers.Normalization)
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


@dataclass(frozen=True)
class Adapted:
    """A flat model and what the engine must know of it.

    model: (N, height, width, channels) float32 -> (N, classes) logits. target_layers: names of layers whose output
    (N, h', w', C) is all that the rest of the model sees, h' and w' above 1, in network order, the default last.
    ending: the last activation of the model given, "linear" for none. scales: it has a Rescaling or Normalization layer
    before its first other weights.
    """

    model: keras.Model
    input_size: tuple[int, int]
    channels: int
    classes: int
    target_layers: tuple[str, ...]
    ending: str
    scales: bool


class OneUnitAsTwo(keras.layers.Layer):
    """(N, 1) z -> (N, 2) logits whose softmax is (1 - sigmoid(z), sigmoid(z)): (0, z).

    The gradient of the first logit is that of -z, not 0, so that the class which the unit stands against can be
    explained by its gradient as well.
    """

    def call(self, inputs):
        return keras.ops.concatenate([keras.ops.stop_gradient(inputs) - inputs, inputs], axis=-1)


def adapt(model, two_labels: bool = False) -> Adapted:
    """Any Keras image classifier -> its flat model with logits out. `two_labels`: two class names were given, so that
    one linear unit at the end is the logit of the second class and no regression.

    Raises InputError with one sentence for what is no image classifier of one input and one output, or has no layer
    with a map. Computes nothing but the new layers' weights.
    """
    height, width, channels = _input_shape(model)
    rebuild = not _is_flat(model)
    flat = _rebuilt(model, (height, width, channels)) if rebuild else model
    tail = _tail(flat)
    _check_ending(tail, two_labels)
    if not rebuild and (tail.kind != "linear" or tail.units < 2 or len(flat.outputs[0].shape) != 2):
        flat = _rebuilt(model, (height, width, channels))
        tail = _tail(flat)
    flat = _with_logits(flat, tail)
    layers, scales = _target_layers(flat)
    units = int(flat.outputs[0].shape[-1])
    return Adapted(flat, (height, width), channels, units, layers, tail.kind, scales)


# --- what comes in ---------------------------------------------------------------------------------------------------


def _input_shape(model) -> tuple[int, int, int]:
    """(height, width, channels) of the model's one input; InputError when it is no classifier of pictures."""
    if not isinstance(model, keras.Model):
        raise InputError(f"A {type(model).__name__} is no Keras model: give a keras.Model, a file of one, or a name.")
    if not isinstance(model, keras.Sequential | keras.Function):
        raise InputError(
            f"The model is a subclass of keras.Model ({type(model).__name__}) with code of its own and no graph of "
            "layers that could be taken apart: build it as a Sequential or functional model."
        )
    if not model.built or not model.inputs:
        raise InputError(
            "The model has no input shape yet: add a keras.Input, or call the model once, and save it then."
        )
    for what, found in (("inputs", model.inputs), ("outputs", model.outputs)):
        if len(found) != 1:
            raise InputError(f"The model has {len(found)} {what}: one is allowed, a picture in and its classes out.")
    shape = tuple(model.inputs[0].shape[1:])
    first = any(getattr(layer, "data_format", None) == "channels_first" for layer in _leaves(model))
    if first or (len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3)):
        raise InputError(
            "The model takes pictures with their channels first: channels last, (height, width, 1 or 3), is allowed."
        )
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise InputError(
            f"The model takes inputs of shape {_in_words(shape)}: pictures of (height, width, 1 or 3) are allowed."
        )
    return shape[0] or DEFAULT_SIZE, shape[1] or DEFAULT_SIZE, shape[2]


def _leaves(model):
    for layer in model.layers:
        if _is_nested(layer):
            yield from _leaves(layer)
        else:
            yield layer


def _is_nested(operation) -> bool:
    return isinstance(operation, keras.Model) and isinstance(operation, keras.Sequential | keras.Function)


def _in_words(shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _is_flat(model) -> bool:
    """True when the layers of `model` can be used as they are."""
    if isinstance(model, keras.Sequential) or any(map(_is_nested, model.layers)):
        return False
    plain = isinstance(model.input, keras.KerasTensor) and isinstance(model.output, keras.KerasTensor)
    shape = model.inputs[0].shape
    if not plain or shape[0] is not None or None in shape[1:] or model.inputs[0].dtype != "float32":
        return False
    if any(layer.compute_dtype != "float32" for layer in model.layers) or model.outputs[0].dtype != "float32":
        return False
    if any(not isinstance(operation, keras.layers.Layer) and _has_map(operation) for operation in model.operations):
        return False  # only a layer can be a target layer: such an operation is followed by one in the copy
    try:  # a layer that some other model called first gives that one's tensors as its output
        keras.Model(model.inputs, [layer.output for layer in model.layers])
    except ValueError:
        return False
    return True


# --- the flat copy ---------------------------------------------------------------------------------------------------


def _rebuilt(model, shape: tuple[int, int, int]) -> keras.Model:
    """A flat functional model of copies of the model's layers, with copies of their weights, all in float32."""
    copies: dict[int, Callable] = {}  # by the identity of the operation copied: a layer called twice stays one layer
    taken: set[str] = set()
    pairs: list[tuple] = []

    def copied(operation, path: str):
        if id(operation) not in copies:
            name, number = path + operation.name, 1
            while name in taken:
                name, number = f"{path}{operation.name}_{number}", number + 1
            taken.add(name)
            copy = copies[id(operation)] = copy_operation(operation, name)
            pairs.append((operation, copy))
        return copies[id(operation)]

    def operation_of(path: str):
        def entered(operation):
            if _is_nested(operation):
                return lambda inputs, *_, **__: through(operation, inputs, f"{path}{operation.name}.")
            copy = copied(operation, path)
            if isinstance(operation, keras.layers.Layer):
                return lambda *args, training=None, **kwargs: copy(*args, **kwargs)
            return lambda *args, **kwargs: as_layer(copy(*args, **kwargs), copy)

        return entered

    def as_layer(output, operation):
        """A map that an operation such as `x + y` gave, behind a layer of its name that can be a target layer."""
        if not isinstance(output, keras.KerasTensor) or not _is_map(output):
            return output
        name, operation.name = operation.name, f"{operation.name}_operation"
        return keras.layers.Identity(name=name)(output)

    def through(part, inputs, path: str = ""):
        if isinstance(part, keras.Sequential):
            for layer in part.layers:
                inputs = operation_of(path)(layer)(inputs)
            return inputs
        # Not a public name of Keras, and the one way to call a model's operations one by one with others in their
        # place; tests/engine/test_adapt.py notices when it moves.
        return part._run_through_graph(inputs, operation_fn=operation_of(path))

    inputs = keras.Input(shape, name="picture")
    taken.add("picture")
    try:
        (output,) = keras.tree.flatten(through(model, inputs))
        flat = keras.Model(inputs, output, name=f"flat_{model.name}")
    except InputError:
        raise
    except (NotImplementedError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"The model cannot be taken apart into layers with a {_in_words(shape)} input ({type(error).__name__}): "
            "build it of Keras's own layers, or of layers that can be saved."
        ) from error
    for original, copy in pairs:
        copy_weights(original, copy)
    return flat


def copy_weights(operation, copy) -> None:
    """A layer's weights to its copy, with what Normalization makes of them and keeps; other operations have none."""
    if isinstance(operation, keras.layers.Layer) and operation.weights:
        copy.set_weights(operation.get_weights())
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()


def copy_operation(operation, name: str):
    if isinstance(operation, keras.layers.Lambda):  # only out of a model in memory: a file with one is refused
        return keras.layers.Lambda(operation.function, arguments=operation.arguments, name=name)
    config = operation.get_config()
    if isinstance(operation, keras.layers.Layer):
        config |= {"name": name}
        if operation.compute_dtype != "float32":
            config |= {"dtype": "float32"}  # gradients of a 16 bit network fade to zero
        return type(operation).from_config(config)
    copy = type(operation).from_config(config)
    copy.name = name
    return copy


# --- how it ends -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tail:
    """How a flat model ends: `tensor` is what comes before the last activation, or holds it when `layer` has it inside;
    `kind` is that activation's name, "linear" for none; `units` the length of the output."""

    tensor: keras.KerasTensor
    layer: keras.layers.Layer | None
    kind: str
    units: int


def _tail(flat: keras.Model) -> Tail:
    output = tensor = flat.outputs[0]
    sizes = [size for size in output.shape[1:] if size != 1]
    if None in sizes or len(sizes) > 1 or len(output.shape) < 2:
        shape = _in_words(output.shape[1:])
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


def _check_ending(tail: Tail, two_labels: bool) -> None:
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


def _with_logits(flat: keras.Model, tail: Tail) -> keras.Model:
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


# --- layers with a map -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """Stands for a tensor: the operations that every path from the picture to it goes through, in order, and whether
    any operation before it has weights other than a scaling's."""

    passed: tuple = ()
    learned: bool = False


def _target_layers(flat: keras.Model) -> tuple[tuple[str, ...], bool]:
    """Names of the layers that carry a map, and whether the picture is scaled inside; InputError when none does.

    A target layer is one that every path to the logits goes through, so that the model can be cut into a trunk and a
    head there: the last layer of a residual block, none inside its branches. Layers before the first weights still
    hold the picture, and those that only pool, pad, crop or drop repeat the map before them.
    """
    calls: Counter = Counter()
    learned, scaling = set(), False

    def operation_of(operation):
        def call(*args, **kwargs):
            nonlocal scaling
            calls[operation.name] += 1
            before = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, _Seen)]
            common = [each for each in before[0].passed if all(each in other.passed for other in before[1:])]
            scales, follows = isinstance(operation, _SCALING), any(each.learned for each in before)
            scaling = scaling or (scales and not follows)
            if follows or (not scales and bool(getattr(operation, "weights", ()))):
                learned.add(operation.name)
            seen = _Seen((*common, operation), operation.name in learned)
            return [seen for _ in keras.tree.flatten(operation.output)]

        return call

    end = flat._run_through_graph(_Seen(), operation_fn=operation_of)  # see _rebuilt
    passed = [each for each in keras.tree.flatten(end)[0].passed if isinstance(each, keras.layers.Layer)]
    maps = [each for each in passed if each.name in learned and calls[each.name] == 1 and _has_map(each)]
    layers = [each for each in maps if not isinstance(each, _PASSING_ON)] or maps
    _check_maps(flat, layers)
    return tuple(layer.name for layer in layers), scaling


def _has_map(operation) -> bool:
    tensors = keras.tree.flatten(operation.output)
    return len(tensors) == 1 and _is_map(tensors[0])


def _is_map(tensor) -> bool:
    shape = tensor.shape
    return len(shape) == 4 and None not in shape[1:] and min(shape[1:3]) > 1


def _check_maps(flat: keras.Model, layers: list) -> None:
    """InputError when no method has anything to explain with."""
    cannot = f"None of the methods ({', '.join(method.name for method in METHODS.values())}) can explain this model: "
    order = [operation.name for operation in flat.operations]
    last = order.index(layers[-1].name) if layers else 0
    attention = [each for each in flat.operations[last:] if "Attention" in type(each).__name__]
    before = [
        each for each in flat.operations[: last + 1] if getattr(each, "weights", ()) and not isinstance(each, _SCALING)
    ]
    # Behind one patch embedding, or under several layers of attention, a place in the map is no place in the picture.
    if attention and (not layers or len(before) <= 1 or len(attention) > 1):
        raise InputError(
            f"{cannot}a class activation map adds up the (height, width, channels) maps of a layer, and in a "
            "transformer attention mixes all places of the picture behind the patches, so that no layer has one; a "
            "convolutional network is allowed."
        )
    if not layers:
        raise InputError(
            f"{cannot}a class activation map adds up the (height, width, channels) maps of a layer, and no layer that "
            "every path to the classes goes through has one; a convolutional network is allowed."
        )


# --- does it answer as the model given? ------------------------------------------------------------------------------


def check_answers(model, adapted: Adapted, inputs: np.ndarray) -> None:
    """InputError when the model's answer to (1, height, width, channels) inputs is not a finite number for each class,
    or the flat model, where it is another one, does not give the same probabilities."""
    batch = np.repeat(inputs, model.inputs[0].shape[0] or 1, axis=0)
    fed = batch if isinstance(model, keras.Sequential) else keras.tree.map_structure(lambda _: batch, model.input)
    given = np.asarray(keras.tree.flatten(model(fed, training=False))[0], np.float64)[0].ravel()
    logits = np.asarray(adapted.model(inputs, training=False))
    if not np.isfinite(given).all() or not np.isfinite(logits).all():
        raise InputError(
            "The model answers a picture with values that are no numbers (NaN or infinite): its weights are damaged, "
            "or its training diverged."
        )
    if adapted.ending == "linear" and (given >= 0).all() and abs(given.sum() - 1) < 1e-4:
        raise InputError(
            "The model's outputs are probabilities already, by something else than a softmax at its end that could be "
            "taken off: let it end in softmax, or in logits."
        )
    expected = _probabilities(given, adapted.ending)
    tolerance = 1e-4 if model.outputs[0].dtype == "float32" and not _has_16_bits(model) else 0.05
    if np.abs(softmax(logits)[0] - expected).max() > tolerance:
        raise InputError(
            "The model's layers, called one by one, do not give the model's own answer: a layer keeps something "
            "besides its weights and its configuration, or answers at random."
        )


def _probabilities(given: np.ndarray, ending: str) -> np.ndarray:
    """(outputs,) of the model given, which ends in that activation -> (classes,) probabilities."""
    if len(given) == 1:
        unit = given[0] if ending == "sigmoid" else 1 / (1 + np.exp(-given[0]))
        return np.array([1 - unit, unit])
    if ending == "softmax":
        return given
    return np.exp(given) if ending == "log_softmax" else softmax(given[None])[0]


def _has_16_bits(model) -> bool:
    return any("16" in str(layer.compute_dtype) for layer in _leaves(model))
