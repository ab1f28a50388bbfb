"""The tab "Many pictures": a study of the pictures in a zip, stopped at any time with the figures so far.

Its pictures are shown as in the report, and one that is chosen there comes to the first screen.
"""

from __future__ import annotations

import html
import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from ...errors import InputError, quoted
from ...evidence.settings import Settings
from ...labels import Labels
from ...methods import DEFAULT_METHODS
from ...report.browser import files_below, page_alone
from ...report.report import FILES, summary_table, write_reports
from ...report.results import Results
from ...study.archive import ZipLimits, unzip_picture, unzip_pictures
from ...study.classes import read_classes
from ...study.progress import account
from ...study.study import study_stream
from ...units import seconds_in_words
from ..server.files import write_file
from ..server.readiness import classifier
from ..server.refusals import with_clear_errors
from ..server.runs import RUNS, on_stop
from ..server.uploads import sent_file
from .widgets import METHOD_CHOICES, NO_STOP, STOP, FirstScreen, fetched, if_it_fails, named, progress_html, stop_button

# Hands a picture to the first screen, as if it had been dropped there.
TAKE = """(path) => { window.dispatchEvent(new CustomEvent("cam-take", { detail: path }));
  document.querySelector("#first").scrollIntoView({ behavior: "smooth" }); }"""


@with_clear_errors
@if_it_fails(far="", stop=NO_STOP)
def on_zip(archive, methods, model, request: gr.Request):
    """Measure every picture of a zip; keep the figures so far when it is stopped."""
    if (path := sent_file(archive, request)) is None:
        raise InputError("There is no zip: choose a file with pictures in it.")
    found = unzip_pictures(path)
    clf = classifier(model)
    settings = Settings(tuple(methods), coherency="fast")
    classes, unknown = classes_of(found.pictures, clf.labels)
    with RUNS.page_run(request) as run:
        yield {"far": progress_html(f"0 of {len(found.pictures)} pictures", 0), "stop": STOP}
        for state in study_stream(clf, found.pictures, settings, classes=classes, skipped=found.skipped):
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
        made = write_reports(Path(folder), results)
        files = [write_file(path.name, path.read_bytes()) for path in made if path.suffix != ".html"]
        files.append(write_file("report.zip", zipped(Path(folder))))
        page = page_alone(Path(folder) / FILES)
    note = "" if state.complete else f"Stopped after {state.done} of {state.total} pictures: the figures are theirs. "
    table = summary_table(results)
    yield {
        "far": progress_html(" ".join(filter(None, (note.strip(), skipped, unknown)))),
        "stop": NO_STOP,
        "table": f"<h2>{html.escape(table.title)}</h2>{table.html()}",
        "files": gr.update(value=files, visible=True),
        "pictures": {"page": page},
    }


def classes_of(pictures: Mapping[str, bytes], labels: Labels) -> tuple[dict[str, int] | None, str]:
    """Return the true classes that the zip's folders name, None where they name none, and a sentence on folders that
    are no classes, or ""."""
    in_folders = {name: name for name in pictures if "/" in name}
    if not in_folders:
        return None, ""
    try:
        return read_classes("folder", in_folders, labels), ""
    except InputError as error:
        return None, f"The folders are not taken for true classes. {error}"


def zipped(folder: Path) -> bytes:
    """Return a zip of all files below a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files_below(folder):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


@with_clear_errors
def on_choose(archive, event: gr.EventData, request: gr.Request) -> str:
    """Put a picture of the zip among the uploads, from where the first screen takes it; return its path."""
    if (path := sent_file(archive, request)) is None:
        raise InputError("The zip is no longer here: choose it again.")
    content = unzip_picture(path, str(getattr(event, "name", "")))
    if content is None:
        raise InputError("There is no such picture in the zip: measure it again.")
    return write_file("picture", content)


def build(screen: FirstScreen) -> None:
    limits = ZipLimits()
    with gr.Tab("Many pictures", id="many"):
        gr.Markdown(
            f"One picture is an anecdote. Give a zip of up to {limits.pictures} pictures "
            f"({limits.total_bytes // 1_000_000} MB unpacked): every method and control is measured on each, and you "
            "get means with 95 % intervals, every picture by right and wrong, a CSV and a report. Folders in the zip "
            "are taken for true classes where they are named so."
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
        pictures = gr.HTML(
            None, html_template='<div class="cam-study"></div>', js_on_load=fetched("study.js"), elem_id="set-pictures"
        )
        chosen = gr.Textbox(visible="hidden", elem_id="set-chosen")
    quiet = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False}
    parts = {"far": far, "stop": stop, "table": table, "files": files, "pictures": pictures}
    go.click(named(on_zip, parts), [file, methods, screen.model], [*parts.values()], **quiet)
    stop.click(on_stop, None, None, queue=False, **quiet)
    pictures.select(on_choose, file, chosen, **quiet).success(None, chosen, None, js=TAKE, **quiet)
