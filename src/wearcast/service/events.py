"""What became of units, as it was told: each event once, and nothing that contradicts another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy import Column, Double, Engine, Integer, String, Table

from wearcast.service.database import metadata, reading, writing
from wearcast.service.problems import Fault, Problem

__all__ = ["ENDS", "EVENT_KINDS", "Event", "EventKind", "Events", "outcomes"]

EventKind = Literal["failure", "end_of_life", "censored", "maintenance"]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)
ENDS = frozenset({"failure", "end_of_life"})
"""What answers how long a unit lasted; the others only say that it lasted at least so long."""

outcomes = Table(
    "outcomes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("unit", String(128), nullable=False),
    Column("at", Double, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("mode", String(256)),
    Column("told", Double, nullable=False),
    Column("client", String(256), nullable=False),
    sa.UniqueConstraint("unit", "at", name="one_outcome_at_a_time"),
)


@dataclass(frozen=True)
class Event:
    """What became of a unit.

    Attributes:
        unit: its id, as text.
        at: when: cycles, or microseconds since 1970.
        kind: what.
        mode: how it failed, where that is known.
        place: where it stands in the request.
    """

    unit: str
    at: float
    kind: EventKind
    mode: str | None = None
    place: str = "outcomes[0]"

    @property
    def said(self) -> tuple[str, float, str, str | None]:
        """What it says, wherever it stood."""
        return self.unit, self.at, self.kind, self.mode


@dataclass(frozen=True)
class Events:
    """The record of them."""

    engine: Engine

    def add(self, events: Sequence[Event], client: str) -> tuple[int, int]:
        """Record all of them, or none.

        Returns:
            How many are new, and how many were told before in the same words.

        Raises:
            Problem: `conflict`: one contradicts another.
        """
        with writing(self.engine, alone=True) as connection:
            known = _of_units(connection, sorted({event.unit for event in events}))
            new: list[Event] = []
            for event in events:
                there = known.setdefault(event.unit, [])
                if any(event.said == one.said for one in there):
                    continue
                _check(event, there)
                there.append(event)
                new.append(event)
            rows = [
                dict(zip(("unit", "at", "kind", "mode"), event.said, strict=True), told=time(), client=client)
                for event in new
            ]
            if rows:
                connection.execute(outcomes.insert(), rows)
        return len(new), len(events) - len(new)

    def all(self) -> dict[str, list[Event]]:
        """The events of each unit in the order of time."""
        with reading(self.engine) as connection:
            return _of_units(connection, None)


def _of_units(connection: sa.Connection, units: Sequence[str] | None) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    columns = sa.select(outcomes.c.unit, outcomes.c.at, outcomes.c.kind, outcomes.c.mode)
    parts = [None] if units is None else [units[at : at + 500] for at in range(0, len(units), 500)]
    for part in parts:
        query = columns if part is None else columns.where(outcomes.c.unit.in_(part))
        for row in connection.execute(query.order_by(outcomes.c.unit, outcomes.c.at)):
            found.setdefault(row.unit, []).append(Event(*row))
    return found


def _check(event: Event, there: Sequence[Event]) -> None:
    """Hold an event against what is known of its unit.

    Raises:
        Problem: they cannot both be true.
    """
    for other in there:
        at = f"{other.kind}{f' ({other.mode})' if other.mode else ''} at {other.at:.15g}"
        if other.at == event.at:
            what = f"told before as {at}"
        elif other.kind == "end_of_life" and (event.kind == "end_of_life" or event.at > other.at):
            what = f"the unit's life has ended: {at}"
        elif event.kind == "end_of_life" and other.at > event.at:
            what = f"something was told of the unit later than this: {at}"
        else:
            continue
        hint = "what was told stays; a new life of a machine is a new unit"
        raise Problem("conflict", f"{event.place}: {what}", (Fault(event.place, what, hint),))
