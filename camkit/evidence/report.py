"""The files of an evaluation: every table as Markdown, the same with pictures as one HTML page, and the rows as CSV."""

from __future__ import annotations

import csv
import html
import io
import os
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError
from ..labels import class_at
from ..version import __version__
from .claims import comparison, published_table
from .metrics import BASELINES
from .results import (
    COHERENCY,
    COLUMNS,
    NAMES,
    NOISE,
    NOTHING,
    TUNED,
    Facts,
    Table,
    cell,
    differences,
    escaped,
    interval,
    marked,
    summarise,
)

SHOWN = 24  # pictures on the page: some 25 kB each, so that it stays under 2 MB
_ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}
_PAIRED = ("seconds", "confidence_drop", "increase", "insertion", "deletion", "insertion_minus_deletion", "complexity",
           "adcc")  # fmt: skip
_ALIGNED = ("insertion", "deletion", "insertion_minus_deletion")
_FIELDS = ("picture", "class_index", "class_name", "probability", "key", *COLUMNS)


# --- the tables ----------------------------------------------------------------------------------------------------


def summary_table(facts: Facts) -> Table:
    """A row a method and control, a column a figure."""
    summary = summarise(facts.rows)
    shown = [
        column
        for key, column in COLUMNS.items()
        if key != "energy_inside" and any(row[key] for row in summary.values())  # boxes have a table of their own
    ]
    rows = ((NAMES[key], *(cell(row[column.key], column.format) for column in shown)) for key, row in summary.items())
    return Table(
        f"Means over {facts.pictures} pictures",
        ("", *(column.name + _ARROWS[column.better] for column in shown)),
        tuple(rows),
        "Brackets hold 95 % intervals of the mean over pictures: Student's t, for shares of pictures Wilson's; none is "
        "cut off at the ends of its scale. The controls know nothing of the picture; their coherency is 1 by "
        "construction. A method beats every control on a picture when its insertion less deletion is higher.",
    )


def difference_table(facts: Facts) -> Table:
    """A row a pair of methods; clear differences are marked."""
    columns = [COLUMNS[name] for name in _PAIRED]
    rows = (
        (f"{NAMES[first]} less {NAMES[second]}", *(marked(row[column.key], column.format) for column in columns))
        for (first, second), row in differences(facts.rows).items()
    )
    return Table(
        "Paired differences",
        ("", *(column.name for column in columns)),
        tuple(rows),
        "First method less second on the same picture, mean and 95 % interval (Student's t). * marks intervals that "
        "leave out zero; nothing corrects for the number of comparisons.",
    )


def layer_table(facts: Facts) -> Table:
    """Earlier layers: better than the controls? How far from the default layer's map?"""
    rows = [("Beats every control", facts.target_layer, *facts.each(facts.beats))]
    rows += [
        ("Beats every control", layer, *facts.each(lambda key, layer=layer: facts.beats(key, layer)))
        for layer in facts.layers
    ]
    rows += [
        (
            "1 - correlation with the default layer's map",
            layer,
            *facts.intervals("layers", "moved", "{:.2f}", layer=layer),
        )
        for layer in facts.layers
    ]
    note = "Pictures on which insertion less deletion is higher than that of all three controls."
    return Table("Use of layers", ("", "Target layer", *facts.each(NAMES.get)), tuple(rows), note)


def noise_table(facts: Facts) -> Table:
    """The map's correlation with itself under noise."""
    rows = ((f"sigma {sigma}", *facts.intervals("noise", "correlation", "{:.3f}", sigma=sigma)) for sigma in NOISE)
    note = "Gaussian noise of a fixed seed, added to every picture at the model's input size."
    return Table("Noise: the map's correlation with itself", ("Grey levels", *facts.each(NAMES.get)), tuple(rows), note)


def box_table(facts: Facts) -> Table:
    """Share of the map's energy inside each hand-drawn box."""
    rows = []
    for value in facts.values["boxes"]:
        found = {(row["label"], row["key"]): row for row in value["rows"]}
        for label, row in {row["label"]: row for row in value["rows"]}.items():
            cells = (f"{found[label, key]['energy_inside']:.0%}" for key in facts.settings.methods)
            class_name = class_at(row["class_index"]).name
            rows.append((value["picture"], f"{label} ({class_name})", f"{row['chance']:.0%}", *cells))
    header = ("Picture", "Box (class)", "The box's share of the picture", *facts.each(NAMES.get))
    note = "An even map has as much energy inside as the box has area."
    return Table("Localization: energy inside the box", header, tuple(rows), note)


def tuning_table(facts: Facts) -> Table:
    """How far Faster Score-CAM's map moves with max_n."""
    rows = ((str(count), cell(interval(facts.moves(count)), "{:.3f}")) for count in TUNED)
    title = f"Tuning: 1 - correlation with Faster Score-CAM's map at max_n = {TUNED[1]}"
    return Table(title, ("max_n", NAMES["faster_scorecam"]), tuple(rows))


def dial_table(facts: Facts) -> Table:
    """Faster Score-CAM against the full Score-CAM, for rising max_n."""
    curves = {
        value["picture"]: {point["max_n"]: point for point in value["points"]}
        for value in facts.values["dial"]
        if value["points"]
    }
    rows = []
    for count in sorted({count for points in curves.values() for count in points}):
        points = [points[count] for points in curves.values() if count in points]
        seconds = statistics.fmean(point["seconds"] for point in points)
        average = cell(interval(point["correlation"] for point in points), "{:.3f}")
        cells = (f"{curve[count]['correlation']:.3f}" if count in curve else NOTHING for curve in curves.values())
        rows.append((str(count), f"{seconds:.2f}", average, *cells))
    title = "The dial: correlation of Faster Score-CAM with the full Score-CAM"
    return Table(title, ("max_n", "Seconds", "Mean", *curves), tuple(rows), "Pearson's correlation, one run a picture.")


def alignment_table(facts: Facts) -> Table:
    """Half-pixel less corner-aligned expansion, by method and over all methods."""
    gains = {(metric, key): _gains(facts, metric, key) for metric in _ALIGNED for key in facts.settings.methods}
    rows = [
        (NAMES[key], *(marked(interval(gains[metric, key]), "{:+.4f}") for metric in _ALIGNED))
        for key in facts.settings.methods
    ]
    means = (zip(*(gains[metric, key] for key in facts.settings.methods), strict=True) for metric in _ALIGNED)
    rows.append(("Mean of the methods", *(marked(interval(map(statistics.fmean, each)), "{:+.4f}") for each in means)))
    return Table(
        "Alignment: half-pixel less corner-aligned",
        ("", *(COLUMNS[metric].name for metric in _ALIGNED)),
        tuple(rows),
        "The same raw maps expanded both ways; paired differences with 95 % intervals (Student's t). Half-pixel is "
        "better where insertion rises and deletion falls; * marks intervals that leave out zero.",
    )


def _gains(facts: Facts, metric: str, key: str) -> list[float]:
    half_pixel, corner = (facts.figures("alignment", key, name, metric=metric) for name in ("half_pixel", "corner"))
    return [new - old for new, old in zip(half_pixel, corner, strict=True)]


_BY_PART = {
    "layers": (comparison, layer_table), "noise": (noise_table,), "boxes": (box_table,),
    "dial": (tuning_table, dial_table), "alignment": (alignment_table,),
}  # fmt: skip


def tables(facts: Facts) -> list[Table]:
    """Every table that the measured parts allow."""
    claims = [table(facts) for part, made in _BY_PART.items() if facts.values.get(part) for table in made]
    return [summary_table(facts), difference_table(facts), *claims, published_table(facts)]


# --- the files -----------------------------------------------------------------------------------------------------


def write_reports(folder: Path, facts: Facts) -> list[Path]:
    """results.csv, report.md with the tables, report.html with the pictures too; returns their paths. InputError when
    no picture could be read."""
    if not facts.pictures:
        reasons = " ".join(f"{name}: {why}" for name, why in facts.skipped.items())
        raise InputError(f"No picture could be read. {reasons}")
    markdown, page = folder / "report.md", folder / "report.html"
    markdown.write_text(markdown_report(facts), encoding="utf-8")
    page.write_text(html_report(facts), encoding="utf-8")
    return [write_csv(folder / "results.csv", facts.rows), markdown, page]


def write_csv(path: Path, rows: Iterable[dict]) -> Path:
    """One row a picture and method or control."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def metrics_csv(results: Mapping, cams: Mapping) -> bytes:
    """A row for each method and control: every metric, and the costs where there are any."""
    costs = ("seconds", "forward_passes", "backward_passes")
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["key", *next(iter(results.values())).metrics, *costs])
    for key, result in results.items():
        cost = [getattr(cams[key], name) for name in costs] if key in cams else [""] * len(costs)
        writer.writerow([key, *("" if value is None else value for value in result.metrics.values()), *cost])
    return buffer.getvalue().encode()


def conditions(facts: Facts) -> list[str]:
    """How it was measured, a sentence or two each."""
    settings, baselines = facts.settings, (facts.settings.insertion_baseline, facts.settings.deletion_baseline)
    start, end = (BASELINES[key].name + (f" ({facts.zero})" if key == "zero" else "") for key in baselines)
    return [
        f"{facts.pictures} pictures, {facts.model_name}, target layer {facts.target_layer}, camkit {__version__}, "
        f"{os.cpu_count()} CPU cores, {facts.minutes:.1f} minutes of measuring, over all runs of this checkpoint.",
        "The class explained is the top class, or that of the picture's first box; the same class on both sides of "
        "every comparison.",
        f"Curves of {settings.steps} steps; insertion starts from {start}, deletion ends in {end}. Faster Score-CAM "
        f"takes {settings.max_n} channels. The random control's seed is {settings.seed}.",
        f"Coherency, and so ADCC, was measured for {COHERENCY[settings.coherency]}.",
        *_sampled(facts),
        *(f"Skipped: {name}. {why}" for name, why in facts.skipped.items()),
    ]


def _sampled(facts: Facts) -> list[str]:
    names = [value["picture"] for value in facts.values.get("dial", ()) if value["points"]]
    if not names:
        return []
    return [f"Sampled: the dial, turned to its end on {', '.join(names)}. All else was measured on every picture."]


def markdown_report(facts: Facts) -> str:
    """The conditions and all tables."""
    said = "\n".join(f"- {escaped(line)}" for line in conditions(facts))
    drawn = "".join(f"\n## {table.title}\n\n{table.markdown()}" for table in tables(facts))
    return f"# Faithfulness over a set of pictures\n\n{said}\n{drawn}"


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Faithfulness over a set of pictures</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em auto;
max-width: 1200px; padding: 0 1em }} table {{ border-collapse: collapse; display: block; overflow-x: auto }}
td, th {{ border: 1px solid #8886; padding: .25em .5em; text-align: left; font-size: 13px }}
figure {{ display: inline-block; margin: .3em }} figcaption {{ font-size: 12px }}</style>
<h1>Faithfulness over a set of pictures</h1>
<ul>{conditions}</ul>
{tables}<h2>Pictures</h2>
<p>{shown} of {count}; below each overlay insertion less deletion.</p>
{pictures}</html>
"""


def html_report(facts: Facts) -> str:
    """The conditions, all tables, and the pictures with their overlays, in one file that needs no other."""
    shown = facts.values["metrics"][:SHOWN]
    return _PAGE.format(
        conditions="".join(f"<li>{html.escape(line)}</li>\n" for line in conditions(facts)),
        tables="".join(table.html() for table in tables(facts)),
        shown=len(shown), count=facts.pictures, pictures="".join(_figures(value) for value in shown),
    )  # fmt: skip


def _figures(value: dict) -> str:
    worth = {row["key"]: f"{NAMES[row['key']]} {row['insertion_minus_deletion']:+.3f}" for row in value["rows"]}
    captions = {"picture": "the picture"} | worth
    figures = "".join(
        f'<figure><img src="{data}" alt="{captions[key]}"><figcaption>{captions[key]}</figcaption></figure>'
        for key, data in value["thumbnails"].items()
    )
    title = f"{value['picture']}: {value['class_name']}, {value['probability']:.1%}"
    return f"<h3>{html.escape(title)}</h3>\n{figures}\n"
