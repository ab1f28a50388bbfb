"""The page under a path of a proxy, by the block of nginx that the document on hosting gives: by nginx where it is
installed, and by a small proxy that does what the block says."""

import asyncio
import os
import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from browsing import COMPLETE, QUICK, Window, explaining, panel
from conftest import EXAMPLES, ROOT, free_port
from gradio_client import Client, handle_file
from plain_http import upload
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from test_mcp import connected

from camkit.web.command_line import parse
from camkit.web.page import open_page
from camkit.web.server.assets import PREFIX

DOCUMENT = (ROOT / ".github" / "docs" / "hosting.md").read_text()
TAKEN_OFF, LEFT = "proxy_pass http://127.0.0.1:7860/;", "proxy_pass http://127.0.0.1:7860;"
ICON = "/favicon.ico"  # browsers ask the host for it by themselves, whatever a page says


@contextmanager
def nginx(block: str, port: int, folder: Path):
    """Yield a function that returns the paths asked for so far."""
    if not (program := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")):
        pytest.skip("nginx is not installed")
    own = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    log = f"log_format paths $request_uri; access_log {folder}/paths paths; {own}"
    server = f"server {{ listen 127.0.0.1:{port};\n{block} location / {{ return 404; }} }}"
    text = f"daemon off; master_process off; pid {folder}/pid; events {{}}\nhttp {{ {log} {server} }}"
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen([program, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "errors"])
    try:
        yield lambda: (folder / "paths").read_text().splitlines()
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def small_proxy(block: str, port: int, folder: Path):
    """Do what the block says: its location becomes the path of its proxy_pass, where that has one. Yield as `nginx`."""
    location, to, uri = re.search(r"location (\S+) .*?proxy_pass (http://[^/;]+)([^;]*);", block, re.DOTALL).groups()
    largest = int(re.search(r"client_max_body_size (\d+)m", block)[1]) * 2**20
    paths: list[str] = []

    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient(timeout=None, trust_env=False) as app.state.client:
            yield

    async def forward(request) -> Response:
        path, body = request.url.path, await request.body()
        paths.append(path)
        if not path.startswith(location) or len(body) > largest:
            return Response(status_code=413 if len(body) > largest else 404)
        known = {"$http_host": request.url.netloc, "$scheme": "http", "$proxy_add_x_forwarded_for": "127.0.0.1"}
        said = {name: known[value] for name, value in re.findall(r"proxy_set_header (\S+) (\S+);", block)}
        kept = {name: value for name, value in request.headers.items() if name not in ("host", "connection")}
        url = to + (uri + path.removeprefix(location) if uri else path) + f"?{request.url.query}"
        client = request.app.state.client
        sent = client.build_request(request.method, url, headers=kept | said, content=body)
        answer = await client.send(sent, stream=True)
        told = dict(answer.headers)
        return StreamingResponse(answer.aiter_raw(), answer.status_code, told, background=BackgroundTask(answer.aclose))

    app = Starlette(
        routes=[Route("/{path:path}", forward, methods=["GET", "HEAD", "POST", "DELETE"])], lifespan=lifespan
    )
    config = uvicorn.Config(app, port=port, log_level="critical", loop="asyncio", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield lambda: paths
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def behind(server_url):
    """The address of a page that is told of /cam, in the process whose models `server_url` has warmed."""
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("GRADIO_ROOT_PATH", "/cam")
        page = open_page(parse([]))
        _, url, _ = page.launch(prevent_thread_lock=True, server_port=free_port(), quiet=True)
        yield re.search(r"127\.0\.0\.1:\d+", url)[0]
        page.close()


@pytest.fixture(params=[(way, line) for way in (nginx, small_proxy) for line in (TAKEN_OFF, LEFT)], scope="module")
def under_cam(request, behind, tmp_path_factory):
    """The page's address at a proxy."""
    way, proxy_pass = request.param
    block = re.search(r"```nginx\n(.*?)```", DOCUMENT, re.DOTALL)[1]
    assert TAKEN_OFF in block and LEFT in DOCUMENT
    block = block.replace(TAKEN_OFF, proxy_pass).replace("127.0.0.1:7860", behind)
    port = free_port()
    with way(block, port, tmp_path_factory.mktemp("proxy")) as paths:
        with httpx.Client(transport=httpx.HTTPTransport(retries=6)) as patient:  # until the proxy listens
            assert patient.get(f"http://127.0.0.1:{port}/config").status_code == 404
        yield f"http://127.0.0.1:{port}/cam"
        assert {path for path in paths() if not path.startswith("/cam/")} <= {"/config", ICON}


@pytest.mark.browser
def test_the_page_works_and_asks_for_nothing_outside_the_path(under_cam, browser):
    window = Window(browser, under_cam + "/")
    try:
        window.page.goto(f"{under_cam}/{QUICK}&picture=coffee")
        panel(window.page, "gradcam", COMPLETE).wait_for()
        window.page.locator("#picture input[type=file]").set_input_files(EXAMPLES / "chelsea.jpg")
        explaining(window.page, "Egyptian cat")
        assert [fault for fault in window.faults if ICON not in fault] == []
    finally:
        window.page.context.close()


def test_every_file_and_the_root_are_under_the_path(under_cam):
    assert httpx.get(f"{under_cam}/config").json()["root"] == under_cam
    html = httpx.get(f"{under_cam}/").text
    named = re.findall(r'(?:src|href)="(\S+?\.(?:js|css))"', html)
    assert len(named) > 1
    own = [f"{under_cam}{PREFIX}/{name}" for name in ("panels.js", "thumbnails/chelsea.jpg", "classes/vgg16")]
    for url in [*own, *(str(httpx.URL(f"{under_cam}/").join(each)) for each in named)]:
        assert url.startswith((f"{under_cam}/", "https://")), url
        assert url.startswith("https://") or httpx.get(url).status_code == 200, url


def test_clients_and_agents_work_under_the_path(under_cam, tmp_path):
    client = Client(f"{under_cam}/", verbose=False, download_files=tmp_path, analytics_enabled=False)
    overlay, facts, _ = client.predict(handle_file(EXAMPLES / "chelsea.jpg"), api_name="/explain")
    assert facts["class_name"] == "Egyptian cat" and Path(overlay).stat().st_size > 10_000
    path = upload(under_cam, (EXAMPLES / "coffee.jpg").read_bytes())

    async def agent():
        async with connected(under_cam) as session:
            return await session.call_tool("classify_picture", {"image": path})

    with ThreadPoolExecutor() as aside:  # Playwright has a loop in this thread
        answer = aside.submit(lambda: asyncio.run(agent())).result()
    assert not answer.isError and "espresso" in str(answer.content)
    assert httpx.post(f"{under_cam}/gradio_api/upload", content=bytes(29 * 2**20)).status_code == 413
