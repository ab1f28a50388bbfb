"""Boxes drawn by hand, as people have them: boxes.json, COCO's JSON, Pascal VOC's XML, a CSV.

Owns these forms and how a box finds its picture and its class. Opens of a picture at most the header, for a CSV in
pixels.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from ..errors import InputError, quoted
from ..evidence.settings import Box
from ..labels import Labels
from ..picture import size_of

FORMS = (
    "a JSON file like boxes.json or COCO's, Pascal VOC's XML (a file, or a folder of them), or a CSV file of name, "
    "class, x0, y0, x1, y1 (pixels, or all of them shares from 0 to 1)"
)
_COLUMNS = ("name", "class", "x0", "y0", "x1", "y1")
_MOST_NAMES = 5  # of classes in a sentence


@dataclass(frozen=True)
class _Drawn:
    """A box as a file says it: `names` that its picture may have, best first; `corners` are left, top, right, bottom
    in pixels of a picture of this (width, height) `size`; None where only the picture's file tells it, (1, 1) for
    shares."""

    names: tuple[str, ...]
    class_text: str | int
    corners: tuple[float, ...]
    size: tuple[float, float] | None = (1, 1)
    label: str = ""


@dataclass
class Drawn:
    """The `boxes` of a study's pictures by name, and a sentence on each kind of box that is `left_out`."""

    boxes: dict[str, tuple[Box, ...]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def read_boxes(path: str | os.PathLike) -> dict[str, tuple[Box, ...]]:
    """Return hand-drawn boxes by picture name, from a file such as examples/boxes.json; {} when there is none.
    InputError when it is not such a file."""
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


def boxes_for(path: str | os.PathLike, pictures: Mapping[str, str | os.PathLike | bytes], labels: Labels) -> Drawn:
    """Return the boxes that a file or folder of any of FORMS draws on `pictures`, name -> file or its bytes.

    A picture is named by its name in the study or by the end of it, with or without the file's ending; boxes of other
    pictures are passed over. A class is anything that `labels.find_class` finds: a name, an index, a WordNet id. Left
    out are boxes of classes that `labels` do not have, and boxes without an area inside the picture.
    InputError when nothing of that form is there, when a name fits several pictures, or when no box fits.
    """
    path = Path(path)
    try:
        found = list(_read(path))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error, ElementTree.ParseError) as error:
        raise InputError(f"'{quoted(path.name)}' does not hold boxes that can be read: give {FORMS}.") from error
    named, drawn = _names(pictures), Drawn()
    indices: dict[str | int, int | None] = {}
    unknown, empty = Counter[str](), 0
    sizes: dict[str, tuple[float, float]] = {}
    for each in found:
        if (name := _picture_of(each, named)) is None:
            continue
        if (index := _class_of(each.class_text, labels, indices)) is None:
            unknown[str(each.class_text)] += 1
            continue
        if each.size is None and name not in sizes:
            sizes[name] = _size(name, pictures[name])
        width, height = each.size or sizes[name]
        shares = [value / side for value, side in zip(each.corners, (width, height) * 2, strict=True)]
        left, top, right, bottom = (min(1.0, max(0.0, value)) for value in shares)
        if left < right and top < bottom:
            box = Box(each.label or str(each.class_text), index, (left, top, right, bottom))
            drawn.boxes[name] = (*drawn.boxes.get(name, ()), box)
        else:
            empty += 1
    if unknown:
        listed = ", ".join(f"'{quoted(text)}'" for text in islice(unknown, _MOST_NAMES))
        more = f" and {len(unknown) - _MOST_NAMES} more" if len(unknown) > _MOST_NAMES else ""
        drawn.left_out.append(f"{_boxes(unknown.total())} of classes that the model does not have: {listed}{more}.")
    if empty:
        drawn.left_out.append(f"{_boxes(empty)} without an area inside the picture.")
    if not drawn.boxes:
        reason = " ".join(drawn.left_out) or "its names are those of no picture of this study."
        raise InputError(f"No box of '{quoted(path.name)}' can be used: {reason}")
    return drawn


def _boxes(count: int) -> str:
    return f"{count} box{'es' if count > 1 else ''}"


def _names(pictures: Iterable[str]) -> dict[str, set[str]]:
    """Return the pictures by each name that they may be called: every end of their path, with and without the file's
    ending."""
    named: dict[str, set[str]] = {}
    for name in pictures:
        parts = PurePosixPath(name).parts
        for start in range(len(parts)):
            end = PurePosixPath(*parts[start:])
            for text in (str(end), str(end.with_suffix(""))):
                named.setdefault(text, set()).add(name)
    return named


def _picture_of(drawn: _Drawn, named: Mapping[str, set[str]]) -> str | None:
    for name in drawn.names:
        found = named.get(name, set()) & {name} or named.get(name, set())
        if len(found) > 1:
            raise InputError(f"'{quoted(name)}' names several pictures: give the box's picture with its folder.")
        if found:
            return next(iter(found))
    return None


def _class_of(text: str | int, labels: Labels, known: dict[str | int, int | None]) -> int | None:
    if text not in known:
        try:
            known[text] = (labels.find_class(text) if isinstance(text, str) else labels.class_at(text)).index
        except InputError:
            known[text] = None  # counted, and said with the others
    return known[text]


def _size(name: str, source: str | os.PathLike | bytes) -> tuple[int, int]:
    if isinstance(source, str) and "://" in source:
        raise InputError(f"The size of {quoted(name)} is not known here: give its boxes as shares from 0 to 1.")
    return size_of(source)


# --- the forms -----------------------------------------------------------------------------------------------------


def _read(path: Path) -> Iterator[_Drawn]:
    if path.is_dir():
        files = sorted(path.rglob("*.xml"))
        if not files:
            raise InputError(f"The folder '{quoted(path.name)}' holds no XML file: give {FORMS}.")
        for file in files:
            yield from _voc(file, file.relative_to(path))
    elif path.suffix.lower() == ".xml":
        yield from _voc(path, Path(path.name))
    elif path.suffix.lower() == ".json":
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        yield from _coco(content) if "annotations" in content else _own(content)
    else:
        yield from _table(path)


def _own(content: Mapping) -> Iterator[_Drawn]:
    for name, entries in content["pictures"].items():
        for entry in entries:
            corners = tuple(map(float, entry["box"]))
            yield _Drawn((name,), entry["class_index"], corners, label=str(entry["label"]))


def _coco(content: Mapping) -> Iterator[_Drawn]:
    """https://cocodataset.org/#format-data: `bbox` is left, top, width, height in pixels, from 0. Crowds have one box
    around many, which is that of no object."""
    images = {image["id"]: image for image in content["images"]}
    names = {each["id"]: str(each["name"]) for each in content["categories"]}
    for each in content["annotations"]:
        if each.get("iscrowd"):
            continue
        image, (left, top, width, height) = images[each["image_id"]], map(float, each["bbox"])
        corners = (left, top, left + width, top + height)
        size = (float(image["width"]), float(image["height"])) if image.get("width") else None
        yield _Drawn((_posix(image["file_name"]),), names[each["category_id"]], corners, size)


def _voc(path: Path, relative: Path) -> Iterator[_Drawn]:
    """http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html: the first and the last pixel of a box,
    counted from 1. ImageNet's files are of this form; some say no file's name, or one without its ending."""
    root = ElementTree.parse(path).getroot()
    own = relative.with_suffix("").as_posix()
    names = (own, _posix(root.findtext("filename") or own), relative.stem)
    width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    for entry in root.iterfind("object"):
        ends = [float(entry.findtext(f"bndbox/{end}") or "nothing") for end in ("xmin", "ymin", "xmax", "ymax")]
        corners = (ends[0] - 1, ends[1] - 1, ends[2], ends[3])
        size = (width, height) if width and height else None
        yield _Drawn(names, entry.findtext("name") or "", corners, size)


def _table(path: Path) -> Iterator[_Drawn]:
    """Columns are found by their headings, in any order, or are those of FORMS where there is no heading."""
    text = path.read_text(encoding="utf-8-sig")
    separator = next((each for each in ("\t", ";", ",") if each in text.partition("\n")[0]), ",")
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator) if any(row)]
    heading = [cell.casefold() for cell in rows[0]] if rows else []
    order = [heading.index(name) for name in _COLUMNS] if set(_COLUMNS) <= set(heading) else list(range(6))
    rows = rows[1:] if set(_COLUMNS) <= set(heading) else rows
    if any(len(row) <= max(order) for row in rows) or not rows:
        raise InputError(f"'{quoted(path.name)}' has a row of fewer columns than name, class, x0, y0, x1, y1.")
    cells = [[row[place] for place in order] for row in rows]
    corners = [tuple(map(float, row[2:])) for row in cells]
    size = (1, 1) if max(map(max, corners)) <= 1 else None
    for (name, class_text, *_), ends in zip(cells, corners, strict=True):
        yield _Drawn((_posix(name),), class_text, ends, size)


def _posix(name: str) -> str:
    return str(name).replace("\\", "/").removeprefix("./")
