"""The pictures of a study: which files of folders, patterns and URIs they are, and why others are skipped. Opens no
picture."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np

from ..errors import InputError, quoted
from ..evidence.settings import Box
from ..picture import KINDS, SUFFIXES
from .boxes import read_boxes

BOXES = "boxes.json"
# Why a file is skipped.
HIDDEN = "It is hidden, or lies in a hidden folder."
OTHER_NAME = "Its name does not end like a picture's."
AGAIN = "It is there already, under another name."
DANGLING = "The link leads to no file."
CLOSED = "The folder cannot be read."
NO_FILE = "It is no file."
SAMPLED = 3  # pictures on which the sweep runs up to the full Score-CAM


@dataclass(frozen=True)
class StudyPicture:
    """A picture of a study before it is opened: `source` is a file or its bytes. `true_class` is None where it is not
    known; `sampled`: costly measurements are made in full."""

    name: str
    source: str | os.PathLike | bytes
    boxes: tuple[Box, ...] = ()
    true_class: int | None = None
    sampled: bool = True


def plan(
    pictures: Mapping[str, str | os.PathLike | bytes],
    boxes: Mapping[str, tuple[Box, ...]] | None = None,
    classes: Mapping[str, int] | None = None,
) -> list[StudyPicture]:
    """Return the pictures of a study with their boxes and true classes; SAMPLED of them, evenly spread."""
    sampled = set(np.linspace(0, len(pictures) - 1, SAMPLED).round().astype(int))
    return [
        StudyPicture(name, source, (boxes or {}).get(name, ()), (classes or {}).get(name), place in sampled)
        for place, (name, source) in enumerate(pictures.items())
    ]


@dataclass
class Found:
    """Contents of sources: `pictures` by name, each a path, a URI or a file's bytes; the `boxes` drawn on them; and for
    every other file, by name, the sentence that says why it was `skipped`."""

    pictures: dict[str, Any] = field(default_factory=dict)
    boxes: dict[str, tuple[Box, ...]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, source: Any, reason: str) -> str:
        """Keep a picture, or the `reason` why a file is none, under a name of its own, and return that."""
        unique, number = name, 2
        while unique in self.pictures or unique in self.skipped:
            unique, number = f"{name} ({number})", number + 1
        if reason:
            self.skipped[unique] = reason
        else:
            self.pictures[unique] = source
        return unique


def why_not(name: str) -> str:
    """Return why a file of this name, relative to what was given, is no picture of a study; "" for one that is."""
    path = PurePosixPath(name)
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return HIDDEN
    return "" if path.suffix.lower() in SUFFIXES else OTHER_NAME


def gather(sources: Iterable[str | os.PathLike], remote: Callable[[str], Mapping[str, str]] | None = None) -> Found:
    """Find the pictures of several sources, and the boxes that their boxes.json draw on them.

    A source is a folder, with all folders in it, a picture, or a pattern with * for those of a folder; `remote` lists
    the files below a URI such as s3://bucket/folder, name -> URI. A picture's name is its path relative to its source;
    one that several sources have gets as much of the source's path before it as tells them apart, and bytes of a name
    that are not UTF-8 are written as \\xe9 and the like. Links are followed; a file that is found twice counts once.
    InputError when a source does not exist or holds no picture.
    """
    given = list(dict.fromkeys(map(str, sources)))
    files = [(source, name, path) for source in given for name, path in _listed(source, remote)]
    reasons: dict[int, str] = {}
    known: set[str] = set()
    # Links last: a file that is there by itself too is named by its own place.
    for place, (_, name, path) in sorted(enumerate(files), key=lambda each: os.path.islink(each[1][2])):
        real = os.path.realpath(path)
        reasons[place] = _reason(path, name) or (AGAIN if real in known else "")
        known.add(real)
    holding = {source for place, (source, _, _) in enumerate(files) if reasons[place] in ("", AGAIN)}
    if empty := [source for source in given if source not in holding]:
        raise InputError(f"'{quoted(PurePath(empty[0]).name)}' holds no picture: {KINDS} files are taken.")
    found, counts = Found(), Counter(name for _, name in {(source, name) for source, name, _ in files})
    prefixes = _prefixes({source: _folder(source) for source in given})
    drawn = {source: read_boxes(Path(source) / BOXES) for source in given if os.path.isdir(source)}
    for place, (source, name, path) in enumerate(files):
        if name == BOXES and source in drawn:
            continue
        unique = found.add(f"{prefixes[source]}/{name}" if counts[name] > 1 else name, path, reasons[place])
        if not reasons[place] and name in drawn.get(source, ()):
            found.boxes[unique] = drawn[source][name]
    return found


def _listed(source: str, remote: Callable[[str], Mapping[str, str]] | None) -> list[tuple[str, str]]:
    """Return name and path of every file of a source, sorted."""
    if "://" in source:
        if remote is None:
            raise InputError(f"{quoted(source)} is not on this machine: Ray reads it, give --ray local or an address.")
        return sorted(remote(source).items())
    root = Path(source)
    if root.is_dir():
        return sorted((_readable(os.path.relpath(path, source)), path) for path in _walk(source))
    if os.path.lexists(source):
        return [(_readable(root.name), source)]
    if "*" in root.name and root.parent.is_dir():  # where the shell does not expand it
        return sorted((_readable(path.name), str(path)) for path in root.parent.glob(root.name) if not path.is_dir())
    raise InputError(
        f"'{quoted(root.name)}' is neither a picture nor a folder: give {KINDS} files, or folders of them."
    )


def _walk(folder: str) -> Iterator[str]:
    """Yield every file below a folder, and each folder that cannot be read or that a link leads to once more."""
    entered: set[str] = set()
    starts, unreadable = [folder], list[OSError]()
    while starts:
        links: list[str] = []  # entered last, so that a file is named by the folder that it lies in
        for top, folders, names in chain.from_iterable(os.walk(start, onerror=unreadable.append) for start in starts):
            if (real := os.path.realpath(top)) in entered:
                folders.clear()
                yield top
                continue
            entered.add(real)
            links += [path for path in (os.path.join(top, name) for name in folders) if os.path.islink(path)]
            yield from (os.path.join(top, name) for name in names)
        starts = sorted(links)
    yield from (error.filename for error in unreadable)


def _reason(path: str, name: str) -> str:
    """Return why a file, or a folder that was not entered, is no picture; "" for one that is."""
    if os.path.isdir(path):
        try:
            os.scandir(path).close()
            return AGAIN
        except OSError:
            return CLOSED
    if (reason := why_not(name)) or "://" in path or os.path.isfile(path):
        return reason
    return DANGLING if os.path.islink(path) else NO_FILE


def _readable(path: str) -> str:
    """Return a path that any file can hold: with / between folders, and \\xe9 for a byte that is not UTF-8."""
    return os.fsencode(PurePath(path).as_posix()).decode("utf-8", "backslashreplace")


def _folder(source: str) -> str:
    """Return the full path of the folder that a source's names are relative to."""
    if "://" in source:
        return source.partition("://")[2]
    path = Path(source).resolve()
    return _readable(str(path if path.is_dir() else path.parent))


def _prefixes(folders: Mapping[str, str]) -> dict[str, str]:
    """Return by source the shortest end of its folder's path that no other folder has."""
    parts = {folder: folder.strip("/").split("/") for folder in folders.values()}
    longest = max(map(len, parts.values()))
    for count in range(1, longest + 1):
        ends = {folder: "/".join(each[-count:]) for folder, each in parts.items()}
        if len(set(ends.values())) == len(parts):
            break
    return {source: ends[folder] for source, folder in folders.items()}


def random_sample(pictures: Mapping[str, Any], limit: int | None, seed: int = 0) -> dict[str, Any]:
    """Return a random sample of `limit` pictures, in their order; all of them when there are no more, or for None."""
    if limit is not None and limit < 1:
        raise InputError(f"The limit is {limit}: it must be a whole number of at least 1.")
    if limit is None or limit >= len(pictures):
        return dict(pictures)
    chosen = set(random.Random(seed).sample(sorted(pictures), limit))
    return {name: path for name, path in pictures.items() if name in chosen}
