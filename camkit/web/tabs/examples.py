"""The example pictures: which there are, what each asks, and the strip of buttons that shows them."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ...maps import encode
from ...picture import EXAMPLES as FOLDER
from ..server.assets import THUMBNAILS


@dataclass(frozen=True)
class Example:
    """A picture in examples/, the question it answers, and the class to explain (None: the top one). `story`: what is
    surprising about it with the bundled model; `next_index`: the class to explain next."""

    key: str
    question: str
    class_index: int | None = None
    story: str = ""
    next_index: int | None = None

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.key}.jpg"

    @cached_property
    def content(self) -> bytes:
        """The file's bytes, the same object for every visitor."""
        return self.path.read_bytes()


# The page opens on the first one: two things in one picture, of which the classifier is sure to see one.
EXAMPLES: dict[str, Example] = {
    example.key: example
    for example in (
        Example(
            "cat_and_coffee",
            "Cat or coffee?",
            story="All first guesses are cats: cover the cat below, and espresso comes first.",
            next_index=967,
        ),
        Example("chelsea", "Which cat?", story="Cover its chin below: Egyptian cat rises.", next_index=282),
        Example(
            "cat_on_a_page",
            "Cat or web site?",
            story="The page decides, not the cat: cover its top below, and Egyptian cat leads.",
            next_index=285,
        ),
        Example("coffee", "Cup or contents?", story="What is in the cup wins over the cup.", next_index=968),
        Example(
            "astronaut",
            "Why a space shuttle?",
            812,
            "The network knows no class for an astronaut.",
            450,
        ),
        Example(
            "rocket",
            "Rocket or rig?",
            story="Not the rocket: cover it below, and drilling platform rises.",
            next_index=657,
        ),
        Example("china", "What makes a roof?", story="The network knows no class for a pagoda.", next_index=832),
        Example("flower", "Petals or centre?", story="The network knows no class for a dahlia.", next_index=309),
    )
}
OPENING = next(iter(EXAMPLES.values()))


def by_number(index: object) -> Example:
    """The example of a button; a raw request may send anything, and gets some example."""
    number = index if isinstance(index, int) else 0
    return list(EXAMPLES.values())[number % len(EXAMPLES)]


@cache
def aspect(example: Example) -> float:
    """Return the width by the height of its picture."""
    with Image.open(example.path) as image:
        return image.width / image.height


@cache
def thumbnail(key: str) -> bytes:
    """Return a JPEG of an example's picture, at most 160 pixels a side; KeyError for an unknown one."""
    picture = Image.open(EXAMPLES[key].path)
    picture.thumbnail((160, 160))
    return encode(np.asarray(picture.convert("RGB")), "JPEG", quality=75, optimize=True)


def examples_html() -> str:
    buttons = []
    for index, example in enumerate(EXAMPLES.values()):
        buttons.append(
            f'<button type="button" data-index="{index}"><img data-path="{THUMBNAILS}{example.key}.jpg" alt="">'
            f"<span>{html.escape(example.question)}</span></button>"
        )
    return f'<div class="cam-examples" role="group" aria-label="Example pictures">{"".join(buttons)}</div>'
