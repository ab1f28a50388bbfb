"""The options with which Gradio serves the page, those of `launch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ...models.registry import check_model
from ...picture import MAX_BYTES
from ..tabs.examples import thumbnail
from ..tabs.widgets import THEME
from .assets import routes
from .gatekeeper import Gatekeeper
from .memory import use_few_heaps
from .runs import FILES_LIVE

use_few_heaps()
LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "css_paths": Path(__file__).parents[1] / "browser" / "style.css",
    "max_file_size": MAX_BYTES,
    "footer_links": ["api", "gradio", "settings"],
    "run_history": False,
    "show_error": False,
    "ssr_mode": False,
    "mcp_server": False,  # its tools would refuse every picture that is named by an address
    "enable_monitoring": False,
    "max_threads": 80,  # more than the requests of one address and the long work of all take at once
    # Visitors of whom Gradio keeps a copy of the page's components, some 200 kB each. Nothing of ours depends on it:
    # what the page remembers is in sessions.py.
    "state_session_capacity": 50,
}


class Page(gr.Blocks):
    """Blocks that add LAUNCH, the gatekeeper and the assets to every launch, so that `demo.launch()` in a notebook
    serves the same page."""

    def __init__(self, **options: Any) -> None:
        super().__init__(analytics_enabled=False, delete_cache=(FILES_LIVE // 6, FILES_LIVE), **options)

    def launch(self, *given: Any, **options: Any) -> Any:
        assets = routes(thumbnail, lambda key: check_model(key).labels())
        own = LAUNCH | {"app_kwargs": {"middleware": [Middleware(Gatekeeper, page=self)], "routes": assets}}
        return super().launch(*given, **(own | options))
