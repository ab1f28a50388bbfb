"""The report as a browser: what browser.js shows of a study, as a page with a folder of files, or as one page.

A page with a folder opens from a disk, where a script may read no file but other scripts: its data and its maps are
scripts, its pictures JPEGs. Maps stand in scripts of CHUNK pictures each, so that only those in sight are read.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..maps import grey, jpeg_url, tables
from ..passes.placement import ALL
from ..study.columns import GAIN
from .classes import SIDE, Classes, reduced
from .results import Results, name_of
from .tables import TEMPLATES

CHUNK = 100  # pictures whose maps are one script
FOLDER_SIZE = 1000  # pictures of a folder
_HERE = Path(__file__).parent
_NOTE = (
    "A picture is of its true class where that is known, else of the class answered. Mean maps are means of the maps "
    "of that class, from 0 to 1. Brackets hold 95 % intervals: Wilson's for the accuracy, else Student's t, for "
    "percentages on the scale of the logit. Insertion less deletion says how much a map's order of the pixels is "
    "worth: the controls' value is in the tables below."
)


@dataclass(frozen=True)
class Views:
    """Data that the browser shows besides pictures and maps: `columns`, a list each with an entry a picture, and the
    pictures by class."""

    columns: dict
    classes: Classes


def read_views(results: Results, keep: Callable[[int, bytes, list], None]) -> Views:
    """Read every picture's view once, in the order of the study; `keep` is given its number, its JPEG, and its maps as
    `_maps_of` returns them."""
    methods = results.settings.methods
    columns: dict[str, list] = {name: [] for name in ("names", "aspects", "true", "top", "answers", "explained", "own")}
    names: dict[int, str] = {}
    grids: dict[int, list[int]] = {}
    seen: dict[int, list[float]] = {}
    maps: dict[str, list[np.ndarray]] = {key: [] for key in methods}
    for number, value in enumerate(results.values["views"]):
        keep(number, base64.b64decode(value["thumbnail"]), _maps_of(value, methods))
        index, name, answer = value["top"]
        names |= {index: name, value["class_index"]: value["class_name"]}
        width, height = value["size"]
        true = -1 if value["true_class"] is None else value["true_class"]
        for column, entry in zip(
            columns.values(),
            (value["picture"], round(width / height, 3), true, index, _short(answer), value["class_index"],
             _short(value["answer"])),
            strict=True,
        ):  # fmt: skip
            column.append(entry)
        grids[number] = value["grid"]
        if tuple(value["seen"]) != ALL:
            seen[number] = [round(share, 4) for share in value["seen"]]
        for key in methods:
            maps[key].append(_small(value["maps"][key], value["grid"]))
    usual = grids[0] if grids else [1, 1]
    fields: dict = columns | {
        "classes": names,
        "grid": usual,
        "grids": {n: each for n, each in grids.items() if each != usual},
        "seen": seen,
    }
    true, top = np.array(columns["true"]), np.array(columns["top"])
    classes = Classes(
        names,
        np.where(true >= 0, true, top),
        np.where(true >= 0, true == top, np.nan),
        np.array(columns["own"], float),
        "{:.1%}" if results.outputs.are_probabilities else "{:.4g}",
        {key: np.array(each) for key, each in maps.items()},
        _by_method(results, GAIN, columns["names"]),
        _by_method(results, "energy_inside", columns["names"]),
    )
    return Views(fields, classes)


def _maps_of(value: Mapping, methods: tuple[str, ...]) -> list:
    """Return the maps of the class explained by method, and those of the answer, or [] where that is the same class;
    then the boxes of both, and then the boxes that are drawn by hand around both classes."""
    kinds, boxes = ("maps", "top_maps"), value.get("boxes", {})  # earlier checkpoints hold no boxes
    kept = [[each[kind][key] for key in methods] if kind in each else [] for each in (value, boxes) for kind in kinds]
    shown = (value["class_index"], value["top"][0])
    return [*kept, *([box for index, *box in value.get("drawn", ()) if index == each] for each in shown)]


def _small(text: str, grid: list[int]) -> np.ndarray:
    """Return a kept map as (h, w) uint8, at most SIDE values on a side."""
    values = np.frombuffer(base64.b64decode(text), np.uint8).reshape(grid)
    return values if max(grid) <= SIDE else np.rint(reduced(values, SIDE)).astype(np.uint8)


def _by_method(results: Results, name: str, pictures: list[str]) -> dict[str, np.ndarray]:
    """Return a column of the measurement "metrics" by method, in the pictures' order; without what is not measured."""
    table = results.table("metrics", name).reindex(pictures)
    found = {key: table[key].to_numpy() for key in results.settings.methods if key in table}
    return {key: values for key, values in found.items() if not np.isnan(values).all()}


def _short(value: float | None) -> float | None:
    """Return a number as it is shown: fewer digits are a smaller file."""
    return None if value is None or np.isnan(value) else float(f"{value:.4g}")


def study_json(results: Results, views: Views, folder: str) -> str:
    """Return what browser.js shows as JSON that a script may hold; pictures and maps are in `folder`."""
    classes, methods = views.classes, results.settings.methods
    groups = [
        {
            "index": group.class_index,
            "count": len(group.pictures),
            "accuracy": group.accuracy,
            "answer": group.answer,
            "gains": group.gains,
            "inside": group.inside,
        }
        for group in classes.groups
    ]
    means = {key: [[_text(each) for each in pair] for pair in classes.means(key)] for key in methods}
    shape = next(iter(classes.maps.values())).shape[1:]
    study = views.columns | {
        "methods": [[key, name_of(key)] for key in methods],
        "quantity": results.outputs.quantity,
        "colors": tables(),
        "chunk": CHUNK,
        "gains": {key: list(map(_short, values)) for key, values in classes.gains.items()},
        "inside": {key: list(map(_short, values)) for key, values in classes.inside.items()},
        "groups": groups,
        "means": means,
        "meanGrid": shape,
        "found": {key: [each.class_index for each in found] for key, found in classes.findings.items()},
        "words": {key: classes.sentences(key, name_of(key)) for key in methods},
        "note": _NOTE,
        "folder": folder,
    }
    return json.dumps(study, separators=(",", ":")).replace("</", "<\\/")


def _text(mean: np.ndarray | None) -> str:
    return "" if mean is None else base64.b64encode(grey(mean).tobytes()).decode()


def write_folder(folder: Path, results: Results) -> Views:
    """Write the pictures, maps and data of a study into a folder, which is made anew, beside the page that shows it."""
    if (folder / "data.js").exists():
        shutil.rmtree(folder)
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    waiting: list[list] = []

    def write_maps(number: int) -> None:
        text = json.dumps(waiting, separators=(",", ":"))
        (folder / "maps" / f"{number}.js").write_text(
            f"(window.camkitMaps??={{}})[{number}]={text};\n", encoding="utf-8"
        )
        waiting.clear()

    def keep(number: int, picture: bytes, maps: list) -> None:
        place = folder / "pictures" / str(number // FOLDER_SIZE)
        if number % FOLDER_SIZE == 0:
            place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(picture)
        waiting.append(maps)
        if len(waiting) == CHUNK:
            write_maps(number // CHUNK)

    views = read_views(results, keep)
    if waiting:
        write_maps((len(views.columns["names"]) - 1) // CHUNK)
    data = study_json(results, views, folder.name)
    (folder / "data.js").write_text(f"window.camkitStudy={data};\n", encoding="utf-8")
    return views


def page(**fields) -> str:
    """Return the page; `fields` are those of report.html.j2."""
    own = {"style": _read("browser.css"), "script": _read("browser.js")}
    return TEMPLATES.get_template("report.html.j2").render(title="A study of pictures and their maps", **own, **fields)


def page_alone(folder: Path, theme: str = "") -> str:
    """Return the browser of what `write_folder` wrote as a page that needs no other file, for a study of few pictures.
    `theme`: "light" or "dark", "" for that of the system."""
    scripts = [path.read_text(encoding="utf-8") for path in (folder / "data.js", *(folder / "maps").iterdir())]
    pictures = {int(path.stem): jpeg_url(path.read_bytes()) for path in (folder / "pictures").rglob("*.jpg")}
    return page(inline="".join(scripts) + f"window.camkitPictures={json.dumps(pictures)}", theme=theme)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file of a folder, sorted."""
    yield from sorted(path for path in folder.rglob("*") if path.is_file())
