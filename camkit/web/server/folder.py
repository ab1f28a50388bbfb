"""The folder that Gradio serves from: this process's own place for it, and its bound.

Uploads and answers lie there for an hour (`visitors.FILES_LIVE`); when they are more than the bound, the oldest go
first. Nothing younger than KEEP is removed, so that what an event is about to read stays. Gradio's own way, which is
not used, leaves an empty folder and a name in memory for each file.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from functools import cache
from pathlib import Path

import gradio as gr
from filelock import FileLock, Timeout

# Not in Gradio's documentation: the folder that it serves from. tests/web/test_gradio_names.py notices when it moves.
from gradio.utils import get_upload_folder

from ...errors import InputError
from .limits import limits
from .memory import give_back
from .runs import FILES_LIVE

KEEP = 60.0  # seconds that every file stays, from the upload to the event that reads it
log = logging.getLogger("app")


# --- this process's own folder -------------------------------------------------------------------------------------


@cache
def claim_folder() -> Path:
    """Makes a folder for this process alone and tells Gradio of it by GRADIO_TEMP_DIR; must run before components are
    made. Folders of processes that are gone, killed ones too, are removed: the operating system drops their locks."""
    own = f"camkit-{os.getuid()}" if hasattr(os, "getuid") else "camkit"
    root = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / own)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "folders.lock"):
        for lock in root.glob("camkit-*.lock"):
            try:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink()
            except Timeout:  # its process lives
                continue
        folder = Path(tempfile.mkdtemp(prefix="camkit-", dir=root))
        held = FileLock(folder.with_suffix(".lock"))
        held.acquire()
    atexit.register(_leave, folder, held)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def _leave(folder: Path, held: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    Path(held.lock_file).unlink(missing_ok=True)
    held.release()


# --- its bound -----------------------------------------------------------------------------------------------------


class NoRoom(InputError):
    """An upload that there is no room for now; `wait` is seconds."""

    def __init__(self, sentence: str, wait: int) -> None:
        super().__init__(sentence)
        self.wait = wait


class UploadFolder:
    """Keeps the folder within `limits()`, and each address to its share of a minute's uploads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._arriving: dict[int, int] = {}  # number of an upload under way -> its bytes, as announced
        self._recent: dict[str, deque[tuple[float, int]]] = {}  # address -> (when, bytes), none of them empty
        self._numbers = itertools.count()
        self._held: int | None = None  # bytes in the folder when it was last looked through, and uploaded since

    def begin_upload(self, address: str, expected: int) -> int:
        """Announces an upload of so many bytes; the number it has here. NoRoom when it must wait."""
        allowed, now = limits(), time.monotonic()
        with self._guard:
            for known in [known for known, uploads in self._recent.items() if uploads[-1][0] < now - KEEP]:
                del self._recent[known]
            uploads = self._recent.get(address, deque())
            while uploads and uploads[0][0] < now - KEEP:
                uploads.popleft()
            if sum(count for _, count in uploads) + expected > allowed.upload_megabytes_per_address * 1_000_000:
                wait = round(uploads[0][0] + KEEP - now) + 1 if uploads else round(KEEP)
                raise NoRoom(
                    f"At most {allowed.upload_megabytes_per_address} MB may be uploaded from an address in a minute: "
                    f"try again in {wait} seconds.",
                    wait,
                )
            needed = expected + sum(self._arriving.values())
            roomy = self._held is not None and self._held + needed <= allowed.upload_megabytes * 1_000_000
            if not roomy and not self._make_room(needed):
                raise NoRoom("The server's folder of uploads is full: try again in a minute.", round(KEEP))
            uploads.append((now, expected))
            self._recent[address] = uploads
            number = next(self._numbers)
            self._arriving[number] = expected
            return number

    def end_upload(self, number: int, whole: bool) -> None:
        """The upload has arrived, or was cut off."""
        with self._guard:
            count = self._arriving.pop(number)
            if not whole:
                self._remove_parts()
            elif self._held is not None:
                self._held += count

    def tidy(self) -> None:
        """Removes what is too old or over the bound, parts of uploads that were cut off, and what is left empty."""
        with self._guard:
            self._make_room(0)
            self._remove_parts()

    def _make_room(self, needed: int) -> bool:
        """Removes what is too old, then the oldest files until `needed` bytes fit; tells whether they do."""
        (files, empty), now = _contents(Path(get_upload_folder())), time.time()
        held = sum(size for _, size, _ in files)
        over = held + needed - limits().upload_megabytes * 1_000_000
        removed, freed = 0, 0
        for modified, size, path in sorted(files):
            old = modified <= now - FILES_LIVE
            if not old and (freed >= over or modified > now - KEEP):
                break
            Path(path).unlink(missing_ok=True)
            removed, freed = removed + (not old), freed + size
        if removed:
            log.info("The folder of uploads was full: its %d oldest files went, %.1f MB.", removed, freed / 1e6)
        self._held = held - freed
        for folder, modified in empty.items():
            if modified < now - KEEP and not self._arriving:  # else Gradio may be about to move an upload into it
                with suppress(OSError):  # an answer has just been put into it
                    folder.rmdir()
        return freed >= over

    def _remove_parts(self) -> None:
        """Gradio receives an upload into a file of this name, which it leaves behind when the upload is cut off. While
        others arrive only a part that has not grown for long is known to be dead."""
        for part in Path(get_upload_folder()).glob("tmp*"):
            try:
                if part.is_file() and (not self._arriving or part.stat().st_mtime < time.time() - KEEP):
                    part.unlink()
            except FileNotFoundError:  # it has just arrived whole and was moved
                continue


FOLDER = UploadFolder()


def _contents(root: Path) -> tuple[list[tuple[float, int, str]], dict[Path, float]]:
    """When each file was last used, its bytes and its path; the empty folders and since when they are."""
    files, empty = [], {}
    for place, folders, names in os.walk(root):
        if not folders and not names and place != str(root):
            empty[Path(place)] = os.stat(place).st_mtime
        for name in names:
            path = os.path.join(place, name)
            with suppress(FileNotFoundError):  # gone in between, or moved to its name
                status = os.lstat(path)
                files.append((status.st_mtime, status.st_size, path))
    return files, empty


def start_tidying(page: gr.Blocks, every: float = 5.0) -> threading.Thread:
    """Tidies the folder, and memory, for as long as the process lives: answers come without asking for room."""

    def work() -> None:
        while True:
            time.sleep(every)
            try:
                FOLDER.tidy()
                # The names of all files, by which Gradio would remove them one day. Not in its documentation:
                # tests/web/test_gradio_names.py notices when they move.
                for names in page.temp_file_sets:
                    names.clear()
                give_back()
            except Exception as error:  # the edge of the thread: the next round may do better
                log.warning("The folder of uploads could not be tidied: %r", error)

    thread = threading.Thread(target=work, name="tidying", daemon=True)
    thread.start()
    return thread
