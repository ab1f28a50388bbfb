"""What a study depends on (`Settings`, `Box`) and what its measurements say: `Results`, means with 95 % intervals.

Takes the plain values that MEASUREMENTS return, as one pandas frame a measurement, and knows neither model nor picture.
Intervals are Student's t: with the few pictures that a full Score-CAM allows, a bootstrap of the mean is too narrow.
Only shares, whose values are 0 or 1, get Wilson's score interval.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..evidence.metrics import BASELINES, CONTROLS, METRICS, Measurement
from ..explanation import Cam
from ..methods import DEFAULT_METHODS, METHODS, check_methods
from .tables import NOTHING

if TYPE_CHECKING:
    from ..classifier import Classifier
    from ..study.progress import StudyState

COHERENCY = {
    "all": "every method",
    "fast": "every method but full Score-CAM, whose cost it would double",
    "none": "no method",
}
TUNING = (5, 10, 20, 50)  # Faster Score-CAM's max_n for the claim on tuning; the second is the default
NOISE = (5, 10, 20)  # grey levels


@dataclass(frozen=True)
class Settings:
    """What a study depends on besides pictures and classifier; `coherency` is a key of COHERENCY, `steps`,
    `insertion_baseline`, `deletion_baseline` and `seed` are those of `camkit.evidence.curves.measure_stream`."""

    methods: tuple[str, ...] = DEFAULT_METHODS
    target_layer: str | None = None
    max_n: int = 10
    steps: int = 28
    coherency: str = "all"
    insertion_baseline: str = "blur"
    deletion_baseline: str = "zero"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", check_methods(self.methods))
        if self.coherency not in COHERENCY:
            raise InputError(f"Coherency is '{self.coherency}': it must be one of {', '.join(COHERENCY)}.")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InputError(f"steps is {self.steps}: it must be a whole number of at least 1.")
        for baseline in (self.insertion_baseline, self.deletion_baseline):
            if baseline not in BASELINES:
                raise InputError(f"Baseline '{baseline}' is unknown: use one of {', '.join(BASELINES)}.")


@dataclass(frozen=True)
class Box:
    """Where a class is in a picture, drawn by hand: `box` is left, top, right, bottom as shares of width and height."""

    label: str
    class_index: int
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        if isinstance(self.class_index, bool) or not isinstance(self.class_index, int) or self.class_index < 0:
            raise InputError(
                f"The class index of '{self.label}' is {self.class_index}: it must be a whole number from 0."
            )
        left, top, right, bottom = self.box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError(
                f"The box of '{self.label}' is {list(self.box)}: it must be left < right, top < bottom, all in 0 to 1."
            )

    def region(self, shape: tuple[int, int]) -> np.ndarray:
        """(H, W) bool, True inside."""
        left, top, right, bottom = self.box
        region = np.zeros(shape, bool)
        region[round(top * shape[0]) : round(bottom * shape[0]), round(left * shape[1]) : round(right * shape[1])] = (
            True
        )
        return region


def cores() -> str:
    """How many of the machine's cores this process may use, in words."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{count} CPU core{'s' if count != 1 else ''}"


def earlier_layers(classifier: Classifier) -> tuple[str, ...]:
    """The last offered layer at each of the two next finer resolutions before the default layer's."""
    last = {classifier.model.get_layer(name).output.shape[1:3]: name for name in classifier.target_layers}
    return tuple(reversed(list(last.values())[:-1]))[:2]


NAMES = {key: entry.name for key, entry in (METHODS | CONTROLS).items()}


@dataclass(frozen=True)
class Column:
    """One figure of a row: its heading for a mean over pictures, its str.format pattern, and which end is better."""

    key: str
    name: str
    format: str
    better: str = ""


_OVER_A_SET = {"confidence_drop": "Average Drop", "increase": "Increase in Confidence", "gain": "Average Gain"}
_FORMATS = {"increase": "{:.0%}"}
COLUMNS: dict[str, Column] = {
    column.key: column
    for column in (
        Column("seconds", "Seconds", "{:.2f}", "lower"),
        Column("forward_passes", "Forward passes", "{:.0f}", "lower"),
        Column("backward_passes", "Backward passes", "{:.0f}", "lower"),
        *(
            Column(key, _OVER_A_SET.get(key, metric.name), _FORMATS.get(key, metric.format), metric.better)
            for key, metric in METRICS.items()
        ),
        Column("half_area", "Area above half maximum", "{:.0%}"),
        Column("energy_inside", "Energy inside the box", "{:.0%}", "higher"),
        Column("beats_controls", "Beats every control", "{:.0%}", "higher"),
    )
}
SHARES = ("increase", "beats_controls")  # zero or one on a picture


@dataclass(frozen=True)
class Interval:
    """The mean of `count` values and its 95 % interval; `low` and `high` are None for a single value."""

    mean: float
    low: float | None
    high: float | None
    count: int

    def show(self, pattern: str) -> str:
        """Such as "0.35 [0.21, 0.49]"."""
        middle, *ends = (number(pattern, value) for value in (self.mean, self.low, self.high) if value is not None)
        return middle if all(end == middle for end in ends) else f"{middle} [{', '.join(ends)}]"

    @property
    def clear(self) -> bool:
        """For a difference: the interval leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def number(pattern: str, value: float) -> str:
    """Formatted, without the minus of a value that rounds to zero."""
    text = pattern.format(value)
    return text if text.strip("-0.%") else text.removeprefix("-")


def mean(values: Sequence[float], pattern: str) -> str:
    """The mean alone, formatted."""
    return number(pattern, statistics.fmean(values)) if values else NOTHING


def cell(value: Interval | None, pattern: str) -> str:
    """Mean and interval, formatted."""
    return NOTHING if value is None else value.show(pattern)


def marked(value: Interval | None, pattern: str) -> str:
    """A difference and its interval, with a star when the interval leaves out zero."""
    return cell(value, pattern) + (" *" if value and value.clear else "")


def interval(values: Iterable[float]) -> Interval | None:
    """Mean and Student's t interval of the mean; None without values."""
    found = np.fromiter(values, np.float64)
    if len(found) < 2:
        return Interval(float(found[0]), None, None, 1) if len(found) else None
    middle = float(found.mean())
    half = _student(len(found) - 1) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return Interval(middle, middle - half, middle + half, len(found))


@cache
def _student(degrees: int) -> float:
    """The quantile of Student's t that leaves out 2.5 % at each end; a report asks for one thousands of times."""
    from scipy.stats import t  # here: it takes half a second to import, which the page would wait for

    return float(t.ppf(0.975, degrees))


def share(values: Iterable[float]) -> Interval | None:
    """Mean of zeros and ones and its Wilson interval; None without values."""
    found = np.fromiter(values, np.float64)
    if len(found) < 2:
        return Interval(float(found[0]), None, None, 1) if len(found) else None
    from scipy.stats import binomtest

    ends = binomtest(round(found.sum()), len(found)).proportion_ci(method="wilson")
    return Interval(float(found.mean()), float(ends.low), float(ends.high), len(found))


def _over(name: str, values: Iterable[float]) -> Interval | None:
    return share(values) if name in SHARES else interval(values)


def metrics_csv(measurements: Mapping[str, Measurement], cams: Mapping[str, Cam]) -> bytes:
    """A row for each method and control of one picture: every metric, and the costs where there are any."""
    costs = ("seconds", "forward_passes", "backward_passes")
    rows = [
        {"key": key, **each.metrics} | ({name: getattr(cams[key], name) for name in costs} if key in cams else {})
        for key, each in measurements.items()
    ]
    columns = ["key", *METRICS, *costs]
    return pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False, lineterminator="\r\n").encode()


# --- a study's results ---------------------------------------------------------------------------------------------


class _Columns:
    """A frame in the making, row by row: numbers as float64, NaN for None, texts as they are, each once in memory."""

    def __init__(self) -> None:
        self._columns: dict[str, array | list] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in self._columns:
                self._columns[name] = [] if isinstance(value, str) else array("d")
            self._columns[name].append(
                sys.intern(value) if isinstance(value, str) else math.nan if value is None else value
            )

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                name: pd.Series(column, dtype=object) if isinstance(column, list) else np.asarray(column)
                for name, column in self._columns.items()
            }
        )


ANSWER = ("picture", "true_class", "true_rank")


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
    target_layer: str
    layers: tuple[str, ...]

    @classmethod
    def of(cls, classifier: Classifier, settings: Settings, state: StudyState) -> Results:
        frames, answers, seconds = {}, _Columns(), 0.0
        for name, values in state.values.items():
            rows = _Columns()
            for value in values:
                seconds += value["spent"]
                for row in value["rows"]:
                    rows.add({"picture": value["picture"], **row})
                if name == "metrics":
                    answers.add({key: value.get(key) for key in ANSWER})
            frames[name] = rows.frame()
        return cls(
            state.values,
            frames,
            answers.frame(),
            seconds / 60,
            state.skipped,
            settings,
            classifier.name,
            classifier.spec.name,
            classifier.spec.zero,
            classifier.check_layer(settings.target_layer),
            earlier_layers(classifier),
        )

    @property
    def pictures(self) -> int:
        return len(self.answers)

    @property
    def known(self) -> int:
        """Of how many pictures the true class is known."""
        return int(self.answers["true_class"].count()) if self.pictures else 0

    def top(self, count: int) -> Interval | None:
        """The share of the pictures of known class whose class is among the `count` most probable ones."""
        ranks = self.answers["true_rank"].dropna() if self.pictures else []
        return share(rank <= count for rank in ranks)

    def answered(self, rightly: bool) -> Results:
        """The metrics of the pictures whose true class is known and was the classifier's answer, or was not."""
        ranks = self.answers["true_rank"]
        answers = self.answers[ranks == 1 if rightly else ranks > 1]
        metrics = self.frames["metrics"]
        return replace(self, answers=answers, frames={"metrics": metrics[metrics["picture"].isin(answers["picture"])]})

    @cached_property
    def _tables(self) -> dict[tuple, pd.DataFrame]:
        return {}

    def table(self, measurement: str, name: str, **where) -> pd.DataFrame:
        """The column `name` of a measurement where other columns are as given: a row a picture (or box), a column a
        method or control, float64, NaN where nothing was measured. Empty without rows."""
        wanted = (measurement, name, *where.items())
        if wanted not in self._tables:
            frame = self.frames.get(measurement, pd.DataFrame())
            for column, value in where.items() if len(frame) else ():
                frame = frame[frame[column] == value]
            unit = ["picture", "box"] if "box" in frame else ["picture"]
            table = frame.pivot(index=unit, columns="key", values=name) if len(frame) else pd.DataFrame()
            self._tables[wanted] = table.astype(float)
        return self._tables[wanted]

    def figures(self, measurement: str, key: str, name: str, **where) -> list[float]:
        """One column of `table`, without what was not measured."""
        table = self.table(measurement, name, **where)
        return table[key].dropna().tolist() if key in table else []

    @cached_property
    def summary(self) -> dict[str, dict[str, Interval | None]]:
        """Mean and interval by method or control, then by column of COLUMNS; None where nothing was measured."""
        tables = {name: self.table("metrics", name) for name in COLUMNS}
        measured = [key for key in NAMES if any(key in table for table in tables.values())]
        return {key: {name: _over(name, table[key].dropna()) for name, table in tables.items()} for key in measured}

    @cached_property
    def differences(self) -> dict[tuple[str, str], dict[str, Interval | None]]:
        """First method less second, picture by picture, by pair and column: mean and interval of the difference."""
        tables = {name: self.table("metrics", name) for name in COLUMNS}
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
        """Insertion less deletion of a method, less that of `best_control` on the same picture."""
        table = self.table("metrics", "insertion_minus_deletion")
        known = key in table and self.best_control is not None
        return (table[key] - table[self.best_control]).dropna().tolist() if known else []

    def each(self, shown: Callable[[str], str]) -> tuple[str, ...]:
        """One cell a method."""
        return tuple(shown(key) for key in self.settings.methods)

    @property
    def names(self) -> tuple[str, ...]:
        return self.each(lambda key: NAMES[key])

    def intervals(self, measurement: str, name: str, pattern: str, **where) -> tuple[str, ...]:
        """Mean and interval of a column, one cell a method."""
        return self.each(lambda key: cell(interval(self.figures(measurement, key, name, **where)), pattern))

    def beats(self, key: str, layer: str | None = None) -> str:
        """On how many pictures a method beats every control, at the default layer or an earlier one."""
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
        """How far Faster Score-CAM's map moves when its max_n becomes `count`."""
        return self._moves.get(str(count), [])
