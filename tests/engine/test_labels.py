"""The 1000 names, and finding one from what a person types."""

import pytest

from camkit.labels import class_at, classes, find_class, search


def test_there_are_1000_in_order_each_with_a_name_and_an_id_of_its_own():
    assert [entry.index for entry in classes()] == list(range(1000))
    assert len({entry.name.casefold() for entry in classes()}) == 1000
    assert len({entry.wordnet_id for entry in classes()}) == 1000


def test_every_class_is_found_by_its_name_index_and_id():
    for entry in classes():
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
    for entry in classes():
        for lemma in entry.also:
            shared.setdefault(lemma.casefold(), set()).add(entry.index)
    names = {entry.name.casefold() for entry in classes()}
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
