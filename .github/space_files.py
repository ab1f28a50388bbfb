"""The content of a Space: the files of an allow-list, in a folder, with the revision and the Space's own settings.

Asks no Hub and needs no token. Refuses what the Hub would accept and then not start; what the Hub itself refuses is
left to the Hub.
"""

import re
import shutil
import subprocess
from pathlib import Path

from huggingface_hub import SpaceHardware, metadata_load, metadata_save

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "AGENTS.md",
    "CHANGELOG.md",
    "LICENSE",
    ".github/CONTRIBUTING.md",
    ".github/docs",
    ".github/pictures",
)
ALLOWED = ("app.py", "camkit", "examples", "requirements.txt", "pyproject.toml", *DOCUMENTS)
REVISION_FILE = "REVISION"  # the app reads it, and /info reports it

CPU_HARDWARE = (SpaceHardware.CPU_BASIC.value, SpaceHardware.CPU_UPGRADE.value)
# ZeroGPU runs PyTorch only.
HARDWARE = tuple(flavour.value for flavour in SpaceHardware if flavour is not SpaceHardware.ZERO_A10G)


class DeployError(Exception):
    """One sentence for the person who deploys."""


def require(condition: object, refusal: str) -> None:
    if not condition:
        raise DeployError(refusal)


def stage(source: Path, destination: Path, *, revision: str, hardware: str, weights: str | None = None) -> list[str]:
    """Copy the allow-list into an empty folder as the Space gets it; return the relative paths, sorted.

    Args:
        revision: what the app will report.
        hardware: a GPU flavour gets TensorFlow with its CUDA libraries, which the plain wheel does not find on a Space.
        weights: "owner/name FILE COMMIT" of a file that the build puts into the image, so that a start downloads none.

    Raises:
        DeployError: the card and requirements.txt name different versions of Gradio, or a version is not pinned.
    """
    for name in ALLOWED:
        require((source / name).exists(), f"{name} is missing: a Space needs {', '.join(ALLOWED)}.")
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            ignore = shutil.ignore_patterns(".*", "__pycache__", "*.pyc")
            shutil.copytree(source / name, destination / name, ignore=ignore)
        else:
            shutil.copyfile(source / name, destination / name)
    (destination / REVISION_FILE).write_text(revision + "\n", encoding="utf-8")
    requirements = (destination / "requirements.txt").read_text(encoding="utf-8")
    card = metadata_load(destination / "README.md") or {}
    pinned, named = pinned_version(requirements, "gradio"), card.get("sdk_version")
    require(named == pinned, f"README.md's sdk_version is {named}, but requirements.txt pins gradio {pinned}.")
    pinned_version(requirements, "tensorflow")
    if hardware not in CPU_HARDWARE:
        with_cuda = re.sub("^tensorflow==", "tensorflow[and-cuda]==", requirements, flags=re.MULTILINE)
        (destination / "requirements.txt").write_text(with_cuda, encoding="utf-8")
    if weights:
        metadata_save(destination / "README.md", card | {"preload_from_hub": [weights]})
    return sorted(path.relative_to(destination).as_posix() for path in destination.rglob("*") if path.is_file())


def pinned_version(requirements: str, package: str) -> str:
    match = re.search(rf"^{re.escape(package)}(?:\[[^\]]*\])?==([^\s;#]+)", requirements, flags=re.MULTILINE)
    if match is None:
        raise DeployError(f"requirements.txt must pin {package} with ==.")
    return match[1]


def suggested_hardware(root: Path) -> str:
    """Return the flavour that README.md's front matter suggests, else the free one."""
    return (metadata_load(root / "README.md") or {}).get("suggested_hardware") or SpaceHardware.CPU_BASIC.value


def commit_of(root: Path, *, clean: bool) -> str:
    """Return the commit of the work tree.

    Raises:
        DeployError: there is none, or `clean` is asked for and a file that is sent differs from that commit's.
    """

    def git(*arguments: str) -> str:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
        require(answer.returncode == 0, "This is not a git commit: give the revision with --revision.")
        return answer.stdout

    changed = git("status", "--porcelain", "--", *ALLOWED).splitlines() if clean else []
    names = ", ".join(line[3:] for line in changed[:5])
    require(not changed, f"Not committed: {names}; commit first, or name the revision with --revision.")
    return git("rev-parse", "HEAD").strip()
