"""The page in a browser: what a visitor does with it and sees. A console error or an outside request fails a test."""

import json
import os
import re
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browsing import COMPLETE, OPENING, PARTIAL, PATIENCE, QUICK, canvas_pixels, explaining, painter, panel, stop
from conftest import EXAMPLES, ROOT, TINY, tiny_model
from PIL import Image

import camkit
from camkit.explain import explain_stream
from camkit.labels import Labels
from camkit.models.registry import MODELS
from camkit.passes.outputs import OUTPUTS

pytestmark = pytest.mark.browser


# The README's pictures show whole curves; test_mixed_load.py measures those too.
@pytest.mark.usefixtures("whole_measurement" if os.environ.get("UPDATE_PICTURES") else "short_measurement")
def test_the_page_opens_on_a_picture_and_every_panel_fills(visit, tmp_path):
    # A whole Score-CAM of 40 channels; the README's pictures show that of the default layer's 1280.
    layer = "top_activation" if os.environ.get("UPDATE_PICTURES") else "block3b_add"
    page = visit(query="?tab=evidence" if layer == "top_activation" else f"?layer={layer}&tab=evidence")
    explaining(page, OPENING)
    for key in camkit.DEFAULT_METHODS:
        panel(page, key, COMPLETE).wait_for(timeout=4 * PATIENCE)
        assert "forward" in panel(page, key).locator(".facts").inner_text()
    assert page.locator("#maps .stop:visible").count() == 0
    # The map in the browser is the map of the library, drawn as camkit.overlay draws it.
    cam = camkit.explain(
        camkit.load("efficientnet_lite0"),
        camkit.open_picture(EXAMPLES / "cat_and_coffee.jpg"),
        ["gradcam"],
        target_layer=layer,
    ).cams["gradcam"]
    drawn = canvas_pixels(page, "gradcam").astype(int)
    picture = camkit.open_picture(EXAMPLES / "cat_and_coffee.jpg")
    wanted = camkit.overlay(picture, cam.map, 0.8, "turbo", "map").astype(int)
    assert drawn.shape == wanted.shape
    assert np.abs(drawn - wanted).mean() < 4  # the picture came as JPEG, the map in 8 bits
    # Then the page measures its own maps, controls beside them.
    page.locator("#curves .js-plotly-plot").wait_for(timeout=2 * PATIENCE)
    assert page.locator("#evidence thead th").count() == 1 + len(camkit.DEFAULT_METHODS) + len(camkit.CONTROLS)
    assert page.locator("#evidence tbody tr").count() == len(camkit.METRICS) + 2  # seconds, and the verdict
    assert page.locator("#evidence .best").count() >= 1
    assert page.locator("#explained p").inner_text().startswith("The network has doubts: next comes tiger cat, 21.6%.")
    assert page.locator("#evidence .words").inner_text().startswith("On this picture ")
    take_readme_pictures(page, tmp_path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


def take_readme_pictures(page, folder: Path) -> None:
    """The README's pictures are what the page looks like; `UPDATE_PICTURES=1` puts them in place."""
    target = ROOT / ".github" / "pictures" if os.environ.get("UPDATE_PICTURES") else folder
    for scheme in ("light", "dark"):
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", scheme == "dark")
        page.screenshot(path=target / f"demo-{scheme}.jpg", type="jpeg", quality=88, animations="disabled")
        assert (target / f"demo-{scheme}.jpg").stat().st_size < 500_000


def test_a_click_on_a_prediction_explains_that_class(visit):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    page.locator("#prediction button", has_text="cup").click()
    explaining(page, "cup")
    assert page.locator("#prediction button[aria-pressed=true]").inner_text().startswith("cup")
    panel(page, "gradcam", COMPLETE).locator("canvas[aria-label^='Grad-CAM: what speaks for cup']").wait_for()


@pytest.mark.parametrize(
    "typed, name, first",
    [
        ("lion", "lion", ["lion", "lionfish", "sea lion"]),  # exact, a beginning, a word of the name
        ("cup", "cup", ["cup"]),
        ("Puma", "cougar", ["cougar\npuma"]),
        ("sneaker", "running shoe", ["running shoe\nsneaker"]),
        ("kitty", "tabby", ["tabby\nkitty", "tiger cat\nkitty"]),
        ("shoe", "shoe shop", ["shoe shop", "running shoe"]),
        ("281", "tabby", ["tabby"]),
    ],
)
def test_a_class_is_found_by_typing(visit, typed, name, first):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    box = page.get_by_role("combobox", name="Another class")
    box.click()
    box.press_sequentially(typed)
    page.locator("#class-box li[aria-selected=true]").wait_for()  # the text of a hidden list has no line breaks
    assert page.locator("#class-box li").all_inner_texts()[: len(first)] == first
    page.keyboard.press("Enter")
    explaining(page, name)
    assert box.input_value() == ""


def test_what_names_no_class_is_said_and_explains_nothing(visit):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    box = page.get_by_role("combobox", name="Another class")
    box.press_sequentially("xylophane")
    page.get_by_text("None of the 1000 classes is called so: try a more general word.").wait_for()
    page.keyboard.press("Enter")
    assert box.input_value() == "xylophane"
    page.keyboard.press("Escape")
    assert box.input_value() == ""
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.get_by_role("option", name="goldfish").wait_for()
    assert page.locator("#class-box li").first.get_attribute("aria-selected") == "true"
    page.get_by_role("option", name="goldfish").click()
    explaining(page, "goldfish")


def test_examples_answer_the_keyboard(visit):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    page.locator("#examples button", has_text="Petals or centre?").focus()
    page.keyboard.press("Enter")
    explaining(page, "daisy")


def test_stop_keeps_the_partial_map_and_says_so(visit, held_work):
    page = visit()
    panel(page, "scorecam", PARTIAL).wait_for()
    stop(page)
    assert panel(page, "scorecam").locator(".note").inner_text().startswith("Stopped after ")
    assert canvas_pixels(page, "scorecam").std() > 0


def test_view_controls_redraw_without_asking_the_server(visit, lite0):
    page = visit(query="?methods=gradcam&tab=evidence")
    page.locator("#measure-far", has_text="press Measure").wait_for()  # the last that the page asks for by itself
    asked = []

    def listener(request):
        asked.append(request.url)

    page.on("request", listener)
    overlay = canvas_pixels(page, "gradcam")
    page.locator("#mode label", has_text="Even opacity").click()
    page.wait_for_function("window.camView?.mode === 'even' && window.camView.alpha === 0.55")
    even = canvas_pixels(page, "gradcam")
    page.locator("#mode label", has_text="Heatmap only").click()
    page.wait_for_function("window.camView?.mode === 'heatmap'")
    heatmap = canvas_pixels(page, "gradcam")
    page.locator("#mode label", has_text="Masked picture").click()
    page.wait_for_function("window.camView?.mode === 'masked'")
    masked = canvas_pixels(page, "gradcam")
    page.locator("#mode label", has_text="Follows the map").click()
    page.wait_for_function("window.camView?.mode === 'map' && window.camView.alpha === 0.8")
    page.locator("#alpha input[type=number]").fill("0")
    page.locator("#alpha input[type=number]").press("Enter")
    page.wait_for_function("window.camView?.mode === 'map' && window.camView.alpha === 0")
    bare = canvas_pixels(page, "gradcam")
    page.locator("#boxes input").check()
    page.wait_for_function("window.camBox === true")
    framed = (canvas_pixels(page, "gradcam") != bare).any(axis=2)
    across, down = np.flatnonzero(framed.any(axis=0)), np.flatnonzero(framed.any(axis=1))
    image = camkit.open_picture(EXAMPLES / "cat_and_coffee.jpg")
    sides = image.shape[1::-1] * 2
    box = np.array(camkit.box_of(camkit.explain(lite0, image, ["gradcam"]).cams["gradcam"])) / sides
    height, width = framed.shape
    found = [across[0] / width, down[0] / height, (across[-1] + 1) / width, (down[-1] + 1) / height]
    np.testing.assert_allclose(found, box, atol=0.02)
    drawn = [overlay, even, heatmap, masked, bare]
    assert all(np.abs(one.astype(int) - other).mean() > 3 for i, one in enumerate(drawn) for other in drawn[:i])
    page.remove_listener("request", listener)
    assert not [url for url in asked if "queue/join" in url]


def test_methods_that_are_not_ticked_are_not_computed(visit):
    page = visit(query=QUICK)
    explaining(page, OPENING)
    page.locator("#settings button").first.click()
    page.get_by_role("checkbox", name="Score-CAM", exact=True).uncheck()
    page.wait_for_function(
        "document.querySelector('#maps .cam-host').shadowRoot.querySelectorAll('figure').length === "
        f"{len(camkit.DEFAULT_METHODS) - 1}"
    )
    panel(page, "faster_scorecam", COMPLETE).wait_for()
    assert panel(page, "scorecam").count() == 0


def test_download_holds_what_the_page_shows(visit, held_work, tmp_path):
    page = visit()
    panel(page, "faster_scorecam", COMPLETE).wait_for()
    stop(page)
    with page.expect_download() as download:
        page.locator("#download").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    bundle = camkit.load_bundle(path)
    assert (bundle.class_index, bundle.model) == (285, "efficientnet_lite0")
    assert set(bundle.cams) == set(camkit.DEFAULT_METHODS) and not bundle.cams["scorecam"].complete
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("data/explanation.json"))["versions"]["camkit"] == camkit.__version__
        drawn = np.asarray(Image.open(archive.open("overlays/Grad-CAM.png")))
        assert {"README.txt", "figures/strip.png", "figures/strip.pdf", "figures/slide.png"} <= set(archive.namelist())
    np.testing.assert_array_equal(drawn, camkit.overlay(bundle.image, bundle.cams["gradcam"].map, 0.8, "turbo", "map"))
    with page.expect_download() as download:
        page.locator("#slide").click()
    download.value.save_as(tmp_path / "slide.png")
    with Image.open(tmp_path / "slide.png") as slide:
        assert slide.size == (1920, 1080)
    with page.expect_download() as download:
        page.locator("#figure").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    assert download.value.suggested_filename == "cam-Egyptian-cat.png"
    with Image.open(tmp_path / download.value.suggested_filename) as figure:
        assert figure.width >= 2400


def falling_value(_):
    """One value, which falls with all that it sees: no map of it but zero."""
    import keras

    base = tiny_model()
    pooled = keras.layers.GlobalAveragePooling2D()(base.get_layer("late").output)
    value = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(-1.0), name="value")(pooled)
    return keras.Model(base.inputs, value)


def test_a_value_has_no_other_class_and_its_map_says_so(visit, monkeypatch):
    spec = replace(TINY, key="age", name="Age", build=falling_value, outputs=OUTPUTS["value"])
    monkeypatch.setitem(MODELS, "age", replace(spec, labels=lambda: Labels.of(["age"])))
    page = visit(query="?model=age&methods=gradcam")
    explaining(page, "age")
    zero = "The map is zero everywhere: by this method nothing in the picture raises this value."
    panel(page, "gradcam").locator(".note", has_text=zero).wait_for()
    assert page.locator("#class-box").is_hidden() and page.locator("#strip [data-tab-id=contrast]").is_hidden()
    painter(page).press("Space")
    page.locator("#cover .words", has_text="age goes from -").first.wait_for()
    page.locator("#settings button").first.click()
    page.locator("#model").get_by_label("EfficientNet-Lite0").click()
    explaining(page, OPENING)
    assert page.locator("#class-box").is_visible() and page.locator("#strip [data-tab-id=contrast]").is_visible()


def test_why_a_and_not_b(visit):
    page = visit(query=QUICK)
    explaining(page, OPENING)
    page.locator("#examples button", has_text="Cat or coffee?").click()
    panel(page, "faster_scorecam", COMPLETE).wait_for()
    page.get_by_role("tab", name="Why A and not B?").click()
    page.locator("#other input").press_sequentially("espresso")
    page.get_by_role("option", name="espresso").first.click()
    assert page.locator("#other input").input_value() == "espresso"
    page.locator("#contrast-go").click()
    for key in ("a", "b", "difference"):
        page.locator(f"#contrast figure[data-key={key}]{COMPLETE}").wait_for()
    assert page.locator("#contrast figure[data-key=b] h3").inner_text().startswith("B: espresso")
    assert page.locator("#contrast .cam-host.stale").count() == 0
    page.locator("#examples button", has_text="Petals or centre?").click()
    page.locator("#contrast .cam-host.stale").wait_for()  # the maps of the old picture are marked as such
    page.locator("#contrast-go").click()
    page.locator("#contrast .cam-host:not(.stale) figure[data-key=a] h3", has_text="A: daisy").wait_for()


def test_a_new_layer_is_asked_for_once_and_work_shows_at_once(visit, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def held(*given):
        begun.set()
        assert go_on.wait(PATIENCE / 1000)
        yield from explain_stream(*given)

    page = visit(query="?methods=gradcam&tab=evidence")
    page.locator("#measure-far", has_text="press Measure").wait_for()
    page.locator("#settings button").first.click()
    events = []
    page.on(
        "request", lambda request: "queue/join" in request.url and events.append(request.post_data_json["fn_index"])
    )
    monkeypatch.setattr("camkit.web.tabs.maps.explain_stream", held)
    page.locator("#layer").get_by_label("block3b_add").click()
    page.locator("#maps .cam-host.working").wait_for()
    assert begun.wait(PATIENCE / 1000)
    with page.expect_request(lambda _: len(events) == 2):
        go_on.set()
    page.locator("#maps .cam-host:not(.working)").wait_for()
    panel(page, "gradcam", COMPLETE).wait_for()
    page.locator("#measure-far", has_text="press Measure").wait_for()
    page.wait_for_function("document.querySelector('#max-n input').max === '40'")
    assert len(events) == len(set(events)) == 2  # the explanation, and whether to measure it


def test_an_explanation_that_is_refused_leaves_no_sign_of_work(visit, monkeypatch):
    page = visit(query="?methods=gradcam")
    panel(page, "gradcam", COMPLETE).wait_for()

    def refuses(*_):
        raise camkit.InputError("The picture is of no use today.")

    monkeypatch.setattr("camkit.web.tabs.maps.explain_stream", refuses)
    page.locator("#prediction button", has_text="cup").click()
    page.get_by_text("The picture is of no use today.").wait_for()
    page.locator("#maps .cam-host:not(.working)").wait_for()
    explaining(page, OPENING)


def test_cover_and_see(visit):
    page = visit(query="?methods=gradcam,gradcam_plus_plus")
    panel(page, "gradcam_plus_plus", COMPLETE).wait_for()
    page.get_by_role("tab", name="Cover and see").click()
    canvas = painter(page)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.locator("#cover table").first.wait_for()  # while the button is held
    page.mouse.up()
    text = page.locator("#cover").inner_text()
    assert OPENING in text and "mid grey" in text and "Grad-CAM++" in text
    canvas.press("Delete")
    page.locator("#cover", has_text="Paint over a part").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.locator("#cover .words", has_text=f"{OPENING} goes from").first.wait_for()
    canvas.press("Control+z")
    page.locator("#cover", has_text="Paint over a part").wait_for()
    # A map's hottest region: what the network then saw, and what it guesses, for both fills.
    page.get_by_role("button", name="Grad-CAM++", exact=True).click()
    page.locator("#cover .words", has_text="Grad-CAM++ had put the most there").or_(
        page.locator("#cover .words", has_text="Grad-CAM had put the most there")
    ).first.wait_for()
    assert page.locator("#cover figure img").count() == 2 and page.locator("#cover figure li").count() == 10
    assert page.locator("#cover li[aria-current] span:first-child").all_inner_texts() == [OPENING, OPENING]
    was, now = page.locator("#cover li[aria-current]").first.locator("span:last-child").inner_text()[4:].split()
    assert float(now.rstrip("%")) < float(was.rstrip("%")) == 36.4
    # The picture to paint over is the one that is explained; what was found of another is marked as such.
    canvas.press("Space")
    page.locator("#cover .measured:not(.stale)").wait_for()
    page.locator("#examples button", has_text="Which cat?").click()
    page.locator("#cover .measured.stale").wait_for()
    page.wait_for_function(
        "document.querySelector('#painter .cam-host').shadowRoot.querySelector('canvas').width === 451"
    )
    canvas.press("Space")
    page.locator("#cover .measured:not(.stale)").wait_for()


def test_two_visitors_see_their_own_pictures(visit):
    first, second = visit(query="?methods=gradcam"), visit(query="?methods=gradcam")
    explaining(first, OPENING)
    explaining(second, OPENING)
    first.locator("#examples button", has_text="Which cat?").click()
    second.locator("#examples button", has_text="Petals or centre?").click()
    for page, width, height in ((first, 451, 300), (second, 640, 427)):
        panel(page, "gradcam", COMPLETE).locator(f"canvas[width='{width}'][height='{height}']").wait_for()
    explaining(first, "Egyptian cat")
    explaining(second, "daisy")


@pytest.fixture
def zip_of_two(tmp_path):
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.write(EXAMPLES / "flower.jpg", "daisy/flower.jpg")
        archive.writestr("broken.png", b"not a picture")
    return tmp_path / "pictures.zip"


def bring_zip(page, path) -> None:
    page.get_by_role("tab", name="Many pictures").click()
    page.locator("#zip input[type=file]").set_input_files(path)
    # With the mark of a file that is there: while it is sent, its name shows too, or is gone before anybody looks.
    page.locator("#zip", has_text=re.compile(r"pictures\s*\.zip.*⇣")).wait_for()


def test_many_pictures_are_stopped_during_the_first(visit, held_work, zip_of_two):
    page = visit(query="?methods=gradcam")
    panel(page, "gradcam", COMPLETE).wait_for()
    bring_zip(page, zip_of_two)
    page.locator("#set-go").click()
    page.locator("#set-note", has_text="flower.jpg").wait_for()
    page.locator("#set-stop").click()
    page.locator("#set-note", has_text="Stopped before a picture was measured.").wait_for()
    page.locator("#set-stop").wait_for(state="hidden")
    assert page.locator("#set-note progress").count() == 0


def test_a_zip_without_a_picture_leaves_no_progress_behind(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("broken.png", b"not a picture")
    page = visit(query="?methods=gradcam")
    panel(page, "gradcam", COMPLETE).wait_for()
    bring_zip(page, tmp_path / "pictures.zip")
    page.locator("#set-go").click()
    page.get_by_text("No picture could be read.").wait_for()
    page.locator("#set-stop").wait_for(state="hidden")
    assert page.locator("#set-note progress").count() == 0


def test_many_pictures_from_a_zip(visit, short_curves, zip_of_two):
    page = visit(query="?methods=gradcam")
    panel(page, "gradcam", COMPLETE).wait_for()
    bring_zip(page, zip_of_two)
    page.locator("#set-go").click()
    page.locator("#set-table table").wait_for(timeout=2 * PATIENCE)
    columns = len(camkit.DEFAULT_METHODS) - 1 + len(camkit.CONTROLS)  # all but the full Score-CAM
    assert page.locator("#set-table thead th").count() == 1 + columns
    assert "1 skipped: broken.png (The picture cannot be read" in page.locator("#set-note").inner_text()
    for name, wanted in (("results.csv", b"daisy/flower.jpg"), ("report.zip", b"report_files/data.js")):
        with page.expect_download() as download:
            page.locator("#set-files tr", has_text=name.split(".")[0]).locator("a").last.click()
        assert download.value.suggested_filename == name
        assert wanted in Path(download.value.path()).read_bytes()
    study = page.frame_locator("#set-pictures iframe")
    assert study.locator(".card.right").count() == 1  # its folder is its class
    study.locator(".card .open").click()
    study.get_by_role("button", name="Explain on the first screen").click()
    page.locator("#explained", has_text="daisy").wait_for()


def test_how_maps_are_shown_is_remembered_and_dead_controls_are_off(visit):
    page = visit(query="?methods=gradcam")
    panel(page, "gradcam", COMPLETE).wait_for()
    page.locator("#settings button").first.click()
    page.get_by_role("checkbox", name="Grad-CAM++", exact=True).check()
    panel(page, "gradcam_plus_plus", COMPLETE).wait_for()
    page.locator("#mode label", has_text="Even opacity").click()
    page.locator("#alpha input[type=number]").fill("0.3")
    page.locator("#alpha input[type=number]").press("Enter")
    page.wait_for_function("window.camView?.mode === 'even' && window.camView.alpha === 0.3")
    page.wait_for_function("localStorage.length > 0")
    page.goto(page.url.split("?")[0])
    panel(page, "gradcam_plus_plus", COMPLETE).wait_for()
    page.wait_for_function("window.camView?.mode === 'even' && window.camView.alpha === 0.3")
    assert page.locator("#maps figure").count() == 2
    assert page.locator("#alpha input[type=range]").is_enabled()
    page.locator("#mode label", has_text="Heatmap only").click()
    page.wait_for_function("document.querySelector('#alpha input[type=range]').disabled")
    page.locator("#mode label", has_text="Follows the map").click()
    page.wait_for_function("!document.querySelector('#alpha input[type=range]').disabled")
    page.wait_for_function("window.camView?.alpha === 0.8")
