"""Where the process is on its way from start to end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["Lifecycle", "Readiness"]


@dataclass(slots=True)
class Lifecycle:
    """Set by the signal handler, read by readiness, by the access line and by whoever begins long work.

    Attributes:
        draining: no new work is wanted; what is here will be answered.
        in_flight: requests that are being answered.
        started: when the process began, by the monotonic clock.
    """

    draining: bool = False
    in_flight: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started


@dataclass(slots=True)
class Readiness:
    """What the database answered last, and when."""

    works: bool = False
    asked: float = float("-inf")
