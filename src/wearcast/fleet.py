"""The fleet: one long table of readings, sorted by unit and time, and what happened to each unit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast import frames
from wearcast.errors import FleetError
from wearcast.readings import Rows
from wearcast.schema import SECONDS, FleetSchema, Note, Outcome, TimeUnit, UnitId

if TYPE_CHECKING:
    from wearcast.frames import AnyFrame

__all__ = ["Fleet"]


def _no_events() -> pl.DataFrame:
    return pl.DataFrame(schema={"unit": pl.Int64, "time": pl.Int64, "kind": pl.String, "mode": pl.String})


BEGINNING = 10
"""Readings by which a unit is known again."""


@dataclass(frozen=True, repr=False)
class Fleet:
    """The sensor history of a fleet.

    Build one with `Fleet.from_frame` or `wearcast.load_dataset`.

    Attributes:
        frame: columns `unit`, `time`, then the schema's; sorted by unit and time; numbers as Float32.
        schema: column roles and the unit of time.
        events: columns `unit`, `time`, `kind` (one of `EVENT_KINDS`), `mode`. An event may lie after the last
            reading (the known truth of a truncated test history).
        name: where the fleet came from, for reports.
        notes: what was repaired on the way in.
    """

    frame: pl.DataFrame
    schema: FleetSchema
    events: pl.DataFrame = field(default_factory=_no_events)
    name: str = "fleet"
    notes: tuple[Note, ...] = ()

    def __repr__(self) -> str:
        return f"Fleet {self.name!r} of {self.n_units} units, {self.n_rows} readings, {self.frame}"

    # ------------------------------------------------------------------ building

    @classmethod
    def from_frame(
        cls,
        frame: AnyFrame,
        *,
        unit: str,
        sensors: Sequence[str],
        cycle: str | None = None,
        time: str | None = None,
        time_unit: TimeUnit | None = None,
        settings: Sequence[str] = (),
        statics: Sequence[str] = (),
        known_future: Sequence[str] = (),
        labels: Sequence[str] = (),
        masked: Sequence[str] = (),
        events: AnyFrame | Outcome = "censored",
        name: str = "frame",
    ) -> Fleet:
        """Build a fleet from a pandas, Polars or Arrow table.

        Args:
            frame: one row a reading.
            unit: column that names the unit (whole numbers or text).
            cycle: column that counts cycles; give this or `time`.
            time: column of timestamps (dates, datetimes or ISO 8601 text); give this or `cycle`.
            time_unit: unit of RUL for timestamps, 'hour' unless given.
            sensors: measured columns. Empty cells and NaN are missing readings and stay; infinities are refused.
            settings, statics, known_future, labels, masked: see `FleetSchema`.
            events: `"last_row"` if each history runs to the end of life, `"censored"` if every unit still runs, or
                a table with `unit`, `time` and optionally `kind` and `mode`; units without an event are censored.
            name: shown in reports.

        Raises:
            FleetError: missing or doubled columns, text where a number belongs, infinities, two readings of a unit
                at one time, an event of an unknown unit or before the unit's last reading.
        """
        if (cycle is None) == (time is None):
            raise FleetError("the time axis needs one column: give either cycle or time", where=name)
        schema = FleetSchema(
            time_unit="cycle" if cycle else (time_unit or "hour"),
            sensors=tuple(sensors),
            settings=tuple(settings),
            statics=tuple(statics),
            known_future=tuple(known_future),
            labels=tuple(labels),
            masked=tuple(masked),
        )
        table, found, notes = frames.prepare(
            frames.to_polars(frame, name), schema, unit=unit, time=cast(str, cycle or time), name=name
        )
        if isinstance(events, str):
            happened = frames.end_events(table, cast(Outcome, events), name)
        else:
            happened = frames.check_events(frames.to_polars(events, name), table, found, name)
        return cls(table, found, happened, name, notes)

    def with_notes(self, *notes: Note) -> Fleet:
        """The same fleet with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    # ------------------------------------------------------------------ units

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Row at which each unit starts, and the number of rows at the end: `(n_units + 1,)`."""
        if self.n_rows == 0:
            return np.zeros(1, dtype=np.int64)
        starts = (self.frame["unit"] != self.frame["unit"].shift(1)).fill_null(True).to_numpy()
        return np.append(np.flatnonzero(starts), self.n_rows).astype(np.int64)

    @cached_property
    def units(self) -> tuple[UnitId, ...]:
        """The units in the order of their rows."""
        return tuple(self.frame["unit"].gather(self.offsets[:-1]).to_list())

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.offsets) - 1

    @property
    def n_rows(self) -> int:
        """Number of readings."""
        return self.frame.height

    def __len__(self) -> int:
        return self.n_rows

    @cached_property
    def row_unit(self) -> NDArray[np.int32]:
        """Index into `units` of each row, `(n_rows,)`."""
        return np.repeat(np.arange(self.n_units, dtype=np.int32), np.diff(self.offsets))

    def select(self, units: Iterable[UnitId]) -> Fleet:
        """The fleet of these units only, in this fleet's order.

        Raises:
            FleetError: a unit is not in the fleet.
        """
        wanted = set(units)
        unknown = wanted.difference(self.units)
        if unknown:
            raise FleetError(f"no such unit: {', '.join(map(str, sorted(unknown, key=str)[:5]))}", where=self.name)
        keep = pl.Series(sorted(wanted, key=str), dtype=self.frame["unit"].dtype)
        return replace(
            self,
            frame=self.frame.filter(pl.col("unit").is_in(keep.implode())),
            events=self.events.filter(pl.col("unit").is_in(keep.implode())),
        )

    # ------------------------------------------------------------------ time

    def _clock(self, time: pl.Series) -> NDArray[np.float64]:
        if not self.schema.is_clock:
            return time.cast(pl.Float64).to_numpy()
        per_unit = SECONDS[self.schema.time_unit] * 1e6
        return time.cast(pl.Datetime("us")).cast(pl.Int64).to_numpy() / per_unit

    @cached_property
    def age(self) -> NDArray[np.float64]:
        """Time since the unit's first reading, in `schema.time_unit`, `(n_rows,)`."""
        clock = self._clock(self.frame["time"])
        return clock - np.repeat(clock[self.offsets[:-1]], np.diff(self.offsets))

    def age_at(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """`age` of these rows, without an array of all."""
        first = self.offsets[np.searchsorted(self.offsets, rows, side="right") - 1]
        time = self.frame["time"]
        return self._clock(time.gather(rows)) - self._clock(time.gather(first))

    @cached_property
    def end_of_life_age(self) -> NDArray[np.float64]:
        """Age at which each unit's life ended, `(n_units,)`; NaN where it is censored."""
        ages = np.full(self.n_units, np.nan)
        ends = self.events.filter(pl.col("kind").is_in(["end_of_life", "failure"]))
        if ends.height:
            first = ends.group_by("unit").agg(pl.col("time").min())
            index = {unit: i for i, unit in enumerate(self.units)}
            rows = np.array([index[unit] for unit in first["unit"].to_list()], dtype=np.intp)
            start = self._clock(self.frame["time"].gather(self.offsets[:-1][rows]))
            ages[rows] = self._clock(first["time"]) - start
        return ages

    def rul(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Time to end of life of each row and whether it is known, both `(n_rows,)`.

        Where it is not known (a censored unit), the time is the least it can be: up to the unit's last reading.
        """
        last = self.age[self.offsets[1:] - 1] if self.n_units else np.zeros(0)
        known = np.isfinite(self.end_of_life_age)
        end = np.where(known, self.end_of_life_age, last)
        sizes = np.diff(self.offsets)
        return np.repeat(end, sizes) - self.age, np.repeat(known, sizes)

    # ------------------------------------------------------------------ as a `wearcast.readings.History`

    @property
    def time_unit(self) -> TimeUnit:
        """Unit of age and RUL."""
        return self.schema.time_unit

    @property
    def sampling_rate_hz(self) -> float | None:
        """Of the readings, where it is known."""
        return self.schema.sampling_rate_hz

    @property
    def column_names(self) -> tuple[str, ...]:
        """Every column beside unit and time."""
        return tuple(name for name in self.frame.columns if name not in ("unit", "time"))

    def column(self, name: str, rows: Rows = slice(None)) -> NDArray[Any]:
        """A column, or these rows of it: float32 with NaN where a reading is missing, or text."""
        return _rows_of(self.frame[name], rows).to_numpy()

    def microseconds(self, rows: Rows = slice(None)) -> NDArray[np.int64]:
        """Time of a clock, in microseconds since 1970."""
        return _rows_of(self.frame["time"], rows).cast(pl.Datetime("us")).cast(pl.Int64).to_numpy()

    def unit_at(self, rows: NDArray[np.int64]) -> pl.Series:
        """Unit of these rows."""
        return self.frame["unit"].gather(rows)

    def time_at(self, rows: NDArray[np.int64]) -> pl.Series:
        """Time of these rows."""
        return self.frame["time"].gather(rows)

    def with_sensors(self, columns: Mapping[str, NDArray[np.float32]]) -> Self:
        """The same fleet with further sensors."""
        frame = self.frame.with_columns(pl.Series(name, values) for name, values in columns.items())
        schema = self.schema.model_copy(update={"sensors": (*self.schema.sensors, *columns)})
        return replace(self, frame=frame, schema=schema)

    # ------------------------------------------------------------------ values

    def values(self, columns: Sequence[str]) -> NDArray[np.float32]:
        """The columns as one `(n_rows, n_columns)` float32 array, NaN where a reading is missing."""
        out = np.empty((self.n_rows, len(columns)), dtype=np.float32)
        for i, column in enumerate(columns):
            out[:, i] = self.frame[column].to_numpy()
        return out

    def unit_frame(self, unit: UnitId) -> pl.DataFrame:
        """The readings of one unit."""
        return self.select([unit]).frame

    def to_frame(self) -> pl.DataFrame:
        """All readings: `unit`, `time` and the schema's columns."""
        return self.frame

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, values and events: two fleets with one fingerprint hold the same data."""
        # What has come to the schema since leaves the fingerprint of fleets without it as it was.
        digest = hashlib.sha256(
            self.schema.model_dump_json(exclude=None if self.schema.masked else {"masked"}).encode()
        )
        for table in (self.frame, self.events.sort("unit", "time")):
            for column in table.iter_columns():
                digest.update(f"\x1e{column.name}\x1f{column.len()}\x1f".encode())
                if column.dtype.is_numeric() or column.dtype.is_temporal():
                    digest.update(np.ascontiguousarray(column.to_numpy()).view(np.uint8).data)
                else:
                    digest.update("\x1f".join(column.cast(pl.String).fill_null("\x00").to_list()).encode())
        return digest.hexdigest()

    @cached_property
    def beginnings(self) -> tuple[str, ...]:
        """A digest of the first readings of each unit, whatever its name, to know it again; empty if it has too few."""
        names = sorted(self.schema.numeric)
        long_enough = np.flatnonzero(np.diff(self.offsets) >= BEGINNING)
        rows = (self.offsets[long_enough][:, None] + np.arange(BEGINNING)).ravel()
        values = np.ascontiguousarray(np.stack([self.column(name, rows) for name in names], axis=1), dtype=np.float32)
        found = [""] * self.n_units
        for i, unit in enumerate(long_enough.tolist()):
            block = values[i * BEGINNING : (i + 1) * BEGINNING]
            found[unit] = hashlib.sha256("\x1f".join(names).encode() + block.tobytes()).hexdigest()[:16]
        return tuple(found)

    def summary(self) -> dict[str, Any]:
        """What `datasets info` and reports show of a fleet."""
        lives = np.diff(self.offsets)
        return {
            "name": self.name,
            "units": self.n_units,
            "rows": self.n_rows,
            "failed": int(np.isfinite(self.end_of_life_age).sum()),
            "censored": int(np.isnan(self.end_of_life_age).sum()),
            "rows_per_unit": [int(lives.min()), int(np.median(lives)), int(lives.max())] if self.n_units else [],
            "time_unit": self.schema.time_unit,
            "sensors": list(self.schema.sensors),
            "settings": list(self.schema.settings),
            "fingerprint": self.fingerprint,
        }


def _rows_of(series: pl.Series, rows: Rows) -> pl.Series:
    """A block of a column without a copy where it lies in one piece, or these rows."""
    return series[rows] if isinstance(rows, slice) else series.gather(rows)
