"""space_files.py: what of a repository is staged for a Space, what is refused, and which commit it is said to be."""

import hashlib
import subprocess
from pathlib import Path

import pytest
import space_files
from hub_stand_in import LARGE
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / ".github"

WEIGHTS_CONTENT = b"the weights of VGG16, for a test"
WEIGHTS_FILE = "vgg16_weights.h5"
REVISION = "1" * 40

README = """---
title: CAMs
emoji: 🔥
colorFrom: indigo
colorTo: red
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
short_description: Where a classifier looked
suggested_hardware: cpu-basic
---
# CAMs
"""
REQUIREMENTS = "gradio==6.31.0\ntensorflow==2.21.0\npillow\n"
CAMKIT_WEIGHTS = f"""
from pathlib import Path


class WeightsError(RuntimeError):
    pass


class VGG16_WEIGHTS:
    filename, size = {WEIGHTS_FILE!r}, {len(WEIGHTS_CONTENT)}
    md5 = {hashlib.md5(WEIGHTS_CONTENT).hexdigest()!r}

    @staticmethod
    def obtain():
        path = Path(__file__).parents[2] / "downloaded"
        if not path.exists():
            raise WeightsError("The weights could not be downloaded.")
        return path
"""


def build_project(root: Path) -> Path:
    """A small repository with all that a deployment touches, among it a file that the Hub keeps outside git."""
    files = {
        "README.md": README,
        "requirements.txt": REQUIREMENTS,
        "app.py": "print('the app')\n",
        "camkit/__init__.py": "",
        "camkit/models/__init__.py": "",
        "camkit/labels.json": "[]",
        "camkit/models/weights.py": CAMKIT_WEIGHTS,
        "camkit/web/api.py": "",
        "camkit/web/panels.js": "",
        "camkit/web/style.css": "",
        "camkit/__pycache__/weights.cpython-311.pyc": "left by Python",
        "camkit/bundled/LICENSE": "Apache 2.0\n",
        "examples/SOURCES.md": "chelsea.jpg: scikit-image, CC0\n",
        "examples/.hidden": "not for the Space",
        ".github/pictures/SOURCES.md": "none yet\n",
        "downloaded": WEIGHTS_CONTENT.decode(),
        "tests/test_nothing.py": "not for the Space",
    }
    for name, text in files.items():
        write(root / name, text)
    write(root / "camkit/bundled/net.keras", bytes(LARGE + 1))
    Image.new("RGB", (8, 8), "orange").save(root / "examples/chelsea.jpg")
    for name in ("deploy_space.py", "space_files.py"):
        write(root / ".github" / name, (FOLDER / name).read_bytes())
    return root


STAGED = [
    ".github/pictures/SOURCES.md",
    "README.md",
    "REVISION",
    "app.py",
    "camkit/__init__.py",
    "camkit/bundled/LICENSE",
    "camkit/bundled/net.keras",
    "camkit/labels.json",
    "camkit/models/__init__.py",
    "camkit/models/weights.py",
    "camkit/web/api.py",
    "camkit/web/panels.js",
    "camkit/web/style.css",
    "examples/SOURCES.md",
    "examples/chelsea.jpg",
    "requirements.txt",
]


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def project(tmp_path):
    return build_project(tmp_path / "project")


def replaced(name: str, old: str, new: str):
    return lambda root: write(root / name, (root / name).read_text().replace(old, new))


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (replaced("README.md", "6.31.0", "6.30.0"), "sdk_version is 6.30.0, but requirements.txt pins gradio 6.31.0"),
        (replaced("README.md", 'python_version: "3.11"\n', ""), "lacks python_version"),
        (replaced("README.md", '"3.11"', "3.10"), "python_version must be in quotes"),
        (replaced("README.md", "app_file: app.py", "app_file: main.py"), "app_file main.py is not among"),
        (replaced("README.md", "sdk: gradio", "sdk: docker"), "sdk is docker"),
        (replaced("README.md", "cpu-basic", "abacus"), "abacus is not a Space's hardware"),
        (replaced("README.md", "Where a classifier looked", "x" * 61), "61 characters; at most 60"),
        (replaced("README.md", "indigo", "mauve"), "colour mauve"),
        (replaced("README.md", "title: CAMs", "title: : CAMs"), "front matter is not YAML"),
        (replaced("README.md", "---\n", ""), "must open with YAML front matter"),
        (replaced("README.md", "sdk:", "preload_from_hub: [a/b]\nsdk:"), "must not have preload_from_hub"),
        (replaced("requirements.txt", "gradio==6.31.0", "gradio"), "must pin gradio"),
        (replaced("requirements.txt", "tensorflow==2.21.0", "tensorflow>=2"), "must pin tensorflow"),
        (lambda root: (root / "app.py").unlink(), "app.py is missing"),
        (lambda root: (root / "camkit/bundled/LICENSE").unlink(), "net.keras has no licence file"),
        (lambda root: write(root / "examples/stray.png", b"\x89PNG\r\n"), "stray.png has no entry"),
        (lambda root: write(root / "camkit/secret.bin", b"\xff\xfe\x00"), "neither text nor one of"),
        (lambda root: write(root / "examples/huge.txt", b"a" * (LARGE + 1)), "a text file may have 10,000,000"),
    ],
)
def test_what_the_hub_would_refuse_is_not_staged(project, tmp_path, spoil, sentence):
    spoil(project)
    with pytest.raises(space_files.DeployError, match=sentence):
        space_files.stage(project, tmp_path / "staged", revision=REVISION, hardware="a10g-small")
        space_files.pin_weights(tmp_path / "staged", f"someone/vgg16 {WEIGHTS_FILE} {'c' * 40}")


def test_stage_lists_what_it_wrote(project, tmp_path):
    folder = tmp_path / "staged"
    assert space_files.stage(project, folder, revision=REVISION, hardware="cpu-basic") == STAGED
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == STAGED


def test_a_space_that_is_too_large_is_not_staged(project, tmp_path, monkeypatch):
    monkeypatch.setattr(space_files, "MAX_TOTAL", LARGE)
    with pytest.raises(space_files.DeployError, match="bytes together; a Space may hold 10,000,000"):
        space_files.stage(project, tmp_path / "staged", revision=REVISION, hardware="cpu-basic")


@pytest.fixture
def committed(project):
    git(project, "init", "--quiet")
    write(project / ".gitignore", "downloaded\n")
    git(project, "add", ".")
    git(project, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "-m", "all")
    return project


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", root, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_is_the_commit(committed):
    assert space_files.commit_of(committed, clean=True) == git(committed, "rev-parse", "HEAD")


def test_what_is_not_committed_is_not_deployed_under_a_commit(committed):
    write(committed / "tests/test_new.py", "not for the Space, so no matter")
    commit = space_files.commit_of(committed, clean=True)
    write(committed / "camkit/new.py", "")
    assert space_files.commit_of(committed, clean=False) == commit
    with pytest.raises(space_files.DeployError, match=r"Not committed: camkit/new\.py"):
        space_files.commit_of(committed, clean=True)


def test_without_git_the_revision_must_be_named(tmp_path):
    with pytest.raises(space_files.DeployError, match="--revision"):
        space_files.commit_of(tmp_path, clean=True)
