"""What a study measures on a picture, against what each figure must be."""

import math

import numpy as np
import pytest
from studies import PICTURES, finished, picture, rows_of

import camkit
from camkit.evidence.curves import measure_stream
from camkit.evidence.metrics import CONTROLS, METRICS
from camkit.evidence.settings import NOISE_SIGMAS, Settings
from camkit.scorecam import map_of_inputs


def test_rows_hold_every_metric_of_every_method_and_control(everything):
    keys = [each["key"] for each in rows_of(everything) if each["picture"] == "0.png"]
    assert keys == [*camkit.DEFAULT_METHODS, *CONTROLS] and len(rows_of(everything)) == 3 * len(keys)
    for each in rows_of(everything):
        assert all(math.isfinite(each[name]) for name in METRICS)
        assert math.isnan(each["seconds"]) == (each["key"] in CONTROLS) == math.isnan(each["beats_controls"])


def test_the_class_is_the_top_class_or_that_of_the_first_box(everything, tiny):
    by_name = {value["picture"]: value for value in everything.values["metrics"]}
    assert by_name["1.png"]["class_index"] == 5
    assert by_name["0.png"]["class_index"] == int(np.argmax(tiny.predict(camkit.open_picture(PICTURES["0.png"]))))


def test_metrics_equal_those_measured_by_themselves(tiny, everything):
    image = camkit.open_picture(PICTURES["0.png"])
    explanation = camkit.explain(tiny, image, max_n=3)
    inputs, found = tiny.preprocess(image)[0], [each for each in rows_of(everything) if each["picture"] == "0.png"]
    for each in found[: len(camkit.DEFAULT_METHODS)]:

        def map_of(seen, key=each["key"]):
            *_, last = map_of_inputs(tiny, seen[None], key, explanation.question)
            return last

        score_fn, cam = tiny.score_fn(explanation.class_index), explanation.cams[each["key"]]
        alone = dict(measure_stream(score_fn, inputs, {"it": cam.map}, {"it": map_of}, steps=4, controls=()))
        assert {name: each[name] for name in METRICS} == pytest.approx(alone["it"].metrics, abs=1e-5)
        assert each["forward_passes"] == cam.forward_passes


@pytest.mark.parametrize(
    ("coherency", "measured"), [("all", {"gradcam", "scorecam"}), ("fast", {"gradcam"}), ("none", set())]
)
def test_coherency_costs_what_was_asked_for(tiny, coherency, measured):
    settings = Settings(methods=("gradcam", "scorecam"), steps=2, coherency=coherency)
    rows = finished(tiny, {"0.png": PICTURES["0.png"]}, settings).values["metrics"][0]["rows"]
    assert {each["key"] for each in rows if each["coherency"] is not None} - set(CONTROLS) == measured


def test_layers_noise_and_boxes_by_what_they_must_be(everything):
    assert everything.layers == ("early",)
    assert all(-1e-6 <= each["moved"] <= 2 for value in everything.values["layers"] for each in value["rows"])
    for sigma in NOISE_SIGMAS:
        assert len(everything.figures("noise", "gradcam", "correlation", sigma=sigma)) == 3
    found = everything.values["boxes"][1]["rows"]
    assert {(each["label"], each["class_index"]) for each in found} == {("left half", 5), ("lower half", 7)}
    assert {each["chance"] for each in found} == {0.5} and not everything.values["boxes"][0]["rows"]


def test_energy_inside_is_of_the_first_box(everything):
    in_row = next(each for each in rows_of(everything) if each["picture"] == "1.png" and each["key"] == "scorecam")
    in_box = next(each for each in everything.values["boxes"][1]["rows"] if each["key"] == "scorecam")
    assert in_row["energy_inside"] == pytest.approx(in_box["energy_inside"])
    uniform = next(each for each in rows_of(everything) if each["picture"] == "1.png" and each["key"] == "uniform")
    assert uniform["energy_inside"] == pytest.approx(0.5) and uniform["half_area"] == 1.0


def test_the_sweep_runs_to_its_end_on_a_sample_of_the_pictures(tiny):
    pictures = {f"{seed}.png": picture(seed) for seed in range(5)}
    last = finished(tiny, pictures, Settings(steps=1, coherency="none"), measurements=("sweep",))
    assert [bool(value["points"]) for value in last.values["sweep"]] == [True, False, True, False, True]
    assert all(value["moved"]["10"] < 1e-6 < value["moved"]["5"] for value in last.values["sweep"])
