"""The options that the command lines share: those that name one classifier, how it is loaded by them, and how grey
pictures of many bits are shown."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..passes.outputs import OUTPUTS
from ..passes.resizing import INTERPOLATIONS
from .registry import MODELS, OperatorModel, load

if TYPE_CHECKING:
    from ..classifier import Classifier

HELP = {  # of `--model` and of each field of OperatorModel
    "model": f"{', '.join(MODELS)}, the path of a .keras or .h5 file, hf://owner/name, or a network of "
    "keras.applications such as ResNet50",
    "labels": "its class names: a text or CSV file with one a line, a JSON list or object of index to name or name to "
    "index, a folder with a folder for each class, or 'imagenet'; default: the repository's labels.txt or labels.json, "
    "else class 0, class 1 and so on",
    "preprocess": "what its inputs are: none (0 to 255), unit (0 to 1), tf (-1 to 1), torch or caffe; needed unless "
    "its own scaling layers decide",
    "outputs": f"what its outputs are: {'; '.join(f'{each.key}: {each.summary}' for each in OUTPUTS.values())}; needed "
    "unless its ending decides",
    "output": "the name of the output that is explained, of a model that has several",
    "code": "a Python file of your own that is run before the model is read, such as one that defines its layers",
    "resize": "how pictures get its input's shape: squeeze (default), crop (the middle, as Keras's "
    "crop_to_aspect_ratio), crop:256 (torchvision's Resize(256) and CenterCrop) or pad (black borders)",
    "interpolation": f"{', '.join(INTERPOLATIONS)}; default: bicubic. Those of tf.image.resize, so of "
    "image_dataset_from_directory, begin with tf_, the others are Pillow's, so of load_img and torchvision",
    "size": "height and width of an input that the model leaves open, such as 96 or 96x128; default: 224",
}
OF_A_MODEL = tuple(each.name for each in fields(OperatorModel) if each.name != "source")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, those of OF_A_MODEL and --weights, the arguments of `load`."""
    parser.add_argument("--model", default="efficientnet_lite0", help=f"{HELP['model']}; default: %(default)s")
    for name in OF_A_MODEL:
        parser.add_argument(f"--{name}", help=HELP[name])
    parser.add_argument("--weights", type=Path, help="the model's weights file; default: found, else downloaded")


def add_window_option(parser: argparse.ArgumentParser) -> None:
    """Add --window, that of `open_picture`."""
    parser.add_argument(
        "--window",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="the values that grey pictures of more than 8 bits show as black and white; default: the file's own "
        "window, else its smallest and largest value",
    )


def loader(options: argparse.Namespace) -> Callable[[], Classifier]:
    """Return the call of `load` that these options ask for; it can be sent to another process."""
    return partial(
        load, options.model, weights=options.weights, **{name: getattr(options, name) for name in OF_A_MODEL}
    )


def check_known(options: argparse.Namespace, target_layer: str | None, class_name: str | None = None) -> None:
    """Raise InputError for a layer or a class that a model of MODELS does not have, before TensorFlow is imported."""
    if (spec := MODELS.get(options.model)) is not None:
        spec.check_layer(target_layer)
        if class_name is not None:
            spec.labels().find_class(class_name)


def load_with_progress(options: argparse.Namespace, show: Callable[[str], None]) -> Classifier:
    """Load the classifier of these options. `show` gets a line that says what is being done, twice a second while the
    model's weights are downloaded."""
    weights = MODELS[options.model].weights if options.model in MODELS else None
    if weights is not None and weights.find(options.weights) is None:
        download = weights.download_in_background()
        try:
            while not wait([download], timeout=0.5).done:
                show(weights.state.sentence)
        except KeyboardInterrupt:
            weights.cancel()
            raise
        download.result()  # a failure is raised here: `load` would try again
    show("Loading the model")
    return loader(options)()
