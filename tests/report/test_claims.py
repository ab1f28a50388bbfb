"""The comparison of claims and measurements, its place in a Markdown file, and the published figures."""

import re
from dataclasses import replace

import pytest
from conftest import ROOT
from studies import FAST, PICTURES, finished, rows_of
from test_results import results_of, row

import camkit
from camkit.report.claims import BEGIN, END, PUBLISHED, comparison, comparison_table, published_table, put_table
from camkit.report.intervals import interval
from camkit.report.results import Results
from camkit.study.columns import metric_columns


def cells(line: str) -> list[str]:
    return [each.strip() for each in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def structure(markdown: str) -> tuple:
    """Header, first column, and number of columns in each row of the only table in a text; claims whole."""
    lines = [cells(line) for line in markdown.splitlines() if line.startswith("|")]
    header, rule, *rows = lines
    claims = [line if line[0].startswith("**") else line[0] for line in rows]
    return header, len(rule), claims, [len(line) for line in rows]


def test_the_comparison_names_every_claim_and_measures_under_it(everything):
    header, width, claims, widths = structure(comparison_table(everything))
    assert header == ["Claim", "Grad-CAM (a)", "Grad-CAM++ (b)", "Score-CAM (c)", "Faster Score-CAM (d)"]
    assert {width, *widths} == {5}
    names = ("Algorithm", "Explanation", "Interpretability", "Model layer", "Tuning", "Performance", "Pros", "Cons")
    assert [line[0] for line in claims if isinstance(line, list)] == [f"**{name}**" for name in names]
    measured = [line for line in claims if isinstance(line, str)]
    assert len(measured) == 20 and all(line.startswith("measured: ") for line in measured)


def test_the_comparison_holds_the_measured_means(everything):
    lines = {line[0]: line[1:] for line in map(cells, comparison_table(everything).splitlines()) if line}
    assert lines["measured: backward passes"] == ["**1** > c d", "**1** > c d", "**0**", "**0**"]
    found = interval([each["complexity"] for each in rows_of(everything) if each["key"] == "scorecam"])
    assert lines["measured: complexity: mean of the map"][2].split(" >")[0] == f"**{found.show('{:.3f}')}**"
    assert re.match(r"\*\*\d+% \[\d+%, \d+%\]\*\*", lines["measured: beats every control at the default layer"][0])
    assert lines["measured: map moves at max_n 5 from 10"][:3] == ["**no such parameter**"] * 3


def test_only_clear_differences_are_marked_in_the_comparison(tiny):
    """Grad-CAM is higher than Grad-CAM++ on each of three pictures by about 0.1, than Score-CAM by -1, 1 and 3."""
    worth = {"gradcam": (1.0, 2.0, 3.0), "gradcam_plus_plus": (0.9, 1.89, 2.91), "scorecam": (2.0, 1.0, 0.0)}
    rows = [
        row(name, key, insertion_minus_deletion=value)
        for key, values in worth.items()
        for name, value in zip("abc", values, strict=True)
    ]
    lines = {line[0]: line[1:] for line in comparison(results_of(tiny, rows)).rows}
    cells = lines["measured: insertion - deletion (higher is better)"]
    assert [each.rpartition("**")[2] for each in cells] == [" > b", "", "", ""]


def test_the_documents_hold_the_comparison_as_the_command_writes_it(everything):
    """The numbers are those of a long run; header, rows, columns and claims must be the command's."""
    text = (ROOT / ".github/docs/comparison.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1, "comparison.md lacks the markers of the table"
    shown = text.split(BEGIN)[1].split(END)[0]
    assert structure(shown) == structure(comparison_table(everything))
    assert not re.search(r"\*\*–", shown), "a figure was not measured"


def test_put_table_replaces_what_is_between_the_markers_and_nothing_else(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    put_table(readme, "| new |\n")
    put_table(readme, "| newer |\n")
    assert readme.read_text(encoding="utf-8") == f"before\n{BEGIN}\n| newer |\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_put_table_refuses_a_file_without_its_place(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(ValueError, match=r"^README\.md has no place for the table"):
        put_table(tmp_path / "README.md", "| x |")


def test_vgg16_stands_beside_the_published_figures(everything):
    table = published_table(replace(everything, model="vgg16"))
    printed = {(line[0], line[1]): line[2:] for line in table.rows}
    by_source = printed["Average Drop", "Grad-CAM++ (Chattopadhay et al. 2018) table 1"]
    assert dict(zip(everything.settings.methods, by_source, strict=True)) == {
        key: {"gradcam": "46.6%", "gradcam_plus_plus": "36.8%"}.get(key, "–")  # noqa: RUF001
        for key in camkit.DEFAULT_METHODS
    }
    assert len(table.rows) == 2 * len(PUBLISHED) and "mask differently" in table.note
    assert {entry.metric for entry in PUBLISHED} <= set(metric_columns())


def test_a_table_of_some_methods_leaves_the_others_empty(tiny):
    results_ = Results.of(
        tiny, FAST, finished(tiny, {"0.png": PICTURES["0.png"]}, FAST, measurements=("layers", "noise", "boxes"))
    )
    lines = {line[0]: line for line in comparison(results_).rows}
    assert lines["measured: seconds a picture"][2] == "**–**" != lines["measured: seconds a picture"][1]  # noqa: RUF001
    assert structure(comparison_table(results_))[3] == [5] * 28
