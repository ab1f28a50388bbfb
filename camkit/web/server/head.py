"""What the page says of itself to those who are sent its link, name, line and picture, and the icon of its tab; and
the shape of the picture that it opens on.

Gradio's template says there that it is Gradio, before it says what the page is: its tags give way to ours. The page is
also sent compressed, which Gradio does with every file but this one, by far the largest.
"""

from __future__ import annotations

import html
import re
from functools import cache
from urllib.parse import parse_qs, quote

import numpy as np
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...explain import explain
from ...export.figure import draw_slide
from ...maps import encode
from ...models.registry import load
from ...picture import open_picture
from ..tabs.examples import EXAMPLES, OPENING, aspect
from .assets import BROWSER, KEEP, PREFIX
from .gatekeeper import page_path

LINE = (
    "A network guesses what is in a picture, and maps show where it looked: by Grad-CAM, Score-CAM and others, "
    "with what each cost and how far to believe it."
)
ICON = BROWSER / "icon.svg"
PREVIEW = f"{PREFIX}/preview.jpg"
PREVIEW_SIZE = (1200, 630)
GRADIOS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')


class Head:
    """ASGI middleware that writes our tags into the page, in place of Gradio's, and compresses it."""

    def __init__(self, app: ASGIApp, title: str) -> None:
        self.app, self.title = app, title
        self.compressed = GZipMiddleware(self._written, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["method"] == "GET" and page_path(scope) == "/"
        await (self.compressed if is_page else self.app)(scope, receive, send)

    async def _written(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin: Message = {}
        content = bytearray()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                begin.update(message)
                return
            content.extend(message.get("body", b""))
            if not message.get("more_body"):
                page = GRADIOS.sub(b"", content).replace(b"<head>", b"<head>" + self._tags(scope).encode(), 1)
                MutableHeaders(raw=begin["headers"])["Content-Length"] = str(len(page))
                await send(begin)
                await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, sent)

    def _tags(self, scope: Scope) -> str:
        named = {
            "description": LINE,
            "og:type": "website",
            "og:title": self.title,
            "og:description": LINE,
            "og:image": f"{root_of(scope)}{PREVIEW}",
            "og:image:width": str(PREVIEW_SIZE[0]),
            "og:image:height": str(PREVIEW_SIZE[1]),
            "og:image:alt": "A picture, and beside it where the network looked, in colours from blue to red",
            "twitter:card": "summary_large_image",
        }
        # Within the page: behind a proxy that gives the page a path, browsers would look for it at the proxy's root.
        icon = f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml,{quote(ICON.read_text().strip())}">'
        example = EXAMPLES.get(parse_qs(scope["query_string"].decode("latin-1")).get("example", [""])[0], OPENING)
        frames = f"<style>:root {{ --opening: {aspect(example):.4f} }}</style>"  # so that nothing moves when it arrives
        tags = "".join(
            f'<meta {"property" if name.startswith("og:") else "name"}="{name}" content="{html.escape(value)}">'
            for name, value in named.items()
        )
        return f"{icon}{frames}{tags}"


def root_of(scope: Scope) -> str:
    """Return the address of the page's root as a visitor writes it, without a slash at the end."""
    root = scope.get("root_path", "").rstrip("/")
    if root.startswith(("http://", "https://")):
        return root
    headers = Headers(scope=scope)
    scheme, host = (
        headers.get(f"x-forwarded-{name}", otherwise).partition(",")[0].strip()
        for name, otherwise in (("proto", scope["scheme"]), ("host", headers.get("host", "")))
    )
    return f"{scheme}://{host}{root}"


@cache
def preview() -> bytes:
    """Return the JPEG file of a link's preview: an example explained by the bundled model. Drawn when it is first
    asked for."""
    clf, example = load("efficientnet_lite0"), EXAMPLES["astronaut"]
    picture = open_picture(example.content)
    for _ in range(2):  # the captions say seconds, and the first one may compile
        explanation = explain(clf, picture, ["gradcam", "gradcam_plus_plus"], example.class_index)
    words = "A network guesses what is in a picture. Red is where it looked, by methods that do not always agree."
    slide = draw_slide(explanation, 0.8, "turbo", "map", model_name=clf.spec.name, words=words)
    drawn = slide.crop((0, 20, slide.width, 1028)).resize(PREVIEW_SIZE)
    return encode(np.asarray(drawn), "JPEG", quality=75, optimize=True, progressive=True)


def answer_preview(request: Request) -> Response:
    return Response(preview(), media_type="image/jpeg", headers=KEEP)


PREVIEW_ROUTE = Route(PREVIEW, answer_preview)
