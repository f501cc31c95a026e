"""The readings of one unit as they are kept: what may be added, and what no forecast depends on any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wearcast.config import nearest
from wearcast.service.layout import Layout, UnitReadings, listed
from wearcast.service.problems import Fault, Problem

__all__ = ["Addition", "History", "Keeping", "told_time"]

Floats = NDArray[np.float64]

FUTURE_S = 300.0
"""How far a clock may be ahead of this one."""


@dataclass(frozen=True)
class Keeping:
    """What has to be kept so that no forecast changes.

    Attributes:
        most_rows: readings of a unit beyond which older ones are dropped.
        context: readings up to the last that a forecast depends on; None if on all.
        healthy_steps: first readings that it depends on.
    """

    most_rows: int
    context: int | None
    healthy_steps: int

    @classmethod
    def of(cls, layouts: Sequence[Layout], most_rows: int) -> Self:
        """What any of these models depends on."""
        contexts = [layout.context for layout in layouts]
        context = None if None in contexts else max(one for one in contexts if one is not None)
        return cls(most_rows, context, max(layout.healthy_steps for layout in layouts))


@dataclass(frozen=True)
class History:
    """Readings of one unit; never changed, only replaced.

    Attributes:
        unit: its id.
        revision: grows with each change, and is another one if the unit is deleted and comes again.
        names: of the columns of numbers, `k`.
        clock: whether times are microseconds since 1970 rather than cycles.
        statics: what was given once: numbers are among the columns, too.
        time: ascending, `(n,)`.
        values: float32 `(k, n)`, NaN where a reading is missing.
        dropped: older readings that are no longer kept.
        updated: seconds since 1970.
    """

    unit: str
    revision: int
    names: tuple[str, ...]
    clock: bool
    statics: dict[str, float | str | None]
    time: Floats
    values: NDArray[np.float32]
    dropped: int
    updated: float

    @property
    def n_rows(self) -> int:
        """Readings that are kept."""
        return len(self.time)

    @property
    def n_bytes(self) -> int:
        """Memory that it takes, about."""
        return self.time.nbytes + self.values.nbytes + 1_000

    @property
    def texts(self) -> dict[str, str | None]:
        """The statics that are text."""
        return {name: value for name, value in self.statics.items() if not isinstance(value, float)}

    def readings(self, layout: Layout) -> UnitReadings:
        """What a forecast of the last reading depends on.

        Raises:
            Problem: the model reads a column that is not there.
        """
        there = {*self.names, *self.texts}
        if lacking := [name for name in layout.columns if name not in there]:
            raise Problem(
                "history-differs",
                f"the model reads {listed(lacking)}, of which no readings are stored for unit {self.unit!r}",
                tuple(Fault(f"columns.{name}", "it was not among the first readings of this unit") for name in lacking),
            )
        rows = kept_rows(self.values, layout.context, layout.healthy_steps)
        time = self.time if rows is None else self.time[rows]
        values = self.values if rows is None else self.values[:, rows]
        whole = time.astype(np.int64)
        exact: NDArray[Any] = whole if self.clock or (whole == time).all() else time
        return UnitReadings(self.unit, exact, self.names, values, self.texts)

    def completed(self, readings: UnitReadings) -> UnitReadings:
        """New readings with the statics that were given before.

        Raises:
            Problem: a static has another value now.
        """
        given = {**readings.texts, **{name: _first(readings, name) for name in readings.fixed}}
        for name in given.keys() & self.statics.keys():
            if not _same(given[name], self.statics[name]):
                what = f"it was {self.statics[name]!r} and is {given[name]!r} now"
                hint = "a static column never changes; delete the unit if it has become another machine"
                raise Problem.at("history-differs", f"statics.{name}", what, hint)
        numbers = {name: value for name, value in self.statics.items() if isinstance(value, float)}
        lacking = [name for name in numbers if name not in readings.names]
        texts = {**self.texts, **readings.texts}
        if not lacking:
            return replace(readings, texts=texts)
        rows = np.array([[numbers[name]] * len(readings.time) for name in lacking], dtype=np.float32)
        return replace(
            readings,
            names=(*readings.names, *lacking),
            values=np.concatenate([readings.values, rows]),
            texts=texts,
            fixed=(*readings.fixed, *lacking),
        )


@dataclass(frozen=True)
class Addition:
    """New readings held against a history.

    Attributes:
        time, values: of those that are new, in the order of the history's columns.
        repeated: how many were there already.
    """

    time: Floats
    values: NDArray[np.float32]
    repeated: int

    @classmethod
    def to(cls, history: History | None, readings: UnitReadings) -> Self:
        """What of these readings is new.

        Raises:
            Problem: one is older than the last, or differs from that of its time, or the columns are others.
        """
        time = readings.time.astype(np.float64)
        if history is None:
            return cls(time, readings.values, 0)
        if set(readings.names) != set(history.names):
            raise _other_columns(history, readings)
        order = [readings.names.index(name) for name in history.names]
        values = readings.values if readings.names == history.names else readings.values[order]
        old = int(np.searchsorted(time, history.time[-1], side="right"))
        if old:
            _check_repeated(history, time[:old], values[:, :old])
        return cls(time[old:], values[:, old:], old)


def started(readings: UnitReadings, revision: int, *, clock: bool) -> History:
    """The history of a unit that is new, before its first readings are in it."""
    fixed = {name: float(_first(readings, name)) for name in readings.fixed}
    return History(
        str(readings.unit),
        revision,
        readings.names,
        clock,
        {**fixed, **readings.texts},
        np.empty(0),
        np.empty((len(readings.names), 0), dtype=np.float32),
        0,
        0.0,
    )


def extended(history: History, new: Addition, keeping: Keeping, now: float) -> tuple[History, bool]:
    """The history with new readings, and whether older ones were dropped for them.

    Raises:
        Problem: it is full, and a forecast depends on all readings.
    """
    time = np.concatenate([history.time, new.time])
    values = np.concatenate([history.values, new.values], axis=1)
    dropped = history.dropped
    shorten = len(time) > keeping.most_rows
    if shorten:
        rows = None
        if keeping.context is not None and keeping.context + keeping.healthy_steps <= keeping.most_rows:
            rows = kept_rows(values, max(keeping.context, keeping.most_rows // 2), keeping.healthy_steps)
        if rows is None:
            raise Problem(
                "history-full",
                f"unit {history.unit!r} would have {len(time)} readings, and at most {keeping.most_rows} are kept: the "
                "model depends on all of them, so none can be dropped",
                (Fault("body", "too many readings", "delete the unit and go on with its latest readings"),),
            )
        dropped += len(time) - len(rows)
        time, values = time[rows], values[:, rows]
    longer = replace(history, revision=history.revision + 1, time=time, values=values, dropped=dropped, updated=now)
    return longer, shorten


def kept_rows(values: NDArray[np.float32], context: int | None, healthy_steps: int) -> NDArray[np.intp] | None:
    """Rows that a forecast of the last one depends on; None for all.

    These are the first ones (age, and the healthy start), the context, and before it the last known reading of each
    column that is missing where the context begins.
    """
    n = values.shape[1]
    if context is None or n <= context + healthy_steps:
        return None
    first = n - context
    holes = np.isnan(values[:, first])
    rows = np.zeros(n, dtype=np.bool_)
    rows[:healthy_steps] = True
    rows[first:] = True
    for column in np.flatnonzero(holes):
        known = np.flatnonzero(~np.isnan(values[column, :first]))
        if len(known):
            rows[known[-1]] = True
    return np.flatnonzero(rows)


def check_not_ahead(readings: UnitReadings, now: float) -> None:
    """Make sure that no reading is from the future.

    Raises:
        Problem: one is.
    """
    latest = now + FUTURE_S
    if readings.time[-1] / 1e6 > latest:
        row = int(np.searchsorted(readings.time, latest * 1e6, side="right"))
        what = f"{told_time(float(readings.time[row]), clock=True)} is more than {FUTURE_S:g} s ahead of this clock"
        hint = "set the clock of the sender; times are UTC unless they say otherwise"
        raise Problem.at("readings-from-the-future", f"time[{row}]", what, hint)


def told_time(time: float, *, clock: bool) -> int | float | str:
    """A time as answers have it."""
    if not clock:
        return int(time) if time.is_integer() else time
    return datetime.fromtimestamp(time / 1e6, UTC).replace(tzinfo=None).isoformat() + "Z"


def _check_repeated(history: History, time: Floats, values: NDArray[np.float32]) -> None:
    at = np.minimum(np.searchsorted(history.time, time), history.n_rows - 1)
    last = told_time(float(history.time[-1]), clock=history.clock)
    if not (known := history.time[at] == time).all():
        row = int(np.argmin(known))
        what = f"{told_time(float(time[row]), clock=history.clock)} is older than the last stored reading, {last}"
        dropped = f"; {history.dropped} older readings are no longer kept" if history.dropped else ""
        raise Problem.at("readings-out-of-order", f"time[{row}]", what + dropped, "send readings in the order of time")
    stored = history.values[:, at]
    same = (stored == values) | (np.isnan(stored) & np.isnan(values))
    if not same.all():
        column, row = (int(i) for i in np.argwhere(~same)[0])
        then = told_time(float(time[row]), clock=history.clock)
        what = f"at {then} it is {stored[column, row]:g} in the history and {values[column, row]:g} now"
        place = f"columns.{history.names[column]}[{row}]"
        raise Problem.at(
            "readings-changed", place, what, "a stored reading is never changed; delete the unit if it is wrong"
        )


def _other_columns(history: History, readings: UnitReadings) -> Problem:
    lacking = [name for name in history.names if name not in readings.names]
    more = [name for name in readings.names if name not in history.names]
    faults = [
        Fault(f"columns.{name}", "it is missing", nearest(name, more) or "null is a missing reading")
        for name in lacking
    ]
    faults += [Fault(f"columns.{name}", "it was not among the first readings", nearest(name, lacking)) for name in more]
    return Problem(
        "history-differs", f"readings of unit {history.unit!r} have the columns {listed(history.names)}", tuple(faults)
    )


def _first(readings: UnitReadings, name: str) -> float:
    return float(readings.values[readings.names.index(name), 0])


def _same(one: float | str | None, other: float | str | None) -> bool:
    missing = isinstance(one, float) and isinstance(other, float) and np.isnan(one) and np.isnan(other)
    return missing or one == other
