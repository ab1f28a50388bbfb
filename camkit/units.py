"""Quantities in words: seconds, what a map cost."""

from __future__ import annotations

from .explanation import Cam


def seconds_in_words(seconds: float) -> str:
    """Return a duration with two digits or so, such as "63 ms", "2.4 s" or "12 s"."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def cost_in_words(cam: Cam) -> str:
    """Return what a map cost, such as "63 ms · 1 forward and 1 backward pass"."""
    back = f" and {cam.backward_passes} backward" if cam.backward_passes else ""
    noun = "pass" if max(cam.forward_passes, cam.backward_passes) == 1 else "passes"
    return f"{seconds_in_words(cam.seconds)} · {cam.forward_passes} forward{back} {noun}"
