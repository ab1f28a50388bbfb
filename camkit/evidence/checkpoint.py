"""The checkpoint of a study: finished jobs on disk, found again by the hash of everything they depend on."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)


class Checkpoint:
    """Finished jobs, one JSON line each, found again by the hash of everything they depend on.

    So lines of other pictures, settings or models do no harm: they are never asked for. A line that was cut short by a
    kill is dropped and its job done again. Without a path it lives in memory only.
    """

    def __init__(self, path: str | os.PathLike | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.values: dict[str, dict] = {}
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def add(self, key: str, value: dict) -> None:
        """Keeps a result; on disk before this returns."""
        self.values[key] = value
        if self.path is None:
            return
        with open(self.path, "ab", buffering=0) as file:
            file.write(json.dumps({"job": key, "value": value}).encode() + b"\n")
            os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)  # else the next line would be glued to the cut one
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                entry = json.loads(line)
                self.values[entry["job"]] = entry["value"]
            except (ValueError, KeyError, TypeError):
                logger.warning("Line %d of %s is damaged; its job is done again.", number, path.name)
