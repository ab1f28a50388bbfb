"""The true classes of a study's pictures: out of their file names, their folders' names, or a CSV. Opens no picture."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..errors import InputError, quoted
from ..labels import Labels

FORMS = "'name' (it ends in _ and the index, or WordNet id), 'folder', or a CSV file of name and class"
# A number with leading zeros counts pictures: ILSVRC2012_val_00000293 is of no class 293.
_IN_NAME = re.compile(r"_(0|[1-9]\d*|n\d{8})$")


def read_classes(
    source: str | os.PathLike, pictures: Mapping[str, str | os.PathLike], labels: Labels
) -> dict[str, int]:
    """Return the class index by picture name; a picture whose class is not said is left out.

    `source`: "name": the file's name ends in _ and the class's index or WordNet id; "folder": the folder that the
    picture lies in is named like its class, by index, WordNet id or name; else the path of a CSV of picture and class.
    InputError when a class does not exist, or when no picture's class is said.
    """
    if source == "name":
        said = _in_names(pictures)
    elif source == "folder":
        said = {name: PurePosixPath(Path(path).as_posix()).parent.name for name, path in pictures.items()}
    else:
        said = _in_csv(Path(source), pictures)
    if not said:
        raise InputError(f"The true class of no picture is said: classes come from {FORMS}.")
    found: dict[str, int] = {}
    known: dict[str, int] = {}
    for name, text in said.items():
        if text not in known:
            try:
                known[text] = labels.find_class(text).index
            except InputError as error:
                raise InputError(f"The true class of {quoted(name)} cannot be used. {error}") from error
        found[name] = known[text]
    return found


def _in_names(pictures: Mapping) -> dict[str, str]:
    matches = {name: _IN_NAME.search(PurePosixPath(name).stem) for name in pictures}
    return {name: match[1] for name, match in matches.items() if match}


def _in_csv(path: Path, pictures: Mapping) -> dict[str, str]:
    """Return the class by picture, which is found by its name in the study, else by its file's name alone."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:  # ValueError: of UTF-8
        raise InputError(f"The classes cannot be read from '{path.name}': they come from {FORMS}.") from error
    if any(len(row) < 2 for row in rows):
        raise InputError(f"'{path.name}' has a row of fewer than two columns: give the picture's name and its class.")
    said = {row[0].strip(): row[1].strip() for row in rows}
    named = ((name, said.get(name, said.get(PurePosixPath(name).name))) for name in pictures)
    return {name: text for name, text in named if text is not None}
