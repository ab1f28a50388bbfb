"""How pictures become inputs, against what Keras, TensorFlow and torchvision do; and the way back of maps and boxes."""

import keras
import numpy as np
import pytest
from PIL import Image

import camkit
from camkit.evidence.measure import measure
from camkit.passes.resizing import INTERPOLATIONS, Resizing, size_of

SHAPES = [(300, 451), (451, 300), (33, 97), (512, 512), (719, 1280)]
INPUTS = [(224, 224), (96, 128)]
KERAS = {"squeeze": {}, "crop": {"crop_to_aspect_ratio": True}, "pad": {"pad_to_aspect_ratio": True}}


@pytest.fixture(scope="module", params=SHAPES, ids="{0[0]}x{0[1]}".format)
def picture(request, tmp_path_factory):
    """A picture of each shape, alone in a folder."""
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.open(camkit.EXAMPLES / "chelsea.jpg").resize(request.param[::-1]).save(path)
    return path


@pytest.mark.parametrize("size", INPUTS)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("resize", ["squeeze", "crop"])
def test_pillows_filters_give_what_load_img_gives(picture, size, resize, interpolation):
    keeps = {"keep_aspect_ratio": resize == "crop"}
    wanted = keras.utils.load_img(picture, target_size=size, interpolation=interpolation, **keeps)
    found = Resizing.of(resize, interpolation).apply(camkit.open_picture(picture), size)
    np.testing.assert_array_equal(found, np.asarray(wanted))


@pytest.mark.parametrize("size", INPUTS)
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("resize", KERAS)
def test_tensorflows_filters_give_what_image_dataset_from_directory_gives(picture, size, resize, interpolation):
    dataset = keras.utils.image_dataset_from_directory(
        picture.parent, None, image_size=size, interpolation=interpolation, verbose=False, **KERAS[resize]
    )
    found = Resizing.of(resize, f"tf_{interpolation}").apply(camkit.open_picture(picture), size)
    np.testing.assert_allclose(found, next(iter(dataset))[0], atol=1e-3)  # of 255, in float32


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_crop_to_a_side_is_torchvisions_resize_and_center_crop(picture, interpolation):
    """torchvision resizes a Pillow image with Pillow, the shorter side to 256 and the longer one to the whole number
    below, and cuts the middle out at round((side - 224) / 2). Pillow's weights have 22 bits, so that a value in the
    middle of two levels may become the other one."""
    image = Image.open(picture)
    shorter = min(image.size)
    resized = image.resize([256 * side // shorter for side in image.size], INTERPOLATIONS[interpolation])
    left, top = (round((side - 224) / 2) for side in resized.size)
    wanted = np.asarray(resized.crop((left, top, left + 224, top + 224)), int)
    found = Resizing.of("crop:256", interpolation).apply(np.asarray(image), (224, 224))
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() < 1e-3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Resizing.of("stretch"), "Resize 'stretch' is unknown: use one of 'squeeze' "),
        (lambda: Resizing.of("crop:N"), "Resize 'crop:N' is unknown"),
        (lambda: Resizing.of("crop", "lanczos"), "Interpolation 'lanczos' is unknown: use one of bicubic, "),
        (lambda: Resizing.of("crop:96").check((224, 224)), "the model takes 224 x 224 pixels: use crop:224 or more"),
        *((lambda each=each: size_of(each), "The size is ") for each in ("0", "96x", "1x2x3", (96, -1), 9000, 1.5, [])),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, said):
    with pytest.raises(camkit.InputError, match=said.replace("(", r"\(")):
        make()


@pytest.mark.parametrize(
    ("given", "size"), [(96, (96, 96)), ("96", (96, 96)), ("64x96", (64, 96)), ([64, 96], (64, 96))]
)
def test_a_size_is_one_number_or_height_and_width(given, size):
    assert size_of(given) == size and size_of(None) is None


@pytest.mark.parametrize(
    ("resize", "seen", "filled"),
    [
        ("squeeze", (0, 0, 1, 1), (0, 0, 1, 1)),
        ("crop", (1 / 4, 0, 3 / 4, 1), (0, 0, 1, 1)),
        ("crop:80", (5 / 16, 1 / 8, 11 / 16, 7 / 8), (0, 0, 1, 1)),
        ("pad", (0, 0, 1, 1), (0, 15 / 60, 1, 45 / 60)),
    ],
)
def test_the_map_goes_back_onto_the_part_that_the_model_saw(resize, seen, filled):
    """Of a picture twice as wide as high, by an input of 60 x 60 that is marked where the picture is."""
    placement = Resizing.of(resize).placement((100, 200), (60, 60))
    np.testing.assert_allclose((placement.seen, placement.filled), (seen, filled), atol=1e-12)
    rows, columns = placement.part((60, 60))
    cam_map = np.zeros((60, 60), np.float32)
    cam_map[rows, columns] = np.linspace(0.25, 1, columns.stop - columns.start)
    image = np.full((100, 200, 3), 77, np.uint8)
    drawn = camkit.overlay(image, cam_map, alpha=1.0, placement=placement)
    left, right = round(200 * seen[0]), round(200 * seen[2])
    top, bottom = round(100 * seen[1]), round(100 * seen[3])
    coloured = (drawn != 77).any(axis=2)
    assert coloured[top:bottom, left:right].all() and coloured.sum() == (bottom - top) * (right - left)
    level = placement.fit(cam_map, (100, 200))
    assert level[:, 0].max() < 0.27 and level[:, -1].min() > 0.98  # nothing of the border is mixed in
    assert placement.within((0.5, 0, 1, 1)) == pytest.approx((0.5, 0, 1, 1))
    assert (placement.within((0, 0, 0.25, 1)) is None) == resize.startswith("crop")


@pytest.mark.parametrize("resize", ["squeeze", "crop", "crop:60", "pad"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_map_is_measured_on_what_the_model_saw_and_a_border_stays(resize, interpolation, tiny, monkeypatch):
    image = np.random.default_rng(0).integers(1, 256, (60, 90, 3), np.uint8)
    clf = tiny.resizing_by(Resizing.of(resize, interpolation))
    explanation = camkit.explain(clf, image, ["gradcam"])
    placement, whole = clf.placement(image), clf.preprocess(image)[0]
    assert explanation.placement == explanation.cams["gradcam"].placement == placement
    scored, score_fn = [], clf.score_fn
    monkeypatch.setattr(clf, "score_fn", lambda index: lambda inputs: scored.append(inputs) or score_fn(index)(inputs))
    found = {key: each for key, each in measure(clf, explanation) if each}
    assert found["gradcam"].insertion.probabilities[-1] == explanation.probability
    assert found["gradcam"].metrics["complexity"] == pytest.approx(explanation.maps["gradcam"].mean(), abs=1e-6)
    border = np.ones(whole.shape[:2], bool)
    border[placement.part(whole.shape[:2])] = False
    assert border.any() == (resize == "pad")
    changed = np.concatenate(scored) != whole
    assert not changed[:, border].any() and changed[:, ~border].any(axis=(0, 2)).all()
