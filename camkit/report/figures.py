"""The figures of the evidence, by plotly: curves, cost against faithfulness, the sweep, the sanity check.

They have no background of their own and grey lines, so that they fit a light and a dark page, which colours the
text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from ..evidence.metrics import CONTROLS
from ..evidence.observations import Measurement
from ..evidence.sanity import CONTROL_NAMES, Likeness
from ..evidence.sweep import SweepPoint
from .results import name_of

# Okabe and Ito's colours, told apart with any colour vision; controls are grey, each with its dashes in every figure.
GREY, DASHES = "#8a8f98", ("dot", "dash", "dashdot", "longdash", "longdashdot")
TEXT = "#4b5563"  # 7.6 : 1 on white
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def curves_figure(measurements: Mapping[str, Measurement]):
    """Draw the insertion and deletion curves of all maps as one plotly figure; those of controls are grey."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        1,
        2,
        shared_yaxes=True,
        horizontal_spacing=0.08,
        subplot_titles=("Insertion (higher is better)", "Deletion (lower is better)"),
    )
    for position, (key, measurement) in enumerate(measurements.items()):
        for column, curve in enumerate(measurement.curves.values(), 1):
            figure.add_scatter(
                x=list(curve.fractions),
                y=list(curve.probabilities),
                name=name_of(key),
                legendgroup=key,
                line=_line(position, key),
                showlegend=column == 1,
                row=1,
                col=column,
                hovertemplate="%{y:.3f} at %{x:.0%}<extra>" + name_of(key) + "</extra>",
            )
    figure.update_xaxes(tickformat=".0%", title_text="share of the picture")
    figure.update_yaxes(title_text="probability of the class", rangemode="tozero", row=1, col=1)
    return _laid_out(figure, 380)


def cost_figure(seconds: Mapping[str, float], measurements: Mapping[str, Measurement]):
    """Draw cost against faithfulness as one plotly figure: each method's `seconds` on a log axis, its insertion less
    deletion on the other; the best control's is a line that a map has to be above."""
    import plotly.graph_objects as go

    figure = go.Figure()
    gains = {key: worth for key, each in measurements.items() if (worth := each.insertion_minus_deletion) is not None}
    floor = max((gains[key] for key in gains if key in CONTROLS), default=None)
    for position, key in enumerate(seconds):
        figure.add_scatter(
            x=[seconds[key]],
            y=[gains[key]],
            name=name_of(key),
            text=[name_of(key)],
            mode="markers+text",
            textposition=("top center", "bottom center")[position % 2],
            marker={"size": 14, "color": LINES[position % len(LINES)]},
            hovertemplate="%{y:+.3f} in %{x:.2f} s<extra>" + name_of(key) + "</extra>",
            showlegend=False,
        )
    if floor is not None:
        figure.add_hline(y=floor, line={"color": GREY, "dash": "dash"}, annotation_text="best control")
    low, high = min(seconds.values()), max(seconds.values())
    ends = [np.log10(low) - 0.4, np.log10(high) + 0.4]
    ticks = [step * 10.0**power for power in range(-5, 6) for step in (1, 2, 5)]  # 0.01 ms to a week
    ticks = [each for each in ticks if ends[0] <= np.log10(each) <= ends[1]]
    figure.update_xaxes(type="log", title_text="seconds", range=ends, tickangle=0)
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{each:g}" for each in ticks])
    heights = [gains[key] for key in seconds] + [floor or 0.0]
    room = 0.2 * (max(heights) - min(heights)) or 0.1  # for the names above the points
    figure.update_yaxes(title_text="insertion minus deletion", range=[min(heights) - room, max(heights) + room])
    return _laid_out(figure, 340)


def sweep_figure(points: Collection[SweepPoint], complete: bool):
    """Draw Faster Score-CAM's channels against its correlation with the full Score-CAM as a plotly figure."""
    import plotly.graph_objects as go

    counts = [point.max_n for point in points]
    figure = go.Figure()
    figure.add_scatter(
        x=counts,
        y=[point.correlation for point in points],
        mode="lines+markers",
        line={"color": LINES[0]},
        customdata=[point.seconds for point in points],
        showlegend=False,
        hovertemplate="%{x} channels: correlation %{y:.3f}, %{customdata:.2f} s<extra></extra>",
    )
    # A number that would touch the last one is left out.
    ticks = [count for count in counts if count == counts[-1] or 1.6 * count < counts[-1]]
    figure.update_xaxes(type="log", title_text="channels", tickvals=ticks, ticktext=list(map(str, ticks)), tickangle=0)
    figure.update_yaxes(title_text="correlation with " + ("the full Score-CAM" if complete else "the map so far"))
    return _laid_out(figure, 320)


def sanity_figure(points: Collection[Likeness]):
    """Draw the rank correlation with the original map against the number of randomised layers as a plotly figure, a
    line a map; those of controls are grey."""
    import plotly.graph_objects as go

    figure = go.Figure()
    keys = dict.fromkeys(point.key for point in points)
    for position, key in enumerate(sorted(keys, key=lambda key: key in CONTROL_NAMES)):
        own = [point for point in points if point.key == key]
        name = CONTROL_NAMES.get(key) or name_of(key)
        figure.add_scatter(
            x=[point.layers for point in own],
            y=[point.correlation for point in own],
            name=name,
            mode="lines+markers",
            line=_line(position, key),
            customdata=[point.layer for point in own],
            hovertemplate="%{y:+.2f}, down to %{customdata}<extra>" + name + "</extra>",
        )
    total = max((point.layers_total for point in points), default=1)
    figure.update_xaxes(title_text=f"layers randomised, of {total}, from the output", range=[0, total * 1.02])
    figure.update_yaxes(title_text="rank correlation", range=[-1.08, 1.08], dtick=0.5)
    return _laid_out(figure, 380)


def _line(position: int, key: str) -> dict:
    if key in CONTROLS:
        return {"color": GREY, "dash": DASHES[list(CONTROLS).index(key) % len(DASHES)], "width": 1.5}
    return {"color": LINES[position % len(LINES)], "width": 2.5}


def _laid_out(figure, height: int):
    figure.update_xaxes(
        automargin=True, title_standoff=8, gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.5)"
    )
    figure.update_yaxes(
        automargin=True, title_standoff=8, gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.5)"
    )
    figure.update_annotations(font_size=13)
    return figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(128,128,128,0.06)",
        font={"color": TEXT},
        legend={"orientation": "h", "y": -0.22},
    )
