"""Forecasts of a challenger that nobody hears: computed beside the requests, on the same readings, and recorded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wearcast.errors import WearcastError
from wearcast.service.logs import get_logger
from wearcast.service.niceness import step_back
from wearcast.service.scoring import forecast

if TYPE_CHECKING:
    from wearcast.service.given import Given
    from wearcast.service.layout import Layouts, UnitReadings
    from wearcast.service.served import Served

__all__ = ["Shadow"]

log = get_logger("wearcast.service.shadow")


class Shadow:
    """One thread, behind everything else, with a short list of what to do.

    Args:
        given: where the forecasts go.
        layouts: of the models.
        waiting: requests that may wait; under load the rest is left out and counted.

    Attributes:
        done: units that were forecast.
        dropped: units that were left out because the list was full.
        failed: units that the challenger could not forecast.
    """

    def __init__(self, given: Given, layouts: Layouts, *, waiting: int = 64) -> None:
        self.done = self.dropped = self.failed = 0
        self._given = given
        self._layouts = layouts
        self._most = waiting
        self._waiting: deque[tuple[Served, Sequence[UnitReadings]]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="wearcast-shadow", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what is begun, drop what waits."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(30)

    def offer(self, served: Served, units: Sequence[UnitReadings]) -> None:
        """Let the challenger forecast these readings some time soon, or not at all."""
        if len(self._waiting) >= self._most:
            self.dropped += len(units)
            return
        with self._wake:
            self._waiting.append((served, units))
            self._wake.notify()

    def wait_idle(self, timeout_s: float = 30.0) -> bool:
        """Wait until nothing is left to do; whether it came to that."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._waiting, timeout_s)

    def _run(self) -> None:
        step_back()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                served, units = self._waiting[0]
            self._do(served, units)
            with self._wake:
                self._waiting.popleft()
                self._wake.notify_all()

    def _do(self, served: Served, units: Sequence[UnitReadings]) -> None:
        try:
            layout = self._layouts.of(served)
            layout.check(units, served.reference)
            scored = forecast(served, units, layout)
        except Exception as error:  # a challenger that fails is a finding, and no reason to stop
            self.failed += len(units)
            said = error.what if isinstance(error, WearcastError) else type(error).__name__
            log.warning("the shadow could not forecast", model=served.reference, error=said, units=len(units))
            return
        self.done += len(units)
        self._given.add(served, units, scored)
