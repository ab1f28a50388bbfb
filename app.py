"""Class activation maps of one picture, side by side, live. `python app.py` starts the demo; `gradio app.py` reloads.

Owns the command line and puts the tabs together; every number comes from camkit, every word from camkit.web.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# TensorFlow remarks on GPUs that it does not find; what goes wrong comes as an exception. Set before TensorFlow is
# loaded, which the background thread does.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gradio as gr

from camkit.picture import MAX_BYTES
from camkit.web import about_tab, api, contrast_tab, cover_tab, evidence_tab, many_tab, maps_tab
from camkit.web.uploads import Page
from camkit.web.visitors import FILES_LIVE, on_leave
from camkit.web.warming import start_warming
from camkit.web.widgets import THEME

LAUNCH = {
    "theme": THEME,
    "css_paths": Path(__file__).parent / "camkit" / "web" / "style.css",
    "max_file_size": MAX_BYTES,
    "footer_links": ["api", "gradio", "settings"],
    "run_history": False,
    "show_error": False,
    "ssr_mode": False,
    "mcp_server": importlib.util.find_spec("mcp") is not None,
}


def build() -> gr.Blocks:
    """The page and its endpoints, not launched."""
    title, cleared = "Class activation maps, side by side", (600, FILES_LIVE)
    with Page(title=title, analytics_enabled=False, fill_width=True, delete_cache=cleared) as page:
        screen = maps_tab.build(page)
        with gr.Tabs():
            for tab in (evidence_tab, contrast_tab, cover_tab, many_tab):
                tab.build(screen)
            about_tab.build()
        api.build()
        page.unload(on_leave)
    return page.queue(max_size=64, default_concurrency_limit=16, api_open=False)  # nobody goes past the queue


demo = build()  # a module variable, so that `gradio app.py` finds it


def main() -> None:
    parser = argparse.ArgumentParser(description="Class activation maps of one picture, side by side.")
    parser.add_argument("--host", help="the address to listen on; default: GRADIO_SERVER_NAME, else 127.0.0.1")
    parser.add_argument("--port", type=int, help="default: GRADIO_SERVER_PORT, else the first free one from 7860 on")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    port = options.port or os.environ.get("GRADIO_SERVER_PORT")
    try:  # Gradio by itself would take the next free port, where nobody who named one would look
        demo.launch(
            server_name=options.host, server_port=int(port) if port else None, prevent_thread_lock=True, **LAUNCH
        )
    except (OSError, OverflowError) as error:
        known = f"Port {port} cannot be used, it is taken or not allowed: set GRADIO_SERVER_PORT to another."
        sys.exit(known if port else str(error))
    start_warming()
    demo.block_thread()


if __name__ == "__main__":
    main()
