"""The figure to keep, and overlays whose opacity follows the map."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import camkit
from camkit import units
from camkit.export.figure import DPI, PANEL, SCREEN, SLIDE, WIDTH, draw_figure, draw_slide, figure_files
from camkit.methods import METHODS
from camkit.passes.outputs import percent
from camkit.passes.placement import WHOLE


@pytest.fixture(scope="module")
def explanation(tiny):
    picture = np.random.default_rng(1).integers(0, 256, (60, 50, 3), np.uint8)
    return camkit.explain(tiny, picture, class_index=812, max_n=3)


@pytest.mark.parametrize("methods", [["gradcam"], list(camkit.METHODS)], ids=["one map", "all maps"])
def test_a_figure_is_wide_enough_for_print_and_holds_every_map_in_order(tiny, noise, methods):
    explanation = camkit.explain(tiny, noise, methods)
    figure = np.asarray(draw_figure(explanation, 0.8, "turbo", "map"))
    assert figure.shape[1] >= WIDTH
    count = 1 + len(methods)
    pitch = (figure.shape[1] - 40) // count
    wide, high = pitch - 40, round((pitch - 40) * 60 / 50)
    assert wide >= PANEL
    drawn = [
        noise,
        *(camkit.overlay(noise, explanation.cams[key].map, 0.8, "turbo", "map") for key in explanation.cams),
    ]
    tops = []
    for position, wanted in enumerate(drawn):
        panel = np.asarray(Image.fromarray(wanted).resize((wide, high), Image.Resampling.LANCZOS)).astype(int)
        column = figure[:, 40 + position * pitch : 40 + position * pitch + wide].astype(int)
        tops += [top for top in range(len(column) - high) if (column[top] == panel[0]).all()]
        np.testing.assert_array_equal(column[tops[-1] : tops[-1] + high], panel)
    assert len(set(tops)) == 1  # all in one row


def test_captions_name_class_probability_method_cost_and_model(explanation, monkeypatch):
    from camkit.export import figure

    written = []
    monkeypatch.setattr(figure, "_write", lambda draw, place, text, *rest: written.append(text))
    draw_figure(explanation)
    assert written[0] == f"space shuttle, probability {percent(explanation.probability)}"
    assert any("layer late" in text for text in written) and any(text.startswith("top class: ") for text in written)
    for key, cam in explanation.cams.items():
        assert camkit.METHODS[key].name in written and units.cost_in_words(cam) in written


def test_a_partial_map_is_called_partial(explanation, monkeypatch):
    from camkit.export import figure

    written = []
    monkeypatch.setattr(figure, "_write", lambda draw, place, text, *rest: written.append(text))
    cam = replace(explanation.cams["scorecam"], complete=False, channels=3)
    draw_figure(replace(explanation, cams={"scorecam": cam}))
    assert f"partial: 3 of {cam.channels_total} channels" in written


def test_files_carry_their_resolution(explanation):
    files = figure_files(explanation)
    assert list(files) == ["figure.png", "figure.pdf"] and files["figure.pdf"].startswith(b"%PDF")
    with Image.open(io.BytesIO(files["figure.png"])) as image:
        assert image.width >= WIDTH and image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)


def test_a_notebook_shows_the_figure_and_a_terminal_one_line(explanation, tiny):
    with Image.open(io.BytesIO(explanation._repr_png_())) as image:
        assert image.format == "PNG" and image.width == SCREEN
        figure = draw_figure(explanation).resize(image.size, Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(image).astype(int) - np.asarray(figure)).mean() < 2
    probability = f"{explanation.probability:.3g}"
    total = explanation.cams["scorecam"].channels_total
    partial = replace(explanation.cams["scorecam"], complete=False, channels=3)
    for cams, maps in (
        ({}, "no map yet"),
        ({"gradcam": explanation.cams["gradcam"], "scorecam": partial}, f"gradcam, scorecam (3 of {total} channels)"),
    ):
        shown = repr(replace(explanation, cams=cams))
        assert shown == f"<Explanation of space shuttle (812), probability {probability}, by tiny at late: {maps}>"
    assert repr(tiny) == "<Classifier Tiny: pictures of 40 x 48 pixels, 1000 classes, target layer late>"


def test_the_opacity_of_an_overlay_can_follow_the_map(noise):
    cam_map = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    weight = 0.8 * WHOLE.fit(cam_map, noise.shape[:2])[..., None]
    wanted = np.rint(noise * (1 - weight) + camkit.heatmap(WHOLE.fit(cam_map, noise.shape[:2]), "turbo") * weight)
    np.testing.assert_allclose(camkit.overlay(noise, cam_map, 0.8, "turbo", "map"), wanted, atol=1)
    zero = np.zeros((3, 4), np.float32)
    np.testing.assert_array_equal(camkit.overlay(noise, zero, 0.8, "turbo", "map"), noise)  # the picture itself
    full = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(
        camkit.overlay(noise, full, 0.8, opacity="map"), camkit.overlay(noise, full, 0.8, opacity="even")
    )
    with pytest.raises(ValueError, match=r"^Opacity 'none' is unknown: use one of even, map\.$"):
        camkit.overlay(noise, zero, opacity="none")


@pytest.mark.parametrize("shape", [(60, 50), (400, 40), (40, 400)], ids=["as usual", "tall", "wide"])
def test_a_slide_holds_every_picture_the_words_and_the_link(tiny, monkeypatch, shape):
    from camkit.export import figure

    explanation = camkit.explain(tiny, np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8), max_n=3)
    written = []
    monkeypatch.setattr(figure, "_write", lambda draw, place, text, *rest: written.append((place, text)))
    plain = np.asarray(draw_slide(explanation))
    assert (np.asarray(draw_slide(explanation, box=True)) != plain).any()
    written.clear()
    told = draw_slide(explanation, link="https://a.b/?c", words="long word " * 20)
    assert told.size == SLIDE and (np.asarray(told) != plain)[124:200].any()
    names = [METHODS[key].name for key in explanation.cams]
    assert {"Picture", "https://a.b/?c", *names} <= {text for _, text in written}
    places = {place for place, text in written if text in ("Picture", *names)}
    assert len(places) == 1 + len(names) and max(down for _, down in places) < SLIDE[1] - 60  # none on another


def test_the_zip_is_for_people_and_older_ones_still_load(explanation, tmp_path):
    camkit.write_bundle(tmp_path / "new.zip", explanation, extra={"figures/strip.png": b""}, model_name="Lite")
    with zipfile.ZipFile(tmp_path / "new.zip") as new, zipfile.ZipFile(tmp_path / "old.zip", "w") as old:
        assert set(new.namelist()) == {
            *("README.txt", "picture.png", "data/explanation.json", "data/maps.npz", "figures/strip.png"),
            *(f"overlays/{METHODS[key].name}.png" for key in explanation.cams),
        }
        told = new.read("README.txt").decode()
        assert told.startswith("What Lite looked at for space shuttle (probability ")
        assert "\nfigures/ " in told and "faithfulness" not in told  # what is not there is not listed
        for name in ("data/explanation.json", "data/maps.npz", "picture.png"):
            old.writestr(name.removeprefix("data/"), new.read(name))
    for name in ("new.zip", "old.zip"):
        loaded = camkit.load_bundle(tmp_path / name)
        assert loaded.class_name == "space shuttle"
        np.testing.assert_array_equal(loaded.cams["gradcam"].map, explanation.cams["gradcam"].map)
    with pytest.raises(camkit.InputError, match=r"must be the zip that 'Save all \(zip\)' gives\.$"):
        camkit.load_bundle(io.BytesIO(b"no zip"))
