"""Kinds of outputs: several labels at once and one value, their maps, and what is said and left out of each."""

import csv
import io
import json
import re

import keras
import numpy as np
import pytest
from conftest import GRADIENT, SCORECAM, stock
from keras import layers
from scipy.ndimage import zoom
from studies import PICTURES, SMALL, finished

import camkit
from camkit import METHODS, METRICS
from camkit.evidence.measure import measure, to_json
from camkit.passes.outputs import OUTPUTS, sigmoid
from camkit.report.report import html_report, markdown_report, measurement_table, write_reports
from camkit.report.results import Results
from camkit.stock import finish, gradient_cam
from camkit.study.measurements import MEASUREMENTS
from camkit.study.study import fingerprint

pytestmark = pytest.mark.numeric
KINDS = {"labels": (3, "sigmoid"), "value": (1, None)}
OF_A_PROBABILITY = {key for key, each in METRICS.items() if not each.of_the_map}


def network(units, activation, scale=1.0):
    """Two convolutions and a dense layer whose weights are small: |gradient x sum of activations| stays below 2."""
    keras.utils.set_random_seed(11)
    inputs = keras.Input((48, 40, 3))
    first = layers.Conv2D(8, 3, 2, "same", activation="relu", name="early")(inputs)
    last = layers.Conv2D(12, 3, 2, "same", activation="relu", name="late")(first)
    end = layers.Dense(units, activation, name="scores")
    model = keras.Model(inputs, end(layers.GlobalAveragePooling2D()(last)))
    end.set_weights([scale * end.get_weights()[0], np.full(units, 0.3, np.float32)])
    return model


@pytest.fixture(scope="module")
def models():
    """By kind the model given, and what camkit makes of it."""
    made = {}
    for kind, (units, activation) in KINDS.items():
        model = network(units, activation)
        made[kind] = model, camkit.load(model, preprocess="tf", outputs=kind)
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", GRADIENT)
def test_gradient_methods_equal_stock_on_the_scores(models, noise, kind, key):
    """Of labels the scores before the sigmoids, of a value the model's own output."""
    model, classifier = models[kind]
    scores = network(KINDS[kind][0], None) if kind == "labels" else model
    index = KINDS[kind][0] - 1
    expected = stock(scores, key, classifier.preprocess(noise), index, "late")
    found = camkit.explain(classifier, noise, [key], index).cams[key].map
    assert expected.max() > 0.9
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("key", SCORECAM)
def test_score_cam_of_a_label_equals_stock_on_its_two_classes(models, noise, key):
    """The softmax that stock takes of (0, score) is the sigmoid of the score."""
    model, classifier = models["labels"]
    two = network(3, None)
    score = layers.Lambda(lambda z: keras.ops.stack([keras.ops.zeros_like(z[:, 0]), z[:, 2]], -1))(two.output)
    channels = None if key == "scorecam" else 4
    inputs = classifier.preprocess(noise)
    expected = stock(keras.Model(two.input, score), key, inputs, 1, "late", channels)
    explanation = camkit.explain(classifier, noise, [key], 2, max_n=4)
    np.testing.assert_allclose(explanation.cams[key].map, expected, rtol=0, atol=1e-4)
    assert explanation.probability == pytest.approx(float(model(inputs)[0, 2]), abs=1e-6)


def test_score_cam_of_a_value_weighs_channels_by_its_rise_over_the_models_zero(models, noise):
    model, classifier = models["value"]
    inputs = classifier.preprocess(noise)
    maps = np.asarray(keras.Model(model.input, model.get_layer("late").output)(inputs))[0]
    total = np.zeros(maps.shape[:2])
    for channel in np.moveaxis(maps, -1, 0):
        mask = zoom(channel, np.divide((48, 40), channel.shape), order=1)
        mask = (mask - mask.min()) / (np.ptp(mask) + 1e-7)
        total += channel * float((model(inputs * mask[..., None]) - model(inputs * 0))[0, 0])
    explanation = camkit.explain(classifier, noise, ["scorecam"])
    np.testing.assert_allclose(explanation.cams["scorecam"].raw, np.maximum(total, 0), rtol=0, atol=1e-4 * total.max())
    assert total.max() > 0
    live = int((maps != 0).any((0, 1)).sum())
    assert explanation.cams["scorecam"].forward_passes == 2 + live  # the picture, the zero, each channel


def test_grad_cam_plus_plus_of_a_very_low_value_does_not_fade(models, noise):
    """It takes exp(score), which is a factor common to the whole map."""
    _, classifier = models["value"]
    inputs = classifier.preprocess(noise)
    activations, scores, gradients = classifier.forward_with_gradient(inputs, "late", 0)
    maps = [
        finish(gradient_cam(METHODS["gradcam_plus_plus"], activations, each, gradients, 0, OUTPUTS["value"]), (48, 40))
        for each in (scores - scores, scores - scores - 500.0)
    ]
    assert maps[0].max() > 0.9
    np.testing.assert_array_equal(maps[0], maps[1])


def test_labels_have_probabilities_of_their_own(models, noise):
    model, classifier = models["labels"]
    expected = np.asarray(model(classifier.preprocess(noise)))[0]
    np.testing.assert_allclose(classifier.predict(noise), expected, atol=1e-6)
    explanation = camkit.explain(classifier, noise, ["gradcam"])
    assert explanation.class_index == expected.argmax() == explanation.predictions[0].class_index
    assert {each.class_index: each.probability for each in explanation.predictions} == pytest.approx(
        dict(enumerate(expected)), abs=1e-6
    )
    figures = to_json({key: each for key, each in measure(classifier, explanation) if each})
    assert set(METRICS) <= set(figures["gradcam"])
    probability = figures["gradcam"]["deletion_curve"]["probabilities"][0]
    assert probability == pytest.approx(expected.max(), abs=1e-6)


def test_sigmoids_are_finite_and_exact():
    scores = np.array([-800.0, -30, 0, 1, 800], np.float32)
    np.testing.assert_allclose(sigmoid(scores), [0, 9.357623e-14, 0.5, 0.7310586, 1], rtol=1e-6)


def test_what_needs_a_probability_is_left_out_of_everything_said_of_a_value(models, noise, tmp_path):
    from camkit.web import api
    from camkit.web.tabs import maps

    _, classifier = models["value"]
    assert [each.name for each in classifier.labels] == ["value"]
    explanation = camkit.explain(classifier, noise, max_n=3)
    value = float(classifier.predict(noise)[0])
    assert (explanation.probability, explanation.value) == (None, pytest.approx(value))
    assert repr(explanation).startswith(f"<Explanation of value (0), value {value:.3g}, by ")
    measured = {key: each for key, each in measure(classifier, explanation) if each is not None}
    for figures in to_json(measured).values():
        assert set(figures) == {"name", "control", "complexity", "coherency"}
    rows = [str(row[0]) for row in measurement_table(measured, explanation).rows]
    assert not set(rows) & {METRICS[key].name + arrow for key in OF_A_PROBABILITY for arrow in (" ↓", " ↑")}
    camkit.write_bundle(file := io.BytesIO(), explanation)
    assert camkit.load_bundle(file).value == explanation.value
    answers = [explanation.to_json(), api.prediction_json(explanation), api.comparison_json(explanation)]
    texts = [json.dumps(each, default=str) for each in answers]
    texts += [maps.prediction_html(explanation), maps.explained_html(explanation)]
    results = Results.of(classifier, SMALL, finished(classifier, PICTURES, SMALL, {}, tuple(MEASUREMENTS)))
    rows, *_ = write_reports(tmp_path, results)
    with rows.open(newline="", encoding="utf-8") as text:
        columns = [*(csv.DictReader(text).fieldnames or [])]
    assert not OF_A_PROBABILITY & {*columns} and "value" in columns
    markdown = markdown_report(results)
    assert "The model gives no probability: figures that need one are left out." in markdown
    html = re.sub('<script.*?</script>|data:[^"]*', "", html_report(results), flags=re.DOTALL)
    texts += [each.replace("The model gives no probability", "") for each in (markdown, html)] + columns
    for text in texts:
        assert "probability" not in text.lower() and not re.search(r"\bnan\b", text.lower())


def test_a_checkpoint_of_labels_is_not_one_of_classes():
    model = network(3, None)
    kinds = [camkit.load(model, preprocess="tf", outputs=each) for each in ("classes", "labels")]
    assert fingerprint(kinds[0]) != fingerprint(kinds[1])
