"""The page and the API: four class activation maps of one picture, side by side, live."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gradio as gr

from camkit.picture import MAX_BYTES
from camkit.web.about_tab import build_about
from camkit.web.api import build_api
from camkit.web.contrast_tab import build_contrast, on_contrast
from camkit.web.cover_tab import build_cover, on_cover, on_painter
from camkit.web.evidence_tab import build_evidence, on_dial, on_explained, on_measure
from camkit.web.many_tab import build_set, on_set
from camkit.web.maps_tab import (
    PAGE_OUTPUTS,
    VIEW_JS,
    build_main,
    on_class,
    on_download,
    on_example,
    on_layer,
    on_leave,
    on_model,
    on_open,
    on_picture,
    on_prediction,
    on_settings,
    on_stop,
    on_tick,
)
from camkit.web.readiness import default_model, start_warming
from camkit.web.style import CSS, THEME
from camkit.web.uploads import Page
from camkit.web.visitors import FILES_LIVE

QUEUE_LENGTH = 64


def build() -> gr.Blocks:
    """The page and its endpoints, not launched."""
    with Page(
        title="Class activation maps, side by side",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(600, FILES_LIVE),
    ) as demo:
        parts = build_main()
        with gr.Tabs():
            build_evidence(parts)
            build_contrast(parts)
            build_cover(parts)
            build_set(parts)
            build_about()
        build_api()
        wire(demo, parts)
    demo.queue(max_size=QUEUE_LENGTH, default_concurrency_limit=16, api_open=False)  # nobody goes past the queue
    return demo


def wire(demo: gr.Blocks, parts: dict) -> None:
    """Which click leads to what. Everything here is private: the endpoints are in `build_api`."""
    settings = [parts[name] for name in ("methods", "model", "layer", "max_n", "full")]
    outputs = [parts[name] for name in PAGE_OUTPUTS]
    private = {"api_visibility": "private", "trigger_mode": "multiple", "show_progress_on": parts["explained"]}
    session = parts["session"]
    current = [session, *settings]
    runs = [
        parts["image"].input(on_picture, [parts["image"], *settings], outputs, **private),
        parts["examples"].select(on_example, settings, [*outputs, parts["image"]], **private),
        parts["prediction"].select(on_prediction, [session, *settings], outputs, **private),
        parts["class_box"].input(on_class, [session, parts["class_box"], *settings], outputs, **private),
        parts["max_n"].release(on_settings, current, outputs, **private),
        *[parts[name].input(on_settings, current, outputs, **private) for name in ("methods", "layer", "full")],
        demo.load(on_open, settings, [*outputs, parts["image"]], **private),
    ]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    parts["layer"].change(on_layer, [parts["model"], parts["layer"], parts["max_n"]], parts["max_n"], **quiet)
    model_outputs = [parts["model"], parts["layer"], parts["status"], parts["timer"]]
    chosen = parts["model"].input(on_model, parts["model"], model_outputs, **quiet)
    runs.append(chosen.then(on_settings, current, outputs, **private))
    offered = parts["offer"].click(
        lambda: (default_model(), gr.update(visible=False)), None, [parts["model"], parts["offer"]], **quiet
    )
    runs.append(
        offered.then(on_model, parts["model"], model_outputs, **quiet).then(on_settings, current, outputs, **private)
    )
    parts["timer"].tick(on_tick, parts["model"], [parts["status"], parts["offer"], parts["timer"]], **quiet)
    parts["stop"].click(on_stop, None, None, queue=False, **quiet)
    view = [parts["alpha"], parts["colormap"], parts["mode"]]
    for control in view:
        control.change(None, view, None, js=VIEW_JS, **quiet)
    ready = parts["download"].click(
        on_download,
        [session, parts["results"], parts["alpha"], parts["colormap"]],
        parts["bundle"],
        api_visibility="private",
    )
    ready.success(None, None, None, js="() => document.querySelector('#bundle').click()", api_visibility="private")
    parts["contrast_go"].click(
        on_contrast, [session, parts["other"], parts["contrast_method"]], parts["contrast"], api_visibility="private"
    )
    parts["cover_tab"].select(on_painter, session, [parts["painter"], parts["cover"]], **quiet)
    parts["painter"].input(on_cover, [session, parts["painter"]], parts["cover"], trigger_mode="always_last", **quiet)
    evidence = [parts[name] for name in ("evidence", "curves", "cost", "results")]
    for run in runs:
        run.success(on_explained, session, evidence, api_visibility="private", show_progress_on=parts["evidence"])
    parts["measure"].click(on_measure, session, evidence, api_visibility="private", show_progress_on=parts["evidence"])
    parts["dial_go"].click(
        on_dial,
        session,
        [parts["dial"], parts["dial_note"]],
        api_visibility="private",
        show_progress_on=parts["dial_note"],
    )
    parts["set_go"].click(
        on_set,
        [parts["zip"], parts["set_methods"], parts["model"]],
        [parts["set_note"], parts["set_table"], parts["set_files"]],
        api_visibility="private",
        show_progress_on=parts["set_note"],
    )
    parts["set_stop"].click(on_stop, None, None, queue=False, **quiet)
    demo.unload(on_leave)


def launch_options() -> dict:
    return {
        "theme": THEME,
        "css": CSS,
        "max_file_size": MAX_BYTES,
        "footer_links": ["api", "gradio", "settings"],
        "run_history": False,
        "show_error": False,
        "ssr_mode": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    demo, port = build(), os.environ.get("GRADIO_SERVER_PORT")
    try:  # Gradio by itself would take the next free port, where nobody who named one would look
        demo.launch(server_port=int(port) if port else None, prevent_thread_lock=True, **launch_options())
    except (OSError, OverflowError) as error:
        sys.exit(
            f"Port {port} cannot be used, it is taken or not allowed: set GRADIO_SERVER_PORT to another."
            if port
            else str(error)
        )
    start_warming()
    demo.block_thread()


if __name__ == "__main__":
    main()
