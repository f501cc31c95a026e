"""Forecasts of a challenger that nobody hears: computed beside the requests, on the same readings, and recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import monotonic, sleep
from typing import TYPE_CHECKING

from wearcast.errors import WearcastError
from wearcast.service.background import Background
from wearcast.service.logs import get_logger
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
        self._thread = Background("wearcast-shadow", self._run, behind=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Finish what is begun, drop what waits."""
        self._thread.close()

    def offer(self, served: Served, units: Sequence[UnitReadings]) -> None:
        """Let the challenger forecast these readings some time soon, or not at all."""
        if len(self._waiting) >= self._most:
            self.dropped += len(units)
            return
        self._waiting.append((served, units))
        self._thread.wake()

    def wait_idle(self, timeout_s: float = 30.0) -> bool:
        """Wait until nothing is left to do; whether it came to that."""
        until = monotonic() + timeout_s
        while self._waiting and monotonic() < until:
            sleep(0.002)
        return not self._waiting

    def _run(self) -> None:
        while self._waiting and not self._thread.ending:
            self._do(*self._waiting[0])
            self._waiting.popleft()  # only now: what is begun still counts as waiting

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
