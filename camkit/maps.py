"""Colours of maps: heatmap, overlay, and pictures as bytes.

Pictures are (H, W, 3) uint8 RGB, maps (h, w) float32 in [0, 1] of any size: a map is brought onto the picture's own
size and aspect ratio. Knows neither models nor methods.
"""

from __future__ import annotations

import base64
import io
import zlib
from functools import cache

import numpy as np
from PIL import Image

from .errors import InputError, quoted

# plotly's scales by our key. The first is the default: even steps of lightness, readable without colour vision.
COLORMAPS = {"viridis": "Viridis", "turbo": "Turbo", "cividis": "Cividis", "inferno": "Inferno", "jet": "Jet"}
DIFFERENCE = "PuOr_r"  # from one hue to another through white; told apart without colour vision
ALPHA = 0.55
# How much of the heatmap a pixel of the overlay gets, by our key.
OPACITIES = {"even": "alpha everywhere", "map": "alpha times the map"}


def colors(colormap: str) -> np.ndarray:
    """(256, 3) uint8 RGB table of a colour map; InputError for an unknown one."""
    if colormap not in COLORMAPS:
        raise InputError(f"Colour map '{quoted(colormap)}' is unknown: use one of {', '.join(COLORMAPS)}.")
    return _table(COLORMAPS[colormap])


def tables() -> dict[str, str]:
    """Return every colour table as base64 of its 768 bytes, and "difference" (128 is zero), for `web/panels.js`."""
    scales = COLORMAPS | {"difference": DIFFERENCE}
    return {key: base64.b64encode(_table(scale).tobytes()).decode() for key, scale in scales.items()}


@cache
def _table(scale: str) -> np.ndarray:
    from plotly.colors import sample_colorscale, unlabel_rgb

    sampled = sample_colorscale(scale, np.linspace(0, 1, 256))
    return np.rint([unlabel_rgb(color) for color in sampled]).astype(np.uint8)


def fit(cam_map: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return a map (h, w) at the size of a picture, (H, W) float32 in [0, 1]: bilinear with half-pixel centres, the way
    back from how the picture was resized for the model."""
    height, width = image.shape[:2]
    resized = Image.fromarray(cam_map.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized), 0, 1)


def heatmap(cam_map: np.ndarray, colormap: str = "viridis") -> np.ndarray:
    """Return a map (h, w) in [0, 1] as (h, w, 3) uint8 RGB in the colours of `colormap`, a key of COLORMAPS."""
    return np.take(colors(colormap), grey(cam_map), axis=0, mode="clip")  # a quarter of the time of indexing


def check_look(alpha: float = ALPHA, colormap: str = "viridis", opacity: str = "even") -> None:
    """Raise InputError for arguments that `overlay` does not take."""
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {quoted(alpha)}: it must be a number from 0 (picture only) to 1 (heatmap only).")
    if opacity not in OPACITIES:
        raise InputError(f"Opacity '{quoted(opacity)}' is unknown: use one of {', '.join(OPACITIES)}.")
    colors(colormap)


def overlay(
    image: np.ndarray, cam_map: np.ndarray, alpha: float = ALPHA, colormap: str = "viridis", opacity: str = "even"
) -> np.ndarray:
    """Return the heatmap over the picture, (H, W, 3) uint8 RGB.

    image: (H, W, 3) uint8 RGB. cam_map: (h, w) in [0, 1], of any size. alpha: the heatmap's weight, 0 to 1. colormap: a
    key of COLORMAPS. opacity: "even" gives every pixel that weight; "map" gives it times the map, so that the picture
    keeps its colours where the map is low. Raises InputError for other values.

    >>> import camkit, numpy as np
    >>> image, cam_map = np.zeros((2, 4, 3), np.uint8), np.float32([[0, 1]])
    >>> camkit.overlay(image, cam_map, alpha=1.0)[0].tolist()
    [[68, 1, 84], [59, 81, 138], [95, 200, 97], [253, 231, 37]]
    """
    check_look(alpha, colormap, opacity)
    fitted = fit(cam_map, image)
    weight = float(alpha) * fitted[..., None] if opacity == "map" else float(alpha)
    blended = np.subtract(heatmap(fitted, colormap), image, dtype=np.float32)
    blended *= weight
    blended += image
    return np.rint(blended, out=blended).astype(np.uint8)


def encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    """Return the bytes of a picture file of (H, W, 3) or (H, W) uint8; `options`: Pillow's. A PNG is compressed by run
    lengths, a sixth of the time of Pillow's default at the same size."""
    if kind == "PNG":
        options = {"compress_level": 1, "compress_type": zlib.Z_RLE} | options
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def data_url(image: np.ndarray, kind: str = "PNG", **options) -> str:
    """Return (H, W, 3) or (H, W) uint8 as a data URL that a page can show; arguments are those of `encode`."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encode(image, kind, **options)).decode()}"


def jpeg_url(content: bytes) -> str:
    """Return the bytes of a JPEG file as a data URL that a page can show."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def grey(cam_map: np.ndarray) -> np.ndarray:
    """Return a map (h, w) in [0, 1] as (h, w) uint8, 0 to 255."""
    return np.rint(cam_map * 255).astype(np.uint8)
