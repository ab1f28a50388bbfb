"""examples/client.py, run as a reader would run it, against the app launched in this process."""

import subprocess
import sys

import numpy as np
from conftest import EXAMPLES
from PIL import Image

import camkit

LIMIT = 120


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, EXAMPLES / "client.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)


def test_the_example_calls_every_endpoint_and_saves_what_it_got(server_url, short_curves, tmp_path, lite0, astronaut):
    done = run(server_url, str(tmp_path / "results"))
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
