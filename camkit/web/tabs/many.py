"""The tab "Many pictures": a study of the pictures in a zip, stopped at any time with the figures so far."""

from __future__ import annotations

import html
import tempfile
from pathlib import Path

import gradio as gr

from ...errors import InputError, quoted
from ...evidence.settings import Settings
from ...methods import DEFAULT_METHODS
from ...report.report import summary_table, write_reports
from ...report.results import Results
from ...study.archive import ZipLimits, unzip_pictures
from ...study.progress import account
from ...study.study import study_stream
from ...units import seconds_in_words
from ..server.files import write_file
from ..server.readiness import classifier
from ..server.refusals import with_clear_errors
from ..server.runs import RUNS, on_stop
from ..server.uploads import sent_file
from .widgets import METHOD_CHOICES, NO_STOP, STOP, FirstScreen, if_it_fails, named, progress_html, stop_button


@with_clear_errors
@if_it_fails(far="", stop=NO_STOP)
def on_zip(archive, methods, model, request: gr.Request):
    """Measure every picture of a zip; keep the figures so far when it is stopped."""
    if (path := sent_file(archive, request)) is None:
        raise InputError("There is no zip: choose a file with pictures in it.")
    found = unzip_pictures(path)
    clf = classifier(model)
    settings = Settings(tuple(methods), coherency="fast")
    with RUNS.page_run(request) as run:
        yield {"far": progress_html(f"0 of {len(found.pictures)} pictures", 0), "stop": STOP}
        for state in study_stream(clf, found.pictures, settings, skipped=found.skipped):
            if run.cancel.is_set():
                break
            run.seconds_left = state.seconds_left
            left = "" if state.seconds_left is None else f", about {seconds_in_words(state.seconds_left)} left"
            at = f" ({quoted(state.picture)}: {state.label})" if state.label else ""
            far = progress_html(f"{state.done} of {state.total} pictures{left}{at}", state.done / state.total)
            yield {"far": far}
    results = Results.of(clf, settings, state)
    skipped = account(f"{results.pictures} measured", results.skipped) if results.skipped else ""
    if not state.complete and not results.pictures:
        yield {"far": progress_html(f"Stopped before a picture was measured. {skipped}"), "stop": NO_STOP}
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [write_file(made.name, made.read_bytes()) for made in write_reports(Path(folder), results)]
    note = "" if state.complete else f"Stopped after {state.done} of {state.total} pictures: the figures are theirs. "
    table = summary_table(results)
    yield {
        "far": progress_html(note + skipped),
        "stop": NO_STOP,
        "table": f"<h2>{html.escape(table.title)}</h2>{table.html()}",
        "files": gr.update(value=files, visible=True),
    }


def build(screen: FirstScreen) -> None:
    limits = ZipLimits()
    with gr.Tab("Many pictures"):
        gr.Markdown(
            f"One picture is an anecdote. Give a zip of up to {limits.pictures} pictures "
            f"({limits.total_bytes // 1_000_000} MB unpacked): every method and control is measured on each, and you "
            "get means with 95 % intervals, a CSV and a report."
        )
        with gr.Row():
            file = gr.File(label="Zip of pictures", file_types=[".zip"], height=120, elem_id="zip", scale=2)
            methods = gr.CheckboxGroup(
                METHOD_CHOICES,
                value=[key for key in DEFAULT_METHODS if key != "scorecam"],
                label="Methods (full Score-CAM takes the longest by far)",
                scale=2,
            )
            with gr.Column(scale=0, min_width=120):
                go = gr.Button("Measure all", variant="primary", size="md", elem_id="set-go")
                stop = stop_button("set-stop")
        far = gr.HTML("", elem_id="set-note")
        table = gr.HTML("", elem_id="set-table")
        files = gr.File(label="Results", visible=False, elem_id="set-files")
    quiet = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False}
    parts = {"far": far, "stop": stop, "table": table, "files": files}
    go.click(named(on_zip, parts), [file, methods, screen.model], [*parts.values()], **quiet)
    stop.click(on_stop, None, None, queue=False, **quiet)
