"""The claims about the methods, beside what was measured: the documents' comparison and the published figures.

The claims are those of the tutorial that this project grew out of, printed as they stand there, right or wrong; under
each that can be measured stand the lines that measure it. Owns the markers of that table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..evidence.settings import NOISE_SIGMAS, TUNING
from ..study.columns import Column, metric_columns
from .intervals import cell, interval, mean
from .results import Results, cores, name_of, over_pictures
from .tables import NOTHING, Table

BEGIN, END = "<!-- comparison:begin -->", "<!-- comparison:end -->"

# In the order of the tutorial's columns.
_CLAIMED = ("gradcam", "gradcam_plus_plus", "scorecam", "faster_scorecam")
LETTERS = dict(zip("abcd", _CLAIMED, strict=True))  # of the columns
_CLAIMS = {
    "Algorithm": ("gradient-based", "gradient-based", "gradient-free", "gradient-free"),
    "Explanation": (
        "highlights important regions with gradients",
        "highlights important regions with gradients",
        "highlights important regions without gradients",
        "highlights important regions without gradients",
    ),
    "Interpretability": ("interpretable heatmaps",) * 4,
    "Model layer": ("typically the last convolution", "typically the last convolution", "any layer", "any layer"),
    "Tuning": ("requires tuning", "requires tuning", "minimal", "minimal"),
    "Performance": ("may be computationally expensive", "may be computationally expensive", "efficient", "efficient"),
    "Pros": (
        "widely used, easy, good interpretability",
        "improves localization, better heatmaps for some models",
        "no gradient computation, less sensitive to noise",
        "no gradient computation, less sensitive to noise",
    ),
    "Cons": (
        "can suffer from noise",
        "complexity may lead to overfitting",
        "less detailed heatmaps",
        "less detailed heatmaps",
    ),
}


@dataclass(frozen=True)
class _Line:
    """One measured line: a column of a measurement, where other columns are as given; the table's words for it."""

    label: str
    measurement: str
    name: str
    format: str
    where: Mapping[str, object] = field(default_factory=dict)
    share: bool = False

    def cells(self, results: Results) -> Iterator[str]:
        """Yield mean and interval of each method, and the letters of the columns that it is clearly higher than."""
        table = results.table(self.measurement, self.name, **self.where)
        column = Column(self.name, self.label, self.format, share=self.share)
        for key in _CLAIMED:
            if key not in table:
                yield f"**{NOTHING}**"
                continue
            below = []
            for letter, other in LETTERS.items():
                difference = interval((table[key] - table[other]).dropna()) if other in table else None
                below += [letter] if difference and difference.clear and difference.mean > 0 else []
            mark = f" > {' '.join(below)}" if below else ""
            yield f"**{cell(over_pictures(column, table[key].dropna()), self.format)}**{mark}"


@dataclass(frozen=True)
class _Single:
    """One measured line without comparison between the methods: `values` gives a method's figures, one a picture."""

    label: str
    format: str
    values: Callable[[Results, str], list[float] | str]

    def cells(self, results: Results) -> Iterator[str]:
        for key in _CLAIMED:
            values = self.values(results, key)
            yield f"**{values if isinstance(values, str) else cell(interval(values), self.format)}**"


def _metric(label: str, name: str) -> _Line:
    column = metric_columns()[name]
    return _Line(label, "metrics", name, column.format, share=column.share)


def _tuned(count: int) -> _Single:
    def values(results: Results, key: str) -> list[float] | str:
        return results.moves(count) if key == "faster_scorecam" else "no such parameter"

    return _Single(f"map moves at max_n {count} from {TUNING[1]}", "{:.2f}", values)


def _noisy(sigma: int) -> _Line:
    label = f"correlation with itself under noise of sigma {sigma}"
    return _Line(label, "noise", "correlation", "{:.2f}", {"sigma": sigma})


def _earlier(results: Results, label: str, name: str, pattern: str) -> list[_Line]:
    """Return a line for each of the two layers before the default one; a network that has fewer leaves cells empty."""
    layers = (*results.layers, "", "")[:2]
    steps = ("one resolution earlier", "two resolutions earlier")
    return [
        _Line(label.format(step), "layers", name, pattern, {"layer": layer}, share=name == "beats_controls")
        for step, layer in zip(steps, layers, strict=True)
    ]


def _measured(results: Results) -> dict[str, list[_Line | _Single]]:
    """Return by claim the lines that measure it; a claim that has none cannot be measured."""
    return {
        "Algorithm": [_metric("backward passes", "backward_passes")],
        "Explanation": [
            _metric("insertion - deletion (higher is better)", "insertion_minus_deletion"),
            _Single("the same less that of the best control", "{:+.3f}", Results.over_control),
        ],
        "Interpretability": [
            _Line(
                "depends on what the network learned: rank correlation with itself after randomising all layers",
                "sanity",
                "correlation",
                "{:+.2f}",
                {"last": True},
            )
        ],
        "Model layer": [
            _metric("beats every control at the default layer", "beats_controls"),
            *_earlier(results, "beats every control {}", "beats_controls", "{:.0%}"),
        ],
        "Tuning": [
            *_earlier(results, "map moves {} (1 - correlation)", "moved", "{:.2f}"),
            *(_tuned(count) for count in TUNING if count != TUNING[1]),
        ],
        "Performance": [_metric("seconds a picture", "seconds"), _metric("forward passes", "forward_passes")],
        "Pros": [
            _Line("energy inside hand-drawn boxes", "boxes", "energy_inside", "{:.0%}"),
            *(_noisy(sigma) for sigma in NOISE_SIGMAS),
        ],
        "Cons": [
            _metric("complexity: mean of the map", "complexity"),
            _metric("share of the picture above half maximum", "half_area"),
        ],
    }


def comparison(results: Results) -> Table:
    """Return the claims, and under each what was measured of it."""
    rows: list[tuple[str, ...]] = []
    measured = _measured(results)
    for claim, cells in _CLAIMS.items():
        rows.append((f"**{claim}**", *cells))
        lines = [(f"measured: {line.label}", *line.cells(results)) for line in measured.get(claim, ())]
        left_out = not results.outputs.are_probabilities  # what needs a probability has no figure for any method
        rows += [line for line in lines if not left_out or set(line[1:]) != {f"**{NOTHING}**"}]
    return Table(
        "The claims, and what was measured",
        ("Claim", *(f"{name_of(key)} ({letter})" for letter, key in LETTERS.items())),
        tuple(rows),
        _conditions(results),
    )


def _conditions(results: Results) -> str:
    chances = results.figures("boxes", results.settings.methods[0], "chance")
    return (
        f"Measured with {results.model_name} on {results.pictures} pictures and {len(chances)} hand-drawn boxes (an "
        f"even map has {mean(chances, '{:.0%}')} of its energy inside), {cores()}. Means over "
        'pictures or boxes, in brackets the 95 % interval of the mean. "> a" marks a clear difference: higher than in '
        "column a on the same pictures, where the 95 % interval of the mean difference leaves out zero; nothing "
        "corrects for the number of comparisons. Best control: the one with the highest mean. Layers: "
        f"{', '.join((results.target_layer, *results.layers))}. The claims are those of the tutorial this project grew "
        "out of, as printed there."
    )


def comparison_table(results: Results) -> str:
    """Return the comparison as Markdown, as it stands in .github/docs/comparison.md between BEGIN and END."""
    return comparison(results).markdown()


def around_table(readme: Path) -> tuple[str, str]:
    """Return what stands before and after the table's markers in a Markdown file; InputError unless both are there
    once, in order."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{readme.name} has no place for the table: it must hold {BEGIN} and then {END}, once each.")
    before, rest = text.split(BEGIN)
    return before, rest.split(END)[1]


def put_table(readme: Path, table: str) -> None:
    """Write the table between the markers of a Markdown file; InputError as above."""
    before, after = around_table(readme)
    readme.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


# --- published figures ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """A mean over ImageNet validation pictures that a paper prints for VGG16, in the units of our rows."""

    source: str
    metric: str
    values: Mapping[str, float]

    def show(self, key: str) -> str:
        """Return the figure of a method, formatted like ours."""
        return metric_columns()[self.metric].format.format(self.values[key]) if key in self.values else NOTHING


def _published(source: str, metric: str, *values: float) -> Published:
    return Published(source, metric, dict(zip(("gradcam", "gradcam_plus_plus", "scorecam"), values, strict=False)))


_PLUS_PLUS = "Grad-CAM++ (Chattopadhay et al. 2018) table 1"
_MUTED = "Score-CAM (Wang et al. 2020) table 1, 2,000 pictures, half of the pixels muted"
_CURVES = "Score-CAM (Wang et al. 2020) table 3, 2,000 pictures"
PUBLISHED = (
    _published(_PLUS_PLUS, "confidence_drop", 0.4656, 0.3684),
    _published(_PLUS_PLUS, "increase", 0.1342, 0.1705),
    _published(_MUTED, "confidence_drop", 0.478, 0.455, 0.315),
    _published(_MUTED, "increase", 0.196, 0.189, 0.306),
    _published(_CURVES, "insertion", 0.357, 0.346, 0.386),
    _published(_CURVES, "deletion", 0.089, 0.082, 0.077),
    _published("Score-CAM (Wang et al. 2020) table 2, 500 pictures", "energy_inside", 0.481, 0.493, 0.637),
)
_NOT_ONE_EXPERIMENT = (
    "Not one experiment: other pictures, and the papers mask differently from here (L * x after preprocessing) and "
    "from each other, so their Average Drops are not to be pooled. Nothing is published for Faster Score-CAM."
)


def published_table(results: Results) -> Table:
    """Return the published figures of VGG16 beside ours; for another model, a sentence that says so."""
    title = "Beside the published figures for VGG16"
    if results.model != "vgg16":
        return Table(
            title,
            (),
            (),
            f"Not compared: the published figures are VGG16's, this run used {results.model_name}. "
            "Run the same command with --model vgg16 and its ImageNet weights.",
        )
    summary = results.summary
    rows: list[tuple[str, ...]] = []
    for entry in PUBLISHED:
        column = metric_columns()[entry.metric]
        rows.append((column.name, entry.source, *results.each(entry.show)))
        here = (cell(summary[key][column.key], column.format) for key in results.settings.methods)
        rows.append((column.name, "here", *here))
    return Table(title, ("Figure", "Source", *results.names), tuple(rows), _NOT_ONE_EXPERIMENT)
