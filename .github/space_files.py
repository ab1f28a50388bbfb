"""What the Hub is sent: the Space's files by an allow-list, staged and checked, and VGG16's weights with their card.

Asks no Hub and needs no token. Refuses what would not start on a Space, and files whose licence is not told.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from huggingface_hub import SpaceHardware, metadata_load, metadata_save

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = ("app.py", "camkit", "examples", ".github/pictures", "README.md", "requirements.txt")
REVISION_FILE = "REVISION"  # the app reads it and /info reports it

REQUIRED_CARD_KEYS = ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file")
# https://huggingface.co/docs/hub/spaces-config-reference
CARD_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
MAX_SHORT_DESCRIPTION = 60  # characters; the Hub refuses a longer one
MAX_TEXT_FILE = 10_000_000  # bytes; the Hub keeps larger files outside git, and no source text is that large
MAX_TOTAL = 1_000_000_000  # bytes; a Space's repository may not grow past 1 GB
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
MODELS = (".keras",)

CPU_HARDWARE = (SpaceHardware.CPU_BASIC, SpaceHardware.CPU_UPGRADE)
HARDWARE = tuple(flavour.value for flavour in SpaceHardware if flavour is not SpaceHardware.ZERO_A10G)


class DeployError(Exception):
    """One sentence for the person who deploys."""


def require(condition: object, refusal: str) -> None:
    if not condition:
        raise DeployError(refusal)


def stage(source: Path, destination: Path, *, revision: str, hardware: str) -> list[str]:
    """Copies the allow-list into `destination` as the Space gets it; returns the relative paths, sorted.

    Raises DeployError when something of it would be refused by the Hub or would not start there.
    """
    check_hardware(hardware)
    for name in ALLOWED:
        require((source / name).exists(), f"{name} is missing: the Space needs {', '.join(ALLOWED)}.")
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            ignore = shutil.ignore_patterns(".*", "__pycache__", "*.pyc")
            shutil.copytree(source / name, destination / name, ignore=ignore)
        else:
            shutil.copyfile(source / name, destination / name)
    (destination / REVISION_FILE).write_text(revision + "\n", encoding="utf-8")
    files = staged_files(destination)
    total = sum((destination / name).stat().st_size for name in files)
    require(total <= MAX_TOTAL, f"The files have {total:,} bytes together; a Space may hold {MAX_TOTAL:,}.")
    for name in files:
        check_file(destination / name, name)
    requirements = (destination / "requirements.txt").read_text(encoding="utf-8")
    check_card(read_card(destination), requirements, files)
    if hardware not in CPU_HARDWARE:  # the plain wheel finds no CUDA on a Space: this extra brings it
        pinned_version(requirements, "tensorflow")
        with_cuda = re.sub("^tensorflow==", "tensorflow[and-cuda]==", requirements, flags=re.MULTILINE)
        (destination / "requirements.txt").write_text(with_cuda, encoding="utf-8")
    return files


def staged_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def check_hardware(hardware: str) -> None:
    require(
        hardware != SpaceHardware.ZERO_A10G,
        "zero-a10g runs PyTorch only; TensorFlow needs a flavour such as t4-small.",
    )
    require(hardware in HARDWARE, f"{hardware} is not a Space's hardware: choose one of {', '.join(HARDWARE)}.")


def pinned_version(requirements: str, package: str) -> str:
    match = re.search(rf"^{re.escape(package)}(?:\[[^\]]*\])?==([^\s;#]+)", requirements, flags=re.MULTILINE)
    if match is None:
        raise DeployError(f"requirements.txt must pin {package} with ==.")
    return match[1]


def read_card(folder: Path) -> dict:
    """The front matter of README.md, which is the Space's card."""
    try:
        card = metadata_load(folder / "README.md")
    except FileNotFoundError as error:
        raise DeployError("README.md is missing: its front matter is the Space's card.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DeployError(f"README.md's front matter is not YAML: {' '.join(str(error).split())}.") from error
    if not card:
        raise DeployError("README.md must open with YAML front matter between two lines of ---.")
    return card


def check_card(card: dict, requirements: str, files: list[str]) -> None:
    """Refuses what the Hub would refuse, so that a pull request's dry run finds it, and what would not start."""
    missing = [key for key in REQUIRED_CARD_KEYS if not card.get(key)]
    require(not missing, f"README.md's front matter lacks {', '.join(missing)}.")
    require(card["sdk"] == "gradio", f"README.md's sdk is {card['sdk']}; this is a gradio app.")
    pinned, named = pinned_version(requirements, "gradio"), str(card["sdk_version"])
    require(named == pinned, f"README.md's sdk_version is {named}, but requirements.txt pins gradio {pinned}.")
    quoted = isinstance(card["python_version"], str)
    require(quoted, "README.md's python_version must be in quotes, or YAML reads it as a number.")
    app_file = card["app_file"]
    require(app_file in files, f"README.md's app_file {app_file} is not among the files that are sent.")
    for colour in (card["colorFrom"], card["colorTo"]):
        require(colour in CARD_COLOURS, f"README.md's colour {colour} is not one of {', '.join(CARD_COLOURS)}.")
    length = len(card.get("short_description") or "")
    too_long = f"README.md's short_description has {length} characters; at most {MAX_SHORT_DESCRIPTION}."
    require(length <= MAX_SHORT_DESCRIPTION, too_long)
    check_hardware(card.get("suggested_hardware") or SpaceHardware.CPU_BASIC)


def check_file(path: Path, name: str) -> None:
    """Only text and binaries whose licence is told beside them: pictures in SOURCES.md, models with a licence file."""
    if path.suffix.lower() in PICTURES:
        sources = path.with_name("SOURCES.md")
        told = sources.is_file() and path.name in sources.read_text(encoding="utf-8")
        require(told, f"{name} has no entry (origin, author, licence) in the SOURCES.md beside it.")
    elif path.suffix.lower() in MODELS:
        licensed = any("licen" in other.name.lower() for other in path.parent.iterdir())
        require(licensed, f"{name} has no licence file beside it.")
    else:
        allowed, size = ", ".join(PICTURES + MODELS), path.stat().st_size
        require(is_text(path), f"{name} is neither text nor one of the binary files that are sent ({allowed}).")
        require(size <= MAX_TEXT_FILE, f"{name} has {size:,} bytes; a text file may have {MAX_TEXT_FILE:,}.")


def is_text(path: Path) -> bool:
    try:
        return "\0" not in path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False


def pin_weights(folder: Path, weights: str) -> None:
    """Has the build put the weights, "repo file commit", into the image, so that a cold start downloads nothing."""
    card = read_card(folder)
    theirs = "README.md must not have preload_from_hub: the deployment writes it, with the commit."
    require("preload_from_hub" not in card, theirs)
    metadata_save(folder / "README.md", card | {"preload_from_hub": [weights]})


def commit_of(root: Path, *, clean: bool) -> str:
    """The commit of the work tree; if `clean`, refused when what is sent differs from what that commit holds."""

    def git(*arguments: str) -> str:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
        require(answer.returncode == 0, "This is not a git commit: give the revision with --revision.")
        return answer.stdout

    changed = git("status", "--porcelain", "--", *ALLOWED).splitlines() if clean else []
    names = ", ".join(line[3:] for line in changed[:5])
    require(not changed, f"Not committed: {names}; commit first, or name the revision with --revision.")
    return git("rev-parse", "HEAD").strip()


def weights_file():
    """camkit's own description of VGG16's weights; imported late because a deployment without them needs none."""
    sys.path.insert(0, str(ROOT))
    from camkit.models.weights import VGG16_WEIGHTS

    return VGG16_WEIGHTS


def obtain_weights(wanted) -> Path:
    """The weights on this machine, downloaded if they are not on it."""
    from camkit.models.weights import WeightsError

    try:
        path = Path(wanted.obtain())
    except WeightsError as error:
        raise DeployError(str(error)) from error
    check_md5(path, wanted.md5, "it is not uploaded")
    return path


def check_md5(path: Path, expected: str, consequence: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    require(found == expected, f"{path.name} has the md5 {found} instead of {expected}; {consequence}.")


def weights_card(wanted) -> str:
    return f"""---
license: cc-by-4.0
library_name: keras
pipeline_tag: image-classification
datasets:
  - ILSVRC/imagenet-1k
tags:
  - vgg16
  - keras-applications
---
# VGG16, ImageNet weights for Keras

`{wanted.filename}` is the file that `keras.applications.VGG16(weights="imagenet")` downloads, unchanged
({wanted.size:,} bytes, md5 `{wanted.md5}`). It is kept here so that a Space can have it in its image.

- **Authors:** Karen Simonyan and Andrew Zisserman, Visual Geometry Group, University of Oxford:
  *Very Deep Convolutional Networks for Large-Scale Image Recognition*, 2014, https://arxiv.org/abs/1409.1556
- **Origin:** https://www.robots.ox.ac.uk/~vgg/research/very_deep/, converted from Caffe to Keras's layout by the
  Keras Applications project.
- **Licence:** Creative Commons Attribution 4.0 (https://creativecommons.org/licenses/by/4.0/).
"""
