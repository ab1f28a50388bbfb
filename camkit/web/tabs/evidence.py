"""The tab "How far to believe it": every metric of the maps that the page shows, beside maps that know nothing of the
picture, the curves behind them, cost against faithfulness, the sweep of Faster Score-CAM's channels, and the sanity
check of what a map owes to what the network learned."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping

import gradio as gr
import numpy as np
from PIL import Image

from ...errors import InputError
from ...evidence.measure import ON_THE_PAGE, measure
from ...evidence.metrics import CONTROLS
from ...evidence.observations import Measurement
from ...evidence.road import REMOVED
from ...evidence.sanity import Sanity, sanity_stream
from ...evidence.sweep import sweep
from ...explanation import Explanation
from ...maps import data_url, overlay
from ...methods import METHODS
from ...passes.outputs import OUTPUTS
from ...passes.placement import Placement
from ...report.figures import cost_figure, curves_figure, sanity_figure, sweep_figure
from ...report.report import NO_PROBABILITY, likeness_table, measurement_table
from ...report.tables import Table
from ...report.words import sweep_words
from ...units import seconds_in_words
from ..server.readiness import classifier
from ..server.refusals import with_clear_errors
from ..server.runs import RUNS, Busy, on_stop, visitor_of
from ..server.sessions import MEMORIES, memory_of
from .widgets import (
    COLORMAP,
    NO_STOP,
    OPACITY,
    REDRAW_SECONDS,
    STOP,
    FirstScreen,
    if_it_fails,
    named,
    progress_html,
    stop_button,
)

LONGEST_WITHOUT_A_CLICK = 30.0  # seconds that a measurement may be expected to take to begin by itself
# Pictures to score for each map: two curves, the masked picture and ROAD's.
SCORED = 2 * ON_THE_PAGE.steps + 1 + len(REMOVED)
SMALL_SIDE = 132  # pixels, of a map in the sanity check's strips
STRIPS_NOTE = (
    "The same maps as pictures, each in the colours from its own lowest to its highest value. Below each: the layer "
    "down to which the weights are random, and the rank correlation with the trained network's map."
)


def table_html(table: Table) -> str:
    """Return a table in an element that panels.js marks as out of date when other maps begin."""
    return f'<div class="measured">{table.html()}</div>'


@with_clear_errors
def on_measure(request: gr.Request):
    """Measure what the page shows, as the button asks."""
    yield from measure_shown(request)


@if_it_fails(far="", stop=NO_STOP)
def measure_shown(request: gr.Request, unasked: bool = False):
    """Measure what the page shows; each column fills when it is known. `unasked`: only where nothing is under way."""
    with RUNS.page_run(request, unasked=unasked) as run:
        if unasked and run.cancel.is_set():
            return
        memory = memory_of(request)
        explanation = memory.explanation
        clf = classifier(explanation.model)
        measurements: dict[str, Measurement] = {}
        maps = sum(cam.complete for cam in explanation.cams.values()) + len(CONTROLS)
        blocks, seen = maps * -(-SCORED // clf.block_size), 0
        begin, drawn = time.monotonic(), 0.0
        run.seconds_left = expected_seconds(explanation)
        table = table_html(measurement_table(measurements, explanation, complete=False))
        scored = f": {SCORED} pictures to score for each map" if clf.outputs.are_probabilities else ""
        far = progress_html(f"Measuring{scored}", 0)
        yield {"far": far, "stop": STOP, "table": table}
        for key, measurement in measure(clf, explanation, cancel=run.cancel):
            if run.cancel.is_set():
                break
            seen += measurement is None
            if measurement is not None:
                measurements[key] = measurement
                table = table_html(measurement_table(measurements, explanation, complete=False))
            now = time.monotonic()
            if measurement is not None or now - drawn > REDRAW_SECONDS:
                share = min(0.99, seen / blocks)
                left = seconds_in_words((now - begin) * (1 - share) / share) if share else "some time"
                words = f"Measured {len(measurements)} of {maps} maps, about {left} left"
                yield {"far": progress_html(words, share), "table": table}
                drawn = now
        if run.cancel.is_set():
            yield {"far": progress_html("Stopped."), "stop": NO_STOP}
            return
    MEMORIES.measured(visitor_of(request), memory.run, measurements)
    yield measured_update(explanation, measurements)


def measured_update(explanation: Explanation, measurements: Mapping[str, Measurement]) -> dict:
    """Return the whole table and its figures."""
    cams = explanation.cams
    seconds = {key: cams[key].seconds for key in measurements if key in cams}
    figures = {"curves": gr.update(visible=False), "cost": gr.update(visible=False)}
    are_probabilities = OUTPUTS[explanation.outputs].are_probabilities
    if are_probabilities:
        figures["curves"] = gr.update(value=curves_figure(measurements), visible=True)
        figures["cost"] = gr.update(value=cost_figure(seconds, measurements), visible=True)
    far = "" if are_probabilities else progress_html(NO_PROBABILITY)
    table = table_html(measurement_table(measurements, explanation))
    return {"far": far, "stop": NO_STOP, "table": table, **figures}


@with_clear_errors
def on_explanation(request: gr.Request):
    """Measure the maps after an explanation, unless that takes long, is done or something newer has begun."""
    memory = memory_of(request)
    if not memory.known.cams or RUNS.busy(visitor_of(request)):
        return
    if memory.measurements:
        yield measured_update(memory.explanation, memory.measurements)
        return
    expected = expected_seconds(memory.known)
    if expected > LONGEST_WITHOUT_A_CLICK:
        words = f"Measuring these maps takes about {seconds_in_words(expected)} here: press Measure to begin."
        yield {"far": progress_html(words), "stop": NO_STOP, "table": ""}
        return
    try:
        yield from measure_shown(request, unasked=True)
    except Busy as busy:
        yield {"far": progress_html(f"{busy} Then press Measure."), "stop": NO_STOP, "table": ""}


def expected_seconds(explanation: Explanation) -> float:
    """Return what a measurement will take: pictures to score, times what one pass took in this run. Of a value none is
    scored."""
    if not OUTPUTS[explanation.outputs].are_probabilities:
        return 0.0
    cost = min(
        (cam.seconds / (cam.forward_passes + cam.backward_passes) for cam in explanation.cams.values()), default=0.0
    )
    return cost * SCORED * (len(explanation.cams) + len(CONTROLS))


@with_clear_errors
@if_it_fails(far="", stop=NO_STOP)
def on_sweep(request: gr.Request):
    """Draw Faster Score-CAM's channels against its likeness to the full Score-CAM, out of one run."""
    explanation = memory_of(request).explanation
    clf = classifier(explanation.model)
    with RUNS.page_run(request) as run:
        yield {"far": progress_html("Starting", 0), "stop": STOP}
        asked = explanation.image, explanation.class_index, None, explanation.target_layer
        words = "0 channels"
        for state in sweep(clf, *asked, cancel=run.cancel):
            share = state.channels / state.channels_total
            words = f"{state.channels} of {state.channels_total} channels"
            run.seconds_left = state.seconds_left
            if state.points:
                left = f"{words}, about {seconds_in_words(state.seconds_left)} left"
                note = "" if state.complete else progress_html(left, share)
                plot = gr.update(value=sweep_figure(state.points, state.complete), visible=True)
                yield {"plot": plot, "far": note}
        if run.cancel.is_set():
            far = progress_html(f"Stopped after {words}: the likeness is to the sum so far.")
            yield {"far": far, "stop": NO_STOP}
            return
    yield {"far": f'<p class="far words measured">{html.escape(sweep_words(state.points))}</p>', "stop": NO_STOP}


@with_clear_errors
@if_it_fails(far="", stop=NO_STOP)
def on_sanity(request: gr.Request):
    """Compare the fast methods' maps with those of a copy of the network that is randomised layer by layer."""
    explanation = memory_of(request).explanation
    clf = classifier(explanation.model)
    count, max_n = clf.channels(explanation.target_layer), explanation.max_n
    maps = {key: each for key, each in explanation.maps.items() if METHODS[key].is_fast(count, max_n)}
    if not maps:
        fast = ", ".join(method.name for method in METHODS.values() if method.is_fast(count, max_n))
        raise InputError(f"The sanity check takes the fast methods' maps, and none is there: choose one of {fast}.")
    drawn, shown = 0.0, 0
    with RUNS.page_run(request) as run:
        yield {"far": progress_html("Copying the network", 0), "stop": STOP}
        for state in sanity_stream(clf, explanation.image, maps, explanation.question, cancel=run.cancel):
            run.seconds_left = state.seconds_left
            now = time.monotonic()
            if state.complete or now - drawn < REDRAW_SECONDS:
                continue
            drawn = now
            left = "" if state.seconds_left is None else f", about {seconds_in_words(state.seconds_left)} left"
            words = "Waiting for another check of this network" if state.waiting else f"Randomising{left}"
            update: dict = {"plot": _likeness(state.points)} if state.points else {}
            if state.points and state.points[-1].number > shown:
                shown = state.points[-1].number
                update["strips"] = strips_html(explanation, state)
            yield {"far": progress_html(words, state.share), **update}
        if run.cancel.is_set():
            yield {"far": progress_html("Stopped before every layer was randomised."), "stop": NO_STOP}
            return
    yield {
        "plot": _likeness(state.points),
        "strips": strips_html(explanation, state),
        "table": table_html(likeness_table(state.points)),
        "far": "",
        "stop": NO_STOP,
    }


def _likeness(points) -> dict:
    return gr.update(value=sanity_figure(points), visible=True)


def strips_html(explanation: Explanation, state: Sanity) -> str:
    """Return a strip a method: its map over the picture by the trained network, then stage by stage by the randomised
    one, each with the layer down to which the weights are random, and its likeness to the first."""
    image = Image.fromarray(explanation.image)
    image.thumbnail((SMALL_SIDE, SMALL_SIDE))
    picture, placement = np.asarray(image), Placement(seen=explanation.placement.seen)
    strips = []
    for key in dict.fromkeys(key for key, _ in state.maps):
        name, points = METHODS[key].name, [point for point in state.points if point.key == key]
        drawn = [state.maps[key, number] for number in (0, *(point.number for point in points))]
        row = np.hstack([overlay(picture, each, OPACITY, COLORMAP, "map", placement) for each in drawn])
        labels = "".join(
            f"<li>{html.escape(point.layer).replace('_', '_<wbr>')}<b>{point.correlation:+.2f}</b></li>"
            for point in points
        )
        strips.append(
            f'<figure style="--maps: {len(drawn)}"><figcaption>{name}</figcaption>'
            f'<div><img src="{data_url(row, "JPEG", quality=80)}" '
            f'alt="{name} by the trained network, then with random weights down to each layer named below"></div>'
            f"<ol><li>trained</li>{labels}</ol></figure>"
        )
    return (
        f'<div class="measured strips"><p class="note">{STRIPS_NOTE}</p><div class="scroll" role="region" tabindex="0" '
        f'aria-label="Maps as layers are randomised">{"".join(strips)}</div></div>'
    )


def _start_row(key: str, label: str, width: int) -> tuple[gr.Button, gr.Button, gr.HTML]:
    """Return the button that begins some work, the one that stops it, and the place that says how far it is."""
    with gr.Row(elem_classes="intro"):
        go = gr.Button(label, size="sm", scale=0, min_width=width, elem_id=f"{key}-go")
        return go, stop_button(f"{key}-stop"), gr.HTML("", elem_id=f"{key}-far")


def build(screen: FirstScreen) -> None:
    with gr.Tab("How far to believe it", id="evidence"):
        with gr.Row(elem_classes="intro"):
            gr.Markdown(
                "Where a map is right, the network needs what it shows: pixels are hidden or shown in the order of "
                "each map, and the network says what is left of the class."
            )
            stop = stop_button("measure-stop")
            go = gr.Button("Measure", size="sm", scale=0, min_width=120, elem_id="measure")
        far = gr.HTML(progress_html("Measured once the maps are complete."), elem_id="measure-far")
        table = gr.HTML('<div class="reserved"></div>', elem_id="evidence")  # what comes after it does not move
        curves = gr.Plot(label="Insertion and deletion", elem_id="curves", visible=False)
        with gr.Row():
            with gr.Column(min_width=320):
                gr.Markdown(
                    "**The sweep of Faster Score-CAM.** How many channels until it equals the full Score-CAM? One "
                    "streamed run tells."
                )
                sweep_go, sweep_stop, sweep_far = _start_row("sweep", "Start the sweep", 140)
                sweep_plot = gr.Plot(show_label=False, elem_id="sweep", visible=False)
            with gr.Column(min_width=320):
                cost = gr.Plot(label="Cost against faithfulness", elem_id="cost", visible=False)
        gr.Markdown(
            "**Does the map depend on what the network learned?** A copy of the network is randomised, layer by "
            "layer from the output. A map that stays the same shows the picture, not what was learned."
        )
        sanity_go, sanity_stop, sanity_far = _start_row("sanity", "Start the sanity check", 180)
        likeness = gr.HTML("", elem_id="likeness")
        sanity_plot = gr.Plot(show_label=False, elem_id="sanity", visible=False)
        strips = gr.HTML("", elem_id="strips")
    measured = {"far": far, "stop": stop, "table": table, "curves": curves, "cost": cost}
    swept = {"plot": sweep_plot, "far": sweep_far, "stop": sweep_stop}
    compared = {"plot": sanity_plot, "strips": strips, "table": likeness, "far": sanity_far, "stop": sanity_stop}
    quiet = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False}
    for explanation in screen.explanations:
        # One that comes while another is measured waits for its end: as long as a block takes.
        outputs = [*measured.values()]
        explanation.success(named(on_explanation, measured), None, outputs, trigger_mode="always_last", **quiet)
    for button, handler, parts in (
        (go, on_measure, measured),
        (sweep_go, on_sweep, swept),
        (sanity_go, on_sanity, compared),
    ):
        button.click(named(handler, parts), None, [*parts.values()], **quiet)
    for button in (stop, sweep_stop, sanity_stop):
        button.click(on_stop, None, None, queue=False, **quiet)
