"""What tests of studies and reports share: small pictures and settings, and a study with every measurement."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from camkit.evidence.settings import Box, Settings
from camkit.report.results import Results
from camkit.study import study
from camkit.study.measurements import MEASUREMENTS
from camkit.study.study import study_stream

FAST = Settings(methods=("gradcam", "faster_scorecam"), max_n=2, steps=4)


SMALL = Settings(max_n=3, steps=4)


BOXES = {"1.png": (Box("left half", 5, (0.0, 0.0, 0.5, 1.0)), Box("lower half", 7, (0.0, 0.5, 1.0, 1.0)))}


def picture(seed: int) -> bytes:
    """A seeded 50 x 60 PNG that excites every channel of the tiny model."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 50, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


ALWAYS = sum(each.always for each in MEASUREMENTS.values())  # lines that a picture of a report makes


PICTURES = {f"{seed}.png": picture(seed) for seed in range(3)}


def finished(*arguments, **options) -> study.StudyState:
    *_, last = study_stream(*arguments, **options)
    assert last.complete
    return last


@pytest.fixture(scope="session")
def everything(tiny) -> Results:
    """All measurements on three pictures and one that cannot be read, with the tiny model."""
    pictures = {**PICTURES, "no|picture<b>.png": b"text"}
    return Results.of(tiny, SMALL, finished(tiny, pictures, SMALL, BOXES, tuple(MEASUREMENTS)))


def rows_of(results) -> list[dict]:
    return results.frames["metrics"].to_dict("records")


def comparable(state) -> dict:
    """Everything measured but the clock's readings."""
    text = json.dumps({part: list(values) for part, values in state.values.items()})
    return json.loads(re.sub(r'"(seconds|spent)": [^,}]+', r'"\1": 0', text))


def forbid(monkeypatch):
    """From here on nothing may be measured."""
    for key, part in MEASUREMENTS.items():
        monkeypatch.setitem(
            MEASUREMENTS, key, replace(part, take=lambda case: pytest.fail(f"{case.picture} is measured again"))
        )
