"""Many clients at once on /explain by Grad-CAM: is every answer right, is none lost, how long do they take?

`python tests/load_api.py [URL]` sends 10 requests from each of 16 clients to a running demo, which must use the bundled
classifier, then measures Grad-CAM by itself and while another visitor's Score-CAM runs. Times are what a client sees:
upload, queue, computation and download included.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("astronaut", "chelsea", "coffee", "rocket")
OPTIONS = {"model": "efficientnet_lite0", "api_name": "/explain"}
LIMIT = 600


def picture(name: str):
    return handle_file(str(EXAMPLES / f"{name}.jpg"))


def connect(url: str, folder: str) -> Client:
    return Client(url, verbose=False, download_files=folder, analytics_enabled=False)


def many(url: str, clients: int, requests: int) -> tuple[list[float], int]:
    """Seconds of every request that was answered rightly, and how many were answered wrongly or not at all. Right is
    what one client alone was told of the same picture."""
    with tempfile.TemporaryDirectory() as folder:
        first = connect(url, folder)
        expected = {name: raw_map(first, name) for name in NAMES}
        together = threading.Barrier(clients)

        def visit(number: int) -> list[float | None]:
            own = connect(url, folder)
            together.wait(LIMIT)
            names = [NAMES[(number + turn) % len(NAMES)] for turn in range(requests)]
            seconds = [timed(own, name, expected[name]) for name in names]
            own.close()
            return seconds

        with ThreadPoolExecutor(clients) as pool:
            found = [seconds for visitor in pool.map(visit, range(clients)) for seconds in visitor]
        first.close()
    answered = [seconds for seconds in found if seconds is not None]
    return answered, clients * requests - len(answered)


def raw_map(client: Client, name: str) -> np.ndarray:
    return np.array(client.predict(picture(name), **OPTIONS)[1]["raw"])


def timed(client: Client, name: str, expected: np.ndarray) -> float | None:
    begin = time.perf_counter()
    try:
        right = np.allclose(raw_map(client, name), expected, atol=1e-5)
    except Exception as error:  # whatever it was, this request is lost
        print(f"lost: {error}", file=sys.stderr)
        return None
    return time.perf_counter() - begin if right else None


def beside_a_scorecam(url: str, requests: int) -> tuple[float, float]:
    """Median seconds of Grad-CAM alone, and while the Score-CAM of another visitor runs."""
    with tempfile.TemporaryDirectory() as folder:
        own, other = connect(url, folder), connect(url, folder)
        expected = raw_map(own, "coffee")
        alone = [timed(own, "coffee", expected) for _ in range(requests)]
        job = other.submit(picture("astronaut"), ["scorecam"], model=OPTIONS["model"], api_name="/compare")
        next(iter(job))
        beside = [timed(own, "coffee", expected) for _ in range(requests)]
        assert not job.done(), "the Score-CAM was over before the last request"
        job.cancel()
        own.close()
        other.close()
    return statistics.median(alone), statistics.median(beside)


def main(url: str = "http://127.0.0.1:7860") -> None:
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    alone, beside = beside_a_scorecam(url, 9)
    print(f"Grad-CAM alone {alone:.2f} s, beside a Score-CAM {beside:.2f} s (medians)")
    seconds, lost = many(url, 16, 10)
    cuts = statistics.quantiles(seconds, n=20)
    print(
        f"16 clients, 10 requests each: {len(seconds)} right, {lost} wrong or lost, "
        f"p50 {statistics.median(seconds):.2f} s, p95 {cuts[-1]:.2f} s; load now {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:2])
