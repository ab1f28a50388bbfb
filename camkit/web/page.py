"""The whole page: puts the tabs together, registers the operator's models and launches. Computes and words nothing."""

from __future__ import annotations

import argparse
import logging
import os
import sys

import gradio as gr

from ..errors import InputError
from . import api, mcp
from .command_line import from_environment, parse, register_all
from .server.folder import claim_folder
from .server.limits import limits
from .server.memory import start_giving_back
from .server.serving import Page
from .server.warming import start_warming
from .tabs import about, contrast, cover, evidence, many, maps, two_models


def build() -> gr.Blocks:
    """Return the page and its endpoints for the models registered so far, not launched."""
    with Page(mcp.served, title="Class activation maps, side by side", fill_width=True) as page:
        screen = maps.build(page)
        with gr.Tabs(selected="cover", overflow_behavior="wrap", elem_id="strip"):  # in a row that scrolls
            for tab in (cover, evidence, contrast, two_models, many):
                tab.build(screen)
            about.build()
        api.build()
    # All events are queued; runs.py limits what is under way.
    return page.queue(max_size=1000, default_concurrency_limit=None, api_open=False)


def open_page(options: argparse.Namespace) -> gr.Blocks:
    """Register the models that `options`, or else the environment, name, and return the page, not launched."""
    claim_folder()
    register_all(options.models or from_environment())
    return build()


def launch(page: gr.Blocks, options: argparse.Namespace) -> None:
    """Serve the page until the process is told to end. A wrong setting, or a port that cannot be had, ends it with one
    sentence."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for library in ("httpx", "mcp"):
        logging.getLogger(library).setLevel(logging.WARNING)
    port = options.port or os.environ.get("GRADIO_SERVER_PORT")
    try:
        limits()
    except InputError as error:
        sys.exit(str(error))
    try:  # a port that was named is that port; Gradio by itself would take the next free one
        _, url, _ = page.launch(
            server_name=options.host,
            server_port=int(port) if port else None,
            share=options.share or None,  # None: GRADIO_SHARE and Colab decide
            prevent_thread_lock=True,
            quiet=True,  # Gradio's own lines recommend a call of launch(), which is not at hand here
        )
    except (OSError, OverflowError) as error:
        known = f"Port {port} cannot be used, it is taken or not allowed: set GRADIO_SERVER_PORT to another."
        sys.exit(known if port else str(error))
    if url:  # none in the thread in which `gradio app.py` builds the page again
        print(f"* Running on local URL:  {url.rstrip('/')}", flush=True)
    start_warming()
    start_giving_back()
    page.block_thread()


def main(arguments: list[str] | None = None) -> None:
    """Run `camkit serve` with these arguments, None for the command line's."""
    options = parse(arguments, "camkit serve")
    launch(open_page(options), options)
