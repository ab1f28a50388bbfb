"""The weights file's sources, progress and state, against servers on the loopback interface only.

A `Site` serves what each test puts into `site.pages`. Waiting is done with events and joins, each with a time limit.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from preloaded import Preloaded

from camkit.models import weights
from camkit.models.weights import VGG16_WEIGHTS, WeightsError, WeightsFile, WeightsState

pytestmark = pytest.mark.filterwarnings("error")  # an exception that leaves a thread is a warning too

FILENAME = "tiny.h5"
BODY = bytes(range(256)) * 4 * 1024  # 1 MiB: four chunks of camkit.models.weights.CHUNK
MD5 = hashlib.md5(BODY).hexdigest()
LIMIT = 10  # seconds before a wait counts as failed
ROOT = Path(weights.__file__).parents[2]


class Site(ThreadingHTTPServer):
    """Serves `pages`: path -> a function that is given the request handler and answers the request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages, self.asked, self.half_sent = {}, [], threading.Event()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that goes away is part of some tests; what the client then says is what they look at."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        self.server.pages.get(self.path, answer(404))(self)

    do_HEAD = do_GET

    def log_message(self, *args):
        """Nothing on stderr, which tests look at."""


def answer(status, body=b"", length=None, **headers):
    """A page with `body`; `length` is the Content-Length it claims."""

    def page(handler):
        handler.send_response(status)
        for name, value in {"Content-Length": length or len(body), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)

    return page


def answer_in_halves(go_on):
    """A page that sends half of BODY and the rest when the event `go_on` is set."""

    def page(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[: len(BODY) // 2])
        handler.wfile.flush()
        handler.server.half_sent.set()
        if go_on.wait(LIMIT):
            handler.wfile.write(BODY[len(BODY) // 2 :])

    return page


@contextmanager
def serving():
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join(LIMIT)


@pytest.fixture
def site():
    with serving() as site:
        yield site


@pytest.fixture
def closed():
    """The address of a port at which nobody listens; kept bound, so that nobody else gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs programs of camkit; huggingface_hub reads its environment when imported, which each of them does anew."""
    settings = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ["PYTHONPATH"]))}
    libraries = (
        "camkit.models.weights",
        "pooch",
        "requests",
        "httpx2",
        "rich.console",
        "fsspec",
        "tqdm",
        "typer",
        "yaml",
    )
    python = Preloaded(tmp_path_factory.mktemp("python"), settings, libraries)
    yield python
    python.close()


@pytest.fixture
def run(python, tmp_path):
    """Runs code with arguments in an environment; gives what it prints."""

    def run(code, environment, *args):
        program = tmp_path / "program.py"
        program.write_text(code, encoding="utf-8")
        done = python.run([str(program), *args], dict(environment))
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return run


@pytest.fixture
def obtain_from_hub(run):
    """In a process of its own: the state before, the path, the error, the state after, and the states in between."""

    def obtain(endpoint, url, repo="owner/name"):
        environment = os.environ | {
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "TINY_REPO": repo,
        }
        return json.loads(run(OBTAIN, environment, fields_of(tiny(url))))

    return obtain


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """Empty caches and no settings; returns Keras's models folder, which does not exist yet."""
    for variable in ("TINY_WEIGHTS", "TINY_REPO", "CAMKIT_VGG16_WEIGHTS", "CAMKIT_WEIGHTS_REPO"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "keras" / "models"


class Watched(WeightsFile):
    """Keeps each state it goes through and tells when half the file is there."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen, self.begun, self.half_way = [], threading.Event(), threading.Event()

    def _note(self, state):
        super()._note(state)
        self.seen.append(state)
        if state is not None and state.message.startswith("Downloading"):
            self.begun.set()
        if state is not None and state.bytes_done >= len(BODY) // 2:
            self.half_way.set()


def tiny(address, **changes):
    fields = {
        "name": "Tiny",
        "filename": FILENAME,
        "url": f"{address}/{FILENAME}",
        "md5": MD5,
        "size": len(BODY),
        "path_variable": "TINY_WEIGHTS",
        "repo_variable": "TINY_REPO",
    }
    return Watched(**fields | changes)


def fields_of(file):
    """What makes the same file in another process, as JSON."""
    names = ("name", "filename", "url", "md5", "size", "path_variable", "repo_variable")
    return json.dumps({name: getattr(file, name) for name in names})


def held(folder):
    """The names of the files in a folder and the folders in it, without the lock that stays."""
    return [path.name for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


def put(folder, content, name=FILENAME):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def finish(thread):
    thread.join(LIMIT)
    assert not thread.is_alive()


def three_ways(message):
    return all(way in message for way in ("connect to the internet", "TINY_WEIGHTS", "TINY_REPO"))


# Importing and describing


def test_import_loads_nothing_slow():
    slow = ("tensorflow", "keras", "gradio", "huggingface_hub", "pooch", "requests", "h5py", "filelock")
    code = f"import sys\nfrom camkit.models import weights\nprint([name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(("done", "total", "percent"), [(0, 0, 0), (0, 10, 0), (199, 200, 99), (200, 200, 100)])
def test_percent(done, total, percent):
    assert WeightsState("downloading", None, done, total, "").percent == percent


def test_sentence_of_a_download_has_percent_and_megabytes():
    state = WeightsState("downloading", None, 132 * 2**20, 528 * 2**20, "Downloading VGG16's weights")
    assert state.sentence == "Downloading VGG16's weights: 25 % (132 of 528 MB)."


def test_vgg16_is_absent_and_says_how_much_there_is_to_download():
    state = VGG16_WEIGHTS.state
    assert (state.status, state.path, state.bytes_total, state.percent) == ("absent", None, 553467096, 0)
    assert state.sentence == "VGG16's weights are not on this machine: 528 MB to download."


# On disk


def test_nothing_on_disk_is_none_and_asks_nobody(site):
    assert tiny(site.address).find() is None
    assert site.asked == []


def test_explicit_path_comes_before_the_variable_and_needs_no_md5(tmp_path, monkeypatch, closed):
    named, other = put(tmp_path, b"mine", "mine.h5"), put(tmp_path, b"other", "other.h5")
    monkeypatch.setenv("TINY_WEIGHTS", str(other))
    file = tiny(closed)
    assert file.find(named) == file.obtain(str(named)) == named
    assert file.find() == file.obtain() == other
    assert (file.state.status, file.state.path, file.state.percent) == ("ready", other, 100)


def test_path_variable_comes_before_the_keras_cache(surroundings, tmp_path, monkeypatch, closed):
    cached, named = put(surroundings, BODY), put(tmp_path, b"mine", "mine.h5")
    file = tiny(closed)
    assert file.find() == cached
    monkeypatch.setenv("TINY_WEIGHTS", str(named))
    assert file.find() == file.state.path == named
    monkeypatch.setenv("TINY_WEIGHTS", "")
    assert file.find() == file.state.path == cached


def test_explicit_path_that_does_not_exist_is_an_error_not_a_download(site, tmp_path):
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    file, missing = tiny(site.address), tmp_path / "missing.h5"
    for look in (file.find, file.obtain):
        with pytest.raises(WeightsError, match="no weights file at .*missing.h5: name an existing file"):
            look(missing)
    assert site.asked == []
    assert file.state.status == "absent"  # the caller's slip says nothing about the file


def test_path_variable_that_does_not_exist_is_a_failed_state(site, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_WEIGHTS", str(tmp_path / "missing.h5"))
    file = tiny(site.address)
    with pytest.raises(WeightsError, match="from TINY_WEIGHTS"):
        file.find()
    finish(file.download_in_background())
    assert file.state.status == "failed"
    assert "from TINY_WEIGHTS" in file.state.sentence
    assert site.asked == []


def test_a_copy_in_the_keras_cache_is_ready_once_its_md5_is_known(surroundings, closed):
    cached, file = put(surroundings, BODY), tiny(closed)
    assert (file.state.status, "checked before it is used" in file.state.sentence) == ("absent", True)
    finish(file.download_in_background())
    assert (file.state.status, file.state.path) == ("ready", cached)


def test_md5_is_computed_once_until_the_file_changes(surroundings, closed, monkeypatch):
    cached, file, calls = put(surroundings, BODY), tiny(closed), []
    real = weights._md5
    monkeypatch.setattr(weights, "_md5", lambda path: calls.append(path) or real(path))
    assert [file.find(), file.find(), file.obtain(), file.state.path] == [cached] * 4
    assert len(calls) == 1
    os.utime(cached, ns=(1, 1))
    assert file.state.status == "absent"  # not known to be good any more, and a state never hashes
    assert len(calls) == 1
    assert file.find() == cached
    assert len(calls) == 2
    cached.write_bytes(BODY[::-1])
    assert (file.find(), len(calls)) == (None, 3)
    cached.write_bytes(BODY[:-1])
    assert (file.find(), len(calls)) == (None, 3)  # a file of another size need not be read


@pytest.mark.parametrize("content", [BODY[:-1] + b"x", BODY[:1000]], ids=["other bytes", "cut"])
def test_a_corrupted_copy_in_the_keras_cache_is_not_taken_but_replaced(surroundings, site, content):
    cached = put(surroundings, content)
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    file = tiny(site.address)
    assert file.find() is None
    assert file.state.status == "absent"
    assert file.obtain() == cached
    assert cached.read_bytes() == BODY


def test_default_keras_cache_is_in_the_home_folder(tmp_path, monkeypatch, closed):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert tiny(closed).find() is None
    cached = put(tmp_path / ".keras" / "models", BODY)
    assert tiny(closed).find() == cached


@pytest.mark.parametrize("value", ["no-owner", "a/b/c", "owner/na me", "owner/", "@main"])
def test_repo_variable_that_names_no_repository(monkeypatch, closed, value):
    monkeypatch.setenv("TINY_REPO", value)
    file = tiny(closed)
    with pytest.raises(WeightsError, match="TINY_REPO is .* write owner/name"):
        file.obtain()
    assert file.state.status == "failed"


# Keras's download


def test_download_shows_its_progress_and_is_atomic(surroundings, site):
    go_on, file, final = threading.Event(), tiny(site.address), surroundings / FILENAME
    site.pages[f"/{FILENAME}"] = answer_in_halves(go_on)
    assert file.state.status == "absent"
    thread = file.download_in_background()
    assert file.state.status == "downloading"
    assert file.half_way.wait(LIMIT)
    assert (file.state.status, file.state.percent, file.state.path) == ("downloading", 50, None)
    assert file.download_in_background() is thread
    assert not final.exists()
    go_on.set()
    finish(thread)
    assert file.state == WeightsState("ready", final, len(BODY), len(BODY), "Tiny's weights are ready.")
    assert final.read_bytes() == BODY
    assert held(surroundings) == [FILENAME]
    assert final.stat().st_mode & 0o666 == surroundings.stat().st_mode & 0o666  # whoever may read the cache may read it
    counts = [state.bytes_done for state in file.seen if state is not None]
    assert counts == sorted(counts)
    assert {0, len(BODY) // 2, len(BODY)} <= set(counts)
    assert site.asked == [("GET", f"/{FILENAME}")]


def test_progress_never_runs_backwards_nor_past_the_end(closed):
    file, seen = tiny(closed), []
    file._begin("Downloading", 100)
    for count in (40, 10, 60, 130, 100):
        file._report(count)
        seen.append(file.state.percent)
    assert seen == [40, 40, 60, 100, 100]


def test_a_file_that_is_no_whole_number_of_chunks(site):
    body = BODY + b"end"
    site.pages[f"/{FILENAME}"] = answer(200, body)
    file = tiny(site.address, md5=hashlib.md5(body).hexdigest(), size=len(body))
    assert file.obtain().read_bytes() == body
    assert file.seen[-2].bytes_done == len(body)


def test_a_background_download_is_shown_from_its_first_moment(site):
    file = tiny(site.address)
    with file._one_download:  # keeps the thread from getting any further
        thread = file.download_in_background()
        assert (file.state.status, file.state.percent) == ("downloading", 0)
        assert file.state.sentence.startswith("Looking for Tiny's weights: 0 %")
    finish(thread)
    assert file.state.status == "failed"


def test_an_interrupted_download_does_not_go_on_in_the_state(closed, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    file = tiny(closed)
    monkeypatch.setattr(file, "_begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.obtain()
    assert (file.state.status, "start it again" in file.state.sentence) == ("failed", True)


def test_two_callers_at_once_download_once(site):
    go_on, file, results = threading.Event(), tiny(site.address), []
    site.pages[f"/{FILENAME}"] = answer_in_halves(go_on)
    first = file.download_in_background()
    assert file.half_way.wait(LIMIT)
    second = threading.Thread(target=lambda: results.append(file.obtain()))
    second.start()
    go_on.set()
    finish(first)
    finish(second)
    assert results == [file.state.path]
    assert site.asked == [("GET", f"/{FILENAME}")]


def test_a_named_file_does_not_wait_for_a_download_under_way(site, tmp_path):
    go_on, file, named = threading.Event(), tiny(site.address), put(tmp_path, b"mine", "mine.h5")
    site.pages[f"/{FILENAME}"] = answer_in_halves(go_on)
    thread = file.download_in_background()
    assert file.half_way.wait(LIMIT)
    assert file.obtain(named) == named
    assert thread.is_alive()
    go_on.set()
    finish(thread)


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
def test_a_bad_download_fails_leaves_nothing_and_the_next_recovers(surroundings, site, capfd, page, reason):
    file, final = tiny(site.address), surroundings / FILENAME
    site.pages[f"/{FILENAME}"] = page
    finish(file.download_in_background())
    assert (file.state.status, file.state.path) == ("failed", None)
    assert reason in file.state.sentence
    assert three_ways(file.state.sentence)
    assert held(surroundings) == []
    assert "Traceback" not in capfd.readouterr().err
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    finish(file.download_in_background())
    assert (file.state.status, file.state.path) == ("ready", final)
    assert final.read_bytes() == BODY


def test_a_server_that_falls_silent_is_a_failure_not_a_hang(site, monkeypatch):
    go_on, file = threading.Event(), tiny(site.address)
    monkeypatch.setattr(weights, "TIMEOUTS", (1, 0.2))
    site.pages[f"/{FILENAME}"] = answer_in_halves(go_on)
    with pytest.raises(WeightsError, match="connection to 127.0.0.1:.* failed"):
        file.obtain()
    go_on.set()


def test_no_network_and_no_file_is_one_sentence_with_the_three_ways(closed):
    file = tiny(closed)
    with pytest.raises(WeightsError) as caught:
        file.obtain()
    message = str(caught.value)
    assert three_ways(message)
    assert message.count("\n") == 0
    assert (file.state.status, file.state.message, file.state.sentence) == ("failed", message, message)


def test_a_cache_that_cannot_be_written_is_said_so(tmp_path, monkeypatch, site):
    put(tmp_path, b"", "a_file")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "a_file"))
    with pytest.raises(WeightsError, match="cannot be written to .*KERAS_HOME"):
        tiny(site.address).obtain()


def test_a_cached_copy_that_cannot_be_read_is_said_so(surroundings, closed, monkeypatch):
    def unreadable(path):
        raise PermissionError(13, "Permission denied")

    put(surroundings, BODY)
    monkeypatch.setattr(weights, "_md5", unreadable)  # not by its mode: tests may run as root
    file = tiny(closed)
    finish(file.download_in_background())
    assert file.state.status == "failed"
    assert "cannot be read (Permission denied)" in file.state.sentence


def test_a_bug_while_downloading_ends_in_a_failed_state(site, monkeypatch, capfd):
    def broken(*args):
        raise LookupError("a bug")

    file = tiny(site.address)
    monkeypatch.setattr(file, "_from_url", broken)
    finish(file.download_in_background())
    assert file.state.status == "failed"
    assert file.state.sentence == "Tiny's weights could not be had (LookupError): see the log."
    logged = capfd.readouterr().err
    assert "Traceback" not in logged


def test_what_a_killed_process_left_is_removed(surroundings, site):
    """A real process, killed in the middle of its download: the next one starts afresh and leaves nothing of it."""
    never = threading.Event()
    site.pages[f"/{FILENAME}"] = answer_in_halves(never)
    with subprocess.Popen([sys.executable, "-c", OBTAIN, fields_of(tiny(site.address))], cwd=ROOT) as killed:
        assert site.half_sent.wait(LIMIT)
        killed.kill()
    folder = surroundings / f".{FILENAME}.download"
    assert list(folder.glob("tmp*"))
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    assert tiny(site.address).obtain().read_bytes() == BODY
    assert held(surroundings) == [FILENAME]
    never.set()


def test_two_processes_at_once_download_once(surroundings, site):
    go_on, file = threading.Event(), tiny(site.address)
    site.pages[f"/{FILENAME}"] = answer_in_halves(go_on)
    with subprocess.Popen(
        [sys.executable, "-c", OBTAIN, fields_of(file)], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as other:
        assert site.half_sent.wait(LIMIT)
        thread = file.download_in_background()
        assert file.begun.wait(LIMIT)
        go_on.set()
        finish(thread)
        assert other.wait(LIMIT) == 0
    assert (file.state.status, file.state.path) == ("ready", surroundings / FILENAME)
    assert site.asked == [("GET", f"/{FILENAME}")]


# Cancelling


def test_a_cancelled_download_ends_at_its_next_bytes_and_keeps_nothing(surroundings, site):
    go_on, file = threading.Event(), tiny(site.address)
    site.pages[f"/{FILENAME}"] = answer_in_halves(go_on)
    thread = file.download_in_background()
    assert file.half_way.wait(LIMIT)
    file.cancel()
    assert (file.state.status, file.state.short) == ("downloading", "Stopping the download of Tiny's weights")
    go_on.set()
    finish(thread)
    assert file.state.status == "absent"
    assert held(surroundings) == []
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    finish(file.download_in_background())
    assert file.state.status == "ready"


def test_a_download_cancelled_before_its_first_byte_asks_for_none(surroundings, site, monkeypatch):
    file, looked, go_on = tiny(site.address), threading.Event(), threading.Event()
    find = file.find

    def slowly(path=None):
        looked.set()
        go_on.wait(LIMIT)
        return find(path)

    monkeypatch.setattr(file, "find", slowly)
    thread = file.download_in_background()
    assert looked.wait(LIMIT)
    file.cancel()
    go_on.set()
    finish(thread)
    assert (file.state.status, site.asked, held(surroundings)) == ("absent", [], [])


def test_cancelling_without_a_download_changes_nothing(site):
    file = tiny(site.address)
    file.cancel()
    assert file.state.status == "absent"
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    assert file.obtain().read_bytes() == BODY
    file.cancel()
    assert file.state.status == "ready"


def test_who_waits_for_a_cancelled_download_is_told_so(site):
    go_on, file, told = threading.Event(), tiny(site.address), []
    site.pages[f"/{FILENAME}"] = answer_in_halves(go_on)

    def obtain():
        try:
            file.obtain()
        except WeightsError as error:
            told.append(str(error))

    thread = threading.Thread(target=obtain)
    thread.start()
    assert file.half_way.wait(LIMIT)
    file.cancel()
    go_on.set()
    finish(thread)
    assert told == ["The download of Tiny's weights was cancelled: nothing is kept, it can be started anew."]


def test_a_failure_has_a_short_form_for_visitors(closed):
    file = tiny(closed)
    finish(file.download_in_background())
    assert file.state.short.startswith("Tiny could not be downloaded: the connection to 127.0.0.1:")
    assert "TINY_WEIGHTS" not in file.state.short and "TINY_WEIGHTS" in file.state.message


CANCEL = """
import json, sys
from camkit.models import weights

class Watched(weights.WeightsFile):
    def _report(self, done):
        if done:
            self.cancel()
        super()._report(done)
file = Watched(**json.loads(sys.argv[1]))
file.download_in_background().join()
print(json.dumps([file.state.status, file.state.message]))
"""


def test_a_cancelled_hub_download_keeps_nothing_either(run, closed, tmp_path):
    with serving() as hub:
        hub.pages[REPO_PATH] = hub_file(os.urandom(1000) * 30_000)
        environment = os.environ | {
            "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": hub.address,
            "HF_HUB_DISABLE_XET": "1",
            "TINY_REPO": "owner/name",
        }
        status, message = json.loads(run(CANCEL, environment, fields_of(tiny(closed))))
    assert status == "absent", message
    kept = [path for path in (tmp_path / "hf").rglob("*") if path.is_file() and path.stat().st_size > 100_000]
    assert kept == []


# The Hugging Face Hub: huggingface_hub reads its environment when imported, so each case is a process of its own

OBTAIN = """
import json, sys
from camkit.models import weights

class Watched(weights.WeightsFile):
    def _note(self, state):
        super()._note(state)
        seen.append(state and (state.status, state.bytes_done, state.bytes_total))
seen, error = [], None
file = Watched(**json.loads(sys.argv[1]))
before = file.state.status
try:
    path = str(file.obtain())
except weights.WeightsError as caught:
    path, error = None, str(caught)
print(json.dumps([before, path, error, file.state.status, seen]))
"""

COMMIT = "c" * 40
REPO_PATH = f"/owner/name/resolve/main/{FILENAME}"


def hub_file(body):
    return answer(200, body, ETag='"an-etag"', X_Repo_Commit=COMMIT)


def test_hub_file_is_downloaded_with_progress_then_found_without_a_network(
    obtain_from_hub, closed, surroundings, tmp_path, monkeypatch
):
    body = os.urandom(1000) * 30_000  # more than one chunk of huggingface_hub (10 MiB), and not the published file
    with serving() as hub:
        hub.pages[REPO_PATH] = hub_file(body)
        before, path, error, after, seen = obtain_from_hub(hub.address, closed)
    assert (before, after, error) == ("absent", "ready", None)
    assert Path(path).read_bytes() == body
    counts = [done for status, done, total in seen[:-1]]
    assert counts == sorted(counts)
    assert any(0 < done < len(body) for done in counts)
    assert counts[-1] == seen[-2][2] == len(body)
    assert not surroundings.exists()
    assert obtain_from_hub(closed, closed)[:4] == ["ready", path, None, "ready"]
    named = put(tmp_path, b"mine", "mine.h5")
    monkeypatch.setenv("TINY_WEIGHTS", str(named))
    assert obtain_from_hub(closed, closed)[1] == str(named)


def test_hub_revision_is_asked_for(obtain_from_hub, closed, site):
    site.pages[f"/owner/name/resolve/v1/{FILENAME}"] = hub_file(b"version 1")
    path = obtain_from_hub(site.address, closed, repo="owner/name@v1")[1]
    assert Path(path).read_bytes() == b"version 1"
    assert obtain_from_hub(closed, closed, repo="owner/name@v1")[:2] == ["ready", path]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT), f"does not hold {FILENAME}"),
        (answer(401, X_Error_Code="RepoNotFound"), "there is no Hugging Face repository owner/name"),
        (answer(500), "Hugging Face answered 500"),
        (None, "Hugging Face could not be reached"),
    ],
    ids=["no file", "no repository", "broken", "offline"],
)
def test_hub_failure_falls_through_to_keras_and_is_named_if_that_fails_too(
    obtain_from_hub, site, surroundings, closed, page, reason
):
    site.pages |= {REPO_PATH: page} if page else {}
    endpoint = site.address if page else closed
    _, path, error, status, _ = obtain_from_hub(endpoint, closed)
    assert (path, status) == (None, "failed")
    assert reason in error
    assert three_ways(error)
    site.pages[f"/{FILENAME}"] = answer(200, BODY)
    assert obtain_from_hub(endpoint, site.address)[1] == str(surroundings / FILENAME)


def test_keras_cache_serves_when_the_hub_has_nothing_cached(obtain_from_hub, surroundings, closed):
    cached = put(surroundings, BODY)
    assert obtain_from_hub(closed, closed)[1:4] == [str(cached), None, "ready"]


def test_a_file_that_a_model_cannot_use_is_refused_until_it_changes(surroundings, closed, tmp_path):
    path = tmp_path / "mine.h5"
    path.write_bytes(b"one")
    weights = tiny(closed)
    weights.refuse(path, "mine.h5 is no HDF5 file.")
    for ask in (weights.find, weights.obtain):
        with pytest.raises(WeightsError, match=r"^mine\.h5 is no HDF5 file\.$"):
            ask(path)
    path.write_bytes(b"another")
    assert weights.find(path) == path
