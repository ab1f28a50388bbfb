"""The tables of hand-drawn boxes: how well maps and controls find what the boxes are drawn around."""

from __future__ import annotations

from itertools import islice

import pandas as pd

from ..errors import quoted
from ..evidence.localisation import HIT, OVERLAPS, max_box_acc, unpacked
from ..evidence.metrics import CONTROLS
from ..maps import BOX_THRESHOLD
from ..study.columns import Column
from .intervals import cell
from .results import Results, name_of, over_pictures
from .tables import Cell, Table

MOST_BOXES = 100  # of a report's table; the rest is counted
_LEVELS = ", ".join(f"{level:g}" for level in OVERLAPS)
COLUMNS = (
    Column("iou", f"IoU of the box at {BOX_THRESHOLD:.0%} of the maximum ↑", "{:.0%}"),
    Column("hit", f"IoU of at least {HIT:g} ↑", "{:.0%}", share=True),
    Column("max_box_acc", f"MaxBoxAccV2 (IoU {_LEVELS}) ↑", "{:.0%}"),
    Column("pointing", "Pointing game: the maximum lies inside ↑", "{:.0%}", share=True),
    Column("energy_inside", "Energy inside ↑", "{:.0%}"),
)


def localisation_table(results: Results) -> Table:
    """Return what the literature measures of localisation, means over objects: a row a figure, a column a method and
    control."""
    frame = results.frames["boxes"]
    keys = [key for key in (*results.settings.methods, *CONTROLS) if len(frame) and (frame["key"] == key).any()]
    if not keys:
        return Table("Localisation", (), (), "No picture has a box.")
    of_key = {key: frame[frame["key"] == key] for key in keys}
    count = len(of_key[keys[0]])
    rows: tuple[tuple[str | Cell, ...], ...] = tuple(
        (column.name, *(Cell(_mean(column, of_key[key]), faint=key in CONTROLS) for key in keys)) for column in COLUMNS
    )
    return Table(
        f"Localisation of {count} objects in {frame['picture'].nunique()} pictures",
        ("Figure", *(Cell(name_of(key), faint=key in CONTROLS) for key in keys)),
        rows,
        "An object is a class of a picture with all boxes of it; the best of them counts. The box is that of the "
        f"map's largest connected region at or above {BOX_THRESHOLD:.0%} of its maximum (Zhou et al. 2016). "
        "MaxBoxAccV2 (Choe et al. 2020) takes the best region and, for each IoU, the threshold that is best over these "
        "very objects, a hundredth apart. Pointing game: Zhang et al. 2018, without a tolerance. Energy: Wang et "
        "al. 2020. Brackets hold 95 % intervals that stay within 0 and 100 %: Wilson's (1927) for shares, else "
        "Student's t on the scale of the logit (Brown, Cai and DasGupta 2001).",
        "" if count >= 30 else f"With {count} objects, differences as large as the intervals can be chance.",
    )


def _mean(column: Column, rows: pd.DataFrame) -> str:
    values = max_box_acc(map(unpacked, rows["found"])) if column.key == "max_box_acc" else rows[column.key].dropna()
    return cell(over_pictures(column, values), column.format)


def box_table(results: Results) -> Table:
    """Return the share of each map's energy inside the boxes of each class of each picture."""
    rows: list[tuple[str, ...]] = []
    count = 0
    for value in results.values["boxes"]:
        found = {(row["box"], row["key"]): row for row in value["rows"]}
        boxes = {row["box"]: row for row in value["rows"]}
        count += len(boxes)
        for number, row in islice(boxes.items(), MOST_BOXES - len(rows)):
            cells = (f"{found[number, key]['energy_inside']:.0%}" for key in results.settings.methods)
            rows.append(
                (quoted(value["picture"]), f"{row['label']} ({row['class_name']})", f"{row['chance']:.0%}", *cells)
            )
    header = ("Picture", "Box (class)", "The box's share of the picture", *results.names)
    note = "An even map has as much energy inside as the box has area."
    if count > len(rows):
        note += f" The first {len(rows)} of {count} objects."
    return Table("Energy inside each box", header, tuple(rows), note)
