"""The tutorial runs from start to end, shows each method twice and equal, and is committed without outputs."""

import ast
import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from conftest import EXAMPLES, ROOT

from camkit import DEFAULT_METHODS, METHODS, METRICS

NOTEBOOK = EXAMPLES / "tutorial.ipynb"
TIMEOUT = 900  # seconds for one cell; the whole notebook takes one minute on two free cores

# Appended to the copy that is run: what the reader's own session would hold at the end, as JSON.
PROBE = """
print(json.dumps({
    "twice": {key: [float(abs(one - other).max()), float(one.max()), one.shape] for key, (one, other) in twice.items()},
    "same_object": [key for key, (one, other) in twice.items() if np.shares_memory(one, other)],
    "figures": list(FIGURES), "python": sys.executable, "folder": str(Path.cwd()),
}))
"""


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_of(notebook) -> dict[str, str]:
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}


def prose_of(notebook) -> str:
    """All the prose in one line, however it is wrapped."""
    return " ".join(word for cell in notebook.cells if cell.cell_type == "markdown" for word in cell.source.split())


# The committed file


def test_it_is_valid_and_has_ids(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    identifiers = [cell.id for cell in notebook.cells]
    assert len(set(identifiers)) == len(identifiers)
    # An id given by hand says what the cell is for and stays the same when the file is written again.
    assert all(identifier.replace("-", "").isalpha() for identifier in identifiers)


def test_outputs_are_stripped(notebook):
    for cell in notebook.cells:
        assert cell.metadata == {}, cell.id
        if cell.cell_type == "code":
            assert cell.outputs == [], cell.id
            assert cell.execution_count is None, cell.id


def test_it_names_no_machine(notebook):
    raw = NOTEBOOK.read_text("utf-8")
    assert str(ROOT) not in raw
    assert str(Path.home()) not in raw
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_the_formulas_do_not_use_the_library(notebook):
    """What is computed by hand is only worth something when camkit and tf-keras-vis have no part in it."""
    functions = {
        node.name: node
        for source in code_of(notebook).values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }
    by_hand = (
        "softmax",
        "stretch",
        "scale",
        "expand",
        "grad_cam",
        "grad_cam_plus_plus",
        "logits_behind_masks",
        "score_cam",
        "most_varying",
    )
    for name in by_hand:
        names = {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
        assert not names & {"camkit", "Scorecam", "twice"}, name
        assert len(functions[name].body) <= 10, name


def test_each_method_is_asserted_equal(notebook):
    sources = code_of(notebook).values()
    for key in DEFAULT_METHODS:
        cells = [source for source in sources if f'twice["{key}"]' in source and f'["{key}"], CAT' in source]
        assert len(cells) == 1, key
        assert f'np.testing.assert_allclose(*twice["{key}"], rtol=0, atol=' in cells[0]  # to 1e-4: test_it_runs


def test_the_prose_names_every_method_and_metric(notebook):
    prose = prose_of(notebook)
    for key, method in ((key, METHODS[key]) for key in DEFAULT_METHODS):
        assert method.name in prose, key
        assert method.paper in prose, key
        assert method.url in prose, key
    line = next(line for source in code_of(notebook).values() for line in source.splitlines() if "FIGURES = " in line)
    figures = ast.literal_eval(line.removeprefix("FIGURES = "))
    assert figures
    assert set(figures) <= set(METRICS)
    for figure in figures:
        assert METRICS[figure].name.split(" - ")[0].lower() in prose.lower(), figure


# The first cell finds the repository


@pytest.mark.parametrize("folder", [ROOT, EXAMPLES], ids=["root", "examples"])
def test_it_opens_from_the_repository_alone(notebook, folder):
    ran = first_cell(notebook, folder)
    assert ran.returncode == 0, ran.stderr
    for method in METHODS.values():
        assert method.name in ran.stdout


def test_elsewhere_it_says_what_to_do(notebook, tmp_path):
    ran = first_cell(notebook, tmp_path)
    assert ran.returncode == 1
    assert "open this notebook inside its repository" in ran.stderr.splitlines()[-1]


def test_elsewhere_it_installs_from_a_repository_that_is_named(notebook, tmp_path):
    """The installation itself is that of the wheel, which test_package.py looks into."""
    found = f"""
import subprocess, sys
def run(command, check):
    print(*command[1:], "checked" if check else "")
    sys.path.insert(0, {str(ROOT)!r})
subprocess.run = run
"""
    ran = first_cell(notebook, tmp_path, found, ('REPOSITORY = ""', 'REPOSITORY = "https://example.com/owner/name"'))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0] == "-m pip install -q git+https://example.com/owner/name checked"
    assert ran.stdout.splitlines()[1].startswith("camkit ")


def first_cell(notebook, folder: Path, before="", change=("", "")) -> subprocess.CompletedProcess:
    # -I: neither the folder nor PYTHONPATH is on the path, as in a kernel that was started somewhere else.
    source = before + next(iter(code_of(notebook).values())).replace(*change)
    return subprocess.run([sys.executable, "-I", "-c", source], cwd=folder, capture_output=True, text=True, timeout=120)


# The whole of it


@pytest.fixture
def kernel(monkeypatch, tmp_path) -> str:
    """The name of a kernel that is this very Python, known in this test's own folder and nowhere else."""
    from ipykernel.kernelspec import write_kernel_spec

    write_kernel_spec(tmp_path / "share" / "kernels" / "tutorial")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    return "tutorial"


@pytest.mark.slow
def test_it_runs(notebook, kernel):
    from nbclient import NotebookClient

    committed = NOTEBOOK.read_bytes()
    copy = deepcopy(notebook)
    switches = next(cell for cell in copy.cells if cell.id == "switches")
    for usual, quicker in (("ENOUGH = 96", "ENOUGH = 32"), ("STEPS = 14", "STEPS = 4")):  # switches for a reader
        assert usual in switches.source
        switches.source = switches.source.replace(usual, quicker)
    copy.cells.append(nbformat.v4.new_code_cell(PROBE, id="probe"))
    client = NotebookClient(copy, kernel_name=kernel, timeout=TIMEOUT, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute()  # raises CellExecutionError, with the cell and its traceback, when a cell fails

    outputs = [output for cell in copy.cells if cell.cell_type == "code" for output in cell.outputs]
    found = json.loads("".join(output.text for output in copy.cells[-1].outputs if output.output_type == "stream"))
    assert Path(found["python"]).samefile(sys.executable)
    assert Path(found["folder"]).samefile(EXAMPLES)
    assert set(found["twice"]) == set(DEFAULT_METHODS)
    assert not found["same_object"]
    for key, (difference, largest, shape) in found["twice"].items():
        assert difference <= 1e-4, key
        assert largest == pytest.approx(1, abs=1e-5), key  # a map, not zeros that equal zeros
        assert shape == [224, 224], key
    assert set(found["figures"]) <= set(METRICS)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 10
    # Tables, with a row for each method and control.
    assert sum("text/markdown" in output.get("data", {}) for output in outputs) == 2
    assert NOTEBOOK.read_bytes() == committed
