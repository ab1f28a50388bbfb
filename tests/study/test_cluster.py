"""Studies on Ray: two workers, of which one is killed, give what one process gives, and nothing is lost or done twice;
what Ray reads; and every refusal. What needs Ray is skipped where it is not installed."""

import importlib.util
import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial

import pytest
from conftest import TINY, tiny_model
from studies import FAST, comparable, finished, forbid, picture

import camkit
from camkit import evaluate
from camkit.classifier import Classifier
from camkit.study.checkpoint import Checkpoint
from camkit.study.cluster import list_files, study_on_ray
from camkit.study.pictures import gather, plan

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -r requirements-ray.txt"
)


def load_and_die_once(marker: str) -> Classifier:
    """The tiny classifier; in the first worker that explains a third picture, its process ends there and then."""
    seen = []

    def preprocess(image):
        seen.append(image)
        if len(seen) > 20 and not os.path.exists(marker):
            with open(marker, "x", encoding="ascii"):
                os.kill(os.getpid(), signal.SIGKILL)
        return TINY.preprocess(image)

    return Classifier(tiny_model(), replace(TINY, preprocess=preprocess))


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_two_workers_of_which_one_is_killed_give_what_one_process_gives(tiny, tmp_path, monkeypatch):
    folder, marker = tmp_path / "pictures", tmp_path / "marker"
    folder.mkdir()
    for seed in range(8):
        (folder / f"{seed}.png").write_bytes(picture(seed))
    (folder / "bad.png").write_bytes(b"text")
    pictures = gather([f"file://{folder}"], list_files).pictures
    planned = plan(pictures)
    checkpoint = Checkpoint(tmp_path / "c")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the workers import this file
    on_ray = partial(study_on_ray, tiny, partial(load_and_die_once, str(marker)), planned, FAST, ("noise",))
    states = list(on_ray(checkpoint, workers=2))
    assert marker.exists() and [state.done for state in states] == list(range(1, 10)) and states[-1].complete
    assert list(states[-1].skipped) == ["bad.png"]
    found = {value["picture"]: value for value in states[-1].values["metrics"]}
    alone = finished(tiny, {name: (folder / name).read_bytes() for name in pictures}, FAST, measurements=("noise",))
    assert set(found) == {value["picture"] for value in alone.values["metrics"]} and len(found) == 8
    for value in alone.values["metrics"]:
        for one, other in zip(value["rows"], found[value["picture"]]["rows"], strict=True):
            assert {**one, "seconds": 0} == pytest.approx({**other, "seconds": 0}, abs=1e-5)
    # The checkpoint is one process's, too: nothing is left to do.
    kept = comparable(alone)
    forbid(monkeypatch)
    again = finished(
        tiny, {name: folder / name for name in pictures}, FAST, measurements=("noise",), checkpoint=checkpoint
    )
    assert [value["picture"] for value in again.values["noise"]] == [value["picture"] for value in kept["noise"]]


@needs_ray
def test_what_ray_reads_is_listed_by_name_and_what_it_cannot_read_is_said(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    for name in ("b.png", "a/deep/x.JPEG", "notes.txt", "a/.hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    found = gather([f"file://{tmp_path}"], list_files)
    assert found.pictures == {name: f"file://{tmp_path}/{name}" for name in ("a/deep/x.JPEG", "b.png")}
    assert list(found.skipped) == ["a/.hidden.png", "notes.txt"]
    assert list_files(f"file://{tmp_path}/b.png") == {"b.png": f"file://{tmp_path}/b.png"}
    for uri, message in (
        (f"file://{tmp_path}/none", "cannot be read: "),
        ("nowhere://x", "^The source nowhere://x cannot be read: "),
        (f"file://{tmp_path}/a/deep/none", "cannot be read"),
    ):
        with pytest.raises(camkit.InputError, match=message):
            list_files(uri)
    (tmp_path / "empty").mkdir()
    with pytest.raises(camkit.InputError, match="^'empty' holds no picture"):
        gather([f"file://{tmp_path}/empty"], list_files)


@needs_ray
def test_a_cluster_that_is_not_there_is_said(tiny):
    states = study_on_ray(tiny, tiny_model, plan({"a.png": b""}), FAST, (), Checkpoint(), "127.0.0.1:9")
    with pytest.raises(camkit.InputError, match=r"^There is no Ray cluster at 127\.0\.0\.1:9"):
        next(states)


def test_without_ray_the_option_says_how_to_install_it(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for call in (
        lambda: list_files("s3://x"),
        lambda: study_on_ray(tiny, None, plan({"a.png": b""}), FAST, (), None),
    ):
        with pytest.raises(camkit.InputError, match=r"^Ray is not installed: pip install -r requirements-ray\.txt$"):
            call()


def test_arguments_are_checked_at_the_call(tiny):
    with pytest.raises(camkit.InputError, match="The number of workers is 0"):
        study_on_ray(tiny, tiny_model, plan({"a.png": b""}), FAST, (), Checkpoint(), workers=0)
    with pytest.raises(camkit.InputError, match="no picture to evaluate"):
        study_on_ray(tiny, tiny_model, [], FAST, (), Checkpoint())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["s3://bucket/folder"], "error: s3://bucket/folder is not on this machine: Ray reads it, give --ray local"),
        (["examples", "--workers", "2"], "error: --workers are Ray's: give --ray"),
        (["examples", "--shard", "3/2"], "'3/2' is no part of a whole: give 1/8"),
        (["examples", "--merge", "nowhere"], "nowhere"),
    ],
)
def test_the_command_refuses_in_one_sentence(tmp_path, capsys, arguments, message, lite0, monkeypatch):
    monkeypatch.setattr("camkit.models.options.load", lambda *_, **__: lite0)
    try:
        status = evaluate.main([*arguments, "--out", str(tmp_path / "out")])
    except SystemExit as stopped:  # argparse's own
        status = stopped.code
    assert status == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_command_measures_a_shard_and_merges_what_shards_have_done(tiny, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(4):
        (folder / f"p_{seed}.png").write_bytes(picture(seed))
    monkeypatch.setattr("camkit.models.options.load", lambda *_, **__: tiny)
    study = [str(folder), "--methods", "gradcam", "--steps", "2", "--classes", "name", "--out"]
    for part in ("1/2", "2/2"):
        assert evaluate.main([*study, str(tmp_path / part[0]), "--shard", part]) == 0
        assert len((tmp_path / part[0] / "results.csv").read_text().splitlines()) == 1 + 2 * 4
    forbid(monkeypatch)
    assert evaluate.main([*study, str(tmp_path / "all"), "--merge", str(tmp_path / "1"), str(tmp_path / "2")]) == 0
    assert "4 of 4 pictures" in capsys.readouterr().err
    kept = [json.loads(line) for line in (tmp_path / "all" / "checkpoint.jsonl").read_bytes().splitlines()]
    classes = {each["value"]["picture"]: each["value"].get("true_class") for each in kept if each["value"]["rows"]}
    assert classes == {f"p_{seed}.png": seed for seed in range(4)}
