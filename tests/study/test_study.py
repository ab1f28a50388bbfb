"""A study's stream: refusals at the call, a run that is killed and goes on, and what a kept result belongs to."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from conftest import ROOT
from studies import ALWAYS, BOXES, FAST, PICTURES, comparable, finished, forbid
from test_archive import zipped

import camkit
from camkit.evidence.metrics import CONTROLS
from camkit.evidence.settings import Box
from camkit.study import study
from camkit.study.archive import unzip_pictures
from camkit.study.checkpoint import Checkpoint
from camkit.study.measurements import MEASUREMENTS
from camkit.study.study import study_stream


def test_arguments_are_checked_at_the_call(tiny):
    for pictures, settings, wanted, message in (
        ({}, FAST, ("metrics",), "no picture to evaluate"),
        (PICTURES, FAST, ("x",), "Unknown measurements"),
        (PICTURES, replace(FAST, max_n=13), (), "max_n is 13"),
        (PICTURES, replace(FAST, target_layer="x"), (), "not offered"),
    ):
        with pytest.raises(ValueError, match=message):
            study_stream(tiny, pictures, settings, measurements=wanted)


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
    measured, run = [], MEASUREMENTS["views"].take
    forbid(monkeypatch)
    monkeypatch.setitem(
        MEASUREMENTS,
        "views",
        replace(MEASUREMENTS["views"], take=lambda case: measured.append(case.picture) or run(case)),
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
sys.path[:0] = [{root!r}, {tests!r}, {tests!r} + '/web']
from conftest import TINY, tiny_model
from camkit.study.study import study_stream
from camkit.classifier import Classifier
from studies import FAST, PICTURES
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
