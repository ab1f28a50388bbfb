"""The folder that a deployment sends is a working app: installed from its own requirements into a fresh virtual environment
and started as a Space starts it, it answers with the deployed revision. Needs a package index, as the installation does.
"""

import importlib.util
import os
import subprocess
import sys
import venv

import pytest
from conftest import ROOT, free_port
from gradio_client import Client, handle_file

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The staged folder and the Python of a fresh environment that holds what its requirements name."""
    spec = importlib.util.spec_from_file_location("deploy_space", ROOT / ".github" / "deploy_space.py")
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    folder, environment = tmp_path_factory.mktemp("staged"), tmp_path_factory.mktemp("environment")
    script.stage(ROOT, folder, revision=REVISION, hardware="cpu-basic")
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    # Not compiled: the modules that are needed are compiled when they are imported, the others never.
    install = [python, "-m", "pip", "install", "-q", "--no-compile", "-r", folder / "requirements.txt"]
    subprocess.run(install, check=True, timeout=900)
    return folder, python


@pytest.mark.slow
def test_the_staged_folder_answers_with_its_revision(staged, tmp_path):
    folder, python = staged
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
            [python, "app.py"], cwd=folder, env=kept | space, stdout=subprocess.PIPE, stderr=out, text=True
        ) as server,
    ):
        try:
            assert any("Running on" in line for line in server.stdout), log.read_text()
            client = Client(f"http://127.0.0.1:{port}", verbose=False)
            assert client.predict(api_name="/info")["revision"] == REVISION
            _, facts, _ = client.predict(handle_file(ROOT / "examples" / "chelsea.jpg"), api_name="/explain")
            assert facts["class_index"] == 285 and not facts["all_zero"]
            client.close()
        finally:
            server.terminate()
            server.stdout.read()
