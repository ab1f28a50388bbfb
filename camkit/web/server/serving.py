"""The options with which Gradio serves the page, those of `launch`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client import handle_file
from starlette.middleware import Middleware
from starlette.routing import Route

from ...models.registry import check_model
from ...picture import MAX_BYTES
from ..tabs.examples import EXAMPLES, thumbnail
from ..tabs.widgets import THEME
from .assets import PICTURES, routes
from .gatekeeper import Gatekeeper
from .head import ICON, PREVIEW_ROUTE, Head
from .memory import use_few_heaps
from .runs import FILES_LIVE

use_few_heaps()
LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "css_paths": Path(__file__).parents[1] / "browser" / "style.css",
    "favicon_path": ICON,
    "max_file_size": MAX_BYTES,
    "footer_links": ["api", "gradio"],  # Settings offers a recorder of the screen, whose route is closed
    "run_history": False,
    "show_error": False,
    "ssr_mode": False,
    "mcp_server": False,  # camkit's own takes its place, see camkit/web/mcp.py
    "enable_monitoring": False,
    "max_threads": 80,  # more than the requests of one address and the long work of all take at once
    # Visitors of whom Gradio keeps a copy of the page's components, some 200 kB each. Nothing of ours depends on it:
    # what the page remembers is in sessions.py.
    "state_session_capacity": 50,
}
SNIPPETS = "coffee"  # the example that the API page's snippets name


def _go_past_proxies(host: str | None) -> None:
    """Ask no proxy for this machine: Gradio calls its own server when it has started it."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = dict.fromkeys(filter(None, [*known.split(","), "localhost", "127.0.0.1", "::1", host]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


class Page(gr.Blocks):
    """Blocks that add LAUNCH, the gatekeeper, the assets and the routes of `beside` to every launch, so that
    `demo.launch()` in a notebook serves the same page. `beside` returns routes and the lifespan that they need."""

    def __init__(self, beside: Callable[[], tuple[list[Route], Callable]], **options: Any) -> None:
        super().__init__(analytics_enabled=False, delete_cache=(FILES_LIVE // 6, FILES_LIVE), **options)
        self.beside = beside

    def launch(self, *given: Any, **options: Any) -> Any:
        _go_past_proxies(options.get("server_name") or os.environ.get("GRADIO_SERVER_NAME"))
        beside, lifespan = self.beside()
        application = {
            "middleware": [Middleware(Gatekeeper, page=self), Middleware(Head, title=self.title)],
            "routes": [
                PREVIEW_ROUTE,
                *routes(thumbnail, lambda key: EXAMPLES[key].content, lambda key: check_model(key).labels()),
                *beside,
            ],
            "lifespan": lifespan,
        }
        return super().launch(*given, **(LAUNCH | {"app_kwargs": application} | options))

    def get_api_info(self, *given: Any, **options: Any) -> Any:
        """Return Gradio's description of the endpoints with an example picture that this server takes: snippets name it
        where Gradio's own lies on another server. Gradio's routes allow for Blocks that override this."""
        info = super().get_api_info(*given, **options)
        space = os.environ.get("SPACE_HOST")
        root = f"https://{space}" if space else (self.share_url or self.local_url or "").rstrip("/")
        for endpoint in info["named_endpoints"].values():
            for parameter in endpoint["parameters"]:
                if parameter["component"] == "Image":
                    parameter["example_input"] = handle_file(f"{root}{PICTURES}{SNIPPETS}.jpg")
        return info
