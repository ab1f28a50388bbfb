"""The MODELS registry, `load`, and `register` for the models that a server's operator names.

TensorFlow is imported by the first load, not before. MODELS and what is loaded are the state of this process:
`register` alone adds an entry, and an operator's entry is completed when its model is loaded.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, WeightsError, quoted
from ..labels import Labels, imagenet, read_labels
from .weights import VGG16_WEIGHTS, WeightsFile

if TYPE_CHECKING:
    import keras

    from ..classifier import Classifier

logger = logging.getLogger(__name__)


@dataclass
class OwnModel:
    """A model that the operator names: `source`, `labels` and `preprocess` as for `load`, and what became of it.

    status: "loading", "ready" or "failed"; message: for "failed" why, in one sentence that names no path.
    """

    source: str
    labels: str | None = None
    preprocess: str | None = None
    status: str = "loading"
    message: str = ""
    classifier: Classifier | None = None
    settled: threading.Event = field(default_factory=threading.Event)
    loading: threading.Lock = field(default_factory=threading.Lock)

    @property
    def given(self) -> tuple:
        return self.source, self.labels, self.preprocess


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One entry of MODELS.

    build: weights file or None -> a Keras model that ends in logits.
    preprocess: (h, w, channels) float32 RGB or grey in [0, 255] -> the model's inputs, a new array.
    target_layers: the layers whose activations can be explained, in network order, the default last.
    weights: where the weights file comes from; None for bundled models and the operator's.
    zero: what a preprocessed value of zero looks like, in words. inputs: what the model is fed, such as "0 to 255".
    input_size: (height, width). channels: 3, or 1 for grey. labels: gives the class names.
    own: for a model that the operator names; until it is loaded it has no target layers, and ImageNet's labels.
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
    channels: int = 3
    labels: Callable[[], Labels] = imagenet
    own: OwnModel | None = None


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


MODELS: dict[str, ModelSpec] = {
    spec.key: spec
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
}

_loaded: dict[tuple[str, Path | None], Classifier] = {}
_loading = threading.Lock()  # for `_loaded`


def load(name, labels=None, preprocess=None, *, weights: str | os.PathLike | None = None) -> Classifier:
    """The classifier `name`: a key of MODELS, or a model of your own.

    Of MODELS there is one object per model and weights file, however often it is asked for. `weights` is a path; None
    finds the file or, failing that, downloads it (`camkit.weights`); bundled models need none and never touch a
    network.

    A model of your own is the path of a .keras or .h5 file, "hf://owner/name", a network of keras.applications
    ("ResNet50"), or a keras.Model, which stays as it is: any image classifier of one input (h, w, 1 or 3), where None
    becomes 224, and one output: softmax, logits, or one sigmoid unit for two classes.
        labels: whatever `camkit.labels.read_labels` reads (a list, a text, CSV or JSON file, Keras's class_indices, a
            folder of classes), or "imagenet"; None takes a repository's labels.txt or labels.json, else gives "class 0"
            and so on.
        preprocess: "none" (0 to 255), "unit" (0 to 1), "tf" (-1 to 1), "torch", "caffe", or a function of an (h, w,
            channels) float32 picture in [0, 255]. None is allowed where the constants of the model's own scaling decide
            (Rescaling, Normalization, arithmetic), and for keras.applications.
    Each call reads it anew.

    Raises InputError for an unknown name and for what cannot be explained, WeightsError when there are no usable
    weights.
    """
    if not isinstance(name, str | os.PathLike):
        return _own_classifier(name, labels, preprocess, None, ("model", "Your model"))
    if str(name) not in MODELS:
        return _own_classifier(str(name), labels, preprocess, weights, (key_of(str(name)), name_of(str(name))))
    if labels is not None or preprocess is not None:
        raise InputError(
            f"{MODELS[str(name)].name} has labels and preprocessing of its own: give them for other models."
        )
    spec = MODELS[str(name)]
    return _load_own(spec) if spec.own else _load_ours(spec, weights)


def _load_ours(spec: ModelSpec, weights: str | os.PathLike | None) -> Classifier:
    from ..classifier import Classifier, prepare_device

    path = Path(weights) if weights is not None else None
    if spec.weights is not None:
        path = spec.weights.obtain(path)
    key = (spec.key, path and path.resolve())
    with _loading:
        if key not in _loaded:
            prepare_device()
            try:
                _loaded[key] = Classifier(spec.build(path), spec)
            except WeightsError as error:
                if spec.weights is not None and path is not None:
                    spec.weights.refuse(path, str(error))
                raise
        return _loaded[key]


def is_loaded(name: str) -> bool:
    """True once `load` has made this classifier, so that its weights are known to be usable."""
    return any(model == name for model, _ in list(_loaded))


def check_model(name: str) -> ModelSpec:
    """The registry entry; InputError for an unknown key."""
    if name not in MODELS:
        raise InputError(f"Model '{quoted(name)}' is unknown: use one of {', '.join(MODELS)}.")
    return MODELS[name]


# What the command lines say of `load`'s arguments.
HELP = {
    "model": f"{', '.join(MODELS)}, the path of a .keras or .h5 file, hf://owner/name, or a network of "
    "keras.applications such as ResNet50",
    "labels": "its class names: a text or CSV file with one a line, a JSON list or object of index to name or name to "
    "index, a folder with a folder for each class, or 'imagenet'; default: the repository's labels.txt or labels.json, "
    "else class 0, class 1 and so on",
    "preprocess": "what its inputs are: none (0 to 255), unit (0 to 1), tf (-1 to 1), torch or caffe; needed unless "
    "its own scaling layers decide",
}


# --- models that somebody brings -----------------------------------------------------------------------------------


def _own_classifier(given, labels, preprocess, weights, named: tuple[str, str]) -> Classifier:
    """A classifier out of a keras.Model or of what names one; `named` is its key and its name for people."""
    from ..classifier import Classifier, prepare_device
    from . import adapt, scaling, sources

    prepare_device()
    found = sources.find_source(given, weights) if isinstance(given, str) else sources.Source(given, "your own model")
    labels = found.labels if labels is None else labels
    adapted = adapt.adapt(found.model, two_labels=labels is not None)
    names = read_labels(labels, adapted.classes)
    scale = scaling.find_preprocess(
        found.preprocess if preprocess is None else preprocess, adapted.channels, adapted.preprocess
    )
    sample = np.random.default_rng(0).integers(0, 256, (*adapted.input_size, adapted.channels)).astype(np.float32)
    adapt.check_answers(found.model, adapted, scaling.checked(scale, sample))
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
        channels=adapted.channels,
        labels=lambda: names,
    )
    return Classifier(adapted.model, spec)


def name_of(source: str) -> str:
    """What people call the model of a source: a file's name without its ending, "owner/name", or the network's."""
    return (
        source.removeprefix("hf://").partition("@")[0] if source.startswith("hf://") else Path(source).stem or "model"
    )


def key_of(source: str) -> str:
    """The same as a key: letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name_of(source).rpartition("/")[2]).strip("_") or "model"


_operators: list[str] = []  # keys that `register` was given, in order: they stand before the others in MODELS


def register(source: str, labels: str | None = None, preprocess: str | None = None) -> str:
    """Puts a model of the operator's into MODELS, after earlier ones and before all others; returns its key. Arguments
    as for `load`; a key of MODELS moves to the front. Reads nothing: `load` of the key does, once, and what goes wrong
    is told by its `own`."""
    if source in MODELS and labels is None and preprocess is None:
        key, spec = source, MODELS[source]
    else:
        for known in MODELS.values():  # app.py is run again when `gradio app.py` reloads it
            if known.own is not None and known.own.given == (source, labels, preprocess):
                return known.key
        base = key = key_of(source)
        number = 1
        while key in MODELS or key == "auto":  # "auto" is the API's word for the first that is ready
            number += 1
            key = f"{base}_{number}"
        own = OwnModel(source, labels, preprocess)
        name = name_of(source) if key == base else f"{name_of(source)} ({number})"
        spec = ModelSpec(
            key=key,
            name=name,
            build=lambda _: load(key).model,
            preprocess=lambda image: load(key).spec.preprocess(image),
            target_layers=(),
            weights=None,
            zero="",
            source="named by the operator of this server",
            own=own,
        )
    if key not in _operators:
        _operators.append(key)
    others = {other: MODELS[other] for other in MODELS if other not in _operators}
    firsts = {first: MODELS.get(first, spec) for first in _operators}
    MODELS.clear()
    MODELS.update(firsts | others)
    return key


def _load_own(spec: ModelSpec) -> Classifier:
    """The operator's model, read once: a failure is final, so that no visitor makes the server try again and again."""
    own = spec.own
    assert own is not None
    with own.loading:
        if own.classifier is None and own.status != "failed":
            try:
                classifier = _own_classifier(own.source, own.labels, own.preprocess, None, (spec.key, spec.name))
                classifier.spec = replace(classifier.spec, own=own)
                MODELS[spec.key] = classifier.spec
                own.classifier, own.status = classifier, "ready"
            except (InputError, WeightsError) as error:
                own.status, own.message = "failed", str(error)
            except Exception:  # a file can go wrong in ways that nobody foresaw, and the server must go on
                own.status, own.message = (
                    "failed",
                    "The model cannot be used, for a reason that is in the server's log.",
                )
                logger.exception("%s", own.message)
            finally:
                own.settled.set()
        if own.classifier is None:
            raise InputError(f"{spec.name} cannot be used. {own.message}")
        return own.classifier
