"""The page and the API: four class activation maps of one picture, side by side, live.

Owns Gradio, what a visitor may do and how it looks; every number comes from camkit. `python app.py` starts the server.
Imports no model library: the page opens at once and the classifier is loaded in the background.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import io
import itertools
import logging
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gradio as gr
import numpy as np
from gradio import utils
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_http_url_like
from PIL import Image

import camkit
from camkit import evaluate, faithfulness, models, picture, render
from camkit.explain import contrast, map_of_inputs
from camkit.imagenet import classes
from camkit.methods import check_methods
from camkit.report import summary_table, write_reports
from camkit.summary import NAMES, Facts

HERE = Path(__file__).parent
REVISION = (HERE / "REVISION").read_text().strip() if (HERE / "REVISION").exists() else "development"
LIBRARIES = ("gradio", "tensorflow", "keras", "tf-keras-vis", "numpy", "pillow")
LONGEST_SIDE = 1280  # of the picture on the page; the API answers in the picture's own size
PREVIEW_CHANNELS = 64  # of Score-CAM when it is not to run in full
REDRAW_SECONDS = 0.4  # between two redraws of a map that is being refined; drawing each block would slow the next
QUEUE_LENGTH = 64
FILES_LIVE = 3600  # seconds that uploads and downloads are kept
METHOD_CHOICES = [(method.name, key) for key, method in camkit.METHODS.items()]
MODEL_CHOICES = [(spec.name, key) for key, spec in camkit.MODELS.items()]
log = logging.getLogger("app")


@dataclass(frozen=True)
class Example:
    """A picture in examples/, the question it answers, and the class to explain (None: the top one)."""

    file: str
    question: str
    class_index: int | None = None

    @property
    def path(self) -> Path:
        return HERE / "examples" / self.file


EXAMPLES = (
    Example("astronaut.jpg", "Why a space shuttle?", 812),
    Example("cat_and_coffee.jpg", "Cat or coffee?"),
    Example("chelsea.jpg", "Which cat?"),
    Example("coffee.jpg", "Cup or contents?"),
    Example("rocket.jpg", "A rocket taken for what?"),
    Example("china.jpg", "What makes a roof?"),
    Example("flower.jpg", "Petals or centre?"),
)


# --- models ----------------------------------------------------------------------------------------------------------


def is_ready(model: str) -> bool:
    """True when the model can be loaded without a download."""
    weights = camkit.MODELS[model].weights
    return weights is None or weights.state.status == "ready"


def default_model() -> str:
    """The first model of the registry that is ready; a bundled one always is."""
    return next(key for key in camkit.MODELS if is_ready(key))


def classifier(model: str) -> camkit.Classifier:
    """The classifier, loaded once. A model whose weights are missing starts their download and is refused in words."""
    model = default_model() if model == "auto" else model
    spec = models.check_model(model)
    if not is_ready(model):
        failed = spec.weights.state  # read before the new attempt replaces what the last one has to say
        spec.weights.download_in_background()
        state = failed if failed.status == "failed" else spec.weights.state
        raise ValueError(
            f"{spec.name} has no weights here yet. {state.sentence} "
            f"Meanwhile use {camkit.MODELS[default_model()].name}."
        )
    return camkit.load(model)


def look_for(weights) -> None:
    """A copy in Keras's cache counts once its checksum was seen. What is wrong with a file the operator named goes to the
    log and the status line; the bundled classifier is warmed up all the same."""
    try:
        weights.find()
    except camkit.WeightsError as error:
        log.warning("%s", error)


def warm_up() -> None:
    """Loads and compiles what the first visitor will need, so that no visitor waits for it."""
    for spec in camkit.MODELS.values():
        if spec.weights is not None:
            look_for(spec.weights)
    for model in dict.fromkeys([default_model(), *filter(is_ready, camkit.MODELS)]):
        clf = camkit.load(model)
        noise = np.random.default_rng(0).integers(0, 256, (*clf.input_size, 3), dtype=np.uint8)
        for snapshot in camkit.explain_stream(clf, noise, max_n=1):
            if snapshot.cams.get("faster_scorecam"):
                break
        camkit.explain(clf, noise, ["faster_scorecam"], max_n=1)
        log.info("%s is ready on %s", clf.spec.name, models.device_name())


def open_class(text: str) -> int | None:
    """A class name or an index as text -> class index; "" -> None, the top class."""
    return camkit.find_class(text).index if text and text.strip() else None


# --- visitors ----------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One visitor's explanation under way. Whoever streams it looks at `ended` between two blocks."""

    number: int
    stopped: bool = False  # by the visitor: the partial map is kept
    replaced: bool = False  # by the visitor's next run, or the visitor left: nobody looks any more
    finished: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        return self.stopped or self.replaced


class Visitors:
    """At most one Score-CAM at a time for each visitor. On the page a new run replaces the old one; over the API a second
    one is refused."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)

    @contextmanager
    def page_run(self, visitor: str, same_maps: bool = False) -> Iterator[Run]:
        """`same_maps`: the page goes on showing the old run's maps, so it ends as if stopped and says so."""
        with self._guard:
            run = Run(next(self._numbers))
            if visitor in self._runs:
                old = self._runs[visitor]
                old.stopped, old.replaced = old.stopped or same_maps, not same_maps
            self._runs[visitor] = run
        try:
            yield run
        finally:
            self._end(visitor, run)

    @contextmanager
    def api_run(self, visitor: str) -> Iterator[Run]:
        with self._guard:
            if visitor in self._runs:
                raise ValueError(
                    "A Score-CAM of yours is still running: one at a time for each visitor. Wait for it, or cancel it."
                )
            run = self._runs[visitor] = Run(next(self._numbers))
        try:
            yield run
        finally:
            self._end(visitor, run)

    def _end(self, visitor: str, run: Run) -> None:
        with self._guard:
            if self._runs.get(visitor) is run:
                del self._runs[visitor]
        run.finished.set()

    def stop(self, visitor: str) -> None:
        with self._guard:
            if visitor in self._runs:
                self._runs[visitor].stopped = True

    def busy(self, visitor: str) -> bool:
        with self._guard:
            return visitor in self._runs

    def leave(self, visitor: str) -> None:
        with self._guard:
            if visitor in self._runs:
                self._runs[visitor].replaced = True


VISITORS = Visitors()


def visitor_of(request: gr.Request) -> str:
    """Who asks: the browser's or client's session, or the address where a plain HTTP request has none."""
    return request.session_hash or (request.client.host if request.client else "unknown")


UNREADABLE = "The request cannot be read: what each endpoint takes is described at /gradio_api/info."
UNEXPECTED = (
    "This could not be computed: a value sent is of the wrong type, or the fault is the server's and is in its log."
)


def refusal(error: Exception) -> gr.Error:
    """What a visitor is told of an error: camkit's sentence; of what nobody expected no more than that it is in the log."""
    if isinstance(error, gr.Error):
        return error
    expected = type(error) is ValueError or isinstance(error, camkit.WeightsError)
    if not expected:
        log.error("%s", UNEXPECTED, exc_info=error)
    return gr.Error(str(error) if expected else UNEXPECTED, print_exception=False, title="That did not work")


def in_words(function):
    """Turns what a visitor did wrong into one sentence; whatever else fails stays in the server's log."""

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def stream(*args, **kwargs):
            try:
                yield from function(*args, **kwargs)
            except Exception as error:
                raise refusal(error) from error

        return stream

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise refusal(error) from error

    return call


class Page(gr.Blocks):
    """Blocks whose answer to a payload that Gradio cannot read is a sentence too, not an empty error."""

    async def preprocess_data(self, *args, **kwargs):
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            message = NOT_UPLOADED if isinstance(error, InvalidPathError) else UNREADABLE
            log.warning("%s (%s)", message, type(error).__name__)
            raise gr.Error(message, print_exception=False, title="That did not work") from error


NOT_UPLOADED = "The picture must be uploaded first: its file is not among the uploads."


class Picture(gr.Image):
    """An image input that gives handlers an (H, W, 3) uint8 RGB array and opens nothing but what was uploaded.

    Gradio 6.31 reads any path of the server's disk when a raw payload leaves out `meta`; it decodes before it checks
    sizes; and it downloads an address whatever its size. All are settled here, so every event and endpoint that takes a
    picture is covered.
    """

    is_template = True  # rendered by the browser's Image component

    def preprocess(self, payload) -> np.ndarray | None:
        if payload is None:
            return None
        try:
            return picture.open_picture(self._content(payload))
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False, title="That picture cannot be used") from error

    def example_payload(self) -> dict:
        """What the API page shows in its snippets."""
        return {"path": "picture.jpg", "url": "picture.jpg", "meta": {"_type": "gradio.FileData"}}

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        """Called before `preprocess` with what a payload names, after Gradio's own check of paths."""
        refuse_address(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def _content(self, payload) -> bytes | Path:
        if payload.url and payload.url.startswith("data:"):
            return bytes_of_data_url(payload.url)
        return uploaded(self, payload)


class Zip(gr.File):
    """A file input that gives handlers the path of an uploaded file and of no other, for the reasons of `Picture`."""

    is_template = True

    def preprocess(self, payload) -> Path | None:
        if payload is None:
            return None
        try:
            return uploaded(self, payload)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False, title="That file cannot be used") from error

    async def async_move_resource_to_block_cache(self, url_or_file_path):
        refuse_address(url_or_file_path)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


def refuse_address(url_or_file_path) -> None:
    if is_http_url_like(str(url_or_file_path)):
        raise gr.Error(
            "Send the file itself: this server fetches none from an address.",
            print_exception=False,
            title="That file cannot be used",
        )


def uploaded(component, payload) -> Path:
    """The path of a payload's file; ValueError when it is not among the component's uploads."""
    try:
        path = Path(payload.path or "").resolve()
        inside = path.is_relative_to(Path(component.GRADIO_CACHE).resolve()) and path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte in it
        inside = False
    if not payload.path or not inside:
        raise ValueError(NOT_UPLOADED)
    return path


def bytes_of_data_url(url: str, limit: int = picture.MAX_BYTES) -> bytes:
    """The content of a base64 data URL, refused by its length before it is decoded; ValueError when it is not one."""
    head, _, body = url.partition(",")
    if len(body) > limit * 4 / 3 + 4:
        raise ValueError(f"The picture's base64 text is too long: at most {limit / 1e6:g} MB are allowed.")
    if not head.endswith(";base64"):
        raise ValueError("The picture's data URL is not base64: send 'data:image/png;base64,...'.")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:  # binascii.Error, or text that is not ASCII
        raise ValueError("The picture's base64 text is damaged.") from error


# --- API ---------------------------------------------------------------------------------------------------------------


def api_info() -> dict:
    """What this server runs: version, revision, models with their state and target layers, methods, device, libraries."""
    return {
        "version": camkit.__version__,
        "revision": REVISION,
        "default_model": default_model(),
        "models": {key: _model_info(spec) for key, spec in camkit.MODELS.items()},
        "methods": {
            key: {
                "name": method.name,
                "summary": method.summary,
                "formula": method.formula,
                "paper": method.paper,
                "url": method.url,
                "differs": method.differs,
            }
            for key, method in camkit.METHODS.items()
        },
        "colormaps": list(camkit.COLORMAPS),
        "device": models.device_name(),
        "gpus": list(models.gpus()),
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


def versions() -> dict[str, str]:
    return {"camkit": camkit.__version__} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def needed(image: np.ndarray | None) -> np.ndarray:
    if image is None:
        raise ValueError("There is no picture: send a PNG, JPEG, WebP, GIF or TIFF file as 'image'.")
    return image


def check_view(alpha, colormap) -> None:
    """Refuses at once what `overlay` would refuse when the work is done."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise ValueError(f"alpha is {alpha!r}: it must be a number from 0 (picture only) to 1 (heatmap only).")
    camkit.overlay(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32), alpha, colormap)


@in_words
def api_classify(image, model, top_k) -> dict:
    """Classifies one picture: the `top_k` most probable of the 1000 ImageNet classes, best first."""
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= len(classes()):
        raise ValueError(f"top_k is {top_k!r}: it must be a whole number from 1 to {len(classes())}.")
    clf = classifier(model)
    predictions = camkit.top_predictions(clf.predict(needed(image)), top_k)
    return {"model": clf.name, "predictions": [vars(prediction) for prediction in predictions]}


@in_words
def api_explain(image, method, class_name, model, target_layer, max_n, alpha, colormap, request: gr.Request):
    """Explains one class of one picture by one method: the overlay, the facts with the raw map, and the maps as NPZ."""
    check_view(alpha, colormap)
    (method,) = check_methods([method])
    arguments = (classifier(model), needed(image), [method], open_class(class_name), target_layer, max_n)
    if camkit.METHODS[method].uses_gradient:
        explanation = camkit.explain(*arguments)
    else:
        with VISITORS.api_run(visitor_of(request)):
            explanation = camkit.explain(*arguments)
    cam = explanation.cams[method]
    overlay = _picture(camkit.overlay(explanation.image, cam.map, alpha, colormap))
    facts = _prediction_facts(explanation) | render.cam_facts(cam) | {"raw": cam.raw.tolist()}
    return overlay, facts, _file("maps.npz", render.maps_npz(explanation))


@in_words
def api_compare(image, methods, class_name, model, target_layer, max_n, faithfulness, request: gr.Request):
    """Explains one class of one picture by several methods. Streams: each answer has the maps so far, the last one is
    complete and brings the zip. With `faithfulness` every map and the controls are measured as in /evaluate."""
    clf = classifier(model)
    stream = camkit.explain_stream(clf, needed(image), methods, open_class(class_name), target_layer, max_n)
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
        explanation = camkit.explain(clf, needed(image), methods, open_class(class_name))
        results = measured(clf, explanation)
    return _comparison(explanation) | {"faithfulness": evidence_json(results)}


def _overlays(snapshot, final: dict[str, str]) -> list:
    """The overlays as files with their captions; `final` keeps those of maps that will not change any more."""
    files = {
        key: final.get(key) or _picture(camkit.overlay(snapshot.image, cam.map)) for key, cam in snapshot.cams.items()
    }
    final.update({key: files[key] for key, cam in snapshot.cams.items() if cam.complete})
    return [(path, camkit.METHODS[key].name) for key, path in files.items()]


def _picture(image: np.ndarray) -> str:
    return _file("overlay.png", render.encode(image))


def _comparison(snapshot) -> dict:
    rows = [render.cam_facts(cam) for cam in snapshot.cams.values()]
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


def bundle(explanation, alpha: float = render.ALPHA, colormap: str = "viridis", extra: dict | None = None) -> str:
    """The path of a zip with everything in the explanation, ready to be handed out."""
    buffer = io.BytesIO()
    render.write_bundle(buffer, explanation, alpha, colormap, versions(), extra)
    return _file(f"cam-{explanation.class_name.replace(' ', '-')}.zip", buffer.getvalue())


def _file(name: str, content: bytes) -> str:
    """The path of a file in the folder that Gradio serves from and clears. Written aside and moved there: Gradio writes in
    place, which cuts off a visitor who is just fetching the same result."""
    path = Path(utils.get_upload_folder()).resolve() / hashlib.sha256(content).hexdigest() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{secrets.token_hex(8)}")
    aside.write_bytes(content)
    aside.replace(path)
    return str(path)


# --- page: what a visitor sees -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """What the page remembers of a visitor between two clicks."""

    image: np.ndarray
    explanation: camkit.Explanation | None = None
    run: int = 0


def shrunk(image: np.ndarray) -> np.ndarray:
    """The picture at no more than the page's longest side."""
    reduced = Image.fromarray(image)
    reduced.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return np.array(reduced)


def seconds_in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def percent(probability: float) -> str:
    """A probability in words: never 0 % for what is not zero."""
    return f"{probability:.1%}" if probability >= 0.001 else f"{100 * probability:.2g}%"


def passes_in_words(cam) -> str:
    back = f" and {cam.backward_passes} backward" if cam.backward_passes else ""
    noun = "pass" if max(cam.forward_passes, cam.backward_passes) == 1 else "passes"
    return f"{seconds_in_words(cam.seconds)} · {cam.forward_passes} forward{back} {noun}"


def panel(key: str, cam, stopped: bool) -> dict:
    """One method's panel for browser/panels.js."""
    method = camkit.METHODS[key]
    shown = {"key": key, "title": method.name, "how": method.summary}
    if cam is None:
        return shown | {"wait": "not computed: stopped before" if stopped else "waiting for its turn"}
    shown |= {"map": render.data_url(render.grey(cam.map)), "facts": passes_in_words(cam), "partial": not cam.complete}
    done = f"{cam.channels} of {cam.channels_total} channels"
    if not cam.complete and stopped:
        shown |= {"badge": "partial", "note": f"Partial map: stopped after {done}."}
    elif not cam.complete:
        shown |= {
            "badge": "refining",
            "progress": cam.channels / cam.channels_total,
            "facts": f"{done} · about {seconds_in_words(cam.seconds_left)} left",
        }
    if cam.all_zero and cam.complete:
        shown["note"] = "The map is zero everywhere: by this method nothing in the picture speaks for this class."
    return shown


def panels_value(run: int, image_url: str, keys, cams: dict, stopped: bool, alt: str) -> dict:
    return {"run": run, "image": image_url, "alt": alt, "panels": [panel(key, cams.get(key), stopped) for key in keys]}


def explained_line(explanation) -> str:
    top = explanation.class_index == explanation.predictions[0].class_index
    rest = "the top class" if top else f"the model's top class is {explanation.predictions[0].name}"
    return f"Explaining **{explanation.class_name}**, probability {percent(explanation.probability)} ({rest})"


def status_html(model: str) -> str:
    """The line that says what runs here."""
    spec = camkit.MODELS[default_model() if model == "auto" else model]
    parts = [f"<b>{spec.name}</b>{' (bundled)' if spec.weights is None else ''} on {device_in_words()}"]
    parts += [other.weights.state.sentence for other in camkit.MODELS.values() if other.weights is not None]
    return (
        f'<div class="headline"><h1>What did the classifier look at?</h1><p role="status">{" · ".join(parts)}</p></div>'
    )


@functools.cache
def _device() -> str:
    return models.device_name()


def device_in_words() -> str:
    """The device once the background thread has loaded what can tell; the page does not wait for it."""
    return _device() if WARM.is_set() else "a machine that is just starting"


WARM = threading.Event()


# --- page: what a visitor does ---------------------------------------------------------------------------------------------


def explain_on_page(image, class_index, methods, model, layer, max_n, full, request: gr.Request) -> Iterator[tuple]:
    """Streams one explanation to the page; the outputs are PAGE_OUTPUTS."""
    image = shrunk(image)
    with VISITORS.page_run(visitor_of(request)) as run:
        clf = classifier(model)
        layer = layer if layer in clf.target_layers else clf.target_layers[-1]
        max_n = min(int(max_n), clf.channels(layer))
        url = render.data_url(image, "JPEG", quality=88)
        stream = camkit.explain_stream(clf, image, methods, class_index, layer, max_n)
        finished, drawn = -1, 0.0
        for snapshot in stream:
            if run.replaced:
                return
            enough = not full and _channels_done(snapshot) >= PREVIEW_CHANNELS
            stopped = not snapshot.complete and (run.stopped or enough)
            final = sum(cam.complete for cam in snapshot.cams.values())
            if stopped or final != finished or time.monotonic() - drawn >= REDRAW_SECONDS:
                yield page_update(snapshot, run, url, stopped, model)
                finished, drawn = final, time.monotonic()
            if stopped:
                stream.close()
                return


def _channels_done(snapshot) -> int:
    return snapshot.cams["scorecam"].channels if "scorecam" in snapshot.cams else 0


def page_update(snapshot, run: Run, url: str, stopped: bool, model: str) -> tuple:
    first = not snapshot.cams
    alt = f"what speaks for {snapshot.class_name}"
    running = not snapshot.complete and not stopped
    return (
        panels_value(run.number, url, snapshot.methods, snapshot.cams, stopped, alt),
        {each.name: each.probability for each in snapshot.predictions[:5]} if first else gr.skip(),
        explained_line(snapshot) if first else gr.skip(),
        Session(snapshot.image, snapshot, run.number),
        gr.update(interactive=running) if first or not running else gr.skip(),
        gr.update(value=None) if first else gr.skip(),  # empty again, ready to be typed into
        status_html(model) if first else gr.skip(),
    )


@in_words
def on_picture(image, methods, model, layer, max_n, full, request: gr.Request):
    """A picture was uploaded, taken, dropped or pasted."""
    if image is not None:
        yield from explain_on_page(image, None, methods, model, layer, max_n, full, request)


@in_words
def on_settings(session, methods, model, layer, max_n, full, request: gr.Request):
    """Other settings, on the picture and the class that the page has."""
    if session is not None and session.explanation is not None:
        yield from explain_on_page(
            session.image, session.explanation.class_index, methods, model, layer, max_n, full, request
        )


@in_words
def on_class(session, class_index, methods, model, layer, max_n, full, request: gr.Request):
    """Another class, on the picture that the page has."""
    if session is not None and class_index is not None:
        yield from explain_on_page(session.image, int(class_index), methods, model, layer, max_n, full, request)


@in_words
def on_prediction(session, methods, model, layer, max_n, full, request: gr.Request, event: gr.SelectData):
    """A bar of the prediction was clicked."""
    index = camkit.find_class(str(event.value)).index
    yield from on_class(session, index, methods, model, layer, max_n, full, request)


@in_words
def on_example(event: gr.EventData, methods, model, layer, max_n, full, request: gr.Request):
    """An example was chosen: its picture goes into the input and is explained."""
    index = event.index if isinstance(event.index, int) else 0  # a browser sends a number, a stranger whatever he likes
    yield from show_example(EXAMPLES[index % len(EXAMPLES)], methods, model, layer, max_n, full, request)


@in_words
def on_open(methods, model, layer, max_n, full, request: gr.Request):
    """The page was opened: nobody meets an empty one."""
    yield from show_example(EXAMPLES[0], methods, model, layer, max_n, full, request)


def show_example(example: Example, methods, model, layer, max_n, full, request: gr.Request):
    waiting = panels_value(0, "", methods, {}, False, "")
    yield (waiting, *[gr.skip()] * (len(PAGE_OUTPUTS) - 1), str(example.path))
    image = picture.open_picture(example.path)
    for update in explain_on_page(image, example.class_index, methods, model, layer, max_n, full, request):
        yield (*update, gr.skip())


PAGE_OUTPUTS = ("panels", "prediction", "explained", "session", "stop", "class_box", "status")


def on_stop(request: gr.Request) -> None:
    VISITORS.stop(visitor_of(request))


def on_leave(request: gr.Request) -> None:
    VISITORS.leave(visitor_of(request))


@in_words
def on_download(session, results, alpha, colormap) -> str:
    """The zip of what the page shows now."""
    shown = explained(session)
    run, measurement = results or (0, {})
    return bundle(shown, alpha, colormap, csv_of(shown, measurement if run == session.run else {}))


def csv_of(explanation, results: dict) -> dict[str, bytes]:
    """The measurement as a file for the zip, when there is one."""
    return {"faithfulness.csv": render.metrics_csv(results, explanation.cams)} if results else {}


def explained(session: Session | None):
    """The page's explanation; ValueError while there is none."""
    if session is None or session.explanation is None or not session.explanation.cams:
        raise ValueError("There is no map yet: choose a picture first.")
    return session.explanation


@in_words
def on_model(model) -> tuple:
    """Another model: its layers, and its weights fetched if they are missing."""
    try:
        classifier(model)
    except ValueError as error:
        gr.Warning(str(error))
        model = default_model()
    spec = camkit.MODELS[model]
    layers = gr.update(choices=list(spec.target_layers), value=spec.target_layers[-1])
    return gr.update(value=model), layers, status_html(model), gr.Timer(active=downloading())


@in_words
def on_layer(model, layer, max_n):
    """Another layer: Faster Score-CAM can take as many channels as it has."""
    clf = classifier(model)
    count = clf.channels(layer if layer in clf.target_layers else clf.target_layers[-1])
    return gr.update(maximum=count, value=min(int(max_n), count))


def downloading() -> bool:
    return any(spec.weights and spec.weights.state.status == "downloading" for spec in camkit.MODELS.values())


def on_tick(model) -> tuple:
    """While weights arrive: the status line, and an offer once they are there."""
    better = default_model()
    offer = gr.update(visible=better != model and is_ready(better), value=f"Use {camkit.MODELS[better].name} now")
    return status_html(model), offer, gr.Timer(active=downloading())


# --- page: why A and not B, cover and see ------------------------------------------------------------------------------------


@in_words
def on_contrast(session, other, method, request: gr.Request):
    """Maps of two classes by one method, on one scale, and their difference."""
    shown = explained(session)
    if other is None:
        raise ValueError("Choose a second class first: type a name into the box.")
    if int(other) == shown.class_index:
        raise ValueError(f"Both classes are {shown.class_name}: choose another one for B.")
    clf = classifier(shown.model)
    arguments = {"methods": [method], "target_layer": shown.target_layer, "max_n": shown.max_n}
    with VISITORS.page_run(visitor_of(request), same_maps=True) as run:
        first = shown.cams.get(method)
        if first is None or not first.complete:
            first = _until_replaced(
                camkit.explain_stream(clf, shown.image, class_index=shown.class_index, **arguments), run
            ).cams[method]
        second = _until_replaced(camkit.explain_stream(clf, shown.image, class_index=int(other), **arguments), run)
    maps = contrast(first, second.cams[method])
    name = camkit.METHODS[method].name
    views = [
        ("a", f"A: {shown.class_name}", f"{name}, probability {percent(shown.probability)}", maps.first, False),
        ("b", f"B: {second.class_name}", f"{name}, probability {percent(second.probability)}", maps.second, False),
        (
            "difference",
            "A minus B",
            "Orange speaks for A, purple for B, white for neither or both.",
            (maps.difference + 1) / 2,
            True,
        ),
    ]
    return {
        "run": run.number,
        "image": render.data_url(shown.image, "JPEG", quality=88),
        "alt": "map over the picture",
        "panels": [_view(*view, peak=maps) for view in views],
    }


def _view(key, title, how, values, diverging, peak) -> dict:
    level = np.uint8(np.rint(128 + 127 * (2 * values - 1))) if diverging else render.grey(values)
    facts = (
        f"from {peak.difference.min():.2f} to {peak.difference.max():.2f}"
        if diverging
        else f"largest value {values.max():.2f} of 1"
    )
    return {
        "key": key,
        "title": title,
        "how": how,
        "map": render.data_url(level),
        "facts": facts,
        "diverging": diverging,
    }


def _until_replaced(stream, run: Run):
    for snapshot in stream:
        if run.ended:
            raise ValueError("Stopped: another request of yours came in between.")
    return snapshot


@in_words
def on_cover(session, painting) -> str:
    """What the class loses when the painted region is taken away, and what the maps said of that region."""
    shown = explained(session)
    region = region_of(painting)
    share = region.mean()
    if not share:
        return "Paint over a part of the picture."
    clf = classifier(shown.model)
    inputs = clf.preprocess(shown.image)[0]
    pictures = np.stack([faithfulness.covered(inputs, region, key) for key in faithfulness.BASELINES])
    probabilities = clf.score_fn(shown.class_index)(pictures)
    rows = [
        f"| {baseline.name}{f' ({clf.spec.zero})' if baseline.key == 'zero' else ''} | {percent(shown.probability)} | **{percent(probability)}** |"
        for baseline, probability in zip(faithfulness.BASELINES.values(), probabilities, strict=True)
    ]
    said = [
        f"| {camkit.METHODS[key].name} | {faithfulness.energy_inside(np.clip(cam.map, 0, 1), region):.0%} |"
        for key, cam in shown.cams.items()
    ]
    return "\n".join(
        [
            f"**{shown.class_name}**, with {share:.0%} of the picture covered:",
            "",
            "| covered with | before | after |",
            "| --- | --- | --- |",
            *rows,
            "",
            f"| method | share of its map in the {share:.0%} you covered |",
            "| --- | --- |",
            *said,
        ]
    )


def region_of(painting) -> np.ndarray:
    """(224, 224) bool from the painter's mask; ValueError when what came is not one."""
    url = painting.get("mask") if isinstance(painting, dict) else None
    if not url:
        return np.zeros((224, 224), bool)
    try:
        mask = Image.open(io.BytesIO(bytes_of_data_url(str(url), limit=200_000)), formats=("PNG",))
        if mask.size != (224, 224):
            raise ValueError("size")
        return np.asarray(mask.convert("RGBA"))[..., 3] > 127
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError("The painted mask cannot be read: it must be a 224 x 224 PNG of at most 200 kB.") from error


def on_painter(session) -> tuple:
    """The picture that the page has, ready to be painted over."""
    url = render.data_url(session.image, "JPEG", quality=88) if session else ""
    return {"image": url, "mask": None}, "Paint over a part of the picture."


# --- evidence: how far each map can be believed ------------------------------------------------------------------------------

SOON = 30.0  # seconds; a measurement expected to take longer waits for a click


def measuring(clf, explanation) -> Iterator[tuple]:
    """(key, Faithfulness or None) of every finished map and the controls; None after each batch, so that it can be stopped.
    Coherency needs the map of the masked picture, which for a full Score-CAM would double its cost: it is left out there."""
    maps = {key: np.clip(cam.map, 0, 1) for key, cam in explanation.cams.items() if cam.complete}
    count = clf.channels(explanation.target_layer)
    quick = [
        key
        for key in maps
        if camkit.METHODS[key].uses_gradient or camkit.METHODS[key].channels(count, explanation.max_n) < count
    ]
    cam_fns = {key: functools.partial(_masked_map, clf, explanation, key) for key in quick}
    return faithfulness.measure_stream(
        clf.score_fn(explanation.class_index),
        clf.preprocess(explanation.image)[0],
        maps,
        cam_fns,
        explanation.probability,
        batch_size=clf.block_size,
        heartbeat=True,
    )


def _masked_map(clf, explanation, key: str, inputs: np.ndarray) -> np.ndarray:
    cam_map = map_of_inputs(
        clf, inputs[None], key, explanation.class_index, explanation.target_layer, explanation.max_n
    )
    return np.clip(cam_map, 0, 1)


def measured(clf, explanation) -> dict:
    """Every Faithfulness by key, methods first."""
    return {key: result for key, result in measuring(clf, explanation) if result is not None}


def evidence_json(results: dict) -> dict:
    controls = _controls(results)
    return {
        key: {
            "name": NAMES[key],
            "control": key in controls,
            **result.metrics,
            "beats_controls": None if key in controls else faithfulness.beats_controls(result, controls.values()),
            "insertion_curve": _curve(result.insertion),
            "deletion_curve": _curve(result.deletion),
        }
        for key, result in results.items()
    }


def _curve(curve) -> dict:
    return {"fractions": curve.fractions.tolist(), "probabilities": curve.probabilities.tolist()}


def _controls(results: dict) -> dict:
    return {key: result for key, result in results.items() if key in faithfulness.CONTROLS}


def evidence_table(results: dict, cams: dict) -> str:
    """A row for each method and control, a column for each metric; the best method's value of each column is marked."""
    head = "".join(
        f'<th scope="col"><abbr tabindex="0" title="{metric.summary} {metric.formula}. {metric.source}">{metric.name}</abbr> '
        f"{'↓' if metric.better == 'lower' else '↑'}</th>"
        for metric in faithfulness.METRICS.values()
    )
    best = {key: _best(metric, results) for key, metric in faithfulness.METRICS.items()}
    rows = "".join(_evidence_row(key, result, results, cams, best) for key, result in results.items())
    return (
        f'<div class="evidence"><table><thead><tr><th scope="col">Map</th>{head}<th scope="col">Seconds</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _best(metric, results: dict) -> float | None:
    values = [result.metrics[metric.key] for key, result in results.items() if key not in faithfulness.CONTROLS]
    known = [value for value in values if value is not None]
    return (min if metric.better == "lower" else max)(known) if known else None


def _evidence_row(key: str, result, results: dict, cams: dict, best: dict) -> str:
    controls = _controls(results)
    cells = []
    for name, value in result.metrics.items():
        text = "–" if value is None else faithfulness.METRICS[name].format.format(value)
        cells.append(
            f'<td class="best">{text}<span class="only-read"> (best)</span></td>'
            if key not in controls and value is not None and value == best[name]
            else f"<td>{text}</td>"
        )
    verdict = ""
    if (
        key not in controls
        and len(controls) == len(faithfulness.CONTROLS)
        and not faithfulness.beats_controls(result, controls.values())
    ):
        verdict = "<small>no better than a control on this picture</small>"
    cost = seconds_in_words(cams[key].seconds) if key in cams else ""
    kind = ' class="control"' if key in controls else ""
    return f'<tr{kind}><th scope="row">{NAMES[key]}{verdict}</th>{"".join(cells)}<td>{cost}</td></tr>'


def evidence_figures(results: dict, cams: dict) -> tuple:
    controls = _controls(results)
    gains = {key: result.metrics["insertion_minus_deletion"] for key, result in results.items()}
    floor = max((gains[key] for key in controls), default=None)
    seconds = {key: cams[key].seconds for key in results if key in cams}
    return (
        gr.update(value=render.curves_figure(results, NAMES, controls), visible=True),
        gr.update(value=render.cost_figure(seconds, gains, NAMES, floor), visible=True),
    )


def expected_seconds(clf, explanation) -> float:
    """What a measurement will take: pictures to score, times what one forward pass took in this run."""
    cost = min(
        (cam.seconds / (cam.forward_passes + cam.backward_passes) for cam in explanation.cams.values()), default=0.0
    )
    return cost * 57 * (len(explanation.cams) + len(faithfulness.CONTROLS))


@in_words
def on_measure(session, request: gr.Request):
    """Measures what the page shows; each row appears when it is known."""
    explanation = explained(session)
    clf, results = classifier(explanation.model), {}
    with VISITORS.page_run(visitor_of(request), same_maps=True) as run:
        yield "Measuring: 57 pictures to score for each map.", *[gr.skip()] * 3
        for key, result in measuring(clf, explanation):
            if run.ended:
                yield "Stopped.", *[gr.skip()] * 3
                return
            if result is not None:
                results[key] = result
                yield evidence_table(results, explanation.cams), *[gr.skip()] * 3
    yield (
        evidence_table(results, explanation.cams),
        *evidence_figures(results, explanation.cams),
        (session.run, results),
    )


@in_words
def on_explained(session, request: gr.Request):
    """After an explanation: measures by itself when that is quick and nothing newer has begun."""
    if (
        session is None
        or session.explanation is None
        or not session.explanation.cams
        or VISITORS.busy(visitor_of(request))
    ):
        return
    expected = expected_seconds(classifier(session.explanation.model), session.explanation)
    if expected <= SOON:
        yield from on_measure(session, request)
    else:
        yield f"A measurement takes about {seconds_in_words(expected)} here: press Measure.", *[gr.skip()] * 3


@in_words
def on_dial(session, request: gr.Request):
    """Faster Score-CAM's channels against its likeness to the full Score-CAM, out of one run."""
    explanation = explained(session)
    stream = evaluate.dial(
        classifier(explanation.model), explanation.image, explanation.class_index, None, explanation.target_layer
    )
    with VISITORS.page_run(visitor_of(request), same_maps=True) as run:
        for state in stream:
            if run.ended:
                return
            if state.points:
                note = (
                    ""
                    if state.complete
                    else f"{state.channels} of {state.channels_total} channels, about {seconds_in_words(state.seconds_left)} left"
                )
                yield gr.update(value=render.dial_figure(state.points, state.complete), visible=True), note


# --- many pictures ---------------------------------------------------------------------------------------------------------------


@in_words
def on_set(path, methods, model, request: gr.Request):
    """Measures every picture of a zip; the figures so far are kept when it is stopped."""
    if path is None:
        raise ValueError("There is no zip: choose a file with pictures in it.")
    pictures = evaluate.unzip_pictures(path)
    clf = classifier(model)
    settings = evaluate.Settings(tuple(methods), coherency="fast")
    with VISITORS.page_run(visitor_of(request), same_maps=True) as run:
        for state in evaluate.evaluate_stream(clf, pictures, settings):
            if run.ended:
                break
            left = "" if state.seconds_left is None else f", about {seconds_in_words(state.seconds_left)} left"
            yield f"{state.done} of {state.total} pictures{left}", gr.skip(), gr.skip()
    facts = Facts.of(clf, settings, state)
    with tempfile.TemporaryDirectory() as folder:
        files = [_file(made.name, made.read_bytes()) for made in write_reports(Path(folder), facts)]
    note = "" if state.complete else f"Stopped after {state.done} of {state.total} pictures: the figures are theirs. "
    skipped = " ".join(f"Skipped {name}: {why}" for name, why in state.skipped.items())
    yield (
        note + skipped,
        f'<div class="evidence">{summary_table(facts).html()}</div>',
        gr.update(value=files, visible=True),
    )


# --- page: how it is laid out ------------------------------------------------------------------------------------------------

CSS = """
.gradio-container { --body-text-color-subdued: var(--neutral-600); max-width: 1720px !important; margin: 0 auto !important; padding: 6px 16px !important; }
.dark .gradio-container, .gradio-container.dark { --body-text-color-subdued: var(--neutral-300); }
.gradio-container .main { padding: 0 !important; }
.headline { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 18px; }
.headline h1 { font-size: 20px; line-height: 1.3; margin: 0; font-weight: 700; }
.headline p { font-size: 13px; margin: 0; color: var(--body-text-color-subdued); }
#top { align-items: center; }
#examples .html-container, #maps .html-container, #status .html-container { padding: 0 !important; }
.cam-examples { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px; }
.cam-examples button { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 0; overflow: hidden; cursor: pointer;
  background: var(--block-background-fill); color: var(--body-text-color); display: flex; flex-direction: column; text-align: left; }
.cam-examples button:hover { border-color: var(--color-accent); }
.cam-examples button:focus-visible { outline: 3px solid var(--color-accent); }
.cam-examples img { width: 100%; height: 46px; object-fit: cover; display: block; margin: 0; border-radius: 0; }
.cam-examples span { font-size: 11px; font-weight: 500; line-height: 1.2; padding: 3px 5px; }
#explained p { margin: 0; }
#prediction button { cursor: pointer; }
.prose table { font-size: 13px; border-collapse: collapse; }
.prose table th, .prose table td { border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; padding: 5px 14px 5px 0 !important; }
#controls { align-items: end; }
#controls .block { padding: 6px 10px; }
#buttons { gap: 6px; }
#evidence, #set-table { overflow-x: auto; max-width: calc(100vw - 34px); }
.tabs { max-width: calc(100vw - 18px); }
.tab-wrapper { overflow: hidden; }
.evidence table, .evidence thead, .evidence tbody, .evidence tr { border: 0 !important; }
.evidence table { border-collapse: collapse; font-size: 13px; width: 100%; font-variant-numeric: tabular-nums; }
.evidence th, .evidence td { padding: 5px 8px; border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; text-align: right; white-space: nowrap; }
.evidence th[scope=row], .evidence th:first-child, .evidence td:first-child { text-align: left; }
.evidence th small { display: block; font-weight: 400; color: var(--body-text-color-subdued); }
.evidence abbr { text-decoration: underline dotted; cursor: help; }
.evidence .best { font-weight: 700; background: var(--color-accent-soft); }
.evidence .control { color: var(--body-text-color-subdued); }
.only-read { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (max-width: 1100px) { #controls { gap: 6px; } #buttons { flex-direction: row !important; min-width: 100% !important; } }
@media (max-width: 700px) { .gradio-container { padding: 6px 8px !important; } .cam-examples { grid-template-columns: repeat(3, 1fr); } }
"""
VIEW_JS = """(alpha, colormap, mode) => {
  window.camView = {alpha, colormap, mode};
  window.dispatchEvent(new CustomEvent('cam-view', {detail: window.camView}));
}"""
EXAMPLES_JS = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('select', {index: Number(button.dataset.index)});
});"""
THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    spacing_size="sm",
    text_size="sm",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)


@functools.cache
def browser_code(name: str) -> str:
    return (HERE / "camkit" / "browser" / name).read_text(encoding="utf-8")


def examples_html() -> str:
    buttons = []
    for index, example in enumerate(EXAMPLES):
        thumbnail = Image.open(example.path)
        thumbnail.thumbnail((160, 160))
        url = render.data_url(np.asarray(thumbnail.convert("RGB")), "JPEG", quality=80)
        buttons.append(
            f'<button type="button" data-index="{index}"><img src="{url}" alt=""><span>{example.question}</span></button>'
        )
    return f'<div class="cam-examples" role="group" aria-label="Example pictures">{"".join(buttons)}</div>'


def maps_component(value, elem_id: str, style: str = "") -> gr.HTML:
    style = f' style="{style}"' if style else ""
    return gr.HTML(
        value,
        html_template=f'<div class="cam-host"{style}></div>',
        js_on_load=browser_code("panels.js"),
        elem_id=elem_id,
        tables=render.tables(),
        alpha=render.ALPHA,
        colormap=next(iter(camkit.COLORMAPS)),
    )


def class_dropdown(label: str, **options) -> gr.Dropdown:
    choices = [(f"{entry.name} · {entry.index}", entry.index) for entry in classes()]
    return gr.Dropdown(choices, label=label, value=None, filterable=True, **options)


def build() -> gr.Blocks:
    """The page and its endpoints, not launched."""
    with Page(
        title="Class activation maps, side by side",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(600, FILES_LIVE),
    ) as demo:
        parts = build_main()
        with gr.Tabs():
            build_evidence(parts)
            build_contrast(parts)
            build_cover(parts)
            build_set(parts)
            build_about()
        build_api()
        wire(demo, parts)
    demo.queue(max_size=QUEUE_LENGTH, default_concurrency_limit=16, api_open=False)  # nobody goes past the queue
    return demo


def build_main() -> dict:
    """The first screen: picture, prediction, four panels and what changes them."""
    parts = {"session": gr.State(None, time_to_live=FILES_LIVE), "timer": gr.Timer(2, active=False)}
    with gr.Row(elem_id="top"):
        parts["status"] = gr.HTML(status_html("auto"), elem_id="status", scale=1)
        parts["offer"] = gr.Button("Use VGG16 now", visible=False, size="sm", variant="primary", scale=0, min_width=160)
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=300):
            build_input(parts)
        with gr.Column(scale=3, min_width=320):
            build_views(parts)
            waiting = panels_value(0, "", list(camkit.METHODS), {}, False, "")
            parts["panels"] = maps_component(waiting, "maps")
            build_settings(parts)
    return parts


def build_input(parts: dict) -> None:
    parts["image"] = Picture(label="Picture", sources=["upload", "webcam", "clipboard"], height=190, elem_id="picture")
    parts["examples"] = gr.HTML(examples_html(), js_on_load=EXAMPLES_JS, elem_id="examples")
    parts["prediction"] = gr.Label(
        num_top_classes=5, label="Prediction: click a class to explain it", elem_id="prediction", show_heading=False
    )
    parts["explained"] = gr.Markdown("", elem_id="explained")
    parts["class_box"] = class_dropdown("Explain any class (type to search 1000 names)", elem_id="class-box")


def build_views(parts: dict) -> None:
    with gr.Row(elem_id="controls"):
        parts["mode"] = gr.Radio(
            [("Overlay", "overlay"), ("Heatmap only", "heatmap"), ("Masked picture", "masked")],
            value="overlay",
            label="View",
            scale=3,
            min_width=390,
            elem_id="mode",
        )
        parts["alpha"] = gr.Slider(
            0, 1, render.ALPHA, step=0.05, label="Overlay opacity", scale=2, min_width=150, elem_id="alpha"
        )
        parts["colormap"] = gr.Dropdown(
            [(name, key) for key, name in camkit.COLORMAPS.items()],
            value="viridis",
            label="Colours",
            scale=1,
            min_width=110,
            elem_id="colormap",
        )
        with gr.Column(scale=0, min_width=110, elem_id="buttons"):
            parts["stop"] = gr.Button("Stop", interactive=False, size="sm", variant="stop", elem_id="stop")
            parts["download"] = gr.Button("Download", size="sm", elem_id="download")
            parts["bundle"] = gr.DownloadButton(visible="hidden", elem_id="bundle")


def build_settings(parts: dict) -> None:
    with gr.Accordion("Settings: methods, model, layer, channels", open=False, elem_id="settings"):
        parts["methods"] = gr.CheckboxGroup(
            METHOD_CHOICES, value=list(camkit.METHODS), label="Methods (those not ticked are not computed)"
        )
        with gr.Row():
            model = default_model()
            layers = list(camkit.MODELS[model].target_layers)
            parts["model"] = gr.Dropdown(MODEL_CHOICES, value=model, label="Model", elem_id="model")
            parts["layer"] = gr.Dropdown(layers, value=layers[-1], label="Target layer", elem_id="layer")
            parts["max_n"] = gr.Slider(1, 1280, 10, step=1, label="Channels of Faster Score-CAM", elem_id="max-n")
            parts["full"] = gr.Checkbox(
                True, label=f"Score-CAM in full (else {PREVIEW_CHANNELS} channels)", elem_id="full"
            )


def build_evidence(parts: dict) -> None:
    with gr.Tab("How far to believe it"):
        with gr.Row():
            gr.Markdown(
                "Each map decides which pixels of your picture are hidden or shown; the classifier then says what that did to the "
                "class. Maps that know nothing of the picture stand beside as controls. Hover or focus a column's name."
            )
            parts["measure"] = gr.Button("Measure", scale=0, min_width=120, elem_id="measure")
        parts["evidence"] = gr.HTML("Measured once the maps are complete.", elem_id="evidence")
        parts["results"] = gr.State(None, time_to_live=FILES_LIVE)
        parts["curves"] = gr.Plot(label="Insertion and deletion", elem_id="curves", visible=False)
        with gr.Row():
            with gr.Column(min_width=320):
                parts["cost"] = gr.Plot(label="Cost against faithfulness", elem_id="cost", visible=False)
            with gr.Column(min_width=320):
                gr.Markdown(
                    "**The Faster Score-CAM dial.** How many channels until it equals the full Score-CAM? One streamed run tells."
                )
                parts["dial_go"] = gr.Button("Turn the dial", size="sm", elem_id="dial-go")
                parts["dial_note"] = gr.Markdown("")
                parts["dial"] = gr.Plot(show_label=False, elem_id="dial", visible=False)


def build_contrast(parts: dict) -> None:
    with gr.Tab("Why A and not B?"):
        gr.Markdown(
            "A is the class explained above. Choose B: both maps on one scale, and what speaks for the one against the other."
        )
        with gr.Row():
            parts["other"] = class_dropdown("B: the other class", scale=2, elem_id="other")
            parts["contrast_method"] = gr.Dropdown(METHOD_CHOICES, value=METHOD_CHOICES[0][1], label="Method", scale=1)
            parts["contrast_go"] = gr.Button(
                "Compare", variant="primary", scale=0, min_width=120, elem_id="contrast-go"
            )
        parts["contrast"] = maps_component(None, "contrast", "--cam-height: 300px; --cam-column: 30%")


def build_cover(parts: dict) -> None:
    with gr.Tab("Cover and see") as tab:
        parts["cover_tab"] = tab
        with gr.Row():
            with gr.Column(min_width=300):
                parts["painter"] = gr.HTML(
                    {"image": "", "mask": None},
                    html_template='<div class="cam-host"></div>',
                    js_on_load=browser_code("painter.js"),
                    elem_id="painter",
                )
            with gr.Column(min_width=300):
                parts["cover"] = gr.Markdown("Paint over a part of the picture.", elem_id="cover")


def build_set(parts: dict) -> None:
    limits = evaluate.ZipLimits()
    with gr.Tab("Many pictures"):
        gr.Markdown(
            f"One picture is an anecdote. Give a zip of up to {limits.pictures} pictures ({limits.total_bytes // 1_000_000} MB unpacked): "
            "every method and control is measured on each, and you get means with 95 % intervals, a CSV and a report."
        )
        with gr.Row():
            parts["zip"] = Zip(label="Zip of pictures", file_types=[".zip"], height=120, elem_id="zip", scale=2)
            quick = [key for key in camkit.METHODS if key != "scorecam"]
            parts["set_methods"] = gr.CheckboxGroup(
                METHOD_CHOICES, value=quick, label="Methods (full Score-CAM takes the longest by far)", scale=2
            )
            with gr.Column(scale=0, min_width=120):
                parts["set_go"] = gr.Button("Measure all", variant="primary", size="md", elem_id="set-go")
                parts["set_stop"] = gr.Button("Stop", size="sm", elem_id="set-stop")
        parts["set_note"] = gr.Markdown("", elem_id="set-note")
        parts["set_table"] = gr.HTML("", elem_id="set-table")
        parts["set_files"] = gr.File(label="Results", visible=False, elem_id="set-files")


def wire(demo: gr.Blocks, parts: dict) -> None:
    """Which click leads to what. Everything here is private: the endpoints are in `build_api`."""
    settings = [parts[name] for name in ("methods", "model", "layer", "max_n", "full")]
    outputs = [parts[name] for name in PAGE_OUTPUTS]
    private = {"api_visibility": "private", "trigger_mode": "multiple", "show_progress_on": parts["explained"]}
    session = parts["session"]
    current = [session, *settings]
    runs = [
        parts["image"].input(on_picture, [parts["image"], *settings], outputs, **private),
        parts["examples"].select(on_example, settings, [*outputs, parts["image"]], **private),
        parts["prediction"].select(on_prediction, [session, *settings], outputs, **private),
        parts["class_box"].input(on_class, [session, parts["class_box"], *settings], outputs, **private),
        parts["max_n"].release(on_settings, current, outputs, **private),
        *[parts[name].input(on_settings, current, outputs, **private) for name in ("methods", "layer", "full")],
        demo.load(on_open, settings, [*outputs, parts["image"]], **private),
    ]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    parts["layer"].change(on_layer, [parts["model"], parts["layer"], parts["max_n"]], parts["max_n"], **quiet)
    model_outputs = [parts["model"], parts["layer"], parts["status"], parts["timer"]]
    chosen = parts["model"].input(on_model, parts["model"], model_outputs, **quiet)
    runs.append(chosen.then(on_settings, current, outputs, **private))
    offered = parts["offer"].click(
        lambda: (default_model(), gr.update(visible=False)), None, [parts["model"], parts["offer"]], **quiet
    )
    runs.append(
        offered.then(on_model, parts["model"], model_outputs, **quiet).then(on_settings, current, outputs, **private)
    )
    parts["timer"].tick(on_tick, parts["model"], [parts["status"], parts["offer"], parts["timer"]], **quiet)
    parts["stop"].click(on_stop, None, None, queue=False, **quiet)
    view = [parts["alpha"], parts["colormap"], parts["mode"]]
    for control in view:
        control.change(None, view, None, js=VIEW_JS, **quiet)
    ready = parts["download"].click(
        on_download,
        [session, parts["results"], parts["alpha"], parts["colormap"]],
        parts["bundle"],
        api_visibility="private",
    )
    ready.success(None, None, None, js="() => document.querySelector('#bundle').click()", api_visibility="private")
    parts["contrast_go"].click(
        on_contrast, [session, parts["other"], parts["contrast_method"]], parts["contrast"], api_visibility="private"
    )
    parts["cover_tab"].select(on_painter, session, [parts["painter"], parts["cover"]], **quiet)
    parts["painter"].input(on_cover, [session, parts["painter"]], parts["cover"], trigger_mode="always_last", **quiet)
    evidence = [parts[name] for name in ("evidence", "curves", "cost", "results")]
    for run in runs:
        run.success(on_explained, session, evidence, api_visibility="private", show_progress_on=parts["evidence"])
    parts["measure"].click(on_measure, session, evidence, api_visibility="private", show_progress_on=parts["evidence"])
    parts["dial_go"].click(
        on_dial,
        session,
        [parts["dial"], parts["dial_note"]],
        api_visibility="private",
        show_progress_on=parts["dial_note"],
    )
    parts["set_go"].click(
        on_set,
        [parts["zip"], parts["set_methods"], parts["model"]],
        [parts["set_note"], parts["set_table"], parts["set_files"]],
        api_visibility="private",
        show_progress_on=parts["set_note"],
    )
    parts["set_stop"].click(on_stop, None, None, queue=False, **quiet)
    demo.unload(on_leave)


def build_about() -> None:
    with gr.Tab("About"):
        for method in camkit.METHODS.values():
            gr.Markdown(
                f"### {method.name}\n{method.summary}\n\n$$ {method.formula} $$\n\n{method.differs} "
                f"[{method.paper}]({method.url})",
                latex_delimiters=[{"left": "$$", "right": "$$", "display": True}],
            )
        gr.Markdown(ABOUT, latex_delimiters=[{"left": "$", "right": "$", "display": False}])
        gr.Code(API_EXAMPLE, language="python", interactive=False, show_label=False)


ABOUT = """
### What the symbols mean
$A^k$ is channel $k$ of the target layer ($h \\times w$ values), $y^c$ the class's score before softmax, $p_c$ its probability after it,
$x$ the picture as the model sees it (224 x 224). Every method gets the same model with linear outputs: Score-CAM takes the softmax
itself, and a model that has one already would be softmaxed twice, which makes all weights nearly equal.

### From a map to the picture
A map has the layer's resolution (7 x 7 or 14 x 14 at the last layers). tf-keras-vis brings it to 224 x 224 by linear interpolation with
aligned corners, which moves what lies near the border outward by up to half a cell, and scales it to 0 to 1. Measured with the
four methods on the seven example pictures, half-pixel alignment instead raises insertion by 0.007 and deletion, where lower is better, by
0.006; their difference does not move (+0.001, 95 % interval -0.010 to +0.011). So the page shows exactly tf-keras-vis's map, brought onto
your picture's own size.

### What the figures say
Seconds and passes are what a method takes by itself: the one pass that the prediction and both gradient methods share is counted for
each. A *forward pass* is one picture sent through the network. The metrics see one class on both sides; insertion starts from a blurred
picture, deletion ends in the model's zero. One picture is an anecdote: the tab *Many pictures* gives means with intervals.

### From a program
*Use via API*, below, lists the endpoints with their parameters; `examples/client.py` shows them all:
"""
API_EXAMPLE = """from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")  # or "owner/name" of a Space
overlay, facts, maps = client.predict(
    handle_file("examples/astronaut.jpg"), method="gradcam", class_name="space shuttle", api_name="/explain")
"""


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
                "model": lambda: gr.Dropdown(["auto", *camkit.MODELS], value="auto", label="model"),
                "top_k": lambda: gr.Number(5, precision=0, label="top_k"),
                "method": lambda: gr.Dropdown(list(camkit.METHODS), value="gradcam", label="method"),
                "methods": lambda: gr.CheckboxGroup(list(camkit.METHODS), value=list(camkit.METHODS), label="methods"),
                "class_name": lambda: gr.Textbox("", label="class_name"),
                "target_layer": lambda: gr.Textbox("", label="target_layer"),
                "max_n": lambda: gr.Number(10, precision=0, label="max_n"),
                "alpha": lambda: gr.Number(render.ALPHA, label="alpha"),
                "colormap": lambda: gr.Dropdown(list(camkit.COLORMAPS), value="viridis", label="colormap"),
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


# --- server --------------------------------------------------------------------------------------------------------------------


def start_warming() -> threading.Thread:
    def work() -> None:
        try:
            warm_up()
        except camkit.WeightsError as error:
            log.warning("%s", error)  # the page's status line says so too; the bundled classifier goes on
        finally:
            WARM.set()

    thread = threading.Thread(target=work, name="warm-up", daemon=True)
    thread.start()
    return thread


def launch_options() -> dict:
    return {
        "theme": THEME,
        "css": CSS,
        "max_file_size": picture.MAX_BYTES,
        "footer_links": ["api", "gradio", "settings"],
        "run_history": False,
        "show_error": False,
        "ssr_mode": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    demo, port = build(), os.environ.get("GRADIO_SERVER_PORT")
    try:  # Gradio by itself would take the next free port, where nobody who named one would look
        demo.launch(server_port=int(port) if port else None, prevent_thread_lock=True, **launch_options())
    except (OSError, OverflowError) as error:
        sys.exit(
            f"Port {port} cannot be used, it is taken or not allowed: set GRADIO_SERVER_PORT to another."
            if port
            else str(error)
        )
    start_warming()
    demo.block_thread()


if __name__ == "__main__":
    main()
