"""Files that are handed out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import secrets
from pathlib import Path

from gradio import utils

from ..bundle import write_bundle
from ..evidence.report import metrics_csv
from ..maps import ALPHA
from ..version import __version__

LIBRARIES = ("gradio", "tensorflow", "keras", "tf-keras-vis", "numpy", "pillow")


def versions() -> dict[str, str]:
    return {"camkit": __version__} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def bundle(explanation, alpha: float = ALPHA, colormap: str = "viridis", extra: dict | None = None) -> str:
    """The path of a zip with everything in the explanation, ready to be handed out."""
    buffer = io.BytesIO()
    write_bundle(buffer, explanation, alpha, colormap, versions(), extra)
    return _file(f"cam-{explanation.class_name.replace(' ', '-')}.zip", buffer.getvalue())


def _file(name: str, content: bytes) -> str:
    """The path of a file in the folder that Gradio serves from and clears. Written aside and moved there: Gradio writes in
    place, which cuts off a visitor who is just fetching the same result."""
    path = Path(utils.get_upload_folder()).resolve() / hashlib.sha256(content).hexdigest() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{secrets.token_hex(8)}")
    aside.write_bytes(content)
    aside.replace(path)
    return str(path)


def csv_of(explanation, results: dict) -> dict[str, bytes]:
    """The measurement as a file for the zip, when there is one."""
    return {"faithfulness.csv": metrics_csv(results, explanation.cams)} if results else {}
