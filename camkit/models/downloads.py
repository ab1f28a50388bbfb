"""The reports of the two libraries that download, pooch and huggingface_hub: their progress as bytes, and their
errors as plain words. Loads neither before it is needed."""

import errno
from collections.abc import Callable
from typing import Any


def silent_bar(report: Callable[[int], None]) -> type:
    """Return a tqdm class for either library that draws nothing and reports bytes. An Xet download has two such bars,
    bytes received and bytes written; each reports its own count."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            report(int(self.n))

    return Bar


def hub_reason(error: Exception, repo: str, filename: str) -> str:
    """Return why the Hub did not supply the file, in plain words."""
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


def url_reason(error: Exception, host: str) -> str:
    """Return why the download from Keras's storage failed, in plain words."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"{host} answered {error.response.status_code}"
    reasons = {  # the first class that fits: requests' errors are OSErrors, and a wrong md5 is pooch's ValueError
        exceptions.Timeout: f"{host} did not answer in time",
        exceptions.ChunkedEncodingError: f"the connection to {host} was cut",
        exceptions.RequestException: f"the connection to {host} failed",
        ValueError: f"what {host} sent is not the expected file, its md5 is wrong",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC
        refused = f"Keras's cache cannot be written to ({error.strerror}), KERAS_HOME can name another folder"
        return "the disk is full" if full else refused
    return f"the download from {host} broke off ({type(error).__name__})"
