"""The API through Gradio's own client, against the app launched in this process with the bundled classifier."""

import json
import subprocess
import sys
import threading
import zipfile

import httpx
import load_api
import mixed_load
import numpy as np
import plain_http
import pytest
from conftest import EXAMPLES, free_port, together
from gradio_client import Client, handle_file
from PIL import Image

import camkit

LAYER = "block3b_add"  # 40 channels: a whole Score-CAM in a second
METHODS = tuple(camkit.METHODS)
LIMIT = 60  # seconds until a wait counts as failed
REQUIRED = object()

# What the endpoints promise: name -> parameters (name, type, default), returns (label, component).
IMAGE = ("image", "filepath", REQUIRED)
CLASS_NAME = ("class_name", "str", "")
MODEL = ("model", "Literal['auto', 'vgg16', 'efficientnet_lite0']", "auto")
LAYER_AND_CHANNELS = (("target_layer", "str", ""), ("max_n", "int", 10))
OPACITY = ("opacity", "Literal['even', 'map']", "even")
METHOD = f"Literal[{', '.join(map(repr, METHODS))}]"
SEVERAL = ("methods", f"list[{METHOD}]", [key for key in METHODS if camkit.METHODS[key].default])
ENDPOINTS = {
    "/info": ((), (("info", "Json"),)),
    "/classify": ((IMAGE, MODEL, ("top_k", "int", 5)), (("predictions", "Json"),)),
    "/explain": (
        (
            IMAGE,
            ("method", METHOD, "gradcam"),
            CLASS_NAME,
            MODEL,
            *LAYER_AND_CHANNELS,
            ("alpha", "float", 0.55),
            ("colormap", "Literal['viridis', 'turbo', 'cividis', 'inferno', 'jet']", "viridis"),
            OPACITY,
        ),
        (("overlay", "Image"), ("facts", "Json"), ("maps.npz", "File")),
    ),
    "/compare": (
        (IMAGE, SEVERAL, CLASS_NAME, MODEL, *LAYER_AND_CHANNELS, ("faithfulness", "bool", False), OPACITY),
        (("overlays", "Gallery"), ("facts", "Json"), ("bundle.zip", "File")),
    ),
    "/evaluate": ((IMAGE, SEVERAL, CLASS_NAME, MODEL), (("figures", "Json"),)),
}


@pytest.fixture(scope="module")
def connect(server_url, tmp_path_factory):
    """Makes clients, each a visitor of its own, and closes them at the end: closing takes a second."""
    made, folder = [], str(tmp_path_factory.mktemp("downloads"))

    def client() -> Client:
        made.append(Client(server_url, verbose=False, download_files=folder, analytics_enabled=False))
        return made[-1]

    yield client
    together(*[each.close for each in made])


@pytest.fixture(scope="module")
def client(connect) -> Client:
    """One visitor, of whom nothing is under way between two tests."""
    return connect()


def file(name: str):
    return handle_file(str(EXAMPLES / f"{name}.jpg"))


def picture(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def arrays(path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as maps:
        return dict(maps)


# What is promised


def test_parameters_and_returns_are_as_documented(client):
    found = client.view_api(print_info=False, return_format="dict")
    assert found["unnamed_endpoints"] == {}
    assert set(found["named_endpoints"]) == set(ENDPOINTS)
    for name, (parameters, returns) in ENDPOINTS.items():
        endpoint = found["named_endpoints"][name]
        assert [(each["label"], each["component"]) for each in endpoint["returns"]] == list(returns)
        assert [
            (
                each["parameter_name"],
                each["python_type"]["type"],
                each["parameter_default"] if each["parameter_has_default"] else REQUIRED,
            )
            for each in endpoint["parameters"]
        ] == list(parameters)


def test_every_endpoint_and_parameter_is_described(server_url):
    """What /gradio_api/info says is the API's documentation: a sentence, then one for each parameter."""
    for name, endpoint in httpx.get(f"{server_url}/gradio_api/info").json()["named_endpoints"].items():
        first, *described = endpoint["description"].split("\n\n")
        plain_http.assert_clean(" ".join(first.split()))
        assert [text.partition(":")[0] for text in described] == [
            each["parameter_name"] for each in endpoint["parameters"]
        ]
        for text in described:
            assert 15 < len(text) < 350, (name, text)
            plain_http.assert_clean(text.partition(": ")[2])


def test_every_event_of_the_page_is_private(server_url):
    public = {event["api_name"] for event in plain_http.events(server_url) if event["api_visibility"] != "private"}
    assert public == {name.strip("/") for name in ENDPOINTS}


# Results


def test_info(client):
    info = client.predict(api_name="/info")
    assert info["version"] == camkit.__version__
    assert set(info["models"]) == set(camkit.MODELS)
    assert set(info["methods"]) == set(METHODS)
    assert info["default_model"] == "efficientnet_lite0"
    bundled = info["models"]["efficientnet_lite0"]
    assert (bundled["state"], bundled["default_target_layer"]) == ("ready", "top_activation")
    assert bundled["target_layers"] == list(camkit.MODELS["efficientnet_lite0"].target_layers)
    assert info["models"]["vgg16"]["state"] in ("absent", "failed", "ready")
    assert info["device"] == "CPU" or info["gpus"]
    assert {"gradio", "tensorflow", "keras", "tf-keras-vis"} <= set(info["libraries"])


def test_classify_is_camkits(client, lite0, chelsea):
    answer = client.predict(file("chelsea"), top_k=3, api_name="/classify")
    expected = camkit.top_predictions(lite0.predict(chelsea), 3)
    assert answer["model"] == "efficientnet_lite0"
    assert [row["class_index"] for row in answer["predictions"]] == [each.class_index for each in expected]
    assert [row["name"] for row in answer["predictions"]] == [each.name for each in expected]
    np.testing.assert_allclose(
        [row["probability"] for row in answer["predictions"]], [each.probability for each in expected], rtol=1e-4
    )
    everything = client.predict(file("chelsea"), "efficientnet_lite0", 1000, api_name="/classify")["predictions"]
    assert sum(row["probability"] for row in everything) == pytest.approx(1, abs=1e-4)


def test_the_window_of_a_picture_of_16_bits_is_told(client, lite0, tmp_path):
    deep = np.random.default_rng(0).integers(0, 4081, (40, 40)).astype(np.uint16)
    deep[0, :2] = 0, 4080
    Image.fromarray(deep).save(tmp_path / "deep.png")
    sent = handle_file(str(tmp_path / "deep.png"))
    answers = [
        client.predict(sent, api_name="/classify"),
        client.predict(sent, api_name="/explain")[1],
        client.predict(sent, ["gradcam"], api_name="/compare")[1],
    ]
    assert [each["window"] for each in answers] == ["shown from 0 to 4080 of 65535"] * 3
    top = camkit.top_predictions(lite0.predict(camkit.open_picture(tmp_path / "deep.png")), 1)[0]
    assert answers[0]["predictions"][0]["class_index"] == answers[1]["class_index"] == top.class_index
    assert client.predict(file("chelsea"), api_name="/classify")["window"] == ""


def test_explain_with_nothing_but_a_picture(client, lite0, chelsea):
    overlay, facts, maps = client.predict(file("chelsea"), api_name="/explain")
    expected = camkit.explain(lite0, chelsea, ["gradcam"])
    assert (facts["method"], facts["target_layer"]) == ("gradcam", "top_activation")
    assert (facts["class_index"], facts["class_name"]) == (expected.class_index, expected.class_name)
    np.testing.assert_allclose(facts["raw"], expected.cams["gradcam"].raw, atol=1e-5)
    np.testing.assert_allclose(arrays(maps)["map_gradcam"], expected.cams["gradcam"].map, atol=1e-4)
    np.testing.assert_array_equal(picture(overlay), camkit.overlay(chelsea, arrays(maps)["map_gradcam"]))


@pytest.mark.parametrize("method", METHODS)
def test_explain_by_every_method_equals_camkit(client, lite0, astronaut, method):
    overlay, facts, maps = client.predict(
        file("astronaut"), method, "space shuttle", "efficientnet_lite0", LAYER, 7, 0.25, "turbo", api_name="/explain"
    )
    expected = camkit.explain(lite0, astronaut, [method], 812, LAYER, 7).cams[method]
    assert (facts["class_index"], facts["target_layer"], facts["method"]) == (812, LAYER, method)
    assert (facts["channels"], facts["complete"]) == (expected.channels, True)
    assert (facts["forward_passes"], facts["backward_passes"]) == (expected.forward_passes, expected.backward_passes)
    np.testing.assert_allclose(facts["raw"], expected.raw, atol=1e-4 * expected.raw.max())
    assert facts["box"] == list(camkit.box_of(expected))
    held = arrays(maps)
    assert set(held) == {f"raw_{method}", f"map_{method}"}
    np.testing.assert_allclose(held[f"map_{method}"], expected.map, atol=1e-4)
    np.testing.assert_array_equal(picture(overlay), camkit.overlay(astronaut, held[f"map_{method}"], 0.25, "turbo"))


def test_overlays_whose_opacity_follows_the_map(client, chelsea):
    overlay, _, maps = client.predict(file("chelsea"), alpha=0.8, colormap="turbo", opacity="map", api_name="/explain")
    cam_map = arrays(maps)["map_gradcam"]
    np.testing.assert_array_equal(picture(overlay), camkit.overlay(chelsea, cam_map, 0.8, "turbo", "map"))
    overlays, _, bundle = client.predict(file("chelsea"), ["gradcam"], opacity="map", api_name="/compare")
    wanted = camkit.overlay(chelsea, cam_map, opacity="map")
    np.testing.assert_array_equal(picture(overlays[0]["image"]), wanted)
    with zipfile.ZipFile(bundle) as archive:
        np.testing.assert_array_equal(picture(archive.open("overlays/Grad-CAM.png")), wanted)


@pytest.mark.parametrize("class_name", ["space shuttle", "812", "n04266014"])
def test_a_class_by_name_by_index_as_text_and_by_wordnet_id(client, class_name):
    _, facts, _ = client.predict(file("astronaut"), class_name=class_name, api_name="/explain")
    assert (facts["class_index"], facts["class_name"]) == (812, "space shuttle")


def test_a_picture_that_excites_nothing_has_maps_and_no_nan(client, tmp_path):
    Image.new("RGB", (9, 8)).save(tmp_path / "black.png")
    _, facts, _ = client.predict(
        handle_file(str(tmp_path / "black.png")), list(METHODS), "toucan", "auto", LAYER, api_name="/compare"
    )
    json.dumps(facts, allow_nan=False)
    assert all(isinstance(row["all_zero"], bool) for row in facts["methods"])


def test_compare_streams_and_its_last_answer_is_complete(client, lite0, chelsea):
    job = client.submit(file("chelsea"), list(METHODS), "tabby", "auto", LAYER, 5, api_name="/compare")
    answers = list(job)
    overlays, facts, bundle = answers[-1]
    assert len(answers) > 3
    assert [answer[1]["complete"] for answer in answers] == [False] * (len(answers) - 1) + [True]
    assert all(answer[2] is None for answer in answers[:-1])
    assert [len(answer[0]) for answer in answers] == sorted(len(answer[0]) for answer in answers)
    expected = camkit.explain(lite0, chelsea, METHODS, camkit.find_class("tabby").index, LAYER, 5)
    assert {row["method"]: row["channels"] for row in facts["methods"]} == {
        key: cam.channels for key, cam in expected.cams.items()
    }
    held = camkit.load_bundle(bundle)
    assert held.complete
    assert {row["method"]: row["box"] for row in facts["methods"]} == {
        key: list(camkit.box_of(cam)) for key, cam in held.cams.items()
    }
    assert (held.class_name, held.target_layer, held.max_n) == ("tabby", LAYER, 5)
    np.testing.assert_array_equal(held.image, chelsea)
    shown = {each["caption"]: picture(each["image"]) for each in overlays}
    for key, cam in expected.cams.items():
        np.testing.assert_allclose(held.cams[key].map, cam.map, atol=1e-4)
        overlay = shown[camkit.METHODS[key].name]
        np.testing.assert_array_equal(overlay, camkit.overlay(chelsea, held.cams[key].map))


def test_plain_http_in_three_requests(server_url, lite0, chelsea):
    """curl -F files=@chelsea.jpg URL/gradio_api/upload gives the path; the two requests below do the rest."""
    path = plain_http.upload(server_url, (EXAMPLES / "chelsea.jpg").read_bytes(), "chelsea.jpg")
    body = {"data": [{"path": path, "meta": plain_http.META}, "efficientnet_lite0", 1]}
    number = httpx.post(f"{server_url}/gradio_api/call/classify", json=body).json()["event_id"]
    lines = httpx.get(f"{server_url}/gradio_api/call/classify/{number}", timeout=LIMIT).text.splitlines()
    assert lines[0] == "event: complete"
    (answer,) = json.loads(lines[1].removeprefix("data: "))
    assert answer["predictions"][0]["class_index"] == camkit.top_predictions(lite0.predict(chelsea), 1)[0].class_index


# What is refused, in which words


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        (
            "/explain",
            {"class_name": "tabbbby"},
            r"'tabbbby' is none of the 1000 ImageNet classes\. Did you .*tabby.*\?",
        ),
        ("/explain", {"class_name": "crane"}, r"'crane' names several classes: .*\. Give one of them, or its index\."),
        (
            "/explain",
            {"class_name": "1000"},
            r"Class index 1000 does not exist: it must be a whole number from 0 to 999\.",
        ),
        ("/explain", {"model": "resnet"}, r"Model 'resnet' is unknown: use one of vgg16, efficientnet_lite0\."),
        ("/explain", {"method": "lime"}, r"Method 'lime' is unknown: use one of gradcam, .*\."),
        ("/explain", {"method": None}, r"Method 'None' is unknown: .*"),
        (
            "/explain",
            {"target_layer": "fc1"},
            r"Target layer 'fc1' is not offered by EfficientNet-Lite0: use one of .*\.",
        ),
        ("/explain", {"max_n": 0}, r"max_n is 0: it must be a whole number from 1 to 1280, .*\."),
        (
            "/explain",
            {"max_n": 41, "target_layer": LAYER},
            r"max_n is 41: it must be a whole number from 1 to 40, .*\.",
        ),
        ("/explain", {"max_n": 2.5}, r"max_n is 2\.5: it must be a whole number .*\."),
        (
            "/explain",
            {"alpha": 1.5},
            r"alpha is 1\.5: it must be a number from 0 \(picture only\) to 1 \(heatmap only\)\.",
        ),
        ("/explain", {"alpha": "much"}, r"alpha is 'much': it must be a number from 0 .*\."),
        ("/explain", {"colormap": "rainbow"}, r"Colour map 'rainbow' is unknown: use one of viridis, .*\."),
        ("/explain", {"opacity": "none"}, r"Opacity 'none' is unknown: use one of even, map\."),
        ("/compare", {"opacity": "none"}, r"Opacity 'none' is unknown: use one of even, map\."),
        (
            "/explain",
            {"image": None},
            r"There is no picture: send a PNG, .* or AVIF file as 'image'\.",
        ),
        ("/classify", {"image": None}, r"There is no picture: .*\."),
        ("/classify", {"top_k": 0}, r"top_k is 0: it must be a whole number from 1 to 1000\."),
        ("/classify", {"top_k": 1001}, r"top_k is 1001: it must be a whole number from 1 to 1000\."),
        ("/classify", {"top_k": "many"}, r"top_k is 'many': it must be a whole number from 1 to 1000\."),
        ("/classify", {"model": ["auto"]}, r"This could not be computed: a value sent is of the wrong type, .*\."),
        ("/compare", {"image": None}, r"There is no picture: .*\."),
        ("/classify", {"image": "examples/chelsea.jpg"}, r"A file is wanted .*: from Python send handle_file\(.*\."),
        ("/explain", {"max_n": "10"}, r"max_n is '10', a text: it must be a whole number from 1 to 1280, .*\."),
        ("/compare", {"methods": []}, r"No method is chosen: choose at least one of Grad-CAM \(gradcam\), .*\."),
        ("/compare", {"methods": ["gradcam", "lime"]}, r"Method 'lime' is unknown: .*\."),
        ("/compare", {"methods": 5}, r"This could not be computed: .*\."),
        ("/compare", {"max_n": 1281}, r"max_n is 1281: .*\."),
    ],
)
def test_every_mistake_is_named_in_a_sentence(client, endpoint, arguments, message):
    with pytest.raises(Exception, match=f"^{message}$") as caught:
        client.predict(**{"image": file("chelsea"), **arguments}, api_name=endpoint)
    plain_http.assert_clean(str(caught.value))


def test_alpha_is_refused_before_anything_is_computed(client, monkeypatch):
    monkeypatch.setattr(camkit, "explain", lambda *_: pytest.fail("computed"))
    with pytest.raises(Exception, match="^alpha is 2: "):
        client.predict(file("chelsea"), "scorecam", alpha=2, api_name="/explain")


def test_what_nobody_expected_stays_in_the_log(client, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("/home/someone/secret.txt")

    monkeypatch.setattr("camkit.web.api.classifier", broken)
    with pytest.raises(Exception, match="or the fault is the server's and is in its log") as caught:
        client.predict(file("chelsea"), api_name="/classify")
    plain_http.assert_clean(str(caught.value))
    assert "secret.txt" in caplog.text


# Several visitors at once


@pytest.fixture
def narrow(server_url, monkeypatch):
    """A second server with room for one request under way and one waiting; its classifier answers when `go` is set."""
    from camkit.web import api, page

    busy, go, real = threading.Event(), threading.Event(), api.classifier

    def held(model):
        busy.set()
        assert go.wait(LIMIT)
        return real(model)

    monkeypatch.setattr(api, "classifier", held)
    demo = page.build()
    demo.queue(max_size=1, default_concurrency_limit=1, api_open=False)
    _, url, _ = demo.launch(prevent_thread_lock=True, server_port=free_port(), quiet=True)
    yield url.rstrip("/"), busy, go
    go.set()
    demo.close()


def test_a_full_queue_answers_politely_and_the_server_goes_on(narrow):
    url, busy, go = narrow
    path = plain_http.upload(url, (EXAMPLES / "chelsea.jpg").read_bytes())
    number, data = plain_http.event_id(url, "classify"), [{"path": path, "meta": plain_http.META}, "auto", 1]
    assert plain_http.join(url, number, data, "first").status_code == 200
    assert busy.wait(LIMIT)
    assert plain_http.join(url, number, data, "second").status_code == 200
    third = plain_http.join(url, number, data, "third")
    assert third.status_code == 503
    assert third.json()["detail"] == "Queue is full. Max size is 1 and size is 1."
    go.set()
    assert plain_http.outcome(url, "first")["success"]
    assert plain_http.outcome(url, "second")["success"]
    assert plain_http.run(url, number, data)["success"]


def test_sixteen_clients_at_once_get_right_answers_and_none_is_lost(server_url):
    load = load_api.many(server_url, clients=16, requests=1, late=1)
    assert (len(load.seconds), load.lost, load.crossed, len(load.late)) == (16, 0, 0, 1)


def test_no_answer_is_lost_or_crossed(server_url, monkeypatch, caplog, capfd):
    for name, value in mixed_load.LIMITS.items():
        monkeypatch.setenv(name, value)
    found = mixed_load.Load(server_url, seconds=1, people=4).run()
    assert (found.lost, found.crossed) == ([], [])
    assert {"explain", "open_page", "bring_picture", "measure"} <= set(found.right)
    assert mixed_load.unexpected(caplog.text + capfd.readouterr().err) == []


# examples/client.py, as a reader would run it


def test_the_example_calls_every_endpoint_and_saves_what_it_got(server_url, short_curves, tmp_path, lite0, astronaut):
    command = [sys.executable, EXAMPLES / "client.py", server_url, str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * LIMIT)
    assert done.returncode == 0, done.stderr
    top = camkit.top_predictions(lite0.predict(astronaut), 1)[0]
    for line in (
        f"camkit {camkit.__version__} on ",
        f"{top.name} ({top.class_index})",
        "Grad-CAM for space shuttle: 7 x 7 raw map",
        "4 of 4 complete",
        "(control)",
    ):
        assert line in done.stdout, line
    assert np.asarray(Image.open(tmp_path / "results" / "overlay.png")).shape == astronaut.shape
    with np.load(tmp_path / "results" / "maps.npz") as maps:
        assert set(maps) == {"raw_gradcam", "map_gradcam"}
    held = camkit.load_bundle(tmp_path / "results" / "bundle.zip")
    assert held.complete
    assert set(held.cams) == set(camkit.DEFAULT_METHODS)
    assert held.class_name == "space shuttle"


def test_the_curl_lines_name_what_the_server_has():
    text = (EXAMPLES / "client.py").read_text()
    paths = ("/gradio_api/upload", "/gradio_api/call/classify", "/gradio_api/call/classify/<id>")
    assert all(path in text for path in paths)
