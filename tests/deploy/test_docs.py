"""What README.md and the pages in .github/docs say, as far as a program can check it."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import ROOT
from space_files import ALLOWED, stage

import camkit
from camkit.web.server.limits import Limits

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("staged")
    stage(ROOT, folder, revision="1", hardware="cpu-basic")
    return folder


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(ALLOWED)])
def test_links_lead_to_files_that_a_space_has_too(staged, name):
    text = re.sub(r"```.*?```", "", text_of(name), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text)
    for link in filter(None, (part for pair in links for part in pair)):
        if not re.match(r"https?://|#", link):
            assert ((staged / name).parent / link.partition("#")[0]).exists(), link


def test_the_pages_are_all_listed_in_the_readme():
    for path in (ROOT / ".github/docs").glob("*.md"):
        assert f"(.github/docs/{path.name})" in text_of("README.md"), path.name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_files_that_are_named_exist(name):
    """In commands and in code font: the paths of this repository, but what the commands themselves make or take."""
    named = re.findall(
        r"[`\s]((?:camkit|tests|examples|benchmarks|\.github|\.ci)/[\w./-]*\w|requirements[\w-]*\.txt)", text_of(name)
    )
    for each in named:
        assert (ROOT / each).exists() or (ROOT / ".github" / each).exists(), each


def test_the_short_comparison_has_the_figures_of_the_whole_one():
    short = text_of("README.md").partition("## Which method?")[2].partition("\n## ")[0]
    whole = {row[0].removeprefix("measured: "): row[1:] for row in rows(text_of(".github/docs/comparison.md"))}
    (_, *names), _, *lines = rows(short)
    assert names == [
        camkit.METHODS[key].name for key in ("gradcam", "gradcam_plus_plus", "scorecam", "faster_scorecam")
    ]
    assert len(lines) >= 3
    for label, *cells in lines:
        assert cells == [re.match(r"\*\*(\S+?)(?: \[.*)?\*\*", cell)[1] for cell in whole[label]], label


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("| ")]


def test_the_page_on_hosting_names_every_limit_and_its_default():
    text = text_of(".github/docs/hosting.md")
    for limit in fields(Limits):
        line = next((line for line in text.splitlines() if f"`{limit.metadata['variable']}`" in line), "")
        assert re.search(rf"\b{limit.default}\b", line.split("|")[2]), limit.metadata["variable"]


def test_the_changelog_has_this_version():
    assert f"\n## {camkit.__version__}" in text_of("CHANGELOG.md")
