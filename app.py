"""Class activation maps of one picture, side by side, live. `python app.py` starts the demo; `gradio app.py` reloads.

Puts the tabs together and launches the page; every number comes from camkit, every word from camkit.web.
"""

from __future__ import annotations

import logging
import os
import sys

from camkit.web.server.serving import LAUNCH  # isort: skip - camkit.web first: it sets what must stand before Gradio is imported

import gradio as gr

from camkit.errors import InputError
from camkit.web import api
from camkit.web.command_line import from_environment, parse, register_all
from camkit.web.server.folder import claim_folder, start_tidying
from camkit.web.server.limits import limits
from camkit.web.server.runs import on_leave
from camkit.web.server.uploads import Page
from camkit.web.server.warming import start_warming
from camkit.web.tabs import about, contrast, cover, evidence, many, maps


def build() -> gr.Blocks:
    """The page and its endpoints, not launched."""
    with Page(title="Class activation maps, side by side", analytics_enabled=False, fill_width=True) as page:
        screen = maps.build(page)
        with gr.Tabs():
            for tab in (evidence, contrast, cover, many):
                tab.build(screen)
            about.build()
        api.build()
        page.unload(on_leave)
    # Nobody goes past the queue, and nobody waits in it for others: who may begin, `runs.py` decides.
    return page.queue(max_size=1000, default_concurrency_limit=None, api_open=False)


claim_folder()
if __name__ != "__main__":  # imported, by `gradio app.py` or a test: there is no command line, which would come first
    register_all(from_environment())
demo = build()  # a module variable, so that `gradio app.py` finds it


def main() -> None:
    options = parse()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    page = build() if register_all(options.models or from_environment()) else demo
    port = options.port or os.environ.get("GRADIO_SERVER_PORT")
    try:
        limits()
    except InputError as error:
        sys.exit(str(error))
    try:  # Gradio by itself would take the next free port, where nobody who named one would look
        page.launch(
            server_name=options.host, server_port=int(port) if port else None, prevent_thread_lock=True, **LAUNCH
        )
    except (OSError, OverflowError) as error:
        known = f"Port {port} cannot be used, it is taken or not allowed: set GRADIO_SERVER_PORT to another."
        sys.exit(known if port else str(error))
    start_warming()
    start_tidying(page)
    page.block_thread()


if __name__ == "__main__":
    main()
