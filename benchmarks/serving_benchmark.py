"""What the server adds to the engine, and what visitors leave behind: `python benchmarks/benchmark.py --server`.

Every figure is a ratio or a difference within one run against servers of its own, whose only load this script is. The
engine's side runs in this process while the server rests, in turns with the other side, so that what else the machine
does falls on both. Pictures are uploaded beforehand: no figure but those of clients holds the upload. Start it where
requirements.txt alone is installed: Keras imports scikit-learn, which the tests bring, for another second.
"""

from __future__ import annotations

import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import hostile
import httpx
import load_api
from hostile import ALL_FOUR, PICTURE, Server
from plain_http import LIMIT, META, ROOT, events, join, messages, upload

MODEL = "efficientnet_lite0"
FAST = [key for key in ALL_FOUR if key != "scorecam"]
BEFORE_CONFIG_KB = 357  # what a page took before its scripts, lists and pictures were files
FIRST_VISITORS = 100  # their pages fill what the server remembers of one address
PARTS = """
import time
begin = time.perf_counter()
def spent(what):
    global begin
    print(what, round(time.perf_counter() - begin, 2), flush=True)
    begin = time.perf_counter()
import app
spent("the app with Gradio")
import camkit.classifier
spent("TensorFlow")
import camkit, numpy
classifier = camkit.load("efficientnet_lite0")
spent("the model's file")
image = numpy.zeros((224, 224, 3), numpy.uint8)
camkit.explain(classifier, image, ["gradcam"])
spent("the first Grad-CAM, which compiles")
camkit.explain(classifier, image, ["gradcam"])
spent("the second")
"""


@dataclass(frozen=True)
class Row:
    """One figure of the table, and what is wanted of it ("" for a figure that only explains another)."""

    what: str
    measured: str
    wanted: str = ""


def main(repeats: int, visitors: int) -> None:
    rows = [*start()]
    with hostile.own_server(CAMKIT_UPLOAD_MEGABYTES_PER_ADDRESS="1000") as server:
        rows += [*compared(server, max(2, repeats // 3)), *explained(server, repeats), *bundled(server, repeats)]
        rows += [*loaded(server), *left_behind(server, visitors)]
        tracebacks = server.log.read_text().count("Traceback")
        rows.append(Row("exceptions in the server's log", str(tracebacks), "0"))
    print(f"\n{os.cpu_count()} cores, load now {os.getloadavg()[0]:.1f}\n")
    print("| what | measured | wanted |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row.what} | {row.measured} | {row.wanted} |")


# --- one request ---------------------------------------------------------------------------------------------------


def ask(server: Server, number: int, data: list, session: str = "") -> tuple[float, list[tuple[float, dict]]]:
    """One event from start to end: the seconds it took, and its answers with the seconds at which they came."""
    session = session or uuid.uuid4().hex
    begin = time.perf_counter()
    join(server.url, number, data, session).raise_for_status()
    came = [(time.perf_counter() - begin, message) for message in messages(server.url, session)]
    seconds, last = came[-1]
    assert last["success"], last["output"]
    return seconds, [each for each in came if each[1]["msg"] in ("process_generating", "process_completed")]


def uploaded(server: Server) -> dict:
    return {"path": upload(server.url, PICTURE.read_bytes()), "meta": META}


def engine():
    """A function of method keys: the seconds that the engine by itself takes for them, warm."""
    import camkit

    classifier, image = camkit.load(MODEL), camkit.open_picture(PICTURE)
    camkit.explain(classifier, image, FAST)

    def seconds(methods: list[str]) -> float:
        begin = time.perf_counter()
        camkit.explain(classifier, image, methods)
        return time.perf_counter() - begin

    return seconds


# --- what the server adds ------------------------------------------------------------------------------------------


def compared(server: Server, repeats: int) -> list[Row]:
    """/compare by all four methods beside the engine's own run of them."""
    alone, number = engine(), server.event("compare")
    data = [uploaded(server), ALL_FOUR, "", MODEL, "", 10, False]
    ratios, of_its_own, rates, gaps = [], [], [], []
    for _ in range(repeats):
        own = alone(ALL_FOUR)
        seconds, came = ask(server, number, data)
        ratios.append(seconds / own)
        of_its_own.append(seconds / finished_seconds(came))
        # A stream repeats only what has changed: an answer whose overlays have not is no snapshot.
        streamed = [(when, message) for when, message in came if message["msg"] == "process_generating"]
        snapshots = [when for when, message in streamed if message["output"]["data"][0]]
        rates.append(len(snapshots) / seconds)
        gaps.append(max(later - earlier for earlier, later in zip(snapshots, snapshots[1:], strict=False)))
        progress(f"/compare {seconds:.2f} s, the engine {own:.2f} s, {len(snapshots)} snapshots")
    return [
        Row("/compare with full Score-CAM / the engine's seconds", f"{statistics.median(ratios):.2f}", "<= 1.10"),
        Row("the same / the seconds that its answer says", f"{statistics.median(of_its_own):.2f}"),
        Row("its snapshots a second", f"{statistics.median(rates):.1f}", ">= 2"),
        Row("the longest wait between two of them", f"{statistics.median(gaps):.2f} s"),
    ]


def finished_seconds(came: list[tuple[float, dict]]) -> float:
    """What a /compare says of itself in its last answer, which holds all of it."""
    return came[-1][1]["output"]["data"][1]["seconds"]


def explained(server: Server, repeats: int) -> list[Row]:
    """/explain by Grad-CAM beside /classify of the same picture and the engine's own Grad-CAM."""
    alone, picture = engine(), uploaded(server)
    calls = {name: (server.event(name), [picture, *hostile.SHORT_EVENTS[name]]) for name in ("explain", "classify")}
    for call in calls.values():
        ask(server, *call)
    runs = [[ask(server, *call)[0] for call in calls.values()] + [alone(["gradcam"])] for _ in range(2 * repeats)]
    explain, classify, own = (1000 * statistics.median(column) for column in zip(*runs, strict=True))
    added = 1000 * statistics.median(explain - classify for explain, classify, _ in runs)
    progress(f"/explain {explain:.0f} ms, /classify {classify:.0f} ms, the engine {own:.0f} ms")
    return [
        Row("/explain by Grad-CAM minus /classify", f"{added:.0f} ms", "<= 60 ms"),
        Row("/explain, /classify, the engine's Grad-CAM", f"{explain:.0f}, {classify:.0f}, {own:.0f} ms"),
    ]


def bundled(server: Server, repeats: int) -> list[Row]:
    """What three fast methods cost over HTTP beyond the engine, and the writing of a bundle in this process."""
    import camkit

    alone, number = engine(), server.event("compare")
    data = [uploaded(server), FAST, "", MODEL, "", 10, False]
    explanation = camkit.explain(camkit.load(MODEL), camkit.open_picture(PICTURE), FAST)
    ask(server, number, data)
    over, written = [], []
    for _ in range(repeats):
        own = alone(FAST)
        over.append(ask(server, number, data)[0] - own)
        begin = time.perf_counter()
        camkit.write_bundle(io.BytesIO(), explanation)
        written.append(time.perf_counter() - begin)
    return [
        Row("/compare by three fast methods minus the engine's seconds", f"{1000 * statistics.median(over):.0f} ms"),
        Row("write_bundle of the three by itself", f"{1000 * statistics.median(written):.0f} ms"),
    ]


def loaded(server: Server) -> list[Row]:
    """16 clients with 10 requests each, and four who come late."""
    load = load_api.many(server.url, 16, 10, late=4)
    mean = statistics.mean(load.seconds)
    progress(f"16 clients: {load.rate:.1f} a second, {mean:.2f} s each")
    return [
        Row("16 clients x 10 Grad-CAM: right answers a second", f"{load.rate:.1f}", ">= 12"),
        Row("of them lost, crossed", f"{load.lost}, {load.crossed}", "0, 0"),
        Row("a late-comer's first answer / the mean", f"{statistics.mean(load.late) / mean:.2f}", "<= 1.5"),
    ]


# --- what visitors leave -------------------------------------------------------------------------------------------


def left_behind(server: Server, visitors: int) -> list[Row]:
    """Megabytes over what the process held after the first visitors, each of whom opened the page and classified."""
    config = httpx.get(f"{server.url}/config", timeout=LIMIT)
    opening, classify = (
        next(each for each in events(server.url) if each["api_name"] == name) for name in ("on_open", "classify")
    )
    settings = settings_of(server.url, opening)
    picture = [uploaded(server), MODEL, 1]

    def visit(_: int) -> None:
        session = uuid.uuid4().hex
        ask(server, opening["id"], settings, session)
        ask(server, classify["id"], picture, session)

    def request(_: int) -> None:
        ask(server, classify["id"], picture, "one-visitor")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(visit, range(FIRST_VISITORS)))
        first = server.memory_after_rest()
        list(pool.map(visit, range(visitors)))
        after = server.memory_after_rest() - first
        progress(f"{FIRST_VISITORS} visitors: {first:.0f} MB; {visitors} more: {after:+.1f} MB")
    for turn in range(visitors):  # one at a time: a visitor's answers share a stream
        request(turn)
    last = server.memory_after_rest() - first
    return [
        Row("/config", f"{len(config.content) / 1000:.0f} kB", f"<= {BEFORE_CONFIG_KB // 2} kB"),
        Row(f"{visitors} visitors after the first {FIRST_VISITORS}", f"{after:+.1f} MB"),
        Row("a visitor of them", f"{1000 * after / visitors:.0f} kB", "<= 30 kB"),
        Row(f"and {visitors} requests by one visitor", f"{last:+.1f} MB", "<= 60 MB after 2,000 and 2,000"),
    ]


def settings_of(url: str, event: dict) -> list:
    """What a page sends with an event of the settings, its methods down to Grad-CAM."""
    components = {each["id"]: each for each in httpx.get(f"{url}/config", timeout=LIMIT).json()["components"]}
    values = [components[number]["props"].get("value") for number in event["inputs"]]
    return [
        ["gradcam"] if kind == "checkboxgroup" else value for kind, value in zip(event["kinds"], values, strict=True)
    ]


# --- the start -----------------------------------------------------------------------------------------------------


def start() -> list[Row]:
    """Seconds from `python app.py` to the page, and from there to the first map when it is asked for at once."""
    parts = subprocess.run(
        [sys.executable, "-c", PARTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    pages, maps = zip(*(cold_start() for _ in range(2)), strict=True)
    made_of = ", ".join(line for line in parts.stdout.splitlines())
    return [
        Row("from `python app.py` to the page's first answer", f"{min(pages):.1f} s", "< 3 s"),
        Row("from there to the first map, asked for at once", f"{min(maps):.1f} s", "<= 2 s"),
        Row("by itself, in seconds", made_of),
    ]


def cold_start() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": folder}
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            page = first_answer(url, process) - begin
            begin = time.perf_counter()
            opening = next(each for each in events(url) if each["api_name"] == "on_open")
            session = uuid.uuid4().hex
            join(url, opening["id"], settings_of(url, opening), session).raise_for_status()
            # The whole value comes first, then what has changed; either has a "map" once there is one.
            if not any('"map"' in json.dumps(message.get("output")) for message in messages(url, session)):
                raise AssertionError("the page was opened and shows no map")
            return page, time.perf_counter() - begin
        finally:
            process.kill()
            process.wait()


def first_answer(url: str, process: subprocess.Popen) -> float:
    """The moment at which the page is there."""
    while True:
        try:
            httpx.get(url, timeout=LIMIT).raise_for_status()
            return time.perf_counter()
        except httpx.TransportError:
            assert process.poll() is None, "the server has ended"
            time.sleep(0.02)


def progress(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
