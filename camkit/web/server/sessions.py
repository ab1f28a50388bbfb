"""The page's memory of what visitors see, between two clicks and for the way back: a JPEG of the picture, the raw maps.

Found by the visitor, not by Gradio's own state, of which little is kept (serving.py), or by a token that only the
visitor's browser has. Everything else is made again when it is asked for. The number of results remembered is bounded,
in all and for each address: those that no page shows any more go first, then the oldest. A page whose memory went is
told so.
"""

from __future__ import annotations

import secrets
import threading
import time
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
    """One result. `picture`: a JPEG file's bytes. `query`: the page's address that asks for the result. `known`: the
    explanation without its image and its maps of this `size`. `run`: the number of the run that the page shows.
    `token`: what finds it again, not to be guessed. `ended`: no more maps of it were to come. `story`: the example's
    story was told. `measurements`: of its maps, once they are made."""

    address: str
    picture: bytes
    query: Mapping[str, str]
    known: Explanation
    size: tuple[int, int]
    run: int
    when: float
    token: str = ""
    ended: bool = False
    story: bool = False
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
    """Keep Memory by its token, and which one each visitor's page shows; every method may be called from any thread."""

    def __init__(self) -> None:
        self._kept: dict[str, Memory] = {}
        self._shown: dict[str, str] = {}  # visitor -> token
        self._guard = threading.Lock()

    def keep(
        self,
        run: Run,
        picture: bytes,
        explanation: Explanation,
        query: Mapping[str, str],
        ended: bool = False,
        story: bool = False,
    ) -> str:
        """Remember what the run shows, and forget results beyond the limits. Return the token; "" when the page shows a
        newer run already."""
        cams = {key: replace(cam, map=_NOTHING) for key, cam in explanation.cams.items()}
        size = next((cam.map.shape for cam in explanation.cams.values()), (0, 0))
        slim = replace(explanation, image=_NOTHING, cams=cams)
        memory = Memory(run.address, picture, query, slim, size, run.number, time.monotonic(), "", ended, story)
        with self._guard:
            shown = self._of(run.visitor)
            if shown and shown.run > run.number:
                return ""
            same = shown is not None and shown.run == run.number
            token = shown.token if shown and same else secrets.token_urlsafe(16)
            self._kept[token], self._shown[run.visitor] = replace(memory, token=token), token
            if not same:
                self._forget(run.address)
            return token

    def _forget(self, address: str) -> None:
        """Keep as many results as the limits allow, in all and of this address: those that pages show, and the
        newest."""
        allowed, now, shown = limits(), time.monotonic(), set(self._shown.values())
        young = [memory for memory in self._kept.values() if memory.when > now - FILES_LIVE]
        order = sorted(young, key=lambda memory: (memory.token in shown, memory.when), reverse=True)
        of_address = [memory.token for memory in order if memory.address == address]
        over = set(of_address[allowed.pages_per_address :])
        kept = [memory for memory in order if memory.token not in over][: allowed.pages]
        self._kept = {memory.token: memory for memory in kept}
        self._shown = {visitor: token for visitor, token in self._shown.items() if token in self._kept}

    def measured(self, visitor: str, run: int, measurements: Mapping[str, Measurement]) -> None:
        """Add the measurements of a run, if it is still the one that the page shows."""
        with self._guard:
            memory = self._of(visitor)
            if memory is not None and memory.run == run:
                self._kept[memory.token] = replace(memory, measurements=measurements)

    def find(self, visitor: str) -> Memory:
        """Return a visitor's Memory; InputError when it is not, or no longer, there."""
        with self._guard:
            token = self._shown.get(visitor, "")
            if token not in self._kept:
                raise InputError(FORGOTTEN)
            return self._used(token)

    def recall(self, token: object) -> Memory | None:
        """Return the Memory of a token, None when there is none, or no longer."""
        with self._guard:
            return self._used(token) if isinstance(token, str) and token in self._kept else None

    def show(self, run: Run, memory: Memory) -> Memory:
        """Make a result what the run's page shows, unless that shows a newer run already, and return it as such."""
        memory = replace(memory, run=run.number)
        with self._guard:
            shown = self._of(run.visitor)
            if not shown or shown.run <= run.number:
                self._kept[memory.token], self._shown[run.visitor] = memory, memory.token
        return memory

    def _of(self, visitor: str) -> Memory | None:
        """Return what the visitor's page shows; `_guard` is held."""
        return self._kept.get(self._shown.get(visitor, ""))

    def _used(self, token: str) -> Memory:
        self._kept[token] = replace(self._kept[token], when=time.monotonic())
        return self._kept[token]

    def __len__(self) -> int:
        with self._guard:
            return len(self._kept)


MEMORIES = Memories()


def memory_of(request: gr.Request) -> Memory:
    """Return what the page remembers; InputError when it does not, or no longer."""
    return MEMORIES.find(visitor_of(request))
