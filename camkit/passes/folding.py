"""Batch normalisation folded into the convolution or dense layer before it, for passes whose weights do not change."""

from __future__ import annotations

import keras
import numpy as np

FOLDABLE = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense)


def folded(model: keras.Model) -> keras.Model:
    """Return a model that answers as the functional `model` does outside training, with fewer operations.

    Where the output of a layer of FOLDABLE without an activation is normalised, one layer stands for both. All other
    layers are those of `model`, which stays as it is. With w and b the layer's weights, a normalised output is
    gamma (w x + b - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy 2015), which is linear in x.
    """
    calls: dict[int, tuple] = {}  # by the identity of a tensor that could be normalised: it, its layer and the input
    pairs: dict[tuple[int, int], keras.layers.Layer] = {}  # layers that are called twice stay one layer

    def call(layer, *args, **kwargs):
        if isinstance(layer, keras.layers.BatchNormalization) and id(args[0]) in calls:
            output, before, inputs = calls[id(args[0])]
            if layer.axis in (-1, len(output.shape) - 1):
                pair = id(before), id(layer)
                pairs[pair] = pairs.get(pair) or _folded(before, layer, inputs)
                return pairs[pair](inputs)
        output = layer(*args, **kwargs)
        if type(layer) in FOLDABLE and layer.activation is keras.activations.linear and _channels_last(layer):
            calls[id(output)] = output, layer, args[0]
        return output

    found = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return found if pairs else model


def _channels_last(layer) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _folded(layer, norm: keras.layers.BatchNormalization, inputs) -> keras.layers.Layer:
    """Return a layer of the same kind with a bias and the weights of both; computed in float64."""
    *others, kernel, bias = layer.get_weights() if layer.use_bias else [*layer.get_weights(), 0.0]
    mean, variance = _exact(norm.moving_mean), _exact(norm.moving_variance)
    scale = (1.0 if norm.gamma is None else _exact(norm.gamma)) / np.sqrt(variance + norm.epsilon)
    shift = (0.0 if norm.beta is None else _exact(norm.beta)) + (bias - mean) * scale
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # its kernel is (height, width, channels, multiplier)
        scale = scale.reshape(kernel.shape[-2:])
    config = layer.get_config()
    config |= {key: "zeros" for key in config if key.endswith("initializer")}  # nothing random is drawn for nothing
    both = type(layer).from_config(config | {"name": f"{layer.name}_and_{norm.name}", "use_bias": True})
    both.build(inputs.shape)
    both.set_weights([*others, kernel * scale, shift])
    return both


def _exact(variable: keras.Variable) -> np.ndarray:
    return variable.numpy().astype(np.float64)
