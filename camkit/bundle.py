"""From a map to something to look at or to keep: heatmap, overlay, masked picture, and the downloadable bundle.

Pictures are (H, W, 3) uint8 RGB, maps (h, w) float32 in [0, 1] of any size: a map is brought onto the picture's own size
and aspect ratio. NumPy, Pillow and plotly only; knows neither models nor methods.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from collections.abc import Collection, Mapping
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


# Okabe and Ito's colours, told apart with any colour vision; controls are grey and dashed.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def curves_figure(results: Mapping, names: Mapping[str, str], controls: Collection[str]):
    """The insertion and deletion curves of all maps as one plotly figure: `results` by key, each with `insertion` and
    `deletion` of `fractions` and `probabilities`; `names` by key for the legend; keys in `controls` are drawn grey."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        1,
        2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=("Insertion (higher is better)", "Deletion (lower is better)"),
    )
    for position, (key, result) in enumerate(results.items()):
        line = (
            {"color": "#8a8f98", "dash": ("dot", "dash", "dashdot")[position % 3], "width": 1.5}
            if key in controls
            else {"color": LINES[position % len(LINES)], "width": 2.5}
        )
        for column, curve in enumerate((result.insertion, result.deletion), 1):
            figure.add_scatter(
                x=list(curve.fractions),
                y=list(curve.probabilities),
                name=names[key],
                legendgroup=key,
                line=line,
                showlegend=column == 1,
                row=1,
                col=column,
                hovertemplate="%{y:.3f} at %{x:.0%}<extra>" + names[key] + "</extra>",
            )
    figure.update_xaxes(tickformat=".0%", title_text="share of the picture")
    figure.update_yaxes(title_text="probability of the class", rangemode="tozero", row=1, col=1)
    return _laid_out(figure, 380)


def cost_figure(
    seconds: Mapping[str, float], gains: Mapping[str, float], names: Mapping[str, str], floor: float | None
):
    """Cost against faithfulness as one plotly figure: seconds on a log axis, insertion minus deletion on the other; `floor`
    is the best control's value, a line that a map has to be above."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for position, key in enumerate(seconds):
        figure.add_scatter(
            x=[seconds[key]],
            y=[gains[key]],
            name=names[key],
            text=[names[key]],
            mode="markers+text",
            textposition="top center",
            marker={"size": 14, "color": LINES[position % len(LINES)]},
            hovertemplate="%{y:+.3f} in %{x:.2f} s<extra>" + names[key] + "</extra>",
            showlegend=False,
        )
    if floor is not None:
        figure.add_hline(y=floor, line={"color": "#8a8f98", "dash": "dash"}, annotation_text="best control")
    low, high = min(seconds.values()), max(seconds.values())
    figure.update_xaxes(type="log", title_text="seconds", range=[np.log10(low) - 0.4, np.log10(high) + 0.4], dtick=1)
    heights = [gains[key] for key in seconds] + [floor or 0.0]
    room = 0.2 * (max(heights) - min(heights)) or 0.1  # for the names above the points
    figure.update_yaxes(title_text="insertion minus deletion", range=[min(heights) - room, max(heights) + room])
    return _laid_out(figure, 340)


def dial_figure(points: Collection, complete: bool):
    """Faster Score-CAM's channels against its correlation with the full Score-CAM and its seconds, a plotly figure."""
    import plotly.graph_objects as go

    counts = [point.max_n for point in points]
    figure = go.Figure()
    figure.add_scatter(
        x=counts,
        y=[point.correlation for point in points],
        mode="lines+markers",
        line={"color": LINES[0]},
        customdata=[point.seconds for point in points],
        showlegend=False,
        hovertemplate="%{x} channels: correlation %{y:.3f}, %{customdata:.2f} s<extra></extra>",
    )
    figure.update_xaxes(type="log", title_text="channels", tickvals=counts, ticktext=[str(count) for count in counts])
    figure.update_yaxes(title_text="correlation with " + ("the full Score-CAM" if complete else "the map so far"))
    return _laid_out(figure, 320)


def _laid_out(figure, height: int):
    # No background of its own and grey lines, so that it fits a light and a dark page.
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.5)")
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.5)")
    figure.update_annotations(font_size=13)
    return figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(128,128,128,0.06)",
        font={"color": "#7d8590"},
        legend={"orientation": "h", "y": -0.22},
    )


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
