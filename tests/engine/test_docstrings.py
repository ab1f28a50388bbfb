"""The examples in the docstrings of the library's contract run and give what they say."""

import doctest

import pytest
from conftest import ROOT

import camkit


@pytest.mark.parametrize(
    "name", ["load", "explain", "explain_stream", "overlay", "box_of", "draw_figure", "load_bundle"]
)
def test_the_example_of(name, monkeypatch):
    monkeypatch.chdir(ROOT)  # where the examples' pictures are
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(camkit, name), name, globs={})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
