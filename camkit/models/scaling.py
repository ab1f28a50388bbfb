"""The scaling of a picture's values for a model: the choices, and which of them a model's own layers ask for.

A picture is (h, w, channels) float32 in [0, 255], RGB or grey; a `Preprocess` makes a model's inputs of it, of the same
shape. A wrong scaling gives wrong maps without any error, so that nothing is guessed where the constants of a model's
first layers do not decide: InputError then lists the choices.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from ..errors import InputError, quoted

Preprocess = Callable[[np.ndarray], np.ndarray]


def _by_keras(mode: str) -> Preprocess:
    return lambda image: keras.applications.imagenet_utils.preprocess_input(image.copy(), mode=mode)


# Choice -> the model's inputs in words, and the function.
PREPROCESSING: dict[str, tuple[str, Preprocess]] = {
    "none": ("0 to 255", lambda image: image),
    "unit": ("0 to 1", lambda image: image / 255.0),
    "tf": ("-1 to 1", lambda image: image / 127.5 - 1.0),
    "torch": ("0 to 1, less ImageNet's mean over its deviation", _by_keras("torch")),
    "caffe": ("BGR less ImageNet's mean", _by_keras("caffe")),
}
_COLOURS = {
    "black": (0, 0, 0),
    "mid grey": (127.5, 127.5, 127.5),
    "the mean colour of ImageNet": (123.68, 116.78, 103.94),
}


def find_preprocess(choice: str | Preprocess | None, channels: int, wanted: str | None = None) -> Preprocess:
    """Return the function for a choice; None takes `wanted`, the choice that the model's own layers ask for.

    Raises InputError with the choices for an unknown one, and for None where `wanted` is None too.
    """
    words = "; ".join(f"'{key}' ({words})" for key, (words, _) in PREPROCESSING.items())
    if callable(choice):
        return choice
    choice = choice or wanted
    if choice is None:
        raise InputError(
            "How pictures are scaled for the model must be said, since a wrong guess gives wrong maps: preprocess is "
            f"one of {words}."
        )
    if choice not in PREPROCESSING:
        raise InputError(f"Preprocessing '{quoted(choice)}' is unknown: use one of {words}.")
    if channels == 1 and choice in ("torch", "caffe"):
        raise InputError(
            f"Preprocessing '{choice}' is for colour, but the model takes grey pictures: use one of {words}."
        )
    return PREPROCESSING[choice][1]


def checked(preprocess: Preprocess, picture: np.ndarray) -> np.ndarray:
    """Return the (1, h, w, channels) float32 inputs of an (h, w, channels) picture.

    Raises InputError when the function changes the shape or gives values that are no numbers.
    """
    inputs = np.asarray(preprocess(picture.copy()), np.float32)
    if inputs.shape != picture.shape or not np.isfinite(inputs).all():
        raise InputError(
            f"The preprocessing makes {inputs.shape} of a picture of shape {picture.shape}, or values that are no "
            "numbers: it must keep the shape."
        )
    return inputs[None]


def inputs_in_words(preprocess: Preprocess, channels: int) -> str:
    """Say what a model is fed: the words of the choice that gives the same inputs, else the range for black to white.

    Found by asking the function, so that a network's own `preprocess_input` is named as well.
    """
    colours = np.random.default_rng(0).uniform(0, 255, (8, 8, channels)).astype(np.float32)
    colours[0], colours[1] = 0, 255
    inputs = np.asarray(preprocess(colours.copy()), np.float32)
    for key, (words, function) in PREPROCESSING.items():
        colour_only = key in ("torch", "caffe")
        if not (colour_only and channels == 1) and np.allclose(inputs, function(colours), rtol=0, atol=1e-3):
            return words
    return f"{inputs.min():.3g} to {inputs.max():.3g}, by a function of its own"


def zero_in_words(preprocess: Preprocess, channels: int) -> str:
    """Say what a preprocessed value of zero looks like, found by asking the function for known colours."""
    for words, colour in _COLOURS.items():
        if np.abs(preprocess(np.full((8, 8, channels), colour[:channels], np.float32))).max() < 0.02:
            return words
    return "the model's own zero"


# --- what a model's own layers ask for -------------------------------------------------------------------------------

_RANGES = {"none": (0.0, 255.0), "unit": (0.0, 1.0), "tf": (-1.0, 1.0)}
# What networks are trained on behind a scaling by round numbers: [0, 1], [-1, 1], and pixels less nothing, a half or
# a mean (preprocess_input of mode "caffe").
_USUAL = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0), (-128.0, 127.0))
_STEPS = 5  # evenly coloured pictures for each range
_NEAR = 0.1  # of the width: ImageNet's means differ from 128 by so much


def wanted_inputs(model: keras.Model, first: list) -> str | None:
    """Return the choice of PREPROCESSING ("none", "unit" or "tf") that the constants of a flat model decide for.

    `first`: the operations that hold the first learned weights on each path from the picture. What stands before them
    (scaling layers, arithmetic, changed channels) is run on evenly coloured pictures, which composes all of it exactly.
    A range of inputs fits when it lands on a usual range, or where data of mean 0 and variance 1 lie, as behind a
    Normalization adapted to it. None when no range fits, or several do, such as for a model that scales nothing.
    """
    values_of = {key: np.linspace(*ends, _STEPS) for key, ends in _RANGES.items()}
    colours = np.unique(np.concatenate(list(values_of.values())))
    shape = model.inputs[0].shape[1:]
    pictures = np.broadcast_to(colours.reshape(-1, 1, 1, 1), (len(colours), *shape)).astype(np.float32)
    choices = set()
    for operation in first:
        for tensor in keras.tree.flatten(operation.input):
            # The median: zero padding and channels without variance are the exception.
            values = np.asarray(keras.Model(model.inputs[0], tensor)(pictures, training=False), np.float64)
            values = np.median(_normalised(operation, values).reshape(len(colours), -1), axis=1)
            landing = dict(zip(colours, values, strict=True))
            choices.add(_fitting({key: np.array([landing[each] for each in at]) for key, at in values_of.items()}))
    return choices.pop() if len(choices) == 1 else None


def _normalised(operation, values: np.ndarray) -> np.ndarray:
    """Return the values less the mean over the deviation that a first BatchNormalization has seen in training."""
    if not isinstance(operation, keras.layers.BatchNormalization):
        return values
    mean, variance = np.asarray(operation.moving_mean), np.asarray(operation.moving_variance)
    return (values - mean) / np.sqrt(variance + operation.epsilon)


def _fitting(landings: dict[str, np.ndarray]) -> str | None:
    """Return the one choice whose inputs land where a network wants them; None when that is not decided.

    `landings`: where the inputs of a choice land, (_STEPS,) from its lowest to its highest.
    """
    landings = {key: values for key, values in landings.items() if _keeps_apart(values)}
    spans = {key: (values.min(), values.max()) for key, values in landings.items()}
    straight = {key: spans[key] for key, values in landings.items() if _is_straight(values)}
    for test in (_is_usual, _is_standardised, _is_possible):
        fits = [key for key, span in (spans if test is _is_usual else straight).items() if test(*span)]
        if len(fits) == 1:
            return fits[0]
        if fits and test is not _is_possible:
            return None
    farthest = {key: max(map(abs, spans[key])) for key in fits}
    by_distance = sorted(fits, key=farthest.__getitem__)
    clear = len(fits) > 1 and farthest[by_distance[1]] > 1.5 * farthest[by_distance[0]]
    return by_distance[0] if clear else None


def _keeps_apart(values: np.ndarray) -> bool:
    """Return whether brighter inputs land on ever larger values, or ever smaller ones: what is cut off does not."""
    steps = np.diff(values)
    return bool((steps * np.sign(steps.sum()) > 0.01 * np.ptp(values)).all())


def _is_straight(values: np.ndarray) -> bool:
    """Return whether the values are a scale times the inputs plus an offset, whose size alone then says something."""
    return bool(np.ptp(np.diff(values)) < 0.01 * np.ptp(values))


def _is_usual(low: float, high: float) -> bool:
    return any(max(abs(low - first), abs(high - last)) <= _NEAR * (last - first) for first, last in _USUAL)


def _is_standardised(low: float, high: float) -> bool:
    """Return whether data of mean 0 and variance 1 can fill this range: its ends lie within +-3.5, and the variance of
    data of mean 0 within it is at most -low x high (Bhatia and Davis 2000)."""
    return -3.5 <= low < 0 < high <= 3.5 and -low * high >= 0.9


def _is_possible(low: float, high: float) -> bool:
    """Return whether zero lies in the range or near it, and its width is that of standardised data, dark ones too."""
    width = high - low
    return 0.4 <= width <= 60 and low <= 0.1 * width and high >= -0.1 * width
