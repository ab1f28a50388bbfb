"""The box of a map's largest region, beside scikit-image's own labels, and where it is given away."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label, regionprops

import camkit
from camkit.export.figure import GAP, draw_figure
from camkit.passes.placement import WHOLE


def by_scikit_image(cam_map, threshold):
    regions = regionprops(label(cam_map >= threshold * cam_map.max(), connectivity=2))
    top, left, bottom, right = max(regions, key=lambda region: region.area).bbox
    return left, top, right, bottom


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5, 0.9, 1])
@pytest.mark.parametrize("size", [(50, 60), (640, 211), (9, 31)])  # larger and smaller than the model's 40 x 48
def test_the_box_is_that_of_another_implementation_in_the_picture_s_own_pixels(tiny, threshold, size):
    image = np.random.default_rng(5).integers(0, 256, (*size[::-1], 3), np.uint8)
    for cam in camkit.explain(tiny, image, ["gradcam", "scorecam"]).cams.values():
        assert cam.image_size == size
        wanted = by_scikit_image(WHOLE.fit(cam.map, image.shape[:2]), threshold)
        np.testing.assert_allclose(camkit.box_of(cam, threshold), wanted, atol=1)


def test_the_box_of_noise_is_exact_and_fits_pillow_s_crop():
    for seed in range(20):
        noise = np.random.default_rng(seed).random((23, 31), np.float32) ** 2
        box = camkit.box_of(noise)
        assert box == by_scikit_image(noise, 0.2)
        assert np.asarray(Image.fromarray(noise).crop(box)).max() >= 0.2 * noise.max()


def test_the_figure_and_the_bundle_hold_the_box(tiny, noise, tmp_path):
    explanation = camkit.explain(tiny, noise, ["gradcam"])
    plain, framed = (np.asarray(draw_figure(explanation, alpha=0.0, box=box)) for box in (False, True))
    rows, columns = np.nonzero((plain != framed).any(axis=2))
    left, top, right, bottom = camkit.box_of(explanation.cams["gradcam"])
    scale = (framed.shape[1] - 3 * GAP) / 2 / noise.shape[1]
    assert np.ptp(columns) == pytest.approx(scale * (right - left), abs=scale)
    assert np.ptp(rows) == pytest.approx(scale * (bottom - top), abs=scale)
    camkit.write_bundle(tmp_path / "b.zip", explanation)
    held = json.loads(zipfile.ZipFile(tmp_path / "b.zip").read("data/explanation.json"))["cams"]["gradcam"]
    assert tuple(held["box"]) == (left, top, right, bottom)
    assert camkit.box_of(camkit.load_bundle(tmp_path / "b.zip").cams["gradcam"]) == (left, top, right, bottom)


def test_a_map_of_nothing_has_no_box():
    assert camkit.box_of(np.zeros((4, 4), np.float32)) is None
    assert camkit.box_of(np.ones((4, 6), np.float32)) == (0, 0, 6, 4)


@pytest.mark.parametrize("threshold", [0, 1.1, -0.2, float("nan"), True, "0.2", None])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(camkit.InputError, match=r"^The threshold is .+: it must be a number above 0 and at most 1\.$"):
        camkit.box_of(np.ones((4, 4), np.float32), threshold)
