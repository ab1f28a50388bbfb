"""Names of classes: ImageNet's 1000, those that somebody brings, and finding one from what a person types."""

import json
from collections import Counter

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from camkit import InputError
from camkit.labels import Labels, find_class, imagenet, read_labels

class_at, search = imagenet().class_at, imagenet().search


def test_there_are_1000_in_order_each_with_a_name_and_an_id_of_its_own():
    assert [entry.index for entry in imagenet()] == list(range(1000))
    assert len({entry.name.casefold() for entry in imagenet()}) == 1000
    assert len({entry.wordnet_id for entry in imagenet()}) == 1000


def test_every_class_is_found_by_its_name_index_and_id():
    for entry in imagenet():
        assert find_class(entry.name) is find_class(str(entry.index)) is find_class(entry.wordnet_id) is entry


@pytest.mark.parametrize(
    ("index", "wordnet_id", "name"),
    [
        (0, "n01440764", "tench"),
        (281, "n02123045", "tabby"),
        (285, "n02124075", "Egyptian cat"),
        (812, "n04266014", "space shuttle"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_known_classes(index, wordnet_id, name):
    entry = class_at(index)
    assert (entry.wordnet_id, entry.name) == (wordnet_id, name)


@pytest.mark.parametrize("text", ["tabby", "TABBY", "  tabby ", "Tabby Cat", "tabby_cat", "281", "+281", "N02123045"])
def test_tabby_in_many_spellings(text):
    assert find_class(text).index == 281


EMPTY = r"^The class is empty: give an ImageNet class name such as 'tabby', or an index"
NONE = r"is none of the 1000 ImageNet classes\. "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, EMPTY) for text in ("", "   ", "_")),
        *((text, NONE) for text in ("qqqqzzzz", "+-5", "--5", "1.5", 5.5, "9" * 5000)),
        ("tabbi", rf"^'tabbi' {NONE}Did you mean .*'tabby' \(281\)"),
        ("shuttl", rf"^'shuttl' {NONE}Did you mean .*'space shuttle' \(812\)"),
        *((text, rf"^Class index {text} does not exist: .* from 0 to 999\.$") for text in ("1000", "-1", "285000")),
    ],
)
def test_what_names_no_class_is_an_error_in_our_own_words(text, message):
    with pytest.raises(InputError, match=message) as caught:
        find_class(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("index", [-1, 1000, 1.0, True, None, "285"])
def test_class_at_takes_whole_numbers_in_range_only(index):
    with pytest.raises(ValueError, match=r"^Class index .* must be a whole number from 0 to 999\.$"):
        class_at(index)


def test_a_lemma_of_several_classes_asks_which():
    shared = {}
    for entry in imagenet():
        for lemma in entry.also:
            shared.setdefault(lemma.casefold(), set()).add(entry.index)
    names = {entry.name.casefold() for entry in imagenet()}
    lemma, indices = next((lemma, found) for lemma, found in shared.items() if len(found) > 1 and lemma not in names)
    with pytest.raises(ValueError, match="names several classes") as caught:
        find_class(lemma)
    assert all(f"({index})" in str(caught.value) for index in indices)


def test_search_puts_names_that_begin_so_first_and_keeps_to_its_limit():
    found = search("cat", limit=5)
    assert len(found) == len({entry.index for entry in found}) == 5
    assert search("space sh")[0].index == 812


def test_search_finds_a_misspelt_name_that_contains_nothing():
    assert search("goldfihs")[0].name == "goldfish"


# Names that somebody brings


def test_without_names_classes_are_numbered():
    assert [entry.name for entry in read_labels(None, 3)] == ["class 0", "class 1", "class 2"]
    assert {entry.wordnet_id for entry in read_labels(None, 3)} == {""}


NAMES = ["cat", "dog", "sea horse"]
INDICES = {"dog": 1, "sea horse": 2, "cat": 0}
FILES = {
    "lines": ("labels.txt", "cat\ndog\nsea horse"),
    "windows": ("labels.txt", "\ufeffcat\r\n dog \r\nsea  horse\r\n\r\n"),
    "teachable machine": ("labels.txt", "0 cat\n1 dog\n2 sea horse\n"),
    "numbered out of order": ("labels.txt", "2: sea horse\n0: cat\n1: dog\n"),
    "numbered with tabs and zeros": ("labels.txt", "00\tcat\n01\tdog\n02\tsea horse"),
    "a separator of another alphabet": ("labels.txt", "cat\ndog\nsea\u2028horse"),
    "list": ("labels.json", json.dumps(NAMES)),
    "index to name": ("labels.json", json.dumps({"2": "sea horse", "0": "cat", "1": "dog"})),
    "class_indices": ("class_indices.json", json.dumps(INDICES)),
    "one column": ("labels.csv", "cat\ndog\nsea horse\n"),
    "one column with a heading": ("labels.CSV", "name\ncat\ndog\n'sea horse'\n".replace("'", '"')),
    "index and name": ("labels.csv", "0,cat\n1,dog\n2,sea horse\n"),
    "name and index with a heading": ("labels.csv", "class;id\nsea horse;2\ncat;0\ndog;1\n"),
    "a heading of its own": ("labels.csv", "Nummer,Tier\n2,sea horse\n0,cat\n1,dog\n"),
    "more columns with a heading": (
        "labels.tsv",
        "label\tcount\tcolour\ncat\t0\tred\ndog\t1\tblue\nsea horse\t2\tred\n",
    ),
    "no index, in order": ("labels.csv", "colour,label\nred,cat\nblue,dog\nred,sea horse\n"),
}


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_names_out_of_a_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    for source in (path, str(path)):
        assert [entry.name for entry in read_labels(source, 3)] == NAMES


@pytest.mark.parametrize(
    "source",
    [
        NAMES,
        tuple(NAMES),
        dict(enumerate(NAMES)),
        np.array(NAMES),
        iter(NAMES),
        INDICES,
        dict(enumerate(NAMES)).values(),
        pd.Series(NAMES),
        pd.Series(NAMES, index=range(3)).sort_values(ascending=False),
    ]
    + [{name: np.int64(index) for name, index in INDICES.items()}],
)
def test_names_as_python_has_them(source):
    assert [entry.name for entry in read_labels(source, 3)] == NAMES


def test_names_that_are_numbers_keep_what_keras_says_of_them():
    """`class_indices` of the folders 0, 1, 2, 10 sorts their names as text."""
    indices = {"0": 0, "1": 1, "10": 2, "2": 3}
    assert [entry.name for entry in read_labels(indices, 4)] == ["0", "1", "10", "2"]


def test_numbers_that_begin_names_stay_where_they_are_no_indices(tmp_path):
    (tmp_path / "labels.txt").write_text("10 euro\n20 euro\n50 euro\n")
    assert [entry.name for entry in read_labels(tmp_path / "labels.txt", 3)] == ["10 euro", "20 euro", "50 euro"]


def test_a_folder_of_classes_is_read_as_keras_reads_it(tmp_path):
    for name in ("dog", "Cat", "ape", ".cache", "10", "9"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    (tmp_path / "readme.txt").write_text("no class")
    expected = keras.utils.image_dataset_from_directory(tmp_path, verbose=False).class_names
    assert [entry.name for entry in read_labels(tmp_path, 5)] == expected


def test_imagenets_names_by_their_word():
    assert read_labels("imagenet", 1000) is imagenet()
    with pytest.raises(InputError, match=r"^There are 1000 labels, but the model has 10 classes: "):
        read_labels("imagenet", 10)


NO_SET, GAP = r"The labels are a set, which has no order: give a list", r"The labels' indices are not 0, 1, 2 and so on"
REFUSED = {
    "set": ({"cat", "dog", "fox"}, NO_SET),
    "frozen set": (frozenset(NAMES), NO_SET),
    "keys": (dict.fromkeys(set(NAMES)).keys(), NO_SET),
    "sets inside": ([{"cat"}, {"dog"}, {"fox"}], r"Label 0 is not a name: "),
    "lists inside": ([[1], [2], [3]], r"Label 0 is not a name: "),
    "frame": (pd.DataFrame([[1, 2, 3]], columns=NAMES), r"The labels are of another kind: "),
    "table": (np.array([NAMES] * 3), r"The labels are of another kind: "),
    "missing": (["cat", float("nan"), "dog"], r"Label 1 is empty: "),
    "number": (3, r"The labels are of another kind: "),
    "empty": (["cat", "", "dog"], r"Label 1 is empty: give one name a class"),
    "none": (["cat", None, "dog"], r"Label 1 is empty: "),
    "blank": (["cat", "  ", "dog"], r"Label 1 is empty: "),
    "gap": ({0: "cat", 2: "dog", 3: "fox"}, GAP),
    "from one": ({"cat": 1, "dog": 2, "fox": 3}, GAP),
    "index twice": ({"cat": 0, "dog": 1, "fox": 1}, GAP),
    "counts": (Counter(NAMES), GAP),
    "too few": (NAMES[:2], r"There are 2 labels, but the model has 3 classes: give one name a class"),
    "too many": ([*NAMES, "eel"], r"There are 4 labels, but the model has 3 classes: "),
    "no file": ("none.txt", r"The file of labels cannot be opened: "),
    "no text": (("labels.txt", b"\xff\xfe\x00c"), r"The file of labels is no UTF-8 text, or no JSON: "),
    "no json": (("labels.json", b"{"), r"The file of labels is no UTF-8 text, or no JSON: "),
    "json number": (("labels.json", b"3"), r"The labels are of another kind: "),
    "json text": (("labels.json", b'"cat"'), r"The labels are of another kind: "),
    "json gap": (("labels.json", b'{"0": "cat", "2": "dog"}'), GAP),
    "json twice": (
        ("labels.json", b'{"cat": 0, "dog": 1, "cat": 2}'),
        r"The labels' file gives an index or a name twice",
    ),
    "line gap": (("labels.txt", b"0 Cat\n2 Dog\n3 Fox"), GAP),
    "line twice": (("labels.txt", b"0 Cat\n1 Dog\n1 Fox"), r"The labels' file gives an index or a name twice"),
    "csv gap": (("labels.csv", b"0,Cat\n2,Dog\n3,Fox"), GAP),
    "csv twice": (("labels.csv", b"0,Cat\n1,Dog\n1,Fox"), r"The labels' file gives an index or a name twice"),
    "csv rows": (
        ("labels.csv", b"0,Cat\n1,Dog,brown\n2,Fox"),
        r"The rows of the labels' CSV file are not of one length",
    ),
    "csv of words": (("labels.csv", b"a,b\nred,Cat\nblue,Dog"), r"The labels' CSV file has no column of indices "),
    "csv of files": (("labels.csv", b"filename,label\na.jpg,cat\nb.jpg,cat\nc.jpg,dog"), r"The .* file lists files "),
    "empty csv": (("labels.csv", b""), r"The rows of the labels' CSV file are not of one length"),
    "folder without folders": (("sub/labels.txt", b""), r"There are 1 labels, but the model has 3 classes"),
}


@pytest.mark.parametrize(("source", "message"), REFUSED.values(), ids=REFUSED)
def test_names_that_cannot_be_used_are_refused_in_a_sentence_without_a_path(tmp_path, source, message):
    if isinstance(source, tuple):
        path = tmp_path / source[0]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source[1])
        source = tmp_path if "/" in source[0] else path
    with pytest.raises(InputError, match=rf"^{message}[^\n]*\.$") as caught:
        read_labels(source, 3)
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_without_folders_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^The folder given for the labels holds no folders: "):
        read_labels(tmp_path, 3)


def test_a_name_given_twice_gets_its_index():
    labels = Labels.of(["crane", "duck", "crane"])
    assert [entry.name for entry in labels] == ["crane (0)", "duck", "crane (2)"]
    assert labels.find_class("crane (2)").index == 2
    with pytest.raises(
        InputError, match=r"^'crane' names several classes: 'crane \(0\)' \(0\) and 'crane \(2\)' \(2\)\."
    ):
        labels.find_class("crane")


def test_a_name_wins_over_an_index_and_its_own_case_over_another():
    labels = Labels.of(["2", "A", "a"])
    assert [labels.find_class(text).index for text in ("2", "A", "a", "1")] == [0, 1, 2, 1]


def test_what_is_no_name_of_theirs_says_so_in_their_words():
    labels = Labels.of(NAMES)
    with pytest.raises(
        InputError, match=r"^The class is empty: give a class name such as 'cat', or an index from 0 to 2\.$"
    ):
        labels.find_class(" ")
    with pytest.raises(
        InputError, match=r"^'tabby' is none of this model's 3 classes\. Give a name such as 'cat', or an index"
    ):
        labels.find_class("tabby")
    with pytest.raises(InputError, match=r"^Class index 3 does not exist: it must be a whole number from 0 to 2\.$"):
        labels.find_class("3")
    assert labels.search("hors")[0].name == "sea horse"


def test_top_predictions_are_the_best_in_order():
    found = Labels.of(NAMES).top_predictions(np.array([0.25, 0.25, 0.5], np.float32), 2)
    assert [(each.name, each.probability, each.wordnet_id) for each in found] == [
        ("sea horse", 0.5, ""),
        ("cat", 0.25, ""),
    ]


def test_probabilities_of_another_number_have_no_names():
    with pytest.raises(InputError, match=r"^There are 2 probabilities and 3 names"):
        Labels.of(NAMES).top_predictions(np.array([0.5, 0.5], np.float32))
