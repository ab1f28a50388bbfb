"""space_files.py: what of a repository is staged for a Space, what is refused, and which commit it is said to be."""

import subprocess
from pathlib import Path

import pytest
import space_files
from conftest import ROOT
from huggingface_hub import SpaceCard

REVISION = "1" * 40
README = """---
title: CAMs
emoji: 🔥
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
suggested_hardware: cpu-upgrade
---
# CAMs
"""
REQUIREMENTS = "gradio==6.31.0\ntensorflow==2.21.0\npillow\n"
FILES = {
    ".github/CONTRIBUTING.md": "how to change it",
    ".github/docs/hosting.md": "how to host it",
    ".github/pictures/page.jpg": "a picture",
    "AGENTS.md": "how to call it",
    "CHANGELOG.md": "what changed",
    "LICENSE": "MIT",
    "README.md": README,
    "app.py": "print('the app')\n",
    "camkit/__init__.py": "",
    "camkit/web/style.css": "",
    "examples/chelsea.jpg": "a cat",
    "pyproject.toml": "[project]",
    "requirements.txt": REQUIREMENTS,
}
OTHERS = ("camkit/__pycache__/a.cpython-311.pyc", "examples/.hidden", ".github/deploy_space.py", "tests/test_a.py")
STAGED = sorted([*FILES, "REVISION"])


@pytest.fixture
def project(tmp_path):
    """A small repository with what a Space gets, and with what it does not."""
    root = tmp_path / "project"
    for name, text in (FILES | dict.fromkeys(OTHERS, "not for the Space")).items():
        write(root / name, text)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "hardware, tensorflow", [("cpu-upgrade", "tensorflow==2.21.0"), ("t4-small", "tensorflow[and-cuda]==2.21.0")]
)
def test_a_space_gets_the_allow_list_its_revision_and_its_tensorflow(project, tmp_path, hardware, tensorflow):
    folder = tmp_path / "staged"
    assert space_files.stage(project, folder, revision=REVISION, hardware=hardware) == STAGED
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == STAGED
    assert (folder / "REVISION").read_text() == REVISION + "\n"
    assert (folder / "requirements.txt").read_text() == f"gradio==6.31.0\n{tensorflow}\npillow\n"
    assert (folder / "README.md").read_text(encoding="utf-8") == README


def test_weights_are_added_to_the_card(project, tmp_path):
    space_files.stage(project, tmp_path / "staged", revision=REVISION, hardware="t4-small", weights="a/b c.h5 d")
    card, before = SpaceCard.load(tmp_path / "staged/README.md"), SpaceCard(README)
    assert card.data.to_dict() == before.data.to_dict() | {"preload_from_hub": ["a/b c.h5 d"]}
    assert card.text == before.text


@pytest.mark.parametrize(
    "name, old, new, sentence",
    [
        ("README.md", "6.31.0", "6.30.0", "sdk_version is 6.30.0, but requirements.txt pins gradio 6.31.0"),
        ("README.md", "---\n", "", "sdk_version is None"),
        ("requirements.txt", "gradio==6.31.0", "gradio", "must pin gradio"),
        ("requirements.txt", "tensorflow==2.21.0", "tensorflow>=2", "must pin tensorflow"),
        ("app.py", None, None, "app.py is missing"),
    ],
)
def test_what_would_not_start_is_not_staged(project, tmp_path, name, old, new, sentence):
    if old is None:
        (project / name).unlink()
    else:
        write(project / name, FILES[name].replace(old, new))
    with pytest.raises(space_files.DeployError, match=sentence):
        space_files.stage(project, tmp_path / "staged", revision=REVISION, hardware="cpu-basic")


def test_binary_files_come_with_their_licence(tmp_path):
    """Pictures have an entry in the SOURCES.md beside them, models a licence file; everything else is text."""
    for name in space_files.stage(ROOT, tmp_path, revision=REVISION, hardware="cpu-basic"):
        path = tmp_path / name
        if path.suffix == ".jpg":
            assert path.name in path.with_name("SOURCES.md").read_text(encoding="utf-8"), name
        elif path.suffix == ".keras":
            assert path.with_name("LICENSE").is_file(), name
        else:
            assert "\0" not in path.read_text(encoding="utf-8"), name


def test_the_suggested_hardware_runs_tensorflow(project):
    assert space_files.suggested_hardware(project) == "cpu-upgrade"
    assert space_files.suggested_hardware(ROOT) in space_files.HARDWARE
    write(project / "README.md", README.replace("suggested_hardware: cpu-upgrade\n", ""))
    assert space_files.suggested_hardware(project) == "cpu-basic"


def test_the_revision_is_the_commit_of_what_is_sent(project):
    with pytest.raises(space_files.DeployError, match="--revision"):
        space_files.commit_of(project, clean=True)
    git(project, "init", "--quiet")
    git(project, "add", ".")
    git(project, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "-m", "all")
    commit = git(project, "rev-parse", "HEAD")
    write(project / "tests/test_b.py", "not sent, so no matter")
    assert space_files.commit_of(project, clean=True) == commit
    write(project / "camkit/new.py", "")
    assert space_files.commit_of(project, clean=False) == commit
    with pytest.raises(space_files.DeployError, match=r"Not committed: camkit/new\.py"):
        space_files.commit_of(project, clean=True)


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True, text=True).stdout.strip()
