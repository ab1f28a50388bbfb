"""The `camkit` command: what it writes and prints for pictures and folders, and what it refuses."""

import io
import json
import shutil
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import EXAMPLES, example
from PIL import Image

import camkit
from camkit.__main__ import COMMANDS, main
from camkit.passes.outputs import percent
from camkit.study.progress import StatusLine


@pytest.fixture
def pictures(tmp_path):
    """A folder with two pictures, one of them in a subfolder, and a third that is cut short."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    shutil.copy(EXAMPLES / "chelsea.jpg", folder)
    shutil.copy(EXAMPLES / "rocket.jpg", folder / "more")
    (folder / "cut.jpg").write_bytes((EXAMPLES / "coffee.jpg").read_bytes()[:9000])
    return folder


def test_each_picture_gets_a_folder_and_one_that_cannot_be_read_is_named(lite0, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    wanted = ["--method", "gradcam", "--method", "layercam", "--class", "tabby", "--layer", "block5c_add"]
    assert main(["explain", str(pictures), *wanted, "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "cut.jpg is left out: The picture cannot be read" in said.err
    assert [line.split(":")[0] for line in said.out.splitlines()] == ["chelsea.jpg", "more/rocket.jpg"]
    for name, line in zip(("chelsea", "more/rocket"), said.out.splitlines()):
        expected = camkit.explain(lite0, example(name.split("/")[-1]), ["gradcam", "layercam"], 281, "block5c_add")
        folder = out / f"{name}.jpg"
        assert {path.name for path in folder.iterdir()} == {
            *("figure.png", "figure.pdf", "maps.npz", "explanation.json", "overlay_gradcam.png", "overlay_layercam.png")
        }
        with np.load(folder / "maps.npz") as maps:
            for key, cam in expected.cams.items():
                np.testing.assert_allclose(maps[f"map_{key}"], cam.map, atol=1e-6)
                drawn = np.asarray(Image.open(folder / f"overlay_{key}.png"))
                np.testing.assert_array_equal(drawn, camkit.overlay(expected.image, cam.map))
        facts = json.loads((folder / "explanation.json").read_text())
        assert (facts["class_name"], facts["target_layer"]) == ("tabby", "block5c_add")
        assert f"tabby, {percent(expected.probability)}, " in line and line.endswith(str(folder))


def test_the_top_class_and_the_default_methods_are_taken(lite0, tmp_path, capsys):
    layer = ["--layer", "block1a_project_bn", "--max-n", "2"]  # 16 channels
    assert main(["explain", str(EXAMPLES / "chelsea.jpg"), *layer, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("chelsea.jpg: Egyptian cat, ")
    with np.load(tmp_path / "chelsea.jpg" / "maps.npz") as maps:
        assert {key.removeprefix("map_") for key in maps if key.startswith("map_")} == set(camkit.DEFAULT_METHODS)
    facts = json.loads((tmp_path / "chelsea.jpg" / "explanation.json").read_text())
    assert facts["cams"]["faster_scorecam"]["channels"] == 2


def test_the_window_of_more_than_8_bits_is_taken_and_said(lite0, tmp_path, capsys):
    grey = np.asarray(Image.open(EXAMPLES / "chelsea.jpg").convert("L"), np.uint16) * 16
    Image.fromarray(grey).save(tmp_path / "deep.png")
    taken = ["explain", str(tmp_path / "deep.png"), "--method", "gradcam", "--out", str(tmp_path / "out")]
    assert main([*taken, "--window", "0", "2000"]) == 0
    assert ", shown from 0 to 2000 of 65535, " in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "deep.png" / "explanation.json").read_text())
    assert facts["window"] == "shown from 0 to 2000 of 65535"
    seen = lite0.predict(camkit.to_rgb(Image.fromarray(grey), window=(0, 2000)))
    assert facts["probability"] == pytest.approx(float(seen.max()), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.jpg"], "'none.jpg' is neither a picture nor a folder: give PNG, JPEG"),
        (["{chelsea}", "--model", "none.keras"], "There is no model file of this name"),
        (["{chelsea}", "--labels", "names.txt"], "EfficientNet-Lite0 has labels"),
        (["{chelsea}", "--class", "dragonfly cat"], "'dragonfly cat' is none of the 1000 ImageNet classes."),
        (["{chelsea}", "--layer", "nowhere"], "nowhere"),
        (["{chelsea}", "--window", "5", "5"], "The window is"),
        (["{chelsea}", "--max-n", "0"], "max_n is 0: it must be a whole number from 1 to 1280"),
        (["{chelsea}", "--out", "{chelsea}"], "chelsea.jpg"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(lite0, tmp_path, capsys, arguments, sentence):
    given = [argument.format(chelsea=EXAMPLES / "chelsea.jpg") for argument in arguments]
    assert main(["explain", "--out", str(tmp_path), "--method", "gradcam", *given]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    *before, last = said.err.splitlines()
    assert last.startswith("error: ") and sentence in last
    assert not (before and {"--class", "--layer"} & {*arguments})  # said without loading the model


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, [*COMMANDS]),
        (["--version"], 0, [f"camkit {camkit.__version__}"]),
        ([], 2, ["the following arguments are required: COMMAND"]),
        (["draw"], 2, ["invalid choice: 'draw'", *COMMANDS]),
        (["explain"], 2, ["the following arguments are required: PICTURE"]),
        (["explain", "--method", "guess", "a.jpg"], 2, ["invalid choice: 'guess'", *camkit.METHODS]),
        (["evaluate", "--help"], 0, ["--claims", "--out DIR"]),
        (["serve", "--help"], 0, ["camkit serve", "--share", "--port"]),
    ],
)
def test_help_and_unknown_words(capsys, arguments, status, words):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    said = "".join(capsys.readouterr())
    for word in words:
        assert word in said


class SlowWeights:
    """Weights that arrive once `state` was asked for, or fail, and remember whether they were cancelled."""

    def __init__(self, outcome) -> None:
        self.outcome, self.download, self.cancelled = outcome, Future(), False

    def find(self, path):
        return None

    def download_in_background(self):
        return self.download

    @property
    def state(self):
        if isinstance(self.outcome, KeyboardInterrupt):
            raise self.outcome
        if isinstance(self.outcome, Exception):
            self.download.set_exception(self.outcome)
        else:
            self.download.set_result(self.outcome)
        return SimpleNamespace(sentence="Downloading: 5 % (1 of 20 MB).")

    def obtain(self, path):
        return self.outcome

    def cancel(self):
        self.cancelled = True


@pytest.mark.parametrize(
    ("outcome", "status", "words"),
    [
        (Path(camkit.__file__).with_name("bundled") / "efficientnet_lite0.keras", 0, "Downloading: 5 % (1 of 20 MB)."),
        (camkit.WeightsError("The connection failed."), 2, "error: The connection failed."),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_a_download_is_shown_ends_with_its_reason_and_can_be_interrupted(
    registry, monkeypatch, tmp_path, capsys, outcome, status, words
):
    weights = SlowWeights(outcome)
    monkeypatch.setitem(registry, "slow", replace(registry["efficientnet_lite0"], key="slow", weights=weights))
    given = [str(EXAMPLES / "chelsea.jpg"), "--model", "slow", "--method", "gradcam", "--out", str(tmp_path)]
    assert main(["explain", *given]) == status
    assert words in capsys.readouterr().err
    assert weights.cancelled is (status == 130)


def test_an_interrupted_run_says_what_it_leaves(lite0, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(StatusLine, "show", interrupt)
    assert main(["explain", str(EXAMPLES / "chelsea.jpg"), "--out", str(tmp_path)]) == 130
    assert "Stopped." in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_rare_in_a_log(monkeypatch):
    written = {}
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        status = StatusLine()
        for text in ("first", "second"):
            status.show(text)
        status.clear()
        status.show("third", last=True)
        written[type(stream)] = stream.getvalue()
    assert written[io.StringIO] == "first\nthird\n"
    assert written[Terminal].count("\n") == 1 and written[Terminal].count("\r") == 5
    assert written[Terminal].rpartition("\r")[2].rstrip() == "third"
