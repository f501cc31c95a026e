"""A circuit breaker: a service that does not answer is left alone for a while, then tried by one call at a time.

Written here because what purgatory offers keeps one breaker for the event loop and another for threads, lets every
waiting call through when half open, and imports Redis with a third of a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Breaker", "BreakerState", "Passage"]

BreakerState = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A call that was let through: the era of the breaker that it belongs to, and whether it is the probe."""

    era: int
    probe: bool = False


class Breaker:
    """Opens after `failures` calls in a row that failed, for `rest_s`; then one call decides. Safe in threads.

    Each change of state begins an era. What a call of an earlier era has to tell is old news and not heard: a call
    that began before the breaker opened can neither close it nor keep it open.
    """

    def __init__(self, failures: int, rest_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._rest_s = rest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._state: BreakerState = "closed"
        self._passage = Passage(era=0)
        self._failed = 0
        self._opened = 0.0
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """`closed`: calls go through; `open`: none does; `half-open`: the next, or one that is under way, decides."""
        if self._state == "open" and self.rest_left_s == 0.0:
            return "half-open"
        return self._state

    @property
    def rest_left_s(self) -> float:
        """How long it stays open yet."""
        if self._state != "open":
            return 0.0
        return max(0.0, self._opened + self._rest_s - self._clock())

    def enter(self) -> Passage | None:
        """Leave to call the service; None if it is to be left alone."""
        passage = self._passage
        if self._state == "closed":  # the usual case takes no lock
            return passage
        with self._lock:
            now = self.state
            if now == "closed":
                return self._passage
            if now == "open" or self._probing:
                return None
            if self._state == "open":
                self._change("half-open")
            self._probing = True
            return Passage(self._passage.era, probe=True)

    def succeeded(self, passage: Passage) -> None:
        """The service answered."""
        if self._failed == 0 and self._state == "closed":
            return
        with self._lock:
            if self._heard(passage):
                self._failed = 0
                if self._state != "closed":
                    self._change("closed")

    def failed(self, passage: Passage) -> None:
        """The service did not answer."""
        with self._lock:
            if self._heard(passage):
                self._failed += 1
                if passage.probe or self._failed >= self._failures:
                    self._opened = self._clock()
                    self._change("open")

    def withdrawn(self, passage: Passage) -> None:
        """The caller did not wait for the end; nothing was learnt, and another call may be the probe."""
        with self._lock:
            self._heard(passage)

    def _heard(self, passage: Passage) -> bool:
        if passage.era != self._passage.era:
            return False
        if passage.probe:
            self._probing = False
        return True

    def _change(self, state: BreakerState) -> None:
        self._state = state
        self._failed = 0
        self._passage = Passage(self._passage.era + 1)
