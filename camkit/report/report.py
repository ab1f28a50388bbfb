"""The tables of one picture and of a study, and a study's files: every table as Markdown, the same with pictures as one
HTML page, and the rows as CSV."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from ..errors import InputError, quoted
from ..evidence.metrics import BASELINES, CONTROLS, METRICS, Metric, beats_controls
from ..evidence.observations import Measurement
from ..evidence.sanity import CONTROL_NAMES, Likeness
from ..evidence.settings import COHERENCY, TUNING
from ..explanation import DEFAULT_MAX_N, Explanation
from ..methods import METHODS
from ..passes.outputs import CLASSES
from ..picture import Window
from ..study.columns import Column
from ..study.measurements import MEASUREMENTS
from ..study.progress import account
from ..units import seconds_in_words
from ..version import __version__
from .browser import page as browser_page
from .browser import write_folder
from .claims import comparison, published_table
from .classes import class_table
from .figures import sanity_figure
from .intervals import cell, interval, marked
from .localisation import box_table, localisation_table
from .results import Results, cores, name_of, over_pictures
from .tables import NOTHING, Cell, Table, escaped
from .words import BY_CHANCE, sanity_verdict, set_verdict, verdict

NO_PROBABILITY = "The model gives no probability: figures that need one are left out."
_BEATS = " A method beats every control on a picture when its insertion less deletion is higher."
_LEGEND = "\u2191: higher is better, \u2193: lower is better. Grey: controls, maps that know nothing of the picture."
FILES = "report_files"  # the folder beside report.html
_WINDOWS = 5  # pictures that are named
_ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}
_ABOUT = ("picture", "class_index", "class_name", "{}", "true_class", "true_rank")


# --- the tables ----------------------------------------------------------------------------------------------------


def measurement_table(
    measurements: Mapping[str, Measurement], explanation: Explanation, complete: bool = True
) -> Table:
    """Return a row a metric, a column a method and control. Columns of maps that are not measured yet are there and
    empty, those of maps that are not complete stay so; words and marks of the best come once it is `complete`."""
    cams = explanation.cams
    keys = [*cams, *CONTROLS]
    stopped = [key for key, cam in cams.items() if not cam.complete]
    methods = [key for key in cams if key in measurements]
    controls = [measurements[key] for key in CONTROLS if key in measurements]
    judged = complete and bool(controls) and bool(controls[0].curves)
    beats = {key: judged and beats_controls(measurements[key], controls) for key in methods}
    rows: list[tuple[str | Cell, ...]] = []
    measured = {name for each in measurements.values() for name in each.metrics} or set(METRICS)
    for name, metric in METRICS.items():
        if name not in measured:
            continue
        values = {key: measurements[key].metrics[name] for key in keys if key in measurements}
        texts = {key: NOTHING if value is None else metric.format.format(value) for key, value in values.items()}
        marked = best_of({key: values[key] for key in methods}, texts, metric) if any(beats.values()) else ()
        cells = []
        for key in keys:
            text = texts.get(key, NOTHING if complete or key in stopped else "…")
            cells.append(Cell(text, best=key in marked, faint=key in CONTROLS))
        heading = Cell(metric.name + _ARROWS[metric.better], help=f"{metric.summary} {metric.formula}. {metric.source}")
        rows.append((heading, *cells))
    rows.append(("Seconds", *(seconds_in_words(cams[key].seconds) if key in cams else "" for key in keys)))
    if judged:
        answers = ({True: "yes", False: "no", None: NOTHING}[beats.get(key)] for key in cams)
        rows.append(("Better than every control", *answers, *("" for _ in CONTROLS)))
    names = {key: name_of(key) for key in keys}
    names |= {key: f"{names[key]} (stopped at {cams[key].channels} of {cams[key].channels_total})" for key in stopped}
    empty = any(cell == NOTHING for row in rows for cell in map(str, row))
    return Table(
        f"How far the maps of {explanation.class_name} can be believed",
        ("Metric", *(Cell(names[key], faint=key in CONTROLS) for key in keys)),
        tuple(rows),
        words=verdict(measurements, explanation.probability) if complete else "",
        legend=f"{_LEGEND} Shaded: the best method." + f" {NOTHING}: not measured, too long or stopped." * empty,
    )


def best_of(values: Mapping[str, float | None], texts: Mapping[str, str], metric: Metric) -> list[str]:
    """Return the keys whose value is the best as it is written; none where all are alike or several share 0 or 1.

    values, texts: by method, as measured and as written.
    """
    known = {key: value for key, value in values.items() if value is not None}
    if not known:
        return []
    best = (min if metric.better == "lower" else max)(known, key=known.__getitem__)
    same = [key for key in known if texts[key] == texts[best]]
    at_an_end = texts[best] in (metric.format.format(0.0), metric.format.format(1.0))
    return [] if len(same) == len(known) or (at_an_end and len(same) > 1) else same


def summary_table(results: Results) -> Table:
    """Return means over pictures: a row a figure, a column a method and control."""
    summary = results.summary
    shown = [
        column
        for key, column in results.columns.items()
        if key != "energy_inside" and any(row[key] for row in summary.values())  # boxes have a table of their own
    ]
    rows: list[tuple[str | Cell, ...]] = [
        (
            column.name + _ARROWS[column.better],
            *(Cell(cell(row[column.key], column.format), faint=key in CONTROLS) for key, row in summary.items()),
        )
        for column in shown
    ]
    return Table(
        f"Means over {results.pictures} pictures",
        ("Figure", *(Cell(name_of(key), faint=key in CONTROLS) for key in summary)),
        tuple(rows),
        "Brackets hold 95 % intervals of the mean over pictures: Wilson's for shares of pictures, else Student's t, "
        "for percentages on the scale of the logit; none is cut off at the ends of its scale. The controls know "
        "nothing of the picture; their coherency is 1 by construction."
        + _BEATS
        * ("beats_controls" in results.columns),
        set_verdict(results),
        legend=_LEGEND,
    )


def difference_table(results: Results) -> Table:
    """Return paired differences: a row a figure, a column a pair of methods; clear ones are marked."""
    differences = results.differences
    rows = (
        (column.name, *(marked(row[name], column.format) for row in differences.values()))
        for name, column in results.columns.items()
        if name in ("seconds", *METRICS)
    )
    return Table(
        "Paired differences",
        ("Figure", *(f"{name_of(first)} less {name_of(second)}" for first, second in differences)),
        tuple(rows) if differences else (),
        "First method less second on the same picture, mean and 95 % interval (Student's t). * marks intervals that "
        "leave out zero; nothing corrects for the number of comparisons.",
    )


def layer_table(results: Results) -> Table:
    """Return at earlier layers how often maps beat the controls, and how far they are from the default layer's."""
    beats = [("Beats every control", results.target_layer, *results.each(results.beats))]
    beats += [
        ("Beats every control", layer, *results.each(partial(results.beats, layer=layer))) for layer in results.layers
    ]
    rows = beats if "beats_controls" in results.columns else []
    note = "Pictures on which insertion less deletion is higher than that of every control." if rows else ""
    rows = rows + [
        (
            "1 - correlation with the default layer's map",
            layer,
            *results.intervals("layers", "moved", "{:.2f}", layer=layer),
        )
        for layer in results.layers
    ]
    return Table("Use of layers", ("Figure", "Target layer", *results.names), tuple(rows), note)


def means_table(key: str, results: Results) -> Table:
    """Return the table of a measurement as its entry of MEASUREMENTS describes it."""
    entry, frame = MEASUREMENTS[key], results.frames[key]
    values = frame[entry.by].unique().tolist() if entry.by and len(frame) else [None]
    rows = tuple(
        (
            column.name,
            *([f"{value:g}" if isinstance(value, float) else value] if entry.by else ()),
            *results.each(partial(_mean_cell, results, key, column, {entry.by: value} if entry.by else {})),
        )
        for column in entry.columns
        for value in values
    )
    header = ("Figure", *([entry.by_name] if entry.by else ()), *results.names)
    return Table(entry.title, header, rows, entry.note)


def _mean_cell(results: Results, measurement: str, column: Column, where: Mapping, key: str) -> str:
    return cell(over_pictures(column, results.figures(measurement, key, column.key, **where)), column.format)


def accuracy_table(results: Results) -> Table:
    """Return how often the classifier was right where the true class is known."""
    rows = tuple(
        (f"True class {words}", cell(results.top(count), "{:.1%}"))
        for count, words in ((1, "is the top class (top-1)"), (5, "is among the first five (top-5)"))
    )
    note = (
        f"Of the {results.known} pictures whose true class is known; Wilson's 95 % intervals. A map of a wrong answer "
        "is another thing than a map of a right one: see the tables below."
    )
    return Table("Accuracy of the classifier", ("Figure", results.model_name), rows if results.known else (), note)


def answer_tables(results: Results) -> Iterator[Table]:
    """Yield the means over the pictures that were answered rightly and over those that were not."""
    for rightly, words in ((True, "rightly"), (False, "wrongly")):
        part = results.answered(rightly)
        if part.pictures:
            yield replace(summary_table(part), title=f"Means over the pictures answered {words}: {part.pictures}")


def tuning_table(results: Results) -> Table:
    """Return how far Faster Score-CAM's map moves with max_n."""
    rows = ((str(count), cell(interval(results.moves(count)), "{:.3f}")) for count in TUNING)
    title = f"Tuning: 1 - correlation with Faster Score-CAM's map at max_n = {TUNING[1]}"
    return Table(title, ("max_n", name_of("faster_scorecam")), tuple(rows))


def sweep_table(results: Results) -> Table:
    """Return the correlation of Faster Score-CAM with the full Score-CAM for rising max_n."""
    curves = {
        quoted(value["picture"]): {point["max_n"]: point for point in value["points"]}
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


def sanity_table(results: Results) -> Table:
    """Return how like its original each map stays while the network is randomised, with its figure."""
    names = [field.name for field in fields(Likeness)]
    frame = results.frames["sanity"][names].astype(dict.fromkeys(("number", "layers", "layers_total"), int))
    rows = [Likeness(**row) for row in frame.to_dict("records")]
    words = f"Means over {results.pictures} pictures. " if results.pictures > 1 else ""
    stage = ["key", "number", "layer", "layers", "layers_total"]
    means = frame.groupby(stage, sort=False, as_index=False).mean().to_dict("records")
    figure = sanity_figure([Likeness(**row) for row in means]).to_html(full_html=False, default_width="100%")
    return replace(likeness_table(rows, words), figure=figure)


def likeness_table(points: Iterable[Likeness], words: str = "") -> Table:
    """Return a row a stage and a column a map, means over pictures where there are several; `words` open the
    verdict."""
    found: dict[tuple[str, int], list[Likeness]] = {}
    for point in points:
        found.setdefault((point.key, point.number), []).append(point)
    stages = {number: same[0] for (_, number), same in found.items()}
    keys = [key for key in METHODS if any(key == known for known, _ in found)]
    keys += CONTROL_NAMES

    def line(figure: str, name: str, number: int) -> tuple[str | Cell, ...]:
        values = ([getattr(each, name) for each in found.get((key, number), ())] for key in keys)
        texts = (cell(interval(each), "{:+.2f}") for each in values)
        cells = (Cell(text, faint=key in CONTROL_NAMES) for key, text in zip(keys, texts, strict=True))
        stage = stages[number]
        return (f"{figure}{stage.layers} of {stage.layers_total}: {stage.layer}", *cells)

    last = max(stages)
    final = {key: [each.correlation for each in same] for (key, number), same in found.items() if number == last}
    return Table(
        "Sanity check: does the map depend on what the network learned?",
        (
            "Layers randomised, down to",
            *(Cell(CONTROL_NAMES.get(key) or name_of(key), faint=key in CONTROL_NAMES) for key in keys),
        ),
        (*(line("", "correlation", number) for number in sorted(stages)), line("SSIM, ", "ssim", last)),
        "Rank correlation with the trained network's map of the same class; last the structural similarity. A copy's "
        "weights are drawn anew from the output downwards (Adebayo et al. 2018), with one seed. 1 is the same map; a "
        "flat map beside another counts as 0. The fixed map ignores the network; the random one, new at each stage, is "
        "compared with every original; "
        f"unrelated maps reach {BY_CHANCE:.2f} as well.",
        words + sanity_verdict({key: interval(each) for key, each in final.items()}) if stages[last].last else "",
    )


# What is said of these measurements is more than the means that their entries describe.
_TABLES: dict[str, tuple[Callable[[Results], Table], ...]] = {
    "layers": (comparison, layer_table),
    "boxes": (localisation_table, box_table),
    "sanity": (sanity_table,),
    "sweep": (tuning_table, sweep_table),
}


def tables(results: Results) -> list[Table]:
    """Return every table that the measured parts allow."""
    described = {key: (partial(means_table, key),) for key, entry in MEASUREMENTS.items() if entry.columns}
    parts = [key for key in MEASUREMENTS if results.values.get(key) and (key != "boxes" or len(results.frames[key]))]
    claims = [table(results) for part in parts for table in (described | _TABLES).get(part, ())]
    answers = [accuracy_table(results), *answer_tables(results)] if results.known else []
    return [summary_table(results), difference_table(results), *answers, *claims, published_table(results)]


# --- the files -----------------------------------------------------------------------------------------------------


def write_reports(folder: Path, results: Results) -> list[Path]:
    """Write results.csv, report.md with the tables, report.html with the pictures too, and the folder FILES that it
    needs beside it; return the paths of the three. InputError when no picture could be read."""
    if not results.pictures:
        raise InputError(f"No picture could be read. {account('0 measured', results.skipped)}")
    rows, markdown, page = folder / "results.csv", folder / "report.md", folder / "report.html"
    with rows.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, results)
    views = write_folder(folder / FILES, results)
    made, first = tables(results), results.settings.methods[0]
    by_class = class_table(views.classes, first, name_of(first))
    markdown.write_text(markdown_report(results, [*made, by_class]), encoding="utf-8")
    page.write_text(html_report(results, made), encoding="utf-8")
    return [rows, markdown, page]


def write_csv(file: TextIO, results: Results) -> None:
    """Write a row for each picture and method or control, as measured; empty where nothing was."""
    writer = csv.writer(file)
    columns, names = results.columns, [each.format(results.outputs.quantity) for each in _ABOUT]
    writer.writerow((*names, "key", *columns))
    for value in results.values["metrics"]:
        texts = {name: unlike_formula(value[name]) for name in ("picture", "class_name")}
        about = [(value | texts)[name] for name in names]
        writer.writerows([*about, row["key"], *map(row.get, columns)] for row in value["rows"])


def unlike_formula(text: str) -> str:
    """Return the text so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def conditions(results: Results) -> list[str]:
    """Return how it was measured, a sentence or two each."""
    settings, baselines = results.settings, (results.settings.insertion_baseline, results.settings.deletion_baseline)
    start, end = (BASELINES[key].name + (f" ({results.zero})" if key == "zero" else "") for key in baselines)
    known = {"inputs": results.inputs, "outputs": "" if results.outputs is CLASSES else results.outputs.summary}
    said = "; ".join(f"{name} {words}" for name, words in known.items() if words)
    inputs = f" ({said})" if said else ""
    measured = results.outputs.are_probabilities
    curves = f"Curves of {settings.steps} steps; insertion starts from {start}, deletion ends in {end}."
    curves = curves if measured else NO_PROBABILITY
    return [
        f"{results.pictures} pictures, {results.model_name}{inputs}, target layer {results.target_layer}, camkit "
        f"{__version__}, {cores()}, {results.minutes:.1f} minutes of measuring, over all runs of this checkpoint.",
        f"The class explained is the picture's true class where it is known ({results.known} of {results.pictures} "
        "pictures), else that of its first box, else the top class; the same class on both sides of every comparison.",
        f"{curves} Faster Score-CAM takes {settings.max_n or DEFAULT_MAX_N} channels. The random control's seed is "
        f"{settings.seed}.",
        f"Coherency{', and so ADCC,' if measured else ''} was measured for {COHERENCY[settings.coherency]}.",
        *_windows(results),
        *_sampled(results),
        account(f"{results.pictures} measured", results.skipped),
    ]


def _windows(results: Results) -> list[str]:
    """Return how grey pictures of more than 8 bits are shown: as the settings say, else each in a window of its own."""
    if results.settings.window:
        return [f"Grey pictures of more than 8 bits: {Window(*results.settings.window).sentence}."]
    shown = [(quoted(each["picture"]), each["window"]) for each in results.values["metrics"] if "window" in each]
    if not shown:
        return []
    listed = "; ".join(f"{name} {window}" for name, window in shown[:_WINDOWS])
    more = f"; and {len(shown) - _WINDOWS} more" if len(shown) > _WINDOWS else ""
    return [
        f"Grey pictures of more than 8 bits: {len(shown)}, each by its file's own window or from its smallest to its "
        f"largest value: {listed}{more}."
    ]


def _sampled(results: Results) -> list[str]:
    names = [quoted(value["picture"]) for value in results.values.get("sweep", ()) if value["points"]]
    if not names:
        return []
    return [f"Sampled: the sweep, run to its end on {', '.join(names)}. All else was measured on every picture."]


def markdown_report(results: Results, made: Sequence[Table] | None = None) -> str:
    """Return the conditions and all tables as Markdown; `made` are the tables where they are made already."""
    said = "\n".join(f"- {escaped(line)}" for line in conditions(results))
    drawn = "".join(f"\n## {table.title}\n\n{table.markdown()}" for table in made or tables(results))
    return f"# Faithfulness over a set of pictures\n\n{said}\n{drawn}"


def html_report(results: Results, made: Sequence[Table] | None = None) -> str:
    """Return the page that shows the conditions, all tables, and the pictures that lie in FILES beside it; `made` as
    above."""
    right = results.top(1)
    accuracy = "" if right is None else f", {cell(right, '{:.0%}')} of {results.known} answered rightly"
    return browser_page(
        lead=f"{results.pictures} pictures by {results.model_name}{accuracy}.",
        conditions=conditions(results),
        tables=made or tables(results),
        data=f"{FILES}/data.js",
    )
