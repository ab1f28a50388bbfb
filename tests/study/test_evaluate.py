"""The command: a study from end to end, and every refusal in one sentence."""

import csv
import re

import numpy as np
import pytest
from conftest import EXAMPLES
from PIL import Image

import camkit
from camkit import evaluate
from camkit.evidence.metrics import CONTROLS, METRICS
from camkit.picture import to_rgb


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
        (["{folder}", "--classes", "none.csv"], "The classes cannot be read from 'none.csv'"),
        (["{folder}", "--claims", "--readme", "README.md"], "README.md has no place for the table"),
        (["{folder}", "--model", "vgg16", "--weights", "none.h5"], "none.h5"),
        (["{folder}", "--readme", "README.md"], "give --claims as well"),
    ],
)
def test_the_command_ends_with_one_sentence_and_no_traceback(folder, tmp_path, capsys, arguments, message):
    filled = [each.format(folder=folder) for each in arguments]
    assert evaluate.main([*filled, "--out", str(tmp_path / "out")]) == 2
    *before, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ") and message in last
    assert not (before and {"--target-layer", "--classes", "--readme"} & {*arguments})  # said without loading the model


def test_the_command_says_how_to_go_on_when_it_is_interrupted(folder, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "gather", interrupted)
    assert evaluate.main([str(folder), "--out", str(tmp_path)]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_metrics_and_controls_are_offered_by_the_package():
    assert camkit.METRICS is METRICS and camkit.CONTROLS is CONTROLS
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = camkit.missing
