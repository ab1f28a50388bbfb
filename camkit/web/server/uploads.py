"""Checks of what a visitor sends, before it is opened: uploaded files, and pictures as base64.

No other file is opened and no address is fetched. A picture is decoded when its handler asks for it, so that work which
is refused costs nothing.
"""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio as gr
import numpy as np
from PIL import ExifTags, Image

from ...errors import InputError
from ...maps import encode
from ...picture import EXAMPLES, MAX_BYTES, OpenedPicture, read_picture
from .assets import PICTURES
from .folder import begin_upload, upload_folder, write_file
from .runs import pending_of

LONGEST_SIDE = 1280  # of a picture on the server; a larger one is reduced while it is read
PAGE_BYTES = 200_000  # of a picture as the page shows it
QUALITIES = (88, 75, 60, 45)  # of a JPEG, tried in turn until it is small enough
NOT_UPLOADED = "The picture must be uploaded first: its file is not among the uploads."
ADDRESS = "This server fetches nothing from other addresses: send the file itself, as an upload or as base64."
EXAMPLE = re.compile(rf"[^?#]*{PICTURES}(?P<name>\w+\.jpg)")  # an address at which it hands an example out
SERVED = re.compile(r"[^?#]*/gradio_api/file=(?P<path>[^?#]+)")  # an address at which this server hands a file out
META = {"_type": "gradio.FileData"}  # the mark by which Gradio knows a file in JSON


# --- which file ----------------------------------------------------------------------------------------------------


def file_of(reference: dict[str, Any], client: str) -> Path:
    """Return the path of the file that Gradio's JSON of a file stands for: an upload, by its path or by the address
    that this server gave it, or an example's address or a file in base64, which are written among the uploads and count
    as uploaded by the address `client`. InputError when it is none of these, NoRoom when it must wait."""
    path, url = reference.get("path"), reference.get("url")
    if isinstance(url, str) and url.startswith("data:"):
        return _written(bytes_of_data_url(url), client)
    if re.match(r"https?://", address := str(path or url), re.IGNORECASE):
        # An address's host is not read: a proxy may have given the server another name.
        if (example := EXAMPLE.fullmatch(address)) and (EXAMPLES / example["name"]).is_file():
            return _written((EXAMPLES / example["name"]).read_bytes(), client)
        own = SERVED.match(address)
        if own is None:
            raise InputError(ADDRESS)
        path = unquote(own["path"])
    return uploaded(path)


def _written(content: bytes, client: str) -> Path:
    """Write a picture among the uploads, as one of the address `client`."""
    begin_upload(client, len(content))
    return Path(write_file("picture", content))


def uploaded(path: object) -> Path:
    """Return the path of an uploaded file; InputError when it is not among the uploads."""
    if not path or not isinstance(path, str):
        raise InputError(NOT_UPLOADED)
    try:
        found = Path(path).resolve()
        is_known = found.is_relative_to(upload_folder()) and found.is_file()
        if is_known:
            os.utime(found)  # in use: it is not among the oldest now
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte in it
        raise InputError(NOT_UPLOADED) from error
    if not is_known:
        raise InputError(NOT_UPLOADED)
    return found


def sent_file(value: dict | None, request: gr.Request) -> Path | None:
    """Return the path of the file that an input was sent, None without one; InputError says why one was refused."""
    if value is None:
        if refused := pending_of(request).refused:
            raise InputError(refused)
        return None
    return uploaded(value.get("path"))


def bytes_of_data_url(url: str, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a base64 data URL, refused by its length before it is decoded; InputError when it is not
    one."""
    head, _, body = url.partition(",")
    if len(body) > limit * 4 / 3 + 4:
        raise InputError(f"The picture's base64 text is too long: at most {limit / 1e6:g} MB are allowed.")
    if not head.endswith(";base64"):
        raise InputError("The picture's data URL is not base64: send 'data:image/png;base64,...'.")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:  # binascii.Error, or text that is not ASCII
        raise InputError("The picture's base64 text is damaged.") from error


# --- pictures ------------------------------------------------------------------------------------------------------


def open_upload(path: Path) -> OpenedPicture:
    """Return an uploaded picture, at most LONGEST_SIDE pixels a side; InputError when it cannot be used."""
    return read_picture(path, LONGEST_SIDE)


def page_picture(path: Path) -> bytes:
    """Return a JPEG file's bytes, at most PAGE_BYTES of them, that the page shows, explains and remembers. A JPEG that
    is small enough stays as it is. `window_of` tells the picture's window. InputError when it cannot be used."""
    opened = open_upload(path)
    if path.stat().st_size <= PAGE_BYTES:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as known:
            upright = known.getexif().get(ExifTags.Base.Orientation, 1) == 1
            if known.format == "JPEG" and known.mode == "RGB" and max(known.size) <= LONGEST_SIDE and upright:
                return content
    return page_jpeg(opened.image, opened.window.sentence if opened.window else "")


def page_jpeg(image: np.ndarray, comment: str = "") -> bytes:
    """Return (H, W, 3) uint8 RGB as a JPEG file's bytes with a comment, at most PAGE_BYTES of them."""
    while True:
        for quality in QUALITIES:
            content = encode(image, "JPEG", quality=quality, comment=comment)
            if len(content) <= PAGE_BYTES:
                return content
        image = np.array(Image.fromarray(image).reduce(2))  # noise, which JPEG cannot make small


def window_of(content: bytes) -> str:
    """Return the window of a picture that `page_picture` made, as Window.sentence; "" for every other."""
    with Image.open(io.BytesIO(content)) as image:
        comment = image.info.get("comment", b"").decode("ascii", "replace")
    return comment if re.fullmatch(r"shown from \S+ to \S+( of \d+)?", comment) else ""
