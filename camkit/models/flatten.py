"""Copy a Keras model of any nesting into one flat functional model in float32.

Every layer is called again on a new input, nested models are gone into. A layer of a nested model is called
"outer.inner": Keras forbids "/" in a name. The model given stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from ..errors import InputError


def is_nested(operation) -> bool:
    return isinstance(operation, keras.Model) and isinstance(operation, keras.Sequential | keras.Function)


def shape_in_words(shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def is_map(tensor) -> bool:
    shape = tensor.shape
    return len(shape) == 4 and None not in shape[1:] and min(shape[1:3]) > 1


class _End(keras.layers.Layer):
    """Stand behind a model's outputs, so that they are seen when its operations are called one by one."""

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


def flattened(model, shape: tuple[int, int, int]) -> keras.Model:
    """Return a flat functional model of copies of the model's layers, with copies of their weights, all in float32.

    Its input is "picture", (N, *shape) float32. Raises InputError for layers that cannot be copied or called on it.
    """
    copies: dict[int, Callable] = {}  # by the identity of the operation copied: a layer called twice stays one layer
    taken = {"picture"}
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

    def called(operation, path: str, *args, training=None, **kwargs):
        if is_nested(operation):
            return through(operation, args[0] if args else kwargs["inputs"], f"{path}{operation.name}.")
        copy = copied(operation, path)
        output = copy(*args, **kwargs)
        return output if isinstance(copy, keras.layers.Layer) else as_layer(output, copy)

    def as_layer(output, operation):
        """Return a map that an operation such as `x + y` gave, behind a layer of its name: a target layer is one."""
        if not isinstance(output, keras.KerasTensor) or not is_map(output):
            return output
        name, operation.name = operation.name, f"{operation.name}_operation"
        return keras.layers.Identity(name=name)(output)

    def through(part, inputs, path: str = ""):
        """Return the outputs of copies of a model's operations, called one by one; `inputs` in the model's order."""
        if isinstance(part, keras.Sequential):
            for layer in part.layers:
                inputs = called(layer, path, inputs)
            return inputs
        outputs: list = []

        def call(operation, *args, **kwargs):
            if operation is end:
                outputs.extend(keras.tree.flatten(args))
                return args[0]
            return called(operation, path, *args, **kwargs)

        end = _End(name="end of a model")
        keras.models.clone_model(
            keras.Model(part.inputs, end(part.outputs)),
            input_tensors=keras.tree.flatten(inputs),
            clone_function=lambda operation: operation,
            call_function=call,
        )
        return keras.tree.pack_sequence_as(part.output, outputs)

    inputs = keras.Input(shape, name="picture")
    try:
        (output,) = keras.tree.flatten(through(model, inputs))
        flat = keras.Model(inputs, output, name=f"flat_{model.name}")
    except InputError:
        raise
    except (NotImplementedError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"The model cannot be taken apart into layers with a {shape_in_words(shape)} input "
            f"({type(error).__name__}): build it of Keras's own layers, or of layers that can be saved."
        ) from error
    for original, copy in pairs:
        copy_weights(original, copy)
    return flat


@dataclass(frozen=True)
class Call:
    """One call of an operation of a flat model, by the tensors that go in and come out."""

    operation: Any
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def calls_of(flat: keras.Model) -> list[Call]:
    """Return the calls of a flat model's operations in the order of the network; the last one gives its output."""
    found: list[Call] = []

    def call(operation, *args, **kwargs):
        inputs = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, keras.KerasTensor)]
        again = any(each.operation is operation for each in found)
        output = operation(*args, **kwargs) if again else operation.output  # nothing is computed for the first call
        found.append(Call(operation, tuple(inputs), tuple(keras.tree.flatten(output))))
        return output

    keras.models.clone_model(
        keras.Model(flat.inputs, flat.outputs),
        input_tensors=flat.inputs,
        clone_function=lambda operation: operation,
        call_function=call,
    )
    return found


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
    for key, value in config.items():
        if (
            isinstance(value, dict)
            and value.get("class_name") in ("function", "__lambda__")
            and hasattr(operation, key)
        ):
            config[key] = getattr(operation, key)  # a function of the user's own, which no configuration holds
    if isinstance(operation, keras.layers.Layer):
        config |= {"name": name}
        if operation.compute_dtype != "float32":
            config |= {"dtype": "float32"}  # gradients of a 16 bit network fade to zero
        return type(operation).from_config(config)
    copy = type(operation).from_config(config)
    copy.name = name
    return copy
