"""Read a model file: .keras, .h5, or a folder as Keras saves one to the Hub.

Keras's safe mode stays on, since a file from elsewhere may hold code. Refuses in one sentence that names no path: what
Keras itself raises holds paths and whole configurations, so that reasons are read from the file's configuration.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from inspect import getmodule
from pathlib import Path

import h5py
import keras

from ..errors import InputError, quoted
from .keras2 import cleaned, keras2_hard_sigmoid

SUFFIXES = (".keras", ".h5", ".hdf5")
DAMAGED = "The model file is damaged or cut short, or holds no Keras model: save the whole model again."


def from_file(path: Path) -> keras.Model:
    """Return the model of a .keras or .h5 file; InputError for any other file and for what cannot be read."""
    if path.is_dir() and (path / "saved_model.pb").is_file():
        raise InputError(
            "The model is a folder in TensorFlow's SavedModel format, which has no layers to explain: load it where it "
            "was made, with TensorFlow 2.15 or older, and save it by model.save('name.h5')."
        )
    if not path.is_file():
        raise InputError("There is no model file of this name: give the path of a .keras or .h5 file.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError("The model file has another ending than .keras or .h5: give a file as Keras saves it.")
    if path.name.lower().endswith((".weights.h5", ".weights.hdf5")):
        raise InputError("The file holds weights without a model: save the whole model, by model.save('name.keras').")
    if suffix == ".keras" and not zipfile.is_zipfile(path):
        raise InputError("The model file is damaged or cut short, or it is no .keras file: save the model again.")
    if suffix == path.suffix:
        return loaded(path)
    with tempfile.TemporaryDirectory() as folder:  # Keras knows the endings in small letters alone
        return loaded(Path(shutil.copyfile(path, Path(folder, f"model{suffix}"))))


def loaded(path: Path) -> keras.Model:
    """Return what Keras makes of a file or folder; InputError with the reason when it makes nothing of it."""
    config, version = _configuration(path)
    if any(each["class_name"] in ("Lambda", "__lambda__") for each in _parts(config)):
        raise InputError(
            "The model has a Lambda layer, which is code inside the file and is not run: replace it by a layer of "
            "Keras or by an operation of keras.ops, and save the model again."
        )
    try:
        readable = cleaned(config, version)
        with tempfile.TemporaryDirectory() as folder:
            if readable != config:
                path = _rewritten(path, readable, Path(folder))
            model = keras.saving.load_model(path, _keras_own(), compile=False, safe_mode=True)
    except InputError:
        raise
    except Exception as error:  # what Keras, zipfile, JSON, HDF5 and a layer's own code raise has no common type
        raise InputError(_reason(error, config, version)) from error
    if not isinstance(model, keras.Model):
        raise InputError(f"The file holds a {type(model).__name__} and no Keras model: save the whole model.")
    _finalize(model)
    return model


def _configuration(path: Path) -> tuple[dict, str]:
    """Return the configuration of the model in a file or folder, and the version of Keras that wrote it, "" for an
    unknown one; InputError for a file without a model."""
    version = ""
    try:
        if path.is_dir():
            text = (path / "config.json").read_text(encoding="utf-8")
        elif path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                text = archive.read("config.json").decode()
                version = json.loads(archive.read("metadata.json"))["keras_version"]
        else:
            with h5py.File(path) as file:
                text, version = file.attrs["model_config"], file.attrs.get("keras_version", b"")
        config = json.loads(text)
    except (OSError, KeyError, EOFError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise InputError(DAMAGED) from error
    if not isinstance(config, dict):
        raise InputError(DAMAGED)
    return config, version.decode() if isinstance(version, bytes) else str(version)


def _rewritten(path: Path, config: dict, folder: Path) -> Path:
    """Return the path of a copy, in `folder`, of a model file with another configuration."""
    if path.is_dir():
        shutil.copytree(path, folder / "model")
        (folder / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder / "model"
    copy = folder / f"model{path.suffix}"
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as given, zipfile.ZipFile(copy, "w") as made:
            for name in given.namelist():
                made.writestr(name, json.dumps(config) if name == "config.json" else given.read(name))
        return copy
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    return copy


def _parts(config) -> Iterator[dict]:
    """Yield every part of a configuration that names a class: the model, its layers, their initializers and so on."""
    if isinstance(config, dict) and isinstance(config.get("class_name"), str):
        yield config
    for each in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _parts(each)


def _keras_own() -> dict:
    """Return what Keras's networks and TensorFlow's functions are called in files, and Keras cannot find by itself."""
    return {
        # Not exported by Keras; tests/models/test_files.py notices when it moves.
        "LayerScale": getmodule(keras.applications.ConvNeXtTiny).LayerScale,  # type: ignore[union-attr]
        "softmax_v2": keras.activations.softmax,
        "log_softmax_v2": keras.activations.log_softmax,
        keras2_hard_sigmoid.__name__: keras2_hard_sigmoid,
    }


def _finalize(model) -> None:
    """Let every Normalization compute what it makes of its weights: Keras forgets those of nested models in .h5."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
        elif isinstance(layer, keras.Model):
            _finalize(layer)


def _reason(error: Exception, config: dict, version: str) -> str:
    """Return one sentence for what `keras.saving.load_model` raised."""
    foreign = [name for each in _parts(config) if (name := _foreign(each))]
    if foreign:
        return (
            f"The model needs a class that is not Keras's own ({foreign[0]}): give the Python file that defines it "
            "(--code, or code of camkit.load), or build the model of Keras's layers."
        )
    if isinstance(error, zipfile.BadZipFile | OSError | EOFError):
        return DAMAGED
    if version.startswith("2."):
        return (
            f"Keras {keras.__version__} cannot read this model of Keras {quoted(version)} ({type(error).__name__}): "
            "build it anew with TensorFlow 2.16 or newer, give it the weights of an .h5 file by load_weights, and save "
            "it as .keras."
        )
    return (
        f"Keras {keras.__version__} cannot load the model ({type(error).__name__}): it is damaged, or was saved by "
        "another version; load it where it was made and save it again as .keras."
    )


def _foreign(part: dict) -> str | None:
    """Return the name of the class or function that a part of a configuration needs and that is not Keras's; None for
    what Keras has, or was told of."""
    name = part["config"] if part["class_name"] == "function" else part["class_name"]
    if (
        not isinstance(name, str)
        or name.startswith("__")
        or name.endswith("OpLambda")  # TensorFlow's operations in Keras 2, which cleaned() answers for
        or str(part.get("module") or "keras").split(".")[0] == "keras"
        and "module" in part
    ):
        return None
    known = (keras, keras.layers, keras.activations, keras.initializers, keras.regularizers, keras.constraints)
    if name == "Functional" or any(hasattr(each, name) for each in known) or name in _keras_own():
        return None
    return None if keras.saving.get_registered_object(part.get("registered_name") or name) else name
