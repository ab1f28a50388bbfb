"""A server on models that its operator names: what the page opens on, what the API answers, and what is refused."""

import io
import json
import logging
import threading
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import httpx
import keras
import numpy as np
import pytest
from browsing import COMPLETE, Window, canvas_pixels, painter, panel
from conftest import EXAMPLES, free_port, registry_kept, save
from gradio_client import Client, handle_file
from keras import layers
from plain_http import assert_clean
from test_server import READY

import camkit
from camkit.models.registry import OperatorModel
from camkit.web.command_line import from_environment, parse
from camkit.web.server.warming import start_warming

LABELS = ["cat", "dog", "sea horse"]


def grey_model():
    """A Sequential around a nested model, for grey pictures of 28 x 24 pixels."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((28, 24, 1))
    base = keras.Model(inputs, layers.Conv2D(6, 3, activation="relu", name="only")(inputs), name="base")
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((28, 24, 1)), layers.Rescaling(1 / 255), base, *head])


CODE = """import keras
class Halving(keras.layers.Layer):
    def call(self, x):
        return 0.5 * x
"""


def save_with_code(folder):
    """A model of two outputs, "age" of one unit, that needs the layer of a Python file."""
    (folder / "halving.py").write_text(CODE)
    exec(CODE, held := {"__name__": "elsewhere"})
    keras.utils.set_random_seed(4)
    inputs = keras.Input((28, 24, 3))
    features = held["Halving"]()(layers.Conv2D(6, 3, activation="relu", name="only")(inputs))
    pooled = layers.GlobalAveragePooling2D()(features)
    save(
        keras.Model(inputs, [layers.Dense(1, name="age")(pooled), layers.Dense(2, name="sex")(pooled)]),
        folder / "age.h5",
    )


@pytest.fixture(scope="module")
def server(server_url, tmp_path_factory):
    """The address and the first lines of a Space-like start in this process, which has the bundled classifier: two
    models by the environment, the second not there."""
    from camkit.web import page

    folder = tmp_path_factory.mktemp("operator")
    save(grey_model(), folder / "grey.keras")
    save_with_code(folder)
    (folder / "labels.json").write_text(json.dumps(LABELS))
    said, served, app_log = io.StringIO(), [], logging.getLogger("app")
    handler = logging.StreamHandler(said)
    with registry_kept(), pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "CAMKIT_MODEL": str(folder / "grey.keras"),
            "CAMKIT_LABELS": str(folder / "labels.json"),
            "CAMKIT_MODEL_2": str(folder / "gone.keras"),
            "CAMKIT_PREPROCESS_2": "unit",
            "CAMKIT_MODEL_3": str(folder / "age.h5"),
            "CAMKIT_PREPROCESS_3": "unit",
            "CAMKIT_OUTPUTS_3": "value",
            "CAMKIT_OUTPUT_3": "age",
            "CAMKIT_RESIZE_3": "crop",
            "CAMKIT_CODE_3": str(folder / "halving.py"),
            "GRADIO_SERVER_PORT": str(port := free_port()),
        }.items():
            patch.setenv(name, value)
        patch.setattr(page, "start_warming", lambda: start_warming().join())
        patch.setattr(page, "start_giving_back", lambda: None)  # would not end
        patch.setattr(page.gr.Blocks, "block_thread", lambda launched: served.append(launched))
        patch.setattr(app_log, "level", logging.INFO)
        app_log.addHandler(handler)
        with redirect_stdout(said):
            page.main([])
        app_log.removeHandler(handler)
        yield f"http://127.0.0.1:{port}", said.getvalue(), folder
        served[0].close()


@pytest.fixture(scope="module")
def client(server):
    made = Client(server[0], verbose=False, download_files=str(server[2]), analytics_enabled=False)
    yield made
    made.close()


PICTURE = handle_file(str(EXAMPLES / "chelsea.jpg"))


def test_the_log_says_what_became_of_each_model_and_no_path(server):
    url, log, folder = server
    assert READY in log
    assert "grey is loaded." in log
    assert "grey is ready on CPU" in log
    assert "gone cannot be used. There is no model file of this name: " in log
    assert str(folder) not in log
    assert "Traceback" not in log


def test_info_names_the_operators_models_first(client, server):
    info = client.predict(api_name="/info")
    assert list(info["models"]) == ["grey", "gone", "age", "vgg16", "efficientnet_lite0"]
    assert info["default_model"] == "grey"
    grey, gone = info["models"]["grey"], info["models"]["gone"]
    assert (grey["state"], grey["target_layers"], grey["default_target_layer"]) == ("ready", ["base.only"], "base.only")
    assert (gone["state"], gone["target_layers"], gone["default_target_layer"]) == ("failed", [], "")
    assert [info["models"][key]["inputs"] for key in ("grey", "gone", "efficientnet_lite0")] == [
        "0 to 255",
        "",
        "-1 to 1",
    ]
    assert [info["models"][key]["outputs"] for key in ("grey", "age")] == ["classes", "value"]
    assert_clean(gone["message"])
    assert str(server[2]) not in json.dumps(info)


def test_classify_and_explain_are_camkits_on_the_same_file(client, server, tmp_path):
    classifier = camkit.load(server[2] / "grey.keras", LABELS)
    image = camkit.open_picture(EXAMPLES / "chelsea.jpg")
    answer = client.predict(PICTURE, top_k=3, api_name="/classify")
    probabilities = classifier.predict(image)
    assert answer["model"] == "grey"
    assert [row["name"] for row in answer["predictions"]] == [LABELS[i] for i in np.argsort(-probabilities)]
    assert {row["wordnet_id"] for row in answer["predictions"]} == {""}
    for method in camkit.METHODS:
        overlay, facts, maps = client.predict(PICTURE, method, "sea horse", "grey", max_n=3, api_name="/explain")
        expected = camkit.explain(classifier, image, [method], 2, max_n=3).cams[method]
        assert (facts["class_name"], facts["class_index"], facts["target_layer"]) == ("sea horse", 2, "base.only")
        with np.load(maps) as held:
            np.testing.assert_allclose(held[f"map_{method}"], expected.map, atol=1e-4)


def test_compare_and_evaluate_work_on_a_grey_model_and_its_zip_shows_the_picture_in_colour(client):
    overlays, facts, bundle = client.predict(PICTURE, class_name="1", faithfulness=True, api_name="/compare")
    held = camkit.load_bundle(bundle)
    assert (held.class_name, held.model, set(held.cams)) == ("dog", "grey", set(camkit.DEFAULT_METHODS))
    assert np.ptp(held.image.astype(int), axis=-1).max() > 50
    assert set(facts["faithfulness"]) == {*camkit.DEFAULT_METHODS, *camkit.CONTROLS}
    figures = client.predict(PICTURE, methods=["layercam"], api_name="/evaluate")
    assert "layercam" in figures["faithfulness"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"class_name": "tabby"},
            r"^'tabby' is none of this model's 3 classes\. Give a name such as 'cat', or an index ",
        ),
        ({"class_name": "3"}, r"^Class index 3 does not exist: it must be a whole number from 0 to 2\.$"),
        ({"model": "gone"}, r"^gone cannot be used\. There is no model file of this name: .* use grey\.$"),
        (
            {"model": "/etc/passwd"},
            r"^Model '/etc/passwd' is unknown: use one of grey, gone, age, vgg16, efficientnet_lite0\.$",
        ),
        ({"model": "hf://owner/name"}, r"^Model 'hf://owner/name' is unknown: use one of grey, "),
        ({"model": "ResNet50"}, r"^Model 'ResNet50' is unknown: use one of grey, "),
    ],
)
def test_a_visitor_can_name_neither_a_file_nor_another_class(client, arguments, message):
    with pytest.raises(Exception, match=message):
        client.predict(PICTURE, **arguments, api_name="/explain")


def test_a_value_by_code_of_the_operators_own_is_answered_without_any_probability(client, server):
    folder = server[2]
    classifier = camkit.load(
        folder / "age.h5", None, "unit", outputs="value", output="age", code=folder / "halving.py", resize="crop"
    )
    value = float(classifier.predict(camkit.open_picture(EXAMPLES / "chelsea.jpg"))[0])
    answer = client.predict(PICTURE, "age", 1, api_name="/classify")
    (prediction,) = answer["predictions"]
    assert prediction == {"class_index": 0, "wordnet_id": "", "name": "value", "value": pytest.approx(value, abs=1e-5)}
    _, facts, bundle = client.predict(PICTURE, model="age", faithfulness=True, max_n=3, api_name="/compare")
    assert (facts["outputs"], facts["value"]) == ("value", pytest.approx(value, abs=1e-5))
    for figures in facts["faithfulness"].values():
        assert set(figures) == {"name", "control", "complexity", "coherency"}
    assert camkit.load_bundle(bundle).value == facts["value"]
    assert "probability" not in json.dumps([answer, facts])


@pytest.mark.browser
def test_what_the_model_does_not_see_is_dark_and_cannot_be_covered(server, browser):
    window = Window(browser, server[0])
    page = window.page
    try:
        page.goto(f"{server[0]}/?model=age&methods=gradcam")  # the sides of its picture are cut off
        panel(page, "gradcam", COMPLETE).wait_for()
        page.get_by_role("tab", name="Cover and see").click()
        canvas = painter(page)
        canvas.scroll_into_view_if_needed()
        page.get_by_text("The network does not see the dark part.").wait_for()
        box, dark = canvas.bounding_box(), "canvas => [...canvas.getContext('2d').getImageData(16, 160, 1, 1).data]"
        before = canvas.evaluate(dark)
        for across, said in (
            (0.025, "The model sees nothing of the painted region"),
            (0.5, "of what the network sees"),
        ):
            page.mouse.click(box["x"] + across * box["width"], box["y"] + 0.5 * box["height"])
            page.locator("#cover", has_text=said).wait_for()
            assert canvas.evaluate(dark) == before
        drawn, shown = canvas_pixels(page, "gradcam"), panel(page, "gradcam").locator("canvas").element_handle()
        url = shown.evaluate("map => map.toDataURL()")
        page.get_by_label("Heatmap only").click()
        page.wait_for_function("([map, url]) => map.toDataURL() !== url", arg=[shown, url])
        assert (canvas_pixels(page, "gradcam")[:, :100] == drawn[:, :100]).all()
        assert window.faults == []
    finally:
        page.context.close()


def test_top_k_ends_with_the_models_classes(client):
    with pytest.raises(Exception, match=r"^top_k is 4: it must be a whole number from 1 to 3\.$"):
        client.predict(PICTURE, top_k=4, api_name="/classify")
    answer = client.predict(PICTURE, "efficientnet_lite0", 1000, api_name="/classify")
    assert len(answer["predictions"]) == 1000


def test_the_page_shows_no_path(server):
    url, _, folder = server
    assert str(folder) not in httpx.get(f"{url}/config", timeout=60).text
    assert str(folder) not in httpx.get(url, timeout=60).text


# A model that takes long


def test_a_model_that_takes_long_keeps_nobody_waiting_for_ever(registry, monkeypatch):
    from camkit.models import sources
    from camkit.models.registry import load_in_background, register
    from camkit.web.server import readiness
    from camkit.web.tabs import headline

    go = threading.Event()

    def slowly(*_):
        assert go.wait(60)
        return sources.Source(grey_model(), "a slow disk")

    monkeypatch.setattr(sources, "find_source", slowly)
    monkeypatch.setattr(readiness, "LONGEST_LOADING", 0.05)
    key = register("slow.keras")
    assert readiness.opening_model() == "efficientnet_lite0"
    assert readiness.downloading()
    assert "slow is being loaded." in headline.headline("auto")["sentence"]
    with pytest.raises(camkit.InputError, match=r"^slow is being loaded\. Meanwhile use EfficientNet-Lite0\.$"):
        readiness.classifier(key)
    go.set()
    assert load_in_background(key).result(60) is readiness.classifier(key)
    assert readiness.opening_model() == key
    assert readiness.classifier("auto").input_size == (28, 24)
    assert not readiness.downloading()


def test_a_model_that_failed_is_tried_again_after_a_while_and_delays_no_page(registry, monkeypatch):
    from camkit.models import sources
    from camkit.models.registry import load_in_background, load_status, register
    from camkit.web.server import readiness

    asked, go = [], threading.Event()

    def find(*_):
        asked.append(len(asked))
        if len(asked) == 1:
            raise camkit.InputError("The disk is not there yet: wait.")
        assert go.wait(60)
        return sources.Source(grey_model(), "a disk")

    monkeypatch.setattr(sources, "find_source", find)
    key = register("late.keras")
    refusal = r"^late cannot be used\. The disk is not there yet: wait\. Meanwhile use EfficientNet-Lite0\.$"
    for _ in range(2):  # within a minute: not tried again
        with pytest.raises(camkit.InputError, match=refusal):
            readiness.classifier(key)
    assert (asked, readiness.operator_status(registry[key])[0]) == ([0], "failed")
    monkeypatch.setattr(readiness, "RETRY_AFTER", 0)
    with pytest.raises(camkit.InputError, match=refusal):
        readiness.classifier(key)
    assert load_status(key) == ("loading", "")
    assert readiness.opening_model() == "efficientnet_lite0"  # at once, though it is being loaded
    go.set()
    assert load_in_background(key).result(60) is readiness.classifier(key)
    assert asked == [0, 1]


# Class names may hold anything


def test_a_name_is_shown_as_it_is_and_names_a_file(tmp_path, monkeypatch):
    from camkit.web.server.files import write_zip
    from camkit.web.tabs.maps import explained_html, prediction_html

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    labels = camkit.Labels.of(["../cat/dog", "b <5 mm", "c"])
    classifier = camkit.load(grey_model(), labels)
    explanation = camkit.explain(classifier, np.zeros((28, 24, 3), np.uint8), ["gradcam"], 0)
    assert explanation.class_name == "../cat/dog"
    of_the_page = replace(explanation, model="vgg16")  # a server's models have names
    assert Path(write_zip(of_the_page)).name == "cam-cat-dog.zip"
    other = camkit.explain(classifier, explanation.image, ["gradcam"], 1)
    for shown in (prediction_html(explanation), explained_html(other)):
        assert "b &lt;5 mm" in shown


# The command line and the environment


def test_options_belong_to_the_model_before_them():
    found = parse(
        ["--model", "a.keras", "--preprocess", "unit", "--model", "vgg16", "--model", "hf://o/n", "--labels", "n.txt"]
    ).models
    assert found == [OperatorModel("a.keras", None, "unit"), OperatorModel("vgg16"), OperatorModel("hf://o/n", "n.txt")]
    assert parse([]).models == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--labels n.txt --model a.keras", "--labels belongs to the --model before it: give a --model first"),
        ("--model a.keras --labels n.txt --labels m.txt", "--labels is given twice for the model a.keras"),
    ],
)
def test_options_without_a_model_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit):
        parse(arguments.split())
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {message}")


def test_the_environment_says_the_same():
    assert from_environment({}) == []
    named = {
        "CAMKIT_MODEL": "a.keras",
        "CAMKIT_PREPROCESS": "unit",
        "CAMKIT_MODEL_2": "ResNet50",
        "CAMKIT_LABELS_3": "of no model",
        "CAMKIT_MODEL_4": "after a gap",
    }
    assert from_environment(named) == [OperatorModel("a.keras", None, "unit"), OperatorModel("ResNet50")]
