"""From a map to something to look at or to keep: heatmap, overlay, masked picture, and the downloadable bundle.

Pictures are (H, W, 3) uint8 RGB, maps (h, w) float32 in [0, 1] of any size: a map is brought onto the picture's own size
and aspect ratio. NumPy, Pillow and plotly's colour scales only; knows neither models nor methods.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from .explain import Explanation

# plotly's scales by our key. The first is the default: even steps of lightness, readable without colour vision.
COLORMAPS = {"viridis": "Viridis", "turbo": "Turbo", "cividis": "Cividis", "inferno": "Inferno", "jet": "Jet"}
DIFFERENCE = "PuOr_r"  # from one hue to another through white; told apart without colour vision
ALPHA = 0.55


def colors(colormap: str) -> np.ndarray:
    """(256, 3) uint8 RGB table of a colour map; ValueError for an unknown one."""
    if colormap not in COLORMAPS:
        raise ValueError(f"Colour map '{colormap}' is unknown: use one of {', '.join(COLORMAPS)}.")
    return _table(COLORMAPS[colormap])


def tables() -> dict[str, str]:
    """Every colour table as base64 of its 768 bytes, and "difference" (128 is zero), for `browser/panels.js`."""
    scales = COLORMAPS | {"difference": DIFFERENCE}
    return {key: base64.b64encode(_table(scale).tobytes()).decode() for key, scale in scales.items()}


@cache
def _table(scale: str) -> np.ndarray:
    from plotly.colors import sample_colorscale, unlabel_rgb

    sampled = sample_colorscale(scale, np.linspace(0, 1, 256))
    return np.rint([unlabel_rgb(color) for color in sampled]).astype(np.uint8)


def fit(cam_map: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The map at the picture's size, (H, W) float32 in [0, 1]: bilinear with half-pixel centres, the way back from how the
    picture was resized for the model."""
    height, width = image.shape[:2]
    resized = Image.fromarray(cam_map.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized), 0, 1)


def heatmap(cam_map: np.ndarray, colormap: str = "viridis") -> np.ndarray:
    """(h, w) map -> (h, w, 3) uint8 RGB in the colours of `colormap`."""
    return colors(colormap)[grey(cam_map)]


def overlay(image: np.ndarray, cam_map: np.ndarray, alpha: float = ALPHA, colormap: str = "viridis") -> np.ndarray:
    """The heatmap over the picture, (H, W, 3) uint8: `alpha` in [0, 1] is the heatmap's weight. ValueError outside."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}: it must be a number from 0 (picture only) to 1 (heatmap only).")
    colored = heatmap(fit(cam_map, image), colormap)
    return np.uint8(np.rint(image * (1.0 - alpha) + colored * float(alpha)))


def masked_picture(image: np.ndarray, cam_map: np.ndarray) -> np.ndarray:
    """The picture seen through the map, (H, W, 3) uint8: black where the map is 0."""
    return np.uint8(np.rint(image * fit(cam_map, image)[..., None]))


def encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    """(H, W, 3) or (H, W) uint8 -> the bytes of a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def data_url(image: np.ndarray, kind: str = "PNG", **options) -> str:
    """(H, W, 3) or (H, W) uint8 -> a data URL that a page can show."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encode(image, kind, **options)).decode()}"


def grey(cam_map: np.ndarray) -> np.ndarray:
    """(h, w) map in [0, 1] -> (h, w) uint8."""
    return np.uint8(np.rint(cam_map * 255))


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


def write_bundle(path: str | Path | BinaryIO, explanation: Explanation, alpha: float = ALPHA, colormap: str = "viridis",
                 versions: Mapping[str, str] | None = None, extra: Mapping[str, bytes] | None = None) -> None:
    """Writes one zip to a path or binary file: picture and overlays (PNG), raw and expanded maps (NPZ), settings, class, probabilities, costs and
    library `versions` (JSON), and any `extra` files by name. `load_bundle` reads it back."""
    settings = facts(explanation) | {"alpha": alpha, "colormap": colormap, "versions": dict(versions or {})}
    files = {"explanation.json": json.dumps(settings, indent=1).encode(), "maps.npz": maps_npz(explanation),
             "picture.png": encode(explanation.image)}
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
        cams = {key: Cam(**_fields(Cam, cam) | {"raw": arrays[f"raw_{key}"], "map": arrays[f"map_{key}"]})
                for key, cam in settings["cams"].items()}
        predictions = tuple(Prediction(**row) for row in settings["predictions"])
        fields = {"image": image, "cams": cams, "predictions": predictions, "methods": tuple(settings["methods"])}
        return Explanation(**_fields(Explanation, settings) | fields)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError("The file is not a bundle of this demo: it must be the zip that 'Download' gives.") from error


def _fields(kind, values: Mapping) -> dict:
    return {name: values[name] for name in kind.__dataclass_fields__ if name in values}
