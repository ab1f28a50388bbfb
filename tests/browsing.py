"""What the tests of the page share: a browser, windows of it in which no fault goes unseen, and what one waits for.

Needs Chromium (`CHROMIUM`, or one on the path); skipped with that reason without. Screenshots go to `SCREENSHOT_DIR`.
"""

import base64
import io
import os
import shutil
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


@pytest.fixture
def visit(browser, server_url, tmp_path, request):
    """Opens the page in a fresh window: visit(width, height, scheme, query). Outside requests are blocked and fail the
    test."""
    contexts, faults = [], []

    def open_page(width: int = 1440, height: int = 900, scheme: str = "light", query: str = ""):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()

        def route(route):
            if route.request.url.startswith((server_url, "data:", "blob:")):
                return route.continue_()
            faults.append(f"outside request: {route.request.url}")
            return route.abort()

        page.route("**/*", route)
        page.on(
            "console", lambda message: faults.append(f"console: {message.text}") if message.type == "error" else None
        )
        page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
        page.goto(f"{server_url}/{query}")
        return page

    yield open_page
    screenshots = Path(os.environ.get("SCREENSHOT_DIR", tmp_path))
    screenshots.mkdir(parents=True, exist_ok=True)
    for number, context in enumerate(contexts):
        context.pages[0].screenshot(path=screenshots / f"{request.node.name}-{number}.png")
        context.close()
    assert not faults


def panel(page, key: str, state: str = ""):
    return page.locator(f"#maps figure[data-key={key}]{state}")


def explaining(page, name: str):
    """Waits until the page says that it explains this class."""
    page.locator("#explained", has_text=f"Explaining {name},").wait_for()


def stop(page) -> None:
    """Stops the Score-CAM under way and waits for its partial map."""
    panel(page, "scorecam").locator(".stop").click()
    panel(page, "scorecam", PARTIAL).locator("small", has_text="partial").wait_for()


def canvas_pixels(page, key: str) -> np.ndarray:
    """What the browser has drawn in a panel, (H, W, 3) uint8."""
    url = panel(page, key).locator("canvas").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
