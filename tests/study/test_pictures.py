"""Which files of folders and patterns are a study's pictures, and what becomes of all others."""

import os
from pathlib import Path

import pytest

import camkit
from camkit.labels import Labels
from camkit.picture import SUFFIXES
from camkit.study.classes import read_classes
from camkit.study.pictures import (
    AGAIN,
    CLOSED,
    DANGLING,
    HIDDEN,
    NO_FILE,
    OTHER_NAME,
    gather,
    random_sample,
)
from camkit.study.progress import account


@pytest.fixture
def folder(tmp_path):
    """A function that makes files, links ("name -> target") and empty folders ("name/"), and returns where they are."""

    def make(*names: str) -> Path:
        for name in names:
            path, _, target = name.partition(" -> ")
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if target:
                place.symlink_to(target)
            elif name.endswith("/"):
                place.mkdir()
            else:
                place.write_bytes(b"x")
        return tmp_path

    return make


ENDINGS = sorted(f"p{suffix}" for suffix in SUFFIXES)


@pytest.mark.parametrize(
    ("names", "pictures", "skipped"),
    [
        (("val/cat/x.jpg", "a/b/c/d.png", "y.JPG"), ["a/b/c/d.png", "val/cat/x.jpg", "y.JPG"], {}),
        (ENDINGS, ENDINGS, {}),
        (
            ("x.jpg", "notes.txt", "raw", ".x.jpg", ".git/y.jpg", "__MACOSX/x.jpg"),
            ["x.jpg"],
            dict.fromkeys((".git/y.jpg", ".x.jpg", "__MACOSX/x.jpg"), HIDDEN)
            | dict.fromkeys(("notes.txt", "raw"), OTHER_NAME),
        ),
        (
            ("x.jpg", "gone.jpg -> nowhere.jpg", "self.jpg -> self.jpg"),
            ["x.jpg"],
            dict.fromkeys(("gone.jpg", "self.jpg"), DANGLING),
        ),
        (("x.jpg", "loop -> .", "deep/up -> .."), ["x.jpg"], dict.fromkeys(("deep/up", "loop"), AGAIN)),
        (("a.jpg -> z/b.jpg", "a -> z", "z/b.jpg"), ["z/b.jpg"], dict.fromkeys(("a", "a.jpg"), AGAIN)),
        (("x.jpg", "boxes.jpg/", "deep/boxes.json"), ["x.jpg"], {"deep/boxes.json": OTHER_NAME}),
    ],
)
def test_every_file_of_a_folder_is_a_picture_once_or_said_to_be_none(folder, names, pictures, skipped):
    found = gather([folder(*names)])
    assert list(found.pictures) == pictures and found.skipped == skipped
    assert all(Path(path).is_file() for path in found.pictures.values())


def test_links_that_lead_out_are_followed_and_what_they_lead_to_counts_once(folder):
    root = folder("set/link -> ../other", "other/x.jpg", "set/x.jpg -> ../other/x.jpg", "other/y.jpg", "set/up -> ..")
    found = gather([root / "set"])
    assert len(found.pictures) == 2 and {os.path.realpath(path) for path in found.pictures.values()} == {
        str(root / "other" / name) for name in ("x.jpg", "y.jpg")
    }
    assert set(found.skipped.values()) == {AGAIN}


def test_names_that_are_no_utf_8_are_written_so_that_any_file_can_hold_them(folder):
    root = folder("ok.jpg")
    for name in (b"caf\xe9.jpg", b"caf\\xe9.jpg"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"x")
    found = gather([root])
    assert sorted(found.pictures) == ["caf\\xe9.jpg", "caf\\xe9.jpg (2)", "ok.jpg"]
    assert len(set(found.pictures.values())) == 3 and all(Path(path).is_file() for path in found.pictures.values())


def test_what_is_no_file_and_a_folder_that_cannot_be_read_are_said(folder, monkeypatch):
    root, scandir = folder("x.jpg", "closed/y.jpg"), os.scandir
    os.mkfifo(root / "pipe.jpg")

    def guarded(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)  # as the user who runs the tests may read everything
    found = gather([root])
    assert list(found.pictures) == ["x.jpg"] and found.skipped == {"closed": CLOSED, "pipe.jpg": NO_FILE}


def test_sources_are_folders_pictures_and_patterns_and_a_name_that_comes_twice_gets_its_folder(folder):
    root = folder("one/a.png", "one/b.png", "two/a.png", "two/n02123045/c.jpg")
    box = '{"pictures": {"a.png": [{"label": "%s", "class_index": 1, "box": [0, 0, 1, 1]}]}}'
    for name in ("one", "two"):
        (root / name / "boxes.json").write_text(box % name)
    found = gather([root / "one", root / "two"])
    assert list(found.pictures) == ["one/a.png", "b.png", "two/a.png", "n02123045/c.jpg"] and not found.skipped
    assert {name: drawn[0].label for name, drawn in found.boxes.items()} == {"one/a.png": "one", "two/a.png": "two"}
    assert list(gather([root / "one" / "*.png"]).pictures) == ["a.png", "b.png"]
    twice = gather([root / "one" / "b.png", str(root / "one" / "b.png"), root / "one"])
    assert list(twice.pictures) == ["one/b.png", "a.png"] and list(twice.skipped.values()) == [AGAIN]


@pytest.mark.parametrize(
    ("sources", "pictures"),
    [
        (("train/cat", "val/cat"), ["train/cat/1.jpg", "val/cat/1.jpg"]),
        (("train", "val"), ["train/cat/1.jpg", "val/cat/1.jpg"]),
        (("train/cat/1.jpg", "val/cat"), ["train/cat/1.jpg", "val/cat/1.jpg"]),
    ],
)
def test_folders_of_the_same_name_are_told_apart(folder, sources, pictures):
    root = folder("train/cat/1.jpg", "val/cat/1.jpg")
    assert list(gather([root / each for each in sources]).pictures) == pictures


def test_the_folder_around_a_picture_is_its_class_at_every_depth(folder):
    found = gather([folder("train/dog/1.jpg", "val/cat/2.jpg")])
    assert read_classes("folder", found.pictures, Labels.of(["cat", "dog"])) == {
        "train/dog/1.jpg": 1,
        "val/cat/2.jpg": 0,
    }


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["none"], "^'none' is neither a picture nor a folder"),
        (["one/*.gif"], r"^'\*\.gif' holds no picture: PNG, JPEG"),
        (["one/boxes.json"], r"^'boxes\.json' holds no picture"),
        (["one", "empty"], "^'empty' holds no picture"),
        (["s3://bucket"], "is not on this machine"),
    ],
)
def test_sources_that_cannot_be_used(folder, monkeypatch, sources, message):
    monkeypatch.chdir(folder("one/a.png", "one/boxes.json", "empty/"))
    Path("one/boxes.json").write_text('{"pictures": {}}')
    with pytest.raises(camkit.InputError, match=message):
        gather(sources)


def test_files_that_are_skipped_are_accounted_for_by_their_reasons():
    assert account("3 measured", {}) == "3 measured, 0 skipped."
    skipped = {f"{number}.txt": OTHER_NAME for number in range(5)} | {"x.jpg": DANGLING}
    assert account("17 measured", skipped) == (
        "17 measured, 6 skipped: 0.txt, 1.txt, 2.txt and 2 more (Its name does not end like a picture's); x.jpg (The "
        "link leads to no file)."
    )
    assert account("0 measured", {str(number): str(number) for number in range(30)}).endswith("19 (19); and others.")


def test_a_sample_is_random_by_its_seed_and_keeps_the_order():
    pictures = {f"{number:02}.png": Path(str(number)) for number in range(40)}
    chosen = random_sample(pictures, 10, 1)
    assert list(chosen) == sorted(chosen) and len(chosen) == 10 and chosen.items() <= pictures.items()
    assert random_sample(pictures, 10, 1) == chosen != random_sample(pictures, 10, 2)
    assert random_sample(pictures, 40) == random_sample(pictures, None) == pictures
    with pytest.raises(camkit.InputError, match="The limit is 0"):
        random_sample(pictures, 0)
