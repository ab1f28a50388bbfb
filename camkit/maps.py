"""Maps as pictures: heatmap, overlay, the box of the largest region, and pictures as bytes.

Pictures are (H, W, 3) uint8 RGB, maps (h, w) float32 in [0, 1] of any size: a map is brought onto the part of the
picture that the model saw, in the picture's own size. Knows neither models nor methods.
"""

from __future__ import annotations

import base64
import io
import zlib
from functools import cache

import numpy as np
from PIL import Image

from .errors import InputError, quoted
from .explanation import Cam
from .passes.placement import WHOLE, Placement

# plotly's scales by our key. The first is the default: even steps of lightness, readable without colour vision.
COLORMAPS = {"viridis": "Viridis", "turbo": "Turbo", "cividis": "Cividis", "inferno": "Inferno", "jet": "Jet"}
DIFFERENCE = "PuOr_r"  # from one hue to another through white; told apart without colour vision
ALPHA = 0.55
BOX_THRESHOLD = 0.2  # of a map's maximum, Zhou et al. 2016
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


def box_of(cam: Cam | np.ndarray, threshold: float = BOX_THRESHOLD) -> tuple[int, int, int, int] | None:
    """Return the box around the largest connected region of a map at or above `threshold` times its maximum (Zhou et
    al. 2016, Learning Deep Features for Discriminative Localization); None for an all-zero map.

    cam: a Cam, or a map (h, w) in [0, 1]. threshold: above 0, at most 1. Returns left, top, right and bottom in pixels,
    right and bottom exclusive as Pillow's `crop` takes them: of the picture for a Cam, of the map itself for an array.
    Pixels that touch at a corner are connected; of regions of one size the upper one counts. Raises InputError for
    another threshold.

    >>> import camkit, numpy as np
    >>> camkit.box_of(np.float32([[0, 0.3, 1, 0], [0, 0, 0.5, 0], [0.9, 0, 0, 0]]))
    (1, 0, 3, 2)
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise InputError(f"The threshold is {quoted(threshold)}: it must be a number above 0 and at most 1.")
    down = across = 0
    if not isinstance(cam, Cam):
        cam_map = cam
    elif cam.image_size is None:
        cam_map = cam.placement.cut(cam.map)
    else:
        size = cam.image_size[1], cam.image_size[0]
        cam_map = cam.placement.fit(cam.map, size)
        down, across = (each.start for each in cam.placement.place(size))
    highest = cam_map.max()
    if not highest > 0:
        return None
    boxes, sizes = regions(cam_map >= threshold * highest)
    left, top, right, bottom = boxes[np.argmax(sizes)].tolist()
    return left + across, top + down, right + across, bottom + down


def regions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the connected regions of an (h, w) bool mask from the top: their boxes as (regions, 4) int64 (left, top,
    right, bottom in pixels, the last two exclusive), and their numbers of pixels."""
    from scipy.ndimage import find_objects  # here: it takes a moment to import, and few maps get a box

    labels = _labelled(mask)
    slices = [(across.start, down.start, across.stop, down.stop) for down, across in find_objects(labels)]
    return np.array(slices, np.int64).reshape(-1, 4), np.bincount(labels.ravel())[1:]


def largest_region(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected region of an (h, w) bool mask that has one, as (h, w) bool."""
    labels = _labelled(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _labelled(mask: np.ndarray) -> np.ndarray:
    """Return the number of the region of each pixel, from 1, (h, w) int; 0 outside. Pixels that touch at a corner are
    connected."""
    from scipy.ndimage import label  # as above

    return label(mask, structure=np.ones((3, 3)))[0]


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
    image: np.ndarray,
    cam_map: Cam | np.ndarray,
    alpha: float = ALPHA,
    colormap: str = "viridis",
    opacity: str = "even",
    placement: Placement = WHOLE,
) -> np.ndarray:
    """Return the heatmap over the picture, (H, W, 3) uint8 RGB.

    image: (H, W, 3) uint8 RGB. cam_map: a Cam, or a map (h, w) in [0, 1] of any size. alpha: the heatmap's weight, 0 to
    1. colormap: a key of COLORMAPS. opacity: "even" gives every pixel that weight; "map" gives it times the map, so
    that the picture keeps its colours where the map is low. placement: that of a map of a model that crops or pads; a
    Cam brings its own. What the model did not see of the picture stays as it is, and a border's map is left out. Raises
    InputError for other values.

    >>> import camkit, numpy as np
    >>> image, cam_map = np.zeros((2, 4, 3), np.uint8), np.float32([[0, 1]])
    >>> camkit.overlay(image, cam_map, alpha=1.0)[0].tolist()
    [[68, 1, 84], [59, 81, 138], [95, 200, 97], [253, 231, 37]]
    """
    check_look(alpha, colormap, opacity)
    if isinstance(cam_map, Cam):
        placement, cam_map = cam_map.placement, cam_map.map
    size, place = image.shape[:2], placement.place(image.shape[:2])
    fitted, seen = placement.fit(cam_map, size), image[place]
    weight = float(alpha) * fitted[..., None] if opacity == "map" else float(alpha)
    blended = np.subtract(heatmap(fitted, colormap), seen, dtype=np.float32)
    blended *= weight
    blended += seen
    blended = np.rint(blended, out=blended).astype(np.uint8)
    if seen.shape == image.shape:
        return blended
    drawn = image.copy()
    drawn[place] = blended
    return drawn


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
