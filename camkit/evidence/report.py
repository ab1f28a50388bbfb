"""The files of a study: every table as Markdown, the same with pictures as one HTML page, and the rows as CSV."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from ..errors import InputError, shown
from ..explanation import Cam
from ..version import __version__
from .claims import comparison, published_table
from .metrics import BASELINES, METRICS, Measurement
from .results import COHERENCY, COLUMNS, NAMES, NOISE, NOTHING, TUNING, Results, Table, cell, escaped, interval, marked

SHOWN = 24  # pictures on the page: some 25 kB each, so that it stays under 2 MB
_ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}
_PAIRED = ("seconds", "confidence_drop", "increase", "insertion", "deletion", "insertion_minus_deletion", "complexity",
           "adcc")  # fmt: skip
_FIELDS = ("picture", "class_index", "class_name", "probability", "key", *COLUMNS)


# --- the tables ----------------------------------------------------------------------------------------------------


def summary_table(results: Results) -> Table:
    """A row a method and control, a column a figure."""
    summary = results.summary()
    shown = [
        column
        for key, column in COLUMNS.items()
        if key != "energy_inside" and any(row[key] for row in summary.values())  # boxes have a table of their own
    ]
    rows = ((NAMES[key], *(cell(row[column.key], column.format) for column in shown)) for key, row in summary.items())
    return Table(
        f"Means over {results.pictures} pictures",
        ("", *(column.name + _ARROWS[column.better] for column in shown)),
        tuple(rows),
        "Brackets hold 95 % intervals of the mean over pictures: Student's t, for shares of pictures Wilson's; none is "
        "cut off at the ends of its scale. The controls know nothing of the picture; their coherency is 1 by "
        "construction. A method beats every control on a picture when its insertion less deletion is higher.",
    )


def difference_table(results: Results) -> Table:
    """A row a pair of methods; clear differences are marked."""
    columns = [COLUMNS[name] for name in _PAIRED]
    rows = (
        (f"{NAMES[first]} less {NAMES[second]}", *(marked(row[column.key], column.format) for column in columns))
        for (first, second), row in results.differences().items()
    )
    return Table(
        "Paired differences",
        ("", *(column.name for column in columns)),
        tuple(rows),
        "First method less second on the same picture, mean and 95 % interval (Student's t). * marks intervals that "
        "leave out zero; nothing corrects for the number of comparisons.",
    )


def layer_table(results: Results) -> Table:
    """Earlier layers: better than the controls? How far from the default layer's map?"""
    rows = [("Beats every control", results.target_layer, *results.each(results.beats))]
    rows += [
        ("Beats every control", layer, *results.each(partial(results.beats, layer=layer))) for layer in results.layers
    ]
    rows += [
        (
            "1 - correlation with the default layer's map",
            layer,
            *results.intervals("layers", "moved", "{:.2f}", layer=layer),
        )
        for layer in results.layers
    ]
    note = "Pictures on which insertion less deletion is higher than that of all three controls."
    return Table("Use of layers", ("", "Target layer", *results.names), tuple(rows), note)


def noise_table(results: Results) -> Table:
    """The map's correlation with itself under noise."""
    rows = ((f"sigma {sigma}", *results.intervals("noise", "correlation", "{:.3f}", sigma=sigma)) for sigma in NOISE)
    note = "Gaussian noise of a fixed seed, added to every picture at the model's input size."
    return Table("Noise: the map's correlation with itself", ("Grey levels", *results.names), tuple(rows), note)


def box_table(results: Results) -> Table:
    """Share of the map's energy inside each hand-drawn box."""
    rows = []
    for value in results.values["boxes"]:
        found = {(row["label"], row["key"]): row for row in value["rows"]}
        for label, row in {row["label"]: row for row in value["rows"]}.items():
            cells = (f"{found[label, key]['energy_inside']:.0%}" for key in results.settings.methods)
            rows.append((shown(value["picture"]), f"{label} ({row['class_name']})", f"{row['chance']:.0%}", *cells))
    header = ("Picture", "Box (class)", "The box's share of the picture", *results.names)
    note = "An even map has as much energy inside as the box has area."
    return Table("Localization: energy inside the box", header, tuple(rows), note)


def tuning_table(results: Results) -> Table:
    """How far Faster Score-CAM's map moves with max_n."""
    rows = ((str(count), cell(interval(results.moves(count)), "{:.3f}")) for count in TUNING)
    title = f"Tuning: 1 - correlation with Faster Score-CAM's map at max_n = {TUNING[1]}"
    return Table(title, ("max_n", NAMES["faster_scorecam"]), tuple(rows))


def sweep_table(results: Results) -> Table:
    """Faster Score-CAM against the full Score-CAM, for rising max_n."""
    curves = {
        shown(value["picture"]): {point["max_n"]: point for point in value["points"]}
        for value in results.values["sweep"]
        if value["points"]
    }
    rows = []
    for count in sorted({count for points in curves.values() for count in points}):
        points = [points[count] for points in curves.values() if count in points]
        seconds = statistics.fmean(point["seconds"] for point in points)
        average = cell(interval(point["correlation"] for point in points), "{:.3f}")
        cells = (f"{curve[count]['correlation']:.3f}" if count in curve else NOTHING for curve in curves.values())
        rows.append((str(count), f"{seconds:.2f}", average, *cells))
    title = "The sweep: correlation of Faster Score-CAM with the full Score-CAM"
    return Table(title, ("max_n", "Seconds", "Mean", *curves), tuple(rows), "Pearson's correlation, one run a picture.")


_BY_MEASUREMENT = {
    "layers": (comparison, layer_table), "noise": (noise_table,), "boxes": (box_table,),
    "sweep": (tuning_table, sweep_table), }  # fmt: skip


def tables(results: Results) -> list[Table]:
    """Every table that the measured parts allow."""
    claims = [table(results) for part, made in _BY_MEASUREMENT.items() if results.values.get(part) for table in made]
    return [summary_table(results), difference_table(results), *claims, published_table(results)]


# --- the files -----------------------------------------------------------------------------------------------------


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def write_reports(folder: Path, results: Results) -> list[Path]:
    """results.csv, report.md with the tables, report.html with the pictures too; returns their paths. InputError when
    no picture could be read."""
    if not results.pictures:
        reasons = " ".join(f"{shown(name)}: {why}" for name, why in results.skipped.items())
        raise InputError(f"No picture could be read. {reasons}")
    rows, markdown, page = folder / "results.csv", folder / "report.md", folder / "report.html"
    frame = results.frames["metrics"]
    texts = {name: frame[name].map(unlike_formula) for name in ("picture", "class_name")}
    frame.assign(**texts).to_csv(rows, columns=list(_FIELDS), index=False, lineterminator="\r\n")
    markdown.write_text(markdown_report(results), encoding="utf-8")
    page.write_text(html_report(results), encoding="utf-8")
    return [rows, markdown, page]


def unlike_formula(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def metrics_csv(measurements: Mapping[str, Measurement], cams: Mapping[str, Cam]) -> bytes:
    """A row for each method and control of one picture: every metric, and the costs where there are any."""
    costs = ("seconds", "forward_passes", "backward_passes")
    rows = [
        {"key": key, **each.metrics} | ({name: getattr(cams[key], name) for name in costs} if key in cams else {})
        for key, each in measurements.items()
    ]
    columns = ["key", *METRICS, *costs]
    return pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False, lineterminator="\r\n").encode()


def conditions(results: Results) -> list[str]:
    """How it was measured, a sentence or two each."""
    settings, baselines = results.settings, (results.settings.insertion_baseline, results.settings.deletion_baseline)
    start, end = (BASELINES[key].name + (f" ({results.zero})" if key == "zero" else "") for key in baselines)
    return [
        f"{results.pictures} pictures, {results.model_name}, target layer {results.target_layer}, camkit {__version__}"
        f", {os.cpu_count()} CPU cores, {results.minutes:.1f} minutes of measuring, over all runs of this checkpoint.",
        "The class explained is the top class, or that of the picture's first box; the same class on both sides of "
        "every comparison.",
        f"Curves of {settings.steps} steps; insertion starts from {start}, deletion ends in {end}. Faster Score-CAM "
        f"takes {settings.max_n} channels. The random control's seed is {settings.seed}.",
        f"Coherency, and so ADCC, was measured for {COHERENCY[settings.coherency]}.",
        *_sampled(results),
        *(f"Skipped: {shown(name)}. {why}" for name, why in results.skipped.items()),
    ]


def _sampled(results: Results) -> list[str]:
    names = [shown(value["picture"]) for value in results.values.get("sweep", ()) if value["points"]]
    if not names:
        return []
    return [f"Sampled: the sweep, run to its end on {', '.join(names)}. All else was measured on every picture."]


def markdown_report(results: Results) -> str:
    """The conditions and all tables."""
    said = "\n".join(f"- {escaped(line)}" for line in conditions(results))
    drawn = "".join(f"\n## {table.title}\n\n{table.markdown()}" for table in tables(results))
    return f"# Faithfulness over a set of pictures\n\n{said}\n{drawn}"


def html_report(results: Results) -> str:
    """The conditions, all tables, and the pictures with their overlays, in one file that needs no other."""
    pictures = [
        {
            "title": f"{shown(value['picture'])}: {value['class_name']}, {value['probability']:.1%}",
            "figures": [(data, captions(value)[key]) for key, data in value["thumbnails"].items()],
        }
        for value in results.values["metrics"][:SHOWN]
    ]
    return TEMPLATES.get_template("report.html.j2").render(
        conditions=conditions(results), tables=tables(results), pictures=pictures, count=results.pictures
    )


def captions(value: dict) -> dict[str, str]:
    worth = {row["key"]: f"{NAMES[row['key']]} {row['insertion_minus_deletion']:+.3f}" for row in value["rows"]}
    return {"picture": "the picture"} | worth


def summary_html(results: Results) -> str:
    """The means over the pictures as a piece of HTML."""
    macros = TEMPLATES.get_template("report.html.j2").module
    return str(macros.table(summary_table(results)))  # type: ignore[attr-defined]
