"""oneDNN is switched on where camkit is the first to import TensorFlow on an x86 processor, and nowhere else."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

# Ends the process when TensorFlow is asked for: what the variable is by then is all that counts.
WATCH = """
import os, platform, sys
def watch(event, given):
    if event == "import" and given[0] == "tensorflow":
        print(os.environ.get("TF_ENABLE_ONEDNN_OPTS"), flush=True)
        os._exit(0)
sys.addaudithook(watch)
"""


def value_for_tensorflow(code: str, **settings: str) -> str:
    """The variable at the moment when `code`, run in a fresh process, first imports TensorFlow."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    command = [sys.executable, "-c", WATCH + code]
    done = subprocess.run(
        command, env=environment | settings, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()[-1]


@pytest.mark.parametrize(
    ("processor", "first"),
    [
        ("x86_64", "import camkit; camkit.load('efficientnet_lite0')"),
        ("AMD64", "import camkit.classifier"),
        ("x86_64", "from camkit.evaluate import main; main(['examples', '--out', {folder!r}])"),
        ("x86_64", "import app, camkit; camkit.load('efficientnet_lite0')"),
    ],
    ids=["library", "module", "evaluate", "app"],
)
def test_it_is_on_wherever_camkit_imports_tensorflow_first(processor, first, tmp_path):
    code = f"platform.machine = lambda: {processor!r}\n{first.format(folder=str(tmp_path))}"
    assert value_for_tensorflow(code) == "1"


@pytest.mark.parametrize(
    ("code", "settings", "expected"),
    [
        ("platform.machine = lambda: 'x86_64'; import camkit.classifier", {"TF_ENABLE_ONEDNN_OPTS": "0"}, "0"),
        ("platform.machine = lambda: 'arm64'; import camkit.classifier", {}, "None"),
        ("platform.machine = lambda: 'aarch64'; import camkit.classifier", {}, "None"),
        ("sys.modules['tensorflow'] = sys; import camkit; print(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))", {}, "None"),
    ],
    ids=["the user's own setting stays", "Apple", "ARM", "TensorFlow is there already"],
)
def test_it_is_left_alone_elsewhere(code, settings, expected):
    assert value_for_tensorflow(code, **settings) == expected
