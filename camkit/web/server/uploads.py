"""What a visitor may send, checked before it is opened: pictures, zips, and the page's payloads as a whole.

Nothing but files that were uploaded is opened, no address is fetched, and whatever is refused is refused in a sentence.
A picture is decoded when its handler asks for it, so that work which is refused costs nothing.
"""

from __future__ import annotations

import base64
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

# Neither is in Gradio's documentation; tests/web/test_gradio_names.py notices when one moves.
from gradio.exceptions import InvalidPathError
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from PIL import ExifTags, Image
from starlette.concurrency import run_in_threadpool

from ...errors import InputError
from ...maps import encode
from ...picture import MAX_BYTES, OpenedPicture, read_picture
from .runs import log

LONGEST_SIDE = 1280  # of a picture on the server; a larger one is reduced while it is read
PAGE_BYTES = 200_000  # of a picture as the page shows it
QUALITIES = (88, 75, 60, 45)  # of a JPEG, tried in turn until it is small enough
UNREADABLE = "The request cannot be read: what each endpoint takes is described at /gradio_api/info."
NOT_UPLOADED = "The picture must be uploaded first: its file is not among the uploads."


class Page(gr.Blocks):
    """Blocks whose answer to a payload that Gradio cannot read is a sentence too, not an empty error, and whose
    endpoints still take the shorter lists of values that programs sent before a parameter was added."""

    async def preprocess_data(self, block_fn, inputs, *args, **kwargs):
        try:
            missing = block_fn.inputs[len(inputs) :]
            if block_fn.api_visibility == "public" and all(block.value is not None for block in missing):
                inputs = [*inputs, *(block.value for block in missing)]
            values = await super().preprocess_data(block_fn, inputs, *args, **kwargs)
            return values if block_fn.preprocess else await run_in_threadpool(_preprocessed, block_fn.inputs, values)
        except Refusal:
            raise
        except Exception as error:  # Gradio's own sentences list every choice of a component, or show a path
            message = NOT_UPLOADED if isinstance(error, InvalidPathError) else UNREADABLE
            log.warning("%s (%s)", message, type(error).__name__)
            raise Refusal(message) from error


def _preprocessed(components, values) -> list:
    """What handlers get of an event that is declared with preprocess=False: all of its values by one way into a thread
    and back, where Gradio by itself takes one for each."""
    found = []
    for component, value in zip(components, values, strict=True):
        model = None if value is None else component.data_model
        found.append(component.preprocess(model.model_validate(value) if model else value))
    return found


class Refusal(gr.Error):
    """Why something that was sent cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, print_exception=False, title="That did not work")


@dataclass(frozen=True)
class Upload:
    """A picture that was sent and not opened yet: an uploaded file, or the bytes of a data URL."""

    source: Path | bytes

    def open(self) -> OpenedPicture:
        """The picture, at most LONGEST_SIDE pixels a side; InputError when it cannot be used."""
        return read_picture(self.source, LONGEST_SIDE)

    def for_page(self) -> bytes:
        """A JPEG file's bytes, at most PAGE_BYTES of them, that the page shows, explains and remembers. A JPEG that is
        small enough stays as it is. `window_of` tells the picture's window. InputError when it cannot be used."""
        opened = self.open()
        size = len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size
        if size <= PAGE_BYTES:
            content = self.source if isinstance(self.source, bytes) else self.source.read_bytes()
            with Image.open(io.BytesIO(content)) as known:
                upright = known.getexif().get(ExifTags.Base.Orientation, 1) == 1
                if known.format == "JPEG" and known.mode == "RGB" and max(known.size) <= LONGEST_SIDE and upright:
                    return content
        return page_jpeg(opened.image, opened.window.sentence if opened.window else "")


def page_jpeg(image: np.ndarray, comment: str = "") -> bytes:
    """(H, W, 3) uint8 RGB -> a JPEG file's bytes with a comment, at most PAGE_BYTES of them."""
    while True:
        for quality in QUALITIES:
            content = encode(image, "JPEG", quality=quality, comment=comment)
            if len(content) <= PAGE_BYTES:
                return content
        image = np.array(Image.fromarray(image).reduce(2))  # noise, which JPEG cannot make small


def window_of(content: bytes) -> str:
    """Return the window of a picture that `Upload.for_page` made, as Window.sentence; "" for every other."""
    with Image.open(io.BytesIO(content)) as image:
        comment = image.info.get("comment", b"").decode("ascii", "replace")
    return comment if re.fullmatch(r"shown from \S+ to \S+( of \d+)?", comment) else ""


class Picture(gr.Image):
    """An image input that gives handlers an `Upload` and lets through nothing but what was uploaded.

    Gradio 6.31 reads any path of the server's disk when a raw payload leaves out `meta`; it decodes before it checks
    sizes; and it downloads an address whatever its size. All are settled here, so every event and endpoint that takes a
    picture is covered.
    """

    is_template = True  # rendered by the browser's Image component
    skip_api = True  # the page's alone: no description of it goes to the browser

    def preprocess(self, payload) -> Upload | None:
        if payload is None:
            return None
        try:
            if payload.url and payload.url.startswith("data:"):
                return Upload(bytes_of_data_url(payload.url))
            return Upload(uploaded(self, payload))
        except InputError as error:
            raise Refusal(str(error)) from error

    def example_payload(self) -> dict:
        """What the API page shows in its snippets."""
        return {"path": "picture.jpg", "url": "picture.jpg", "meta": {"_type": "gradio.FileData"}}

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        """Called before `preprocess` with what a payload names, after Gradio's own check of paths. Not documented;
        tests/web/test_gradio_names.py notices when it moves."""
        refuse_address(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class Zip(gr.File):
    """A file input that gives handlers the path of an uploaded file and of no other, for the reasons of `Picture`."""

    is_template = True
    skip_api = True  # as of `Picture`

    def preprocess(self, payload) -> Path | None:
        if payload is None:
            return None
        try:
            return uploaded(self, payload)
        except InputError as error:
            raise Refusal(str(error)) from error

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        refuse_address(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


def refuse_address(url_or_file_path) -> None:
    if is_http_url_like(str(url_or_file_path)):
        raise Refusal("Send the file itself: this server fetches none from an address.")


def sent_picture(path: object) -> Upload:
    """Return the picture that the page has uploaded to this path; InputError when it is not among the uploads."""
    return Upload(_uploaded(str(path or ""), get_upload_folder()))


def uploaded(component, payload) -> Path:
    """The path of a payload's file; InputError when it is not among the component's uploads."""
    return _uploaded(payload.path or "", component.GRADIO_CACHE)


def _uploaded(sent: str, folder: str) -> Path:
    try:
        path = Path(sent).resolve()
        inside = path.is_relative_to(Path(folder).resolve()) and path.is_file()
        if inside:
            os.utime(path)  # in use: it is not among the oldest now
    except (OSError, ValueError):  # a name too long, or with a zero byte in it
        inside = False
    if not sent or not inside:
        raise InputError(NOT_UPLOADED)
    return path


def bytes_of_data_url(url: str, limit: int = MAX_BYTES) -> bytes:
    """The content of a base64 data URL, refused by its length before it is decoded; InputError when it is not one."""
    head, _, body = url.partition(",")
    if len(body) > limit * 4 / 3 + 4:
        raise InputError(f"The picture's base64 text is too long: at most {limit / 1e6:g} MB are allowed.")
    if not head.endswith(";base64"):
        raise InputError("The picture's data URL is not base64: send 'data:image/png;base64,...'.")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:  # binascii.Error, or text that is not ASCII
        raise InputError("The picture's base64 text is damaged.") from error
