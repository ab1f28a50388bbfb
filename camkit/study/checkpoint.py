"""The checkpoint of a study: finished jobs on disk, found again by the hash of everything they depend on.

A line is compact: rows that share their keys are kept column by column, numbers with seven digits, which is what a
float32 holds. Memory holds where each line begins, never what it says.
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
    """Finished jobs, one JSON line each, found again by the hash of everything they depend on.

    So lines of other pictures, settings or models do no harm: they are never asked for. A line that was cut short by a
    kill is dropped and its job done again. Without a path it lives in memory only. `others` are checkpoints that are
    read too, and stay as they are; what they hold is copied.
    """

    def __init__(self, path: str | os.PathLike | None = None, others: Iterable[str | os.PathLike] = ()) -> None:
        self.path = None if path is None else Path(path)
        self._memory = io.BytesIO()
        self._starts: dict[str, int] = {}
        if self.path is not None and self.path.exists():
            with open(self.path, "r+b") as file:
                whole = self._read(file, self.path.name)
                file.truncate(whole)  # else the next line would be glued to a cut one
        for other in map(Path, others):
            with open(other, "rb") as file:
                theirs = Checkpoint()
                theirs._read(file, other.name)
                self._append(theirs._lines(file, (key for key in theirs if key not in self)))

    def __contains__(self, key: str) -> bool:
        return key in self._starts

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._starts)

    def add(self, key: str, value: dict) -> None:
        """Keeps a result; on disk before this returns."""
        self.add_all([(key, value)])

    def add_all(self, results: Iterable[tuple[str, dict]]) -> None:
        """Keeps several, which are on disk together before this returns."""
        self._append(
            (key, json.dumps({"job": key, "value": _packed(value)}, separators=(",", ":")).encode() + b"\n")
            for key, value in results
        )

    def values(self, keys: Iterable[str]) -> Iterator[dict]:
        """What was kept of these jobs, read one by one."""
        with self._reading() as file:
            for _, line in self._lines(file, keys):
                yield _unpacked(json.loads(line)["value"])

    def _lines(self, file: IO[bytes], keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for key in keys:
            file.seek(self._starts[key])
            yield key, file.readline()

    def _reading(self) -> AbstractContextManager[IO[bytes]]:
        return nullcontext(self._memory) if self.path is None else open(self.path, "rb")

    def _append(self, lines: Iterable[tuple[str, bytes]]) -> None:
        if self.path is None:
            for key, line in lines:
                self._starts[key] = self._memory.seek(0, io.SEEK_END)
                self._memory.write(line)
            return
        with open(self.path, "ab") as file:
            for key, line in lines:
                self._starts[key] = file.tell()
                file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _read(self, file: IO[bytes], name: str) -> int:
        """Finds the lines of a file; returns where its last whole one ends."""
        start = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                entry["value"]["picture"]
                self._starts[entry["job"]] = start
            except (ValueError, KeyError, TypeError):
                logger.warning("Line %d of %s is damaged; its job is done again.", number, name)
            start += len(line)
        return start


class Values(Sequence[dict]):
    """What one measurement gave, picture by picture, read from the checkpoint when it is looked at; it grows with
    `keys`."""

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


def _packed(value: dict) -> dict:
    rows = value["rows"]
    if rows and all(row.keys() == rows[0].keys() for row in rows):
        value = value | {"rows": {name: [row[name] for row in rows] for name in rows[0]}}
    return _rounded(value)


def _unpacked(value: dict) -> dict:
    columns = value["rows"]
    if isinstance(columns, dict):
        value["rows"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return value


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
