"""The tools for agents through the client of `mcp`, against the app launched in this process."""

import asyncio
import base64
import io
import json
import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import plain_http
import pytest
from conftest import EXAMPLES, ROOT
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from camkit.evidence.metrics import CONTROLS, METRICS
from camkit.methods import DEFAULT_METHODS, METHODS
from camkit.web.server.gatekeeper import LARGEST_REQUEST
from camkit.web.server.uploads import ADDRESS, NOT_UPLOADED

PATH = "/gradio_api/mcp"
LAYER = "block3b_add"  # 40 channels: a whole Score-CAM in a second
LIMIT = 60  # seconds until a wait counts as failed
ACCEPT = {"Accept": "application/json, text/event-stream"}
NAMED = ", ".join(f"{method.name} ({key})" for key, method in METHODS.items())


@asynccontextmanager
async def connected(url: str):
    async with (
        asyncio.timeout(LIMIT),
        streamable_http_client(url + PATH) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def calls(url: str, *asked: tuple[str, dict], heard: list[str] | None = None) -> list:
    """What one caller is answered who asks these tools one after the other; `heard`: gets the words of progress."""

    async def hear(progress: float, total: float | None, words: str | None) -> None:
        if heard is not None:
            heard.append(words)

    async def work() -> list:
        async with connected(url) as session:
            return [await session.call_tool(name, given, progress_callback=hear) for name, given in asked]

    return asyncio.run(work())


def refused(result) -> str:
    (content,) = result.content
    assert result.isError
    plain_http.assert_clean(content.text)
    return content.text


@pytest.fixture(scope="module")
def coffee() -> str:
    return "data:image/jpeg;base64," + base64.b64encode((EXAMPLES / "coffee.jpg").read_bytes()).decode()


@pytest.fixture(scope="module")
def upload(server_url) -> str:
    """The path that the server answers to an upload."""
    return plain_http.upload(server_url, (EXAMPLES / "coffee.jpg").read_bytes(), "coffee.jpg")


def test_an_agent_is_offered_three_tools_each_described_with_its_parameters(server_url):
    async def work():
        async with connected(server_url) as session:
            return await session.initialize(), (await session.list_tools()).tools

    about, tools = asyncio.run(work())
    plain_http.assert_clean(about.instructions)
    required = ["methods", "class_name", "model", "target_layer"]
    assert {tool.name: list(tool.inputSchema["properties"]) for tool in tools} == {
        "classify_picture": ["image", "model", "top_k"],
        "explain_picture": ["image", *required, "faithfulness"],
        "measure_picture": ["image", *required],
    }
    methods = tools[1].inputSchema["properties"]["methods"]
    assert (methods["items"]["enum"], methods["default"]) == (list(METHODS), list(DEFAULT_METHODS[:-1]))
    for tool in tools:
        assert "\n\nReturns:\n" in tool.description
        assert tool.inputSchema["required"] == ["image"]
        for name, schema in tool.inputSchema["properties"].items():
            plain_http.assert_clean(schema["description"])
            assert ("default" in schema) == (name != "image")


def test_a_client_is_configured_as_the_readme_says(server_url):
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    text = block.replace("http://127.0.0.1:7860", server_url).replace("/folder/with/pictures", str(EXAMPLES))
    servers = json.loads(text)["mcpServers"]
    given = servers["camkit-upload"]
    program = str(Path(sys.executable).with_name(given["command"]))

    async def work():
        command = StdioServerParameters(command=program, args=given["args"], env=dict(os.environ))
        async with stdio_client(command) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            answer = await session.call_tool("upload_file_to_gradio", {"file": str(EXAMPLES / "coffee.jpg")})
            return answer.content[0].text

    assert servers["camkit"]["url"] == server_url + PATH
    address = asyncio.run(work())
    (result,) = calls(server_url, ("classify_picture", {"image": address}))
    assert result.structuredContent["predictions"][0]["name"] == "espresso"


def test_a_picture_comes_as_base64_as_an_upload_or_by_its_address_here(server_url, coffee, upload):
    ways = (
        coffee,
        upload,
        f"{server_url}/gradio_api/file={upload}",
        f"https://proxy.test/cam/gradio_api/file={upload}",
    )
    for result in calls(server_url, *[("classify_picture", {"image": image, "top_k": 2}) for image in ways]):
        assert not result.isError, result.content
        (content,) = result.content
        assert json.loads(content.text) == result.structuredContent
        assert [each["name"] for each in result.structuredContent["predictions"]] == ["espresso", "cup"]


def test_an_explanation_is_one_figure_and_what_may_be_believed(server_url, upload):
    asked = {"image": upload, "methods": ["scorecam", "gradcam"], "class_name": "cup", "target_layer": LAYER}
    heard: list[str] = []
    ((figure, said),) = [result.content for result in calls(server_url, ("explain_picture", asked), heard=heard)]
    assert figure.mimeType == "image/jpeg"
    with Image.open(io.BytesIO(base64.b64decode(figure.data))) as image:
        assert image.format == "JPEG" and image.width == 1600 and image.width > 2 * image.height
    first, second, _, *costs, last = said.text.splitlines()
    assert (
        first.startswith("Class: cup, probability ") and first.endswith("%).") and "the top class is espresso" in first
    )
    assert second == f"Classifier: EfficientNet-Lite0, layer {LAYER}, 28 x 28 cells."
    assert [line.partition(":")[0] for line in costs] == ["- Grad-CAM", "- Score-CAM"]
    assert costs[1].endswith("40 forward passes") or costs[1].endswith("41 forward passes")
    assert last.startswith("What may be believed: On this picture ")
    assert upload not in said.text
    (quick,) = calls(server_url, ("explain_picture", {"image": upload, "faithfulness": False}))
    assert quick.content[1].text.splitlines()[-1].startswith("What may be believed: not measured. A map says ")
    assert heard and {words.split(" are ")[1] for words in heard} <= {"made", "measured"}


def test_a_measurement_is_figures_with_their_meaning(server_url, short_curves, upload):
    ((result),) = calls(server_url, ("measure_picture", {"image": upload, "methods": ["layercam"]}))
    found = result.structuredContent
    assert set(found["figures"]) == {"layercam", *CONTROLS}
    assert set(found["meanings"]) == set(METRICS)
    assert set(METRICS) <= set(found["figures"]["layercam"]) and "insertion_curve" not in found["figures"]["layercam"]
    assert found["costs"]["layercam"]["backward_passes"] == 1
    assert (found["class_name"], found["verdict"][:16]) == ("espresso", "On this picture ")


def test_what_cannot_be_used_is_refused_in_a_sentence(server_url, coffee):
    table = [
        ("classify_picture", "image", "https://example.com/cat.png", ADDRESS),
        ("classify_picture", "image", f"{server_url}/gradio_api/file=/etc/passwd", NOT_UPLOADED),
        ("classify_picture", "image", "/etc/passwd", NOT_UPLOADED),
        ("classify_picture", "image", "", NOT_UPLOADED),
        ("classify_picture", "image", "data:image/png;base64,%%%", "The picture's base64 text is damaged."),
        ("classify_picture", "image", None, "image is None: it must be text."),
        ("classify_picture", "top_k", "5", "top_k is '5': it must be a whole number."),
        ("classify_picture", "top_k", True, "top_k is True: it must be a whole number."),
        ("classify_picture", "top_k", 0, "top_k is 0: it must be a whole number from 1 to 1000."),
        ("classify_picture", "model", "x", "Model 'x' is unknown: use one of vgg16, efficientnet_lite0."),
        ("classify_picture", "max_n", 5, "classify_picture takes no 'max_n': it takes image, model, top_k."),
        ("explain_picture", "methods", "gradcam", "methods is 'gradcam': it must be a list."),
        ("explain_picture", "faithfulness", 1, "faithfulness is 1: it must be true or false."),
        ("explain_picture", "methods", [], f"No method is chosen: choose at least one of {NAMED}."),
        ("explain_picture", "methods", ["x"], f"Method 'x' is unknown: use one of {', '.join(METHODS)}."),
        ("measure_picture", "class_name", 5, "class_name is 5: it must be text."),
        (
            "compare",
            "model",
            "auto",
            "There is no tool 'compare': use one of classify_picture, explain_picture, measure_picture.",
        ),
    ]
    asked = [(tool, {"image": coffee, name: value}) for tool, name, value, _ in table]
    results = calls(server_url, *asked, ("classify_picture", {}), ("measure_picture", {"image": "x" * 10**6}))
    assert [refused(each) for each in results] == [
        *(sentence for *_, sentence in table),
        "There is no picture: send one as 'image'.",
        NOT_UPLOADED,
    ]


def test_two_callers_at_once_are_each_answered(server_url, short_curves, coffee):
    async def ask(class_name: str) -> str:
        given = {"image": coffee, "methods": ["scorecam"], "class_name": class_name, "target_layer": LAYER}
        async with connected(server_url) as session:
            return (await session.call_tool("explain_picture", given)).content[1].text

    async def work() -> list[str]:
        return await asyncio.gather(ask("espresso"), ask("cup"))

    assert [text.split(",")[0] for text in asyncio.run(work())] == ["Class: espresso", "Class: cup"]


def test_a_caller_shares_the_places_of_its_address_and_frees_them_by_leaving(server_url, monkeypatch, coffee):
    monkeypatch.setenv("CAMKIT_LONG_PER_ADDRESS", "1")
    words = "1 long computations from your address are under way, the most allowed: try again in about "
    given = {"image": coffee, "methods": ["scorecam"]}
    short = ("explain_picture", {"image": coffee, "methods": ["gradcam"], "target_layer": LAYER})
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    parameters = {"name": "explain_picture", "arguments": given, "_meta": {"progressToken": 1}}
    body = message | {"params": parameters}
    with httpx.stream("POST", server_url + PATH, json=body, headers=ACCEPT, timeout=LIMIT) as answer:
        lines = answer.iter_lines()  # kept: httpx closes a stream whose lines are not read on
        assert any("notifications/progress" in line for line in lines)
        (result,) = calls(server_url, short)
        assert refused(result).startswith(words)
    for _ in range(100):  # the server learns of it a moment later
        (result,) = calls(server_url, short)
        if not result.isError:
            return
        assert refused(result).startswith(words)
    pytest.fail("the place is not free again")


def test_messages_are_bounded_in_size_and_number(server_url, monkeypatch):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"x": "x" * LARGEST_REQUEST}}
    answer = httpx.post(server_url + PATH, json=body, headers=ACCEPT, timeout=LIMIT)
    assert (answer.status_code, answer.json()) == (
        413,
        {"detail": "The request has more than 27 MB, the most allowed."},
    )
    with pytest.raises(ExceptionGroup) as caught:  # how the client tells of it
        calls(server_url, ("classify_picture", {"image": "x" * LARGEST_REQUEST}))
    assert caught.group_contains(httpx.HTTPStatusError, match="413")
    monkeypatch.setenv("CAMKIT_REQUESTS_PER_ADDRESS", "0")
    assert httpx.post(server_url + PATH, json={}, headers=ACCEPT).status_code == 429


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_message_is_refused_in_a_sentence(server_url, content):
    answer = httpx.post(server_url + PATH, content=content, headers=ACCEPT)
    assert answer.status_code == 400
    plain_http.assert_clean(answer.json()["detail"])


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_browser_that_comes_by_is_told_what_this_is(server_url, method):
    answer = httpx.request(method, server_url + PATH + "/")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.json()["detail"] == f"This is an MCP server for agents: give {server_url}{PATH}/ to an MCP client."
