"""The order in which a classifier's one thread makes its calls."""

import threading

import pytest
from conftest import LIMIT

from camkit.passes.worker import BLOCK, ONE_PICTURE, Worker


def order_of(*waiting: tuple[str, int]) -> list[str]:
    """The order in which calls are made that have lined up one after another behind a first one."""
    worker, made, lined_up = Worker("test"), [], threading.Event()
    first = worker.submit(lambda: lined_up.wait(LIMIT), BLOCK)
    calls = [worker.submit(lambda name=name: made.append(name), cost) for name, cost in waiting]
    lined_up.set()
    assert first.result(LIMIT)
    for call in calls:
        call.result(LIMIT)
    return made


@pytest.mark.parametrize("cost", [ONE_PICTURE, BLOCK])
def test_calls_of_one_cost_are_made_in_order_of_arrival(cost):
    names = [str(number) for number in range(6)]
    assert order_of(*((name, cost) for name in names)) == names


def test_a_single_picture_goes_before_every_block_that_waits():
    blocks = [(f"block {number}", BLOCK) for number in range(3)]
    assert order_of(*blocks, ("picture", ONE_PICTURE)) == ["picture", *(name for name, _ in blocks)]


def test_single_pictures_do_not_hold_a_block_up_for_ever():
    pictures = [(f"picture {number}", ONE_PICTURE) for number in range(20)]
    assert order_of(*pictures, ("block", BLOCK)).index("block") == BLOCK


def test_what_a_call_returns_or_raises_is_its_caller_s():
    worker = Worker("test")

    def broken():
        raise RuntimeError("a broken pass")

    failed, answered = worker.submit(broken, BLOCK), worker.submit(lambda: 7, BLOCK)
    with pytest.raises(RuntimeError, match="a broken pass"):
        failed.result(LIMIT)
    assert answered.result(LIMIT) == 7


def test_all_calls_are_made_in_one_thread_that_ends_with_its_worker():
    worker = Worker("test")
    threads = {worker.submit(threading.current_thread, cost).result(LIMIT) for cost in (ONE_PICTURE, BLOCK) * 5}
    (thread,) = threads
    del worker
    thread.join(LIMIT)
    assert thread is not threading.main_thread() and not thread.is_alive()
