"""What the figures say in words: each sentence against figures of which it is known."""

from dataclasses import replace

import numpy as np
import pytest

from camkit.evidence.observations import Curve, Measurement
from camkit.evidence.sanity import Likeness
from camkit.evidence.sweep import SweepPoint
from camkit.explanation import Cam, Explanation, Prediction
from camkit.report.figures import curves_figure, sanity_figure
from camkit.report.report import measurement_table
from camkit.report.words import contrast_words, listed, models_words, result_words, sweep_words, verdict, where


def measured(key: str, worth: float) -> Measurement:
    """A Measurement that is worth `worth`: insertion at that height or deletion at its negative, the other at zero."""
    ends = np.array([0.0, 1.0])
    curves = [Curve(ends, np.full(2, max(0.0, value))) for value in (worth, -worth)]
    return Measurement(key, {}, *curves)


def said(probability: float = 0.5, **worth: float) -> str:
    return verdict({key: measured(key, value) for key, value in worth.items()}, probability)


CONTROLS = {"random": 0.1, "gaussian": 0.2, "uniform": 0.05}


@pytest.mark.parametrize(
    ("worth", "sentence"),
    [
        (
            {"gradcam": 0.3, "gradcam_plus_plus": 0.2, "scorecam": 0.5, **CONTROLS},
            "Score-CAM's map tells best what the network needs; Grad-CAM++'s map is no better than a centred blob.",
        ),
        (
            {"gradcam": 0.5, "gradcam_plus_plus": 0.1, "scorecam": 0.498, "faster_scorecam": 0.0, **CONTROLS},
            "the maps of Grad-CAM and Score-CAM tell best what the network needs; "
            "the maps of Grad-CAM++ and Faster Score-CAM are no better than a centred blob.",
        ),
        (
            {"gradcam": 0.3, "scorecam": 0.4, **CONTROLS},
            "Score-CAM's map tells best what the network needs; "
            "every map is better than maps that know nothing of the picture.",
        ),
        (
            {"gradcam": 0.1, "scorecam": -0.2, **CONTROLS, "random": 0.6},
            "no map tells better than random blobs what the network needs; Grad-CAM's map comes closest.",
        ),
        (
            {"gradcam": 0.3, **CONTROLS},
            "Grad-CAM's map tells what the network needs; it is better than maps that know nothing of the picture.",
        ),
        ({"gradcam": 0.3, "scorecam": 0.3}, "all maps tell equally well what the network needs."),
    ],
)
def test_whose_map_is_worth_most_and_whose_is_no_better_than_a_control(worth, sentence):
    assert said(**worth) == f"On this picture {sentence}" and said(**CONTROLS) == ""


def blob(left: float = 0.0, top: float = 0.0, right: float = 1.0, bottom: float = 1.0) -> np.ndarray:
    """A map (20, 20) that is 1 in a box, in shares of the sides, and 0.4 elsewhere: less than half of it."""
    found = np.full((20, 20), 0.4, np.float32)
    found[round(20 * top) : round(20 * bottom), round(20 * left) : round(20 * right)] = 1
    return found


def explained(maps: dict[str, np.ndarray], answers=(0.95, 0.02), outputs="classes", index=0, missing=()) -> Explanation:
    classes = [
        Prediction(each, "", name, answer) for each, (name, answer) in enumerate(zip("AB", answers, strict=True))
    ]
    cams = {
        key: Cam(key, each, each, 1.0, 1, 1, 70 - (key in missing), 70, key not in missing)
        for key, each in maps.items()
    }
    image, shown = np.zeros((4, 4, 3), np.uint8), classes[index]
    return Explanation(
        image, "m", "l", tuple(maps), 10, index, shown.name, tuple(classes), cams, 1.0, outputs, shown.probability
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "The network is sure."),
        ({"answers": (0.89, 0.1)}, "The network is fairly sure."),
        ({"answers": (0.55, 0.45)}, "The network has doubts."),
        ({"answers": (0.3, 0.2)}, "The network has doubts: next comes B, 20.0%."),
        ({"answers": (0.149, 0.1)}, "The network is not sure: next comes B, 10.0%."),
        ({"index": 1}, "The network is sure: its own first guess is A, 95.0%."),
        ({"outputs": "labels"}, "The network says yes to it."),
        ({"outputs": "labels", "index": 1}, "The network says no to it."),
    ],
)
def test_how_sure_the_model_is(given, sentence):
    assert result_words(explained({}, **given)) == sentence


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 0.4, 1), "on the left (40% of the picture)"),
        ((0.6, 0, 1, 1), "on the right (40% of the picture)"),
        ((0.6, 0, 1, 0.5), "in the upper right (20% of the picture)"),
        ((0, 0.5, 0.4, 1), "in the lower left (20% of the picture)"),
        ((0, 0, 1, 0.2), "at the top (20% of the picture)"),
        ((0.2, 0.8, 0.8, 1), "at the bottom (12% of the picture)"),
        ((0.3, 0.3, 0.7, 0.7), "in the middle (16% of the picture)"),
        ((0, 0, 1, 0.5), "over most of the picture (50%)"),
    ],
)
def test_where_a_map_lies(box, words):
    assert where(explained({"gradcam": blob(*box)})) == f"Grad-CAM's map lies {words}."


def test_maps_of_one_place_are_named_together():
    left, right, nothing = blob(right=0.4), blob(left=0.6), np.zeros((20, 20), np.float32)
    three = {"gradcam": left, "scorecam": blob(right=0.3), "layercam": right}
    assert where(explained(three)) == (
        "The maps of Grad-CAM and Score-CAM lie on the left (30 to 40% of the picture), "
        "that of LayerCAM on the right (40%)."
    )
    assert where(explained(three, missing=["layercam"])).startswith("The complete maps lie on the left (30 to")
    assert where(explained({"gradcam": left, "scorecam": left})).startswith("Both maps lie on the left (40% of")
    assert where(explained({"gradcam": nothing})) == "Grad-CAM's map is zero everywhere."
    assert where(explained(three, missing=three)) == ""


def rows_of(worth: dict[str, float], missing=(), **metrics) -> dict[str, list[str]]:
    """The rows of a table by their names; `metrics`: the values of Grad-CAM and Score-CAM. ** marks the best."""
    explanation = explained(dict.fromkeys(("gradcam", "scorecam"), blob()), missing=missing)
    found = {
        key: replace(measured(key, each), metrics={name: values[key == "scorecam"] for name, values in metrics.items()})
        for key, each in worth.items()
        if key not in missing
    }
    table = measurement_table(found, explanation)
    assert ("–: not measured" in table.legend) == bool(missing) and "↓: lower is better" in table.legend
    return {str(row[0]).rstrip(" ↑↓"): [str(cell) for cell in row[1:]] for row in (table.header, *table.rows)}


def test_the_best_is_marked_only_where_it_is_one():
    worth = {"gradcam": 0.5, "scorecam": 0.4, **CONTROLS}
    values = {"insertion": (0.5, 0.4), "increase": (1.0, 1.0), "gain": (0.0, 0.0), "coherency": (0.9931, 0.9934)}
    rows = rows_of(worth, **values)
    assert rows["Insertion"][:2] == ["**0.500**", "0.400"]
    assert [rows[name][:2] for name in ("Increase in confidence", "Confidence gain", "Coherency")] == [
        ["1", "1"],
        ["0.0%", "0.0%"],
        ["0.993", "0.993"],
    ]
    none_beats = rows_of(worth | {"random": 0.9}, **values)  # where all fail none is the best
    assert none_beats["Insertion"][:2] == ["0.500", "0.400"] and none_beats["Better than every control"][0] == "no"


def test_a_stopped_map_keeps_its_column():
    rows = rows_of({"gradcam": 0.5, **CONTROLS}, missing=["scorecam"], insertion=(0.5, None))
    assert rows["Metric"][1] == "Score-CAM (stopped at 69 of 70)"
    assert rows["Insertion"][1] == rows["Better than every control"][1] == "–" and rows["Seconds"][1] == "1.0 s"


def test_a_control_looks_alike_in_every_figure():
    points = [Likeness(key, 1, "l", 1, 1, 0.5, 0.5) for key in ("gradcam", "gaussian", "random")]
    curves = curves_figure({key: measured(key, 0.1) for key in ("gradcam", "scorecam", *CONTROLS)})
    dashes = [
        {name: trace.line.dash for trace in figure.data if trace.line.dash for name in (trace.name,)}
        for figure in (sanity_figure(points), curves)
    ]
    assert dashes[0]["Random map"] == dashes[1]["Random map"] != dashes[1]["Uniform map"]
    assert dashes[0]["Fixed map"] == dashes[1]["Centred Gaussian"] != dashes[1]["Random map"]


def test_how_the_maps_of_two_classes_compare():
    left, right = blob(right=0.4), blob(left=0.6)
    assert (
        contrast_words("gradcam", ("A", "B"), (left, left / 2)) == "By Grad-CAM the same places speak for A and for B."
    )
    assert (
        contrast_words("gradcam", ("A", "B"), (left, right))
        == "What speaks for A lies on the left; for B, on the right."
    )
    assert contrast_words("gradcam", ("A", "B"), (left, 0 * left)) == "By Grad-CAM nothing in the picture speaks for B."
    assert "Both maps lie on the left, but differ there" in contrast_words(
        "gradcam", ("A", "B"), (left, blob(right=0.2))
    )


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            {"maps": {"gradcam": blob(right=0.4), "scorecam": blob(right=0.4)}},
            {"maps": {"gradcam": blob(right=0.4), "scorecam": blob(left=0.6)}, "answers": (0.5, 0.4)},
            "Both say A first, one 95.0% and two 50.0%; Grad-CAM's map lies in the same place for both; "
            "Score-CAM's map lies on the left for one, on the right for two.",
        ),
        (
            {"maps": {"gradcam": blob(right=0.4), "scorecam": blob()}, "missing": ("scorecam",)},
            {"maps": {"gradcam": blob(right=0.2), "scorecam": blob()}, "answers": (3.25, 0), "outputs": "value"},
            "Both say A first, one 95.0% and two 3.25; Grad-CAM's map lies on the left for both, but differs there.",
        ),
        (
            {"maps": {"gradcam": blob(top=0.8), "scorecam": blob(top=0.8)}},
            {"maps": {"gradcam": 0 * blob(), "scorecam": 0 * blob()}},
            "Both say A first, one 95.0% and two 95.0%; the maps of Grad-CAM and Score-CAM lie at the bottom for one, "
            "nowhere for two.",
        ),
    ],
)
def test_what_differs_between_two_models(first, second, words):
    assert models_words(("one", "two"), (explained(**first), explained(**second))) == words


def test_two_models_that_guess_otherwise():
    other = replace(explained({}), predictions=(Prediction(1, "", "B", 0.7),))
    assert models_words(("one", "two"), (explained({}), other)) == "one says A, 95.0% and two says B, 70.0%."


@pytest.mark.parametrize(
    ("correlations", "words"),
    [
        (
            (0.5, 0.96, 0.94, 0.97, 1.0),
            "With 50 of 80 channels Faster Score-CAM's map is nearly the full Score-CAM's, in 5.0 s instead of 8.0 s "
            "(correlation 0.97). With 10, the default, it is 0.96.",
        ),
        (
            (0.5, 0.6, 0.7, 0.9, 1.0),
            "Only all 80 channels give the full Score-CAM's map. With 10, the default, it is 0.60.",
        ),
    ],
)
def test_how_many_channels_are_enough(correlations, words):
    counts = (1, 10, 20, 50, 80)
    assert words == sweep_words(
        [SweepPoint(count, each, count / 10, count, blob()) for count, each in zip(counts, correlations, strict=True)]
    )


def test_small_figures_are_called_small():
    assert said(0.002, gradcam=0.01, scorecam=0.0).endswith(
        " The class has a probability of 0.2% only, so all figures are small."
    )


def test_lists_of_names():
    assert [listed(names) for names in (["A"], ["A", "B"], ["A", "B", "C"])] == ["A", "A and B", "A, B and C"]
