"""The weights file's sources, progress and state, against servers on the loopback interface only.

A `Site` serves what each test puts into `site.pages`. Waiting is done with events and futures, each with a time limit.
"""

import hashlib
import inspect
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from loopback import LIMIT, answer, serving

from camkit.models import weights
from camkit.models.downloads import silent_bar
from camkit.models.weights import VGG16_WEIGHTS, WeightsError, WeightsFile, WeightsState

FILENAME = "tiny.h5"
BODY = bytes(range(256)) * 4 * 1024  # 1 MiB: four chunks of camkit.models.weights.CHUNK
ROOT = Path(weights.__file__).parents[2]
COMMIT = "c" * 40
ON_HUB = f"/owner/name/resolve/main/{FILENAME}"
CANCELLED = "The download of Tiny's weights was cancelled: nothing is kept, it can be started anew."


def on_hub(body, **options):
    return answer(200, body, ETag='"an-etag"', X_Repo_Commit=COMMIT, **options)


@pytest.fixture
def site():
    with serving() as site:
        yield site


@pytest.fixture
def closed():
    """The address of a port at which nothing listens; kept bound, so that no other process gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Empty caches and no settings; returns Keras's models folder, which does not exist yet."""
    for variable in ("TINY_WEIGHTS", "TINY_REPO", "CAMKIT_VGG16_WEIGHTS", "CAMKIT_WEIGHTS_REPO"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "keras" / "models"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Names the repository owner/name on a Hub at this address, with an empty cache."""

    def hub(address, repo="owner/name"):
        settings = {
            "ENDPOINT": address,
            "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
        }
        for name, value in settings.items():  # the environment is read when huggingface_hub is imported
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        monkeypatch.setenv("TINY_REPO", repo)

    return hub


def tiny(address, body=BODY):
    md5 = hashlib.md5(body).hexdigest()
    return WeightsFile("Tiny", FILENAME, f"{address}/{FILENAME}", md5, len(body), "TINY_WEIGHTS", "TINY_REPO")


def put(folder, content, name=FILENAME):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def held(folder):
    """The names of the files in a folder and the folders in it, without the locks that stay."""
    return [path.name for path in folder.rglob("*") if path.is_file() and "lock" not in path.name]


def until(condition):
    """Waits for what another thread of this process will make true."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def failure(file) -> str:
    """The sentence with which a download in the background fails; the state says the same."""
    sentence = str(file.download_in_background().exception(LIMIT))
    assert (file.state.status, file.state.path, file.state.sentence) == ("failed", None, sentence)
    return sentence


# Describing


def test_import_loads_nothing_slow():
    slow = ("tensorflow", "keras", "gradio", "huggingface_hub", "pooch", "requests", "h5py", "filelock")
    code = f"import sys\nfrom camkit.models import weights\nprint([name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_percent_and_sentences():
    for done, total, percent in ((0, 0, 0), (0, 10, 0), (199, 200, 99), (200, 200, 100)):
        assert WeightsState("downloading", None, done, total, "").percent == percent
    state = WeightsState("downloading", None, 132 * 2**20, 528 * 2**20, "Downloading VGG16's weights")
    assert state.sentence == "Downloading VGG16's weights: 25 % (132 of 528 MB)."
    untouched = {name: getattr(VGG16_WEIGHTS, name) for name in inspect.signature(WeightsFile).parameters}
    state = WeightsFile(**untouched).state  # of the registry's own, another test may have begun a download
    assert (state.status, state.path, state.bytes_total, state.percent) == ("absent", None, 553467096, 0)
    assert state.sentence == "VGG16's weights are not on this machine: 528 MB to download."


# On disk


def test_the_path_then_the_variable_then_kerass_cache(site, cache, tmp_path, monkeypatch):
    file = tiny(site.address)
    assert file.find() is None
    found = put(cache, BODY)
    for name in ("by variable.h5", "by path.h5"):  # neither needs the md5
        assert (file.find(), file.obtain(), file.state.status, file.state.path) == (found, found, "ready", found)
        assert file.state.percent == 100
        put(tmp_path, b"mine", name)
        monkeypatch.setenv("TINY_WEIGHTS", str(found := tmp_path / name))
    monkeypatch.setenv("TINY_WEIGHTS", "")
    assert file.find(found) == file.obtain(str(found)) == found
    assert (file.state.path, site.asked) == (cache / FILENAME, [])


def test_a_named_file_that_is_not_there_is_an_error_and_no_download(site, tmp_path, monkeypatch):
    file, missing = tiny(site.address), tmp_path / "missing.h5"
    for look in (file.find, file.obtain):
        with pytest.raises(WeightsError, match=r"no weights file at .*/missing\.h5: name an existing file"):
            look(missing)
    assert file.state.status == "absent"  # the caller's slip says nothing about the file
    monkeypatch.setenv("TINY_WEIGHTS", str(missing))
    assert failure(file).startswith("There is no weights file at missing.h5 (from TINY_WEIGHTS): ")
    assert site.asked == []


@pytest.mark.parametrize("value", ["no-owner", "a/b/c", "owner/na me", "owner/", "@main"])
def test_a_variable_that_names_no_repository(monkeypatch, closed, value):
    monkeypatch.setenv("TINY_REPO", value)
    assert f"TINY_REPO is {value!r}, which names no Hugging Face repository: write owner/name" in failure(tiny(closed))


def test_a_copy_is_read_once_until_it_changes(cache, closed, monkeypatch):
    import pooch

    cached, file, read = put(cache, BODY), tiny(closed), []
    real = pooch.file_hash
    monkeypatch.setattr(pooch, "file_hash", lambda path, alg: read.append(path) or real(path, alg))
    assert file.state.status == "ready"  # by its size: a state never reads the file
    assert [file.find(), file.find(), file.obtain(), file.state.path, len(read)] == [cached] * 4 + [1]
    os.utime(cached, ns=(1, 1))
    assert (file.find(), len(read)) == (cached, 2)
    cached.write_bytes(BODY[:-1])
    assert (file.find(), len(read)) == (None, 2)  # a file of another size need not be read


@pytest.mark.parametrize(
    ("content", "words"),
    [(BODY[:-1] + b"x", "Keras's cache is damaged: 1 MB to"), (BODY[:1000], "not on this machine")],
)
def test_a_damaged_copy_is_not_taken_but_replaced(cache, site, content, words):
    cached, file = put(cache, content), tiny(site.address)
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    assert file.find() is None
    assert file.state.status == "absent" and words in file.state.sentence
    assert file.obtain().read_bytes() == cached.read_bytes() == BODY
    assert file.state.status == "ready"


def test_kerass_cache_is_in_the_home_folder_by_default(tmp_path, monkeypatch, closed):
    monkeypatch.delenv("KERAS_HOME")
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    cached = put(tmp_path / ".keras" / "models", BODY)
    assert tiny(closed).find() == cached


def test_a_file_that_a_model_cannot_use_is_said_until_it_is_asked_for_again(closed, tmp_path, monkeypatch):
    file, mine = tiny(closed), put(tmp_path, b"one", "mine.h5")
    monkeypatch.setenv("TINY_WEIGHTS", str(mine))
    for ask in (file.obtain, lambda: file.download_in_background().result(LIMIT)):
        file.refuse(mine, "mine.h5 is no HDF5 file.")
        assert (file.state.status, file.state.sentence) == ("failed", "mine.h5 is no HDF5 file.")
        assert (ask(), file.state.status) == (mine, "ready")


# Keras's download


def test_a_download_shows_its_progress_and_is_one_step(cache, site):
    go_on, file, final = threading.Event(), tiny(site.address), cache / FILENAME
    site.pages[f"/{FILENAME}"] = answer(200, BODY, go_on=go_on)
    assert file.state.status == "absent"
    download = file.download_in_background()
    assert file.state.status == "downloading"  # from its first moment
    until(lambda: file.state.percent == 50)
    assert (file.state.path, file.state.short, file.state.seconds_left > 0) == (None, "Downloading Tiny", True)
    assert file.download_in_background() is download
    assert not final.exists()
    go_on.set()
    assert download.result(LIMIT) == final
    assert file.state == WeightsState("ready", final, len(BODY), len(BODY), "Tiny's weights are ready.")
    assert final.read_bytes() == BODY and held(cache) == [FILENAME]
    assert final.stat().st_mode & 0o666 == cache.stat().st_mode & 0o666  # whoever may read the cache may read it
    assert site.asked == [("GET", f"/{FILENAME}")]


def test_progress_never_runs_backwards_nor_past_the_end(site, monkeypatch):
    body = BODY + b"end"  # no whole number of chunks, in which the library counts
    site.pages[f"/{FILENAME}"] = answer(200, body)
    file, seen = tiny(site.address, body), []

    def noisy_bar(report):
        return silent_bar(lambda count: [seen.append((report(each), file.state.bytes_done)) for each in (count, 10)])

    monkeypatch.setattr(weights, "silent_bar", noisy_bar)
    assert file.obtain().read_bytes() == body
    counts = [done for _, done in seen]
    assert counts == sorted(counts) and counts[0] > 0 and counts[-1] == len(body)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (answer(200, BODY[: len(BODY) // 2], length=len(BODY)), "was cut"),
        (answer(200, BODY[:-1] + b"x"), "md5 is wrong"),
        (answer(200, BODY[:-5]), "md5 is wrong"),
        (answer(200, b"<html>Sign in to this network</html>"), "md5 is wrong"),
        (answer(503), "answered 503"),
    ],
    ids=["cut", "other bytes", "short", "captive portal", "server error"],
)
def test_a_bad_download_fails_leaves_nothing_and_the_next_recovers(cache, site, capfd, page, reason):
    file = tiny(site.address)
    site.pages[f"/{FILENAME}"] = page
    sentence = failure(file)
    assert reason in sentence and "\n" not in sentence
    assert all(way in sentence for way in ("connect to the internet", "TINY_WEIGHTS", "TINY_REPO"))
    assert file.state.short.startswith("Tiny could not be downloaded: ") and "TINY_WEIGHTS" not in file.state.short
    assert held(cache) == [] and "Traceback" not in capfd.readouterr().err
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    assert file.download_in_background().result(LIMIT).read_bytes() == BODY
    assert file.state.status == "ready"


def test_what_can_go_wrong_on_the_way_is_said(site, closed, monkeypatch, tmp_path, cache):
    import pooch

    assert "the connection to 127.0.0.1:" in failure(tiny(closed))
    go_on = threading.Event()
    site.pages[f"/{FILENAME}"] = answer(200, BODY, go_on=go_on)
    with monkeypatch.context() as patch:
        patch.setattr(weights, "TIMEOUTS", (1, 0.2))  # a server that falls silent is a failure, not a hang
        assert "the connection to 127.0.0.1:" in failure(tiny(site.address))
    go_on.set()
    for error, reason in (
        (OSError(28, "No space left on device"), "the disk is full"),
        (LookupError("a bug"), "broke off (LookupError)"),
    ):

        def broken(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(pooch, "retrieve", broken)
            assert reason in failure(tiny(site.address))
    with monkeypatch.context() as patch:
        patch.setenv("KERAS_HOME", str(put(tmp_path, b"", "a_file")))
        assert "cannot be written to (" in (said := failure(tiny(site.address))) and "KERAS_HOME" in said
    put(cache, BODY)
    for error, reason in (
        (PermissionError(13, "Permission denied"), "read (Permission"),
        (KeyError(), "had (KeyError)"),
    ):

        def unreadable(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patch:  # not by its mode: tests may run as root
            patch.setattr(pooch, "file_hash", unreadable)
            assert reason in str(tiny(closed).download_in_background().exception(LIMIT))


# Several at once, and one that is killed


def test_two_callers_download_once_and_a_named_file_does_not_wait(site, tmp_path):
    go_on, file, named = threading.Event(), tiny(site.address), put(tmp_path, b"mine", "mine.h5")
    site.pages[f"/{FILENAME}"] = answer(200, BODY, go_on=go_on)
    first, results = file.download_in_background(), []
    assert site.half_sent.wait(LIMIT)
    second = threading.Thread(target=lambda: results.append(file.obtain()))
    second.start()
    assert file.obtain(named) == named and not first.done()
    go_on.set()
    second.join(LIMIT)
    assert results == [first.result(LIMIT)] == [file.state.path]
    assert site.asked == [("GET", f"/{FILENAME}")]


OBTAIN = "import sys; from camkit.models import weights; weights.WeightsFile(*eval(sys.argv[1])).obtain()"


def another_process(file):
    given = (file.name, file.filename, file.url, file.md5, file.size, file.path_variable, file.repo_variable)
    return subprocess.Popen([sys.executable, "-c", OBTAIN, repr(given)], cwd=ROOT, stdout=subprocess.DEVNULL)


def test_what_a_killed_process_left_is_removed(cache, site):
    never, file = threading.Event(), tiny(site.address)
    site.pages[f"/{FILENAME}"] = answer(200, BODY, go_on=never)
    with another_process(file) as killed:
        assert site.half_sent.wait(LIMIT)
        killed.kill()
    assert [name for name in held(cache) if name.startswith("tmp")]
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    assert file.obtain().read_bytes() == BODY
    assert held(cache) == [FILENAME]
    never.set()


def test_two_processes_at_once_download_once(cache, site):
    go_on, file = threading.Event(), tiny(site.address)
    site.pages[f"/{FILENAME}"] = answer(200, BODY, go_on=go_on)
    with another_process(file) as other:
        assert site.half_sent.wait(LIMIT)
        download = file.download_in_background()
        until(lambda: file.state.message.startswith("Downloading"))
        go_on.set()
        assert download.result(LIMIT) == file.state.path == cache / FILENAME
        assert other.wait(LIMIT) == 0
    assert site.asked == [("GET", f"/{FILENAME}")]


# Cancelling


@pytest.mark.parametrize("source", ["Keras", "the Hub"])
def test_a_cancelled_download_ends_at_its_next_bytes_and_keeps_nothing(site, closed, hub, tmp_path, source):
    body, go_on = os.urandom(1000) * 30_000, threading.Event()  # three chunks of huggingface_hub (10 MiB)
    if source == "Keras":
        site.pages[f"/{FILENAME}"] = answer(200, body, go_on=go_on)
    else:
        hub(site.address)
        site.pages[ON_HUB] = on_hub(body, go_on=go_on)
    file, told = tiny(site.address if source == "Keras" else closed, body), []

    def obtain():
        try:
            file.obtain()
        except WeightsError as error:
            told.append(str(error))

    waiting = threading.Thread(target=obtain)
    waiting.start()
    until(lambda: file.state.bytes_done > 0)
    file.cancel()
    assert (file.state.status, file.state.short) == ("downloading", "Stopping the download of Tiny's weights")
    go_on.set()
    waiting.join(LIMIT)
    assert (told, file.state.status) == ([CANCELLED], "absent")
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000] == []
    assert file.download_in_background().result(LIMIT).read_bytes() == body
    assert file.state.status == "ready"


def test_ctrl_c_ends_the_download(site, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    go_on, file = threading.Event(), tiny(site.address)
    site.pages[f"/{FILENAME}"] = answer(200, BODY, go_on=go_on)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("concurrent.futures.Future.result", interrupted)
        file.obtain()
    go_on.set()
    until(lambda: file.state.status == "absent")


def test_a_download_cancelled_before_its_first_byte_asks_for_none(cache, site, monkeypatch):
    file, looked, go_on = tiny(site.address), threading.Event(), threading.Event()
    monkeypatch.setattr(file, "find", lambda: looked.set() or go_on.wait(LIMIT) and None)
    file.cancel()  # without a download nothing happens
    assert file.state.status == "absent"
    download = file.download_in_background()
    assert looked.wait(LIMIT)
    file.cancel()
    go_on.set()
    assert str(download.exception(LIMIT)) == CANCELLED
    assert (file.state.status, site.asked, held(cache)) == ("absent", [], [])


# The Hugging Face Hub


def test_a_file_of_the_hub_is_downloaded_with_progress_then_found_without_a_network(
    site, closed, hub, cache, tmp_path, monkeypatch
):
    body, go_on = os.urandom(1000) * 30_000, threading.Event()  # not the published file: the repository is trusted
    hub(site.address)
    site.pages[ON_HUB] = on_hub(body, go_on=go_on)
    file = tiny(closed)
    download = file.download_in_background()
    until(lambda: file.state.bytes_done > 0)
    assert file.state.bytes_total == len(body) and file.state.message.endswith("the Hugging Face repository owner/name")
    go_on.set()
    path = download.result(LIMIT)
    assert path.read_bytes() == body and not cache.exists()
    hub(closed)
    assert (file.state.status, file.find(), tiny(closed).obtain()) == ("ready", path, path)
    monkeypatch.setenv("TINY_WEIGHTS", str(named := put(tmp_path, b"mine", "mine.h5")))
    assert tiny(closed).obtain() == named


def test_a_revision_of_the_hub_is_asked_for(site, closed, hub):
    hub(site.address, "owner/name@v1")
    site.pages[f"/owner/name/resolve/v1/{FILENAME}"] = on_hub(b"version 1")
    assert tiny(closed).obtain().read_bytes() == b"version 1"


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT), f"does not hold {FILENAME}"),
        (answer(404, X_Error_Code="RevisionNotFound"), "has no such revision"),
        (answer(401, X_Error_Code="RepoNotFound"), "there is no Hugging Face repository owner/name"),
        (answer(403, X_Error_Code="GatedRepo"), "asks for its conditions to be accepted first"),
        (answer(500), "Hugging Face answered 500"),
        (None, "Hugging Face could not be reached"),
    ],
    ids=["no file", "no revision", "no repository", "gated", "broken", "offline"],
)
def test_what_the_hub_does_not_supply_keras_does_and_both_are_named(site, closed, hub, cache, page, reason):
    hub(site.address if page else closed)
    site.pages |= {ON_HUB: page}
    assert reason in (said := failure(tiny(closed))) and "; the connection to 127.0.0.1:" in said
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    assert tiny(site.address).obtain() == cache / FILENAME
    assert tiny(closed).find() == cache / FILENAME  # before the Hub is asked again
