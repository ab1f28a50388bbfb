"""Files that the browser fetches: our scripts, colour tables, thumbnails, the models' classes.

As files, not as values of components: those every visitor gets with the page, and Gradio copies them for each visitor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ...errors import InputError
from ...labels import Labels
from ...maps import tables

BROWSER = Path(__file__).parents[1] / "browser"
# Another name for other scripts: what a browser keeps of the old ones is not used. And no root path is called so.
PREFIX = "/own-" + hashlib.sha256(b"".join(path.read_bytes() for path in sorted(BROWSER.iterdir()))).hexdigest()[:16]
CLASSES = f"{PREFIX}/classes/"
THUMBNAILS = f"{PREFIX}/thumbnails/"
PICTURES = "/examples/"  # written into programs, so it does not change
# Where the page says that the server is; another path than "/" behind a proxy.
ROOT = "(window.gradio_config?.root ?? '')"
KEEP = {"Cache-Control": "public, max-age=3600"}


def routes(
    thumbnail: Callable[[str], bytes], example: Callable[[str], bytes], labels_of: Callable[[str], Labels]
) -> list[Route]:
    """Return the routes of the assets. `thumbnail` and `example` give an example's JPEGs by its key, KeyError without
    one; `labels_of` a model's labels by its key, InputError without one."""
    # Made here, before any thread runs: plotly imports narwhals, and so does what Keras imports in the thread that
    # loads it. Python can end one of two threads that import the same modules at once with a deadlock error.
    colour_tables = f"export default {json.dumps(tables())};"

    def answer_jpeg(request: Request, jpeg: Callable[[str], bytes]) -> Response:
        try:
            return Response(jpeg(request.path_params["key"]), media_type="image/jpeg", headers=KEEP)
        except KeyError:
            return JSONResponse({"detail": "There is no such example."}, 404)

    def answer_script(request: Request) -> Response:
        """Not by StaticFiles, which finds nothing where a proxy has taken the root path off."""
        path = BROWSER / request.path_params["name"]
        if path.suffix != ".js" or path not in BROWSER.iterdir():
            return JSONResponse({"detail": "There is no such file."}, 404)
        return FileResponse(path, media_type="text/javascript", headers=KEEP)

    def answer_tables(request: Request) -> Response:
        return Response(colour_tables, media_type="text/javascript", headers=KEEP)

    def answer_classes(request: Request) -> Response:
        """They may change with the model, so the browser asks whether they did."""
        try:
            labels = labels_of(request.path_params["model"])
        except InputError as error:
            return JSONResponse({"detail": str(error)}, 404)
        fields = [{"index": entry.index, "name": entry.name, "also": entry.also} for entry in labels]
        content = json.dumps(fields).encode()
        known = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"', "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == known["ETag"]:
            return Response(status_code=304, headers=known)
        return Response(content, media_type="application/json", headers=known)

    return [
        Route(f"{PREFIX}/tables.js", answer_tables),
        Route(CLASSES + "{model}", answer_classes),
        Route(THUMBNAILS + "{key}.jpg", lambda request: answer_jpeg(request, thumbnail)),
        Route(PICTURES + "{key}.jpg", lambda request: answer_jpeg(request, example)),
        Route(f"{PREFIX}/{{name}}", answer_script),
    ]
