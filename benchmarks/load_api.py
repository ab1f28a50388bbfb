"""Many clients at once on /explain by Grad-CAM: is every answer right, is none lost, how long do they take?

`python benchmarks/load_api.py [URL]` sends 10 requests from each of 16 clients to a running demo, which must use the
bundled classifier, then measures Grad-CAM by itself and while another visitor's Score-CAM runs. Times are what a client
sees: upload, queue, computation and download included.
"""

import itertools
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = ("astronaut", "chelsea", "coffee", "rocket")
OPTIONS = {"model": "efficientnet_lite0", "api_name": "/explain"}
LIMIT = 600


def picture(name: str):
    return handle_file(str(EXAMPLES / f"{name}.jpg"))


def connect(url: str, folder: str) -> Client:
    """A client that reads no certificates: by itself it would for every request, 20 ms, and 16 in one process would be
    slower than the server. There is no TLS here."""
    return Client(url, verbose=False, download_files=folder, analytics_enabled=False, ssl_verify=False)


@dataclass(frozen=True)
class Load:
    """Seconds of every request that was answered rightly; how many were not answered (`lost`) or with another's map
    (`crossed`); right answers a `rate` second; seconds of the first answers of those who came `late`."""

    seconds: list[float]
    lost: int
    crossed: int
    rate: float
    late: list[float]


def many(url: str, clients: int, requests: int, late: int = 0) -> Load:
    """`clients` at once with `requests` each, one after the other, and in between `late` others, one by one, with one
    each. Right is what one client alone was told of the same picture."""
    marks = {clients * requests * turn // (late + 1): threading.Event() for turn in range(1, late + 1)}
    together, answered = threading.Barrier(clients + 1), itertools.count(1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(clients + late) as pool:
        first = connect(url, folder)
        expected = {name: raw_map(first, name) for name in NAMES}
        first.close()

        def visit(number: int) -> list[tuple[float, str]]:
            own = connect(url, folder)
            together.wait(LIMIT)
            found = []
            for turn in range(requests):
                name = NAMES[(number + turn) % len(NAMES)]
                found.append(timed(own, name, expected[name]))
                if mark := marks.get(next(answered)):
                    mark.set()
            own.close()
            return found

        def come_late(mark: threading.Event) -> tuple[float, str]:
            own = connect(url, folder)
            assert mark.wait(LIMIT)
            found = timed(own, NAMES[0], expected[NAMES[0]])
            own.close()
            return found

        visitors = [pool.submit(visit, number) for number in range(clients)]
        comers = [pool.submit(come_late, mark) for mark in marks.values()]
        together.wait(LIMIT)
        begin = time.perf_counter()
        found = [answer for visitor in visitors for answer in visitor.result(LIMIT)]
        took = time.perf_counter() - begin
        came = [comer.result(LIMIT) for comer in comers]
    counts = Counter(outcome for _, outcome in (*found, *came))
    right = [seconds for seconds, outcome in found if outcome == "right"]
    firsts = [seconds for seconds, outcome in came if outcome == "right"]
    return Load(right, counts["lost"], counts["crossed"], (len(right) + len(firsts)) / took, firsts)


def raw_map(client: Client, name: str) -> np.ndarray:
    return np.array(client.predict(picture(name), **OPTIONS)[1]["raw"])


def timed(client: Client, name: str, expected: np.ndarray) -> tuple[float, str]:
    """Seconds until the answer, and whether it is "right", "crossed" or "lost"."""
    begin = time.perf_counter()
    try:
        found = raw_map(client, name)
    except Exception as error:  # whatever it was, this request is lost
        print(f"lost: {error}", file=sys.stderr)
        return time.perf_counter() - begin, "lost"
    right = np.allclose(found, expected, atol=1e-5)
    return time.perf_counter() - begin, "right" if right else "crossed"


def beside_a_scorecam(url: str, requests: int) -> tuple[float, float]:
    """Median seconds of Grad-CAM alone, and while the Score-CAM of another visitor runs."""
    with tempfile.TemporaryDirectory() as folder:
        own, other = connect(url, folder), connect(url, folder)
        expected = raw_map(own, "coffee")
        alone = [timed(own, "coffee", expected)[0] for _ in range(requests)]
        job = other.submit(picture("astronaut"), ["scorecam"], model=OPTIONS["model"], api_name="/compare")
        next(iter(job))
        beside = [timed(own, "coffee", expected)[0] for _ in range(requests)]
        assert not job.done(), "the Score-CAM was over before the last request"
        job.cancel()
        own.close()
        other.close()
    return statistics.median(alone), statistics.median(beside)


def main(url: str = "http://127.0.0.1:7860") -> None:
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    alone, beside = beside_a_scorecam(url, 9)
    print(f"Grad-CAM alone {alone:.2f} s, beside a Score-CAM {beside:.2f} s (medians)")
    load = many(url, 16, 10, late=3)
    cuts = statistics.quantiles(load.seconds, n=20)
    print(
        f"16 clients, 10 requests each: {len(load.seconds)} right, {load.crossed} wrong, {load.lost} lost, "
        f"{load.rate:.1f} a second, p50 {statistics.median(load.seconds):.2f} s, p95 {cuts[-1]:.2f} s, "
        f"late-comers {statistics.mean(load.late):.2f} s; load now {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:2])
