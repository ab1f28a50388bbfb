"""The tab "How far to believe it": every metric of the maps that the page shows, beside maps that know nothing of the
picture, the curves behind them, cost against faithfulness, and the sweep of Faster Score-CAM's channels."""

from __future__ import annotations

import gradio as gr

from ..evidence.figures import cost_figure, curves_figure, sweep_figure
from ..evidence.metrics import CONTROLS, METRICS, beats_controls
from ..evidence.results import NAMES
from ..evidence.study import measure
from ..evidence.sweep import sweep
from ..explanation import Explanation
from .readiness import classifier
from .sessions import Session, require_explanation, require_session
from .visitors import VISITORS, Busy, in_words, visitor_of
from .widgets import FirstScreen, seconds_in_words

LONGEST_WITHOUT_A_CLICK = 30.0  # seconds that a measurement may be expected to take to begin by itself
SCORED = 57  # pictures to score for each map: two curves of 28 steps and the masked picture


def evidence_table(measurements: dict, cams: dict) -> str:
    """A row for each method and control, a column for each metric; the best method's value of each column is marked."""
    heads, best = "", {}
    for key, metric in METRICS.items():
        arrow = "↓" if metric.better == "lower" else "↑"
        words = f"{metric.summary} {metric.formula}. {metric.source}"
        heads += f'<th scope="col"><abbr tabindex="0" title="{words}">{metric.name}</abbr> {arrow}</th>'
        values = [each.metrics[key] for name, each in measurements.items() if name not in CONTROLS]
        known = [value for value in values if value is not None]
        best[key] = (min if metric.better == "lower" else max)(known) if known else None
    rows = "".join(_evidence_row(key, measurements, cams, best) for key in measurements)
    return (
        f'<div class="evidence"><table><thead><tr><th scope="col">Map</th>{heads}<th scope="col">Seconds</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _evidence_row(key: str, measurements: dict, cams: dict, best: dict) -> str:
    controls = [each for name, each in measurements.items() if name in CONTROLS]
    is_control, cells = key in CONTROLS, ""
    for name, value in measurements[key].metrics.items():
        text = "–" if value is None else METRICS[name].format.format(value)  # noqa: RUF001 - an empty cell's dash
        if not is_control and value is not None and value == best[name]:
            cells += f'<td class="best">{text}<span class="only-read"> (best)</span></td>'
        else:
            cells += f"<td>{text}</td>"
    verdict = ""
    if not is_control and len(controls) == len(CONTROLS) and not beats_controls(measurements[key], controls):
        verdict = "<small>no better than a control on this picture</small>"
    cost = seconds_in_words(cams[key].seconds) if key in cams else ""
    kind = ' class="control"' if is_control else ""
    return f'<tr{kind}><th scope="row">{NAMES[key]}{verdict}</th>{cells}<td>{cost}</td></tr>'


@in_words
def on_measure(session, request: gr.Request):
    """The button."""
    yield from measuring(require_session(session), request)


def measuring(session: Session, request: gr.Request):
    """Measures what the page shows; each row appears when it is known."""
    explanation = require_explanation(session)
    clf, measurements, same = classifier(explanation.model), {}, [gr.skip()] * 3
    with VISITORS.page_run(request, same_maps=True) as run:
        run.seconds_left = expected_seconds(explanation)
        yield f"Measuring: {SCORED} pictures to score for each map.", *same
        for key, measurement in measure(clf, explanation):
            if run.ended:
                yield "Stopped.", *same
                return
            if measurement is not None:
                measurements[key] = measurement
                yield evidence_table(measurements, explanation.cams), *same
    cams = explanation.cams
    gains = {key: each.worth for key, each in measurements.items()}
    floor = max((gains[key] for key in measurements if key in CONTROLS), default=None)
    seconds = {key: cams[key].seconds for key in measurements if key in cams}
    yield (
        evidence_table(measurements, cams),
        gr.update(value=curves_figure(measurements, NAMES, CONTROLS), visible=True),
        gr.update(value=cost_figure(seconds, gains, NAMES, floor), visible=True),
        (session.run, measurements),
    )


@in_words
def on_explanation(session, request: gr.Request):
    """After an explanation: measures by itself when that is quick and nothing newer has begun."""
    if session is None or not session.memory.explanation.cams or VISITORS.busy(visitor_of(request)):
        return
    expected = expected_seconds(session.memory.explanation)
    if expected > LONGEST_WITHOUT_A_CLICK:
        words = f"A measurement takes about {seconds_in_words(expected)} here: press Measure."
        yield words, *[gr.skip()] * 3
        return
    try:
        yield from measuring(session, request)
    except Busy as busy:
        yield f"{busy} Then press Measure.", *[gr.skip()] * 3


def expected_seconds(explanation: Explanation) -> float:
    """What a measurement will take: pictures to score, times what one pass took in this run."""
    cost = min(
        (cam.seconds / (cam.forward_passes + cam.backward_passes) for cam in explanation.cams.values()), default=0.0
    )
    return cost * SCORED * (len(explanation.cams) + len(CONTROLS))


@in_words
def on_sweep(session, request: gr.Request):
    """Faster Score-CAM's channels against its likeness to the full Score-CAM, out of one run."""
    explanation = require_explanation(session)
    clf = classifier(explanation.model)
    stream = sweep(clf, explanation.image, explanation.class_index, None, explanation.target_layer)
    with VISITORS.page_run(request, same_maps=True) as run:
        for state in stream:
            if run.ended:
                return
            run.seconds_left = state.seconds_left
            if state.points:
                left = f"about {seconds_in_words(state.seconds_left)} left"
                note = "" if state.complete else f"{state.channels} of {state.channels_total} channels, {left}"
                yield gr.update(value=sweep_figure(state.points, state.complete), visible=True), note


def build(screen: FirstScreen) -> None:
    with gr.Tab("How far to believe it"):
        with gr.Row():
            gr.Markdown(
                "Each map decides which pixels of your picture are hidden or shown; the classifier then says what that "
                "did to the class. Maps that know nothing of the picture stand beside as controls. Hover or focus a "
                "column's name."
            )
            go = gr.Button("Measure", scale=0, min_width=120, elem_id="measure")
        table = gr.HTML("Measured once the maps are complete.", elem_id="evidence")
        curves = gr.Plot(label="Insertion and deletion", elem_id="curves", visible=False)
        with gr.Row():
            with gr.Column(min_width=320):
                cost = gr.Plot(label="Cost against faithfulness", elem_id="cost", visible=False)
            with gr.Column(min_width=320):
                gr.Markdown(
                    "**The sweep of Faster Score-CAM.** How many channels until it equals the full Score-CAM? One "
                    "streamed run tells."
                )
                sweep_go = gr.Button("Start the sweep", size="sm", elem_id="sweep-go")
                sweep_note = gr.Markdown("")
                sweep_plot = gr.Plot(show_label=False, elem_id="sweep", visible=False)
    outputs = [table, curves, cost, screen.results]
    private = {"api_visibility": "private", "show_progress_on": table}
    for explanation in screen.explanations:
        explanation.success(on_explanation, screen.session, outputs, **private)
    go.click(on_measure, screen.session, outputs, **private)
    sweep_go.click(
        on_sweep, screen.session, [sweep_plot, sweep_note], api_visibility="private", show_progress_on=sweep_note
    )
