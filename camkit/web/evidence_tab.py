"""The tab that says how far each map can be believed."""

from __future__ import annotations

import gradio as gr

from ..evidence.figures import cost_figure, curves_figure, dial_figure
from ..evidence.metrics import CONTROLS, METRICS, beats_controls
from ..evidence.results import NAMES
from ..evidence.study import _controls, measuring
from ..evidence.sweep import dial
from .readiness import classifier
from .visitors import FILES_LIVE, VISITORS, explained, in_words, visitor_of
from .widgets import seconds_in_words

SOON = 30.0  # seconds; a measurement expected to take longer waits for a click


def evidence_table(results: dict, cams: dict) -> str:
    """A row for each method and control, a column for each metric; the best method's value of each column is marked."""
    head = "".join(
        f'<th scope="col"><abbr tabindex="0" title="{metric.summary} {metric.formula}. {metric.source}">{metric.name}</abbr> '
        f"{'↓' if metric.better == 'lower' else '↑'}</th>"
        for metric in METRICS.values()
    )
    best = {key: _best(metric, results) for key, metric in METRICS.items()}
    rows = "".join(_evidence_row(key, result, results, cams, best) for key, result in results.items())
    return (
        f'<div class="evidence"><table><thead><tr><th scope="col">Map</th>{head}<th scope="col">Seconds</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _best(metric, results: dict) -> float | None:
    values = [result.metrics[metric.key] for key, result in results.items() if key not in CONTROLS]
    known = [value for value in values if value is not None]
    return (min if metric.better == "lower" else max)(known) if known else None


def _evidence_row(key: str, result, results: dict, cams: dict, best: dict) -> str:
    controls = _controls(results)
    cells = []
    for name, value in result.metrics.items():
        text = "–" if value is None else METRICS[name].format.format(value)
        cells.append(
            f'<td class="best">{text}<span class="only-read"> (best)</span></td>'
            if key not in controls and value is not None and value == best[name]
            else f"<td>{text}</td>"
        )
    verdict = ""
    if key not in controls and len(controls) == len(CONTROLS) and not beats_controls(result, controls.values()):
        verdict = "<small>no better than a control on this picture</small>"
    cost = seconds_in_words(cams[key].seconds) if key in cams else ""
    kind = ' class="control"' if key in controls else ""
    return f'<tr{kind}><th scope="row">{NAMES[key]}{verdict}</th>{"".join(cells)}<td>{cost}</td></tr>'


def evidence_figures(results: dict, cams: dict) -> tuple:
    controls = _controls(results)
    gains = {key: result.metrics["insertion_minus_deletion"] for key, result in results.items()}
    floor = max((gains[key] for key in controls), default=None)
    seconds = {key: cams[key].seconds for key in results if key in cams}
    return (
        gr.update(value=curves_figure(results, NAMES, controls), visible=True),
        gr.update(value=cost_figure(seconds, gains, NAMES, floor), visible=True),
    )


def expected_seconds(clf, explanation) -> float:
    """What a measurement will take: pictures to score, times what one forward pass took in this run."""
    cost = min(
        (cam.seconds / (cam.forward_passes + cam.backward_passes) for cam in explanation.cams.values()), default=0.0
    )
    return cost * 57 * (len(explanation.cams) + len(CONTROLS))


@in_words
def on_measure(session, request: gr.Request):
    """Measures what the page shows; each row appears when it is known."""
    explanation = explained(session)
    clf, results = classifier(explanation.model), {}
    with VISITORS.page_run(visitor_of(request), same_maps=True) as run:
        yield "Measuring: 57 pictures to score for each map.", *[gr.skip()] * 3
        for key, result in measuring(clf, explanation):
            if run.ended:
                yield "Stopped.", *[gr.skip()] * 3
                return
            if result is not None:
                results[key] = result
                yield evidence_table(results, explanation.cams), *[gr.skip()] * 3
    yield (
        evidence_table(results, explanation.cams),
        *evidence_figures(results, explanation.cams),
        (session.run, results),
    )


@in_words
def on_explained(session, request: gr.Request):
    """After an explanation: measures by itself when that is quick and nothing newer has begun."""
    if (
        session is None
        or session.explanation is None
        or not session.explanation.cams
        or VISITORS.busy(visitor_of(request))
    ):
        return
    expected = expected_seconds(classifier(session.explanation.model), session.explanation)
    if expected <= SOON:
        yield from on_measure(session, request)
    else:
        yield f"A measurement takes about {seconds_in_words(expected)} here: press Measure.", *[gr.skip()] * 3


@in_words
def on_dial(session, request: gr.Request):
    """Faster Score-CAM's channels against its likeness to the full Score-CAM, out of one run."""
    explanation = explained(session)
    stream = dial(
        classifier(explanation.model), explanation.image, explanation.class_index, None, explanation.target_layer
    )
    with VISITORS.page_run(visitor_of(request), same_maps=True) as run:
        for state in stream:
            if run.ended:
                return
            if state.points:
                note = (
                    ""
                    if state.complete
                    else f"{state.channels} of {state.channels_total} channels, about {seconds_in_words(state.seconds_left)} left"
                )
                yield gr.update(value=dial_figure(state.points, state.complete), visible=True), note


def build_evidence(parts: dict) -> None:
    with gr.Tab("How far to believe it"):
        with gr.Row():
            gr.Markdown(
                "Each map decides which pixels of your picture are hidden or shown; the classifier then says what that did to the "
                "class. Maps that know nothing of the picture stand beside as controls. Hover or focus a column's name."
            )
            parts["measure"] = gr.Button("Measure", scale=0, min_width=120, elem_id="measure")
        parts["evidence"] = gr.HTML("Measured once the maps are complete.", elem_id="evidence")
        parts["results"] = gr.State(None, time_to_live=FILES_LIVE)
        parts["curves"] = gr.Plot(label="Insertion and deletion", elem_id="curves", visible=False)
        with gr.Row():
            with gr.Column(min_width=320):
                parts["cost"] = gr.Plot(label="Cost against faithfulness", elem_id="cost", visible=False)
            with gr.Column(min_width=320):
                gr.Markdown(
                    "**The Faster Score-CAM dial.** How many channels until it equals the full Score-CAM? One streamed run tells."
                )
                parts["dial_go"] = gr.Button("Turn the dial", size="sm", elem_id="dial-go")
                parts["dial_note"] = gr.Markdown("")
                parts["dial"] = gr.Plot(show_label=False, elem_id="dial", visible=False)
