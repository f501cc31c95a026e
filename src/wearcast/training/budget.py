"""A budget of time: what is left of it, and what a training will take by what a short probe took."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from wearcast.config import Strict
from wearcast.errors import UsageError

__all__ = ["Budget", "OutOfTime", "Pace", "parse_duration"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def parse_duration(text: str) -> float:
    """Seconds of `90`, `90s`, `20m` or `1.5h`.

    Raises:
        UsageError: it is none of these, or not above 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"not a time: {text!r}", where="--budget", hint="such as 90s, 20m or 1.5h")
    return float(found[1]) * _UNITS[found[2]]


class OutOfTime(Exception):  # noqa: N818 - no error: the end of what was allowed
    """What is left of the budget does not suffice to go on."""


class Pace(Strict):
    """What one training of a network takes, as a probe found."""

    fixed_seconds: float
    epoch_seconds: float

    def seconds(self, epochs: int) -> float:
        """Of a training of so many epochs."""
        return self.fixed_seconds + epochs * self.epoch_seconds

    def epochs_within(self, seconds: float) -> int:
        """How many epochs fit."""
        return max(0, int((seconds - self.fixed_seconds) / max(self.epoch_seconds, 1e-9)))


@dataclass
class Budget:
    """Time allowed, of which some may have been spent before.

    Attributes:
        seconds: allowed in all.
        spent_before: in earlier runs of the same selection.
    """

    seconds: float
    spent_before: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self.spent_before + time.perf_counter() - self.began

    @property
    def left(self) -> float:
        """Seconds that remain, less what pooling and writing the result will take."""
        return self.seconds * 0.97 - self.spent
