"""Readings as plain arrays: what preprocessing reads of a fleet, and what arrives over a wire.

A `Fleet` is a checked table with events and notes; a service that is asked a thousand times a minute has only arrays.
Both are a `History`, and there is one preprocessing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast.schema import SECONDS, TimeUnit, UnitId

__all__ = ["History", "Readings", "Rows"]

Rows = slice | NDArray[np.int64]
"""Rows of a table: a block, or these."""


class History(Protocol):
    """Readings of units, sorted by unit and time, as preprocessing and forecasts read them."""

    @property
    def name(self) -> str:
        """Where they came from, for complaints."""

    @property
    def units(self) -> tuple[UnitId, ...]:
        """The units in the order of their rows."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """First row of each unit and the number of rows, `(n_units + 1,)`."""

    @property
    def n_rows(self) -> int:
        """Number of readings."""

    @property
    def n_units(self) -> int:
        """Number of units."""

    @property
    def time_unit(self) -> TimeUnit:
        """Unit of age and RUL: 'cycle' for a counter, else a clock unit."""

    @property
    def sampling_rate_hz(self) -> float | None:
        """Of the readings, where it is known."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Every column that can be read, beside unit and time."""

    def column(self, name: str, rows: Rows = slice(None)) -> NDArray[Any]:
        """A column, or these rows of it: float32 with NaN where a reading is missing, or text."""

    def age_at(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Time since the unit's first reading at these rows, in `time_unit`."""

    def microseconds(self, rows: Rows = slice(None)) -> NDArray[np.int64]:
        """Time of a clock, in microseconds since 1970."""

    def unit_at(self, rows: NDArray[np.int64]) -> pl.Series:
        """Unit of these rows."""

    def time_at(self, rows: NDArray[np.int64]) -> pl.Series:
        """Time of these rows: a number of cycles, or a timestamp."""

    def with_sensors(self, columns: Mapping[str, NDArray[np.float32]]) -> Self:
        """The same with further sensors."""


@dataclass(frozen=True)
class Readings:
    """A `History` in arrays. What is in them was checked by whoever made them.

    Attributes:
        units: names of the units, `n_units`.
        offsets: first row of each unit and the number of rows, `(n_units + 1,)`.
        time: ascending within a unit, `(n_rows,)`: cycles, or microseconds since 1970 for a clock.
        columns: by name, `(n_rows,)` each: float32 with NaN where a reading is missing, text as objects.
        time_unit: unit of age and RUL.
        sampling_rate_hz: of the readings, where it is known.
        name: where they came from, for complaints.

    Example:
        >>> Readings(("a", "b"), np.array([0, 2, 3]), np.array([1, 2, 1]), {"flow": np.zeros(3, np.float32)}).n_units
        2
    """

    units: tuple[UnitId, ...]
    offsets: NDArray[np.int64]
    time: NDArray[Any]
    columns: Mapping[str, NDArray[Any]]
    time_unit: TimeUnit = "cycle"
    sampling_rate_hz: float | None = None
    name: str = "readings"

    @classmethod
    def of(cls, history: History, columns: Iterable[str]) -> Readings:
        """A history in arrays, with at least those of these columns that it has: for who reads it many times."""
        if isinstance(history, cls):
            return history
        there = frozenset(history.column_names)
        return cls(
            units=history.units,
            offsets=history.offsets,
            time=history.time_at(np.arange(history.n_rows)).to_numpy()
            if history.time_unit == "cycle"
            else history.microseconds(),
            columns={name: history.column(name) for name in columns if name in there},
            time_unit=history.time_unit,
            sampling_rate_hz=history.sampling_rate_hz,
            name=history.name,
        )

    @property
    def n_rows(self) -> int:
        """Number of readings."""
        return len(self.time)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.units)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Every column that can be read, beside unit and time."""
        return tuple(self.columns)

    def column(self, name: str, rows: Rows = slice(None)) -> NDArray[Any]:
        """A column, or these rows of it."""
        found: NDArray[Any] = self.columns[name][rows]
        return found

    def age_at(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Time since the unit's first reading at these rows, in `time_unit`."""
        first = self.offsets[np.searchsorted(self.offsets, rows, side="right") - 1]
        if self.time_unit == "cycle":
            now, then = self.time[rows].astype(np.float64), self.time[first].astype(np.float64)
        else:  # as a fleet does it, to the last bit
            per_unit = SECONDS[self.time_unit] * 1e6
            now, then = self.time[rows] / per_unit, self.time[first] / per_unit
        age: NDArray[np.float64] = now - then
        return age

    def microseconds(self, rows: Rows = slice(None)) -> NDArray[np.int64]:
        """Time of a clock, in microseconds since 1970."""
        time: NDArray[np.int64] = self.time[rows]
        return time

    def unit_at(self, rows: NDArray[np.int64]) -> pl.Series:
        """Unit of these rows."""
        index = np.searchsorted(self.offsets, rows, side="right") - 1
        return pl.Series("unit", [self.units[i] for i in index.tolist()])

    def time_at(self, rows: NDArray[np.int64]) -> pl.Series:
        """Time of these rows."""
        time = pl.Series("time", self.time[rows])
        return time if self.time_unit == "cycle" else time.cast(pl.Datetime("us"))

    def with_sensors(self, columns: Mapping[str, NDArray[np.float32]]) -> Self:
        """The same with further columns."""
        return replace(self, columns={**self.columns, **columns})
