"""The tools for agents, offered over MCP (streamable HTTP) at PATH: TOOLS, how an agent reads them, and their answers.

Gradio's own MCP server is off: it would make every endpoint a tool, take no upload and name the server's paths. Each
request stands alone, so that nothing of a caller is kept; gatekeeper.py bounds requests, runs.py long work.
"""

from __future__ import annotations

import base64
import inspect
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr
import numpy as np
from anyio import CapacityLimiter, from_thread, to_thread
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..errors import InputError, quoted
from ..evidence.measure import measure, to_json
from ..evidence.metrics import CONTROLS, METRICS
from ..evidence.observations import Measurement
from ..explain import explain_stream
from ..explanation import Explanation
from ..export.figure import SCREEN, draw_figure
from ..methods import DEFAULT_METHODS, METHODS, check_methods
from ..models.registry import MODELS
from ..passes.outputs import OUTPUTS
from ..picture import OpenedPicture
from ..report.words import verdict
from ..units import cost_in_words
from ..version import __version__
from .api import FILE, PARAMETERS, api_classify, class_index_of, opened, prediction_json
from .server.gatekeeper import LARGEST_REQUEST, MCP_PATH
from .server.readiness import classifier
from .server.refusals import with_clear_errors
from .server.runs import RUNS, address_of
from .server.uploads import file_of, page_jpeg

AT_ONCE = 80  # calls, more than the long work of all takes; the others wait
EVERY = 1.0  # seconds between two notifications of progress
ABOUT = (
    "Explains what an image classifier looked at: class activation maps of one picture by several methods, what each "
    "cost, and how far each can be believed."
)
QUICK = [key for key in DEFAULT_METHODS if key != "scorecam"]  # an agent that waits half a minute gives up
# As the endpoints' parameters, but for what an agent cannot look up in /info, and for a picture, which is text here.
WORDS = PARAMETERS | {
    "image": f"{FILE}. Send 'data:image/png;base64,...', or what the server answered to its upload, by "
    "Gradio's upload tool or by POST /gradio_api/upload (form field 'files'). No other address is fetched.",
    "model": "The classifier; 'auto' takes the first that is ready.",
    "target_layer": "A layer of the model; '' takes the last. A wrong name is answered with those to choose from.",
    "faithfulness": "Whether to measure what may be believed: some ten seconds on a small machine, saved by false.",
}
Content = list[types.ContentBlock] | dict[str, Any]


# --- the tools -----------------------------------------------------------------------------------------------------


def classify_picture(call: Call, image: str, model: str = "auto", top_k: int = 5) -> Content:
    """Say what a picture shows according to an image classifier. Takes less than a second.

    Returns:
        The model and its most probable classes, best first, each with its index, name and probability.
    """
    return api_classify(call.uploaded(image), model, top_k, call.request)


def explain_picture(
    call: Call,
    image: str,
    methods: Sequence[str] = QUICK,
    class_name: str = "",
    model: str = "auto",
    target_layer: str = "",
    faithfulness: bool = True,
) -> Content:
    """Show which parts of a picture speak for a class, as class activation maps side by side. Takes a second or two
    where 'faithfulness' is false; 'scorecam' among the methods takes half a minute or more on a small machine.

    Returns:
        One figure with the picture and its maps, and a text: the class, its probability, what each map cost, and what
        was measured of how far the maps can be believed.
    """
    explanation, measurements, given = measured(call, image, methods, class_name, model, target_layer, faithfulness)
    said = said_of(explanation, measurements) if faithfulness else "not measured."
    name = MODELS[explanation.model].name
    figure = draw_figure(explanation, model_name=name)
    figure.thumbnail((SCREEN, SCREEN))
    data = base64.b64encode(page_jpeg(np.asarray(figure))).decode()
    top = explanation.predictions[0]
    rank = (
        "the top class"
        if top.class_index == explanation.class_index
        else f"the top class is {top.name} with {OUTPUTS[explanation.outputs].in_words(top.answer)}"
    )
    height, width = next(iter(explanation.cams.values())).raw.shape
    lines = [
        f"Class: {explanation.class_name}, {explanation.answer_in_words} ({rank}).",
        f"Classifier: {name}, layer {explanation.target_layer}, {height} x {width} cells.",
        "Cost of each map:",
        *(f"- {METHODS[key].name}: {cost_in_words(cam)}" for key, cam in explanation.cams.items()),
        f"What may be believed: {said} A map says where the picture speaks for the "
        "class, to within a cell; it does not say why. measure_picture gives the figures.",
        f"Grey values: {given.window.sentence}." if given.window else "",
    ]
    return [
        types.ImageContent(type="image", data=data, mimeType="image/jpeg"),
        text("\n".join(filter(None, lines))),
    ]


def measure_picture(
    call: Call,
    image: str,
    methods: Sequence[str] = QUICK,
    class_name: str = "",
    model: str = "auto",
    target_layer: str = "",
) -> Content:
    """Measure how far class activation maps of a picture can be believed. Takes as long as explain_picture, which
    measures the same.

    Returns:
        The class, the cost of each map, every figure of each map and of controls that know nothing of the picture, what
        each figure means, and a verdict in words.
    """
    explanation, measurements, given = measured(call, image, methods, class_name, model, target_layer)
    fields = ("seconds", "forward_passes", "backward_passes")
    return prediction_json(explanation) | {
        "verdict": said_of(explanation, measurements),
        "costs": {key: {name: getattr(cam, name) for name in fields} for key, cam in explanation.cams.items()},
        "figures": {
            key: {name: value for name, value in each.items() if not name.endswith("_curve")}
            for key, each in to_json(measurements).items()
        },
        "meanings": {
            key: f"{metric.summary} The {metric.better}, the better."
            for key, metric in METRICS.items()
            if all(key in each.metrics for each in measurements.values())
        },
        **given.to_json(),
    }


TOOLS = {tool.__name__: tool for tool in (classify_picture, explain_picture, measure_picture)}


def measured(
    call: Call,
    image: str,
    methods: Sequence[str],
    class_name: str,
    model: str,
    target_layer: str,
    faithfulness: bool = True,
) -> tuple[Explanation, dict[str, Measurement], OpenedPicture]:
    """Return the explanation, what was measured of its maps and of the controls where `faithfulness` asks for it, and
    the picture."""
    clf, keys = classifier(model), check_methods(methods)
    index = class_index_of(class_name, clf.labels)
    with RUNS.api_run(call.request) as run:
        given = opened(call.uploaded(image), call.request)
        stream = explain_stream(clf, given.image, keys, index, target_layer, cancel=run.cancel)
        for explanation in run.watch(stream):
            call.report(f"{sum(cam.complete for cam in explanation.cams.values())} of {len(keys)} maps are made")
        measurements: dict[str, Measurement] = {}
        for key, each in run.watch(measure(clf, explanation, cancel=run.cancel)) if faithfulness else ():
            if each is not None:
                measurements[key] = each
            call.report(f"{len(measurements)} of {len(keys) + len(CONTROLS)} maps and controls are measured")
    return explanation, measurements, given


def said_of(explanation: Explanation, measurements: dict[str, Measurement]) -> str:
    """Return in words how far the maps can be believed, or that this cannot be said."""
    said = verdict(measurements, explanation.probability)
    return said or "Whether a map beats the controls is measured by a probability, which this model does not give."


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


# --- how an agent reads them ---------------------------------------------------------------------------------------

KINDS = {
    "string": (str, "text"),
    "integer": (int, "a whole number"),
    "array": (list, "a list"),
    "boolean": (bool, "true or false"),
}


def parameters(tool: Callable) -> dict[str, inspect.Parameter]:
    """Return a tool's parameters by name, without `call`."""
    return {name: each for name, each in inspect.signature(tool).parameters.items() if name != "call"}


def schema(tool: Callable) -> dict[str, Any]:
    """Return the JSON schema of a tool's arguments; the models are those registered now."""
    types_of: dict[str, dict[str, Any]] = {
        "model": {"type": "string", "enum": ["auto", *MODELS]},
        "methods": {"type": "array", "items": {"type": "string", "enum": list(METHODS)}},
        "top_k": {"type": "integer", "minimum": 1},
        "faithfulness": {"type": "boolean"},
    }
    properties = {
        name: types_of.get(name, {"type": "string"})
        | {"description": WORDS[name]}
        | ({} if each.default is each.empty else {"default": each.default})
        for name, each in parameters(tool).items()
    }
    return {"type": "object", "properties": properties, "required": ["image"], "additionalProperties": False}


def described() -> list[types.Tool]:
    """Return the tools as an agent reads them."""
    return [
        types.Tool(name=name, description=inspect.getdoc(tool), inputSchema=schema(tool))
        for name, tool in TOOLS.items()
    ]


def answer_schema(request: Request) -> JSONResponse:
    """Return the tools as Gradio's API page asks for them, which then shows how clients are configured; it documents
    this form nowhere. With `file_data_present` it shows the upload tool too."""
    tools = [each.model_dump(include={"name", "description", "inputSchema"}) for each in described()]
    return JSONResponse([each | {"meta": {"file_data_present": True}} for each in tools])


def check_arguments(name: str, arguments: dict[str, Any]) -> None:
    """Raise InputError when there is no such tool, or when its arguments do not fit its schema by name and type."""
    if name not in TOOLS:
        raise InputError(f"There is no tool '{quoted(name)}': use one of {', '.join(TOOLS)}.")
    known = schema(TOOLS[name])["properties"]
    for each, value in arguments.items():
        if each not in known:
            raise InputError(f"{name} takes no '{quoted(each)}': it takes {', '.join(known)}.")
        kind, words = KINDS[known[each]["type"]]
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise InputError(f"{each} is {quoted(repr(value))}: it must be {words}.")
    if "image" not in arguments:
        raise InputError("There is no picture: send one as 'image'.")


# --- the server ----------------------------------------------------------------------------------------------------


class Call:
    """One call of a tool: who asks, and a way to tell how far the answer is."""

    def __init__(self, request: gr.Request, tell: Callable[[int, str], Coroutine[Any, Any, None]]) -> None:
        self.request, self._tell = request, tell
        self._count, self._last = 0, 0.0

    def uploaded(self, image: str) -> dict[str, str]:
        """Return Gradio's JSON of the picture's file; InputError when it is neither an upload nor base64."""
        reference = {"url" if image.startswith("data:") else "path": image}
        return {"path": str(file_of(reference, address_of(self.request)))}

    def report(self, words: str) -> None:
        """Tell the caller how far the answer is, at most once in EVERY seconds; in the thread that makes the answer."""
        now = time.monotonic()
        if now - self._last >= EVERY:
            self._count, self._last = self._count + 1, now
            from_thread.run(self._tell, self._count, words)


@with_clear_errors(markup=False)
def answer(name: str, arguments: dict[str, Any], call: Call) -> Content:
    """Return what a tool answers; gr.Error with one sentence when it cannot."""
    check_arguments(name, arguments)
    return TOOLS[name](call, **arguments)


def make_server() -> Server:
    """Return the MCP server with the tools."""
    server: Server = Server("camkit", __version__, ABOUT)
    places = CapacityLimiter(AT_ONCE)

    @server.list_tools()
    async def list_tools() -> list[types.Tool]:
        return described()

    @server.call_tool(validate_input=False)  # check_arguments words it better
    async def call_tool(name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        context = server.request_context
        token, number = context.meta.progressToken if context.meta else None, str(context.request_id)

        async def tell(count: int, words: str) -> None:
            if token is not None:  # the caller wants to hear
                await context.session.send_progress_notification(token, count, None, words, number)

        call = Call(gr.Request(context.request), tell)
        try:
            found = await to_thread.run_sync(answer, name, arguments, call, limiter=places)
        except gr.Error as error:
            return types.CallToolResult(content=[text(error.message)], isError=True)
        if isinstance(found, dict):
            return types.CallToolResult(content=[text(json.dumps(found))], structuredContent=found)
        return types.CallToolResult(content=found)

    return server


class _Endpoint:
    """The ASGI application at PATH: POST for MCP; a browser that comes by is told what this is."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self.manager = manager

    async def __call__(self, scope, receive, send) -> None:
        if scope["method"] == "POST":
            await self.manager.handle_request(scope, receive, send)
            return
        sentence = f"This is an MCP server for agents: give {Request(scope).url} to an MCP client."
        await JSONResponse({"detail": sentence}, 405, {"Allow": "POST"})(scope, receive, send)


def served() -> tuple[list[Route], Callable]:
    """Return the routes of a new MCP server and the lifespan within which it answers."""
    manager = StreamableHTTPSessionManager(make_server(), stateless=True, max_request_body_size=LARGEST_REQUEST)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        async with manager.run():
            yield

    endpoint = _Endpoint(manager)
    routes = [Route(path, endpoint) for path in (MCP_PATH, f"{MCP_PATH}/")]
    return [*routes, Route(f"{MCP_PATH}/schema", answer_schema)], lifespan
