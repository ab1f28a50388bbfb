"""What a study's measurements say: summaries and paired differences, worked out by hand."""

import pytest
from studies import SMALL

from camkit.report.results import Results
from camkit.study import study
from camkit.study.columns import metric_columns


def row(name, key, **values):
    return dict.fromkeys(metric_columns()) | {"picture": name, "key": key} | values


def results_of(tiny, rows) -> Results:
    by_picture: dict = {}
    for each in rows:
        by_picture.setdefault(each["picture"], []).append(each)
    values = {"metrics": [{"picture": name, "spent": 0.0, "rows": each} for name, each in by_picture.items()]}
    return Results.of(tiny, SMALL, study.StudyState(1, 1, values=values))


def test_summary_and_differences_by_hand(tiny):
    rows = [row("a", "gradcam", deletion=0.2, increase=1.0), row("b", "gradcam", deletion=0.4, increase=0.0),
            row("a", "scorecam", deletion=0.1), row("b", "scorecam", deletion=0.3), row("c", "scorecam", deletion=9.0),
            row("a", "random", deletion=0.5)]  # fmt: skip
    found = results_of(tiny, rows)
    means = found.summary
    assert list(means) == ["gradcam", "scorecam", "random"]
    assert means["gradcam"]["deletion"].mean == pytest.approx(0.3) and means["gradcam"]["increase"].mean == 0.5
    assert means["gradcam"]["insertion"] is None
    ((pair, by_column),) = found.differences.items()
    deletion = by_column["deletion"]  # c has no pair and does not count
    assert (deletion.count, deletion.mean) == (2, pytest.approx(0.1)) and deletion.clear
    assert pair == ("gradcam", "scorecam")
