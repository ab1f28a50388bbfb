"""A study's measurements as `Results`, means with 95 % intervals.

Takes the plain values that MEASUREMENTS return, as one pandas frame a measurement, and knows neither model nor picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, islice
from typing import TYPE_CHECKING

import pandas as pd

from ..evidence.metrics import CONTROLS, METRICS
from ..evidence.observations import Measurement
from ..evidence.settings import Settings, earlier_layers
from ..explanation import Cam
from ..methods import METHODS
from ..passes.outputs import CLASSES, Outputs
from ..study.columns import Column, metric_columns
from .intervals import Interval, cell, interval, part, share
from .tables import NOTHING

if TYPE_CHECKING:
    from ..classifier import Classifier
    from ..study.progress import StudyState


def cores() -> str:
    """Return how many of the machine's cores this process may use, in words."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{count} CPU core{'s' if count != 1 else ''}"


def name_of(key: str) -> str:
    """Return the name of a method or control."""
    return (METHODS | CONTROLS)[key].name


def metrics_csv(measurements: Mapping[str, Measurement], cams: Mapping[str, Cam]) -> bytes:
    """Return a CSV of one picture, a row for each method and control: every metric, and the costs where there are
    any."""
    costs = ("seconds", "forward_passes", "backward_passes")
    rows = [
        {"key": key, **each.metrics} | ({name: getattr(cams[key], name) for name in costs} if key in cams else {})
        for key, each in measurements.items()
    ]
    columns = ["key", *METRICS, *costs]
    return pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False, lineterminator="\r\n").encode()


# --- a study's results ---------------------------------------------------------------------------------------------


ANSWERS = ["picture", "true_class", "true_rank", "spent"]
AT_ONCE = 500  # pictures whose rows are Python objects at a time: all of a large study's would take gigabytes


def _frames(values: Iterable[dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of one measurement's results, and a row of ANSWERS a picture: texts, and numbers as float64."""
    values, rows, answers = iter(values), [], []
    while some := list(islice(values, AT_ONCE)):
        rows.append(_typed([{"picture": value["picture"], **row} for value in some for row in value["rows"]]))
        answers.append(_typed([{name: value.get(name) for name in ANSWERS} for value in some]))
    none = pd.DataFrame(columns=ANSWERS)
    return pd.concat(rows, ignore_index=True) if rows else none, pd.concat(answers, ignore_index=True) if rows else none


def _typed(rows: list[dict]) -> pd.DataFrame:
    """Return a frame whose columns are texts or float64, NaN for None."""
    frame = pd.DataFrame(rows)
    return frame.astype({name: float for name in frame if not isinstance(frame[name].dtype, pd.StringDtype)})


def over_pictures(column: Column, values: Iterable[float]) -> Interval | None:
    """Return the mean of a column's values and its interval; None without values."""
    return share(values) if column.share else part(values) if column.part else interval(values)


@dataclass(frozen=True)
class Results:
    """Everything the reports say: the measured `values` by measurement, the `skipped` pictures, how it was measured.

    `values` are read once, one by one, into `frames`: by measurement a row a picture and method or control (and layer,
    noise or box), numbers as float64, NaN where nothing was measured; and into `answers`, a row a picture.
    """

    values: Mapping[str, Sequence[dict]]
    frames: Mapping[str, pd.DataFrame]
    answers: pd.DataFrame
    minutes: float
    skipped: Mapping[str, str]
    settings: Settings
    model: str
    model_name: str
    zero: str
    inputs: str
    target_layer: str
    layers: tuple[str, ...]
    outputs: Outputs = CLASSES

    @classmethod
    def of(cls, classifier: Classifier, settings: Settings, state: StudyState) -> Results:
        read = {name: _frames(values) for name, values in state.values.items()}
        return cls(
            state.values,
            {name: rows for name, (rows, _) in read.items()},
            read["metrics"][1],
            sum(float(pictures["spent"].sum()) for _, pictures in read.values()) / 60,
            state.skipped,
            settings,
            classifier.name,
            classifier.spec.name,
            classifier.spec.zero,
            classifier.spec.inputs and f"{classifier.spec.inputs}, {classifier.spec.resized}",
            classifier.check_layer(settings.target_layer),
            earlier_layers(classifier),
            classifier.outputs,
        )

    @property
    def columns(self) -> dict[str, Column]:
        """The columns of "metrics" that are measured for a model of these outputs."""
        return metric_columns(self.outputs.are_probabilities)

    @property
    def pictures(self) -> int:
        return len(self.answers)

    @property
    def known(self) -> int:
        """The number of pictures whose true class is known."""
        return int(self.answers["true_class"].count()) if self.pictures else 0

    def top(self, count: int) -> Interval | None:
        """Return the share of the pictures of known class whose class is among the `count` most probable ones."""
        ranks = self.answers["true_rank"].dropna() if self.pictures else []
        return share(rank <= count for rank in ranks)

    def answered(self, rightly: bool) -> Results:
        """Return the metrics of the pictures whose true class is known and was the classifier's answer, or was not."""
        ranks = self.answers["true_rank"]
        answers = self.answers[ranks == 1 if rightly else ranks > 1]
        metrics = self.frames["metrics"]
        return replace(self, answers=answers, frames={"metrics": metrics[metrics["picture"].isin(answers["picture"])]})

    @cached_property
    def _tables(self) -> dict[tuple, pd.DataFrame]:
        return {}

    def table(self, measurement: str, name: str, **where) -> pd.DataFrame:
        """Return the column `name` of a measurement where other columns are as given: a row a picture (or box), a
        column a method or control, float64, NaN where nothing was measured. Empty without rows."""
        wanted = (measurement, name, *where.items())
        if wanted not in self._tables:
            frame = self.frames.get(measurement, pd.DataFrame())
            if name not in frame:
                return pd.DataFrame()
            for column, value in where.items() if len(frame) else ():
                frame = frame[frame[column] == value]
            unit = ["picture", "box"] if "box" in frame else ["picture"]
            table = frame.pivot(index=unit, columns="key", values=name) if len(frame) else pd.DataFrame()
            self._tables[wanted] = table.astype(float)
        return self._tables[wanted]

    def figures(self, measurement: str, key: str, name: str, **where) -> list[float]:
        """Return one column of `table`, without what was not measured."""
        table = self.table(measurement, name, **where)
        return table[key].dropna().tolist() if key in table else []

    @cached_property
    def summary(self) -> dict[str, dict[str, Interval | None]]:
        """Mean and interval by method or control, then by column; None where nothing was measured."""
        columns = self.columns
        tables = {name: self.table("metrics", name) for name in columns}
        measured = [key for key in (*METHODS, *CONTROLS) if any(key in table for table in tables.values())]
        return {
            key: {name: over_pictures(columns[name], table[key].dropna()) for name, table in tables.items()}
            for key in measured
        }

    @cached_property
    def differences(self) -> dict[tuple[str, str], dict[str, Interval | None]]:
        """First method less second, picture by picture, by pair and column: mean and interval of the difference."""
        tables = {name: self.table("metrics", name) for name in self.columns}
        pairs = combinations([key for key in METHODS if key in tables["seconds"]], 2)
        return {
            (first, second): {name: interval((table[first] - table[second]).dropna()) for name, table in tables.items()}
            for first, second in pairs
        }

    @property
    def best_control(self) -> str | None:
        """The control whose mean insertion less deletion is highest."""
        table = self.table("metrics", "insertion_minus_deletion")
        means = {key: table[key].mean() for key in CONTROLS if key in table}
        return max(means, key=means.__getitem__) if means else None

    def over_control(self, key: str) -> list[float]:
        """Return a method's insertion less deletion, less that of `best_control` on the same picture, a picture
        each."""
        table = self.table("metrics", "insertion_minus_deletion")
        known = key in table and self.best_control is not None
        return (table[key] - table[self.best_control]).dropna().tolist() if known else []

    def each(self, shown: Callable[[str], str]) -> tuple[str, ...]:
        """Return one cell a method."""
        return tuple(shown(key) for key in self.settings.methods)

    @property
    def names(self) -> tuple[str, ...]:
        return self.each(name_of)

    def intervals(self, measurement: str, name: str, pattern: str, **where) -> tuple[str, ...]:
        """Return mean and interval of a column, one cell a method."""
        return self.each(lambda key: cell(interval(self.figures(measurement, key, name, **where)), pattern))

    def beats(self, key: str, layer: str | None = None) -> str:
        """Return on how many pictures a method beats every control, at the default layer or an earlier one."""
        where = {} if layer is None else {"layer": layer}
        values = self.figures("metrics" if layer is None else "layers", key, "beats_controls", **where)
        return f"{sum(values):.0f} of {len(values)}" if values else NOTHING

    @cached_property
    def _moves(self) -> dict[str, list[float]]:
        moves: dict[str, list[float]] = {}
        for value in self.values.get("sweep", ()):
            for count, moved in value["moved"].items():
                moves.setdefault(count, []).append(moved)
        return moves

    def moves(self, count: int) -> list[float]:
        """Return how far Faster Score-CAM's map moves when its max_n becomes `count`, a picture each."""
        return self._moves.get(str(count), [])
