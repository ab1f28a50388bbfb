"""Files that are handed out: written whole into the folder that Gradio serves from and clears."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

# Not in Gradio's documentation: the folder that it serves from. tests/web/test_gradio_names.py notices when it moves.
from gradio.utils import get_upload_folder

from ...explanation import Explanation
from ...export.bundle import write_bundle
from ...export.figure import figure_files
from ...maps import ALPHA
from ...version import __version__

LIBRARIES = ("gradio", "tensorflow", "keras", "tf-keras-vis", "numpy", "pillow")


def versions() -> dict[str, str]:
    return {"camkit": __version__} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def write_file(name: str, content: bytes) -> str:
    """The path of a file with this content. Written aside and moved there: Gradio writes in place, which cuts off a
    visitor who is just fetching the same result."""
    path = Path(get_upload_folder()).resolve() / hashlib.sha256(content).hexdigest() / name
    aside = path.with_name(f".{secrets.token_hex(8)}")
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(content)
        except FileNotFoundError:  # the folder was empty for a minute and has just been tidied away
            continue
        aside.replace(path)
        return str(path)


def write_zip(
    explanation: Explanation,
    alpha: float = ALPHA,
    colormap: str = "viridis",
    opacity: str = "even",
    extra: Mapping[str, bytes] | None = None,
    drawn: Mapping[str, bytes] | None = None,
) -> str:
    """The path of a zip with everything in the explanation, and `extra` files by name; the arguments of
    `write_bundle`."""
    buffer = io.BytesIO()
    write_bundle(buffer, explanation, alpha, colormap, versions(), extra, opacity, drawn)
    return write_file(f"{stem(explanation)}.zip", buffer.getvalue())


def write_figure(explanation: Explanation, **look) -> str:
    """The path of the figure as a PNG; `look`: the arguments of `draw_figure`."""
    return write_file(f"{stem(explanation)}.png", figure_files(explanation, **look)["figure.png"])


def stem(explanation: Explanation) -> str:
    """A file's name for an explanation, such as "cam-Egyptian-cat"; letters and digits of the class alone."""
    return "cam-" + re.sub(r"\W+", "-", explanation.class_name)[:60].strip("-")
