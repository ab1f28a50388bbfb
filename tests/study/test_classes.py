"""Where a study's pictures come from and their true classes: sources that are mixed, patterns, samples; classes out of
names, folders and CSV files, and every refusal."""

from pathlib import Path

import pytest

import camkit
from camkit.labels import Labels, imagenet
from camkit.study.classes import read_classes
from camkit.study.pictures import gather, random_sample

NAMED = ("imagenet_00_243.jpg", "val/ILSVRC2012_val_00000293_n02123045.JPEG", "cat_and_coffee.jpg", "a_00000293.jpg")


@pytest.fixture
def files(tmp_path):
    """Two folders with boxes; a name comes in both."""
    for name in ("one/a.png", "one/b.png", "two/a.png", "two/n02123045/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    box = '{"pictures": {"a.png": [{"label": "%s", "class_index": 1, "box": [0, 0, 1, 1]}]}}'
    for folder in ("one", "two"):
        (tmp_path / folder / "boxes.json").write_text(box % folder)
    return tmp_path


def test_sources_are_folders_pictures_and_patterns_and_a_name_that_comes_twice_gets_its_folder(files):
    pictures, boxes = gather([files / "one", files / "two"])
    assert list(pictures) == ["one/a.png", "b.png", "two/a.png", "n02123045/c.jpg"]
    assert {name: drawn[0].label for name, drawn in boxes.items()} == {"one/a.png": "one", "two/a.png": "two"}
    assert list(gather([files / "one" / "*.png"])[0]) == ["a.png", "b.png"]
    assert gather([files / "one" / "b.png", str(files / "one" / "b.png")]) == ({"b.png": files / "one" / "b.png"}, {})


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["none"], "'none' is neither a picture nor a folder"),
        (["one/*.gif"], "matches no picture"),
        (["one/boxes.json"], "is neither a picture nor a folder"),
        (["one", "one/a.png"], "Two pictures are called one/a.png"),
    ],
)
def test_sources_that_cannot_be_used(files, sources, message):
    with pytest.raises(camkit.InputError, match=message):
        gather(files / source for source in sources)


def test_a_sample_is_random_by_its_seed_and_keeps_the_order():
    pictures = {f"{number:02}.png": Path(str(number)) for number in range(40)}
    chosen = random_sample(pictures, 10, 1)
    assert list(chosen) == sorted(chosen) and len(chosen) == 10 and chosen.items() <= pictures.items()
    assert random_sample(pictures, 10, 1) == chosen != random_sample(pictures, 10, 2)
    assert random_sample(pictures, 40) == random_sample(pictures, None) == pictures
    with pytest.raises(camkit.InputError, match="The limit is 0"):
        random_sample(pictures, 0)


def test_a_file_name_says_its_class_at_its_end_and_a_counter_is_none():
    assert read_classes("name", dict.fromkeys(NAMED), imagenet()) == {NAMED[0]: 243, NAMED[1]: 281}


def test_a_folder_is_called_like_its_class():
    pictures = {
        "n02123045/a.jpg": Path("val/n02123045/a.jpg"),
        "b.jpg": Path("/x/tabby_cat/b.jpg"),
        "7/c.jpg": "7/c.jpg",
    }
    assert read_classes("folder", pictures, imagenet()) == {"n02123045/a.jpg": 281, "b.jpg": 281, "7/c.jpg": 7}


def test_a_csv_gives_classes_by_name_or_by_file_name(tmp_path):
    table = tmp_path / "classes.csv"
    table.write_text('name,class\na/x.png,"dog"\ny.png, 0\n\nother.png,cat\n', encoding="utf-8-sig")
    pictures = dict.fromkeys(("a/x.png", "b/y.png", "z.png"))
    assert read_classes(table, pictures, Labels.of(["cat", "dog"])) == {"a/x.png": 1, "b/y.png": 0}


@pytest.mark.parametrize(
    ("how", "names", "message"),
    [
        ("name", ["a.png"], "^The true class of no picture is said: classes come from 'name'"),
        ("name", ["a_2.png"], r"^The true class of a_2\.png cannot be used\. Class index 2 does not exist"),
        ("folder", ["dgo/a.png"], r"cannot be used\. 'dgo' is none of this model's 2 classes\."),
        ("{folder}/none.csv", ["a.png"], r"^The classes cannot be read from 'none\.csv'"),
        ("{folder}/bad.csv", ["a.png"], r"^'bad\.csv' has a row of fewer than two columns"),
        ("{folder}/bytes.csv", ["a.png"], r"^The classes cannot be read from 'bytes\.csv'"),
    ],
)
def test_classes_that_cannot_be_used(tmp_path, how, names, message):
    (tmp_path / "bad.csv").write_text("a.png,cat\nb.png\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\xff")
    pictures = {name: Path(name) for name in names}
    with pytest.raises(camkit.InputError, match=message):
        read_classes(how.format(folder=tmp_path), pictures, Labels.of(["cat", "dog"]))
