"""A study's tables and files: what they say, what they escape, and how large they are."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image
from plotly.offline import get_plotlyjs
from studies import FAST, PICTURES, finished, rows_of
from test_archive import zipped

import camkit
from camkit.evidence.metrics import CONTROLS, METRICS
from camkit.methods import METHODS
from camkit.report.claims import comparison
from camkit.report.report import html_report, markdown_report, summary_table, tables, write_reports
from camkit.report.results import Results
from camkit.report.tables import Table, escaped
from camkit.study.archive import unzip_pictures


def test_names_from_a_zip_are_no_markup_and_no_formula_in_any_file(tiny, tmp_path):
    name, formula = "![p](//host/pixel.gif)<h1>x`.png", "=HYPERLINK(1)|*a*.png"
    found = unzip_pictures(
        zipped(tmp_path / "p.zip", {name: PICTURES["0.png"], formula: PICTURES["1.png"], "@x.png": b"no"})
    )
    results = Results.of(tiny, FAST, finished(tiny, found.pictures, FAST))
    rows, markdown, page = write_reports(tmp_path, results)
    with rows.open(newline="", encoding="utf-8") as file:
        assert {row["picture"] for row in csv.DictReader(file)} == {name, "'" + formula}
    for text in (markdown.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")):
        assert "<h1>x" not in text.replace("\\<", "")
        assert "![p](" not in text or "&lt;h1&gt;" in text
    assert escaped(name) == "![p]\\(//host/pixel.gif)\\<h1>x\\`.png"
    assert escaped(formula) == "=HYPERLINK(1)\\|\\*a\\*.png"
    assert escaped("a\\](b) **2**") == "a\\\\]\\(b) **2**"


def test_names_of_the_zip_are_cut_where_they_are_shown_and_have_a_limit(tiny, tmp_path):
    long = "y" * 200 + ".png"
    found = unzip_pictures(zipped(tmp_path / "p.zip", {long: PICTURES["0.png"], "z" * 200 + ".png": b"no"}))
    markdown = markdown_report(Results.of(tiny, FAST, finished(tiny, found.pictures, FAST)))
    assert "z" * 77 + "..." in markdown and "z" * 78 not in markdown
    zipped(tmp_path / "p.zip", {"y" * 256 + ".png": b"x"})
    with pytest.raises(camkit.InputError, match=r"^The zip holds a name of 260 characters: at most 255 are allowed\.$"):
        unzip_pictures(tmp_path / "p.zip")


def test_the_sanity_check_s_row_and_table_read_the_study(everything):
    """Each method's figures are those of the stream on that picture; the full Score-CAM stands at the last stage."""
    name, (rows, *_) = "sanity", [value["rows"] for value in everything.values["sanity"]]
    last = {row["key"]: row["correlation"] for row in rows if row["last"]}
    assert {*camkit.DEFAULT_METHODS, "gaussian", "random"} == set(last)
    stages = {key: sum(row["key"] == key for row in rows) for key in last}
    assert stages == {key: 1 if key == "scorecam" else 3 for key in last}
    found = everything.figures(name, "gradcam", "correlation", last=True)
    line = next(line for line in comparison(everything).rows if "randomising all layers" in line[0])
    assert found[0] == last["gradcam"] and line[1].startswith(f"**{sum(found) / 3:+.2f} [")
    assert re.search("Means over 3 pictures. .*(what the network|anything) learned", markdown_report(everything))


def test_tables_are_escaped_in_both_forms():
    table = Table("A & B", ("h",), (("<b>a|b\nc</b>",),), "n < m")
    assert "| \\<b>a\\|b c\\</b> |" in table.markdown() and "n < m" in table.markdown()
    page = table.html()
    assert "&lt;b&gt;a|b\nc&lt;/b&gt;" in page and "A &amp; B" in page and "n &lt; m" in page
    assert Table("t", (), (), "only words").markdown() == "only words\n" and "<table" not in Table("t", (), ()).html()


def test_the_summary_has_figures_as_rows_and_maps_as_columns(everything):
    piece = summary_table(everything).html()
    assert piece.count('scope="col"') == 1 + len(camkit.DEFAULT_METHODS) + len(CONTROLS)
    assert piece.count('scope="row"') == len(summary_table(everything).rows)
    assert f"Over {everything.pictures} pictures " in piece


def test_the_reports_say_how_it_was_measured_and_what_was_not(everything):
    text = markdown_report(everything)
    assert all(said in text for said in (
        "3 pictures, Tiny (inputs -1 to 1, squeezed to 40 x 48 pixels (bicubic)), target layer late",
        "Student's t", "Wilson's", "the model's zero (mid grey)",
        "Coherency, and so ADCC, was measured for every method",
        "Sampled: the sweep, run to its end on ",
        "3 measured, 1 skipped: no\\|picture\\<b>.png (The picture cannot be read",
        "Not compared: the published figures are VGG16's",
    ))  # fmt: skip
    for table in tables(everything):
        assert f"## {table.title}" in text and all(len(line) == len(table.header) for line in table.rows)


def test_the_windows_of_more_than_8_bits_are_said(tiny):
    deep = io.BytesIO()
    Image.fromarray(np.linspace(7, 4080, 3000).astype(np.uint16).reshape(50, 60)).save(deep, "PNG")
    pictures = PICTURES | {f"deep {number}.png": deep.getvalue() for number in range(6)}
    text = markdown_report(Results.of(tiny, FAST, finished(tiny, pictures, FAST)))
    assert "Grey pictures of more than 8 bits: 6, each by its file's own window" in text
    assert text.count(".png shown from 7 to 4080 of 65535") == 5 and "; and 1 more." in text


def test_the_page_needs_its_data_and_nothing_from_a_network(everything):
    page = html_report(everything)
    assert page.count("<script src=") == 1 and '<script src="report_files/data.js">' in page
    page = page.replace(get_plotlyjs(), "")
    assert not re.search(r'(src|href)="(?!report_files/)', page) and "**" not in page
    (figure,) = re.findall(r"Plotly\.newPlot\(.*", page)  # the sanity check's
    assert all(f'"name":"{METHODS[key].name}"' in figure for key in camkit.DEFAULT_METHODS)


def test_files_are_written_and_the_csv_has_a_row_a_picture_and_method(everything, tmp_path):
    paths = write_reports(tmp_path, everything)
    assert [path.name for path in paths] == ["results.csv", "report.md", "report.html"]
    rows = list(csv.DictReader(paths[0].read_text(encoding="utf-8").splitlines()))
    assert (
        len(rows) == 3 * (len(camkit.DEFAULT_METHODS) + len(CONTROLS))
        and float(rows[0]["insertion"]) == rows_of(everything)[0]["insertion"]
    )
    assert rows[-1]["seconds"] == "" and set(METRICS) < set(rows[0])


def test_nothing_but_unreadable_pictures_is_an_error(tiny, tmp_path):
    results_ = Results.of(tiny, FAST, finished(tiny, {"a.png": b"x"}, FAST))
    with pytest.raises(ValueError, match=r"^No picture could be read\. 0 measured, 1 skipped: a\.png \(The pi"):
        write_reports(tmp_path, results_)
