"""The public endpoints: /info, /classify, /explain, /compare and /evaluate.

Their inputs are hidden components whose types and defaults document them. PARAMETERS says what each is: in an
endpoint's description, and as its component's label, which Gradio's API page shows beside the parameter.
Values reach the handlers as they were sent, so that camkit's own checks name the parameter and what it may be.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from ..errors import InputError, quoted
from ..evidence.measure import measure, to_json
from ..evidence.observations import Measurement
from ..explain import explain, explain_stream
from ..explanation import DEFAULT_MAX_N, Explanation
from ..export.bundle import maps_npz
from ..labels import Labels
from ..maps import ALPHA, COLORMAPS, OPACITIES, box_of, check_look, encode, overlay
from ..methods import DEFAULT_METHODS, METHODS, check_methods
from ..models.registry import MODELS, ModelSpec
from ..passes.outputs import OUTPUTS
from ..picture import KINDS, OpenedPicture
from ..report.results import metrics_csv
from ..version import __version__
from .server.files import versions, write_file, write_zip
from .server.readiness import classifier, default_model, is_ready, operator_status
from .server.refusals import with_clear_errors
from .server.runs import RUNS, Run
from .server.uploads import open_upload, sent_file

if TYPE_CHECKING:
    from ..classifier import Classifier

_REVISION = Path(__file__).resolve().parents[2] / "REVISION"  # written by the deployment
REVISION = _REVISION.read_text().strip() if _REVISION.exists() else "development"
FILE = f"A {KINDS} file of at most 20 MB, 25 megapixels and 10,000 pixels a side"
PARAMETERS = {
    "image": f"{FILE}, as in handle_file('picture.jpg'); no address of another server is fetched.",
    "model": "The classifier, one of /info's models; 'auto' takes the first that is ready.",
    "top_k": "How many classes to return, from 1 to the model's number of classes.",
    "method": "The map to compute.",
    "methods": "The maps to compute, at least one.",
    "class_name": "A name, another word for it or an index as text; '' takes the top class.",
    "target_layer": "One of the model's target_layers in /info; '' takes the last.",
    "max_n": "Channels of Faster Score-CAM, from 1 to the layer's number; 10 takes all of a layer with fewer.",
    "alpha": "The heatmap's weight, 0 (picture only) to 1 (heatmap only).",
    "colormap": "The colours of the heatmap.",
    "opacity": "'even' gives every pixel of the heatmap the weight alpha, 'map' alpha times the map.",
    "faithfulness": "Whether to measure the maps too, as /evaluate does: ten seconds more on a CPU.",
}


# --- the endpoints -------------------------------------------------------------------------------------------------


def api_info() -> dict:
    """Describe this server: version, revision, models with state and target layers, methods, device, libraries."""
    from ..classifier import device_name, gpus

    fields = ("name", "summary", "formula", "paper", "url", "differs")
    return {
        "version": __version__,
        "revision": REVISION,
        "default_model": default_model(),
        "models": {key: model_info(spec) for key, spec in MODELS.items()},
        "methods": {key: {name: getattr(method, name) for name in fields} for key, method in METHODS.items()},
        "colormaps": list(COLORMAPS),
        "device": device_name(),
        "gpus": list(gpus()),
        "libraries": versions(),
    }


def model_info(spec: ModelSpec) -> dict:
    state, sentence = "ready", f"{spec.name} is bundled."
    if spec.operator_model is not None:
        state, sentence = operator_status(spec)
    elif spec.weights is not None:
        now = spec.weights.state
        state, sentence = now.status, now.sentence
        if state == "ready" and not is_ready(spec.key):
            state, sentence = "loading", f"{spec.name}'s weights are here; it is not loaded yet."
    return {
        "name": spec.name,
        "state": state,
        "message": sentence,
        "source": spec.source,
        "inputs": spec.inputs,
        "outputs": spec.outputs.key,
        "resizing": spec.resized,
        "target_layers": list(spec.target_layers),
        "default_target_layer": spec.target_layers[-1] if spec.target_layers else "",
    }


@with_clear_errors(markup=False)
def api_classify(image, model, top_k, request: gr.Request) -> dict:
    """Classify one picture: the `top_k` most probable of the model's classes, best first."""
    clf = classifier(model)
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= len(clf.labels):
        raise InputError(f"top_k is {quoted(repr(top_k))}: it must be a whole number from 1 to {len(clf.labels)}.")
    given = opened(image, request)
    predictions = clf.labels.top_predictions(clf.predict(given.image), top_k, clf.outputs.quantity)
    return {"model": clf.name, "predictions": [each.to_json() for each in predictions]} | given.to_json()


@with_clear_errors(markup=False)
def api_explain(image, method, class_name, model, target_layer, max_n, alpha, colormap, opacity, request: gr.Request):
    """Explain one class of one picture by one method: the overlay, the facts with the raw map, and the maps as NPZ."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise InputError(
            f"alpha is {quoted(repr(alpha))}: it must be a number from 0 (picture only) to 1 (heatmap only)."
        )
    check_look(alpha, colormap, opacity)
    (method,) = check_methods([method])
    clf = classifier(model)
    index = class_index_of(class_name, clf.labels)
    if METHODS[method].uses_gradient:
        given = opened(image, request)
        explanation = explain(clf, given.image, [method], index, target_layer, max_n_of(max_n))
    else:
        with RUNS.api_run(request) as run:
            given = opened(image, request)
            explanation = run.last(
                explain_stream(clf, given.image, [method], index, target_layer, max_n_of(max_n), run.cancel)
            )
    cam = explanation.cams[method]
    picture = write_file("overlay.png", encode(overlay(explanation.image, cam, alpha, colormap, opacity)))
    facts = prediction_json(explanation) | cam.to_json() | {"raw": cam.raw.tolist(), "box": box_of(cam)}
    facts |= given.to_json()
    return picture, facts, write_file("maps.npz", maps_npz(explanation))


@with_clear_errors(markup=False)
def api_compare(image, methods, class_name, model, target_layer, max_n, faithfulness, opacity, request: gr.Request):
    """Explain one class of one picture by several methods. Streams the maps so far, as JPEG until they are final; the
    last answer is complete and brings the zip."""
    check_look(opacity=opacity)
    clf, methods = classifier(model), check_methods(methods)
    index = class_index_of(class_name, clf.labels)
    final: dict[str, bytes] = {}
    with RUNS.api_run(request) as run:
        given = opened(image, request)
        for snapshot in run.watch(
            explain_stream(clf, given.image, methods, index, target_layer, max_n_of(max_n), run.cancel)
        ):
            if not snapshot.complete:
                yield overlays(snapshot, final, opacity), comparison_json(snapshot) | given.to_json(), None
        measurements = measure_all(run, clf, snapshot) if faithfulness else {}
    facts, extra = comparison_json(snapshot) | given.to_json(), {}
    if measurements:
        facts["faithfulness"] = to_json(measurements)
        extra["data/faithfulness.csv"] = metrics_csv(measurements, snapshot.cams)
    kept = {"opacity": opacity, "extra": extra, "drawn": final, "window": given.to_json()["window"]}
    yield overlays(snapshot, final, opacity), facts, write_zip(snapshot, **kept)


@with_clear_errors(markup=False)
def api_evaluate(image, methods, class_name, model, request: gr.Request) -> dict:
    """Measure how far each method's map of one picture can be believed: every metric, the insertion and deletion
    curves, the costs, and the same for a random, a centred and a uniform map as controls."""
    clf, methods = classifier(model), check_methods(methods)
    index = class_index_of(class_name, clf.labels)
    with RUNS.api_run(request) as run:
        given = opened(image, request)
        explanation = run.last(explain_stream(clf, given.image, methods, index, cancel=run.cancel))
        measurements = measure_all(run, clf, explanation)
    return comparison_json(explanation) | given.to_json() | {"faithfulness": to_json(measurements)}


# --- arguments and answers -----------------------------------------------------------------------------------------


def opened(image: dict | None, request: gr.Request) -> OpenedPicture:
    """Return the picture of a request, decoded; InputError when there is none or it cannot be used."""
    path = sent_file(image, request)
    if path is None:
        raise InputError(f"There is no picture: send a {KINDS} file as 'image'.")
    return open_upload(path)


def measure_all(run: Run, clf: Classifier, explanation: Explanation) -> dict[str, Measurement]:
    """Return every Measurement by key, methods first."""
    return {key: each for key, each in run.watch(measure(clf, explanation, cancel=run.cancel)) if each is not None}


def max_n_of(value):
    """Return `max_n` as the library takes it: the documented default, 10, takes all of a layer that has fewer."""
    return None if value == DEFAULT_MAX_N else value


def class_index_of(text: str, labels: Labels) -> int | None:
    """Return the class index of a name or of an index as text; None, the top class, for ""."""
    return labels.find_class(text).index if text and text.strip() else None


def overlays(snapshot: Explanation, final: dict[str, bytes], opacity: str) -> list[tuple[str, str]]:
    """Return the overlays as files with their captions: JPEG of a map that still changes, PNG of one that does not,
    which is kept in `final`."""
    shown = []
    for key, cam in snapshot.cams.items():
        if key not in final:
            drawn = overlay(snapshot.image, cam, opacity=opacity)
            if cam.complete:
                final[key] = encode(drawn)
        name, content = ("overlay.png", final[key]) if key in final else ("overlay.jpg", encode(drawn, "JPEG"))
        shown.append((write_file(name, content), METHODS[key].name))
    return shown


def prediction_json(explanation: Explanation) -> dict:
    known = explanation.to_json()
    quantity = OUTPUTS[explanation.outputs].quantity
    fields = ("model", "target_layer", "class_index", "class_name", "outputs", quantity, "predictions", "placement")
    return {name: known[name] for name in fields}


def comparison_json(explanation: Explanation) -> dict:
    return prediction_json(explanation) | {
        "complete": explanation.complete,
        "seconds": explanation.seconds,
        "methods": [
            cam.to_json() | {"box": box_of(cam) if explanation.complete else None} for cam in explanation.cams.values()
        ],
    }


# --- the hidden components -----------------------------------------------------------------------------------------


def words(handler: Callable) -> str:
    """Return an endpoint's description: its docstring, and what each of its parameters is."""
    described = [f"{name}: {PARAMETERS[name]}" for name in inspect.signature(handler).parameters if name in PARAMETERS]
    return "\n\n".join([inspect.getdoc(handler) or "", *described])


def build() -> None:
    """Build the endpoints on one hidden button; an input that several of them take is one component."""
    with gr.Row(visible=False):
        image = gr.Image(label=PARAMETERS["image"])
        model = gr.Dropdown(["auto", *MODELS], value="auto", label=PARAMETERS["model"])
        top_k = gr.Number(5, precision=0, label=PARAMETERS["top_k"])
        method = gr.Dropdown(list(METHODS), value="gradcam", label=PARAMETERS["method"])
        methods = gr.CheckboxGroup(list(METHODS), value=list(DEFAULT_METHODS), label=PARAMETERS["methods"])
        class_name = gr.Textbox("", label=PARAMETERS["class_name"])
        target_layer = gr.Textbox("", label=PARAMETERS["target_layer"])
        max_n = gr.Number(10, precision=0, label=PARAMETERS["max_n"])
        alpha = gr.Number(ALPHA, label=PARAMETERS["alpha"])
        colormap = gr.Dropdown(list(COLORMAPS), value="viridis", label=PARAMETERS["colormap"])
        opacity = gr.Dropdown(list(OPACITIES), value="even", label=PARAMETERS["opacity"])
        faithfulness = gr.Checkbox(False, label=PARAMETERS["faithfulness"])
        picture, several = gr.Image(format="png", label="overlay"), gr.Gallery(format="png", label="overlays")
        facts, archive = gr.JSON(label="facts"), gr.File(label="maps.npz")
        bundle = gr.File(label="bundle.zip")
        on = gr.Button("api")
        shared = [class_name, model, target_layer, max_n]
        on.click(api_info, None, gr.JSON(label="info"), api_name="info", queue=False)
        for handler, inputs, outputs in (
            (api_classify, [image, model, top_k], gr.JSON(label="predictions")),
            (api_explain, [image, method, *shared, alpha, colormap, opacity], [picture, facts, archive]),
            (api_compare, [image, methods, *shared, faithfulness, opacity], [several, facts, bundle]),
            (api_evaluate, [image, methods, class_name, model], gr.JSON(label="figures")),
        ):
            name = handler.__name__.removeprefix("api_")
            on.click(handler, inputs, outputs, api_name=name, api_description=words(handler), preprocess=False)
