"""Where a model's weights file comes from: found on disk, else downloaded, with progress and a state that can be shown.

Sources, in this order: a path the user names, a Hugging Face repository the user names, Keras's own cache, Keras's own
download. Refuses to import TensorFlow, Keras or Gradio, to touch the network unless `obtain` or
`download_in_background` is called, and to hand out a file from Keras's cache or download whose md5 is wrong.
The environment is read at each call, never at import.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import WeightsError
from .downloads import PoochBar, hub_bar, hub_reason, remove_parts, url_reason

logger = logging.getLogger(__name__)

TIMEOUTS = (10, 30)  # seconds to connect, and to wait for the next bytes: a dead server is a failure, not a hang
CHUNK = 256 * 1024  # bytes between two progress reports
MEGABYTE = 2**20  # the MB of https://keras.io/api/applications/, which gives VGG16 as 528 MB


class _SourceError(Exception):
    """One source failed, for the reason in its text; the next source may still do."""


class _Cancelled(BaseException):
    """`cancel` was called. Not an Exception: libraries on the way must neither retry nor swallow it."""


@dataclass(frozen=True)
class WeightsState:
    """What can be said of a weights file at one moment.

    Attributes:
        status: "absent", "downloading", "ready" or "failed".
        path: the file if "ready", else None.
        bytes_done: bytes on this machine so far.
        bytes_total: bytes of the whole file.
        message: plain words; for "failed", why and what to do.
        short: for "downloading" and "failed", the same for a visitor, who cannot do anything about it.
        seconds_left: while "downloading", at the speed so far; None until there is one.
    """

    status: str
    path: Path | None
    bytes_done: int
    bytes_total: int
    message: str
    short: str = ""
    seconds_left: float | None = None

    @property
    def percent(self) -> int:
        """Whole percent that has arrived, 0 to 100."""
        return min(100, 100 * self.bytes_done // self.bytes_total) if self.bytes_total else 0

    @property
    def sentence(self) -> str:
        """The state as one line for a page."""
        if self.status != "downloading":
            return self.message
        done, total = (round(count / MEGABYTE) for count in (self.bytes_done, self.bytes_total))
        return f"{self.message}: {self.percent} % ({done} of {total} MB)."


class WeightsFile:
    """One downloadable weights file and its state. Every method may be called from any thread.

    Args:
        name: the model's name, as used in messages.
        filename: the file's name in Keras's cache and in a Hugging Face repository.
        url: where Keras publishes the file.
        md5: hexadecimal md5 of the published file.
        size: its size in bytes.
        path_variable: environment variable that may hold the path of a local copy.
        repo_variable: environment variable that may hold "owner/name" or "owner/name@revision" of a Hugging Face
            model repository with the file. That repository is the user's word: its file is not compared with md5.
    """

    def __init__(
        self, name: str, filename: str, url: str, md5: str, size: int, path_variable: str, repo_variable: str
    ) -> None:
        self.name, self.filename, self.url, self.md5, self.size = name, filename, url, md5, size
        self.path_variable, self.repo_variable = path_variable, repo_variable
        self._guard = threading.Lock()  # for the four attributes below
        self._last: WeightsState | None = None  # "downloading" or "failed": the present or the last attempt
        self._checked: dict[Path, tuple[tuple[int, int], bool]] = {}  # path -> (size, time of change), md5 is right
        self._refused: dict[Path, tuple[tuple[int, int], str]] = {}  # path -> (size, time of change), why
        self._thread: threading.Thread | None = None
        self._one_download = threading.Lock()
        self._stop = threading.Event()  # ends the transfer under way
        self._begun = 0.0

    @property
    def state(self) -> WeightsState:
        """The state now, for the environment as it is now. Never waits for a network or for a checksum."""
        try:
            found = self._look(None, hashing=False)
            if found is not None:
                return self._state("ready", f"{self.name}'s weights are ready.", path=found, bytes_done=self.size)
            with self._guard:
                last, path = self._last, self._keras_path()
                unchecked = path not in self._checked
            if last is not None:
                return last
            if unchecked and path.is_file() and path.stat().st_size == self.size:
                return self._state(
                    "absent", f"A copy of {self.name}'s weights is in Keras's cache; it is checked before it is used."
                )
        except WeightsError as error:
            return self._failed(str(error))
        size = round(self.size / MEGABYTE)
        return self._state("absent", f"{self.name}'s weights are not on this machine: {size} MB to download.")

    def find(self, path: str | Path | None = None) -> Path | None:
        """Look on this machine only; None if no source has the file.

        The first call on a copy in Keras's cache reads it all for its md5; later calls remember the verdict.

        Raises:
            WeightsError: a path that is named (here or in the environment) is not a file, the repository variable is
                not a repository's name, or Keras's cache cannot be read.
        """
        return self._look(path, hashing=True)

    def refuse(self, path: Path, reason: str) -> None:
        """The model cannot use the file: until it changes, `reason` is what every method here says of it."""
        with self._guard:
            self._refused[path] = (_fingerprint(path), reason)

    def obtain(self, path: str | Path | None = None) -> Path:
        """Find the file, else download it; returns when it is there.

        A download is written beside its final place and moved there only once its md5 is right.

        Raises:
            WeightsError: as `find`, or no source could supply the file.
        """
        found = self.find(path)
        if found is not None:
            return found
        with self._one_download:  # a second caller waits, then finds what the first has brought
            try:
                brought = self.find() or self._download()
            except _Cancelled:
                self._note(None)
                raise WeightsError(
                    f"The download of {self.name}'s weights was cancelled: nothing is kept, it can be started anew."
                ) from None
            except WeightsError as error:
                if self._last is None or self._last.status != "failed":
                    self._note(self._failed(str(error)))
                raise
            except BaseException:  # Ctrl-C among them: a state must not go on "downloading" with nobody at it
                self._note(self._failed(f"The download of {self.name}'s weights was stopped: start it again."))
                raise
            finally:
                self._stop.clear()
            self._note(None)
            return brought

    def download_in_background(self) -> threading.Thread:
        """Start `obtain` in a daemon thread, or return the thread that is at it; a failure ends in `state`."""
        with self._guard:
            if self._thread is None or not self._thread.is_alive():
                self._stop.clear()
                if self._last is None or self._last.status != "downloading":
                    looking = f"Looking for {self.name}'s weights"
                    self._last = replace(self._state("downloading", looking), short=looking)
                self._thread = threading.Thread(target=self._obtain_in_thread, name=f"{self.name}-weights", daemon=True)
                self._thread.start()
            return self._thread

    def cancel(self) -> None:
        """Ends the download under way: no byte is asked for any more and none is kept. The state is "absent" again as
        soon as the library that transfers has noticed, at its next bytes. Nothing happens when there is no download."""
        with self._guard:
            if self._last is not None and self._last.status == "downloading":
                stopping = f"Stopping the download of {self.name}'s weights"
                self._last = replace(self._last, message=stopping, short=stopping, seconds_left=None)
                self._stop.set()

    def _obtain_in_thread(self) -> None:
        try:
            self.obtain()
            self._note(None)  # it may have been on this machine all the time
        except WeightsError as error:
            if self._last is not None:  # else it was cancelled
                if self._last.status != "failed":
                    self._note(self._failed(str(error)))
                logger.warning("%s", error)
        except Exception as error:  # the edge of the thread: nobody above could report it, so the state and the log do
            message = f"{self.name}'s weights could not be had ({type(error).__name__}): see the log."
            self._note(self._failed(message))
            logger.warning("%s %r", message, error)

    # On disk

    def _look(self, path: str | Path | None, hashing: bool) -> Path | None:
        """The first source that has the file; without `hashing`, a copy in Keras's cache counts once it was checked.
        WeightsError when that file was refused."""
        found = self._first(path, hashing)
        with self._guard:
            refused = self._refused.get(found) if found is not None else None
        if found is not None and refused is not None and refused[0] == _fingerprint(found):
            raise WeightsError(refused[1])
        return found

    def _first(self, path: str | Path | None, hashing: bool) -> Path | None:
        named = path or os.environ.get(self.path_variable)
        if named:
            if not Path(named).expanduser().is_file():
                # The environment is the operator's: what a page shows of it must not tell strangers where files lie.
                shown = named if path else f"{Path(named).name} (from {self.path_variable})"
                raise WeightsError(f"There is no weights file at {shown}: name an existing file, or none at all.")
            return Path(named).expanduser()
        source = self._hub_source()
        if source is not None:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(source[0], self.filename, revision=source[1])
            if isinstance(cached, str):  # else None, or the mark of "known not to exist"
                return Path(cached)
        candidate = self._keras_path()
        try:
            return candidate if candidate.is_file() and self._good(candidate, hashing) else None
        except OSError as error:
            raise WeightsError(
                f"The copy of {self.filename} in Keras's cache cannot be read ({error.strerror}): make it readable,"
                f" or set {self.path_variable} to another copy."
            ) from error

    def _hub_source(self) -> tuple[str, str | None] | None:
        """The repository and revision the user names, or None."""
        value = os.environ.get(self.repo_variable)
        if not value:
            return None
        from huggingface_hub.utils import validate_repo_id

        repo, _, revision = value.partition("@")
        try:
            validate_repo_id(repo)
            _owner, _name = repo.split("/")
        except ValueError as error:
            raise WeightsError(
                f"{self.repo_variable} is {value!r}, which names no Hugging Face repository: write owner/name or"
                " owner/name@revision."
            ) from error
        return repo, revision or None

    def _keras_path(self) -> Path:
        """Where Keras itself looks: https://keras.io/api/utils/python_utils/#get_file-function."""
        home = os.environ.get("KERAS_HOME")
        return (Path(home).expanduser() if home else Path.home() / ".keras") / "models" / self.filename

    def _good(self, path: Path, hashing: bool) -> bool:
        """Whether the file has the right md5; 528 MB are read once, then again only if size or time of change differ.

        Without `hashing`, a file that was not read yet counts as not good.
        """
        fingerprint = _fingerprint(path)
        with self._guard:
            known = self._checked.get(path)
        if known is not None and known[0] == fingerprint:
            return known[1]
        if not hashing:
            return False
        good = fingerprint[0] == self.size and _md5(path) == self.md5
        with self._guard:
            self._checked[path] = (fingerprint, good)
        return good

    # Downloading

    def _download(self) -> Path:
        """From the first source that works."""
        source, reasons = self._hub_source(), []
        fetches: list[Callable[[], Path]] = [self._from_url]
        if source is not None:
            fetches.insert(0, partial(self._from_hub, *source))
        for fetch in fetches:
            try:
                return fetch()
            except _SourceError as error:
                logger.warning("%s's weights: %s.", self.name, error)
                reasons.append(str(error))
        why = "; ".join(reasons)
        message = (
            f"{self.name}'s weights are not on this machine and could not be downloaded ({why}):"
            f" connect to the internet and try again, or set {self.path_variable} to the path of a copy of {self.url},"
            f" or set {self.repo_variable} to a Hugging Face repository (owner/name) that holds {self.filename}."
        )
        self._note(self._failed(message, f"{self.name} could not be downloaded: {why}."))
        raise WeightsError(message)

    def _from_hub(self, repo: str, revision: str | None) -> Path:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        message = f"Downloading {self.name}'s weights from the Hugging Face repository {repo}"
        self._begin(message, self.size)
        try:
            # Asked first because hf_hub_download alone retries for minutes before it gives up on a Hub that is down.
            found = get_hf_file_metadata(hf_hub_url(repo, self.filename, revision=revision), timeout=TIMEOUTS[0])
            self._begin(message, found.size or self.size)
            return Path(hf_hub_download(repo, self.filename, revision=revision, tqdm_class=hub_bar(self._report)))
        except _Cancelled:
            remove_parts(repo)
            raise
        except Exception as error:  # httpx2's, OSError's and hf_xet's families: all mean "the Hub did not supply it"
            raise _SourceError(hub_reason(error, repo, self.filename)) from error

    def _from_url(self) -> Path:
        import pooch
        from filelock import FileLock

        final, host = self._keras_path(), urlsplit(self.url).netloc
        self._begin(f"Downloading {self.name}'s weights from {host}", self.size)
        downloader = pooch.HTTPDownloader(progressbar=PoochBar(self._report), chunk_size=CHUNK, timeout=TIMEOUTS)
        folder = final.parent / f".{final.name}.download"  # beside `final`: one disk, so the move is one step
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # One process at a time; the operating system drops a dead one's lock.
            with FileLock(folder / "lock"):
                for leftover in folder.glob("tmp*"):  # of a process that was killed
                    leftover.unlink()
                if not (final.is_file() and self._good(final, hashing=True)):  # another process may have brought it
                    staged = Path(
                        pooch.retrieve(self.url, f"md5:{self.md5}", final.name, folder, downloader=downloader)
                    )
                    staged.chmod(final.parent.stat().st_mode & 0o666)  # a cache may be shared, pooch's file is private
                    fingerprint = _fingerprint(staged)
                    os.replace(staged, final)
                    with self._guard:
                        self._checked[final] = (fingerprint, True)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong md5 is pooch's ValueError
            raise _SourceError(url_reason(error, host)) from error
        return final

    # The state

    def _state(self, status: str, message: str, path: Path | None = None, bytes_done: int = 0) -> WeightsState:
        return WeightsState(status, path, bytes_done, self.size, message)

    def _failed(self, message: str, short: str = "") -> WeightsState:
        return replace(self._state("failed", message), short=short or message)

    def _note(self, state: WeightsState | None) -> None:
        with self._guard:
            self._last = state

    def _begin(self, message: str, size: int) -> None:
        self._check_cancelled()
        self._begun = time.monotonic()
        self._note(WeightsState("downloading", None, 0, size, message, f"Downloading {self.name}"))

    def _check_cancelled(self) -> None:
        if self._stop.is_set():
            raise _Cancelled

    def _report(self, bytes_done: int) -> None:
        """Progress never runs backwards: libraries count in whole chunks, with two bars, and again after a retry."""
        self._check_cancelled()
        last = self._last
        if last is not None and last.status == "downloading":
            done = max(last.bytes_done, min(bytes_done, last.bytes_total))
            left = (time.monotonic() - self._begun) * (last.bytes_total - done) / done if done else None
            self._note(replace(last, bytes_done=done, seconds_left=left))


def _fingerprint(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _md5(path: Path) -> str:
    import pooch

    return pooch.file_hash(path, alg="md5")


# Address and md5 are those of keras/src/applications/vgg16.py.
VGG16_WEIGHTS = WeightsFile(
    name="VGG16",
    filename="vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    url="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    md5="64373286793e3c8b2b4e3219cbf3544b",
    size=553467096,
    path_variable="CAMKIT_VGG16_WEIGHTS",
    repo_variable="CAMKIT_WEIGHTS_REPO",
)
