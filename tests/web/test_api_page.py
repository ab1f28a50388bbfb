"""Gradio's API page: the words of each parameter, its snippets, and what its links lead to."""

import subprocess
import sys

import httpx
import pytest
from browsing import OPENING, explaining
from conftest import EXAMPLES

from camkit.web.api import PARAMETERS
from camkit.web.mcp import TOOLS

LIMIT = 120  # seconds until a wait counts as failed


@pytest.mark.slow
def test_the_python_snippets_run_as_they_stand(server_url, short_curves, tmp_path):
    endpoints = httpx.get(f"{server_url}/gradio_api/info").json()["named_endpoints"]
    snippets = {name: endpoint["code_snippets"]["python"] for name, endpoint in endpoints.items()}
    example = f"{server_url}/examples/coffee.jpg"  # which JavaScript fetches
    assert [name for name, code in snippets.items() if example not in code] == ["/info"]
    assert httpx.get(example).content == (EXAMPLES / "coffee.jpg").read_bytes()
    assert httpx.get(f"{server_url}/examples/none.jpg").status_code == 404
    code = "\n".join(snippets.values())
    done = subprocess.run(
        [sys.executable, "-"], input=code, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    info, classified, explained, compared, evaluated = [line for line in done.stdout.splitlines() if line[0] in "{("]
    assert "'default_model'" in info
    assert all("'espresso'" in line for line in (classified, explained, compared, evaluated))
    assert "maps.npz" in explained and ".zip" in compared and "'uniform'" in evaluated
    curl = endpoints["/classify"]["code_snippets"]["bash"].replace("/path/to/your/file", str(EXAMPLES / "coffee.jpg"))
    zsh_like = ["bash", "-O", "lastpipe", "-c", curl]  # Gradio's ends in a pipe into `read`, which bash alone forgets
    done = subprocess.run(zsh_like, capture_output=True, text=True, timeout=LIMIT)
    assert "espresso" in done.stdout, done.stderr


@pytest.mark.browser
def test_the_page_says_what_each_parameter_is_and_which_tools_there_are(visit, windows, server_url):
    page = visit(query="?methods=gradcam")
    explaining(page, OPENING)
    links = page.locator("footer :is(button, a):visible").all_inner_texts()
    assert [" ".join(text.split()) for text in links] == ["Use via API", "Built with Gradio"]
    page.get_by_role("button", name="Use via API").click()
    page.get_by_text("upload-mcp").first.wait_for()  # how agents connect comes first
    assert page.get_by_text(f"{server_url}/gradio_api/mcp/").count()
    for tool in TOOLS:
        assert page.get_by_text(tool, exact=True).count() == 1
    page.get_by_text("Python", exact=True).click()
    page.get_by_text("API name: /evaluate").wait_for()
    for words in PARAMETERS.values():
        assert page.get_by_text(f'provided in the "{words}"').count() >= 1, words
    closed = f"{server_url}/monitoring/summary"  # of other visitors' requests: Gradio's page asks, and does without
    windows[0].faults = [fault for fault in windows[0].faults if not fault.endswith(closed)]
