"""Class names: in the order of a classifier's outputs, and how to find one from what a person types.

Every classifier has a `Labels` of its own; ImageNet's are `imagenet()`, out of `bundled/imagenet.json` (class
order and WordNet lemmas of ILSVRC 2012, and everyday words that WordNet lacks, such as "sneaker"; four names that
ILSVRC uses twice carry a word in brackets so that every name is unique). Refuses to guess: what does not name exactly
one class raises InputError with the nearest names. No network.
"""

import csv
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from numbers import Integral
from pathlib import Path

import numpy as np

from .errors import InputError, quoted
from .explanation import Prediction

FORMS = (
    "a list of names, a text or CSV file with one name a line, a JSON file with a list or an object of index to name "
    "or of name to index, or a folder with a folder for each class"
)
# What people write over the column of names in a CSV file.
NAME_HEADINGS = ("name", "names", "label", "labels", "class", "classes", "class_name", "classname", "label_name")

FILE_HEADINGS = ("file", "files", "filename", "file_name", "filepath", "path", "image", "image_path", "image_id")


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
                f"'{quoted(text)}' names several classes: {_listed(found)}. Give one of them, or its index."
            )
        if re.fullmatch(r"[+-]?\d{1,9}", wanted):
            return self.class_at(int(wanted))
        near = self.search(text, limit=3)
        hint = f"Did you mean {_listed(near, 'or')}?" if near else f"Give {named} {examples}"
        whose = f"the {len(self)} {self.kind} classes" if self.kind else f"this model's {len(self)} classes"
        raise InputError(f"'{quoted(text)}' is none of {whose}. {hint}")

    def class_at(self, index: int) -> ClassLabel:
        """The class with this index; InputError when there is none."""
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(self):
            raise InputError(
                f"Class index {quoted(index)} does not exist: it must be a whole number from 0 to {len(self) - 1}."
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

    def top_predictions(
        self, probabilities: np.ndarray, count: int = 10, quantity: str = "probability"
    ) -> tuple[Prediction, ...]:
        """(classes,) probabilities -> the `count` most probable classes, best first; InputError for another number.
        `quantity`: the field of Prediction that they are, "value" for values."""
        if len(probabilities) != len(self):
            raise InputError(
                f"There are {len(probabilities)} probabilities and {len(self)} names: give as many of each."
            )
        best = [self._entries[index] for index in np.argsort(-probabilities, kind="stable")[:count]]
        return tuple(
            Prediction(each.index, each.wordnet_id, each.name, **{quantity: float(probabilities[each.index])})
            for each in best
        )

    @property
    def _example(self) -> ClassLabel:
        return self._entries[281 if self.kind else 0]  # tabby


@cache
def imagenet() -> Labels:
    """ImageNet's 1000 classes."""
    rows = json.loads(Path(__file__).with_name("bundled").joinpath("imagenet.json").read_text(encoding="utf-8"))
    entries = (ClassLabel(row["index"], row["name"], row["wordnet_id"], tuple(row["also"])) for row in rows)
    return Labels(entries, kind="ImageNet")


def find_class(text: str) -> ClassLabel:
    """The ImageNet class that `text` names; other classifiers' are asked of `classifier.labels`."""
    return imagenet().find_class(text)


def top_predictions(probabilities: np.ndarray, count: int = 10) -> tuple[Prediction, ...]:
    """(1000,) probabilities -> the `count` most probable ImageNet classes, best first; other classifiers' are asked of
    `classifier.labels`."""
    return imagenet().top_predictions(probabilities, count)


# --- a model's own names ------------------------------------------------------------------------------------------


def read_labels(source, count: int) -> Labels:
    """Return the `count` names of a classifier's outputs.

    `source`: names in the order of the outputs (a list, tuple, array); a mapping of index to name, or of name to index
    as Keras's `class_indices`; a path; "imagenet" for ImageNet's; None for "class 0", "class 1" and so on. A path is
    that of a text file with one name a line, which may begin with its index ("0 Cat", as Teachable Machine writes it);
    of a CSV file of names, or of indices and names; of a JSON file with a list or either mapping; of a folder with a
    folder for each class, whose sorted names are taken as Keras's `image_dataset_from_directory` does.

    Raises InputError with one sentence when names cannot be read, have no order (a set), or are not `count`.
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
    """Return what a file or folder of names holds: a list, or a mapping of index to name or of name to index."""
    try:
        if path.is_dir():
            return _folders(path)
        text, kind = path.read_text(encoding="utf-8-sig"), path.suffix.lower()
        if kind == ".json":
            return json.loads(text, object_pairs_hook=_without_repetition)
        return _table(text) if kind in (".csv", ".tsv") else _lines(text)
    except OSError as error:
        raise InputError(f"The file of labels cannot be opened: give {FORMS}.") from error
    except InputError:
        raise
    except (ValueError, RecursionError, csv.Error) as error:  # of UTF-8, JSON or CSV
        raise InputError(f"The file of labels is no UTF-8 text, or no JSON: give {FORMS}.") from error


def _folders(path: Path) -> list[str]:
    found = sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not found:
        raise InputError("The folder given for the labels holds no folders: one for each class is needed.")
    return found


def _without_repetition(pairs: list[tuple]) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise InputError("The labels' file gives an index or a name twice: give each once.")
    return dict(pairs)


def _lines(text: str) -> list[str] | dict[str, str]:
    """Return the lines, or where every line begins with a number, and one of them with 0, the names by number."""
    lines = text.rstrip().split("\n")
    numbered = [re.fullmatch(r"\s*(\d+)\s*[\s,;:=]\s*(\S.*)", line) for line in lines]
    found = [(str(int(each[1])), each[2]) for each in numbered if each]
    return _without_repetition(found) if len(found) == len(lines) and "0" in dict(found) else lines


def _table(text: str) -> list[str] | dict[str, str]:
    """Return the names of a CSV file's one column, or by index where a column holds 0, 1, 2 and so on; the first row
    may be a heading."""
    separator = next((each for each in ("\t", ";", ",") if each in text), ",")
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.split("\n"), delimiter=separator) if any(row)]
    if not rows or len({len(row) for row in rows}) > 1:
        raise InputError(f"The rows of the labels' CSV file are not of one length: give {FORMS}.")
    heading = [cell.casefold() for cell in rows[0]]
    if len(heading) > 1 and set(heading) & set(FILE_HEADINGS):
        raise InputError(f"The labels' CSV file lists files and their classes, not each class once: give {FORMS}.")
    named = [place for place, cell in enumerate(heading) if cell in NAME_HEADINGS]
    columns = list(zip(*rows[1:] if named else rows, strict=True))
    if len(heading) == 1:
        return list(columns[0]) if columns else []
    numbers = [place for place, cells in enumerate(columns) if all(cell.isdecimal() for cell in cells)]
    if not named and not numbers:  # a heading in words of its own
        columns = list(zip(*rows[1:], strict=True))
        numbers = [place for place, cells in enumerate(columns) if all(cell.isdecimal() for cell in cells)]
    index = next((place for place in numbers if place not in named), None)
    names = named or [place for place in range(len(heading)) if place != index]
    if index is None and named:
        return list(columns[named[0]])
    if index is None or len(names) != 1:
        raise InputError(f"The labels' CSV file has no column of indices and one of names: give {FORMS}.")
    return _without_repetition([(str(int(i)), name) for i, name in zip(columns[index], columns[names[0]], strict=True)])


def _names(content) -> list[str]:
    """Return the names in order."""
    if isinstance(content, Set):
        raise InputError("The labels are a set, which has no order: give a list, in the order of the model's outputs.")
    table = getattr(content, "ndim", 1) != 1  # an array, or a frame of pandas
    if not table and hasattr(content, "to_dict"):  # a series of pandas, whose order its index says
        content = content.to_dict()
    if isinstance(content, Mapping):
        content = _in_order(content)
    if table or not isinstance(content, Iterable) or isinstance(content, str | bytes):
        raise InputError(f"The labels are of another kind: give {FORMS}.")
    names = list(content)
    for index, name in enumerate(names):
        if isinstance(name, Mapping | Sequence | Set) and not isinstance(name, str):
            raise InputError(f"Label {index} is not a name: give {FORMS}.")
        if name is None or name != name or not str(name).strip():  # a missing one is NaN in pandas
            raise InputError(f"Label {index} is empty: give one name a class.")
    return [" ".join(str(name).split()) for name in names]


def _in_order(content: Mapping) -> list:
    """Return the names of a mapping of index to name, or of name to index where all values are whole numbers and the
    names are texts."""
    pairs = list(content.items())
    if all(isinstance(name, str) and isinstance(index, Integral) for name, index in pairs):
        pairs = [(index, name) for name, index in pairs]
    by_index = {str(index).strip(): name for index, name in pairs}
    if set(by_index) != {str(index) for index in range(len(pairs))}:
        raise InputError(f"The labels' indices are not 0, 1, 2 and so on, each once and without a gap: give {FORMS}.")
    return [by_index[str(index)] for index in range(len(pairs))]


def _plain(text: str) -> str:
    return " ".join(str(text).replace("_", " ").casefold().split())


def _listed(found: tuple[ClassLabel, ...], word: str = "and") -> str:
    names = [f"'{entry.name}' ({entry.index})" for entry in found]
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
