"""Where a model's weights file comes from: found on disk, else downloaded, with progress and a state that can be shown.

Sources, in this order: a path the user names, a Hugging Face repository the user names, Keras's own cache, Keras's own
download. Refuses to import TensorFlow, Keras or Gradio, to touch the network unless `obtain` or
`download_in_background` is called, and to hand out a file from Keras's cache or download whose md5 is wrong.
The environment is read at each call, never at import.
"""

import errno
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import WeightsError

logger = logging.getLogger(__name__)

TIMEOUTS = (10, 30)  # seconds to connect, and to wait for the next bytes: a dead server is a failure, not a hang
CHUNK = 256 * 1024  # bytes between two progress reports
MEGABYTE = 2**20  # the MB of https://keras.io/api/applications/, which gives VGG16 as 528 MB

Layers = Mapping[str, tuple[tuple[int, ...], ...]]


class _SourceError(Exception):
    """One source failed, for the reason in its text; the next source may still do."""


@dataclass(frozen=True)
class WeightsState:
    """What can be said of a weights file at one moment.

    Attributes:
        status: "absent", "downloading", "ready" or "failed".
        path: the file if "ready", else None.
        bytes_done: bytes on this machine so far.
        bytes_total: bytes of the whole file.
        message: plain words; for "failed", why and what to do.
    """

    status: str
    path: Path | None
    bytes_done: int
    bytes_total: int
    message: str

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
        self._last_settings: tuple[str | None, ...] = ()
        self._verdicts: dict[Path, tuple[tuple[int, int], bool]] = {}  # path -> (size, mtime), md5 is right
        self._thread: threading.Thread | None = None
        self._one_download = threading.Lock()

    @property
    def state(self) -> WeightsState:
        """The state now, for the environment as it is now. Never waits for a network or for a checksum."""
        try:
            found = self._look(None, self._known_good)
        except WeightsError as error:
            return self._state("failed", str(error))
        if found is not None:
            return self._state("ready", f"{self.name}'s weights are ready.", path=found, bytes_done=self.size)
        with self._guard:
            last, settings, thread = self._last, self._last_settings, self._thread
        if last is not None and last.status == "downloading":
            return last
        if thread is not None and thread.is_alive():
            return self._state("downloading", f"Looking for {self.name}'s weights")
        if last is not None and settings == self._settings():
            return last
        return self._state("absent", self._absence())

    def find(self, path: str | Path | None = None) -> Path | None:
        """Look on this machine only; None if no source has the file.

        The first call on a copy in Keras's cache reads it all for its md5; later calls remember the verdict.

        Raises:
            WeightsError: a path that is named (here or in the environment) is not a file, the repository variable is
                not a repository's name, or Keras's cache cannot be read.
        """
        return self._look(path, self._good)

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
            return self.find() or self._download()

    def download_in_background(self) -> threading.Thread:
        """Start `obtain` in a daemon thread, or return the thread that is at it; a failure ends in `state`."""
        with self._guard:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._obtain_in_thread, name=f"{self.name}-weights", daemon=True)
                self._thread.start()
            return self._thread

    def _obtain_in_thread(self) -> None:
        try:
            self.obtain()
        except Exception as error:  # the edge of the thread: nobody above could report it, so the state and the log do
            expected = isinstance(error, WeightsError)
            message = (
                str(error)
                if expected
                else f"{self.name}'s weights could not be had ({type(error).__name__}): see the log."
            )
            self._note(self._state("failed", message))
            logger.warning("%s", message if expected else f"{message} {error!r}")

    # On disk

    def _look(self, path: str | Path | None, is_good: Callable[[Path], bool]) -> Path | None:
        """The first source that has the file; `is_good` judges a copy in Keras's cache."""
        found = self._named(path) or self._in_hub_cache()
        if found is not None:
            return found
        candidate = self._keras_path()
        try:
            return candidate if candidate.is_file() and is_good(candidate) else None
        except OSError as error:
            raise WeightsError(
                f"The copy of {self.filename} in Keras's cache cannot be read ({error.strerror}): make it readable,"
                f" or set {self.path_variable} to another copy."
            ) from error

    def _named(self, path: str | Path | None) -> Path | None:
        named = path or os.environ.get(self.path_variable)
        if not named:
            return None
        if not Path(named).expanduser().is_file():
            # The environment is the operator's: what a page shows of it must not tell strangers where his files lie.
            shown = named if path else f"{Path(named).name} (from {self.path_variable})"
            raise WeightsError(f"There is no weights file at {shown}: name an existing file, or none at all.")
        return Path(named).expanduser()

    def _in_hub_cache(self) -> Path | None:
        source = self._hub_source()
        if source is None:
            return None
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(source[0], self.filename, revision=source[1])
        return Path(cached) if isinstance(cached, str) else None  # else None, or the mark of "known not to exist"

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

    def _known_good(self, path: Path) -> bool:
        """Whether the file as it is now is remembered to have the right md5."""
        with self._guard:
            return self._verdicts.get(path) == (_fingerprint(path), True)

    def _good(self, path: Path) -> bool:
        """Whether the file has the right md5; 528 MB are read once, then again only if size or mtime change."""
        fingerprint = _fingerprint(path)
        with self._guard:
            known = self._verdicts.get(path)
        if known is not None and known[0] == fingerprint:
            return known[1]
        good = fingerprint[0] == self.size and _md5(path) == self.md5
        self._remember(path, fingerprint, good)
        return good

    def _remember(self, path: Path, fingerprint: tuple[int, int], good: bool) -> None:
        with self._guard:
            self._verdicts[path] = (fingerprint, good)

    # Downloading

    def _download(self) -> Path:
        try:
            path = self._first_source_that_works()
        except WeightsError as error:
            self._note(self._state("failed", str(error)))
            raise
        except BaseException:  # Ctrl-C among them: a state must not go on "downloading" with nobody at it
            self._note(self._state("failed", f"The download of {self.name}'s weights was stopped: start it again."))
            raise
        self._note(None)
        return path

    def _first_source_that_works(self) -> Path:
        reasons = []
        for fetch in (self._from_hub, self._from_url) if self._hub_source() else (self._from_url,):
            try:
                return fetch()
            except _SourceError as error:
                logger.warning("%s's weights: %s.", self.name, error)
                reasons.append(str(error))
        raise WeightsError(
            f"{self.name}'s weights are not on this machine and could not be downloaded ({'; '.join(reasons)}):"
            f" connect to the internet and try again, or set {self.path_variable} to the path of a copy of {self.url},"
            f" or set {self.repo_variable} to a Hugging Face repository (owner/name) that holds {self.filename}."
        )

    def _from_hub(self) -> Path:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        repo, revision = self._hub_source()
        message = f"Downloading {self.name}'s weights from the Hugging Face repository {repo}"
        self._begin(message, self.size)
        try:
            # Asked first because hf_hub_download alone retries for minutes before it gives up on a Hub that is down.
            found = get_hf_file_metadata(hf_hub_url(repo, self.filename, revision=revision), timeout=TIMEOUTS[0])
            self._begin(message, found.size or self.size)
            return Path(hf_hub_download(repo, self.filename, revision=revision, tqdm_class=_hub_bar(self._report)))
        except Exception as error:  # httpx2's, OSError's and hf_xet's families: all mean "the Hub did not supply it"
            raise _SourceError(_hub_reason(error, repo, self.filename)) from error

    def _from_url(self) -> Path:
        import pooch

        final, host = self._keras_path(), urlsplit(self.url).netloc
        self._begin(f"Downloading {self.name}'s weights from {host}", self.size)
        downloader = pooch.HTTPDownloader(progressbar=_PoochBar(self._report), chunk_size=CHUNK, timeout=TIMEOUTS)
        try:
            with _staging(final) as folder:
                pooch.retrieve(self.url, f"md5:{self.md5}", self.filename, folder, downloader=downloader)
                self._publish(folder / self.filename, final)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong md5 is pooch's ValueError
            raise _SourceError(_url_reason(error, host)) from error
        return final

    def _publish(self, staged: Path, final: Path) -> None:
        """Move a checked download to its final place in one step."""
        staged.chmod(final.parent.stat().st_mode & 0o666)  # temporary files are private, a cache may be shared
        os.replace(staged, final)
        self._remember(final, _fingerprint(final), True)

    # The state

    def _settings(self) -> tuple[str | None, ...]:
        """What of the environment decides the sources: a failure under other settings says nothing about these."""
        return tuple(os.environ.get(variable) for variable in (self.path_variable, self.repo_variable, "KERAS_HOME"))

    def _state(self, status: str, message: str, path: Path | None = None, bytes_done: int = 0) -> WeightsState:
        return WeightsState(status, path, bytes_done, self.size, message)

    def _absence(self) -> str:
        path = self._keras_path()
        with self._guard:
            judged = path in self._verdicts
        if not judged and path.is_file() and path.stat().st_size == self.size:
            return f"A copy of {self.name}'s weights is in Keras's cache; it is checked before it is used."
        return f"{self.name}'s weights are not on this machine: {round(self.size / MEGABYTE)} MB to download."

    def _note(self, state: WeightsState | None) -> None:
        with self._guard:
            self._last, self._last_settings = state, self._settings()

    def _begin(self, message: str, size: int) -> None:
        self._note(WeightsState("downloading", None, 0, size, message))

    def _report(self, bytes_done: int) -> None:
        """Progress never runs backwards: libraries count in whole chunks, with two bars, and again after a retry."""
        last = self._last
        if last is not None and last.status == "downloading":
            self._note(replace(last, bytes_done=max(last.bytes_done, min(bytes_done, last.bytes_total))))


class _PoochBar:
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


def _hub_bar(report: Callable[[int], None]) -> type:
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


def _hub_reason(error: Exception, repo: str, filename: str) -> str:
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
    if isinstance(error, errors.HfHubHTTPError):
        return f"Hugging Face answered {error.response.status_code} for {repo}"
    return f"Hugging Face could not be reached for {repo} or broke off ({type(error).__name__})"


def _url_reason(error: OSError | ValueError, host: str) -> str:
    """Why the download from Keras's storage failed, in plain words."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError):
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


@contextmanager
def _staging(final: Path) -> Iterator[Path]:
    """A folder of our own beside `final`, gone afterwards; also removes those of processes that died.

    The operating system drops a dead process's lock, so a folder whose lock can be had is a leftover.
    """
    from filelock import FileLock

    final.parent.mkdir(parents=True, exist_ok=True)
    for leftover in final.parent.glob(f".{final.name}.*/"):
        _remove_if_dead(leftover)
    folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        with FileLock(folder / "lock"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what stays is a leftover, which the next download removes


def _remove_if_dead(folder: Path) -> None:
    from filelock import FileLock

    try:
        with FileLock(folder / "lock", timeout=0):
            pass
    except OSError:  # filelock.Timeout among them: somebody is downloading into it, or it is another user's
        return
    shutil.rmtree(folder, ignore_errors=True)


def _fingerprint(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _md5(path: Path) -> str:
    import pooch

    return pooch.file_hash(path, alg="md5")


def check_layout(path: str | Path, layers: Layers) -> None:
    """Check that an HDF5 file in Keras's legacy layout holds exactly these layers, in this order.

    Keras fills a model in the order of the file's `layer_names`, so order counts and layers without weights do not
    (keras/src/legacy/saving/legacy_h5_format.py). Values are not read.

    Args:
        path: the file.
        layers: layer name -> shapes of its weights, kernel before bias.

    Raises:
        WeightsError: the file is missing, no HDF5 file, or of another layout, or a layer does not fit (the first is
            named).
    """
    held = _read_layout(Path(path))
    for wanted, found in zip_longest(layers.items(), held.items(), fillvalue=("no layer", ())):
        if wanted != found:
            raise WeightsError(
                f"{Path(path).name} does not fit the model: expected {_describe(*wanted)}, found {_describe(*found)};"
                " name a file with this model's weights."
            )


def _describe(name: str, shapes: tuple[tuple[int, ...], ...]) -> str:
    return f"{name} with shapes {', '.join(map(str, shapes))}" if shapes else name


def _read_layout(path: Path) -> Layers:
    """Layer name -> weight shapes, of the layers that have weights, in the file's order."""
    import h5py

    if not path.is_file():
        raise WeightsError(f"There is no weights file at {path.name}: name an existing file.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise WeightsError(
            f"{path.name} is no HDF5 file, or only part of one: name a whole .h5 weights file."
        ) from error
    with file:
        try:
            root = file if "layer_names" in file.attrs else file["model_weights"]  # a whole model keeps them one down
            shapes = {name: _shapes(root[name]) for name in _texts(root.attrs["layer_names"])}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{path.name} is not laid out as Keras's legacy .h5 weights: name the file that Keras publishes."
            ) from error
    return {name: held for name, held in shapes.items() if held}


def _shapes(group: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(group[name].shape for name in _texts(group.attrs["weight_names"]))


def _texts(names: Any) -> list[str]:
    """HDF5 files written under Python 2 or by old h5py hold bytes, newer ones str."""
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _vgg16_layers() -> Layers:
    """Configuration D of Simonyan and Zisserman 2015 (https://arxiv.org/abs/1409.1556), kernels as (h, w, in, out)."""
    layers: dict[str, tuple[tuple[int, ...], ...]] = {}
    channels = 3
    for block, (convolutions, filters) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for convolution in range(1, convolutions + 1):
            layers[f"block{block}_conv{convolution}"] = ((3, 3, channels, filters), (filters,))
            channels = filters
    for name, units_in, units in (("fc1", 7 * 7 * 512, 4096), ("fc2", 4096, 4096), ("predictions", 4096, 1000)):
        layers[name] = ((units_in, units), (units,))
    return layers


VGG16_LAYERS: Layers = _vgg16_layers()

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
