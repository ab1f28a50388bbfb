"""Means with 95 % intervals, and how they read.

Intervals are Student's t: with the few pictures that a full Score-CAM allows, a bootstrap of the mean is too narrow.
Shares, whose values are 0 or 1, get Wilson's score interval; other values between 0 and 1 Student's t on the scale of
the logit, so that neither leaves that range.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .tables import NOTHING

_NORMAL = statistics.NormalDist().inv_cdf(0.975)


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
    """Return the mean of zeros and ones and its score interval (Wilson 1927, Probable Inference); None without values.

    Values between count as what they are: of all values from 0 to 1 with one mean, zeros and ones vary most."""
    found = np.fromiter(values, np.float64)
    if len(found) < 2:
        return Interval(float(found[0]), None, None, 1) if len(found) else None
    count, middle = len(found), float(found.mean())
    scale = 1 + _NORMAL**2 / count
    centre = (middle + _NORMAL**2 / (2 * count)) / scale
    half = _NORMAL / scale * math.sqrt(middle * (1 - middle) / count + (_NORMAL / (2 * count)) ** 2)
    return Interval(middle, max(0.0, centre - half), min(1.0, centre + half), count)


def part(values: Iterable[float]) -> Interval | None:
    """Return the mean of values from 0 to 1 and an interval within that range: Student's t on the scale of the logit
    (Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial Proportion, with the variance of these
    values). Wilson's where the mean is 0 or 1, which have no logit; None without values."""
    found = interval(values)
    if found is None or found.low is None or found.high is None:
        return found
    spread = found.mean * (1 - found.mean)
    if spread <= 0:
        return share([found.mean] * found.count)
    middle, half = math.log(found.mean / (1 - found.mean)), (found.high - found.low) / 2 / spread
    low, high = (1 / (1 + math.exp(-min(700.0, max(-700.0, end)))) for end in (middle - half, middle + half))
    return Interval(found.mean, low, high, found.count)
