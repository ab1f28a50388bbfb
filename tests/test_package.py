"""The wheel: what git tracks of camkit/ and examples/, nothing else, with the dependencies and the command."""

import subprocess
import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import camkit


def tracked(*folders: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built out of a copy of the tracked files, so that nothing else can get into it."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in tracked():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(built),
    ]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.iterdir()
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_what_git_tracks_of_the_package_and_the_examples(wheel):
    held = [name for name in wheel.namelist() if ".dist-info/" not in name]
    wanted = tracked("camkit") + [f"camkit/{name}" for name in tracked("examples")]
    assert sorted(held) == sorted(wanted)
    for name in ("camkit/bundled/imagenet.json", "camkit/bundled/efficientnet_lite0.keras", "camkit/bundled/LICENSE"):
        assert wheel.read(name) == (ROOT / name).read_bytes()


def test_it_says_what_it_needs_and_brings_the_command(wheel):
    (folder,) = {Path(name).parts[0] for name in wheel.namelist() if ".dist-info/" in name}
    facts = BytesParser().parsebytes(wheel.read(f"{folder}/METADATA"))
    assert (facts["Name"], facts["Version"], facts["License-Expression"]) == ("camkit", camkit.__version__, "MIT")
    allowed = SpecifierSet(facts["Requires-Python"])
    assert [minor for minor in range(9, 16) if f"3.{minor}.0" in allowed] == [11, 12]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = {str(Requirement(line)) for line in lines if line and not line.startswith("#")}
    assert {str(Requirement(line)) for line in facts.get_all("Requires-Dist")} == named
    assert wheel.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "camkit = camkit.__main__:main" in wheel.read(f"{folder}/entry_points.txt").decode()
