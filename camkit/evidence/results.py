"""What a study depends on (`Settings`, `Box`) and what its measurements say: `Results`, means with 95 % intervals.

Takes the plain values that MEASUREMENTS return, as one pandas frame a measurement, and knows neither model nor picture.
Intervals are Student's t: with the few pictures that a full Score-CAM allows, a bootstrap of the mean is too narrow.
Only shares, whose values are 0 or 1, get Wilson's score interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from scipy.stats import t as student

from ..errors import InputError
from ..explanation import Cam
from ..methods import DEFAULT_METHODS, METHODS, check_methods
from .metrics import BASELINES, CONTROLS, METRICS, Measurement
from .tables import NOTHING

if TYPE_CHECKING:
    from ..classifier import Classifier

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
    values = list(values)
    if not values:
        return None
    middle = statistics.fmean(values)
    if len(values) == 1:
        return Interval(middle, None, None, 1)
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(middle, middle - half, middle + half, len(values))


def share(values: Iterable[float]) -> Interval | None:
    """Mean of zeros and ones and its Wilson interval; None without values."""
    values = list(values)
    if not values:
        return None
    if len(values) == 1:
        return Interval(values[0], None, None, 1)
    ends = binomtest(round(sum(values)), len(values)).proportion_ci(method="wilson")
    return Interval(statistics.fmean(values), float(ends.low), float(ends.high), len(values))


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


@dataclass(frozen=True)
class StudyState:
    """The state of a study: `done` of `total` pictures, the one at work and what is being measured on it, and all that
    was measured so far. `values` holds, by measurement, what each finished picture gave; `skipped` the sentence for
    each picture that cannot be read; `seconds_left` is None until one picture has been measured."""

    done: int
    total: int
    picture: str = ""
    label: str = ""
    seconds_left: float | None = None
    values: Mapping[str, tuple[dict, ...]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.done == self.total


@dataclass(frozen=True)
class Results:
    """Everything the reports say: the measured `values` by measurement, the `skipped` pictures, how it was measured."""

    values: Mapping[str, Sequence[dict]]
    skipped: Mapping[str, str]
    settings: Settings
    model: str
    model_name: str
    zero: str
    target_layer: str
    layers: tuple[str, ...]

    @classmethod
    def of(cls, classifier: Classifier, settings: Settings, state: StudyState) -> Results:
        return cls(
            state.values,
            state.skipped,
            settings,
            classifier.name,
            classifier.spec.name,
            classifier.spec.zero,
            classifier.check_layer(settings.target_layer),
            earlier_layers(classifier),
        )

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """By measurement its rows, one a picture and method or control (and layer, noise or box), as measured."""
        return {
            name: pd.DataFrame(
                [{"picture": value["picture"], **row} for value in values for row in value["rows"]], dtype=object
            )
            for name, values in self.values.items()
        }

    @property
    def pictures(self) -> int:
        return len(self.values.get("metrics", ()))

    @property
    def known(self) -> int:
        """Of how many pictures the true class is known."""
        return sum(value.get("true_class") is not None for value in self.values.get("metrics", ()))

    @property
    def minutes(self) -> float:
        return sum(value["spent"] for values in self.values.values() for value in values) / 60

    def table(self, measurement: str, name: str, **where) -> pd.DataFrame:
        """The column `name` of a measurement where other columns are as given: a row a picture (or box), a column a
        method or control, float64, NaN where nothing was measured. Empty without rows."""
        frame = self.frames.get(measurement)
        if frame is None or frame.empty:
            return pd.DataFrame()
        for column, wanted in where.items():
            frame = frame[frame[column] == wanted]
        unit = ["picture", "label"] if "label" in frame else ["picture"]
        return frame.drop_duplicates([*unit, "key"]).pivot(index=unit, columns="key", values=name).astype(float)

    def figures(self, measurement: str, key: str, name: str, **where) -> list[float]:
        """One column of `table`, without what was not measured."""
        table = self.table(measurement, name, **where)
        return table[key].dropna().tolist() if key in table else []

    def summary(self) -> dict[str, dict[str, Interval | None]]:
        """Mean and interval by method or control, then by column of COLUMNS; None where nothing was measured."""
        tables = {name: self.table("metrics", name) for name in COLUMNS}
        measured = [key for key in NAMES if any(key in table for table in tables.values())]
        return {key: {name: _over(name, table[key].dropna()) for name, table in tables.items()} for key in measured}

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

    def moves(self, count: int) -> list[float]:
        """How far Faster Score-CAM's map moves when its max_n becomes `count`."""
        return [value["moved"][str(count)] for value in self.values.get("sweep", ()) if str(count) in value["moved"]]
