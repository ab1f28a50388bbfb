"""The MODELS registry, `load`, and `register` for the models that a server's operator names.

TensorFlow is imported by the first load, not before. MODELS and the loads are the state of this process: `register`
alone adds an entry, and an operator's entry is completed when its model is loaded.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, WeightsError, quoted
from ..labels import Labels, imagenet, read_labels
from ..passes.outputs import CLASSES, Outputs
from ..passes.resizing import Resizing, size_of
from .weights import VGG16_WEIGHTS, WeightsFile

if TYPE_CHECKING:
    import keras

    from ..classifier import Classifier

logger = logging.getLogger(__name__)

MOST_LAYERS_NAMED = 20  # in a refusal: a deep network offers a hundred


@dataclass(frozen=True)
class OperatorModel:
    """A model that the operator of a server names: the arguments of `load`, each an option and a variable of the
    command lines (options.py)."""

    source: str
    labels: str | None = None
    preprocess: str | None = None
    outputs: str | None = None
    output: str | None = None
    code: str | None = None
    resize: str | None = None
    interpolation: str | None = None
    size: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One entry of MODELS.

    build: weights file or None -> a Keras model that ends in logits.
    preprocess: (h, w, channels) float32 RGB or grey in [0, 255] -> the model's inputs, a new array.
    target_layers: the layers whose activations can be explained, in network order, the default last.
    weights: where the weights file comes from; None for bundled models and the operator's.
    zero: what a preprocessed value of zero looks like, in words. inputs: what the model is fed, such as "0 to 255".
    input_size: (height, width). resizing: how a picture becomes that. channels: 3, or 1 for grey. labels: gives the
    class names. outputs: what the numbers that it gives are. known_for: why one may want it, in words.
    operator_model: for a model that the operator names; until it is loaded it has no target layers, and ImageNet's
    labels. first: the operator names it, so that it stands before the others.
    """

    key: str
    name: str
    build: Callable[[Path | None], keras.Model]
    preprocess: Callable[[np.ndarray], np.ndarray]
    target_layers: tuple[str, ...]
    weights: WeightsFile | None
    zero: str
    source: str
    inputs: str = ""
    input_size: tuple[int, int] = (224, 224)
    resizing: Resizing = Resizing()
    channels: int = 3
    labels: Callable[[], Labels] = imagenet
    outputs: Outputs = CLASSES
    known_for: str = ""
    operator_model: OperatorModel | None = None
    first: bool = False

    @property
    def resized(self) -> str:
        """Return in words how a picture becomes the input; "" of the operator's model that is not loaded."""
        return self.resizing.in_words(self.input_size) if self.target_layers else ""

    def check_layer(self, target_layer: str | None) -> str:
        """Return the layer's name, the default for None or ""; InputError when the model does not offer it."""
        if target_layer is None or target_layer == "":
            return self.target_layers[-1]
        if target_layer not in self.target_layers:
            named = self.target_layers[-MOST_LAYERS_NAMED:]
            others = len(self.target_layers) - len(named)
            raise InputError(
                f"Target layer '{quoted(target_layer)}' is not offered by {self.name}: "
                f"use one of {', '.join(named)}{f', or of {others} earlier ones' if others else ''}."
            )
        return target_layer


def _build_vgg16(weights: Path | None) -> keras.Model:
    import keras

    if weights is None:  # Keras would initialise at random, and every map would be noise
        raise InputError("VGG16 cannot be built without a weights file.")
    model = keras.applications.VGG16(weights=None, classifier_activation=None)
    _load_weights(model, weights)
    return model


def _load_weights(model: keras.Model, weights: Path) -> None:
    """Keras compares the number of layers and every shape; WeightsError says in a sentence what it found."""
    try:
        model.load_weights(weights)
    except OSError as error:
        reason = "is no HDF5 file, or only part of one"
        raise WeightsError(f"{weights.name} {reason}: name a whole .h5 file with this model's weights.") from error
    except ValueError as error:
        reason = str(error).splitlines()[0].rstrip(".:")
        raise WeightsError(f"{weights.name} does not fit the model ({reason}): name this model's weights.") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{weights.name} is not laid out as Keras's .h5 weights: name the file that Keras publishes."
        ) from error


def _preprocess_vgg16(image: np.ndarray) -> np.ndarray:
    from keras.applications.vgg16 import preprocess_input

    return preprocess_input(image.copy())  # Keras's own works in place


def _build_lite0(weights: Path | None) -> keras.Model:
    import keras

    bundled = Path(__file__).resolve().parents[1].joinpath("bundled") / "efficientnet_lite0.keras"
    return keras.models.load_model(weights or bundled, compile=False)


MODELS: OrderedDict[str, ModelSpec] = OrderedDict(
    (spec.key, spec)
    for spec in (
        ModelSpec(
            key="vgg16",
            name="VGG16",
            build=_build_vgg16,
            preprocess=_preprocess_vgg16,
            target_layers=tuple(
                f"block{block}_conv{conv}"
                for block, convs in enumerate((2, 2, 3, 3, 3), 1)
                for conv in range(1, convs + 1)
            ),
            weights=VGG16_WEIGHTS,
            zero="the mean colour of ImageNet",
            inputs="BGR less ImageNet's mean",
            known_for="the network of the tutorial and the papers",
            source="Simonyan and Zisserman 2015, arXiv:1409.1556; "
            "weights by the Visual Geometry Group, Oxford, CC BY 4.0",
        ),
        ModelSpec(
            key="efficientnet_lite0",
            name="EfficientNet-Lite0",
            build=_build_lite0,
            preprocess=lambda image: (image - 127.0) / 128.0,
            target_layers=(
                "block1a_project_bn",
                "block2b_add",
                "block3b_add",
                "block4c_add",
                "block5c_add",
                "block6d_add",
                "block7a_project_bn",
                "top_activation",
            ),
            weights=None,
            zero="mid grey",
            inputs="-1 to 1",
            source="Tan and Le 2019, arXiv:1905.11946, Lite variant; weights Apache 2.0, see camkit/bundled",
        ),
    )
)

# The one load of each model and weights file: begun, done or failed.
_loads: dict[tuple[str | OperatorModel, Path | None], Future[Classifier]] = {}
_guard = threading.Lock()  # for `_loads`


def load(
    name,
    labels=None,
    preprocess=None,
    *,
    weights: str | os.PathLike | None = None,
    outputs: str | None = None,
    output: str | None = None,
    code: str | os.PathLike | None = None,
    resize: str | None = None,
    interpolation: str | None = None,
    size=None,
) -> Classifier:
    """Return the classifier `name`: a key of MODELS, or a model of your own.

    Of MODELS there is one object per model and weights file, however often and by however many threads it is asked for;
    a load that failed is tried again. `weights` is a path; None finds the file or, failing that, downloads it
    (weights.py); bundled models need none and never touch a network.

    A model of your own is the path of a .keras or .h5 file, "hf://owner/name", a network of keras.applications
    ("ResNet50"), or a keras.Model, which stays as it is: any image classifier of one input (h, w, 1 or 3), where None
    becomes 224.
        labels: whatever `camkit.labels.read_labels` reads (a list, a text, CSV or JSON file, Keras's class_indices, a
            folder of classes), or "imagenet"; None takes a repository's labels.txt or labels.json, else gives "class 0"
            and so on.
        preprocess: "none" (0 to 255), "unit" (0 to 1), "tf" (-1 to 1), "torch", "caffe", or a function of an (h, w,
            channels) float32 picture in [0, 255]. None is allowed where the constants of the model's own scaling decide
            (Rescaling, Normalization, arithmetic), and for keras.applications.
        outputs: a key of OUTPUTS: "classes" (one of several: softmax, logits, or one sigmoid unit for two), "labels"
            (several at once, a sigmoid each), or "value" (one number). None takes what the model's ending decides.
        output: the name of one output of a model that has several.
        code: the path of a Python file of your own that is run first, for layers that Keras does not know.
        size: (height, width), or one number for both, of an input that the model leaves open; None takes 224.
    Each call reads it anew.

    How a picture becomes the input is said as well, for any model; it must be as in the training.
        resize: "squeeze", the default, takes the whole picture without regard to its aspect ratio; "crop" its middle,
            as Keras's crop_to_aspect_ratio; "crop:256" what torchvision's Resize(256) and CenterCrop leave; "pad" adds
            black borders, as pad_to_aspect_ratio.
        interpolation: "bicubic", the default, "bilinear" or "nearest" are Pillow's filters, which load_img and
            torchvision use; "tf_bilinear" and "tf_nearest" are those of tf.image.resize, so of
            image_dataset_from_directory and Resizing, which do not average what they make smaller.

    Raises InputError for an unknown name and for what cannot be explained, WeightsError when there are no usable
    weights.

    >>> import camkit
    >>> classifier = camkit.load("efficientnet_lite0")
    >>> classifier.input_size, len(classifier.labels), classifier.target_layers[-1]
    ((224, 224), 1000, 'top_activation')
    """
    options = {"labels": labels, "preprocess": preprocess, "outputs": outputs, "output": output, "code": code}
    options["size"] = size
    fed = {"resize": resize, "interpolation": interpolation}
    if not isinstance(name, str | os.PathLike):
        return _own_classifier(name, ("model", "Your model"), None, **options, **fed)
    if str(name) not in MODELS:
        return _own_classifier(str(name), (key_of(str(name)), name_of(str(name))), weights, **options, **fed)
    if any(each is not None for each in options.values()):
        raise InputError(
            f"{MODELS[str(name)].name} has labels, preprocessing and a size of its own: give them for other models."
        )
    spec, path = MODELS[str(name)], Path(weights) if weights is not None else None
    if spec.weights is not None:
        path = spec.weights.obtain(path)
    future, mine = _claim(spec, path)
    if mine:
        _settle(future, spec, path)
    classifier = future.result()
    if resize is None and interpolation is None:
        return classifier
    known = classifier.spec.resizing
    return classifier.resizing_by(Resizing.of(resize or known.resize, interpolation or known.interpolation))


def load_in_background(name: str) -> Future[Classifier]:
    """Begin to load a key of MODELS in a daemon thread, or join the load that was begun; one that failed begins again.
    Return the future of the classifier."""
    spec = MODELS[name]
    future, mine = _claim(spec, None)
    if mine:
        threading.Thread(target=_settle, args=(future, spec, None), name=f"{name}-loading", daemon=True).start()
    return future


def _claim(spec: ModelSpec, path: Path | None) -> tuple[Future[Classifier], bool]:
    """Return the future of a load, and True when the caller is to settle it: it has not begun, or has failed."""
    key = (spec.operator_model or spec.key, path and path.resolve())
    with _guard:
        known = _loads.get(key)
        if known is not None and not (known.done() and known.exception()):
            return known, False
        _loads[key] = Future()
        return _loads[key], True


def _settle(future: Future[Classifier], spec: ModelSpec, path: Path | None) -> None:
    try:
        future.set_result(_make(spec, path))
    except (InputError, WeightsError) as error:
        future.set_exception(type(error)(str(error)))  # a new one: this one's frames hold what was built so far
    except BaseException as error:  # Ctrl-C among them: who waits for this load must not wait for ever
        future.set_exception(error)


def _make(spec: ModelSpec, path: Path | None) -> Classifier:
    from ..classifier import Classifier, prepare_device

    prepare_device()
    given = spec.operator_model
    if given is None:
        try:
            return Classifier(spec.build(path), spec)
        except WeightsError as error:
            if spec.weights is not None and path is not None:
                spec.weights.refuse(path, str(error))
            raise
    try:
        options = {name: each for name, each in vars(given).items() if name != "source"}
        classifier = _own_classifier(given.source, (spec.key, spec.name), None, **options)
    except (InputError, WeightsError) as error:
        raise InputError(f"{spec.name} cannot be used. {error}") from error
    except Exception as error:  # a file can go wrong in ways that cannot be foreseen, and the server must go on
        message = f"{spec.name} cannot be used, for a reason that is in the server's log."
        logger.exception("%s", message)
        raise InputError(message) from error
    classifier.spec = MODELS[spec.key] = replace(classifier.spec, operator_model=given, first=True)
    return classifier


def load_status(name: str) -> tuple[str, str]:
    """Return how far a key of MODELS is: "absent", "loading", "ready" or "failed", and for "failed" why in a sentence.
    Of several weights files the one that is furthest counts."""
    wanted, found = MODELS[name].operator_model or name, ("absent", "")
    for (key, _), future in list(_loads.items()):
        if key == wanted and not future.done():
            found = ("loading", "")
        elif key == wanted and (error := future.exception()) is None:
            return "ready", ""
        elif key == wanted:
            found = ("failed", str(error))
    return found


def check_model(name: str) -> ModelSpec:
    """Return the registry's entry; InputError for an unknown key."""
    if name not in MODELS:
        raise InputError(f"Model '{quoted(name)}' is unknown: use one of {', '.join(MODELS)}.")
    return MODELS[name]


# --- models of one's own -------------------------------------------------------------------------------------------


def _own_classifier(
    given, named: tuple[str, str], weights, labels, preprocess, outputs, output, code, resize, interpolation, size
) -> Classifier:
    """Return a classifier out of a keras.Model or of what names one; `named` is its key and its name for people."""
    from ..classifier import Classifier, prepare_device
    from . import adapt, scaling, sources

    prepare_device()
    resizing, size = Resizing.of(resize, interpolation), size_of(size)
    with sources.known_classes(code):
        found = (
            sources.find_source(given, weights) if isinstance(given, str) else sources.Source(given, "your own model")
        )
        model = adapt.one_output(found.model, output)
        labels = found.labels if labels is None else labels
        adapted = adapt.adapt(model, labels is not None, outputs, size)
    if labels is None and not adapted.outputs.are_probabilities:
        labels = [adapted.outputs.quantity]
    names = read_labels(labels, adapted.classes)
    scale = scaling.find_preprocess(
        found.preprocess if preprocess is None else preprocess, adapted.channels, adapted.preprocess
    )
    sample = np.random.default_rng(0).integers(0, 256, (*adapted.input_size, adapted.channels)).astype(np.float32)
    adapt.check_answers(model, adapted, scaling.checked(scale, sample))
    spec = ModelSpec(
        key=named[0],
        name=named[1],
        build=lambda _: adapted.model,
        preprocess=scale,
        target_layers=adapted.target_layers,
        weights=None,
        zero=scaling.zero_in_words(scale, adapted.channels),
        inputs=scaling.inputs_in_words(scale, adapted.channels),
        source=found.origin,
        input_size=adapted.input_size,
        resizing=resizing.check(adapted.input_size),
        channels=adapted.channels,
        labels=lambda: names,
        outputs=adapted.outputs,
    )
    return Classifier(adapted.model, spec)


def name_of(source: str) -> str:
    """Return a source's name for people: a file's name without its ending, "owner/name", or the network's."""
    return (
        source.removeprefix("hf://").partition("@")[0] if source.startswith("hf://") else Path(source).stem or "model"
    )


def key_of(source: str) -> str:
    """Return a source's name as a key: letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name_of(source).rpartition("/")[2]).strip("_") or "model"


def register(source: str, labels: str | None = None, preprocess: str | None = None, **options: str | None) -> str:
    """Put a model of the operator's into MODELS, after earlier ones and before all others; return its key. Arguments as
    for `load`; a key of MODELS moves to the front. Reads nothing: `load` of the key does, once, and completes the
    entry. InputError for a resizing or a size that no model has."""
    given = OperatorModel(source, labels, preprocess, **options)
    resizing = Resizing.of(given.resize, given.interpolation)
    size_of(given.size)
    for known in MODELS.values():  # app.py is run again when `gradio app.py` reloads it
        if known.operator_model == given:
            return known.key
    if source in MODELS and replace(given, resize=None, interpolation=None) == OperatorModel(source):
        spec = MODELS[source]
        spec = replace(spec, first=True, resizing=resizing.check(spec.input_size))
    else:
        base = key = key_of(source)
        number = 1
        while key in MODELS or key == "auto":  # "auto" is the API's word for the first that is ready
            number += 1
            key = f"{base}_{number}"
        spec = ModelSpec(
            key=key,
            name=name_of(source) if key == base else f"{name_of(source)} ({number})",
            build=_not_loaded,
            preprocess=_not_loaded,
            target_layers=(),
            weights=None,
            zero="",
            source="named by the operator of this server",
            operator_model=given,
            first=True,
        )
    MODELS[spec.key] = spec
    for key in [key for key, each in MODELS.items() if not each.first]:
        MODELS.move_to_end(key)
    return spec.key


def _not_loaded(_):
    raise InputError("The model is not loaded yet: `load` completes its entry of MODELS.")
