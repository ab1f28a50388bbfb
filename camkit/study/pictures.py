"""The pictures of a study: out of folders and files, with their boxes."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import InputError, quoted
from ..evidence.settings import Box
from ..picture import KINDS, SUFFIXES

SAMPLED = 3  # pictures on which the sweep runs up to the full Score-CAM
SHOWN = 24  # pictures of a report: some 25 kB each, so that it stays under 2 MB


@dataclass(frozen=True)
class Picture:
    """A picture of a study before it is opened: `source` is a file or its bytes. `true_class` is None where it is not
    known; `sampled`: costly measurements are made in full; `shown`: the report shows it."""

    name: str
    source: str | os.PathLike | bytes
    boxes: tuple[Box, ...] = ()
    true_class: int | None = None
    sampled: bool = True
    shown: bool = True


def plan(
    pictures: Mapping[str, str | os.PathLike | bytes],
    boxes: Mapping[str, tuple[Box, ...]] | None = None,
    classes: Mapping[str, int] | None = None,
) -> list[Picture]:
    """The pictures of a study, by name, with their boxes and true classes; SAMPLED and SHOWN of them, evenly spread."""
    sampled, shown = (set(np.linspace(0, len(pictures) - 1, count).round().astype(int)) for count in (SAMPLED, SHOWN))
    return [
        Picture(name, source, (boxes or {}).get(name, ()), (classes or {}).get(name), place in sampled, place in shown)
        for place, (name, source) in enumerate(pictures.items())
    ]


def is_picture_name(name: str) -> bool:
    """True for a file name that ends like a picture and is not hidden, in no hidden folder and not macOS's own copy."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def gather(
    sources: Iterable[str | os.PathLike], remote: Callable[[str], dict[str, str]] | None = None
) -> tuple[dict[str, str | Path], dict[str, tuple[Box, ...]]]:
    """The pictures of several folders and files, by name, and the boxes that the folders' boxes.json draw on them.

    A source is a folder as for `find_pictures`, a picture, or a pattern with * for those of a folder; `remote` lists
    what a URI such as s3://bucket/folder means. A name that comes twice gets its folder's name before it. InputError
    when a source is none of these, or two pictures stay alike.
    """
    pictures: dict[str, str | Path] = {}
    boxes: dict[str, tuple[Box, ...]] = {}
    unlike = list(dict.fromkeys(map(str, sources)))
    found = [_in_source(source, remote) for source in unlike]
    counts = Counter(name for each in found for name in each)
    for source, each in zip(unlike, found, strict=True):
        inside = Path(source).is_dir()
        drawn = read_boxes(Path(source) / "boxes.json") if inside else {}
        for name, path in each.items():
            folder = Path(source).resolve().name if inside or "://" in source else Path(path).resolve().parent.name
            unique = f"{folder}/{name}" if counts[name] > 1 else name
            if unique in pictures:
                raise InputError(f"Two pictures are called {quoted(unique)}: each needs a name of its own.")
            pictures[unique] = path
            if name in drawn:
                boxes[unique] = drawn[name]
    return pictures, boxes


def random_sample(pictures: Mapping[str, str | Path], limit: int | None, seed: int = 0) -> dict[str, str | Path]:
    """A random sample of `limit` pictures, in their order; all of them when there are no more, or for None."""
    if limit is not None and limit < 1:
        raise InputError(f"The limit is {limit}: it must be a whole number of at least 1.")
    if limit is None or limit >= len(pictures):
        return dict(pictures)
    chosen = set(random.Random(seed).sample(sorted(pictures), limit))
    return {name: path for name, path in pictures.items() if name in chosen}


def _in_source(given: str, remote: Callable[[str], dict[str, str]] | None) -> Mapping[str, str | Path]:
    if "://" in given:
        if remote is None:
            raise InputError(f"{quoted(given)} is not on this machine: Ray reads it, give --ray local or an address.")
        return remote(given)
    source = Path(given)
    if source.is_file() and is_picture_name(source.name):
        return {source.name: source}
    if "*" in source.name and source.parent.is_dir():  # where the shell does not expand it
        found = sorted(source.parent.glob(source.name))
        if pictures := {path.name: path for path in found if path.is_file() and is_picture_name(path.name)}:
            return pictures
        raise InputError(f"'{source.name}' matches no picture: {KINDS} files are taken.")
    return find_pictures(source)


def find_pictures(folder: str | os.PathLike) -> dict[str, Path]:
    """The pictures of a folder and its subfolders, one level deep, by name relative to it, sorted. InputError when it
    is no folder or holds none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"'{quoted(folder.name)}' is neither a picture nor a folder: give PNG, JPEG, WebP, GIF or TIFF files, or "
            "folders of them."
        )
    found = {
        path.relative_to(folder).as_posix(): path
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.is_file()
    }
    pictures = {name: found[name] for name in sorted(found) if is_picture_name(name)}
    if not pictures:
        raise InputError(f"The folder '{folder.name}' holds no picture: put {KINDS} files into it.")
    return pictures


def read_boxes(path: str | os.PathLike) -> dict[str, tuple[Box, ...]]:
    """Hand-drawn boxes by picture name, from a file such as examples/boxes.json; {} when there is none. InputError when
    it is not such a file."""
    path = Path(path)
    if not path.exists():
        return {}
    try:
        pictures = json.loads(path.read_text(encoding="utf-8"))["pictures"]
        return {
            name: tuple(Box(entry["label"], entry["class_index"], tuple(entry["box"])) for entry in entries)
            for name, entries in pictures.items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path.name} does not hold boxes: {error}") from error
