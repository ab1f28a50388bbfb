"""Names of classes: ImageNet's 1000, those that somebody brings, and finding one from what a person types."""

import json

import numpy as np
import pytest

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


@pytest.mark.parametrize("text", ["", "   ", "_"])
def test_nothing_typed_says_what_to_type(text):
    with pytest.raises(
        ValueError, match=r"^The class is empty: give an ImageNet class name such as 'tabby', or an index"
    ):
        find_class(text)


def test_a_misspelling_names_the_nearest():
    with pytest.raises(
        ValueError, match=r"^'tabbi' is none of the 1000 ImageNet classes\. Did you mean .*'tabby' \(281\)"
    ):
        find_class("tabbi")


def test_a_part_of_a_name_names_those_that_hold_it():
    with pytest.raises(ValueError, match=r"'shuttl' is none .* Did you mean .*'space shuttle' \(812\)"):
        find_class("shuttl")


@pytest.mark.parametrize("text", ["qqqqzzzz", "+-5", "--5", "1.5", "9" * 5000])
def test_what_is_near_nothing_is_an_error_in_our_own_words(text):
    with pytest.raises(ValueError, match=r"is none of the 1000 ImageNet classes\. ") as caught:
        find_class(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["1000", "-1", "285000"])
def test_an_index_outside_is_named_with_the_range(text):
    with pytest.raises(
        ValueError, match=rf"^Class index {text} does not exist: it must be a whole number from 0 to 999\.$"
    ):
        find_class(text)


@pytest.mark.parametrize("index", [-1, 1000, 1.0, True, None, "285"])
def test_class_at_takes_whole_numbers_in_range_only(index):
    with pytest.raises(ValueError, match=r"^Class index .* must be a whole number from 0 to 999\.$"):
        class_at(index)


def test_what_is_no_text_is_an_error_in_our_own_words():
    with pytest.raises(ValueError, match=r"^'5\.5' is none of the 1000 ImageNet classes"):
        find_class(5.5)


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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "cat\ndog\nsea horse"),
        ("labels.txt", "\ufeffcat\r\n dog \r\nsea  horse\r\n\r\n"),
        ("labels.json", json.dumps(NAMES)),
        ("labels.json", json.dumps({"2": "sea horse", "0": "cat", "1": "dog"})),
    ],
)
def test_names_out_of_a_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    for source in (path, str(path)):
        assert [entry.name for entry in read_labels(source, 3)] == NAMES


@pytest.mark.parametrize("source", [NAMES, tuple(NAMES), dict(enumerate(NAMES)), np.array(NAMES)])
def test_names_as_python_has_them(source):
    assert [entry.name for entry in read_labels(source, 3)] == NAMES


def test_imagenets_names_by_their_word():
    assert read_labels("imagenet", 1000) is imagenet()
    with pytest.raises(InputError, match=r"^There are 1000 labels, but the model has 10 classes: "):
        read_labels("imagenet", 10)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00c", b"{", b"3", b'"cat"', b"[[1], [2], [3]]", b'{"0": "cat", "2": "dog"}']
)
def test_a_file_without_names_is_refused_in_a_sentence_without_its_path(tmp_path, content):
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r": give a list of names, a text file [^\n]*\.$") as caught:
        read_labels(path, 3)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_of_names_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"^The file of labels cannot be opened: "):
        read_labels(tmp_path / "none.txt", 3)


@pytest.mark.parametrize("names", [["cat", "", "dog"], ["cat", None, "dog"], ["cat", "  ", "dog"]])
def test_an_empty_name_is_refused(names):
    with pytest.raises(InputError, match=r"^Label 1 is empty: give one name a class\.$"):
        read_labels(names, 3)


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_names_is_refused(count):
    with pytest.raises(
        InputError, match=rf"^There are 3 labels, but the model has {count} classes: give one name a class"
    ):
        read_labels(NAMES, count)


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
