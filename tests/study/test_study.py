"""Faithfulness over a set: statistics against hand-worked values, a run that is killed and goes on, the checkpoint's
refusals, the zip's limits one by one, the tables and files, the sweep against separate runs, and the command itself.
"""

import csv
import io
import json
import math
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from conftest import EXAMPLES, ROOT
from PIL import Image
from plotly.offline import get_plotlyjs
from test_archive import zipped

import camkit
from camkit import evaluate
from camkit.evidence.curves import measure_stream
from camkit.evidence.metrics import CONTROLS, METRICS
from camkit.evidence.settings import NOISE_SIGMAS, Box, Settings
from camkit.evidence.sweep import sweep
from camkit.methods import METHODS
from camkit.picture import to_rgb
from camkit.report.claims import BEGIN, END, PUBLISHED, comparison, comparison_table, published_table, put_table
from camkit.report.intervals import interval, share
from camkit.report.report import html_report, markdown_report, summary_table, tables, write_reports
from camkit.report.results import Results
from camkit.report.tables import Table, escaped
from camkit.scorecam import map_of_inputs
from camkit.study import study
from camkit.study.archive import unzip_pictures
from camkit.study.checkpoint import Checkpoint
from camkit.study.columns import metric_columns
from camkit.study.measurements import MEASUREMENTS
from camkit.study.pictures import SHOWN, plan
from camkit.study.study import study_stream

FAST = Settings(methods=("gradcam", "faster_scorecam"), max_n=2, steps=4)
SMALL = Settings(max_n=3, steps=4)
BOXES = {"1.png": (Box("left half", 5, (0.0, 0.0, 0.5, 1.0)), Box("lower half", 7, (0.0, 0.5, 1.0, 1.0)))}


def picture(seed: int) -> bytes:
    """A seeded 50 x 60 PNG that excites every channel of the tiny model."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 50, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


ALWAYS = sum(each.always for each in MEASUREMENTS.values())  # lines that a picture of a report makes
PICTURES = {f"{seed}.png": picture(seed) for seed in range(3)}


def finished(*arguments, **options) -> study.StudyState:
    *_, last = study_stream(*arguments, **options)
    assert last.complete
    return last


@pytest.fixture(scope="module")
def everything(tiny) -> Results:
    """All measurements on three pictures and one that cannot be read, with the tiny model."""
    pictures = {**PICTURES, "no|picture<b>.png": b"text"}
    return Results.of(tiny, SMALL, finished(tiny, pictures, SMALL, BOXES, tuple(MEASUREMENTS)))


# --- statistics, by hand -------------------------------------------------------------------------------------------


def test_interval_by_hand():
    """1, 2, 3: mean 2, standard deviation 1, and t at 97.5 % with 2 degrees of freedom is 4.30265."""
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.count) == (2.0, 3)
    assert [found.low, found.high] == pytest.approx([2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5], abs=1e-5)
    assert found.show("{:.1f}") == "2.0 [-0.5, 4.5]"


def test_interval_of_one_value_and_of_none():
    assert interval([]) is None and share([]) is None
    assert (interval([0.3]).low, share([1.0]).high) == (None, None)
    assert interval([0.3]).show("{:.2f}") == "0.30" and not interval([0.3]).clear


def test_interval_of_equal_values_is_shown_as_one_number_without_a_minus_zero():
    assert interval([0.25, 0.25]).show("{:.2f}") == "0.25"
    assert interval([-1e-9, -2e-9]).show("{:.1%}") == "0.0%"
    assert interval([-0.5, -0.5]).show("{:.1f}") == "-0.5"


def test_share_by_hand():
    """Wilson's interval of 0 in 5 ends at z² / (n + z²), z = 1.95996, which is 0.43449; a t interval would be empty."""
    found = share([0.0] * 5)
    assert [found.mean, found.low, found.high] == pytest.approx([0.0, 0.0, 0.43449], abs=1e-4)


def row(name, key, **values):
    return dict.fromkeys(metric_columns()) | {"picture": name, "key": key} | values


def results_of(tiny, rows) -> Results:
    by_picture: dict = {}
    for each in rows:
        by_picture.setdefault(each["picture"], []).append(each)
    values = {"metrics": [{"picture": name, "spent": 0.0, "rows": each} for name, each in by_picture.items()]}
    return Results.of(tiny, SMALL, study.StudyState(1, 1, values=values))


def rows_of(results) -> list[dict]:
    return results.frames["metrics"].to_dict("records")


def test_summary_and_differences_by_hand(tiny):
    rows = [row("a", "gradcam", deletion=0.2, increase=1.0), row("b", "gradcam", deletion=0.4, increase=0.0),
            row("a", "scorecam", deletion=0.1), row("b", "scorecam", deletion=0.3), row("c", "scorecam", deletion=9.0),
            row("a", "random", deletion=0.5)]  # fmt: skip
    found = results_of(tiny, rows)
    means = found.summary
    assert list(means) == ["gradcam", "scorecam", "random"]
    assert means["gradcam"]["deletion"].mean == pytest.approx(0.3) and means["gradcam"]["increase"].mean == 0.5
    assert means["gradcam"]["insertion"] is None
    ((pair, by_column),) = found.differences.items()
    deletion = by_column["deletion"]  # c has no pair and does not count
    assert (deletion.count, deletion.mean) == (2, pytest.approx(0.1)) and deletion.clear
    assert pair == ("gradcam", "scorecam")


def test_a_difference_is_clear_only_when_its_interval_leaves_out_zero():
    assert (
        interval([0.1, 0.11, 0.12]).clear and interval([-0.1, -0.11, -0.12]).clear and not interval([-1.0, 1.0]).clear
    )


# --- what is measured ----------------------------------------------------------------------------------------------


def test_rows_hold_every_metric_of_every_method_and_control(everything):
    keys = [each["key"] for each in rows_of(everything) if each["picture"] == "0.png"]
    assert keys == [*camkit.DEFAULT_METHODS, *CONTROLS] and len(rows_of(everything)) == 3 * len(keys)
    for each in rows_of(everything):
        assert all(math.isfinite(each[name]) for name in METRICS)
        assert math.isnan(each["seconds"]) == (each["key"] in CONTROLS) == math.isnan(each["beats_controls"])


def test_the_class_is_the_top_class_or_that_of_the_first_box(everything, tiny):
    by_name = {value["picture"]: value for value in everything.values["metrics"]}
    assert by_name["1.png"]["class_index"] == 5
    assert by_name["0.png"]["class_index"] == int(np.argmax(tiny.predict(camkit.open_picture(PICTURES["0.png"]))))


def test_metrics_equal_those_measured_by_themselves(tiny, everything):
    image = camkit.open_picture(PICTURES["0.png"])
    explanation = camkit.explain(tiny, image, max_n=3)
    inputs, found = tiny.preprocess(image)[0], [each for each in rows_of(everything) if each["picture"] == "0.png"]
    for each in found[: len(camkit.DEFAULT_METHODS)]:

        def map_of(seen, key=each["key"]):
            *_, last = map_of_inputs(tiny, seen[None], key, explanation.question)
            return last

        score_fn, cam = tiny.score_fn(explanation.class_index), explanation.cams[each["key"]]
        alone = dict(measure_stream(score_fn, inputs, {"it": cam.map}, {"it": map_of}, steps=4, controls=()))
        assert {name: each[name] for name in METRICS} == pytest.approx(alone["it"].metrics, abs=1e-5)
        assert each["forward_passes"] == cam.forward_passes


@pytest.mark.parametrize(
    ("coherency", "measured"), [("all", {"gradcam", "scorecam"}), ("fast", {"gradcam"}), ("none", set())]
)
def test_coherency_costs_what_was_asked_for(tiny, coherency, measured):
    settings = Settings(methods=("gradcam", "scorecam"), steps=2, coherency=coherency)
    rows = finished(tiny, {"0.png": PICTURES["0.png"]}, settings).values["metrics"][0]["rows"]
    assert {each["key"] for each in rows if each["coherency"] is not None} - set(CONTROLS) == measured


def test_layers_noise_and_boxes_by_what_they_must_be(everything):
    assert everything.layers == ("early",)
    assert all(-1e-6 <= each["moved"] <= 2 for value in everything.values["layers"] for each in value["rows"])
    for sigma in NOISE_SIGMAS:
        assert len(everything.figures("noise", "gradcam", "correlation", sigma=sigma)) == 3
    found = everything.values["boxes"][1]["rows"]
    assert {(each["label"], each["class_index"]) for each in found} == {("left half", 5), ("lower half", 7)}
    assert {each["chance"] for each in found} == {0.5} and not everything.values["boxes"][0]["rows"]


def test_energy_inside_is_of_the_first_box(everything):
    in_row = next(each for each in rows_of(everything) if each["picture"] == "1.png" and each["key"] == "scorecam")
    in_box = next(each for each in everything.values["boxes"][1]["rows"] if each["key"] == "scorecam")
    assert in_row["energy_inside"] == pytest.approx(in_box["energy_inside"])
    uniform = next(each for each in rows_of(everything) if each["picture"] == "1.png" and each["key"] == "uniform")
    assert uniform["energy_inside"] == pytest.approx(0.5) and uniform["half_area"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ()}, "No method is chosen"),
        ({"methods": ("x",)}, "x"),
        ({"coherency": "some"}, "it must be one of all"),
        ({"steps": 0}, "steps is 0"),
        ({"insertion_baseline": "white"}, "Baseline 'white' is unknown"),
        ({"window": (4095, 0)}, "The window is"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_arguments_are_checked_at_the_call(tiny):
    for pictures, settings, wanted, message in (
        ({}, FAST, ("metrics",), "no picture to evaluate"),
        (PICTURES, FAST, ("x",), "Unknown measurements"),
        (PICTURES, replace(FAST, max_n=13), (), "max_n is 13"),
        (PICTURES, replace(FAST, target_layer="x"), (), "not offered"),
    ):
        with pytest.raises(ValueError, match=message):
            study_stream(tiny, pictures, settings, measurements=wanted)


def test_the_sweep_runs_to_its_end_on_a_sample_of_the_pictures(tiny):
    pictures = {f"{seed}.png": picture(seed) for seed in range(5)}
    last = finished(tiny, pictures, Settings(steps=1, coherency="none"), measurements=("sweep",))
    assert [bool(value["points"]) for value in last.values["sweep"]] == [True, False, True, False, True]
    assert all(value["moved"]["10"] < 1e-6 < value["moved"]["5"] for value in last.values["sweep"])


# --- going on after a stop -----------------------------------------------------------------------------------------


def comparable(state) -> dict:
    """Everything measured but the clock's readings."""
    text = json.dumps({part: list(values) for part, values in state.values.items()})
    return json.loads(re.sub(r'"(seconds|spent)": [^,}]+', r'"\1": 0', text))


def forbid(monkeypatch):
    """From here on nothing may be measured."""
    for key, part in MEASUREMENTS.items():
        monkeypatch.setitem(
            MEASUREMENTS, key, replace(part, take=lambda case: pytest.fail(f"{case.picture} is measured again"))
        )


def test_a_stream_closed_half_way_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
    whole = finished(tiny, PICTURES, FAST)
    stream = study_stream(tiny, PICTURES, FAST, checkpoint=tmp_path / "c")
    state = next(state for state in stream if state.done == 1)
    stream.close()
    assert len(state.values["metrics"]) == 1 and (tmp_path / "c").read_bytes().count(b"\n") == ALWAYS
    again = finished(tiny, PICTURES, FAST, checkpoint=tmp_path / "c")
    assert comparable(again) == comparable(whole)
    assert again.values["metrics"][0] == state.values["metrics"][0]  # the clock's readings are kept, too
    forbid(monkeypatch)
    third = finished(tiny, PICTURES, FAST, checkpoint=tmp_path / "c")
    assert {key: list(values) for key, values in third.values.items()} == {
        key: list(values) for key, values in again.values.items()
    }


def test_the_first_picture_measured_pays_for_no_warming_up(tiny, tmp_path):
    """Also when the pictures before it came from the checkpoint, with work of another measurement done on them."""
    path = tmp_path / "c"
    first = {"0.png": PICTURES["0.png"]}
    finished(tiny, first, FAST, checkpoint=path)
    states = list(study_stream(tiny, PICTURES, FAST, measurements=("noise",), checkpoint=path))
    warmed = {state.picture for state in states if state.label.endswith("warming up")}
    assert warmed == {"1.png"}


def test_closing_stops_within_a_picture(tiny):
    steps = [
        state.label.rpartition(": ")[2]
        for state in study_stream(tiny, {"0.png": PICTURES["0.png"]}, replace(FAST, steps=30))
    ]
    assert steps.count("maps") > 2
    of_coherency = 1 + 2  # Grad-CAM at once, Faster Score-CAM after each of two channels or both
    assert steps.count("metrics") >= 2 + len(CONTROLS) + of_coherency


@pytest.mark.parametrize("lost", [1, 40])
def test_a_cut_last_line_is_done_again_and_no_other(tiny, tmp_path, monkeypatch, lost):
    path = tmp_path / "c"
    whole = comparable(finished(tiny, PICTURES, FAST, checkpoint=path))
    data = path.read_bytes()
    path.write_bytes(data[:-lost])
    measured, run = [], MEASUREMENTS["overlays"].take
    forbid(monkeypatch)
    monkeypatch.setitem(
        MEASUREMENTS,
        "overlays",
        replace(MEASUREMENTS["overlays"], take=lambda case: measured.append(case.picture) or run(case)),
    )
    assert comparable(finished(tiny, PICTURES, FAST, checkpoint=path)) == whole
    assert measured == ["2.png"] and len(path.read_bytes().splitlines()) == 3 * ALWAYS
    assert all(json.loads(line)["job"] for line in path.read_bytes().splitlines())


def test_a_damaged_line_is_done_again_and_said(tiny, tmp_path, caplog):
    path = tmp_path / "c"
    whole = comparable(finished(tiny, PICTURES, FAST, checkpoint=path))
    first, *rest = path.read_bytes().splitlines(keepends=True)
    packed = rest[0].replace(b'"rows":[]', b'"rows":{"key":["x"]}')  # as older versions wrote them
    path.write_bytes(first[:20] + b"\0\n" + packed + b"".join(rest[1:]) + b"[1]\n")
    assert comparable(finished(tiny, PICTURES, FAST, checkpoint=path)) == whole
    said = "3 lines of c are damaged or of an older form; their jobs are done again."
    assert [record.message for record in caplog.records] == [said]
    assert b"[1]\n" in path.read_bytes()  # only a line without an end is cut off


@pytest.mark.parametrize("other", ["steps", "window", "picture", "box", "version", "weights"])
def test_work_of_another_kind_is_not_mixed_in(tiny, tmp_path, monkeypatch, other):
    pictures, settings, boxes = {"0.png": PICTURES["0.png"]}, FAST, {}
    finished(tiny, pictures, settings, boxes, checkpoint=tmp_path / "c")
    if other == "steps":
        settings = replace(FAST, steps=5)
    elif other == "window":
        settings = replace(FAST, window=(0, 4095))
    elif other == "picture":
        pictures = {"0.png": PICTURES["1.png"]}
    elif other == "box":
        boxes = {"0.png": BOXES["1.png"]}
    elif other == "version":
        monkeypatch.setattr(study, "__version__", "0.0.0")
    else:
        monkeypatch.setattr(study, "fingerprint", lambda classifier: "tiny 0")
    stated = finished(tiny, pictures, settings, boxes, checkpoint=tmp_path / "c")
    assert comparable(stated) == comparable(finished(tiny, pictures, settings, boxes))
    assert len((tmp_path / "c").read_bytes().splitlines()) == 2 * ALWAYS  # kept beside it, for whoever goes back


def test_other_weights_are_another_model(tiny):
    before, layer = study.fingerprint(tiny), tiny.model.get_layer("logits")
    kernel, bias = layer.get_weights()
    try:
        layer.set_weights([kernel, bias + 1e-3])
        assert study.fingerprint(tiny) != before
    finally:
        layer.set_weights([kernel, bias])
    assert study.fingerprint(tiny) == before


# A run over the tiny model in a process of its own, which is killed while it measures the second picture.
CHILD = """
import sys
sys.path[:0] = [{root!r}, {tests!r}, {tests!r} + '/study', {tests!r} + '/web']
from conftest import TINY, tiny_model
from camkit.study.study import study_stream
from camkit.classifier import Classifier
from test_study import FAST, PICTURES
for state in study_stream(Classifier(tiny_model(), TINY), PICTURES, FAST, checkpoint={path!r}):
    if state.done == 1 and state.label.endswith("metrics"):
        print("second", flush=True)
        sys.stdin.read()
"""


def test_a_killed_run_goes_on_where_it_was(tiny, tmp_path):
    path = tmp_path / "c"
    code = CHILD.format(root=str(ROOT), tests=str(ROOT / "tests"), path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        limit = threading.Timer(120, child.kill)
        limit.start()
        assert child.stdout.readline() == "second\n"
        child.send_signal(signal.SIGKILL)
        limit.cancel()
    (kept,) = (value for value in Checkpoint(path).values(Checkpoint(path)) if "probability" in value and value["rows"])
    again = finished(tiny, PICTURES, FAST, checkpoint=path)
    assert again.values["metrics"][0] == kept  # made by the killed process, not again here
    assert [value["picture"] for value in again.values["metrics"]] == list(PICTURES)


def test_progress_counts_pictures_and_says_what_is_left(tiny):
    states = list(study_stream(tiny, {"bad.png": b"x", **PICTURES}, FAST))
    assert [state.done for state in states] == sorted(state.done for state in states)
    assert {state.total for state in states} == {4} and states[0].done == 1
    first, last = (next(state for state in states if state.picture == name) for name in ("0.png", "2.png"))
    assert first.seconds_left is None and last.seconds_left >= 0 and states[-1].seconds_left == 0
    assert states[0].skipped["bad.png"].startswith("The picture cannot be read")


# --- folders, boxes, zips ------------------------------------------------------------------------------------------


def test_a_box_of_a_class_that_the_model_does_not_have_is_refused_at_the_call(tiny):
    with pytest.raises(camkit.InputError, match=r"^The box 'x' of 1\.png is of class 1000, but .* from 0 to 999: "):
        study_stream(tiny, PICTURES, FAST, {"1.png": (Box("x", 1000, (0.0, 0.0, 1.0, 1.0)),)})


def test_names_and_preprocessing_are_part_of_what_a_checkpoint_is_of(tiny):
    from camkit.study.study import fingerprint

    same = camkit.Classifier(tiny.model, replace(tiny.spec))
    named = camkit.Classifier(
        tiny.model, replace(tiny.spec, labels=lambda: camkit.Labels.of(list(map(str, range(1000)))))
    )
    scaled = camkit.Classifier(tiny.model, replace(tiny.spec, preprocess=lambda image: image / 255))
    assert fingerprint(same) == fingerprint(tiny)
    assert len({fingerprint(each) for each in (tiny, named, scaled)}) == 3


def test_unzipped_pictures_can_be_evaluated(tiny, tmp_path):
    files = {"0.png": PICTURES["0.png"], "1.png": b"no"}
    last = finished(tiny, unzip_pictures(zipped(tmp_path / "p.zip", files)).pictures, FAST)
    assert [value["picture"] for value in last.values["metrics"]] == ["0.png"] and list(last.skipped) == ["1.png"]


def test_names_from_a_zip_are_no_markup_and_no_formula_in_any_file(tiny, tmp_path):
    name, formula = "![p](//host/pixel.gif)<h1>x`.png", "=HYPERLINK(1)|*a*.png"
    found = unzip_pictures(
        zipped(tmp_path / "p.zip", {name: PICTURES["0.png"], formula: PICTURES["1.png"], "@x.png": b"no"})
    )
    results = Results.of(tiny, FAST, finished(tiny, found.pictures, FAST))
    rows, markdown, page = write_reports(tmp_path, results)
    with rows.open(newline="", encoding="utf-8") as file:
        assert {row["picture"] for row in csv.DictReader(file)} == {name, "'" + formula}
    for text in (markdown.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")):
        assert "<h1>x" not in text.replace("\\<", "")
        assert "![p](" not in text or "&lt;h1&gt;" in text
    assert escaped(name) == "![p]\\(//host/pixel.gif)\\<h1>x\\`.png"
    assert escaped(formula) == "=HYPERLINK(1)\\|\\*a\\*.png"
    assert escaped("a\\](b) **2**") == "a\\\\]\\(b) **2**"


def test_names_of_the_zip_are_cut_where_they_are_shown_and_have_a_limit(tiny, tmp_path):
    long = "y" * 200 + ".png"
    found = unzip_pictures(zipped(tmp_path / "p.zip", {long: PICTURES["0.png"], "z" * 200 + ".png": b"no"}))
    markdown = markdown_report(Results.of(tiny, FAST, finished(tiny, found.pictures, FAST)))
    assert "z" * 77 + "..." in markdown and "z" * 78 not in markdown
    zipped(tmp_path / "p.zip", {"y" * 256 + ".png": b"x"})
    with pytest.raises(camkit.InputError, match=r"^The zip holds a name of 260 characters: at most 255 are allowed\.$"):
        unzip_pictures(tmp_path / "p.zip")


# --- tables and files ----------------------------------------------------------------------------------------------


def cells(line: str) -> list[str]:
    return [each.strip() for each in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def structure(markdown: str) -> tuple:
    """Header, first column, and number of columns in each row of the only table in a text; claims whole."""
    lines = [cells(line) for line in markdown.splitlines() if line.startswith("|")]
    header, rule, *rows = lines
    claims = [line if line[0].startswith("**") else line[0] for line in rows]
    return header, len(rule), claims, [len(line) for line in rows]


def test_the_comparison_names_every_claim_and_measures_under_it(everything):
    header, width, claims, widths = structure(comparison_table(everything))
    assert header == ["Claim", "Grad-CAM (a)", "Grad-CAM++ (b)", "Score-CAM (c)", "Faster Score-CAM (d)"]
    assert {width, *widths} == {5}
    names = ("Algorithm", "Explanation", "Interpretability", "Model layer", "Tuning", "Performance", "Pros", "Cons")
    assert [line[0] for line in claims if isinstance(line, list)] == [f"**{name}**" for name in names]
    measured = [line for line in claims if isinstance(line, str)]
    assert len(measured) == 20 and all(line.startswith("measured: ") for line in measured)


def test_the_comparison_holds_the_measured_means(everything):
    lines = {line[0]: line[1:] for line in map(cells, comparison_table(everything).splitlines()) if line}
    assert lines["measured: backward passes"] == ["**1** > c d", "**1** > c d", "**0**", "**0**"]
    found = interval([each["complexity"] for each in rows_of(everything) if each["key"] == "scorecam"])
    assert lines["measured: complexity: mean of the map"][2].split(" >")[0] == f"**{found.show('{:.3f}')}**"
    assert re.match(r"\*\*\d+% \[\d+%, \d+%\]\*\*", lines["measured: beats every control at the default layer"][0])
    assert lines["measured: map moves at max_n 5 from 10"][:3] == ["**no such parameter**"] * 3


def test_only_clear_differences_are_marked_in_the_comparison(tiny):
    """Grad-CAM is higher than Grad-CAM++ on each of three pictures by about 0.1, than Score-CAM by -1, 1 and 3."""
    worth = {"gradcam": (1.0, 2.0, 3.0), "gradcam_plus_plus": (0.9, 1.89, 2.91), "scorecam": (2.0, 1.0, 0.0)}
    rows = [
        row(name, key, insertion_minus_deletion=value)
        for key, values in worth.items()
        for name, value in zip("abc", values, strict=True)
    ]
    lines = {line[0]: line[1:] for line in comparison(results_of(tiny, rows)).rows}
    cells = lines["measured: insertion - deletion (higher is better)"]
    assert [each.rpartition("**")[2] for each in cells] == [" > b", "", "", ""]


def test_the_documents_hold_the_comparison_as_the_command_writes_it(everything):
    """The numbers are those of a long run; header, rows, columns and claims must be the command's."""
    text = (ROOT / ".github/docs/comparison.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1, "comparison.md lacks the markers of the table"
    shown = text.split(BEGIN)[1].split(END)[0]
    assert structure(shown) == structure(comparison_table(everything))
    assert not re.search(r"\*\*–", shown), "a figure was not measured"


def test_the_sanity_check_s_row_and_table_read_the_study(everything):
    """Each method's figures are those of the stream on that picture; the full Score-CAM stands at the last stage."""
    name, (rows, *_) = "sanity", [value["rows"] for value in everything.values["sanity"]]
    last = {row["key"]: row["correlation"] for row in rows if row["last"]}
    assert {*camkit.DEFAULT_METHODS, "gaussian", "random"} == set(last)
    stages = {key: sum(row["key"] == key for row in rows) for key in last}
    assert stages == {key: 1 if key == "scorecam" else 3 for key in last}
    found = everything.figures(name, "gradcam", "correlation", last=True)
    line = next(line for line in comparison(everything).rows if "randomising all layers" in line[0])
    assert found[0] == last["gradcam"] and line[1].startswith(f"**{sum(found) / 3:+.2f} [")
    assert "Means over 3 pictures. After all layers were randomised" in markdown_report(everything)


def test_put_table_replaces_what_is_between_the_markers_and_nothing_else(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    put_table(readme, "| new |\n")
    put_table(readme, "| newer |\n")
    assert readme.read_text(encoding="utf-8") == f"before\n{BEGIN}\n| newer |\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_put_table_refuses_a_file_without_its_place(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(ValueError, match=r"^README\.md has no place for the table"):
        put_table(tmp_path / "README.md", "| x |")


def test_tables_are_escaped_in_both_forms():
    table = Table("A & B", ("h",), (("<b>a|b\nc</b>",),), "n < m")
    assert "| \\<b>a\\|b c\\</b> |" in table.markdown() and "n < m" in table.markdown()
    page = table.html()
    assert "&lt;b&gt;a|b\nc&lt;/b&gt;" in page and "A &amp; B" in page and "n &lt; m" in page
    assert Table("t", (), (), "only words").markdown() == "only words\n" and "<table" not in Table("t", (), ()).html()


def test_the_summary_has_figures_as_rows_and_maps_as_columns(everything):
    piece = summary_table(everything).html()
    assert piece.count('scope="col"') == 1 + len(camkit.DEFAULT_METHODS) + len(CONTROLS)
    assert piece.count('scope="row"') == len(summary_table(everything).rows)
    assert f"Over {everything.pictures} pictures " in piece


def test_the_reports_say_how_it_was_measured_and_what_was_not(everything):
    text = markdown_report(everything)
    assert all(said in text for said in (
        "3 pictures, Tiny (inputs -1 to 1), target layer late",
        "Student's t", "Wilson's", "the model's zero (mid grey)",
        "Coherency, and so ADCC, was measured for every method",
        "Sampled: the sweep, run to its end on ",
        "3 measured, 1 skipped: no\\|picture\\<b>.png (The picture cannot be read",
        "Not compared: the published figures are VGG16's",
    ))  # fmt: skip
    for table in tables(everything):
        assert f"## {table.title}" in text and all(len(line) == len(table.header) for line in table.rows)


def test_the_page_stands_alone_and_is_small(everything):
    page = html_report(everything)
    assert "<script src" not in page
    assert get_plotlyjs() in page
    page = page.replace(get_plotlyjs(), "")
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,)', page)
    assert (
        page.count("<img") == 3 * (1 + len(camkit.DEFAULT_METHODS))
        and "no|picture&lt;b&gt;.png" in page
        and "**" not in page
    )
    (figure,) = re.findall(r"Plotly\.newPlot\(.*", page)  # the sanity check's
    assert all(f'"name":"{METHODS[key].name}"' in figure for key in camkit.DEFAULT_METHODS)
    # Fifty pictures of which all were shown would still make 2 MB.
    assert sum(map(len, re.findall(r'"data:[^"]+', page))) < 2_000_000 / 50 * 3


def test_the_report_shows_some_of_many_pictures_evenly_spread(everything):
    planned = plan({f"{number}.png": b"" for number in range(1000)})
    shown = [number for number, picture in enumerate(planned) if picture.shown]
    assert len(shown) == SHOWN and (shown[0], shown[-1]) == (0, 999) and set(np.diff(shown)) == {43, 44}
    assert all(picture.shown for picture in plan(dict.fromkeys(map(str, range(SHOWN)))))
    many = replace(everything, values=everything.values | {"overlays": everything.values["overlays"][:2]})
    assert html_report(many).count("<h3>") == 2 and "2 of 3" in html_report(many)


def test_files_are_written_and_the_csv_has_a_row_a_picture_and_method(everything, tmp_path):
    paths = write_reports(tmp_path, everything)
    assert [path.name for path in paths] == ["results.csv", "report.md", "report.html"]
    rows = list(csv.DictReader(paths[0].read_text(encoding="utf-8").splitlines()))
    assert (
        len(rows) == 3 * (len(camkit.DEFAULT_METHODS) + len(CONTROLS))
        and float(rows[0]["insertion"]) == rows_of(everything)[0]["insertion"]
    )
    assert rows[-1]["seconds"] == "" and set(METRICS) < set(rows[0])


def test_nothing_but_unreadable_pictures_is_an_error(tiny, tmp_path):
    results_ = Results.of(tiny, FAST, finished(tiny, {"a.png": b"x"}, FAST))
    with pytest.raises(ValueError, match=r"^No picture could be read\. 0 measured, 1 skipped: a\.png \(The pi"):
        write_reports(tmp_path, results_)


def test_vgg16_stands_beside_the_published_figures(everything):
    table = published_table(replace(everything, model="vgg16"))
    printed = {(line[0], line[1]): line[2:] for line in table.rows}
    by_source = printed["Average Drop", "Grad-CAM++ (Chattopadhay et al. 2018) table 1"]
    assert dict(zip(everything.settings.methods, by_source, strict=True)) == {
        key: {"gradcam": "46.6%", "gradcam_plus_plus": "36.8%"}.get(key, "–")  # noqa: RUF001
        for key in camkit.DEFAULT_METHODS
    }
    assert len(table.rows) == 2 * len(PUBLISHED) and "mask differently" in table.note
    assert {entry.metric for entry in PUBLISHED} <= set(metric_columns())


def test_a_table_of_some_methods_leaves_the_others_empty(tiny):
    results_ = Results.of(
        tiny, FAST, finished(tiny, {"0.png": PICTURES["0.png"]}, FAST, measurements=("layers", "noise", "boxes"))
    )
    lines = {line[0]: line for line in comparison(results_).rows}
    assert lines["measured: seconds a picture"][2] == "**–**" != lines["measured: seconds a picture"][1]  # noqa: RUF001
    assert structure(comparison_table(results_))[3] == [5] * 28


# --- the sweep -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [None, (1, 3, 4, 7, 12), (2,)])
def test_the_sweep_equals_faster_score_cam_run_by_itself(tiny, noise, counts):
    *_, last = sweep(tiny, noise, 7, counts)
    assert [point.max_n for point in last.points] == list(counts or (1, 2, 5, 10, 12)) and last.complete
    for point in last.points:
        alone = camkit.explain(tiny, noise, ("faster_scorecam",), 7, max_n=point.max_n).cams["faster_scorecam"]
        np.testing.assert_allclose(point.map, alone.map, atol=1e-5)
        assert point.forward_passes == alone.forward_passes
    assert last.points[-1].correlation == pytest.approx(1.0)


def test_the_sweep_ends_at_the_full_score_cam_and_measures_against_it(tiny, noise):
    *_, last = sweep(tiny, noise)
    full = camkit.explain(tiny, noise, ("scorecam",)).cams["scorecam"].map
    np.testing.assert_allclose(last.points[-1].map, full, atol=1e-5)
    first = last.points[0]
    assert first.correlation == pytest.approx(np.corrcoef(first.map.ravel(), full.ravel())[0, 1], abs=1e-4)
    assert [point.seconds for point in last.points] == sorted(point.seconds for point in last.points)


def test_the_sweep_grows_block_by_block_and_can_be_closed(tiny, noise):
    states = list(sweep(tiny, noise))
    assert [len(state.points) for state in states] == sorted(len(state.points) for state in states)
    assert len(states) > 3 and not states[0].complete and states[0].seconds_left > 0 and states[-1].seconds_left == 0
    stream = sweep(tiny, noise)
    next(stream)
    stream.close()
    assert tiny.predict(noise).shape == (1000,)  # nothing is left under way


@pytest.mark.parametrize("counts", [(), (0, 1), (13,)])
def test_the_sweep_refuses_counts_beyond_the_layer(tiny, noise, counts):
    with pytest.raises(ValueError, match="must be whole numbers from 1 to 12"):
        sweep(tiny, noise, counts=counts)


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_shows_16_bits_in_the_window_that_it_is_given(tiny, tmp_path, monkeypatch):
    deep = np.random.default_rng(0).integers(0, 4096, (60, 50)).astype(np.uint16)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(deep).save(tmp_path / "pictures" / "deep.png")
    monkeypatch.setattr("camkit.models.options.load", lambda *_, **__: tiny)
    for window in ((), ("--window", "0", "1000")):
        out = tmp_path / f"out{len(window)}"
        arguments = [str(tmp_path / "pictures"), "--out", str(out), "--steps", "2", "--methods", "gradcam", *window]
        assert evaluate.main(arguments) == 0
        said = "Grey pictures of more than 8 bits: shown from 0 to 1000." in (out / "report.md").read_text()
        assert said == bool(window)
        with (out / "results.csv").open() as file:
            row = next(csv.DictReader(file))
        shown = to_rgb(Image.fromarray(deep), window=tuple(map(float, window[1:])) or None)
        assert float(row["probability"]) == pytest.approx(float(tiny.predict(shown).max()), rel=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small examples and a broken file."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("chelsea", "coffee"):
        with Image.open(EXAMPLES / f"{name}.jpg") as image:
            image.resize((160, 120)).save(folder / f"{name}.jpg")
    (folder / "broken.png").write_bytes(b"text")
    return folder


@pytest.mark.slow
def test_the_command_end_to_end(folder, tmp_path, lite0, capsys):
    arguments = [str(folder), "--model", "efficientnet_lite0", "--out", str(tmp_path / "out"), "--steps", "4",
                 "--methods", "gradcam", "faster_scorecam", "--max-n", "2"]  # fmt: skip
    assert evaluate.main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.split() == [str(tmp_path / "out" / name) for name in ("results.csv", "report.md", "report.html")]
    loading, *lines = said.err.splitlines()  # not at a terminal: one at once, one a minute, and the last
    assert loading == "Loading the model"
    assert lines[0].startswith("0 of 3 pictures ") or lines[0].startswith("1 of 3 pictures ")
    assert re.match(r"3 of 3 pictures, [\d.e+]+ a minute, about 0\.0 min left", lines[-2])
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert lines[-1].startswith("2 measured, 1 skipped: broken.png (The picture cannot be read")
    assert lines[-1] in report and "EfficientNet-Lite0" in report
    kept = (tmp_path / "out" / "checkpoint.jsonl").read_bytes()
    assert evaluate.main(arguments) == 0
    assert (tmp_path / "out" / "checkpoint.jsonl").read_bytes() == kept
    assert (tmp_path / "out" / "report.md").read_text(encoding="utf-8") == report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "'none' is neither a picture nor a folder"),
        (["{folder}", "--steps", "0"], "steps is 0"),
        (["{folder}", "--window", "9", "1"], "The window is"),
        (["{folder}", "--max-n", "5000"], "max_n is 5000"),
        (["{folder}", "--target-layer", "x"], "not offered"),
        (["{folder}", "--model", "vgg16", "--weights", "none.h5"], "none.h5"),
        (["{folder}", "--readme", "README.md"], "give --claims as well"),
    ],
)
def test_the_command_ends_with_one_sentence_and_no_traceback(folder, tmp_path, capsys, arguments, message):
    filled = [each.format(folder=folder) for each in arguments]
    assert evaluate.main([*filled, "--out", str(tmp_path / "out")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and message in last


def test_the_command_says_how_to_go_on_when_it_is_interrupted(folder, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "_run", interrupted)
    assert evaluate.main([str(folder), "--out", str(tmp_path)]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_metrics_and_controls_are_offered_by_the_package():
    assert camkit.METRICS is METRICS and camkit.CONTROLS is CONTROLS
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = camkit.missing
