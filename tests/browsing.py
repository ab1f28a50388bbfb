"""What the tests of the page share: a browser, windows of it in which no fault goes unseen, and what one waits for.

Needs Chromium (`CHROMIUM`, or one on the path); skipped with that reason without. Screenshots of a test that failed go
to `SCREENSHOT_DIR`, else to its own folder.
"""

import base64
import io
import os
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = (
    os.environ.get("CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing outside this machine is reached
]
PATIENCE = 60_000  # milliseconds; the machine may be busy, and nothing is asserted on time
OPENING = "Egyptian cat"  # the class that the page opens on
QUICK = "?full=no"  # an address whose Score-CAM takes 64 channels
COMPLETE, PARTIAL = "[data-state=complete]", "[data-state=partial]"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("browser test: Chromium is missing (install it, or name it in CHROMIUM)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def windows(browser):
    """What each visitor of a test looks through: pages, opened anew by going to an address. A window that has been used
    has the scripts compiled, which is half of what an opening costs."""
    made: list[Window] = []
    yield made
    for window in made:
        window.page.context.close()


class Window:
    """A page and the faults that nobody sees on it: errors of its scripts, requests to anywhere but this server."""

    def __init__(self, browser, server_url: str):
        self.server_url, self.faults = server_url, []
        self.page = browser.new_context(accept_downloads=True).new_page()
        self.page.context.set_default_timeout(PATIENCE)
        # Not `route`, which turns the browser's cache off: half of what an opening costs.
        self.page.on("request", self._request)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        self.page.on("domcontentloaded", lambda _: self._opened())

    def _request(self, request):
        if not request.url.startswith((self.server_url, "data:", "blob:")):
            self.faults.append(f"outside request: {request.url}")

    def _console(self, message):
        if message.type == "error":
            self.faults.append(f"console: {message.text} {message.location['url']}")

    def _opened(self):
        """The page before may have said that leaving it cut its streams off."""
        cut_off = ("AbortError: signal is aborted", "Unexpected error Connection errored out")
        self.faults[:] = [fault for fault in self.faults if not fault.removeprefix("console: ").startswith(cut_off)]

    def leave(self):
        """Nothing of this visit is left: not its run on the server, nor what the page or the context remembers."""
        self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        self.page.goto("about:blank")
        self.page.context.clear_cookies()
        self.page.context.clear_permissions()
        self.faults.clear()  # what going away in the middle of something may have caused


@pytest.fixture
def visit(browser, windows, server_url, tmp_path, request, monkeypatch):
    """Opens the page as a new visitor: visit(width, height, scheme, query). Outside requests reach nobody and fail the
    test. Maps are measured when somebody presses Measure, or by themselves where a test asks for `short_measurement`
    or `whole_measurement`."""
    by_themselves = {"short_measurement", "whole_measurement"} & set(request.fixturenames)
    # However long it is expected to take, which on a busy machine may be long.
    monkeypatch.setattr("camkit.web.tabs.evidence.LONGEST_WITHOUT_A_CLICK", float("inf") if by_themselves else -1)
    used: list[Window] = []
    failed = request.session.testsfailed

    def open_page(width: int = 1440, height: int = 900, scheme: str = "light", query: str = ""):
        if len(used) == len(windows):
            windows.append(Window(browser, server_url))
        window = windows[len(used)]
        used.append(window)
        window.page.set_viewport_size({"width": width, "height": height})
        window.page.emulate_media(color_scheme=scheme)
        window.page.goto(f"{server_url}/{query}")
        return window.page

    yield open_page
    faults = [fault for window in used for fault in window.faults]
    if faults or request.session.testsfailed > failed:
        screenshots = Path(os.environ.get("SCREENSHOT_DIR", tmp_path))
        screenshots.mkdir(parents=True, exist_ok=True)
        for number, window in enumerate(used):
            windows.remove(window)
            window.page.screenshot(path=screenshots / f"{request.node.name}-{number}.png")
            window.page.context.close()
    else:
        for window in used:
            window.leave()
    assert not faults, faults


@pytest.fixture
def whole_measurement():
    """A page of this test measures its maps by itself."""


@pytest.fixture
def short_curves(monkeypatch):
    """Every map that the app in this process measures is measured by curves of 4 steps instead of 28."""
    from camkit.evidence.measure import ON_THE_PAGE, measure
    from camkit.web import api, mcp
    from camkit.web.tabs import evidence as evidence_tab
    from camkit.web.tabs import many as many_tab

    short = partial(measure, settings=replace(ON_THE_PAGE, steps=4))
    for module in (api, mcp, evidence_tab):
        monkeypatch.setattr(module, "measure", short)
    monkeypatch.setattr(evidence_tab, "SCORED", 2 * 4 + 1)
    monkeypatch.setattr(many_tab, "Settings", partial(many_tab.Settings, steps=4))


@pytest.fixture
def short_measurement(short_curves):
    """A page of this test measures its maps by itself, by short curves."""


@pytest.fixture
def held_work(monkeypatch):
    """Long work goes on for some 32 pictures, each block of which is drawn, and then waits until somebody presses Stop,
    so that a test comes in time however fast the blocks and however busy the machine."""
    from camkit.classifier import Classifier
    from camkit.web.server.runs import RUNS

    run, stop = Classifier._run, RUNS.stop
    pictures, stopped = 0, threading.Event()

    def passing(classifier, make, *given, **named):
        nonlocal pictures
        if make.__name__ in ("masked", "whole"):
            assert pictures < 32 or stopped.wait(2 * PATIENCE / 1000)
            pictures += named["forward"]
        return run(classifier, make, *given, **named)

    def stops(visitor):
        nonlocal pictures, stopped
        stop(visitor)
        stopped.set()
        pictures, stopped = 0, threading.Event()  # for what is begun next

    monkeypatch.setattr("camkit.web.tabs.maps.REDRAW_SECONDS", 0)
    monkeypatch.setattr(Classifier, "_run", passing)
    monkeypatch.setattr(RUNS, "stop", stops)
    yield
    stopped.set()


def panel(page, key: str, state: str = ""):
    return page.locator(f"#maps figure[data-key={key}]{state}")


def explaining(page, name: str):
    """Waits until the page says that it explains this class."""
    page.locator("#explained", has_text=f"Explaining {name},").wait_for()


def stop(page) -> None:
    """Stops the Score-CAM under way and waits for its partial map."""
    panel(page, "scorecam").locator(".stop").click()
    panel(page, "scorecam", PARTIAL).locator("small", has_text="partial").wait_for()


def painter(page):
    """The canvas of "Cover and see", once a picture is drawn on it."""
    page.wait_for_function(
        "document.querySelector('#painter .cam-host')?.shadowRoot?.querySelector('canvas')?.width === 640"
    )
    return page.locator("#painter canvas")


def canvas_pixels(page, key: str) -> np.ndarray:
    """What the browser has drawn in a panel, (H, W, 3) uint8."""
    url = panel(page, key).locator("canvas").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
