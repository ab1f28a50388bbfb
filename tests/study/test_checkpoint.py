"""What a study keeps: lines that read back as they were, other runs' checkpoints, shards that are merged, and
what a large study's reports cost."""

import csv
import importlib
import json
import tracemalloc

import numpy as np
import pytest
from large_study import synthetic_study
from studies import FAST, PICTURES, SMALL, comparable, finished, forbid, picture

from camkit import open_picture
from camkit.report.report import markdown_report, write_reports
from camkit.report.results import Results
from camkit.study.checkpoint import Checkpoint, Values
from camkit.study.measurements import MEASUREMENTS
from camkit.study.pictures import plan
from camkit.study.study import study_stream

VALUE = {"picture": "a", "rows": [{"key": "x", "moved": 0.123456789, "n": None}, {"key": "y", "moved": 1.0, "n": 3}]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c"


@pytest.mark.parametrize("kept", [True, False])
def test_a_result_reads_back_from_disk_and_from_memory(path, kept):
    saved = Checkpoint(path if kept else None)
    saved.add_all(
        [("1", VALUE), ("2", {"picture": "b", "rows": []}), ("3", {"picture": "c", "rows": [{"a": 1}, {"b": 2}]})]
    )
    first, second, third = saved.values(["1", "2", "3"])
    assert first == VALUE and second["rows"] == [] and third["rows"] == [{"a": 1}, {"b": 2}]
    assert "1" in saved and "4" not in saved and len(saved) == 3
    values = Values(saved, ["1", "3"])
    assert len(values) == 2 and values[1] == third and values[:1] == [first] and list(values) == [first, third]
    if kept:
        assert list(Checkpoint(path).values(["3", "1"])) == [third, first]


def test_other_checkpoints_are_copied_and_left_as_they_are(path, tmp_path):
    other = tmp_path / "other"
    Checkpoint(other).add_all([("1", VALUE)])
    other.write_bytes(other.read_bytes() + b'{"job": "2", "val')  # still being written
    before = other.read_bytes()
    Checkpoint(path).add_all([("3", VALUE)])
    for _ in range(2):
        assert list(Checkpoint(path, [other])) == ["3", "1"]
    assert other.read_bytes() == before and path.read_bytes().count(b"\n") == 2


def test_shards_that_are_merged_are_the_whole_study(tiny, tmp_path, monkeypatch):
    """The sampled pictures are those of the whole set, whichever shard they are in."""
    pictures = {f"{seed}.png": picture(seed) for seed in range(5)}
    wanted = ("sweep", "noise")
    whole = comparable(finished(tiny, pictures, SMALL, measurements=wanted))
    planned = plan(pictures)
    for part in range(2):
        finished(tiny, planned[part::2], SMALL, measurements=wanted, checkpoint=tmp_path / str(part))
    forbid(monkeypatch)
    merged = Checkpoint(tmp_path / "merged", [tmp_path / "0", tmp_path / "1"])
    assert comparable(finished(tiny, planned, SMALL, measurements=wanted, checkpoint=merged)) == whole


def test_a_later_run_with_more_measurements_makes_the_maps_again_and_no_metrics(tiny, path, monkeypatch):
    whole = comparable(finished(tiny, PICTURES, SMALL, measurements=("noise", "layers")))
    finished(tiny, PICTURES, SMALL, checkpoint=path)
    later = {key: MEASUREMENTS[key] for key in ("noise", "layers")}
    forbid(monkeypatch)
    for key, entry in later.items():
        monkeypatch.setitem(MEASUREMENTS, key, entry)
    again = comparable(finished(tiny, PICTURES, SMALL, measurements=("noise", "layers"), checkpoint=path))
    for key in later:
        for one, other in zip(again[key], whole[key], strict=True):
            assert [row["key"] for row in one["rows"]] == [row["key"] for row in other["rows"]]
            name = "correlation" if key == "noise" else "moved"
            np.testing.assert_allclose(*([row[name] for row in each["rows"]] for each in (one, other)), atol=1e-5)


def test_a_picture_is_kept_in_15_kb_with_every_measurement(tiny, path):
    planned = plan({f"{number:03}.png": picture(number % 3) for number in range(60)})
    unsampled = [each for each in planned if not each.sampled][:3]
    finished(tiny, unsampled, SMALL, measurements=tuple(MEASUREMENTS), checkpoint=path)
    assert path.stat().st_size / len(unsampled) < 15_000


def test_what_is_finished_is_found_without_decoding(tiny, path, monkeypatch):
    finished(tiny, PICTURES, FAST, checkpoint=path)
    monkeypatch.setattr("camkit.study.study.read_picture", lambda *_, **__: pytest.fail("a picture is decoded"))
    states = list(study_stream(tiny, PICTURES, FAST, checkpoint=path))
    assert states[-1].complete and states[-1].per_minute is None


def test_a_large_study_is_reported_from_its_stream(tiny, path, tmp_path):
    """500 pictures, 3,500 rows: memory stays below what the checkpoint's text alone would take as Python objects."""
    importlib.import_module("scipy.stats")  # with whose first use it comes: that is no memory of the report
    state = synthetic_study(tiny, path, 500)
    tracemalloc.start()
    results = Results.of(tiny, SMALL, state)
    rows, _, page = write_reports(tmp_path, results)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with rows.open(newline="", encoding="utf-8") as file:
        last = [*csv.DictReader(file)][-1]
    assert (last["picture"], last["key"]) == ("n00000499/ILSVRC2012_val_00000499.JPEG", "uniform")
    assert peak < 3 * path.stat().st_size and page.stat().st_size < 200_000


# --- accuracy ------------------------------------------------------------------------------------------------------


def test_accuracy_and_the_split_by_it_are_reported_where_the_true_class_is_known(tiny, tmp_path):
    tops = [int(np.argmax(tiny.predict(open_picture(each)))) for each in PICTURES.values()]
    classes = {"0.png": tops[0], "1.png": tops[1], "2.png": (tops[2] + 1) % 1000}
    results = Results.of(tiny, FAST, finished(tiny, PICTURES, FAST, classes=classes))
    assert results.top(1).mean == pytest.approx(2 / 3) and results.known == 3
    assert [value["class_index"] for value in results.values["metrics"]] == list(classes.values())
    text = markdown_report(results)
    assert "## Means over the pictures answered rightly: 2" in text
    assert "## Means over the pictures answered wrongly: 1" in text
    assert "| True class is the top class (top-1) | 66.7% [20.8%, 93.9%] |" in text
    metrics = results.frames["metrics"]
    chosen = metrics[(metrics["key"] == "gradcam") & metrics["picture"].isin(["0.png", "1.png"])]
    assert results.answered(True).summary["gradcam"]["insertion"].mean == pytest.approx(chosen["insertion"].mean())
    unknown = Results.of(tiny, FAST, finished(tiny, PICTURES, FAST))
    assert "answered" not in markdown_report(unknown) and unknown.known == 0


def test_a_line_is_one_json_object_of_job_and_value(tiny, path):
    finished(tiny, PICTURES, FAST, checkpoint=path)
    for line in path.read_bytes().splitlines():
        assert set(json.loads(line)) == {"job", "value"} and {"picture", "rows", "spent"} <= set(
            json.loads(line)["value"]
        )
