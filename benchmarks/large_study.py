"""A study of many pictures without its measuring: a synthetic checkpoint, and what the three reports of it cost.

`python benchmarks/large_study.py [PICTURES]` prints bytes a picture, seconds and the peak of memory.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from camkit.evidence.metrics import CONTROLS, METRICS  # noqa: E402
from camkit.evidence.settings import NOISE_SIGMAS, TUNING, Settings, earlier_layers  # noqa: E402
from camkit.methods import DEFAULT_METHODS  # noqa: E402
from camkit.report.report import write_reports  # noqa: E402
from camkit.report.results import Results  # noqa: E402
from camkit.study.checkpoint import Checkpoint, Values  # noqa: E402
from camkit.study.progress import StudyState  # noqa: E402


def synthetic_study(classifier, path, pictures: int) -> StudyState:
    """A finished study in a checkpoint, with the measurements that a run with --claims makes; the figures are seeded
    noise of the digits that real ones have."""
    random = np.random.default_rng(0)
    saved, keys = Checkpoint(path), {name: [] for name in ("metrics", "layers", "noise", "boxes", "sweep")}

    def results():
        for number in range(pictures):
            name = f"n{number % 1000:08}/ILSVRC2012_val_{number:08}.JPEG"
            for measurement, value in values_of(classifier, name, number, random):
                key = f"{measurement}{number}".rjust(32, "0")
                keys[measurement].append(key)
                yield key, value | {"picture": name, "spent": random.random()}

    saved.add_all(results())
    return StudyState(pictures, pictures, values={name: Values(saved, each) for name, each in keys.items()})


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
        print(f"{peak():,.0f} MB at the peak")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
