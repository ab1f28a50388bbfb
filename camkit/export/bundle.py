"""The zip with everything in an explanation, out and in: picture, overlays, maps, and the rest as JSON."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ..errors import InputError
from ..explanation import Cam, Explanation, Prediction
from ..maps import ALPHA, box_of, encode, overlay
from ..methods import METHODS
from ..passes.placement import Placement

# What may be in the zip, and what it is.
CONTENTS = {
    "picture.png": "the picture as the page showed it",
    "overlays/": "the map of each method over the picture",
    "figures/": "picture and maps as a strip (PNG, PDF) and as a 16:9 slide",
    "data/explanation.json": "class, probabilities, settings, costs, boxes, versions",
    "data/maps.npz": "the maps as numbers: raw_METHOD at the layer's resolution, map_METHOD from 0 to 1",
    "data/faithfulness.csv": "how far each map can be believed",
}


def maps_npz(explanation: Explanation) -> bytes:
    """Return the bytes of an NPZ file with `raw_<method>` and `map_<method>` for every map of the explanation.

    It is not compressed: that would take longer than an explanation by the gradient, and save a tenth."""
    buffer = io.BytesIO()
    arrays = {f"{kind}_{key}": getattr(cam, kind) for key, cam in explanation.cams.items() for kind in ("raw", "map")}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def explanation_files(
    explanation: Explanation,
    alpha: float = ALPHA,
    colormap: str = "viridis",
    opacity: str = "even",
    versions: Mapping[str, str] | None = None,
    drawn: Mapping[str, bytes] | None = None,
    window: str = "",
) -> dict[str, bytes]:
    """Return the files of an explanation by name: `explanation.json` (settings, class, probabilities, costs, boxes and
    library `versions`), `maps.npz`, and an `overlay_<method>.png` for each map. Arguments as for `write_bundle`."""
    settings = explanation.to_json() | {"alpha": alpha, "colormap": colormap, "opacity": opacity}
    settings |= {"versions": dict(versions or {}), "window": window}
    for key, cam in explanation.cams.items():
        settings["cams"][key]["box"] = box_of(cam)
    files = {"explanation.json": json.dumps(settings, indent=1).encode(), "maps.npz": maps_npz(explanation)}
    for key, cam in explanation.cams.items():
        known = (drawn or {}).get(key)
        files[f"overlay_{key}.png"] = known or encode(overlay(explanation.image, cam, alpha, colormap, opacity))
    return files


def write_bundle(
    path: str | Path | BinaryIO,
    explanation: Explanation,
    alpha: float = ALPHA,
    colormap: str = "viridis",
    versions: Mapping[str, str] | None = None,
    extra: Mapping[str, bytes] | None = None,
    opacity: str = "even",
    drawn: Mapping[str, bytes] | None = None,
    window: str = "",
    model_name: str = "",
) -> None:
    """Write one zip to a path or binary file: a README, the picture, `overlays/` (PNG, by the methods' names), `data/`
    with raw and expanded maps (NPZ) and settings, class, probabilities, costs and library `versions` (JSON), and any
    `extra` files by name, such as those of `figure_files`.
    `alpha`, `colormap` and `opacity` are those of `overlay`; `drawn`: overlays by method that are PNG files already;
    `window`: in words the window of a grey picture of more than 8 bits, as `Window.sentence` says it;
    `model_name`: the model's for the README. `load_bundle` reads it back."""
    files = {"picture.png": encode(explanation.image)}
    names = {f"overlay_{key}.png": f"overlays/{METHODS[key].name}.png" for key in explanation.cams}
    for name, data in explanation_files(explanation, alpha, colormap, opacity, versions, drawn, window).items():
        files[names.get(name, f"data/{name}")] = data
    files |= extra or {}
    files = {"README.txt": _readme(explanation, model_name, files).encode(), **files}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNG and NPZ are compressed already
        for name, data in files.items():
            archive.writestr(name, data)


def load_bundle(path: str | Path | BinaryIO) -> Explanation:
    """Return the Explanation in a zip that the demo or `write_bundle` made; InputError when the file is not one.

    >>> import io, camkit
    >>> classifier, image = camkit.load("efficientnet_lite0"), camkit.open_picture("examples/chelsea.jpg")
    >>> camkit.write_bundle(file := io.BytesIO(), camkit.explain(classifier, image, ["gradcam"]))
    >>> camkit.load_bundle(file).class_name
    'Egyptian cat'
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Bundles of earlier versions have no folders.
            folder = "data/" if "data/explanation.json" in archive.namelist() else ""
            settings = json.loads(archive.read(f"{folder}explanation.json"))
            image = np.array(Image.open(io.BytesIO(archive.read("picture.png"))).convert("RGB"))
            with np.load(io.BytesIO(archive.read(f"{folder}maps.npz")), allow_pickle=False) as maps:
                arrays = dict(maps)
        boxes = settings.get("placement", {})  # bundles of earlier versions have none
        about = {"placement": Placement(**{name: tuple(box) for name, box in boxes.items()})}
        sized = about | {"image_size": image.shape[1::-1]}
        cams = {
            key: Cam(**_fields(Cam, cam) | sized | {"raw": arrays[f"raw_{key}"], "map": arrays[f"map_{key}"]})
            for key, cam in settings["cams"].items()
        }
        predictions = tuple(Prediction(**row) for row in settings["predictions"])
        fields = {"image": image, "cams": cams, "predictions": predictions, "methods": tuple(settings["methods"])}
        return Explanation(**_fields(Explanation, settings) | fields | about)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            "The file is not a bundle of this demo: it must be the zip that 'Save all (zip)' gives."
        ) from error


def _readme(explanation: Explanation, model_name: str, names: Iterable[str]) -> str:
    """Return the README of a zip that holds the files of these names."""
    methods = ", ".join(METHODS[key].name for key in explanation.cams)
    there = {name for path in names for name in (path, path.partition("/")[0] + "/")}
    files = "".join(f"{name:<24}{words}\n" for name, words in CONTENTS.items() if name in there)
    return (
        f"What {model_name or explanation.model} looked at for {explanation.class_name} "
        f"({explanation.answer_in_words}), at layer {explanation.target_layer}, by {methods}.\n\n{files}\n"
        'In Python, camkit.load_bundle("this.zip") gives the explanation back.\n'
    )


def _fields(kind, values: Mapping) -> dict:
    return {name: values[name] for name in kind.__dataclass_fields__ if name in values}
