"""The checkpoint of a study: finished jobs as JSON lines, found again by the hash of all that they depend on.

A line is {"job": key, "value": result}, with numbers as they were measured. Memory holds where each line begins, never
what it says.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)


class Checkpoint:
    """The results of finished jobs by key, in the file `path`, or in memory without one.

    Lines of other pictures, settings or models stay in the file and are never asked for. A last line that a kill cut
    short is dropped, and a damaged line is passed over: their jobs are done again. Lines of `others`, files that are
    only read, are appended where their job is not there yet. OSError when a file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike | None = None, others: Iterable[str | os.PathLike] = ()) -> None:
        self.path = None if path is None else Path(path)
        self._memory = io.BytesIO()
        self._starts: dict[str, int] = {}
        if self.path is not None and self.path.exists():
            with open(self.path, "r+b") as file:
                self._starts = {key: start for key, start, _ in _whole_lines(file, self.path.name)}
                file.truncate()  # else the next line would be glued to a cut one
        for other in map(Path, others):
            with open(other, "rb") as file:
                self._append((key, line) for key, _, line in _whole_lines(file, other.name) if key not in self)

    def __contains__(self, key: str) -> bool:
        return key in self._starts

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._starts)

    def add_all(self, results: Iterable[tuple[str, dict]]) -> None:
        """Keep results, JSON objects, by the keys of their jobs; all are on disk before this returns."""
        self._append(
            (key, json.dumps({"job": key, "value": value}, separators=(",", ":")).encode() + b"\n")
            for key, value in results
        )

    def values(self, keys: Iterable[str]) -> Iterator[dict]:
        """Read the results of these jobs one by one; KeyError for one that is not there."""
        with self._opened("rb") as file:
            for key in keys:
                file.seek(self._starts[key])
                yield json.loads(file.readline())["value"]

    def _opened(self, mode: str) -> AbstractContextManager[IO[bytes]]:
        return nullcontext(self._memory) if self.path is None else open(self.path, mode)

    def _append(self, lines: Iterable[tuple[str, bytes]]) -> None:
        with self._opened("ab") as file:
            file.seek(0, io.SEEK_END)
            for key, line in lines:
                self._starts[key] = file.tell()
                file.write(line)
            file.flush()
            if self.path is not None:
                os.fsync(file.fileno())


def _whole_lines(file: IO[bytes], name: str) -> Iterator[tuple[str, int, bytes]]:
    """Yield key, start and text of each line that holds a result, and leave the file where its last whole line ends."""
    start = damaged = 0
    for line in file:
        if not line.endswith(b"\n"):
            file.seek(start)
            break
        if (key := _job(line)) is None:
            damaged += 1
        else:
            yield key, start, line
        start += len(line)
    if damaged:
        logger.warning("%d lines of %s are damaged or of an older form; their jobs are done again.", damaged, name)


def _job(line: bytes) -> str | None:
    """Return the key of a line's job; None when the line holds no result."""
    try:
        entry = json.loads(line)
        return entry["job"] if entry["value"]["picture"] and isinstance(entry["value"]["rows"], list) else None
    except (ValueError, KeyError, TypeError):
        return None


class Values(Sequence[dict]):
    """The results of one measurement, a picture each, read from the checkpoint at each use; it grows with `keys`."""

    def __init__(self, checkpoint: Checkpoint, keys: Sequence[str]) -> None:
        self._checkpoint = checkpoint
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[dict]:
        return self._checkpoint.values(self._keys)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return list(self._checkpoint.values(self._keys[index]))
        return next(self._checkpoint.values([self._keys[index]]))
