"""The 1000 ImageNet classes: index, WordNet id, name, and how to find one from what a person types.

Refuses to guess: what does not name exactly one class raises InputError with the nearest names. No network; the names
lie in `imagenet.json` beside this file (class order and WordNet lemmas of ILSVRC 2012; four names that ILSVRC uses
twice carry a word in brackets so that every name is unique).
"""

import difflib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import InputError, shown


@dataclass(frozen=True)
class ImageNetClass:
    """One class: `index` in 0..999, `wordnet_id` such as "n02123045", unique `name`, and its other lemmas in `also`."""

    index: int
    wordnet_id: str
    name: str
    also: tuple[str, ...]


@cache
def classes() -> tuple[ImageNetClass, ...]:
    """All 1000 classes in index order."""
    rows = json.loads(Path(__file__).with_name("imagenet.json").read_text(encoding="utf-8"))
    return tuple(ImageNetClass(row["index"], row["wordnet_id"], row["name"], tuple(row["also"])) for row in rows)


def find_class(text: str) -> ImageNetClass:
    """The class that `text` names: an index ("285"), a WordNet id, a name or another lemma ("tabby cat"), in any case.

    Raises InputError with the nearest names when there is none, or when several classes share the lemma.
    """
    wanted = _plain(text)
    if not wanted:
        raise InputError("The class is empty: give an ImageNet class name such as 'tabby', or an index from 0 to 999.")
    if re.fullmatch(r"[+-]?\d{1,9}", wanted):
        return class_at(int(wanted))
    found = _by_name().get(wanted, ())
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"'{shown(text)}' names several classes: {_listed(found)}. Give one of them, or its index.")
    near = search(text, limit=3)
    hint = (
        f"Did you mean {_listed(near, 'or')}?"
        if near
        else "Give an English name such as 'tabby', or an index from 0 to 999."
    )
    raise InputError(f"'{shown(text)}' is none of the 1000 ImageNet classes. {hint}")


def class_at(index: int) -> ImageNetClass:
    """The class with this index; InputError outside 0..999."""
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index <= 999:
        raise InputError(f"Class index {shown(index)} does not exist: it must be a whole number from 0 to 999.")
    return classes()[index]


def search(text: str, limit: int = 10) -> tuple[ImageNetClass, ...]:
    """Up to `limit` classes whose names contain `text`, shortest first, then those spelled nearly like it."""
    wanted = _plain(text)
    names = _by_name()
    inside = sorted(
        (name for name in names if wanted in name), key=lambda name: (not name.startswith(wanted), len(name))
    )
    near = difflib.get_close_matches(wanted, names, n=limit, cutoff=0.6)
    found = dict.fromkeys(entry for name in inside + near for entry in names[name])
    return tuple(found)[:limit]


@cache
def _by_name() -> dict[str, tuple[ImageNetClass, ...]]:
    """Classes by every plain spelling: own names win over other lemmas, so that "crane (bird)" stays findable."""
    own = {_plain(entry.name): (entry,) for entry in classes()} | {entry.wordnet_id: (entry,) for entry in classes()}
    shared: dict[str, tuple[ImageNetClass, ...]] = {}
    for entry in classes():
        for lemma in entry.also:
            shared[_plain(lemma)] = (*shared.get(_plain(lemma), ()), entry)
    return shared | own


def _plain(text: str) -> str:
    return " ".join(str(text).replace("_", " ").casefold().split())


def _listed(found: tuple[ImageNetClass, ...], word: str = "and") -> str:
    names = [f"'{entry.name}' ({entry.index})" for entry in found]
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
