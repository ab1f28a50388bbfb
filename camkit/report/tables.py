"""The one form of a table, as HTML and as Markdown: figures are rows, maps are columns, words stand above."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
NOTHING = "–"  # noqa: RUF001 - the dash of an empty cell


@dataclass(frozen=True)
class Cell:
    """A cell with more than its text: `best` of its row, `help` on what it means, `faint` for what is no method."""

    text: str
    best: bool = False
    help: str = ""
    faint: bool = False

    def __str__(self) -> str:
        return f"**{self.text}**" if self.best else self.text


@dataclass(frozen=True)
class Table:
    """A table of strings or Cells, what it says in `words`, how to read it (`legend`), the sentences that belong under
    it (`note`), and for a report of HTML the figure of it, if there is one."""

    title: str
    header: tuple[str | Cell, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    note: str = ""
    words: str = ""
    figure: str = ""
    legend: str = ""

    def markdown(self) -> str:
        if not self.rows:
            return f"{self.note}\n"
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        drawn = "\n".join("| " + " | ".join(escaped(str(cell)) for cell in line) + " |" for line in lines)
        above = "".join(f"{text}\n\n" for text in (self.words, self.legend) if text)
        return f"{above}{drawn}\n\n{self.note}\n" if self.note else f"{above}{drawn}\n"

    def html(self) -> str:
        """Return words, table in a frame that scrolls by itself, and note, without the title."""
        # Markdown's ** are for a table without cells of its own.
        lines = [
            [cell if isinstance(cell, Cell) else Cell(cell.replace("**", "")) for cell in line] for line in self.rows
        ]
        header = [cell if isinstance(cell, Cell) else Cell(cell) for cell in self.header]
        macros = TEMPLATES.get_template("table.html.j2").module
        return macros.table(self, header, lines)  # type: ignore[attr-defined]  # safe as it is: jinja2's Markup


def escaped(cell: str) -> str:
    """Return the text so that it ends no cell or row of Markdown, and becomes no element, picture, link or code
    there."""
    return re.sub(r"[\\|`<]|(?<=\])\(|(?<!\*)\*(?!\*)", r"\\\g<0>", " ".join(cell.split()))
