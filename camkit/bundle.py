"""The zip with everything in an explanation, out and in."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from .explain import Explanation
from .maps import ALPHA, encode, fit, overlay


def masked_picture(image: np.ndarray, cam_map: np.ndarray) -> np.ndarray:
    """The picture seen through the map, (H, W, 3) uint8: black where the map is 0."""
    return np.uint8(np.rint(image * fit(cam_map, image)[..., None]))


def metrics_csv(results: Mapping, cams: Mapping) -> bytes:
    """A row for each method and control: every metric, and the costs where there are any."""
    costs = ("seconds", "forward_passes", "backward_passes")
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["key", *next(iter(results.values())).metrics, *costs])
    for key, result in results.items():
        cost = [getattr(cams[key], name) for name in costs] if key in cams else [""] * len(costs)
        writer.writerow([key, *("" if value is None else value for value in result.metrics.values()), *cost])
    return buffer.getvalue().encode()


def maps_npz(explanation: Explanation) -> bytes:
    """The bytes of an NPZ file with `raw_<method>` and `map_<method>` for every map of the explanation."""
    buffer = io.BytesIO()
    arrays = {f"{kind}_{key}": getattr(cam, kind) for key, cam in explanation.cams.items() for kind in ("raw", "map")}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def facts(explanation: Explanation) -> dict:
    """Everything in an explanation that is not a picture or a map, as JSON can hold it."""
    bare = replace(explanation, image=None, cams={})
    return {
        **asdict(bare),
        "complete": explanation.complete,
        "image_size": [explanation.image.shape[1], explanation.image.shape[0]],
        "cams": {key: cam_facts(cam) for key, cam in explanation.cams.items()},
    }


def cam_facts(cam) -> dict:
    """One method's measured costs and state, as JSON can hold them."""
    return {**asdict(replace(cam, raw=None, map=None)), "all_zero": cam.all_zero, "raw_shape": list(cam.raw.shape)}


def write_bundle(
    path: str | Path | BinaryIO,
    explanation: Explanation,
    alpha: float = ALPHA,
    colormap: str = "viridis",
    versions: Mapping[str, str] | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> None:
    """Writes one zip to a path or binary file: picture and overlays (PNG), raw and expanded maps (NPZ), settings, class, probabilities, costs and
    library `versions` (JSON), and any `extra` files by name. `load_bundle` reads it back."""
    settings = facts(explanation) | {"alpha": alpha, "colormap": colormap, "versions": dict(versions or {})}
    files = {
        "explanation.json": json.dumps(settings, indent=1).encode(),
        "maps.npz": maps_npz(explanation),
        "picture.png": encode(explanation.image),
    }
    for key, cam in explanation.cams.items():
        files[f"overlay_{key}.png"] = encode(overlay(explanation.image, cam.map, alpha, colormap))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNG and NPZ are compressed already
        for name, data in {**files, **(extra or {})}.items():
            archive.writestr(name, data)


def load_bundle(path: str | Path | BinaryIO) -> Explanation:
    """The Explanation in a zip that the demo or `write_bundle` made. ValueError when the file is not one."""
    from .explain import Cam, Explanation, Prediction

    try:
        with zipfile.ZipFile(path) as archive:
            settings = json.loads(archive.read("explanation.json"))
            image = np.array(Image.open(io.BytesIO(archive.read("picture.png"))).convert("RGB"))
            with np.load(io.BytesIO(archive.read("maps.npz")), allow_pickle=False) as maps:
                arrays = dict(maps)
        cams = {
            key: Cam(**_fields(Cam, cam) | {"raw": arrays[f"raw_{key}"], "map": arrays[f"map_{key}"]})
            for key, cam in settings["cams"].items()
        }
        predictions = tuple(Prediction(**row) for row in settings["predictions"])
        fields = {"image": image, "cams": cams, "predictions": predictions, "methods": tuple(settings["methods"])}
        return Explanation(**_fields(Explanation, settings) | fields)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError("The file is not a bundle of this demo: it must be the zip that 'Download' gives.") from error


def _fields(kind, values: Mapping) -> dict:
    return {name: values[name] for name in kind.__dataclass_fields__ if name in values}
