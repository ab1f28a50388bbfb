"""What the browser fetches once and keeps: our scripts, the examples' thumbnails and the models' class lists.

As files, not as values of components: those every visitor gets with the page, and Gradio copies them for each of them.
An asset's address holds a hash of its content, so it never has to be asked for again; a class list may change with the
model, so the browser asks whether it did. gatekeeper.py answers the requests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from ...errors import InputError
from ...labels import Labels

PREFIX = "/cam/"
CLASSES = f"{PREFIX}classes/"
# Where the page says that the server is; another path than "/" behind a proxy.
ROOT = "(window.gradio_config?.root ?? '')"
FOR_EVER = "public, max-age=31536000, immutable"
_ASSETS: dict[str, tuple[bytes, str]] = {}


def asset(name: str, content: bytes, media_type: str) -> str:
    """The path of an asset with this content, from the server's root on."""
    path = f"{PREFIX}{hashlib.sha256(content).hexdigest()[:16]}/{name}"
    _ASSETS[path] = (content, media_type)
    return path


def answer(path: str, headers: Headers, labels_of: Callable[[str], Labels]) -> Response:
    """What a GET of a path under PREFIX gets; `labels_of` gives those of a model, InputError for an unknown one."""
    if path in _ASSETS:
        content, media_type = _ASSETS[path]
        return Response(content, 200, {"Cache-Control": FOR_EVER}, media_type)
    if path.startswith(CLASSES):
        try:
            labels = labels_of(unquote(path.removeprefix(CLASSES)))
        except InputError as error:
            return JSONResponse({"detail": str(error)}, 404)
        content = json.dumps(
            [{"index": entry.index, "name": entry.name, "also": entry.also} for entry in labels]
        ).encode()
        known = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"', "Cache-Control": "no-cache"}
        if headers.get("if-none-match") == known["ETag"]:
            return Response(status_code=304, headers=known)
        return Response(content, media_type="application/json", headers=known)
    return JSONResponse({"detail": "There is no such file."}, 404)
