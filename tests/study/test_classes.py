"""The true classes of a study's pictures: out of names, folders and CSV files, and every refusal."""

from pathlib import Path

import pytest

import camkit
from camkit.labels import Labels, imagenet
from camkit.study.classes import read_classes

NAMED = ("imagenet_00_243.jpg", "val/ILSVRC2012_val_00000293_n02123045.JPEG", "cat_and_coffee.jpg", "a_00000293.jpg")


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
