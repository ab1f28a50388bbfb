"""The public endpoints."""

from __future__ import annotations

import gradio as gr
import numpy as np

from ..bundle import maps_npz
from ..classifier import device_name, gpus
from ..errors import InputError
from ..evidence.study import evidence_json, measured
from ..explain import explain, explain_stream, top_predictions
from ..labels import classes, find_class
from ..maps import ALPHA, COLORMAPS, encode, overlay
from ..methods import METHODS, check_methods
from ..models import MODELS
from ..version import __version__
from .files import _file, bundle, csv_of, versions
from .readiness import classifier, default_model, is_ready
from .uploads import Picture
from .visitors import VISITORS, in_words, visitor_of
from .widgets import HERE

REVISION = (HERE / "REVISION").read_text().strip() if (HERE / "REVISION").exists() else "development"


def open_class(text: str) -> int | None:
    """A class name or an index as text -> class index; "" -> None, the top class."""
    return find_class(text).index if text and text.strip() else None


def api_info() -> dict:
    """What this server runs: version, revision, models with their state and target layers, methods, device, libraries."""
    return {
        "version": __version__,
        "revision": REVISION,
        "default_model": default_model(),
        "models": {key: _model_info(spec) for key, spec in MODELS.items()},
        "methods": {
            key: {
                "name": method.name,
                "summary": method.summary,
                "formula": method.formula,
                "paper": method.paper,
                "url": method.url,
                "differs": method.differs,
            }
            for key, method in METHODS.items()
        },
        "colormaps": list(COLORMAPS),
        "device": device_name(),
        "gpus": list(gpus()),
        "libraries": versions(),
    }


def _model_info(spec) -> dict:
    state = "ready" if is_ready(spec.key) else spec.weights.state.status
    sentence = f"{spec.name} is bundled." if spec.weights is None else spec.weights.state.sentence
    return {
        "name": spec.name,
        "state": state,
        "message": sentence,
        "source": spec.source,
        "target_layers": list(spec.target_layers),
        "default_target_layer": spec.target_layers[-1],
    }


def needed(image: np.ndarray | None) -> np.ndarray:
    if image is None:
        raise InputError("There is no picture: send a PNG, JPEG, WebP, GIF or TIFF file as 'image'.")
    return image


def check_view(alpha, colormap) -> None:
    """Refuses at once what `overlay` would refuse when the work is done."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise InputError(f"alpha is {alpha!r}: it must be a number from 0 (picture only) to 1 (heatmap only).")
    overlay(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32), alpha, colormap)


@in_words
def api_classify(image, model, top_k) -> dict:
    """Classifies one picture: the `top_k` most probable of the 1000 ImageNet classes, best first."""
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= len(classes()):
        raise InputError(f"top_k is {top_k!r}: it must be a whole number from 1 to {len(classes())}.")
    clf = classifier(model)
    predictions = top_predictions(clf.predict(needed(image)), top_k)
    return {"model": clf.name, "predictions": [vars(prediction) for prediction in predictions]}


@in_words
def api_explain(image, method, class_name, model, target_layer, max_n, alpha, colormap, request: gr.Request):
    """Explains one class of one picture by one method: the overlay, the facts with the raw map, and the maps as NPZ."""
    check_view(alpha, colormap)
    (method,) = check_methods([method])
    arguments = (classifier(model), needed(image), [method], open_class(class_name), target_layer, max_n)
    if METHODS[method].uses_gradient:
        explanation = explain(*arguments)
    else:
        with VISITORS.api_run(visitor_of(request)):
            explanation = explain(*arguments)
    cam = explanation.cams[method]
    picture = _picture(overlay(explanation.image, cam.map, alpha, colormap))
    facts = _prediction_facts(explanation) | cam.to_json() | {"raw": cam.raw.tolist()}
    return picture, facts, _file("maps.npz", maps_npz(explanation))


@in_words
def api_compare(image, methods, class_name, model, target_layer, max_n, faithfulness, request: gr.Request):
    """Explains one class of one picture by several methods. Streams: each answer has the maps so far, the last one is
    complete and brings the zip. With `faithfulness` every map and the controls are measured as in /evaluate."""
    clf = classifier(model)
    stream = explain_stream(clf, needed(image), methods, open_class(class_name), target_layer, max_n)
    final: dict[str, str] = {}
    with VISITORS.api_run(visitor_of(request)):
        for snapshot in stream:
            if not snapshot.complete:
                yield _overlays(snapshot, final), _comparison(snapshot), None
        results = measured(clf, snapshot) if faithfulness else {}
    facts = _comparison(snapshot) | ({"faithfulness": evidence_json(results)} if results else {})
    yield _overlays(snapshot, final), facts, bundle(snapshot, extra=csv_of(snapshot, results))


@in_words
def api_evaluate(image, methods, class_name, model, request: gr.Request) -> dict:
    """Measures how far each method's map of one picture can be believed: every metric, the insertion and deletion curves, the
    costs, and the same for a random, a centred and a uniform map as controls."""
    clf = classifier(model)
    with VISITORS.api_run(visitor_of(request)):
        explanation = explain(clf, needed(image), methods, open_class(class_name))
        results = measured(clf, explanation)
    return _comparison(explanation) | {"faithfulness": evidence_json(results)}


def _overlays(snapshot, final: dict[str, str]) -> list:
    """The overlays as files with their captions; `final` keeps those of maps that will not change any more."""
    files = {key: final.get(key) or _picture(overlay(snapshot.image, cam.map)) for key, cam in snapshot.cams.items()}
    final.update({key: files[key] for key, cam in snapshot.cams.items() if cam.complete})
    return [(path, METHODS[key].name) for key, path in files.items()]


def _picture(image: np.ndarray) -> str:
    return _file("overlay.png", encode(image))


def _comparison(snapshot) -> dict:
    rows = [cam.to_json() for cam in snapshot.cams.values()]
    return _prediction_facts(snapshot) | {"complete": snapshot.complete, "seconds": snapshot.seconds, "methods": rows}


def _prediction_facts(explanation) -> dict:
    return {
        "model": explanation.model,
        "target_layer": explanation.target_layer,
        "class_index": explanation.class_index,
        "class_name": explanation.class_name,
        "probability": explanation.probability,
        "predictions": [vars(prediction) for prediction in explanation.predictions],
    }


PARAMETERS = {
    "image": "A picture file: PNG, JPEG, WebP, GIF or TIFF, at most 20 MB, 25 megapixels and 10,000 pixels a side.",
    "model": "The classifier; 'auto' takes VGG16 when its weights are on the server, else the bundled one.",
    "top_k": "How many classes to return, 1 to 1000.",
    "method": "The class activation map to compute.",
    "methods": "The class activation maps to compute; at least one.",
    "class_name": "The class to explain: a name, another word for it, or an index from 0 to 999 as text; '' takes the top class.",
    "target_layer": "The layer whose activations are mapped, one of the model's target_layers in /info; '' takes the last.",
    "max_n": "How many channels Faster Score-CAM takes, from 1 to the layer's number; the others ignore it.",
    "alpha": "The weight of the heatmap in the overlay, 0 (picture only) to 1 (heatmap only).",
    "colormap": "The colours of the heatmap.",
    "faithfulness": "Whether to measure the maps as /evaluate does; takes about ten seconds more on a CPU.",
}


def parameter(name: str, component):
    """A component as a documented input. Except for pictures and text its value reaches the handler as it was sent: camkit's
    own checks name the parameter and what it may be, Gradio's do not."""
    schema = component.api_info() | {"additional_description": PARAMETERS[name]}
    component.api_info = lambda: schema
    if not isinstance(component, (Picture, gr.Textbox)):
        component.preprocess = lambda payload: payload
    return component


def build_api() -> None:
    """The public endpoints. Their inputs are hidden components: names, types, defaults and PARAMETERS document them."""
    with gr.Row(visible=False):

        def inputs(*wanted: str) -> list:
            made = {
                "image": lambda: Picture(label="image"),
                "model": lambda: gr.Dropdown(["auto", *MODELS], value="auto", label="model"),
                "top_k": lambda: gr.Number(5, precision=0, label="top_k"),
                "method": lambda: gr.Dropdown(list(METHODS), value="gradcam", label="method"),
                "methods": lambda: gr.CheckboxGroup(list(METHODS), value=list(METHODS), label="methods"),
                "class_name": lambda: gr.Textbox("", label="class_name"),
                "target_layer": lambda: gr.Textbox("", label="target_layer"),
                "max_n": lambda: gr.Number(10, precision=0, label="max_n"),
                "alpha": lambda: gr.Number(ALPHA, label="alpha"),
                "colormap": lambda: gr.Dropdown(list(COLORMAPS), value="viridis", label="colormap"),
                "faithfulness": lambda: gr.Checkbox(False, label="faithfulness"),
            }
            return [parameter(name, made[name]()) for name in wanted]

        overlay = gr.Image(format="png", label="overlay")
        overlays = gr.Gallery(format="png", label="overlays")
        facts, table, file = gr.JSON(label="facts"), gr.JSON(label="facts"), gr.File(label="maps.npz")
        zipped = gr.File(label="bundle.zip")
        on = gr.Button("api")
        on.click(api_info, None, gr.JSON(label="info"), api_name="info", queue=False)
        on.click(api_classify, inputs("image", "model", "top_k"), gr.JSON(label="predictions"), api_name="classify")
        on.click(
            api_explain,
            inputs("image", "method", "class_name", "model", "target_layer", "max_n", "alpha", "colormap"),
            [overlay, facts, file],
            api_name="explain",
        )
        on.click(
            api_compare,
            inputs("image", "methods", "class_name", "model", "target_layer", "max_n", "faithfulness"),
            [overlays, table, zipped],
            api_name="compare",
        )
        on.click(
            api_evaluate,
            inputs("image", "methods", "class_name", "model"),
            gr.JSON(label="figures"),
            api_name="evaluate",
        )
