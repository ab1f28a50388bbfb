"""How Gradio is told to serve the page: `launch`'s options."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware

from ...picture import MAX_BYTES
from ..tabs.widgets import THEME
from .gatekeeper import Gatekeeper
from .memory import use_few_heaps

use_few_heaps()
LAUNCH = {
    "theme": THEME,
    "css_paths": Path(__file__).parents[1] / "browser" / "style.css",
    "max_file_size": MAX_BYTES,
    "footer_links": ["api", "gradio", "settings"],
    "run_history": False,
    "show_error": False,
    "ssr_mode": False,
    "mcp_server": False,  # its tools would refuse every picture that is named by an address
    "enable_monitoring": False,
    "app_kwargs": {"middleware": [Middleware(Gatekeeper)]},
    "max_threads": 80,  # more than the requests of one address and the long work of all take at once
    # Visitors of whom Gradio keeps a copy of the page's components, some 200 kB each. Nothing of ours depends on it:
    # what the page remembers is in sessions.py.
    "state_session_capacity": 50,
}
