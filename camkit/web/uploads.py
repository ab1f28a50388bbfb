"""What a visitor may send, checked before it is opened: pictures, zips, and the page's payloads as a whole.

Nothing but files that were uploaded is opened, no address is fetched, and whatever is refused is refused in a sentence.
"""

from __future__ import annotations

import base64
from pathlib import Path

import gradio as gr
import numpy as np

# Neither is in Gradio's documentation; tests/web/test_gradio_names.py notices when one moves.
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_http_url_like

from ..errors import InputError
from ..picture import MAX_BYTES, open_picture
from .visitors import log

UNREADABLE = "The request cannot be read: what each endpoint takes is described at /gradio_api/info."
NOT_UPLOADED = "The picture must be uploaded first: its file is not among the uploads."


class Page(gr.Blocks):
    """Blocks whose answer to a payload that Gradio cannot read is a sentence too, not an empty error."""

    async def preprocess_data(self, *args, **kwargs):
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            message = NOT_UPLOADED if isinstance(error, InvalidPathError) else UNREADABLE
            log.warning("%s (%s)", message, type(error).__name__)
            raise gr.Error(message, print_exception=False, title="That did not work") from error


class Picture(gr.Image):
    """An image input that gives handlers an (H, W, 3) uint8 RGB array and opens nothing but what was uploaded.

    Gradio 6.31 reads any path of the server's disk when a raw payload leaves out `meta`; it decodes before it checks
    sizes; and it downloads an address whatever its size. All are settled here, so every event and endpoint that takes a
    picture is covered.
    """

    is_template = True  # rendered by the browser's Image component

    def preprocess(self, payload) -> np.ndarray | None:
        if payload is None:
            return None
        try:
            if payload.url and payload.url.startswith("data:"):
                return open_picture(bytes_of_data_url(payload.url))
            return open_picture(uploaded(self, payload))
        except InputError as error:
            raise gr.Error(str(error), print_exception=False, title="That picture cannot be used") from error

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

    def preprocess(self, payload) -> Path | None:
        if payload is None:
            return None
        try:
            return uploaded(self, payload)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False, title="That file cannot be used") from error

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        refuse_address(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


def refuse_address(url_or_file_path) -> None:
    if is_http_url_like(str(url_or_file_path)):
        raise gr.Error(
            "Send the file itself: this server fetches none from an address.",
            print_exception=False,
            title="That file cannot be used",
        )


def uploaded(component, payload) -> Path:
    """The path of a payload's file; InputError when it is not among the component's uploads."""
    try:
        path = Path(payload.path or "").resolve()
        inside = path.is_relative_to(Path(component.GRADIO_CACHE).resolve()) and path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte in it
        inside = False
    if not payload.path or not inside:
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
