"""What the page says of its example pictures is true of the bundled classifier."""

import numpy as np
import pytest
from conftest import example

from camkit.labels import imagenet
from camkit.web.tabs.examples import EXAMPLES
from camkit.web.tabs.maps import story_html

GREY = 127


def covered(key: str, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """An example with a box, in shares of its sides, covered with grey."""
    image = example(key).copy()
    high, wide = image.shape[:2]
    image[round(top * high) : round(bottom * high), round(left * wide) : round(right * wide)] = GREY
    return image


def names(lite0, image, count: int = 1) -> list[str]:
    return [each.name for each in imagenet().top_predictions(lite0.predict(image), count)]


def test_covering_the_cat_gives_espresso(lite0):
    assert all("cat" in name or name in ("tabby", "lynx") for name in names(lite0, example("cat_and_coffee"), 4))
    assert names(lite0, covered("cat_and_coffee", 0, 0, 0.5, 1)) == ["espresso"]


@pytest.mark.parametrize(
    ("key", "box", "name"),
    [
        ("chelsea", (0.48, 0.6, 0.67, 0.87), "Egyptian cat"),
        ("rocket", (0.42, 0, 0.58, 1), "drilling platform"),
    ],
)
def test_covering_what_is_named_makes_the_class_rise(lite0, key, box, name):
    index = imagenet().find_class(name).index
    assert names(lite0, example(key)) == [name]
    assert lite0.predict(covered(key, *box))[index] > lite0.predict(example(key))[index] + 0.05


@pytest.mark.parametrize(("key", "first"), [("coffee", ["espresso", "cup"]), ("astronaut", ["bobsled"])])
def test_the_first_guesses_are_those_that_are_told(lite0, key, first):
    assert names(lite0, example(key), len(first)) == first


def test_on_a_page_the_page_decides_and_not_the_cat(lite0):
    key, cat = "cat_on_a_page", (slice(120, 387), slice(40, 441))
    assert names(lite0, example(key)) == ["web site"]
    assert names(lite0, covered(key, 0.0625, 0.25, 0.69, 0.81)) == ["web site"]
    assert names(lite0, covered(key, 0, 0, 1, 112 / 480)) == ["Egyptian cat"]
    alone = np.full_like(example(key), GREY)
    alone[cat] = example(key)[cat]
    assert names(lite0, alone) == ["Egyptian cat"]


def test_a_class_that_is_said_to_be_missing_is_missing():
    known = " ".join(each.name.lower() for each in imagenet())
    assert "pagoda" not in known and "dahlia" not in known and "astronaut" not in known
    assert all(word in known for word in ("groom", "scuba diver", "ballplayer"))  # the people that About names


def test_every_story_offers_the_next_class():
    for each in EXAMPLES.values():
        shown = story_html(each)
        assert each.story in shown and f"Explain {imagenet().class_at(each.next_index).name}<" in shown
