"""The report as a browser, on a set made here: shapes on textures, one class with a mark in a corner, wrong labels."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from studies import BOXES, PICTURES, finished

import camkit
from camkit.evidence.settings import Settings
from camkit.passes.arithmetic import expand
from camkit.passes.resizing import Resizing
from camkit.report.browser import page_alone
from camkit.report.classes import differing, place_of
from camkit.report.report import write_reports
from camkit.report.results import Results
from camkit.study.classes import read_classes

SHAPES = ("disc", "square", "marked")
SETTINGS = Settings(methods=("gradcam", "layercam"), steps=2, coherency="none")
EACH = 12  # pictures of a shape
MISLABELLED = {"square/0.png", "square/1.png", "marked/2.png"}  # discs, all of them


def drawn(shape: str, seed: int) -> np.ndarray:
    """A 40 x 48 texture with a bright disc or square somewhere; of "marked" either, and a red corner below right."""
    random = np.random.default_rng([SHAPES.index(shape), seed])
    image = random.integers(60, 130, (48, 40, 3))
    down, across = (np.arange(side)[:, None] - random.integers(14, side - 16) for side in (48, 40))
    round_one = shape == "disc" or (shape == "marked" and seed % 2)
    far = down**2 + across.T**2 if round_one else np.maximum(abs(down), abs(across.T)) ** 2
    image[far <= 64] = 230
    if shape == "marked":
        image[40:, 32:] = (250, 20, 20)
    return image.astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def shapes():
    """A network that was trained here to tell the shapes; the mark alone tells the third."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((48, 40, 3))
    hidden = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    for number, filters in enumerate((8, 16, 16)):
        hidden = keras.layers.Conv2D(filters, 3, 2, "same", activation="relu", name=f"conv{number}")(hidden)
    outputs = keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(hidden))
    model = keras.Model(inputs, outputs)
    pictures = np.stack([drawn(shape, seed) for seed in range(100, 200) for shape in SHAPES]).astype(np.float32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(pictures, np.tile(np.arange(3), 100), epochs=20, batch_size=50, verbose=0)
    return camkit.load(model, labels=list(SHAPES))


@pytest.fixture(scope="module")
def results(shapes) -> Results:
    pictures = {
        f"{shape}/{seed}.png": png(drawn("disc" if f"{shape}/{seed}.png" in MISLABELLED else shape, seed))
        for shape in SHAPES
        for seed in range(EACH)
    }
    classes = read_classes("folder", {name: name for name in pictures}, shapes.labels)
    return Results.of(shapes, SETTINGS, finished(shapes, pictures, SETTINGS, classes=classes))


def study_of(folder) -> dict:
    text = (folder / "report_files" / "data.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("window.camkitStudy=").rstrip(";\n"))


def test_the_mark_is_found_in_its_class_and_in_none_else(results, tmp_path):
    write_reports(tmp_path, results)
    study = study_of(tmp_path)
    said, *found = study["words"]["gradcam"]
    (sentence,) = found
    assert said.startswith("At an edge, the maps of one class light up where the others' do not")
    assert re.match(r"marked: at the lower right corner the map is at least .* \(p = 0\.00\d\)\.$", sentence)
    assert sentence in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert [study["classes"][str(index)] for index in study["found"]["gradcam"]] == ["marked"]


def maps_of(counts, bright=(), every=1) -> tuple[np.ndarray, np.ndarray]:
    """Seeded noise as maps of so many pictures a class; of the `bright` classes every such map has a bright left
    edge."""
    classes = np.repeat(np.arange(len(counts)), counts)
    maps = np.random.default_rng(1).random((len(classes), 7, 7), np.float32) / 4
    maps[np.flatnonzero(np.isin(classes, bright))[::every], 3, 0] += 0.5
    return maps, classes


@pytest.mark.parametrize(("counts", "bright", "every"), [
    ((9, 30, 12), (), 1), ((9, 30, 12), (2,), 1), ((20,) * 6, (1, 3), 1), ((9, 30, 12), (2,), 2), ((30, 2), (1,), 1),
    ((30,), (0,), 1),
])  # fmt: skip
def test_only_a_class_whose_maps_all_differ_is_found_and_none_of_two_pictures(counts, bright, every):
    maps, classes = maps_of(counts, bright, every)
    found = differing(maps, classes)
    assert {each.class_index for each in found} == ({*bright} if len(counts) > 2 and every == 1 else set())
    for each in found:
        assert (each.place, each.p, each.share) == ("left edge", 0.001, 1) and each.others < 0.25


def test_by_chance_a_class_is_found_as_seldom_as_the_level_says(monkeypatch):
    """Of sets whose classes mean nothing, one in twenty has a finding, whatever the number of classes and however small
    the difference: of forty at most six, which chance exceeds once in a hundred."""
    monkeypatch.setattr("camkit.report.classes.LEAST", 0.0)
    random = np.random.default_rng(0)
    maps = random.random((40, 60, 2, 2), np.float32)
    assert sum(bool(differing(each, random.integers(0, 10, 60), seed)) for seed, each in enumerate(maps)) <= 6


@pytest.mark.parametrize(("index", "words"), [
    (0, "upper left corner"), (3, "upper edge"), (6, "upper right corner"), (21, "left edge"), (24, "middle"),
    (48, "lower right corner"), (45, "lower edge"),
])  # fmt: skip
def test_places_in_words(index, words):
    assert place_of(index, (7, 7)) == words


def test_the_folder_holds_every_picture_and_map_and_names_are_no_markup(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("camkit.report.browser.CHUNK", 2)
    pictures = PICTURES | {"</script><b>.png": PICTURES["0.png"]}
    last = finished(tiny, pictures, SETTINGS, BOXES, classes={"1.png": 5, "2.png": 7})
    results = Results.of(tiny, SETTINGS, last)
    write_reports(tmp_path, results)
    (tmp_path / "report_files" / "maps" / "9.js").touch()
    write_reports(tmp_path, results)  # anew, without what is no longer of it
    files = tmp_path / "report_files"
    assert sorted(path.name for path in files.rglob("*.js")) == ["0.js", "1.js", "data.js"]
    study, views = study_of(tmp_path), list(last.values["views"])
    assert study["names"] == list(pictures) and "</script>" not in (files / "data.js").read_text()
    chunks = [
        json.loads((files / f"maps/{number}.js").read_text().partition(f"[{number}]=")[2].rstrip(";\n"))
        for number in (0, 1)
    ]
    for number, (view, maps) in enumerate(zip(views, [*chunks[0], *chunks[1]], strict=True)):
        with Image.open(files / "pictures" / "0" / f"{number}.jpg") as picture:
            assert list(picture.size) == view["size"]
        assert maps[0] == [view["maps"][key] for key in SETTINGS.methods]
        assert bool(maps[1]) == bool(maps[3]) == (view["top"][0] != view["class_index"])
        assert maps[2] == [view["boxes"]["maps"][key] for key in SETTINGS.methods]
        assert maps[4] == ([[0, 0, 0.5, 1]] if number == 1 else [])  # of class 5; the other box is of class 7
    assert study["seen"] == {} and study["true"] == [-1, 5, 7, -1] and study["explained"][1:3] == [5, 7]
    assert sum(group["count"] for group in study["groups"]) == 4


def test_a_kept_map_is_the_map(tiny):
    """Expanded as stock expands a layer's values, it is the map, but for the step of a byte and for what is lost where
    a layer's value lies between two pixels: a quarter of the change of slope there, in each direction."""
    (value,) = finished(tiny, {"0.png": PICTURES["0.png"]}, SETTINGS).values["views"]
    cam = camkit.explain(tiny, camkit.open_picture(PICTURES["0.png"]), ["gradcam"]).cams["gradcam"]
    kept = np.frombuffer(base64.b64decode(value["maps"]["gradcam"]), np.uint8).reshape(value["grid"])
    lost = sum(0.25 * 2 * abs(np.diff(cam.map, 2, axis=axis)).max() for axis in (0, 1))
    np.testing.assert_allclose(expand(kept / 255, cam.map.shape), cam.map, atol=1 / 255 + lost)
    wanted = np.array(camkit.box_of(cam.map)) / (cam.map.shape[::-1] * 2)
    np.testing.assert_allclose(value["boxes"]["maps"]["gradcam"], wanted, atol=5e-5)


def test_what_the_model_does_not_see_of_a_picture_is_told(tiny, tmp_path):
    cropping = tiny.resizing_by(Resizing("crop"))
    wide = png(np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8))
    write_reports(tmp_path, Results.of(cropping, SETTINGS, finished(cropping, {"wide.png": wide}, SETTINGS)))
    assert study_of(tmp_path)["seen"] == {"0": [0.25, 0, 0.75, 1]}


def test_a_page_alone_needs_no_other_file(results, tmp_path):
    write_reports(tmp_path, results)
    page = page_alone(tmp_path / "report_files", "dark")
    assert '<html lang="en" class="dark">' in page and not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("data:image/jpeg;base64,") == 3 * EACH and "camkitMaps??={})[0]=" in page


@pytest.mark.browser
def test_the_report_shows_the_wrong_ones_first_and_keeps_what_is_chosen_in_its_address(results, tmp_path, browser):
    write_reports(tmp_path, results)
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    names = page.locator(".card .name")
    first = {text.removeprefix("wrong") for text in names.all_inner_texts()[: len(MISLABELLED)]}
    assert first == MISLABELLED and names.count() == 3 * EACH
    assert page.locator(".card.wrong figure").count() == 2 * len(MISLABELLED)
    drawn_first = page.locator(".card canvas").first.screenshot()
    page.get_by_label("View").select_option("none")
    plain = page.locator(".card canvas").first.screenshot()
    page.get_by_label("Boxes").check()
    assert plain not in (drawn_first, page.locator(".card canvas").first.screenshot())
    page.wait_for_function("location.hash.includes('boxes=on')")
    page.get_by_role("button", name="square taken for disc 2").click()
    assert names.count() == 2 and "#" in page.url and "true=1" in page.url and "view=none" in page.url
    again = browser.new_page()
    again.goto(page.url)
    assert (
        again.locator(".card").count() == 2
        and again.locator("label:has-text('True class') select").input_value() == "1"
    )
    again.get_by_role("button", name="Clear filters").click()
    again.get_by_label("Order").select_option("faithful")
    study = study_of(tmp_path)
    least = min(range(3 * EACH), key=lambda number: study["gains"]["gradcam"][number])
    assert again.locator(".card .name").first.inner_text().endswith(study["names"][least])
    again.get_by_role("searchbox").fill("marked/")
    again.wait_for_function(f"document.querySelectorAll('.card').length === {EACH}")
    again.locator(".card .open").first.click()
    shown = again.locator("dialog h2").inner_text()
    again.keyboard.press("ArrowRight")
    assert again.locator("dialog h2").inner_text() != shown
    assert not errors
