"""The role of each column of a fleet, what can happen to a unit, and notes on what was repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from wearcast.config import Strict

__all__ = ["EVENT_KINDS", "SECONDS", "FleetSchema", "Note", "Outcome", "TimeUnit", "UnitId"]

UnitId = int | str
TimeUnit = Literal["cycle", "second", "minute", "hour", "day"]
Outcome = Literal["last_row", "censored"]

EVENT_KINDS = ("end_of_life", "failure", "maintenance")
"""What can happen to a unit. The first `end_of_life` or `failure` ends its life; without one it is censored."""

SECONDS: dict[TimeUnit, float] = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


class FleetSchema(Strict):
    """The role of each column."""

    time_unit: TimeUnit = Field("cycle", description="Unit of RUL and age: 'cycle' for a counter, else a clock unit.")
    sensors: tuple[str, ...] = Field(description="Measured columns.")
    settings: tuple[str, ...] = Field((), description="Operating settings: what the operator or the mission chose.")
    statics: tuple[str, ...] = Field((), description="Columns that never change within a unit; numbers or text.")
    known_future: tuple[str, ...] = Field((), description="Columns that are known ahead, such as a planned load.")
    labels: tuple[str, ...] = Field((), description="Columns that hold an answer, numbers or text: never a feature.")
    masked: tuple[str, ...] = Field((), description="Columns of whose missing readings the models are to be told.")
    units_of_measure: dict[str, str] = Field(default_factory=dict, description="Unit of measure of a column.")
    ranges: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description="Lowest and highest possible value of a column; null where there is no bound."
    )
    sampling_rate_hz: float | None = Field(None, gt=0)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The columns that vary in time: settings, sensors and known-future columns."""
        return (*self.settings, *self.sensors, *self.known_future)

    @property
    def is_clock(self) -> bool:
        """Whether the time axis is timestamps rather than a counter of cycles."""
        return self.time_unit != "cycle"


@dataclass(frozen=True)
class Note:
    """Something that was repaired or is worth knowing about the data, counted."""

    kind: str
    count: int
    message: str
