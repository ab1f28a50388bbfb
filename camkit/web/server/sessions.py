"""The page's memory of each visitor between two clicks: a JPEG of the picture, and the raw maps.

Found by the visitor, not by Gradio's own state, of which little is kept (serving.py). Everything else is made again
when it is asked for. The number of pages remembered is bounded, in all and for each address; the oldest go first, and a
page whose memory went is told so.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import gradio as gr
import numpy as np

from ...errors import InputError
from ...evidence.observations import Measurement
from ...explanation import Explanation
from ...picture import open_picture
from .limits import limits
from .runs import FILES_LIVE, Run, visitor_of

FORGOTTEN = "The server has no picture of this page, or no longer: choose a picture or an example."
_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Memory:
    """One page. `picture`: a JPEG file's bytes. `known`: the explanation without its image and its maps of this `size`.
    `run`: the number of the run that the page shows. `measurements`: of its maps, once they are made."""

    address: str
    picture: bytes
    known: Explanation
    size: tuple[int, int]
    run: int
    when: float
    measurements: Mapping[str, Measurement] = field(default_factory=dict)

    @property
    def explanation(self) -> Explanation:
        """Return what the page shows, picture decoded and maps expanded again; InputError before the first map."""
        from ...stock import finish

        if not self.known.cams:
            raise InputError("There is no map yet: wait for the first one.")
        cams = {key: replace(cam, map=finish(cam.raw, self.size)) for key, cam in self.known.cams.items()}
        return replace(self.known, image=open_picture(self.picture), cams=cams)


class Memories:
    """Keep Memory by visitor; every method may be called from any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Memory] = OrderedDict()
        self._guard = threading.Lock()

    def keep(self, run: Run, picture: bytes, explanation: Explanation) -> None:
        """Remember what the run shows, and forget the oldest pages beyond the limits."""
        cams = {key: replace(cam, map=_NOTHING) for key, cam in explanation.cams.items()}
        size = next((cam.map.shape for cam in explanation.cams.values()), (0, 0))
        slim = replace(explanation, image=_NOTHING, cams=cams)
        allowed, now = limits(), time.monotonic()
        with self._guard:
            if run.visitor in self._kept and self._kept[run.visitor].run > run.number:
                return  # the page shows a newer run already
            self._kept[run.visitor] = Memory(run.address, picture, slim, size, run.number, now)
            self._kept.move_to_end(run.visitor)
            same = [visitor for visitor, memory in self._kept.items() if memory.address == run.address]
            for visitor in same[: max(0, len(same) - allowed.pages_per_address)]:
                del self._kept[visitor]
            while self._kept:
                oldest = next(iter(self._kept.values()))
                if len(self._kept) <= allowed.pages and oldest.when > now - FILES_LIVE:
                    break
                self._kept.popitem(last=False)

    def measured(self, visitor: str, run: int, measurements: Mapping[str, Measurement]) -> None:
        """Add the measurements of a run, if it is still the one that the page shows."""
        with self._guard:
            memory = self._kept.get(visitor)
            if memory is not None and memory.run == run:
                self._kept[visitor] = replace(memory, measurements=measurements)

    def find(self, visitor: str) -> Memory:
        """Return a visitor's Memory; InputError when it is not, or no longer, there."""
        with self._guard:
            if visitor not in self._kept:
                raise InputError(FORGOTTEN)
            self._kept.move_to_end(visitor)
            return self._kept[visitor]

    def __len__(self) -> int:
        with self._guard:
            return len(self._kept)


MEMORIES = Memories()


def memory_of(request: gr.Request) -> Memory:
    """Return what the page remembers; InputError when it does not, or no longer."""
    return MEMORIES.find(visitor_of(request))
