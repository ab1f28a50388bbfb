"""`Worker`: one thread for a classifier's passes, and the order in which it makes them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import PriorityQueue
from typing import Any

ONE_PICTURE, BLOCK = 1, 8  # the costs of calls: while both wait, one block is passed for every eight single pictures


class Worker:
    """One thread that makes calls one at a time, in the order of weighted fair queueing (Demers et al. 1989).

    A call of a single picture goes before every block that waits, so that it waits for one block at most, however many
    long runs are under way; and many single pictures do not hold the blocks up for ever.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._waiting: PriorityQueue[tuple[int, int, Callable[[], Any], Future]] = PriorityQueue()
        self._numbers = itertools.count()  # calls of equal rank are made in order of arrival
        self._lock = threading.Lock()
        self._now = 0  # the rank of the call that is being made
        self._last = {ONE_PICTURE: 0, BLOCK: 0}  # the rank given last, by cost

    def submit(self, call: Callable[[], Any], cost: int) -> Future:
        """Line up a call, `cost` ONE_PICTURE or BLOCK; return the future of what it returns or raises. Its result must
        not be waited for in this worker's own thread."""
        done: Future = Future()
        with self._lock:
            self._last[cost] = max(self._now, self._last[cost]) + cost
            self._waiting.put((self._last[cost], next(self._numbers), call, done))
        self._thread.submit(self._make_next)
        return done

    def _make_next(self) -> None:
        self._now, _, call, done = self._waiting.get_nowait()
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)
