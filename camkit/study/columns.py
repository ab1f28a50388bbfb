"""The numbers in a measurement's rows: their headings, formats and directions, METRICS among them."""

from __future__ import annotations

from dataclasses import dataclass

from ..evidence.metrics import METRICS

GAIN = "insertion_minus_deletion"  # the metric that compares a map with the controls


@dataclass(frozen=True)
class Column:
    """A number in the rows of a measurement: the heading of its mean over pictures, its str.format pattern, and which
    end is better. `share`: it is 0 or 1 on a picture."""

    key: str
    name: str
    format: str
    better: str = ""
    share: bool = False

    @property
    def part(self) -> bool:
        """True for what is a percentage, and so lies in [0, 1]."""
        return self.format.endswith("%}")


def metric_columns(probabilities: bool = True) -> dict[str, Column]:
    """Return the columns of the measurement "metrics" by key: costs, METRICS, and what `take_metrics` adds; for a model
    without `probabilities` those that need none."""
    metrics = (
        Column(key, each.mean_name or each.name, "{:.0%}" if each.share else each.format, each.better, each.share)
        for key, each in METRICS.items()
        if probabilities or each.of_the_map
    )
    columns = (
        Column("seconds", "Seconds", "{:.2f}", "lower"),
        Column("forward_passes", "Forward passes", "{:.0f}", "lower"),
        Column("backward_passes", "Backward passes", "{:.0f}", "lower"),
        *metrics,
        Column("half_area", "Area above half maximum", "{:.0%}"),
        Column("energy_inside", "Energy inside the box", "{:.0%}", "higher"),
        *([Column("beats_controls", "Beats every control", "{:.0%}", "higher", share=True)] if probabilities else []),
    )
    return {column.key: column for column in columns}
