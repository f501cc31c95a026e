"""Forecasts that were given, kept for the day when the truth is known.

A request only puts what it has answered on a bounded list. A thread takes it from there and writes many at a time. What
does not fit is dropped and counted, and a unit that is asked for without pause is kept once in a while.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Column, Double, Engine, Integer, String, Table, Text

from wearcast.schema import SECONDS
from wearcast.service.background import Background
from wearcast.service.database import metadata, reading, writing
from wearcast.service.logs import get_logger
from wearcast.target import FailureTarget, RulTarget, SensorTarget

if TYPE_CHECKING:
    from wearcast.service.answers import Scored
    from wearcast.service.layout import UnitReadings
    from wearcast.service.served import Served

__all__ = ["Given", "Keeping", "forecasts"]

log = get_logger("wearcast.service.outcomes")

forecasts = Table(
    "forecasts",
    metadata,
    Column("id", sa.BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("unit", String(128), nullable=False),
    Column("at", Double, nullable=False),  # cycles, or microseconds since 1970: exact in a double for 285 years
    Column("given", Double, nullable=False),
    Column("name", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("arm", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("point", Double),
    Column("low", Double),
    Column("high", Double),
    Column("bound", Double),  # cap of the RUL, or horizon of the failure
    Column("per_unit", Double, nullable=False),  # of `at` in one of the target's unit of time
    Column("detail", Text),
    sa.Index("forecasts_of_a_unit", "unit", "name", "version"),
    sa.Index("forecasts_by_age", "given"),
)


@dataclass(frozen=True)
class Keeping:
    """How many forecasts are kept, and how long.

    Attributes:
        buffer: answers that may wait to be written.
        each_s: of one unit and arm at most one in so many seconds.
        pause_s: how long the writer waits between two times.
        rows: written at a time.
        days: how long they are kept.
    """

    buffer: int = 2_000
    each_s: float = 1.0
    pause_s: float = 0.5
    rows: int = 1_000
    days: float = 90.0


@dataclass(slots=True)
class _Answer:
    served: Served
    units: Sequence[UnitReadings]
    scored: Scored
    when: float


@dataclass
class Given:
    """The forecasts that were given.

    Attributes:
        engine: of the database.
        keeping: how many and how long.
        dropped: units whose forecast was not kept because the writer was behind or the database down.
        written: rows that were written by this process.
    """

    engine: Engine
    keeping: Keeping = field(default_factory=Keeping)
    dropped: int = 0
    written: int = 0
    _waiting: deque[_Answer] = field(default_factory=deque)
    _seen: dict[tuple[str, Any], float] = field(default_factory=dict)
    _swept: float = 0.0

    def __post_init__(self) -> None:
        self._thread = Background("wearcast-forecasts", self._run, pause_s=self.keeping.pause_s)

    def start(self) -> None:
        """Start the writer."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and end the writer."""
        self._thread.close()

    def add(self, served: Served, units: Sequence[UnitReadings], scored: Scored) -> bool:
        """Keep these forecasts; at once, and whatever happens.

        Returns:
            Whether they are kept, and not too many or too soon after the last.
        """
        now, arm, fresh = monotonic(), served.arm, False
        for one in units:
            key = (arm, one.unit)
            if now - self._seen.get(key, -1e9) >= self.keeping.each_s:
                fresh, self._seen[key] = True, now
        if not fresh:
            return False
        if len(self._seen) > 200_000:
            self._seen.clear()
        if len(self._waiting) >= self.keeping.buffer:
            self.dropped += len(units)
            return False
        self._waiting.append(_Answer(served, units, scored, time()))  # a deque needs no lock
        return True

    def flush(self) -> None:
        """Write what waits now; for those who must read it."""
        while self._waiting:
            self._write()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        self.flush()
        if not self._thread.ending and monotonic() - self._swept > 3_600:
            self._swept = monotonic()
            self._sweep()

    def _write(self) -> None:
        rows: list[dict[str, Any]] = []
        while self._waiting and len(rows) < self.keeping.rows:
            try:
                answer = self._waiting.popleft()
            except IndexError:  # somebody else flushes
                break
            rows += rows_of(answer.served, answer.units, answer.scored, answer.when)
        if not rows:
            return
        try:
            with writing(self.engine) as connection:
                connection.execute(forecasts.insert(), rows)
            self.written += len(rows)
        except sa.exc.SQLAlchemyError as error:  # the answers were given; only the comparison has less to go by
            self.dropped += len(rows)
            log.error("forecasts are not kept: the database fails", error=type(error).__name__, count=len(rows))

    def _sweep(self) -> None:
        try:
            with writing(self.engine) as connection:
                connection.execute(forecasts.delete().where(forecasts.c.given < time() - self.keeping.days * 86_400))
        except sa.exc.SQLAlchemyError as error:
            log.error("old forecasts cannot be deleted", error=type(error).__name__)

    def knows(self, units: Sequence[str]) -> set[str]:
        """Which of these units were ever forecast."""
        found: set[str] = set()
        with reading(self.engine) as connection:
            for at in range(0, len(units), 500):
                query = sa.select(forecasts.c.unit).where(forecasts.c.unit.in_(units[at : at + 500])).distinct()
                found |= set(connection.scalars(query))
        return found


def rows_of(served: Served, units: Sequence[UnitReadings], scored: Scored, when: float) -> Iterator[dict[str, Any]]:
    """The last forecast of each unit as a row of the table."""
    manifest = served.bundle.manifest
    target = manifest.target
    columns, offsets = scored.columns, scored.offsets
    time_unit = served.bundle.time_unit
    shared = {
        "given": when,
        "name": served.name,
        "version": served.version,
        "arm": served.arm,
        "kind": target.kind,
        "bound": target.max_rul if isinstance(target, RulTarget) else getattr(target, "horizon", None),
        "per_unit": 1.0 if time_unit == "cycle" else SECONDS[time_unit] * 1e6,
    }
    for i, one in enumerate(units):
        first, stop = offsets[i], offsets[i + 1]
        if first < stop:
            said = _said(target, columns, first, stop)
            yield {**shared, "unit": str(one.unit), "at": float(one.time[-1]), **said}


def _said(target: Any, columns: Mapping[str, list[Any]], first: int, stop: int) -> dict[str, Any]:
    """Point, interval and what else the comparison needs, of rows `first` to `stop`, of which the last time counts."""
    last = stop - 1
    if isinstance(target, RulTarget):
        names = [name for name in columns if name.startswith("rul_q")]
        ends = (columns[names[0]][last], columns[names[-1]][last]) if len(names) > 1 else (None, None)
        return {"point": columns["rul"][last], "low": ends[0], "high": ends[1], "detail": None}
    if isinstance(target, FailureTarget):
        return {"point": columns["failure_probability"][last], "low": None, "high": None, "detail": None}
    if isinstance(target, SensorTarget):
        ahead: dict[str, list[float]] = {}
        for row in range(first, stop):
            if columns["time"][row] == columns["time"][last]:
                ahead.setdefault(columns["column"][row], []).append(columns["value"][row])
        return {"point": None, "low": None, "high": None, "detail": json.dumps(ahead)}
    chances = {name.removeprefix("probability_"): columns[name][last] for name in columns if _is_chance(name)}
    return {"point": max(chances.values()), "low": None, "high": None, "detail": json.dumps(chances)}


def _is_chance(name: str) -> bool:
    return name.startswith("probability_")
