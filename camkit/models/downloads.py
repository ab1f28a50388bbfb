"""What the two libraries that download, pooch and huggingface_hub, report and leave: their progress as bytes, their
errors as plain words, and the parts of a transfer that was broken off. Loads neither before it is needed."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any


class PoochBar:
    """What pooch asks of a progress bar: https://www.fatiando.org/pooch/latest/progressbars.html."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self.total = 0
        self._done, self._report = 0, report

    def update(self, count: int) -> None:
        self._done += count
        self._report(self._done)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing is drawn, so there is nothing to close."""


def hub_bar(report: Callable[[int], None]) -> type:
    """A tqdm class for hf_hub_download that draws nothing and reports bytes.

    An Xet download has two such bars, bytes received and bytes written; each reports its own count.
    """
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            report(int(self.n))

    return Bar


def remove_parts(repo: str) -> None:
    """What a broken-off hf_hub_download keeps in its cache to go on from."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    for part in folder.glob("blobs/*.incomplete"):
        part.unlink(missing_ok=True)


def hub_reason(error: Exception, repo: str, filename: str) -> str:
    """Why the Hub did not supply the file, in plain words."""
    from huggingface_hub import errors

    reasons = {  # the first class that fits: later ones are wider
        errors.GatedRepoError: f"the Hugging Face repository {repo} asks for its conditions to be accepted first",
        errors.RepositoryNotFoundError: f"there is no Hugging Face repository {repo}, or it needs a token",
        errors.RevisionNotFoundError: f"the Hugging Face repository {repo} has no such revision",
        errors.EntryNotFoundError: f"the Hugging Face repository {repo} does not hold {filename}",
        errors.OfflineModeIsEnabled: "HF_HUB_OFFLINE forbids asking Hugging Face",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        return f"Hugging Face answered {error.response.status_code} for {repo}"
    return f"Hugging Face could not be reached for {repo} or broke off ({type(error).__name__})"


def url_reason(error: OSError | ValueError, host: str) -> str:
    """Why the download from Keras's storage failed, in plain words."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"{host} answered {error.response.status_code}"
    if isinstance(error, exceptions.Timeout):
        return f"{host} did not answer in time"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return f"the connection to {host} was cut"
    if isinstance(error, exceptions.RequestException):
        return f"the connection to {host} failed"
    if isinstance(error, ValueError):
        return f"what {host} sent is not the expected file, its md5 is wrong"
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return f"Keras's cache cannot be written to ({error.strerror}), KERAS_HOME can name another folder"
