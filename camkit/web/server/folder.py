"""The folder that Gradio serves from, and its bounds.

Gradio removes what is an hour old (`delete_cache`). Here the folder is kept within `limits()`, the least recently used
files first, and each address within its share of a minute's uploads.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from ...errors import InputError
from .limits import limits
from .runs import FILES_LIVE

KEEP = 60.0  # seconds that every file stays, from the upload to the event that reads it
ANSWERS = 20  # of less than a megabyte between two looks at the folder's size, which take milliseconds


class NoRoom(InputError):
    """An upload that there is no room for now; `wait` is seconds."""

    def __init__(self, sentence: str, wait: int) -> None:
        super().__init__(sentence)
        self.wait = wait


def claim_folder() -> None:
    """Name a folder of our own in GRADIO_TEMP_DIR, so that no file of another program is removed; before components
    are made."""
    own = f"camkit-{os.getuid()}" if hasattr(os, "getuid") else "camkit"
    folder = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    if folder.name != own:
        folder = folder / own
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise SystemExit(f"{folder} cannot be written: set GRADIO_TEMP_DIR to a folder that can.")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)


def upload_folder() -> Path:
    return Path(os.environ["GRADIO_TEMP_DIR"]).resolve()


def make_room(needed: int = 0) -> bool:
    """Remove the least recently used files until `needed` bytes fit, and folders that are empty. Return whether they
    fit: what was used in the last KEEP seconds stays, an event may be about to read it. What Gradio does not know, such
    as files of a process that was killed, goes after twice FILES_LIVE."""
    now, files = time.time(), []
    for place, folders, names in os.walk(upload_folder(), topdown=False):
        with suppress(OSError):  # gone in between, or just written into
            if not folders and not names and os.stat(place).st_mtime < now - KEEP and place != str(upload_folder()):
                os.rmdir(place)
        for name in names:
            path = os.path.join(place, name)
            with suppress(FileNotFoundError):
                status = os.lstat(path)
                files.append((status.st_mtime, status.st_size, path))
    over = sum(size for _, size, _ in files) + needed - limits().upload_megabytes * 1_000_000
    for used, size, path in sorted(files):
        if used > now - KEEP or (over <= 0 and used > now - 2 * FILES_LIVE):
            break
        Path(path).unlink(missing_ok=True)
        over -= size
    return over <= 0


def remove_parts() -> None:
    """Remove what is left of uploads that were cut off, while none is under way: Gradio receives into such files."""
    for part in upload_folder().glob("tmp*"):
        if part.is_file():
            part.unlink(missing_ok=True)


_recent: dict[str, deque[tuple[float, int]]] = {}  # address -> (when, bytes) of its uploads in the last minute
_guard = threading.Lock()


def begin_upload(address: str, expected: int) -> None:
    """Make room for an upload of so many bytes; NoRoom when it must wait."""
    allowed, now = limits(), time.monotonic()
    with _guard:
        for known, uploads in list(_recent.items()):
            while uploads and uploads[0][0] < now - KEEP:
                uploads.popleft()
            if not uploads:
                del _recent[known]
        uploads = _recent.get(address, deque())
        if sum(count for _, count in uploads) + expected > allowed.upload_megabytes_per_address * 1_000_000:
            wait = round(uploads[0][0] + KEEP - now) + 1 if uploads else round(KEEP)
            raise NoRoom(
                f"At most {allowed.upload_megabytes_per_address} MB may be uploaded from an address in a minute: "
                f"try again in {wait} seconds.",
                wait,
            )
        if not make_room(expected):
            raise NoRoom("The server's folder of uploads is full: try again in a minute.", round(KEEP))
        uploads.append((now, expected))
        _recent[address] = uploads


_answers = itertools.count(1)


def write_file(name: str, content: bytes) -> str:
    """Return the path of a new file with this content, which can be fetched from the server."""
    if len(content) > 1_000_000 or next(_answers) % ANSWERS == 0:
        make_room()
    path = Path(tempfile.mkdtemp(dir=upload_folder())) / name
    path.write_bytes(content)
    return str(path)
