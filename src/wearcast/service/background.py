"""A thread beside the requests: it starts, wakes when there is something to do or a while has passed, and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wearcast.service.niceness import step_back

__all__ = ["Background"]

_END_S = 30.0


class Background:
    """One thread and what it does in turn.

    Args:
        name: of the thread.
        work: one turn; called again after each wake, and a last time at the end. What it raises ends the thread.
        pause_s: so long it sleeps at most when nobody wakes it; None sleeps until somebody does.
        behind: whether it has the processor only where those that answer requests do not want it.
    """

    def __init__(
        self, name: str, work: Callable[[], None], *, pause_s: float | None = None, behind: bool = False
    ) -> None:
        self._name = name
        self._work = work
        self._pause_s = pause_s
        self._behind = behind
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ending(self) -> bool:
        """Whether it is to end: work that can be left undone looks at it."""
        return self._ending.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def close(self) -> None:
        """Do a last turn and end."""
        self._ending.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        if self._behind:
            step_back()
        while True:
            self._woken.wait(self._pause_s)
            self._woken.clear()  # before the look at what there is: what comes after it wakes again
            ending = self.ending
            self._work()
            if ending:
                return
