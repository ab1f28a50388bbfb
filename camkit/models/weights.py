"""The weights file of a model: found on disk, else downloaded, with progress and a state that can be shown.

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
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import WeightsError
from .downloads import hub_reason, silent_bar, url_reason

logger = logging.getLogger(__name__)

TIMEOUTS = (10, 30)  # seconds to connect, and to wait for the next bytes: a dead server is a failure, not a hang
CHUNK = 256 * 1024  # bytes between two progress reports
MEGABYTE = 2**20  # the MB of https://keras.io/api/applications/, which gives VGG16 as 528 MB


@dataclass(frozen=True)
class WeightsState:
    """The state of a weights file at one moment.

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
        """Return the whole percent that has arrived, 0 to 100."""
        return min(100, 100 * self.bytes_done // self.bytes_total) if self.bytes_total else 0

    @property
    def sentence(self) -> str:
        """Return the state as one line for a page."""
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
        self._guard = threading.Lock()  # for the present download and what is said of it
        self._download: Future[Path] | None = None  # the present or the last one
        self._attempt: WeightsState | None = None  # what is to be said of it, unless it succeeded or was cancelled
        self._refused: tuple[Path, str] | None = None  # a file that the model could not use, and why
        self._stop = threading.Event()  # ends the download under way
        self._begun = 0.0

    @property
    def state(self) -> WeightsState:
        """Return the state for the environment as it is now. Never waits for a network or for a checksum."""
        try:
            found = self._find(None, hashing=False)
        except WeightsError as error:
            return self._failed(str(error))
        attempt, refused = self._attempt, self._refused
        if refused is not None and found == refused[0]:
            return self._failed(refused[1])
        if found is not None and (attempt is None or found != self._keras_path()):
            return self._state("ready", f"{self.name}'s weights are ready.", found)
        size = round(self.size / MEGABYTE)
        return attempt or self._state(
            "absent", f"{self.name}'s weights are not on this machine: {size} MB to download."
        )

    @property
    def download_failed(self) -> bool:
        """Return True while the state tells of a download that failed, and not of a file that cannot be used."""
        return self._attempt is not None and self.state is self._attempt and self._attempt.status == "failed"

    def find(self, path: str | Path | None = None) -> Path | None:
        """Look on this machine only; return None if no source has the file.

        A copy in Keras's cache is read for its md5, once until it changes.

        Raises:
            WeightsError: a path that is named (here or in the environment) is not a file, the repository variable is
                not a repository's name, or Keras's cache cannot be read.
        """
        return self._find(path, hashing=True)

    def obtain(self, path: str | Path | None = None) -> Path:
        """Find the file, else download it; return when it is there. Callers at the same time share one download.

        A download is written beside its final place and moved there only once its md5 is right.

        Raises:
            WeightsError: as `find`, no source could supply the file, or the download was cancelled.
        """
        self._refused = None
        found = self.find(path)
        if found is not None:
            return found
        try:
            return self.download_in_background().result()
        except KeyboardInterrupt:
            self.cancel()
            raise

    def refuse(self, path: Path, reason: str) -> None:
        """Make `reason` the state of this file, which the model cannot use, until the file is asked for again."""
        self._refused = (path, reason)

    def download_in_background(self) -> Future[Path]:
        """Start to find or download the file in a daemon thread, or join the one that is at it; a failure ends in
        `state`. Return the future of the file's path."""
        with self._guard:
            if self._download is None or self._download.done():
                self._stop.clear()
                self._refused = None
                looking = f"Looking for {self.name}'s weights"
                self._attempt = replace(self._state("downloading", looking), short=looking)
                self._download = Future()
                work = partial(self._work, self._download)
                threading.Thread(target=work, name=f"{self.name}-weights", daemon=True).start()
            return self._download

    def cancel(self) -> None:
        """End the download under way: no byte is asked for any more and none is kept. The state is "absent" again as
        soon as the library that transfers has noticed, at its next bytes. Without a download nothing happens."""
        with self._guard:
            attempt = self._attempt
            if attempt is not None and self._download is not None and not self._download.done():
                stopping = f"Stopping the download of {self.name}'s weights"
                self._attempt = replace(attempt, message=stopping, short=stopping, seconds_left=None)
                self._stop.set()

    def _work(self, download: Future[Path]) -> None:
        path, attempt = None, None
        try:
            path = self.find() or self._fetch()
        except WeightsError as caught:
            error = caught
            logger.warning("%s", error)
            known = self._attempt if self._attempt and self._attempt.status == "failed" else self._failed(str(error))
            attempt = None if self._stop.is_set() else known
        except Exception as caught:  # the edge of the thread: who waits and the state must hear of it
            error = WeightsError(f"{self.name}'s weights could not be had ({type(caught).__name__}): see the log.")
            logger.exception("%s", error)
            attempt = self._failed(str(error))
        with self._guard:  # so that `cancel` does not speak of a download that has ended
            self._attempt = attempt
            if path is not None:
                download.set_result(path)
            else:
                download.set_exception(error)

    # On disk

    def _find(self, path: str | Path | None, hashing: bool) -> Path | None:
        """Return the first source that has the file; without `hashing`, a copy in Keras's cache counts by its size."""
        named = path or os.environ.get(self.path_variable)
        if named:
            if not Path(named).expanduser().is_file():
                # The environment is the operator's: what a page shows of it must not tell where files lie.
                place = named if path else f"{Path(named).name} (from {self.path_variable})"
                raise WeightsError(f"There is no weights file at {place}: name an existing file, or none at all.")
            return Path(named).expanduser()
        source = self._hub_source()
        if source is not None:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(source[0], self.filename, revision=source[1])
            if isinstance(cached, str):  # else None, or the mark of "known not to exist"
                return Path(cached)
        candidate = self._keras_path()
        try:
            if not candidate.is_file() or candidate.stat().st_size != self.size:
                return None
            if not hashing or _has_md5(candidate, candidate.stat().st_mtime_ns, self.md5):
                return candidate
        except OSError as error:
            raise WeightsError(
                f"The copy of {self.filename} in Keras's cache cannot be read ({error.strerror}): make it readable,"
                f" or set {self.path_variable} to another copy."
            ) from error
        size = round(self.size / MEGABYTE)
        damaged = f"The copy of {self.name}'s weights in Keras's cache is damaged: {size} MB to download."
        self._attempt = self._attempt or self._state("absent", damaged)
        return None

    def _hub_source(self) -> tuple[str, str | None] | None:
        """Return the repository and revision the user names, or None."""
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
        """Return where Keras itself looks: https://keras.io/api/utils/python_utils/#get_file-function."""
        home = os.environ.get("KERAS_HOME")
        return (Path(home).expanduser() if home else Path.home() / ".keras") / "models" / self.filename

    # Downloading

    def _fetch(self) -> Path:
        """Download the file from the first source that works."""
        hub, host = self._hub_source(), urlsplit(self.url).netloc
        sources: list[tuple[Callable[[], Path], Callable[[Exception], str]]] = []
        if hub is not None:
            sources.append((lambda: self._from_hub(*hub), lambda error: hub_reason(error, hub[0], self.filename)))
        sources.append((lambda: self._from_url(host), lambda error: url_reason(error, host)))
        reasons = []
        for fetch, reason in sources:
            try:
                return fetch()
            except Exception as error:  # of two libraries and the disk: all mean that this source has not supplied it
                reasons.append(reason(error))
            if self._stop.is_set():  # raised here, so that no exception keeps the libraries' connections open
                raise WeightsError(
                    f"The download of {self.name}'s weights was cancelled: nothing is kept, it can be started anew."
                )
            logger.warning("%s's weights: %s.", self.name, reasons[-1])
        why = "; ".join(reasons)
        message = (
            f"{self.name}'s weights are not on this machine and could not be downloaded ({why}):"
            f" connect to the internet and try again, or set {self.path_variable} to the path of a copy of {self.url},"
            f" or set {self.repo_variable} to a Hugging Face repository (owner/name) that holds {self.filename}."
        )
        self._attempt = self._failed(message, f"{self.name} could not be downloaded: {why}.")
        raise WeightsError(message)

    def _from_hub(self, repo: str, revision: str | None) -> Path:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        place = f"the Hugging Face repository {repo}"
        self._begin(place, self.size)
        # Asked first because hf_hub_download alone retries for minutes before it gives up on a Hub that is down.
        found = get_hf_file_metadata(hf_hub_url(repo, self.filename, revision=revision), timeout=TIMEOUTS[0])
        self._begin(place, found.size or self.size)
        return Path(hf_hub_download(repo, self.filename, revision=revision, tqdm_class=silent_bar(self._report)))

    def _from_url(self, host: str) -> Path:
        import pooch
        from filelock import FileLock

        final = self._keras_path()
        self._begin(host, self.size)
        downloader = pooch.HTTPDownloader(
            progressbar=silent_bar(self._report)(total=self.size), chunk_size=CHUNK, timeout=TIMEOUTS
        )
        folder = final.parent / f".{final.name}.download"  # beside `final`: one disk, so the move is one step
        folder.mkdir(parents=True, exist_ok=True)
        # One process at a time; the operating system drops a dead one's lock.
        with FileLock(folder / "lock"):
            for leftover in folder.glob("tmp*"):  # of a process that was killed
                leftover.unlink()
            if self._find(None, hashing=True) != final:  # else another process has brought it
                staged = pooch.retrieve(self.url, f"md5:{self.md5}", final.name, folder, downloader=downloader)
                os.chmod(staged, final.parent.stat().st_mode & 0o666)  # a cache may be shared, pooch's file is private
                os.replace(staged, final)
        return final

    # The state

    def _state(self, status: str, message: str, path: Path | None = None) -> WeightsState:
        return WeightsState(status, path, self.size if path else 0, self.size, message)

    def _failed(self, message: str, short: str = "") -> WeightsState:
        return replace(self._state("failed", message), short=short or message)

    def _begin(self, place: str, size: int) -> None:
        self._begun = time.monotonic()
        message = f"Downloading {self.name}'s weights from {place}"
        self._attempt = WeightsState("downloading", None, 0, size, message, f"Downloading {self.name}")
        self._report(0)

    def _report(self, bytes_done: int) -> None:
        """Note how far the download is; when it was cancelled raise, which ends it. Progress never runs backwards:
        libraries count in whole chunks, with two bars, and again after a retry."""
        with self._guard:
            last = self._attempt
            if self._stop.is_set() or last is None:
                raise WeightsError("cancelled")
            done = max(last.bytes_done, min(bytes_done, last.bytes_total))
            left = (time.monotonic() - self._begun) * (last.bytes_total - done) / done if done else None
            self._attempt = replace(last, bytes_done=done, seconds_left=left)


@cache
def _has_md5(path: Path, changed: int, md5: str) -> bool:
    """Return True for a file with this md5; `changed`, its time of change, makes a changed file be read again."""
    import pooch

    return pooch.file_hash(path, alg="md5") == md5


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
