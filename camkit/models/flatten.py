"""Copy a Keras model of any nesting into one flat functional model in float32.

Every layer is called again on a new input, nested models are gone into. A layer of a nested model is called
"outer.inner": Keras forbids "/" in a name. The model given stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from ..errors import InputError


def is_nested(operation) -> bool:
    return isinstance(operation, keras.Model) and isinstance(operation, keras.Sequential | keras.Function)


def shape_in_words(shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def is_map(tensor) -> bool:
    shape = tensor.shape
    return len(shape) == 4 and None not in shape[1:] and min(shape[1:3]) > 1


def flattened(model, shape: tuple[int, int, int]) -> keras.Model:
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
            if is_nested(operation):
                return lambda inputs, *_, **__: through(operation, inputs, f"{path}{operation.name}.")
            copy = copied(operation, path)
            if isinstance(operation, keras.layers.Layer):
                return lambda *args, training=None, **kwargs: copy(*args, **kwargs)
            return lambda *args, **kwargs: as_layer(copy(*args, **kwargs), copy)

        return entered

    def as_layer(output, operation):
        """A map that an operation such as `x + y` gave, behind a layer of its name that can be a target layer."""
        if not isinstance(output, keras.KerasTensor) or not is_map(output):
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
            f"The model cannot be taken apart into layers with a {shape_in_words(shape)} input "
            f"({type(error).__name__}): build it of Keras's own layers, or of layers that can be saved."
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
