"""Class names: in the order of a classifier's outputs, and how to find one from what a person types.

Every classifier has a `Labels` of its own; ImageNet's are `imagenet()`, out of `imagenet.json` beside this file (class
order and WordNet lemmas of ILSVRC 2012, and everyday words that WordNet lacks, such as "sneaker"; four names that
ILSVRC uses twice carry a word in brackets so that every name is unique). Refuses to guess: what does not name exactly
one class raises InputError with the nearest names. No network.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .errors import InputError, shown
from .explanation import Prediction

FORMS = "a list of names, a text file with one name a line, or a JSON file with a list or an object of index to name"


@dataclass(frozen=True)
class ClassLabel:
    """One class: its `index` in the outputs, its unique `name`, other words for it in `also`, and for ImageNet its
    `wordnet_id` such as "n02123045", else ""."""

    index: int
    name: str
    wordnet_id: str = ""
    also: tuple[str, ...] = ()


class Labels:
    """All class names of a classifier, in index order; `kind` is "ImageNet" for ImageNet's and "" for others.

    Names are unique: one that is given twice gets its index in brackets, and stays findable by that.
    """

    def __init__(self, entries: Iterable[ClassLabel], kind: str = "") -> None:
        self._entries = tuple(entries)
        self.kind = kind
        self._exact: dict[str, tuple[ClassLabel, ...]] = {}
        self._plain: dict[str, tuple[ClassLabel, ...]] = {}
        own: dict[str, tuple[ClassLabel, ...]] = {}
        for entry in self._entries:
            self._exact[entry.name] = (entry,)
            for name in filter(None, (entry.name, entry.wordnet_id)):
                own[_plain(name)] = (*own.get(_plain(name), ()), entry)
            for name in entry.also:
                self._plain[_plain(name)] = (*self._plain.get(_plain(name), ()), entry)
        self._plain |= own  # own names win over other words, so that "crane (bird)" stays findable

    @classmethod
    def of(cls, names: Sequence[str]) -> "Labels":
        """Labels with these names, in this order."""
        twice = {name for name in names if names.count(name) > 1}
        return cls(
            ClassLabel(index, f"{name} ({index})", also=(name,)) if name in twice else ClassLabel(index, name)
            for index, name in enumerate(names)
        )

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ClassLabel]:
        return iter(self._entries)

    def find_class(self, text: str) -> ClassLabel:
        """The class that `text` names: a name or another word for it ("tabby cat") in any case, an index ("285"), or a
        WordNet id.

        Raises InputError with the nearest names when there is none, or when several classes share the word.
        """
        wanted = _plain(text)
        kind, named = ("an ImageNet", "an English name") if self.kind else ("a", "a name")
        examples = f"such as '{self._example.name}', or an index from 0 to {len(self) - 1}."
        if not wanted:
            raise InputError(f"The class is empty: give {kind} class name {examples}")
        found = self._exact.get(str(text).strip(), ()) or self._plain.get(wanted, ())
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"'{shown(text)}' names several classes: {_listed(found)}. Give one of them, or its index."
            )
        if re.fullmatch(r"[+-]?\d{1,9}", wanted):
            return self.class_at(int(wanted))
        near = self.search(text, limit=3)
        hint = f"Did you mean {_listed(near, 'or')}?" if near else f"Give {named} {examples}"
        whose = f"the {len(self)} {self.kind} classes" if self.kind else f"this model's {len(self)} classes"
        raise InputError(f"'{shown(text)}' is none of {whose}. {hint}")

    def class_at(self, index: int) -> ClassLabel:
        """The class with this index; InputError when there is none."""
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(self):
            raise InputError(
                f"Class index {shown(index)} does not exist: it must be a whole number from 0 to {len(self) - 1}."
            )
        return self._entries[index]

    def search(self, text: str, limit: int = 10) -> tuple[ClassLabel, ...]:
        """Up to `limit` classes whose names contain `text`, shortest first, then those spelled nearly like it."""
        wanted, names = _plain(text), self._plain
        inside = sorted(
            (name for name in names if wanted in name), key=lambda name: (not name.startswith(wanted), len(name))
        )
        near = difflib.get_close_matches(wanted, names, n=limit, cutoff=0.6)
        found = dict.fromkeys(entry for name in inside + near for entry in names[name])
        return tuple(found)[:limit]

    def top_predictions(self, probabilities: np.ndarray, count: int = 10) -> tuple[Prediction, ...]:
        """(classes,) probabilities -> the `count` most probable classes, best first; InputError for another number."""
        if len(probabilities) != len(self):
            raise InputError(
                f"There are {len(probabilities)} probabilities and {len(self)} names: give as many of each."
            )
        best = [self._entries[index] for index in np.argsort(-probabilities, kind="stable")[:count]]
        return tuple(
            Prediction(each.index, each.wordnet_id, each.name, float(probabilities[each.index])) for each in best
        )

    @property
    def _example(self) -> ClassLabel:
        return self._entries[281 if self.kind else 0]  # tabby


@cache
def imagenet() -> Labels:
    """ImageNet's 1000 classes."""
    rows = json.loads(Path(__file__).with_name("imagenet.json").read_text(encoding="utf-8"))
    entries = (ClassLabel(row["index"], row["name"], row["wordnet_id"], tuple(row["also"])) for row in rows)
    return Labels(entries, kind="ImageNet")


def find_class(text: str) -> ClassLabel:
    """The ImageNet class that `text` names; other classifiers' are asked of `classifier.labels`."""
    return imagenet().find_class(text)


def top_predictions(probabilities: np.ndarray, count: int = 10) -> tuple[Prediction, ...]:
    """(1000,) probabilities -> the `count` most probable ImageNet classes, best first; other classifiers' are asked of
    `classifier.labels`."""
    return imagenet().top_predictions(probabilities, count)


# --- names that somebody brings ------------------------------------------------------------------------------------


def read_labels(source, count: int) -> Labels:
    """The `count` names of a classifier's outputs.

    `source`: names as a list, or a mapping of index to name; the path of a text file with one name a line, or of a JSON
    file with either of the two; "imagenet" for ImageNet's; None gives "class 0", "class 1" and so on. Raises InputError
    with one sentence when they cannot be read or are not `count`.
    """
    if isinstance(source, Labels):
        labels = source
    elif isinstance(source, str) and source.casefold() == "imagenet":
        labels = imagenet()
    elif source is None:
        labels = Labels.of([f"class {index}" for index in range(count)])
    else:
        labels = Labels.of(_names(_content(Path(source).expanduser()) if isinstance(source, str | Path) else source))
    if len(labels) != count:
        raise InputError(
            f"There are {len(labels)} labels, but the model has {count} classes: give one name a class, in the order "
            "of its outputs."
        )
    return labels


def _content(path: Path):
    """What a file of names holds: its JSON, or its lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if path.suffix.lower() == ".json" else text.rstrip().splitlines()
    except OSError as error:
        raise InputError(f"The file of labels cannot be opened: give {FORMS}.") from error
    except ValueError as error:  # of UTF-8 or JSON
        raise InputError(f"The file of labels is no UTF-8 text, or no JSON: give {FORMS}.") from error


def _names(content) -> list[str]:
    if isinstance(content, Mapping):
        by_index = {str(key).strip(): name for key, name in content.items()}
        content = [by_index.pop(str(index), None) for index in range(len(by_index))]
        if by_index:
            raise InputError(f"The labels' indices are not 0, 1, 2 and so on, without a gap: give {FORMS}.")
    if not isinstance(content, Iterable) or isinstance(content, str | bytes):
        raise InputError(f"The labels are of another kind: give {FORMS}.")
    names = list(content)
    for index, name in enumerate(names):
        if isinstance(name, Mapping | Sequence) and not isinstance(name, str):
            raise InputError(f"Label {index} is not a name: give {FORMS}.")
        if name is None or not str(name).strip():
            raise InputError(f"Label {index} is empty: give one name a class.")
    return [" ".join(str(name).split()) for name in names]


def _plain(text: str) -> str:
    return " ".join(str(text).replace("_", " ").casefold().split())


def _listed(found: tuple[ClassLabel, ...], word: str = "and") -> str:
    names = [f"'{entry.name}' ({entry.index})" for entry in found]
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
