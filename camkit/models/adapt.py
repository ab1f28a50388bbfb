"""From any Keras image classifier to one flat functional model with logits out, and what the engine must know of it.

Owns the refusals of models that cannot be explained, each in one sentence. A flat model has no model among its layers,
a fixed input (h, w, 1 or 3) float32, and (N, classes) logits out: tf-keras-vis works on nothing else (with Keras 3 its
Grad-CAM fails on a Sequential around a nested model), and softmax would be taken twice. A model that is flat already is
used as it is, without a copy; every other one is built anew out of copies of its layers, whose weights it copies, so
that the model given stays as it was. A layer of a nested model is called "outer.inner": Keras forbids "/" in a name.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import keras
import numpy as np

from ..errors import InputError, quoted
from ..methods import METHODS
from ..passes.outputs import Outputs
from .endings import answers, find_outputs, find_tail, has_16_bits, outputs_of, with_logits
from .flatten import calls_of, flattened, is_map, is_nested, shape_in_words
from .scaling import wanted_inputs

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


@dataclass(frozen=True)
class Adapted:
    """A flat model and what the engine must know of it.

    model: (N, height, width, channels) float32 -> (N, classes) logits. target_layers: names of layers whose output
    (N, h', w', C) is all that the rest of the model sees, h' and w' above 1, in network order, the default last.
    ending: what the model given ends in, the kind of its Tail. outputs: what its outputs are. preprocess: the choice of
    scaling.PREPROCESSING that its own layers decide for, None where they do not.
    """

    model: keras.Model
    input_size: tuple[int, int]
    channels: int
    classes: int
    target_layers: tuple[str, ...]
    ending: str
    outputs: Outputs
    preprocess: str | None


def one_output(model, name: str | None):
    """Return the model with the one of its outputs that has this name; None where it has one output alone.

    Raises InputError that names the outputs for an unknown name, and where none is given for several.
    """
    if not isinstance(model, keras.Sequential | keras.Function) or not model.built:
        return model
    if isinstance(model, keras.Sequential):
        given = [model.layers[-1].name]
    else:
        given = sorted(model.output) if isinstance(model.output, dict) else model.output_names
    names = [each if given.count(each) == 1 else f"{each}_{number}" for number, each in enumerate(given, 1)]
    if name is None and len(names) > 1:
        raise InputError(f"The model has {len(names)} outputs: choose one by output, of {', '.join(names)}.")
    if name is not None and name not in names:
        raise InputError(f"The model has no output '{quoted(name)}': output is one of {', '.join(names)}.")
    return model if len(names) == 1 else keras.Model(model.input, model.outputs[names.index(name)], name=model.name)


def adapt(model, two_labels: bool = False, outputs: str | None = None, size: tuple[int, int] | None = None) -> Adapted:
    """Any Keras image classifier -> its flat model with logits out. `two_labels`: two class names were given, so that
    one linear unit at the end is the logit of the second class and no regression. `outputs`: a key of OUTPUTS, None
    for what the ending decides. `size`: (height, width) of an input that the model leaves open, None for DEFAULT_SIZE.

    Raises InputError with one sentence for what is no image classifier of one input and one output, or has no layer
    with a map. Computes nothing but the new layers' weights.
    """
    said = outputs_of(outputs)
    shape = _input_shape(model, size)
    try:
        return _adapted(model, shape, two_labels, said)
    except InputError as error:
        refused = error
        enough = tuple(side or DEFAULT_SIZE for side in model.inputs[0].shape[1:3])
        if any(given < each for given, each in zip(shape, enough, strict=False)):
            with suppress(InputError):  # else the size is not what is wrong
                _adapted(model, (enough[0], enough[1], shape[2]), two_labels, said)
                refused = InputError(
                    f"Pictures of {shape[1]} x {shape[0]} pixels are too small for the model, whose layers leave "
                    f"nothing of them: give a larger size, such as {DEFAULT_SIZE}."
                )
        raise refused from error


def _adapted(model, shape: tuple[int, int, int], two_labels: bool, said: Outputs | None) -> Adapted:
    whole = said is not None and said.whole
    height, width, channels = shape
    rebuild = not _is_flat(model)
    flat = flattened(model, (height, width, channels)) if rebuild else model
    tail = find_tail(flat, whole)
    found = find_outputs(tail, said, two_labels)
    pairs = tail.units == 1 and found.pairs
    if not rebuild and (tail.kind != "linear" or pairs or len(flat.outputs[0].shape) != 2):
        flat = flattened(model, (height, width, channels))
        tail = find_tail(flat, whole)
    flat = with_logits(flat, tail, found)
    layers, first = _target_layers(flat)
    units = int(flat.outputs[0].shape[-1])
    preprocess = "none" if "int" in model.inputs[0].dtype else wanted_inputs(flat, first)
    return Adapted(flat, (height, width), channels, units, layers, tail.kind, found, preprocess)


# --- what comes in ---------------------------------------------------------------------------------------------------


def _input_shape(model, size: tuple[int, int] | None) -> tuple[int, int, int]:
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
    if len(model.inputs) != 1:
        raise InputError(f"The model has {len(model.inputs)} inputs: one is allowed, a picture.")
    shape = tuple(model.inputs[0].shape[1:])
    first = any(getattr(layer, "data_format", None) == "channels_first" for layer in _leaves(model))
    if first or (len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3)):
        raise InputError(
            "The model takes pictures with their channels first: channels last, (height, width, 1 or 3), is allowed."
        )
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise InputError(
            f"The model takes inputs of shape {shape_in_words(shape)}: pictures of (height, width, 1 or 3) are allowed."
        )
    height, width = (
        fixed or wanted for fixed, wanted in zip(shape, size or (DEFAULT_SIZE, DEFAULT_SIZE), strict=False)
    )
    if size is not None and size != (height, width):
        raise InputError(
            f"The size is {size[1]} x {size[0]} pixels (width x height), but the model takes {width} x {height} and "
            "nothing else there: a size is for inputs that a model leaves open."
        )
    return height, width, shape[2]


def _leaves(model):
    for layer in model.layers:
        if is_nested(layer):
            yield from _leaves(layer)
        else:
            yield layer


def _is_flat(model) -> bool:
    """True when the layers of `model` can be used as they are."""
    if isinstance(model, keras.Sequential) or any(map(is_nested, model.layers)):
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


# --- layers with a map -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """Stand for a tensor: the operations that every path from the picture to it goes through, in order; all operations
    that lie on some path of a network in parts; whether any operation before it has weights other than a scaling's."""

    passed: tuple = ()
    parts: tuple = ()
    learned: bool = False


def _target_layers(flat: keras.Model) -> tuple[tuple[str, ...], list]:
    """Return the names of the layers that carry a map, and the operations with the first weights on each path from the
    picture, scaling layers aside; InputError when no layer carries a map.

    A target layer is one that every path to the logits goes through: the last layer of a residual block, none inside
    its branches. Where paths meet without a map, as several backbones do that are pooled and concatenated, the layers
    of each path count as well. Layers before the first weights still hold the picture, and those that only pool, pad,
    crop or drop repeat the map before them.
    """
    calls = calls_of(flat)
    seen = {id(flat.inputs[0]): _Seen()}
    first, learned = [], set()
    for call in calls:
        before = list({id(each): seen[id(each)] for each in call.inputs if id(each) in seen}.values()) or [_Seen()]
        common = [each for each in before[0].passed if all(each in other.passed for other in before[1:])]
        parts = before[0].parts
        if len(before) > 1 and not any(map(is_map, call.inputs)):
            parts = tuple(dict.fromkeys(each for other in before for each in (*other.parts, *other.passed)))
        elif len(before) > 1:
            parts = tuple(each for each in before[0].parts if all(each in other.parts for other in before[1:]))
        follows = any(each.learned for each in before)
        weighted = not isinstance(call.operation, _SCALING) and bool(getattr(call.operation, "weights", ()))
        if weighted and not follows:
            first.append(call.operation)
        if follows or weighted:
            learned.add(call.operation)
        made = _Seen((*common, call.operation), parts, call.operation in learned)
        seen |= {id(each): made for each in call.outputs}
    end, times = seen[id(calls[-1].outputs[0])], Counter(call.operation for call in calls)
    reached = {*end.passed, *end.parts}
    maps = [
        each
        for each in dict.fromkeys(call.operation for call in calls)
        if each in reached & learned and times[each] == 1 and isinstance(each, keras.layers.Layer) and _has_map(each)
    ]
    layers = [each for each in maps if not isinstance(each, _PASSING_ON)] or maps
    _check_maps(flat, layers)
    return tuple(layer.name for layer in layers), first


def _has_map(operation) -> bool:
    tensors = keras.tree.flatten(operation.output)
    return len(tensors) == 1 and is_map(tensors[0])


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
    expected = answers(given, adapted.ending, adapted.outputs)
    tolerance = (0.05 if has_16_bits(model) else 1e-4) * max(1.0, np.abs(expected).max())
    if np.abs(adapted.outputs.answers(logits)[0] - expected).max() > tolerance:
        raise InputError(
            "The model's layers, called one by one, do not give the model's own answer: a layer keeps something "
            "besides its weights and its configuration, or answers at random."
        )
