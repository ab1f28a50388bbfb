"""The pictures in a zip that a visitor sends: its limits, checked while it is read, and nothing written to disk."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..picture import KINDS, MAX_BYTES
from .pictures import Found, why_not

LONGEST_NAME = 255  # characters, folders included
_CHUNK = 64 * 1024
# LZMA and bzip2 let a header ask for gigabytes of memory before the first byte comes out.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class ZipLimits:
    """The bounds of a zip. `ratio` is unpacked bytes for each byte of the file on disk; `entries` counts every name in
    it, pictures or not."""

    pictures: int = 50
    picture_bytes: int = MAX_BYTES
    total_bytes: int = 100 * 1000 * 1000
    ratio: float = 100.0
    entries: int = 1000


def unzip_pictures(path: str | os.PathLike, limits: ZipLimits = ZipLimits()) -> Found:
    """Read the pictures in a zip, name -> file contents, sorted by name; other files, zips too, are skipped.

    Raises InputError when the file is no zip, is damaged, encrypted or beyond a limit, when a name leaves the archive's
    own folder or comes twice, or when there is no picture in it.
    """
    with _opened(path) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.filename)
        chosen = _chosen(entries, limits)
        found = Found(_read_all(archive, chosen, limits, Path(path).stat().st_size))
        for entry in entries:
            if not entry.is_dir() and (reason := why_not(entry.filename)):
                found.add(entry.filename, None, reason)
        return found


def unzip_picture(path: str | os.PathLike, name: str, limits: ZipLimits = ZipLimits()) -> bytes | None:
    """Read one picture of such a zip and unpack no other; None when it has none of that name. InputError as above."""
    with _opened(path) as archive:
        chosen = [entry for entry in _chosen(archive.infolist(), limits) if entry.filename == name]
        return _read_all(archive, chosen, limits, Path(path).stat().st_size).get(name)


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise InputError("The zip cannot be read: it is damaged or cut short, or it is not a zip.") from error


def _chosen(entries: list[zipfile.ZipInfo], limits: ZipLimits) -> list[zipfile.ZipInfo]:
    if len(entries) > limits.entries:
        raise InputError(f"The zip holds {len(entries)} entries: at most {limits.entries} are allowed.")
    for entry in entries:
        _check_name(entry.filename)
    chosen = [entry for entry in entries if not entry.is_dir() and not why_not(entry.filename)]
    names = [entry.filename for entry in chosen]
    if not names:
        raise InputError(f"The zip holds no picture: put {KINDS} files into it.")
    if len(names) > limits.pictures:
        raise InputError(f"The zip holds {len(names)} pictures: at most {limits.pictures} are allowed.")
    if len(set(names)) < len(names):
        raise InputError("The zip holds two pictures of the same name: give each its own.")
    return chosen


def _check_name(name: str) -> None:
    if len(name) > LONGEST_NAME:
        raise InputError(f"The zip holds a name of {len(name)} characters: at most {LONGEST_NAME} are allowed.")
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise InputError("The zip holds a name that leads out of its own folder: pack the pictures with plain names.")


def _read_all(archive: zipfile.ZipFile, chosen, limits: ZipLimits, packed: int) -> dict[str, bytes]:
    room = min(limits.total_bytes, int(limits.ratio * packed))
    pictures: dict[str, bytes] = {}
    for entry in chosen:
        data = _read(archive, entry, limits, room)
        room -= len(data)
        pictures[entry.filename] = data
    return pictures


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: ZipLimits, room: int) -> bytes:
    if entry.flag_bits & 0x1:
        raise InputError("The zip is encrypted: pack the pictures without a password.")
    if entry.compress_type not in _COMPRESSIONS:
        raise InputError("The zip uses an unusual compression: pack the pictures with plain zip (deflate).")
    data = bytearray()
    with archive.open(entry) as stream:
        while chunk := stream.read(_CHUNK):
            data += chunk
            _check_sizes(len(data), room, limits)
    return bytes(data)


def _check_sizes(count: int, room: int, limits: ZipLimits) -> None:
    if count > limits.picture_bytes:
        raise InputError(f"A picture in the zip is larger than {limits.picture_bytes / 1e6:g} MB, the most allowed.")
    if count > room:
        raise InputError(
            f"The zip unpacks to more than {limits.total_bytes / 1e6:g} MB, or to more than {limits.ratio:g} "
            "times its own size: neither is allowed."
        )
