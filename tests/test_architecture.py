"""The design's import rules, read from the source and, for what `import camkit` loads, from a fresh interpreter."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

import camkit

MODULES = {path.stem: path for path in (ROOT / "camkit").glob("*.py")}
# The engine, from its foundations up: each module may import those before it, never one after it.
ENGINE = ("picture", "imagenet", "weights", "faithfulness", "models", "scorecam", "methods", "explain")
STAND_ALONE = {"picture", "imagenet", "weights", "faithfulness"}  # of camkit they import nothing


def imported(path):
    """Every dotted module name that a file imports, at any depth; relative ones start with a dot."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level and node.module is None:
            yield from ("." + alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + node.module


def top(name):
    return name.split(".")[0]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_camkit_never_imports_gradio(module):
    assert "gradio" not in {top(name) for name in imported(MODULES[module])}


def test_the_page_imports_no_tensorflow():
    page = ROOT / "app.py"
    if not page.exists():
        pytest.skip("app.py does not exist yet")
    assert not {"tensorflow", "keras", "tf_keras_vis"} & {top(name) for name in imported(page)}


def test_only_methods_knows_tf_keras_vis():
    """By import or by name: `methods` gives the visualizers' names to resolve_name as text."""
    assert "tf_keras_vis" in {top(name) for name in imported(MODULES["methods"])}
    for path in [*MODULES.values(), *ROOT.glob("app.py")]:
        if path != MODULES["methods"]:
            texts = [
                node.value
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
            assert "tf_keras_vis" not in {top(name) for name in imported(path)}, path.name
            assert not [text for text in texts if text.startswith("tf_keras_vis.")], path.name


def inside(module):
    """The modules of camkit that one of them imports."""
    names = [name for name in imported(MODULES[module]) if name.startswith(".") or top(name) == "camkit"]
    return {top(name.strip(".").removeprefix("camkit.")) for name in names} & set(MODULES)


@pytest.mark.parametrize("module", ENGINE)
def test_nothing_in_the_engine_points_back_up(module):
    below = set() if module in STAND_ALONE else set(ENGINE[: ENGINE.index(module)])
    assert inside(module) <= below


def test_no_modules_import_each_other():
    above = {module: inside(module) - {module} for module in MODULES if module != "__init__"}
    left = dict(above)
    while free := [module for module, needs in left.items() if not needs & set(left)]:
        for module in free:
            del left[module]
    assert left == {}, f"these import each other in a circle: {sorted(left)}"


def test_import_camkit_loads_nothing_slow():
    slow = ("tensorflow", "keras", "gradio", "scipy")
    code = f"import sys, camkit; print(*(name for name in {slow} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_what_camkit_offers_is_there():
    assert all(hasattr(camkit, name) for name in camkit.__all__)
    assert len(set(camkit.__all__)) == len(camkit.__all__)
