"""What the page remembers of a visitor between two clicks: a JPEG of the picture, and the raw maps.

Everything else is made again from them when it is asked for. The number of pages remembered is bounded, in all and for
each address; the oldest go first, and a page whose memory went is told so.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..explanation import Explanation
from ..picture import open_picture
from .limits import limits
from .visitors import FILES_LIVE, Run

FORGOTTEN = "The server has no picture of this page, or no longer: choose a picture or an example."
_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Memory:
    """`picture`: a JPEG file's bytes. `explanation`: without its image and its maps of this `size`."""

    address: str
    picture: bytes
    explanation: Explanation
    size: tuple[int, int]
    run: int
    when: float


class Memories:
    """Memory by visitor; every method may be called from any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Memory] = OrderedDict()
        self._guard = threading.Lock()

    def keep(self, run: Run, picture: bytes, explanation: Explanation) -> Session:
        cams = {key: replace(cam, map=_NOTHING) for key, cam in explanation.cams.items()}
        size = next((cam.map.shape for cam in explanation.cams.values()), (0, 0))
        slim = replace(explanation, image=_NOTHING, cams=cams)
        allowed, now = limits(), time.monotonic()
        with self._guard:
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
        return Session(run.visitor, run.number)

    def find(self, visitor: str) -> Memory:
        """InputError when it is not, or no longer, there."""
        with self._guard:
            if visitor not in self._kept:
                raise InputError(FORGOTTEN)
            self._kept.move_to_end(visitor)
            return self._kept[visitor]

    def __len__(self) -> int:
        with self._guard:
            return len(self._kept)


MEMORIES = Memories()


@dataclass(frozen=True)
class Session:
    """What Gradio keeps for a page: whose it is, and the number of the run that it shows."""

    visitor: str
    run: int

    @property
    def memory(self) -> Memory:
        """InputError when it went."""
        return MEMORIES.find(self.visitor)

    @property
    def explanation(self) -> Explanation:
        """As the page shows it, its picture decoded and its maps expanded again."""
        from ..cams import finish

        memory = self.memory
        cams = {key: replace(cam, map=finish(cam.raw, memory.size)) for key, cam in memory.explanation.cams.items()}
        return replace(memory.explanation, image=open_picture(memory.picture), cams=cams)


def require_session(session: Session | None) -> Session:
    """The page's session; InputError while there is none."""
    if session is None:
        raise InputError(FORGOTTEN)
    return session


def require_explanation(session: Session | None) -> Explanation:
    """The page's explanation; InputError while there is none."""
    explanation = require_session(session).explanation
    if not explanation.cams:
        raise InputError("There is no map yet: wait for the first one.")
    return explanation
