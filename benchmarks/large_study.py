"""A study of many pictures without its measuring: a synthetic checkpoint, and what the reports of it cost.

`python benchmarks/large_study.py [PICTURES]` prints bytes a picture, seconds and the peak of memory, and, with
Playwright's Chromium or the one at CHROMIUM, how long the report takes to open, to filter and to turn a page.
"""

import base64
import os
import resource
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from camkit.evidence.metrics import CONTROLS, METRICS  # noqa: E402
from camkit.evidence.settings import NOISE_SIGMAS, TUNING, Settings, earlier_layers  # noqa: E402
from camkit.maps import encode  # noqa: E402
from camkit.methods import DEFAULT_METHODS  # noqa: E402
from camkit.report.report import write_reports  # noqa: E402
from camkit.report.results import Results  # noqa: E402
from camkit.study.checkpoint import Checkpoint, Values  # noqa: E402
from camkit.study.progress import StudyState  # noqa: E402


def synthetic_study(classifier, path, pictures: int) -> StudyState:
    """A finished study in a checkpoint, with the measurements that a run with --claims makes; the figures are seeded
    noise of the digits that real ones have."""
    random = np.random.default_rng(0)
    saved, keys = Checkpoint(path), {name: [] for name in ("metrics", "boxes", "views", "layers", "noise", "sweep")}

    def results():
        for number in range(pictures):
            name = f"n{number % 1000:08}/ILSVRC2012_val_{number:08}.JPEG"
            for measurement, value in values_of(classifier, name, number, random):
                key = f"{measurement}{number}".rjust(32, "0")
                keys[measurement].append(key)
                yield key, value | {"picture": name, "spent": random.random()}

    saved.add_all(results())
    return StudyState(pictures, pictures, values={name: Values(saved, each) for name, each in keys.items()})


@cache
def thumbnail(seed: int) -> str:
    """A JPEG of 160 x 120 pixels, 7 kB in base64, as those of photographs have."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (34, 45, 3), np.uint8))
    return base64.b64encode(encode(np.asarray(coarse.resize((160, 120))), "JPEG", quality=75)).decode()


def values_of(classifier, name, number, random):
    def rows(about, columns):
        return [each | dict(zip(columns, random.random(len(columns)).tolist(), strict=True)) for each in about]

    methods = [{"key": key} for key in DEFAULT_METHODS]
    costs = {"seconds": 0.25, "forward_passes": 11, "backward_passes": 1}
    known = {"class_index": number % 1000, "class_name": f"class {number % 1000}", "probability": random.random()}
    metrics = rows([{"key": key, **costs} for key in (*DEFAULT_METHODS, *CONTROLS)], [*METRICS, "half_area"])
    for row in metrics:
        row |= {"energy_inside": None, "beats_controls": float(random.random() > 0.3)}
    answer = {"true_class": number % 1000, "true_rank": 1 + number % 7}
    yield "metrics", known | answer | {"rows": metrics}
    at = [each | {"layer": layer} for layer in earlier_layers(classifier) for each in methods]
    yield "layers", {"rows": rows(at, ["insertion_minus_deletion", "beats_controls", "moved"])}
    yield (
        "noise",
        {"rows": rows([each | {"sigma": sigma} for sigma in NOISE_SIGMAS for each in methods], ["correlation"])},
    )
    yield "boxes", {"rows": []}
    top = number % 1000 if number % 7 == 0 else (number + number % 50) % 1000

    def maps():
        return {
            key: base64.b64encode(random.integers(0, 256, 49, np.uint8).tobytes()).decode() for key in DEFAULT_METHODS
        }

    view = {"true_class": number % 1000, "class_index": number % 1000, "class_name": f"class {number % 1000}"}
    view |= {
        "answer": random.random(),
        "top": [top, f"class {top}", random.random()],
        "size": [160, 120],
        "grid": [7, 7],
        "seen": [0, 0, 1, 1],
    }
    view |= {"maps": maps(), "thumbnail": thumbnail(number % 50)} | (
        {"top_maps": maps()} if top != number % 1000 else {}
    )
    kinds = [kind for kind in ("maps", "top_maps") if kind in view]
    view["boxes"] = {kind: {key: random.random(4).round(4).tolist() for key in DEFAULT_METHODS} for kind in kinds}
    yield "views", view | {"rows": []}
    yield "sweep", {"points": [], "moved": {str(count): random.random() for count in TUNING}, "rows": []}


def peak() -> float:
    """Of resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main(pictures: int) -> None:
    import camkit

    classifier = camkit.load("efficientnet_lite0")
    print(f"{peak():,.0f} MB with TensorFlow and the classifier")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.jsonl"
        synthetic_study(classifier, path, pictures)
        print(f"{pictures:,} pictures, {path.stat().st_size / pictures:,.0f} bytes each")
        begin = time.perf_counter()
        again = Checkpoint(path)
        keys = {}
        for key in again:
            keys.setdefault(key.strip("0123456789"), []).append(key)
        state = StudyState(pictures, pictures, values={name: Values(again, each) for name, each in keys.items()})
        print(f"{time.perf_counter() - begin:.1f} s to find what is finished")
        begin = time.perf_counter()
        for made in write_reports(Path(folder), Results.of(classifier, Settings(), state)):
            print(f"{time.perf_counter() - begin:.1f} s: {made.name}, {made.stat().st_size / 1e6:.1f} MB")
        size = sum(path.stat().st_size for path in (Path(folder) / "report_files").rglob("*"))
        print(f"{time.perf_counter() - begin:.1f} s in all; {size / pictures:,.0f} bytes a picture beside report.html")
        print(f"{peak():,.0f} MB at the peak")
        in_chromium(Path(folder) / "report.html")


def in_chromium(report: Path) -> None:
    """Open the report from disk as a reader does, and time what the reader waits for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"))
        page = browser.new_page(viewport={"width": 1440, "height": 900})

        def timed(words: str, act) -> None:
            begin = time.perf_counter()
            act()
            page.wait_for_selector(".card")
            print(f"{time.perf_counter() - begin:.2f} s to {words}")

        timed("open the report in Chromium", lambda: page.goto(report.as_uri()))
        timed("show the wrong ones", lambda: page.click("button[value=wrong]"))
        timed("turn the page", lambda: page.click("[aria-label='Next page'] >> nth=0"))
        timed("order by faithfulness", lambda: page.select_option("label:has-text('Order') select", "faithful"))
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        timed(
            "scroll to the end",
            lambda: page.wait_for_function("scrollY + innerHeight >= document.body.scrollHeight - 1"),
        )
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
