"""A thread that starts, wakes and ends."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest

from wearcast.service.background import Background


def counting() -> tuple[list[int], threading.Semaphore, Callable[[], None]]:
    """Turns that were done (in which thread), a semaphore released by each, and the work."""
    turns: list[int] = []
    done = threading.Semaphore(0)

    def work() -> None:
        turns.append(threading.get_native_id())
        done.release()

    return turns, done, work


def test_it_works_when_it_is_woken_and_once_more_at_the_end() -> None:
    turns, done, work = counting()
    thread = Background("test", work)
    thread.start()
    assert not done.acquire(timeout=0.05), "nobody has woken it"
    for _ in range(3):
        thread.wake()
        assert done.acquire(timeout=5)
    assert not thread.ending
    thread.close()
    assert (len(turns), len(set(turns)), thread.ending) == (4, 1, True)
    assert turns[0] != threading.get_native_id()


def test_it_wakes_by_itself_after_a_while() -> None:
    _, done, work = counting()
    thread = Background("test", work, pause_s=0.01)
    thread.start()
    assert all(done.acquire(timeout=5) for _ in range(3))
    thread.close()


def test_work_that_came_while_it_worked_is_done_too() -> None:
    waiting, began, go, seen = [1], threading.Event(), threading.Event(), []

    def work() -> None:
        while waiting:
            seen.append(waiting.pop())
            began.set()
            go.wait(5)

    thread = Background("test", work)
    thread.start()
    thread.wake()
    assert began.wait(5)
    waiting.append(2)
    thread.wake()
    go.set()
    thread.close()
    assert seen == [1, 2]


def test_one_that_was_never_started_can_be_closed() -> None:
    turns, _, work = counting()
    Background("test", work).close()
    assert turns == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives each thread a niceness")
def test_one_that_stands_back_is_nicer() -> None:
    found: list[int] = []
    thread = Background("test", lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)), behind=True)
    thread.start()
    thread.close()
    assert found[0] >= 10
