"""Boxes drawn by hand: every form that they come in gives the same shares of the same picture."""

import io
import json

import pytest
from conftest import EXAMPLES
from PIL import Image

import camkit
from camkit.labels import Labels
from camkit.study.boxes import boxes_for, read_boxes
from camkit.study.pictures import gather

LABELS = Labels.of(["ant", "bee", "wasp"])
COCO = {
    "images": [{"id": 7, "file_name": "a.jpg", "width": 200, "height": 100}],
    "categories": [{"id": 1, "name": "bee"}, {"id": 2, "name": "person"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [20, 10, 100, 40]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 200, 100], "iscrowd": 1},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5]},
        {"image_id": 7, "category_id": 1, "bbox": [9, 9, 0, 9]},
    ],
}
VOC = """<annotation><filename>%s</filename><size><width>%d</width><height>100</height></size>
<object><name>bee</name><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>120</xmax><ymax>50</ymax></bndbox></object></annotation>"""


def photo(rotated: bool = False) -> bytes:
    """A JPEG that is 200 x 100 pixels once it is upright."""
    exif, buffer = Image.Exif(), io.BytesIO()
    if rotated:
        exif[0x0112] = 6
    Image.new("RGB", (100, 200) if rotated else (200, 100)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


PICTURES = {"deep/a.jpg": photo(), "b.jpg": photo(rotated=True)}


def written(folder, name: str, text: str):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "picture"),
    [
        ("c.json", json.dumps(COCO), "deep/a.jpg"),
        ("a.xml", VOC % ("a.jpg", 200), "deep/a.jpg"),
        ("deep/a.xml", VOC % ("%s", 200), "deep/a.jpg"),  # as some of ImageNet's
        ("b.xml", VOC % ("b", 0), "b.jpg"),  # without a size
        ("c.csv", "deep/a.jpg,bee,20,10,120,50", "deep/a.jpg"),
        ("c.csv", "class;y1;x1;name;x0;y0\n1;50;120;b.jpg;20;10", "b.jpg"),
        ("c.csv", "a,bee,0.1,0.1,0.6,0.5", "deep/a.jpg"),
        ("o.json", '{"pictures": {"b.jpg": [{"label": "x", "class_index": 1, "box": [0.1, 0.1, 0.6, 0.5]}]}}', "b.jpg"),
    ],
)  # fmt: skip
def test_every_form_gives_the_same_box(tmp_path, name, text, picture):
    written(tmp_path, name, text)
    drawn = boxes_for(tmp_path if "/" in name else tmp_path / name, PICTURES, LABELS)
    (box,) = drawn.boxes.pop(picture)
    assert not drawn.boxes and box.class_index == 1
    assert box.box == pytest.approx((0.1, 0.1, 0.6, 0.5), abs=1e-12)
    said = ["1 box of classes that the model does not have: 'person'.", "1 box without an area inside the picture."]
    assert drawn.left_out == (said if name == "c.json" else [])


@pytest.mark.parametrize(
    ("name", "text", "pictures", "sentence"),
    [
        ("c.json", "[1]", PICTURES, r"^'c\.json' does not hold boxes that can be read: give a JSON file like"),
        ("c.json", '{"annotations": [{}]}', PICTURES, r"^'c\.json' does not hold boxes that can be read"),
        ("a.xml", "<annotation>", PICTURES, r"^'a\.xml' does not hold boxes that can be read"),
        ("c.csv", "a,bee,1,2,3", PICTURES, r"^'c\.csv' has a row of fewer columns than name, class, x0"),
        ("c.csv", "a,bee,1,2,3,none", PICTURES, r"^'c\.csv' does not hold boxes that can be read"),
        ("c.csv", "z,bee,1,2,3,4", PICTURES, "its names are those of no picture of this study"),
        ("c.csv", "a,cat,1,2,3,4", PICTURES, "1 box of classes that the model does not have: 'cat'"),
        ("c.csv", "a,bee,1,2,3,4", {"x/a.jpg": b"", "y/a.png": b""}, "^'a' names several pictures: give"),
        ("c.csv", "a,bee,1,2,3,4", {"a.jpg": "s3://x/a.jpg"}, "give its boxes as shares from 0 to 1"),
        ("c.csv", "a,bee,1,2,3,4", {"a.jpg": b"no"}, "^The picture cannot be read"),
        ("empty/none.txt", "", PICTURES, "^The folder 'empty' holds no XML file"),
    ],
)
def test_what_is_no_box_of_the_study_is_refused_in_a_sentence(tmp_path, name, text, pictures, sentence):
    path = written(tmp_path, name, text)
    with pytest.raises(camkit.InputError, match=sentence):
        boxes_for(path.parent if "/" in name else path, pictures, LABELS)


def test_the_boxes_of_the_examples_are_on_their_pictures():
    boxes = read_boxes(EXAMPLES / "boxes.json")
    assert boxes and set(boxes) <= set(gather([EXAMPLES]).pictures)
    assert {box.class_index for box in boxes["astronaut.jpg"]} == {812}
    assert [box.label for box in boxes["cat_and_coffee.jpg"]] == ["cat", "cup"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a.jpg": []}',
        '{"pictures": {"a.jpg": [{"label": "x"}]}}',
        '{"pictures": {"a.jpg": [{"label": "x", "class_index": -1, "box": [0, 0, 1, 1]}]}}',
    ],
)
def test_a_file_that_holds_no_boxes_is_refused(tmp_path, text):
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(ValueError, match=r"^boxes\.json does not hold boxes"):
        read_boxes(tmp_path / "boxes.json")
    assert read_boxes(tmp_path / "none.json") == {}
