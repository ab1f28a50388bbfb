"""A new metric, control or measurement is one entry: tables, figures, words and files take it without another edit."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from camkit.evidence.measure import measure
from camkit.evidence.metrics import CONTROLS, METRICS, Control, Metric
from camkit.evidence.observations import Curve, Measurement
from camkit.evidence.settings import Settings
from camkit.explain import explain
from camkit.report.figures import cost_figure, curves_figure
from camkit.report.report import measurement_table, write_reports
from camkit.report.results import Results
from camkit.report.words import verdict
from camkit.study.columns import Column
from camkit.study.measurements import MEASUREMENTS, StudyMeasurement
from camkit.study.study import study_stream

SETTINGS = Settings(methods=("gradcam", "scorecam"), steps=2, coherency="none")


@pytest.fixture
def entries(monkeypatch):
    """One entry more in each registry: a share, a control that no map beats, and means by a number."""

    def take_brightness(case):
        rows = [
            {"key": key, "times": times, "bright": times * float(cam_map.mean())}
            for times in (1, 2)
            for key, cam_map in case.maps.items()
        ]
        yield {"picture": case.picture, "rows": rows}

    def made(shape, seed):
        return np.eye(*shape, dtype=np.float32)

    peaked = Metric(
        "peaked", "Peaked", "{:.0f}", "higher", "It has a peak.", "max = 1", "2026", lambda seen: 1.0, share=True
    )
    diagonal = Control("diagonal", "Diagonal", "a diagonal line", "It runs downwards.", made)
    bright = StudyMeasurement(
        "bright",
        "brightness",
        take_brightness,
        title="Brightness of the maps",
        columns=(Column("bright", "Mean brightness", "{:.4f}"),),
        by="times",
        by_name="Times",
        note="Of every map.",
    )
    for registry, entry in ((METRICS, peaked), (CONTROLS, diagonal), (MEASUREMENTS, bright)):
        monkeypatch.setitem(registry, entry.key, entry)


def test_one_entry_reaches_the_files_of_a_study(tiny, entries, tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)).save(buffer, "PNG")
    *_, last = study_stream(tiny, {"a.png": buffer.getvalue()}, SETTINGS, measurements=("bright",))
    rows, markdown, page = write_reports(tmp_path, Results.of(tiny, SETTINGS, last))
    with rows.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert {row["peaked"] for row in found} == {"1.0"} and "diagonal" in {row["key"] for row in found}
    text = markdown.read_text(encoding="utf-8")
    assert "| Peaked ↑ | 100% |" in text and " Diagonal |" in text
    (value,) = last.values["bright"]
    first = value["rows"][0]["bright"]
    assert "## Brightness of the maps\n\n| Figure | Times | Grad-CAM | Score-CAM |\n" in text
    assert f"| Mean brightness | 1 | {first:.4f} |" in text and f"| Mean brightness | 2 | {2 * first:.4f} |" in text
    assert "Brightness of the maps" in page.read_text(encoding="utf-8")


def test_one_entry_reaches_the_tables_figures_and_words_of_one_picture(tiny, entries, noise):
    explanation = explain(tiny, noise, SETTINGS.methods)
    found = {key: each for key, each in measure(tiny, explanation, SETTINGS) if each is not None}
    table = measurement_table(found, explanation)
    assert "Diagonal" in map(str, table.header) and "Peaked ↑" in [str(row[0]) for row in table.rows]
    assert "Diagonal" in [trace.name for trace in curves_figure(found).data]
    assert cost_figure({"gradcam": 0.1, "scorecam": 1.0}, found).layout.shapes[0].y0 == max(
        found[key].insertion_minus_deletion for key in CONTROLS
    )
    ends = np.array([0.0, 1.0])
    found["diagonal"] = Measurement("diagonal", {}, Curve(ends, ends + 1), Curve(ends, ends * 0))
    assert "no map tells better than a diagonal line" in verdict(found, 0.5)
