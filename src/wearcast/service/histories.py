"""Readings that are kept by unit: durable before they are answered, right also when several processes write.

A unit is one row with a revision, and its readings lie in blocks, one an addition. Who adds to a unit says which
revision he has seen; if it is no longer that one, nothing is written, and he looks again. Histories in memory are
copies of a revision and are never believed without it.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)
from sqlalchemy.exc import IntegrityError

from wearcast.service.database import metadata, reading, writing
from wearcast.service.history import Addition, History, Keeping, check_not_ahead, extended, started
from wearcast.service.layout import Layout, UnitReadings
from wearcast.service.problems import Problem

__all__ = ["Added", "Summary", "UnitHistories"]

MOST_ROWS: Final = 10_000
MEMORY_BYTES: Final = 64 << 20
_MANY_BLOCKS: Final = 256
"""Blocks of a unit that are put together into one."""
_TRIES: Final = 20

_units = Table(
    "unit_histories",
    metadata,
    Column("unit", String(128), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("columns", Text, nullable=False),
    Column("clock", Boolean, nullable=False),
    Column("statics", Text, nullable=False),
    Column("readings", Integer, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("blocks", Integer, nullable=False),
    Column("first_time", Double, nullable=False),
    Column("last_time", Double, nullable=False),
    Column("updated", Double, nullable=False),
)
_blocks = Table(
    "unit_readings",
    metadata,
    Column("unit", String(128), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("time", LargeBinary, nullable=False),
    Column("readings", LargeBinary, nullable=False),
)


@dataclass(frozen=True)
class Added:
    """What became of new readings."""

    history: History
    appended: int
    repeated: int


@dataclass(frozen=True)
class Summary:
    """What is told of a unit without reading its readings."""

    unit: str
    columns: tuple[str, ...]
    clock: bool
    statics: dict[str, Any]
    readings: int
    dropped: int
    first_time: float
    last_time: float
    updated: float


class UnitHistories:
    """The histories of all units. Its methods wait for the database: call them in a thread."""

    def __init__(self, engine: Engine, *, most_rows: int = MOST_ROWS, memory_bytes: int = MEMORY_BYTES) -> None:
        """Use the tables of `wearcast.service.database`.

        Args:
            engine: of the database.
            most_rows: readings of a unit beyond which those are dropped that no forecast depends on.
            memory_bytes: for copies of the units that were used last.
        """
        self._engine = engine
        self._most_rows = most_rows
        self._memory_bytes = memory_bytes
        self._copies: OrderedDict[str, tuple[History, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        # SQLite has one writer: threads of this process queue here, not in its busy handler, which sleeps.
        self._writer = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    def append(self, readings: UnitReadings, layouts: Sequence[Layout]) -> Added:
        """Add readings to a unit, and return when they are durable.

        Args:
            readings: of one unit.
            layouts: of all models that may be asked, that of the unit's own model first.

        Raises:
            Problem: they do not fit the model or what is stored; then nothing is stored.
        """
        layout, keeping = layouts[0], Keeping.of(layouts, self._most_rows)
        unit, now = str(readings.unit), time.time()
        if layout.is_clock:
            check_not_ahead(readings, now)
        for attempt in range(_TRIES):
            history, blocks = self._known(unit) if attempt == 0 else self._load(unit)
            try:
                longer, new = self._plan(history, readings, layout, keeping, now)
            except Problem:
                if attempt == 0 and not self._is_current(unit, history):
                    continue
                raise
            if not len(new.time):
                if history is not None and (attempt > 0 or self._is_current(unit, history)):
                    return Added(history, 0, new.repeated)
                continue
            if self._write(history, longer, new, blocks):
                return Added(longer[0], len(new.time), new.repeated)
        raise Problem("unavailable", f"others write unit {unit!r} at the same time", retry_after_s=1)

    def read(self, unit: str) -> History | None:
        """The history of a unit as it is now; None if there is none."""
        history, _ = self._known(unit)
        if history is None or not self._is_current(unit, history):
            history, _ = self._load(unit)
        return history

    def listed(self, after: str = "", limit: int = 100) -> list[Summary]:
        """Units by name, those after a name."""
        query = sa.select(_units).where(_units.c.unit > after).order_by(_units.c.unit).limit(limit)
        with reading(self._engine) as connection:
            return [_summary(row) for row in connection.execute(query)]

    def delete(self, unit: str) -> bool:
        """Forget a unit; whether there was one."""
        with self._writer, writing(self._engine) as connection:
            connection.execute(sa.delete(_blocks).where(_blocks.c.unit == unit))
            gone = connection.execute(sa.delete(_units).where(_units.c.unit == unit)).rowcount > 0
        self._forget(unit)
        return gone

    # ------------------------------------------------------------------ inside

    @staticmethod
    def _plan(
        history: History | None, readings: UnitReadings, layout: Layout, keeping: Keeping, now: float
    ) -> tuple[tuple[History, bool], Addition]:
        if history is not None:
            readings = history.completed(readings)
        layout.check([readings], "of this unit")
        new = Addition.to(history, readings)
        if history is None:
            history = started(readings, secrets.randbelow(2**52), clock=layout.is_clock)
        if history.clock != layout.is_clock:
            raise Problem("history-differs", f"unit {history.unit!r} counts time otherwise than the model")
        if not len(new.time):
            return (history, False), new
        return extended(history, new, keeping, now), new

    def _write(self, before: History | None, after: tuple[History, bool], new: Addition, blocks: int) -> bool:
        """Write what is new, if nobody else was faster; whether it was written."""
        history, whole = after
        whole = whole or blocks + 1 > _MANY_BLOCKS
        count = 1 if whole else blocks + 1
        try:
            with self._writer, writing(self._engine) as connection:
                if not _claim(connection, before, history, count):
                    return False
                if whole:
                    connection.execute(sa.delete(_blocks).where(_blocks.c.unit == history.unit))
                stamps, values = (history.time, history.values) if whole else (new.time, new.values)
                connection.execute(
                    _INSERT_BLOCK,
                    {
                        "unit": history.unit,
                        "revision": history.revision,
                        "time": stamps.astype("<f8").tobytes(),
                        "readings": values.astype("<f4").tobytes(),
                    },
                )
        except IntegrityError:
            return False
        self._remember(history, count)
        return True

    def _is_current(self, unit: str, history: History | None) -> bool:
        """Whether a copy is what the database has."""
        with reading(self._engine) as connection:
            revision = connection.execute(_REVISION, {"unit_": unit}).scalar()
        return revision == (None if history is None else history.revision)

    def _load(self, unit: str) -> tuple[History | None, int]:
        for _ in range(_TRIES):
            with reading(self._engine) as connection:
                row = connection.execute(sa.select(_units).where(_units.c.unit == unit)).first()
                if row is None:
                    self._forget(unit)
                    return None, 0
                query = sa.select(_blocks.c.time, _blocks.c.readings)
                query = query.where(_blocks.c.unit == unit, _blocks.c.revision <= row.revision)
                blocks = connection.execute(query.order_by(_blocks.c.revision)).all()
            history = _history(row, blocks)
            if history.n_rows == row.readings:  # else somebody wrote between both questions
                self._remember(history, row.blocks)
                return history, row.blocks
        raise Problem("unavailable", f"others write unit {unit!r} at the same time", retry_after_s=1)

    def _known(self, unit: str) -> tuple[History | None, int]:
        with self._lock:
            if (found := self._copies.get(unit)) is not None:
                self._copies.move_to_end(unit)
                return found
        return self._load(unit)

    def _remember(self, history: History, blocks: int) -> None:
        with self._lock:
            self._drop(history.unit)
            self._copies[history.unit] = (history, blocks)
            self._used += history.n_bytes
            while self._used > self._memory_bytes and len(self._copies) > 1:
                self._drop(next(iter(self._copies)))

    def _forget(self, unit: str) -> None:
        with self._lock:
            self._drop(unit)

    def _drop(self, unit: str) -> None:
        if (old := self._copies.pop(unit, None)) is not None:
            self._used -= old[0].n_bytes


_REVISION = sa.select(_units.c.revision).where(_units.c.unit == sa.bindparam("unit_"))
_INSERT_BLOCK = _blocks.insert()
_INSERT_UNIT = _units.insert()
_CLAIM = (
    _units.update()
    .where(_units.c.unit == sa.bindparam("unit_"), _units.c.revision == sa.bindparam("seen_"))
    .values(
        {name: sa.bindparam(name) for name in ("revision", "readings", "dropped", "blocks", "last_time", "updated")}
    )
)


def _claim(connection: Connection, before: History | None, after: History, blocks: int) -> bool:
    """Take the next revision of a unit; whether it was still free."""
    changing: dict[str, Any] = {
        "revision": after.revision,
        "readings": after.n_rows,
        "dropped": after.dropped,
        "blocks": blocks,
        "last_time": float(after.time[-1]),
        "updated": after.updated,
    }
    if before is not None:
        keys = {"unit_": after.unit, "seen_": before.revision}
        return connection.execute(_CLAIM, {**changing, **keys}).rowcount == 1
    connection.execute(
        _INSERT_UNIT,
        {
            "unit": after.unit,
            "columns": json.dumps(after.names),
            "clock": after.clock,
            "statics": json.dumps(after.statics),
            "first_time": float(after.time[0]),
            **changing,
        },
    )
    return True


def _history(row: Any, blocks: Sequence[Any]) -> History:
    summary = _summary(row)
    columns = len(summary.columns)
    parts = [np.frombuffer(block.readings, dtype="<f4").reshape(columns, -1) for block in blocks]
    return History(
        unit=summary.unit,
        revision=row.revision,
        names=summary.columns,
        clock=summary.clock,
        statics=summary.statics,
        time=np.frombuffer(b"".join(block.time for block in blocks), dtype="<f8"),
        values=np.concatenate(parts, axis=1) if parts else np.empty((columns, 0), dtype=np.float32),
        dropped=summary.dropped,
        updated=summary.updated,
    )


def _summary(row: Any) -> Summary:
    return Summary(
        unit=row.unit,
        columns=tuple(json.loads(row.columns)),
        clock=row.clock,
        statics=json.loads(row.statics),
        readings=row.readings,
        dropped=row.dropped,
        first_time=row.first_time,
        last_time=row.last_time,
        updated=row.updated,
    )
