"""`python app.py` as people start it: a process of its own that gets ready, answers, and ends when it is told to."""

import gc
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import plain_http
import pytest
from conftest import EXAMPLES, ROOT, free_port

LIMIT = 60
READY = "Running on local URL:"


@contextmanager
def started(port: int, uploads):
    """The process, its output in one pipe; killed when a test leaves it running."""
    ours = ("CAMKIT_", "GRADIO_", "TF_CPP_")  # the tests' own, which a newcomer has not set
    settings = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    settings |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(uploads), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_until(process, wanted: str, held: str = "") -> str:
    """The output, after what is `held` of it, up to and with the line that holds `wanted`, and whatever came with it;
    fails when it ends or takes too long."""
    end = time.monotonic() + LIMIT
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while "\n" not in held.partition(wanted)[2]:
            assert selector.select(max(0, end - time.monotonic())), f"no {wanted!r} in {LIMIT} s:\n{held}"
            read = os.read(
                process.stdout.fileno(), 1 << 16
            ).decode()  # unlike readline, keeps nothing from the selector
            assert read, f"ended without {wanted!r}:\n{held}"
            held += read
    return held


@pytest.mark.slow
def test_it_gets_ready_says_three_lines_answers_and_ends_cleanly(tmp_path):
    port, begin = free_port(), time.monotonic()
    url = f"http://127.0.0.1:{port}"
    with started(port, tmp_path / "uploads") as process:
        said = lines_until(process, f"{READY}  {url}")
        config = httpx.get(f"{url}/config", timeout=LIMIT)
        seconds = time.monotonic() - begin
        assert config.status_code == 200
        assert config.json()["analytics_enabled"] is False
        said = lines_until(process, "is ready on", said)
        path = plain_http.upload(url, (EXAMPLES / "coffee.jpg").read_bytes())
        picture, number = {"path": path, "meta": plain_http.META}, plain_http.event_id(url, "explain")
        assert plain_http.run(url, number, [picture, "gradcam"])["output"]["data"][1]["complete"]
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=10)
        assert "Traceback" not in rest
        assert process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert seconds < 20 * max(1.0, os.getloadavg()[0] / os.cpu_count())  # 20 s on a machine that does nothing else
    print(f"first answer after {seconds:.1f} s")
    # Three lines of its own; TensorFlow's begin with a letter and a date, but for those of its C++ log's own start.
    remark = re.compile(r"[IWE]\d{4} |WARNING: All log messages before absl|To enable the following instructions")
    lines = [line for line in said.splitlines() if line.strip() and not remark.match(line)]
    assert lines.pop().partition("EfficientNet-Lite0 is ready on ")[2]
    assert lines[0] == f"* {READY}  {url}"
    assert lines[1].startswith("VGG16's weights ")
    assert len(lines) == 2, lines


def test_unknown_arguments_are_refused_with_the_known_ones(capsys):
    from camkit.web.page import main

    with pytest.raises(SystemExit) as ended:
        main(["--colour", "blue"])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "--host" in said and "--port" in said
    assert said.splitlines()[-1] == "camkit serve: error: unrecognized arguments: --colour blue"


SOCKS = "The environment names a SOCKS proxy: unset it, or name a socks5:// one and install the package socksio.\n"
INSTALLED = "from importlib.util import module_from_spec as m; from importlib.machinery import ModuleSpec as s; "


@pytest.mark.parametrize(
    ("proxy", "before", "sentence"),
    [
        ("socks5h://127.0.0.1:9", "sys.modules['socksio'] = None", SOCKS),
        ("socks4://127.0.0.1:9", INSTALLED + "sys.modules['socksio'] = m(s('socksio', None))", SOCKS),
        ("socks5://127.0.0.1:9", INSTALLED + "sys.modules['socksio'] = m(s('socksio', None))", ""),
        (
            "",
            "import tempfile; tempfile.gettempdir = lambda: open('/none')",
            "No temporary folder can be written: set ",
        ),
    ],
)
def test_an_environment_that_cannot_be_served_in_gets_a_sentence(proxy, before, sentence):
    program = [sys.executable, "-c", f"import sys; {before}; import camkit.web"]
    said = subprocess.run(program, env=os.environ | {"ALL_PROXY": proxy}, capture_output=True, text=True).stderr
    assert said.startswith(sentence) and said.count("\n") == bool(sentence)


@pytest.mark.parametrize(("arguments", "wanted"), [([], None), (["--share"], True)])
def test_a_public_address_is_opened_only_where_it_is_asked_for(monkeypatch, arguments, wanted):
    from camkit.web import page

    def launch(self, **options):
        assert options["share"] is wanted
        raise OSError("no network")

    monkeypatch.delenv("GRADIO_SERVER_PORT", raising=False)
    monkeypatch.setattr(page.gr.Blocks, "launch", launch)
    with pytest.raises(SystemExit, match=r"^no network$"):
        page.main(arguments)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Gradio's, whose port it could not have
def test_a_taken_port_is_named(monkeypatch):
    from camkit.web.page import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
        with pytest.raises(SystemExit) as ended:
            main([])
    said = ended.value.code
    del ended
    gc.collect()  # here, where its socket is not wondered at
    assert said == f"Port {port} cannot be used, it is taken or not allowed: set GRADIO_SERVER_PORT to another."


@pytest.mark.skipif(sys.platform != "linux", reason="for glibc alone")
def test_what_is_free_is_given_back_to_the_system():
    from camkit.web.server.memory import start_giving_back

    def held() -> int:
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
        return int(line.split()[1]) * 1024

    pieces = [bytearray(b"x") * 100_000 for _ in range(2000)]  # below what malloc takes from the system by itself
    most = held()
    kept = pieces[-1]  # so that the top of the heap stays in use
    del pieces
    start_giving_back(every=1)
    end = time.monotonic() + LIMIT
    while held() > most - 150_000_000:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(kept)
