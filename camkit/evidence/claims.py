"""What is claimed of the methods, and what was measured of it: the README's comparison and the published figures.

The claims are those of the tutorial that this project grew out of, printed as they stand there, right or wrong; under
each that can be measured stand the lines that measure it. Owns the README's markers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .results import COLUMNS, NAMES, NOISE, TUNING, Results, cell, mean
from .tables import NOTHING, Table

BEGIN, END = "<!-- comparison:begin -->", "<!-- comparison:end -->"

# In the order of the tutorial's columns.
_CLAIMED = ("gradcam", "gradcam_plus_plus", "scorecam", "faster_scorecam")
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


def _mean(name: str) -> Callable[[Results, str], str]:
    return lambda results, key: mean(results.figures("metrics", key, name), COLUMNS[name].format)


def _layers_used(results: Results, key: str) -> str:
    return " · ".join(results.beats(key, layer) for layer in (None, *results.layers))


def _layers_moved(results: Results, key: str) -> str:
    return " · ".join(mean(results.figures("layers", key, "moved", layer=layer), "{:.2f}") for layer in results.layers)


def _tuned(results: Results, key: str) -> str:
    if key != "faster_scorecam":
        return "no such parameter"
    return " · ".join(mean(results.moves(count), "{:.2f}") for count in TUNING if count != TUNING[1])


def _inside(results: Results, key: str) -> str:
    return mean(results.figures("boxes", key, "energy_inside"), "{:.0%}")


def _noisy(results: Results, key: str) -> str:
    return " · ".join(mean(results.figures("noise", key, "correlation", sigma=sigma), "{:.2f}") for sigma in NOISE)


def _unlearned(results: Results, key: str) -> str:
    return mean(results.figures("sanity", key, "correlation", last=True), "{:+.2f}")


# Under each claim the lines that measure it; a claim that has none cannot be measured.
_MEASURED: dict[str, dict[str, Callable[[Results, str], str]]] = {
    "Algorithm": {"backward passes": _mean("backward_passes")},
    "Explanation": {"insertion - deletion (higher is better)": _mean("insertion_minus_deletion")},
    "Interpretability": {
        "depends on what the network learned: rank correlation with itself after randomising all layers": _unlearned
    },
    "Model layer": {"beats every control at the default layer · two earlier ones": _layers_used},
    "Tuning": {
        "map moves at two earlier layers (1 - correlation)": _layers_moved,
        f"map moves at max_n {' · '.join(str(n) for n in TUNING if n != TUNING[1])} from {TUNING[1]}": _tuned,
    },
    "Performance": {"seconds a picture": _mean("seconds"), "forward passes a picture": _mean("forward_passes")},
    "Pros": {
        "energy inside hand-drawn boxes": _inside,
        f"correlation with itself under noise of sigma {' · '.join(map(str, NOISE))}": _noisy,
    },
    "Cons": {
        "complexity: mean of the map": _mean("complexity"),
        "share of the picture above half maximum": _mean("half_area"),
    },
}


def comparison(results: Results) -> Table:
    """The claims, and under each what was measured of it."""
    rows: list[tuple[str, ...]] = []
    for claim, cells in _CLAIMS.items():
        rows.append((f"**{claim}**", *cells))
        for label, measured in _MEASURED.get(claim, {}).items():
            rows.append((f"measured: {label}", *(f"**{measured(results, key)}**" for key in _CLAIMED)))
    return Table(
        "The claims, and what was measured",
        ("Claim", *(NAMES[key] for key in _CLAIMED)),
        tuple(rows),
        _conditions(results),
    )


def _conditions(results: Results) -> str:
    chances = results.figures("boxes", results.settings.methods[0], "chance")
    return (
        f"Measured with {results.model_name} on {results.pictures} pictures and {len(chances)} hand-drawn boxes (an "
        f"even map has {mean(chances, '{:.0%}')} of its energy inside), {os.cpu_count()} CPU cores; means over "
        f"pictures or boxes. Layers: {', '.join((results.target_layer, *results.layers))}. The claims are those of the "
        "tutorial this project grew out of, as printed there."
    )


def comparison_table(results: Results) -> str:
    """The comparison as Markdown, as it stands in the README between BEGIN and END."""
    return comparison(results).markdown()


def put_table(readme: Path, table: str) -> None:
    """Writes the table between the markers of a Markdown file; InputError unless both are there once, in order."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{readme.name} has no place for the table: it must hold {BEGIN} and then {END}, once each.")
    before, rest = text.split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{table}{END}{rest.split(END)[1]}", encoding="utf-8")


# --- published figures ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """A mean over ImageNet validation pictures that a paper prints for VGG16, in the units of our rows."""

    source: str
    metric: str
    values: Mapping[str, float]

    def show(self, key: str) -> str:
        """The figure of a method, formatted like ours."""
        return COLUMNS[self.metric].format.format(self.values[key]) if key in self.values else NOTHING


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
    """Published VGG16 figures beside ours; without VGG16, the sentence that says so."""
    title = "Beside the published figures for VGG16"
    if results.model != "vgg16":
        return Table(
            title,
            (),
            (),
            f"Not compared: the published figures are VGG16's, this run used {results.model_name}. "
            "Run the same command with --model vgg16 and its ImageNet weights.",
        )
    summary = results.summary()
    rows: list[tuple[str, ...]] = []
    for entry in PUBLISHED:
        rows.append((COLUMNS[entry.metric].name, entry.source, *results.each(entry.show)))
        column = COLUMNS[entry.metric]
        here = (cell(summary[key][column.key], column.format) for key in results.settings.methods)
        rows.append((column.name, "here", *here))
    return Table(title, ("Figure", "Source", *results.names), tuple(rows), _NOT_ONE_EXPERIMENT)
