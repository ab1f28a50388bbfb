"""AGENTS.md: its examples run, its commands and endpoints are those that there are."""

import doctest
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
from conftest import ROOT

import camkit
from camkit.__main__ import COMMANDS

TEXT = (ROOT / "AGENTS.md").read_text(encoding="utf-8")


def test_its_examples_give_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = doctest.IGNORE_EXCEPTION_DETAIL
    failed, tried = doctest.testfile(str(ROOT / "AGENTS.md"), module_relative=False, optionflags=options)
    assert failed == 0 and tried > 10
    assert {path.name for path in tmp_path.iterdir()} == {"figure.png", "bundle.zip"}


def test_it_names_the_functions_and_the_commands():
    functions = {name for name in camkit.__all__ if inspect.isfunction(getattr(camkit, name))}
    assert {name for name in functions if f"{name}(" not in TEXT} == set()
    assert set(re.findall(r"`camkit (\w+)", TEXT)) == set(COMMANDS)


def test_it_lists_the_endpoints_and_all_parameters(server_url):
    rows = re.findall(r"^\| `(/\w+)` \|([^|]*)\|", TEXT, flags=re.MULTILINE)
    listed = {name: re.findall(r"`(\w+)`", parameters) for name, parameters in rows}
    served = httpx.get(f"{server_url}/gradio_api/info").json()["named_endpoints"]
    assert listed == {
        name: [each["parameter_name"] for each in endpoint["parameters"]] for name, endpoint in served.items()
    }


def test_gradios_command_line_calls_an_endpoint_as_shown(server_url, tmp_path):
    (command,) = re.findall(r"^gradio predict .*?\}\}'$", TEXT, flags=re.MULTILINE | re.DOTALL)
    given = [server_url if part.startswith("http://") else part for part in shlex.split(command)]
    program = str(Path(sys.executable).with_name("gradio"))
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path)}
    done = subprocess.run([program, *given[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["facts"]["class_name"] == "space shuttle"
    assert Path(answer["overlay"]).is_file()
