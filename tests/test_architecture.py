"""The design's import rules, read from the source and, for what is loaded, from a fresh interpreter.

Imports point down only: app.py, web, report, study, evidence, and the core (camkit/*.py with models and export).
"""

import ast
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest
from conftest import ROOT

import camkit

FILES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "camkit").rglob("*.py")} | {
    "app.py": ROOT / "app.py"
}
FLOORS = 9
LONGEST = 450  # lines of a file
# Who may import what, at any depth of a function. Everybody else may not.
ONLY = {
    "gradio": ("camkit/web/",),
    "tensorflow": ("camkit/classifier.py", "camkit/passes/", "camkit/scorecam.py", "camkit/stock.py"),
    "keras": (
        "camkit/classifier.py",
        "camkit/passes/",
        "camkit/stock.py",
        "camkit/models/",
        "camkit/evidence/randomise.py",
    ),
    "tf_keras_vis": ("camkit/stock.py",),
    "plotly": ("camkit/report/", "camkit/maps.py"),
    "scipy": ("camkit/evidence/", "camkit/report/", "camkit/maps.py"),
    "pandas": ("camkit/report/",),
    "jinja2": ("camkit/report/",),
}
# From the top down; a wing may import those below it and the core. evaluate.py and __main__.py, the command lines, are
# the files of camkit/*.py that use a wing; __init__ offers the registries of evidence by name.
WINGS = ("camkit/web/", "camkit/report/", "camkit/study/", "camkit/evidence/")
ABOVE = ("camkit/evaluate.py", "camkit/__main__.py", "camkit/__init__.py")


def imported(name):
    """(module as a dotted name, names taken from it) for every import in a file, at any depth."""
    package = name.split("/")[:-1]
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, tuple(alias.name for alias in node.names)


@cache
def inside(name):
    """The project's own files that a file imports."""
    found = set()
    for module, names in imported(name):
        for dotted in (module, *(f"{module}.{each}" for each in names)):
            path = dotted.replace(".", "/")
            found |= {path + ".py", path + "/__init__.py"} & set(FILES)
        if names and all(f"{module.replace('.', '/')}/{each}.py" in FILES for each in names):
            found.discard(
                module.replace(".", "/") + "/__init__.py"
            )  # `from . import x` asks the package for nothing else
    return found - {name}


@cache
def floor(name):
    """1 for a file that imports none of ours, else one above the highest that it imports; no circle, see below."""
    return 1 + max((floor(below) for below in inside(name)), default=0)


@pytest.mark.parametrize("library", ONLY)
def test_libraries_are_imported_where_they_may_be(library):
    allowed = ONLY[library]
    users = {name for name in FILES if library in {module.split(".")[0] for module, _ in imported(name)}}
    assert users, f"nobody imports {library} any more: the rule can go"
    assert {name for name in users if not name.startswith(allowed)} == set()


def test_tf_keras_vis_is_named_in_its_registry_only():
    """By import or by name: METHODS gives the visualizers' names as text."""
    for name, path in FILES.items():
        texts = [
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant)
        ]
        named = [text for text in texts if isinstance(text, str) and text.startswith("tf_keras_vis.")]
        assert not named or name == "camkit/methods.py", name


def test_nothing_imports_in_a_circle_and_the_house_has_few_floors():
    left = {name: inside(name) for name in FILES}
    while free := [name for name, needs in left.items() if not needs & set(left)]:
        for name in free:
            del left[name]
    assert left == {}, f"these import each other in a circle: {sorted(left)}"
    assert max(floor(name) for name in FILES if name != "app.py") <= FLOORS


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_wing_points_up(name):
    wing = next((number for number, each in enumerate(WINGS) if name.startswith(each)), len(WINGS))
    above: tuple[str, ...] = ("app.py", *WINGS[:wing], *ABOVE)
    if name == "app.py":
        above = ("camkit/evaluate.py", "camkit/__main__.py")
    elif wing == 0:
        above = ("app.py", "camkit/evaluate.py", "camkit/__main__.py")
    elif name in ABOVE:
        above = ("app.py", "camkit/web/")
    assert {below for below in inside(name) if below.startswith(above)} == set()


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.startswith("camkit/web/")))
def test_the_web_takes_names_from_where_they_live(name):
    assert "camkit/__init__.py" not in inside(name)


def test_tabs_do_not_import_each_other():
    tabs = {f"camkit/web/tabs/{name}.py" for name in ("maps", "evidence", "contrast", "cover", "many", "about")}
    assert tabs <= set(FILES)
    assert {(name, other) for name in tabs for other in inside(name) & tabs} == set()


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_is_too_long(name):
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= (80 if name == "app.py" else LONGEST)


def test_no_folder_is_too_full():
    folders = Counter(str(path.parent) for path in FILES.values() if path.name != "__init__.py")
    assert max(folders.values()) <= 14, folders


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("camkit", ("tensorflow", "keras", "gradio", "scipy", "plotly")),
        ("camkit.__main__", ("tensorflow", "keras", "gradio", "scipy", "plotly")),
        ("app", ("tensorflow", "keras")),
    ],
)
def test_an_import_loads_nothing_slow(module, slow):
    code = f"import sys, {module}; print(*(name for name in {slow} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_what_camkit_offers_is_there():
    assert all(hasattr(camkit, name) for name in camkit.__all__)
    assert len(set(camkit.__all__)) == len(camkit.__all__)
