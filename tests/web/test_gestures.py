"""What a visitor does first, with real gestures: a picture chosen, dropped or pasted, a box left, work stopped."""

import base64

import pytest
from browsing import COMPLETE, OPENING, explaining, panel
from conftest import EXAMPLES
from PIL import Image

pytestmark = pytest.mark.browser
FLOWER = EXAMPLES / "flower.jpg"
# A file that comes with a drag or from the clipboard: (element, [name, type, base64 content], events' names).
CARRY = """(element, [content, name, type, kind, ...events]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type }));
  return events.map((event) => element.dispatchEvent(kind === "drag"
    ? new DragEvent(event, { dataTransfer: carried, bubbles: true, cancelable: true, composed: true })
    : new ClipboardEvent(event, { clipboardData: carried, bubbles: true, cancelable: true, composed: true })));
}"""


def drop(element, content: bytes = b"", name: str = "flower.jpg", kind: str = "image/jpeg") -> None:
    """Drops a file; nothing of it is left to the browser, which would open it in a tab."""
    content = base64.b64encode(content or FLOWER.read_bytes()).decode()
    assert element.evaluate(CARRY, [content, name, kind, "drag", "dragenter", "dragover", "drop"])[1:] == [False, False]


def picture_shown(page) -> None:
    page.wait_for_function("document.querySelector('#picture img').naturalWidth > 0")
    assert page.locator("#picture img").is_visible()


def test_the_button_opens_the_chooser_at_once(visit):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    picture_shown(page)
    for name, found in (("flower.jpg", "daisy"), ("coffee.jpg", "espresso")):
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Use your own picture").click()
        chooser.value.set_files(EXAMPLES / name)
        explaining(page, found)
        panel(page, "gradcam", COMPLETE).wait_for()


@pytest.mark.parametrize("place", ["#picture .frame", "#maps canvas", "#explained", "[role=tab]"])
def test_a_picture_is_dropped_anywhere(visit, place):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    panel(page, "gradcam", COMPLETE).wait_for()
    drop(page.locator(place).first)
    explaining(page, "daisy")
    assert not page.locator("#picture .drop").is_visible()


def test_a_picture_is_pasted_anywhere(visit):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    content = base64.b64encode(FLOWER.read_bytes()).decode()
    page.locator("body").evaluate(CARRY, [content, "image.png", "image/jpeg", "clipboard", "paste"])
    explaining(page, "daisy")


def test_removing_the_picture_computes_nothing_and_changes_nothing_else(visit, short_measurement):
    page = visit(query="?methods=gradcam&tab=evidence")
    page.locator("#evidence .words").wait_for()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Remove the picture").click()
    page.get_by_text("Drop a picture anywhere").wait_for()
    assert page.locator("#picture img").is_hidden()
    assert_the_page_is_whole(page)
    drop(page.locator("#picture"))
    explaining(page, "daisy")
    picture_shown(page)
    first = next(url for url in asked if "upload" in url or "queue/join" in url)
    assert "upload" in first  # of the drop: the removal asked for nothing


def assert_the_page_is_whole(page) -> None:
    """What an empty answer would take away is there."""
    assert page.locator("#prediction button").count() == 5
    assert page.locator("#explained b").inner_text() == OPENING
    assert page.locator(".headline .runs").inner_text().startswith("EfficientNet-Lite0")
    assert page.locator("#measure").inner_text() == "Measure"
    assert page.locator("#measure-stop").is_hidden()
    assert page.locator("#evidence table").is_visible()


@pytest.mark.parametrize("leave", ["Tab", "click"])
def test_a_class_box_that_is_left_changes_nothing(visit, short_measurement, leave):
    page = visit(query="?methods=gradcam&tab=evidence")
    page.locator("#evidence .words").wait_for()
    page.locator("#class-box input").click()
    if leave == "Tab":
        page.keyboard.press("Tab")
    else:
        page.locator("h1").click()
    page.locator("#prediction button", has_text="cup").click()  # whatever came of leaving comes before what this asks
    explaining(page, "cup")
    page.locator("#prediction button", has_text=OPENING).click()
    explaining(page, OPENING)
    page.locator("#evidence .measured:not(.stale) .words").wait_for()
    assert_the_page_is_whole(page)


@pytest.mark.parametrize(
    "content, name, sentence",
    [
        (FLOWER.read_bytes()[:2000], "damaged.jpg", "The picture cannot be read"),
        (b"no picture at all", "notes.txt", "The picture cannot be read"),
    ],
)
def test_what_is_no_picture_gets_a_sentence_and_the_page_goes_on(visit, content, name, sentence):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    drop(page.locator("#maps canvas").first, content, name, "")
    page.get_by_text(sentence).first.wait_for()
    assert "/" not in page.get_by_text(sentence).first.inner_text()
    picture_shown(page)
    explaining(page, OPENING)
    drop(page.locator("#maps canvas").first)
    explaining(page, "daisy")


def test_a_file_that_is_too_large_is_not_sent(visit, tmp_path):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    (tmp_path / "large.png").write_bytes(bytes(21_000_001))
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "large.png")
    page.get_by_text("The picture has 21 MB: at most 20 MB are allowed.").wait_for()
    assert [url for url in asked if "upload" in url] == []


def test_a_map_opens_large_is_compared_read_and_saved_and_the_focus_comes_back(visit):
    page = visit(query="?methods=gradcam,gradcam_plus_plus")
    panel(page, "gradcam_plus_plus", COMPLETE).wait_for()
    large, canvas = page.locator("#maps dialog.large"), panel(page, "gradcam").locator("canvas")
    pixels = "canvas => canvas.toDataURL()"
    canvas.click()
    large.get_by_role("heading", name=f"Grad-CAM, {OPENING}").wait_for()
    assert large.locator("canvas.map").evaluate(pixels) == canvas.evaluate(pixels)
    large.locator("select").select_option(label="Grad-CAM++")
    assert large.locator("canvas.other").evaluate(pixels) == panel(page, "gradcam_plus_plus").locator(
        "canvas"
    ).evaluate(pixels)
    seen = "dialog => getComputedStyle(dialog).getPropertyValue('--cut')"
    assert large.evaluate(seen) == "50%"
    large.get_by_label("Compare").press("ArrowRight")
    assert large.evaluate(seen) == "51%"
    large.locator("canvas.map").hover(position={"x": 30, "y": 30})
    large.locator(".values", has_text="Grad-CAM++ 0.").wait_for()
    with page.expect_download() as download:
        large.get_by_role("button", name="Save this map").click()
    assert download.value.suggested_filename == "grad-cam-egyptian-cat.png"
    with Image.open(download.value.path()) as saved:
        assert saved.size == (640, 320)
    page.keyboard.press("Escape")
    large.wait_for(state="hidden")
    assert canvas.evaluate("canvas => canvas.getRootNode().activeElement === canvas")
    page.keyboard.press("Enter")
    large.wait_for()
    page.locator("#maps dialog").get_by_role("button", name="Close").click()
    large.wait_for(state="hidden")
