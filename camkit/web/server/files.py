"""The files that visitors take away: the zip of an explanation and its figure."""

from __future__ import annotations

import importlib.metadata
import io
import re
from collections.abc import Mapping

from ...explanation import Explanation
from ...export.bundle import write_bundle
from ...export.figure import figure_files, slide_png
from ...maps import ALPHA
from ...models.registry import MODELS
from ...version import __version__
from .folder import write_file

LIBRARIES = ("gradio", "tensorflow", "keras", "tf-keras-vis", "numpy", "pillow")


def versions() -> dict[str, str]:
    return {"camkit": __version__} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def write_zip(
    explanation: Explanation,
    alpha: float = ALPHA,
    colormap: str = "viridis",
    opacity: str = "even",
    extra: Mapping[str, bytes] | None = None,
    drawn: Mapping[str, bytes] | None = None,
    window: str = "",
) -> str:
    """Return the path of a zip with everything in the explanation, and `extra` files by name; the arguments of
    `write_bundle`."""
    buffer = io.BytesIO()
    name = MODELS[explanation.model].name
    write_bundle(buffer, explanation, alpha, colormap, versions(), extra, opacity, drawn, window, name)
    return write_file(f"{stem(explanation)}.zip", buffer.getvalue())


def write_figure(explanation: Explanation, **look) -> str:
    """Return the path of the figure as a PNG; `look`: the arguments of `draw_figure`."""
    return write_file(f"{stem(explanation)}.png", figure_files(explanation, **look)["figure.png"])


def write_slide(explanation: Explanation, **options) -> str:
    """Return the path of the slide as a PNG; `options`: the arguments of `draw_slide`."""
    return write_file(f"{stem(explanation)}-slide.png", slide_png(explanation, **options))


def stem(explanation: Explanation) -> str:
    """Return a file's name for an explanation, such as "cam-Egyptian-cat"; letters and digits of the class alone."""
    return "cam-" + re.sub(r"\W+", "-", explanation.class_name)[:60].strip("-")
