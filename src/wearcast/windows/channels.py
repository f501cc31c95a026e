"""A fleet as a model sees it: channels by row, and what is needed to cut them into windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearcast.features import CalendarMark, calendar_marks
from wearcast.schema import UnitId

__all__ = ["Calendar", "Channels"]


@dataclass(frozen=True)
class Calendar:
    """Calendar marks of steps that a unit has no readings of yet, if it goes on as it did.

    Attributes:
        marks: which, in the order of the channels.
        last_us: time of each unit's last reading, in microseconds since 1970, `(n_units,)`.
        step_us: time from one reading of a unit to the next, `(n_units,)`.
    """

    marks: tuple[CalendarMark, ...]
    last_us: NDArray[np.int64]
    step_us: NDArray[np.int64]

    def beyond(self, unit: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """Marks so many steps after the last reading of each of these units, `(n, n_marks)`."""
        return calendar_marks(self.last_us[unit] + steps * self.step_us[unit], self.marks)


@dataclass(frozen=True)
class Channels:
    """A fleet as a model sees it: one contiguous array, and what is needed to cut it.

    Attributes:
        values: `(n_rows, n_values)`, scaled, without NaN: sensors first, then masks, settings, known-future columns,
            calendar marks and age.
        n_sensors: how many of the values are sensors.
        n_masks: how many are masks, 1 where a reading is there and 0 where it was missing.
        home: each unit's healthy start as it is known after 1, 2, … readings, `(n_units, steps, n_sensors)`; None if
            deviations from it are not asked for.
        static: `(n_units, n_static)`.
        offsets: first row of each unit and the number of rows, `(n_units + 1,)`.
        condition: operating condition of each row, -1 where it was not seen in training.
        missing: whether a reading of the row is missing, `(n_rows,)`.
        clipped: whether a reading of the row lies beyond `CLIP` standard deviations, `(n_rows,)`.
        known_future: positions of the known-future values, calendar marks last.
        units: names of the units, `n_units`.
        sampling_rate_hz: of the readings, for features of fast signals.
        shaft: turns of the shaft a second at each row, `(n_rows,)`, or the signal of its tachometer, for such features.
        calendar: what the calendar marks are beyond the end of a unit; None if they are not asked for.
    """

    values: NDArray[np.float32]
    n_sensors: int
    home: NDArray[np.float32] | None
    static: NDArray[np.float32]
    offsets: NDArray[np.int64]
    condition: NDArray[np.int16]
    missing: NDArray[np.bool_]
    clipped: NDArray[np.bool_]
    known_future: list[int]
    units: tuple[UnitId, ...] = ()
    sampling_rate_hz: float | None = None
    shaft: NDArray[np.float32] | None = None
    calendar: Calendar | None = None
    n_masks: int = 0

    @property
    def row_unit(self) -> NDArray[np.int32]:
        """Unit of each row, `(n_rows,)`."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))

    @property
    def start(self) -> NDArray[np.int64]:
        """First row of the unit of each row, `(n_rows,)`."""
        return np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def unit_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Unit of these rows, without an array of all."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    def home_at(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Healthy start of the unit of each row as it is known at that row, `(n, n_sensors)`: no look ahead."""
        if self.home is None:
            return None
        unit = self.unit_of(rows)
        age = np.minimum(rows - self.offsets[unit], self.home.shape[1] - 1)
        known: NDArray[np.float32] = self.home[unit, age]
        return known
