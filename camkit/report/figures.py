"""The figures of the evidence, by plotly: curves, cost against faithfulness, the sweep, the
sanity check.

They have no background of their own and grey lines, so that they fit a light and a dark page.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping

import numpy as np

# Okabe and Ito's colours, told apart with any colour vision; controls are grey and dashed.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def curves_figure(results: Mapping, names: Mapping[str, str], controls: Collection[str]):
    """The insertion and deletion curves of all maps as one plotly figure: `results` by key, each with `insertion` and
    `deletion` of `fractions` and `probabilities`; `names` by key for the legend; keys in `controls` are drawn grey."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        1,
        2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=("Insertion (higher is better)", "Deletion (lower is better)"),
    )
    for position, (key, result) in enumerate(results.items()):
        line = (
            {"color": "#8a8f98", "dash": ("dot", "dash", "dashdot")[position % 3], "width": 1.5}
            if key in controls
            else {"color": LINES[position % len(LINES)], "width": 2.5}
        )
        for column, curve in enumerate((result.insertion, result.deletion), 1):
            figure.add_scatter(
                x=list(curve.fractions),
                y=list(curve.probabilities),
                name=names[key],
                legendgroup=key,
                line=line,
                showlegend=column == 1,
                row=1,
                col=column,
                hovertemplate="%{y:.3f} at %{x:.0%}<extra>" + names[key] + "</extra>",
            )
    figure.update_xaxes(tickformat=".0%", title_text="share of the picture")
    figure.update_yaxes(title_text="probability of the class", rangemode="tozero", row=1, col=1)
    return _laid_out(figure, 380)


def cost_figure(
    seconds: Mapping[str, float], gains: Mapping[str, float], names: Mapping[str, str], floor: float | None
):
    """Cost against faithfulness as one plotly figure: seconds on a log axis, insertion minus deletion on the other;
    `floor` is the best control's value, a line that a map has to be above."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for position, key in enumerate(seconds):
        figure.add_scatter(
            x=[seconds[key]],
            y=[gains[key]],
            name=names[key],
            text=[names[key]],
            mode="markers+text",
            textposition=("top center", "bottom center")[position % 2],
            marker={"size": 14, "color": LINES[position % len(LINES)]},
            hovertemplate="%{y:+.3f} in %{x:.2f} s<extra>" + names[key] + "</extra>",
            showlegend=False,
        )
    if floor is not None:
        figure.add_hline(y=floor, line={"color": "#8a8f98", "dash": "dash"}, annotation_text="best control")
    low, high = min(seconds.values()), max(seconds.values())
    figure.update_xaxes(type="log", title_text="seconds", range=[np.log10(low) - 0.4, np.log10(high) + 0.4], dtick=1)
    heights = [gains[key] for key in seconds] + [floor or 0.0]
    room = 0.2 * (max(heights) - min(heights)) or 0.1  # for the names above the points
    figure.update_yaxes(title_text="insertion minus deletion", range=[min(heights) - room, max(heights) + room])
    return _laid_out(figure, 340)


def sweep_figure(points: Collection, complete: bool):
    """Faster Score-CAM's channels against its correlation with the full Score-CAM and its seconds, a plotly figure."""
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
    figure.update_xaxes(type="log", title_text="channels", tickvals=counts, ticktext=[str(count) for count in counts])
    figure.update_yaxes(title_text="correlation with " + ("the full Score-CAM" if complete else "the map so far"))
    return _laid_out(figure, 320)


def sanity_figure(points: Collection, names: Mapping[str, str], controls: Collection[str]):
    """Rank correlation with the original map against the number of randomised layers, a line a map, a plotly figure.
    `points` have `key`, `layers`, `layers_total`, `layer` and `correlation`; keys in `controls` are drawn grey."""
    import plotly.graph_objects as go

    figure = go.Figure()
    keys = dict.fromkeys(point.key for point in points)
    for position, key in enumerate(sorted(keys, key=lambda key: key in controls)):
        own = [point for point in points if point.key == key]
        line = (
            {"color": "#8a8f98", "dash": ("dot", "dash")[position % 2], "width": 1.5}
            if key in controls
            else {"color": LINES[position % len(LINES)], "width": 2.5}
        )
        figure.add_scatter(
            x=[point.layers for point in own],
            y=[point.correlation for point in own],
            name=names[key],
            mode="lines+markers",
            line=line,
            customdata=[point.layer for point in own],
            hovertemplate="%{y:+.2f}, down to %{customdata}<extra>" + names[key] + "</extra>",
        )
    total = max((point.layers_total for point in points), default=1)
    figure.update_xaxes(title_text=f"layers randomised, of {total}, from the output", range=[0, total * 1.02])
    figure.update_yaxes(title_text="rank correlation", range=[-1.08, 1.08], dtick=0.5)
    return _laid_out(figure, 380)


def sanity_svg(lines: Mapping[str, Mapping[int, float]], names: Mapping[str, str], controls: Collection[str]) -> str:
    """The same for a report that loads no script: by map its mean rank correlation by number of randomised layers, as
    an SVG element with the names beside it."""
    total = max((layers for line in lines.values() for layers in line), default=1)
    drawn = []
    for value in (-1.0, -0.5, 0.0, 0.5, 1.0):
        y = _height(value)
        drawn.append(f'<line x1="50" x2="450" y1="{y:.1f}" y2="{y:.1f}" stroke="#8885"/>')
        drawn.append(f'<text x="42" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for position, key in enumerate(sorted(lines, key=lambda key: key in controls)):
        line = lines[key]
        color = "#8a8f98" if key in controls else LINES[position % len(LINES)]
        dash = f' stroke-dasharray="{("2 3", "6 4")[position % 2]}"' if key in controls else ""
        places = [(50 + 400 * layers / total, _height(value)) for layers, value in line.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        row = 24 + 22 * position
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
        drawn.append(f'<path d="M464 {row - 4}h20" stroke="{color}" stroke-width="3"{dash}/>')
        drawn.append(f'<text x="488" y="{row}">{html.escape(names[key])}</text>')
    axis = f"layers randomised, of {total}, from the output; up: correlation"
    drawn.append(f'<text x="250" y="290" text-anchor="middle">{axis}</text>')
    return (
        '<svg viewBox="0 0 640 300" role="img" aria-label="Rank correlation by number of randomised layers" '
        f'style="max-width: 720px; width: 100%; font-size: 12px" fill="currentColor">{"".join(drawn)}</svg>'
    )


def _height(correlation: float) -> float:
    return 140 - 120 * correlation


def _laid_out(figure, height: int):
    # No background of its own and grey lines, so that it fits a light and a dark page.
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.5)")
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.25)", zerolinecolor="rgba(128,128,128,0.5)")
    figure.update_annotations(font_size=13)
    return figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(128,128,128,0.06)",
        font={"color": "#7d8590"},
        legend={"orientation": "h", "y": -0.22},
    )
