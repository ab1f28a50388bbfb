"""The files that a deployment sends are a working app by themselves: they start as a Space starts them, answer with the
deployed revision and classify a picture, and import nothing that their own requirements do not bring.
"""

import ast
import importlib.metadata
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT, free_port
from deploy_space import app_info
from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from space_files import stage

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged")
    stage(ROOT, folder, revision=REVISION, hardware="cpu-basic")
    return folder


@pytest.mark.slow
def test_the_staged_folder_answers_with_its_revision(staged, tmp_path):
    port = free_port()
    space = {
        "SYSTEM": "spaces",
        "SPACE_ID": "owner/name",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(tmp_path / "uploads"),
        "KERAS_HOME": str(tmp_path / "keras"),
        "PYTHONUNBUFFERED": "1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CAMKIT_", "GRADIO_", "PYTHON"))}
    log = tmp_path / "log"
    with (
        open(log, "w") as out,
        subprocess.Popen(
            [sys.executable, "app.py"], cwd=staged, env=kept | space, stdout=subprocess.PIPE, stderr=out, text=True
        ) as server,
    ):
        try:
            assert any("Running on" in line for line in server.stdout), log.read_text()
            url = f"http://127.0.0.1:{port}"
            # As the deployment asks: it waits for this answer.
            assert app_info(SimpleNamespace(host=url, private=False))["revision"] == REVISION
            client = Client(url, verbose=False)
            _, facts, _ = client.predict(handle_file(ROOT / "examples" / "chelsea.jpg"), api_name="/explain")
            assert facts["class_index"] == 285 and not facts["all_zero"]
            client.close()
        finally:
            server.terminate()
            server.stdout.read()


def test_the_requirements_bring_what_the_staged_files_import(staged):
    distributions = importlib.metadata.packages_distributions()
    always = installed_for((staged / "requirements.txt").read_text(encoding="utf-8"))
    on_request = installed_for((ROOT / "requirements-ray.txt").read_text(encoding="utf-8"))
    for path in staged.rglob("*.py"):
        brought = always | (on_request if path.name == "cluster.py" else set())  # which says so where it is missing
        for name in imported(path) - sys.stdlib_module_names - {"camkit", "app"}:
            sources = {canonicalize_name(source) for source in distributions.get(name, [])}
            assert sources & brought, f"{path.relative_to(staged)} imports {name}"


def installed_for(requirements: str) -> set[str]:
    """The names of the distributions that pip installs for a requirements file, dependencies of dependencies too."""
    found: set[str] = set()
    waiting = [(line, {""}) for line in requirements.splitlines() if line and not line.startswith("#")]
    while waiting:
        text, extras = waiting.pop()
        requirement = Requirement(text)
        name, marker = canonicalize_name(requirement.name), requirement.marker
        if name not in found and (marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)):
            found.add(name)
            waiting += [(line, {"", *requirement.extras}) for line in importlib.metadata.requires(name) or []]
    return found


def imported(path) -> set[str]:
    """The first parts of the absolute imports in a Python file, those inside functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names
