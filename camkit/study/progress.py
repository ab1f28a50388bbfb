"""The progress of a study: its finished jobs, the state that is shown of them, and the terminal line that shows it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import quoted
from .checkpoint import Checkpoint, Values

MOST_NAMES, MOST_REASONS = 3, 20  # of skipped files


def account(done: str, skipped: Mapping[str, str]) -> str:
    """Return what was `done`, such as "17 measured", and how many files were skipped and why, by name and sentence."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        by_reason.setdefault(reason.removesuffix("."), []).append(quoted(name))
    said = []
    for reason, names in list(by_reason.items())[:MOST_REASONS]:
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        said.append(f"{', '.join(names[:MOST_NAMES])}{more} ({reason})")
    if len(by_reason) > MOST_REASONS:
        said.append("and others")
    return f"{done}, {len(skipped)} skipped{': ' if said else ''}{'; '.join(said)}."


@dataclass(frozen=True)
class StudyState:
    """The state of a study: `done` of `total` pictures, the one at work and what is being measured on it, and all that
    was measured so far. `values` holds, by measurement, what each finished picture gave, read from the checkpoint when
    it is looked at; `skipped` the sentence for each picture that cannot be read; `seconds_left` and the pictures
    measured `per_minute` are None until one has been measured."""

    done: int
    total: int
    picture: str = ""
    label: str = ""
    seconds_left: float | None = None
    values: Mapping[str, Sequence[dict]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    per_minute: float | None = None

    @property
    def complete(self) -> bool:
        return self.done == self.total


@dataclass(frozen=True)
class Job:
    """One measurement of one picture and the key of its result; `value` is None for one that the checkpoint holds."""

    measurement: str
    key: str
    value: dict | None = None


@dataclass
class StudyProgress:
    """The work of a study so far, whichever process does the work: the `keys` of its jobs by measurement,
    `skipped` pictures, and on how many pictures this run did some work."""

    total: int
    saved: Checkpoint
    keys: dict[str, list[str]]
    skipped: dict[str, str] = field(default_factory=dict)
    done: int = 0
    measured: int = 0
    begun: float = field(default_factory=time.perf_counter)

    def finish(self, name: str, jobs: Sequence[Job], skipped: str = "") -> None:
        """Keep the results of a finished picture, or why it was skipped."""
        if skipped:
            self.skipped[name] = skipped
        fresh = [(job.key, job.value) for job in jobs if job.value is not None and job.key not in self.saved]
        if fresh:
            self.saved.add_all(fresh)
        for job in jobs:
            self.keys[job.measurement].append(job.key)
        self.done += 1
        self.measured += any(job.value is not None for job in jobs)
        if not self.measured:  # pictures that are found finished say nothing of the rate
            self.begun = time.perf_counter()

    def state(self, name: str = "", label: str = "") -> StudyState:
        rate = self.measured / (time.perf_counter() - self.begun) if self.measured else None
        left = None if rate is None else (self.total - self.done) / rate
        return StudyState(
            self.done,
            self.total,
            name,
            label,
            0.0 if self.done == self.total else left,
            {key: Values(self.saved, keys) for key, keys in self.keys.items()},
            dict(self.skipped),
            None if rate is None else 60 * rate,
        )


class StatusLine:
    """The progress of long work, on stderr: one line rewritten in place on a terminal; in a log, one line a minute."""

    def __init__(self) -> None:
        self._printed = -math.inf

    def show(self, text: str, last: bool = False) -> None:
        """Show the text; `last` keeps it, also where it comes within a minute."""
        if sys.stderr.isatty():
            print(f"\r{text[:118]:<118}", end="\n" if last else "", file=sys.stderr, flush=True)
        elif last or time.monotonic() - self._printed >= 60:
            self._printed = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line off a terminal, before something else is printed."""
        if sys.stderr.isatty():
            print(f"\r{'':118}\r", end="", file=sys.stderr, flush=True)
