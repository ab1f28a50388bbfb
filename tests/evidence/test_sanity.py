"""The sanity check: its two figures against SciPy's and scikit-image's, the randomised copy, and a cascade that finds
out a method which ignores the network."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import GRADIENT, TINY, example, tiny_model
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

import camkit
from camkit import InputError, explain
from camkit.classifier import Classifier
from camkit.evidence.metrics import CONTROLS
from camkit.evidence.randomise import STAGES, RandomisedCopy, copy_of, stages
from camkit.evidence.sanity import CONTROL_NAMES, SAME, UNRELATED, Likeness, rank_correlation, sanity_stream, ssim
from camkit.methods import METHODS
from camkit.report.intervals import interval
from camkit.report.report import likeness_table
from camkit.report.words import BY_CHANCE, sanity_verdict


@pytest.fixture
def maps():
    rng = np.random.default_rng(5)
    first = rng.random((48, 40), dtype=np.float32)
    return first, np.clip(first + rng.normal(0, 0.2, first.shape), 0, 1).astype(np.float32)


def checked(classifier, image, methods=GRADIENT, **options):
    return sanity_of(classifier, image, methods, **options).points


def sanity_of(classifier, image, methods=GRADIENT, **options):
    explanation = explain(classifier, image, methods=methods, max_n=2)
    given = {key: cam.map for key, cam in explanation.cams.items()}
    *states, last = sanity_stream(classifier, image, given, explanation.question, **options)
    assert last.complete and not any(state.complete for state in states)
    assert [state.share for state in states] == sorted(state.share for state in states)
    return last


# --- the two figures -----------------------------------------------------------------------------------------------


def test_rank_correlation_is_spearman_s(maps):
    first, second = maps
    ties = np.maximum(first - 0.5, 0)  # half of it zero, as behind a ReLU
    for pair in ((first, second), (first, 1 - second), (ties, second)):
        expected = spearmanr(pair[0].ravel(), pair[1].ravel()).statistic
        assert rank_correlation(*pair) == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_of_flat_maps_is_defined(maps):
    zero, flat = np.zeros((48, 40), np.float32), np.full((48, 40), 0.3, np.float32)
    assert rank_correlation(zero, flat) == 1 and rank_correlation(zero, zero) == 1
    assert rank_correlation(maps[0], zero) == rank_correlation(flat, maps[0]) == 0
    assert rank_correlation(maps[0] * 1e-9, maps[0]) == pytest.approx(1)  # small, and yet no flat map


def test_ssim_is_scikit_image_s(maps):
    for pair in (maps, (maps[0], 1 - maps[1]), (maps[0], np.zeros_like(maps[0]))):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        _, whole = structural_similarity(*(each.astype(np.float64) for each in pair), full=True, **options)
        assert ssim(*pair) == pytest.approx(whole.mean(), abs=1e-9)
    assert ssim(maps[0], maps[0]) == pytest.approx(1)


def test_what_unrelated_maps_reach():
    made = [CONTROLS[UNRELATED].make((224, 224), seed) for seed in range(20)]
    pairs = [rank_correlation(a, b) for number, a in enumerate(made) for b in made[:number]]
    assert pytest.approx(np.quantile(pairs, 0.95), abs=0.01) == BY_CHANCE


# --- the copy ------------------------------------------------------------------------------------------------------


def of_many_kinds(keras):
    """Weights of every kind, a layer that is called twice, an operation without a layer, and a Lambda."""
    inputs = keras.Input((16, 16, 3))
    scaled = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 4.0, 4.0], name="scaling")(inputs)
    x = keras.layers.SeparableConv2D(6, 3, padding="same", name="separable")(scaled)
    x = keras.layers.BatchNormalization(name="normalised")(x)
    twice = keras.layers.Conv2D(6, 3, padding="same", activation="relu", kernel_initializer="he_normal", name="twice")
    x = twice(twice(x)) + x
    x = keras.layers.PReLU(name="prelu")(x)
    x = keras.layers.Lambda(lambda value: value * 2.0, name="doubled")(x)
    x = keras.layers.Dense(5, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name != "scaling":
            layer.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def many_kinds():
    import keras

    spec = replace(TINY, key="kinds", target_layers=("prelu",), input_size=(16, 16))
    return Classifier(of_many_kinds(keras), spec)


def test_the_copy_answers_alike_and_the_classifier_is_never_touched(many_kinds):
    before = [weight.copy() for weight in many_kinds.model.get_weights()]
    image = np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)
    answer, copy = many_kinds.predict(image), RandomisedCopy(many_kinds)
    assert copy.classifier.model is not many_kinds.model
    np.testing.assert_allclose(copy.classifier.predict(image), answer, rtol=1e-5)
    for stage in copy.stages:
        copy.randomise(stage, 3)
    assert np.abs(copy.classifier.predict(image) - answer).max() > 0.01
    copy.restore()
    np.testing.assert_allclose(copy.classifier.predict(image), answer, rtol=1e-5)
    for was, now in zip(before, many_kinds.model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_every_learned_weight_is_drawn_by_its_own_initialiser_and_seed(many_kinds):
    copy = RandomisedCopy(many_kinds)

    def drawn(seed):
        copy.restore()
        for stage in copy.stages:
            copy.randomise(stage, seed)
        return {weight.path: weight.numpy() for weight in copy.classifier.model.weights}

    first, again, other = drawn(1), drawn(1), drawn(2)
    trained = {weight.path: weight.numpy() for weight in many_kinds.model.weights}
    assert set(first) == set(trained)
    for path, values in first.items():
        np.testing.assert_array_equal(values, again[path])
        assert (values == trained[path]).all() == path.startswith("scaling"), path
        assert (values != other[path]).any() == ("kernel" in path), path
    assert not first["normalised/moving_mean"].any() and (first["normalised/moving_variance"] == 1).all()
    assert first["twice/kernel"].std() == pytest.approx((2 / 54) ** 0.5, rel=0.15)  # He: variance 2 / fan in


def test_stages_go_from_the_output_to_the_picture_and_are_few(many_kinds, lite0):
    assert [stage.layer for stage in stages(many_kinds.model)] == [
        "logits",
        "prelu",
        "twice",
        "normalised",
        "separable",
    ]
    found = stages(lite0.model)
    assert (len(found), found[0].layers, found[-1].layer) == (STAGES, ("predictions",), "stem_conv")
    names = [name for stage in found for name in stage.layers]
    assert len(names) == len(set(names)) == found[-1].done == found[-1].total
    assert set(names) == {layer.name for layer in lite0.model.layers if layer.weights}


def test_a_model_that_cannot_be_copied_is_refused_in_a_sentence(noise):
    import keras

    class Closed(keras.layers.Layer):
        def __init__(self, factor, **options):
            super().__init__(**options)
            self.factor = factor

        def call(self, inputs):
            return self.factor(inputs)

    base = tiny_model()
    closed = Classifier(keras.Model(base.inputs, Closed(abs, name="closed")(base.outputs[0])), TINY)
    with pytest.raises(InputError, match="cannot be copied"):
        checked(closed, noise)


# --- the check -----------------------------------------------------------------------------------------------------


def test_the_cascade_of_a_tiny_model(tiny, noise):
    points = checked(tiny, noise, tuple(METHODS))
    assert [stage.layer for stage in stages(tiny.model)] == ["logits", "late", "early"]
    assert {point.key for point in points} == {*METHODS, *CONTROL_NAMES}
    assert len(points) == 3 * (len(METHODS) + 2) and all(np.isfinite([p.correlation, p.ssim]).all() for p in points)
    assert {(p.correlation, round(p.ssim, 9)) for p in points if p.key == SAME} == {(1.0, 1.0)}
    assert points == checked(tiny, noise, tuple(METHODS)) != checked(tiny, noise, tuple(METHODS), seed=1)


def test_its_maps_are_those_of_the_copy_at_each_stage(tiny, noise):
    """By the public explain on a network that is randomised by hand."""
    index = int(np.argmax(tiny.predict(noise)))
    given, last = explain(tiny, noise, methods="gradcam").cams["gradcam"].map, sanity_of(tiny, noise, ("gradcam",))
    assert rank_correlation(last.maps["gradcam", 0], given) == pytest.approx(1)
    copy = RandomisedCopy(tiny)
    for stage, point in zip(copy.stages, [p for p in last.points if p.key == "gradcam"], strict=True):
        copy.randomise(stage, 0)
        by_hand = Classifier(copy.classifier.model, TINY, frozen=False)
        found = explain(by_hand, noise, methods="gradcam", class_index=index).cams["gradcam"].map
        assert point.correlation == pytest.approx(rank_correlation(given, found), abs=1e-3)
        kept = last.maps["gradcam", point.number]
        assert (kept.min(), kept.max()) == (0, 1) and rank_correlation(kept, found) == pytest.approx(1, abs=1e-3)


def test_a_method_that_ignores_the_network_is_found_out(tiny, noise, monkeypatch):
    """Its map is the picture's brightness: it stays at every stage, and the words say so."""

    def edges(classifier, inputs, method, *_):
        yield np.abs(inputs[0]).mean(axis=-1)

    given = {"gradcam": np.abs(tiny.preprocess(noise)[0]).mean(axis=-1)}
    monkeypatch.setattr("camkit.scorecam.map_of_inputs", edges)
    *_, last = sanity_stream(tiny, noise, given, tiny.question(3))
    own = [point for point in last.points if point.key == "gradcam"]
    assert [round(point.correlation, 9) for point in own] == [1.0] * 3 and own[-1].ssim == pytest.approx(1)
    assert "hardly depends on what the network learned" in likeness_table(last.points).words


def test_a_slow_method_is_compared_at_the_last_stage_only(tiny, noise):
    points = checked(tiny, noise, ("gradcam", "scorecam"), only_last=["scorecam"])
    assert [point.layer for point in points if point.key == "scorecam"] == ["early"]
    assert [point.layer for point in points if point.key == "gradcam"] == ["logits", "late", "early"]
    assert len(likeness_table(points).rows) == 3 + 1


def test_the_copy_is_free_again_after_a_stop_and_waited_for(tiny, noise):
    given = {"gradcam": explain(tiny, noise, methods="gradcam").cams["gradcam"].map}
    stream = sanity_stream(tiny, noise, given, tiny.question(0))
    next(stream), next(stream)
    assert copy_of(tiny).in_use.locked()
    other = sanity_stream(tiny, noise, given, tiny.question(0))
    assert [next(other).waiting for _ in range(2)] == [False, True]
    stream.close()
    assert not next(other).waiting
    other.close()
    assert not copy_of(tiny).in_use.locked()


def test_the_bundled_classifier_s_gradient_maps_depend_on_what_it_learned(lite0):
    image = example("cat_and_coffee")
    last = {point.key: point for point in checked(lite0, image, GRADIENT) if point.last}
    assert last["gradcam"].correlation < BY_CHANCE < last[SAME].correlation
    assert last["gradcam"].ssim < 0.9


def test_a_model_of_one_s_own_with_a_sigmoid_unit(noise):
    import keras

    keras.utils.set_random_seed(1)
    inside = keras.Sequential([keras.Input((24, 24, 1)), keras.layers.Conv2D(4, 3, activation="relu")])
    own = camkit.load(
        keras.Sequential([inside, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1, activation="sigmoid")]),
        preprocess="unit",
    )
    assert {point.key for point in checked(own, noise)} >= set(GRADIENT)


# --- words ---------------------------------------------------------------------------------------------------------


def test_a_model_of_one_s_own_that_scales_by_what_it_was_adapted_to(noise):
    import keras

    scaling = keras.layers.Normalization()
    scaling.adapt(np.random.default_rng(0).uniform(0, 255, (20, 32, 32, 3)).astype(np.float32))
    layers = [scaling, keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.GlobalAveragePooling2D()]
    own = camkit.load(keras.Sequential([keras.Input((32, 32, 3)), *layers, keras.layers.Dense(3)]))
    found = explain(own, noise, ["gradcam"])
    *_, state = sanity_stream(own, noise, {"gradcam": found.cams["gradcam"].map}, found.question)
    assert state.complete


def test_the_words_are_made_from_the_figures():
    def verdict(**figures):
        return sanity_verdict({key: interval(np.atleast_1d(values).tolist()) for key, values in figures.items()})

    words = verdict(gradcam=0.12, gradcam_plus_plus=0.5, scorecam=0.95, gaussian=1.0)
    assert words == (
        "Grad-CAM's map depends on what the network learned; "
        "part of Grad-CAM++'s map is there without anything learned; Score-CAM's map hardly depends on what the "
        "network learned, and so can come from the picture alone."
    )
    assert verdict(gradcam=0.0, scorecam=-0.5) == (
        "The maps of Grad-CAM and Score-CAM depend on what the network learned."
    )
    assert verdict(gaussian=1.0) == ""
    # Of 0.0, 0.2 and 0.6 the interval reaches from below 0 to above 0.25: nothing can be said.
    assert verdict(gradcam=[0.0, 0.2, 0.6]) == "For Grad-CAM's map these pictures do not tell."
    assert "depends on what" in verdict(gradcam=[0.0, 0.02, 0.01]) and "Part of" in verdict(gradcam=[0.5, 0.52, 0.51])


def test_the_table_has_means_and_says_nothing_of_an_unfinished_check():
    points = [Likeness("gradcam", 1, "logits", 1, 2, value, 0.5) for value in (0.2, 0.4)]
    table = likeness_table(points)
    assert table.words == "" and str(table.rows[0][0]) == "1 of 2: logits" and str(table.rows[0][1]).startswith("+0.30")
    done = likeness_table([*points, Likeness("gradcam", 2, "conv", 2, 2, 0.1, 0.5)])
    assert done.words == "Grad-CAM's map depends on what the network learned." and [
        str(row[0]) for row in done.rows
    ] == [
        "1 of 2: logits",
        "2 of 2: conv",
        "SSIM, 2 of 2: conv",
    ]
