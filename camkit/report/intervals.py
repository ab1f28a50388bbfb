"""Means with 95 % intervals, and how they read.

Intervals are Student's t: with the few pictures that a full Score-CAM allows, a bootstrap of the mean is too narrow.
Only shares, whose values are 0 or 1, get Wilson's score interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .tables import NOTHING


@dataclass(frozen=True)
class Interval:
    """The mean of `count` values and its 95 % interval; `low` and `high` are None for a single value."""

    mean: float
    low: float | None
    high: float | None
    count: int

    def show(self, pattern: str) -> str:
        """Return such as "0.35 [0.21, 0.49]"."""
        middle, *ends = (number(pattern, value) for value in (self.mean, self.low, self.high) if value is not None)
        return middle if all(end == middle for end in ends) else f"{middle} [{', '.join(ends)}]"

    @property
    def clear(self) -> bool:
        """True for a difference whose interval leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def number(pattern: str, value: float) -> str:
    """Return a formatted value, without the minus of one that rounds to zero."""
    text = pattern.format(value)
    return text if text.strip("-0.%") else text.removeprefix("-")


def mean(values: Sequence[float], pattern: str) -> str:
    """Return the mean alone, formatted."""
    return number(pattern, statistics.fmean(values)) if values else NOTHING


def cell(value: Interval | None, pattern: str) -> str:
    """Return mean and interval, formatted."""
    return NOTHING if value is None else value.show(pattern)


def marked(value: Interval | None, pattern: str) -> str:
    """Return a difference and its interval, formatted, with a star when the interval leaves out zero."""
    return cell(value, pattern) + (" *" if value and value.clear else "")


def interval(values: Iterable[float]) -> Interval | None:
    """Return the mean and Student's t interval of the mean; None without values."""
    found = np.fromiter(values, np.float64)
    if len(found) < 2:
        return Interval(float(found[0]), None, None, 1) if len(found) else None
    middle = float(found.mean())
    half = _student(len(found) - 1) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return Interval(middle, middle - half, middle + half, len(found))


@cache
def _student(degrees: int) -> float:
    """Return the quantile of Student's t that leaves out 2.5 % at each end; a report needs thousands."""
    from scipy.stats import t  # here: it takes half a second to import, which the page would wait for

    return float(t.ppf(0.975, degrees))


def share(values: Iterable[float]) -> Interval | None:
    """Return the mean of zeros and ones and its Wilson interval; None without values."""
    found = np.fromiter(values, np.float64)
    if len(found) < 2:
        return Interval(float(found[0]), None, None, 1) if len(found) else None
    from scipy.stats import binomtest

    ends = binomtest(round(found.sum()), len(found)).proportion_ci(method="wilson")
    return Interval(float(found.mean()), float(ends.low), float(ends.high), len(found))
