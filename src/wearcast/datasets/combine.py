"""Two fleets of one kind as one."""

from __future__ import annotations

import polars as pl

from wearcast.errors import FleetError
from wearcast.fleet import Fleet

__all__ = ["combine"]


def combine(first: Fleet, second: Fleet, *, name: str) -> Fleet:
    """The units of both fleets, with the events and notes of both.

    Raises:
        FleetError: other columns, or a unit that is in both.
    """
    if first.schema != second.schema:
        raise FleetError(f"{first.name} and {second.name} have other columns", where=name)
    both = set(first.units).intersection(second.units)
    if both:
        unit = min(both, key=str)
        raise FleetError(f"unit {unit!r} is in {first.name} and in {second.name}", where=name)
    frames, events = [first.frame, second.frame], [first.events, second.events]
    if first.frame["unit"].dtype != second.frame["unit"].dtype:
        kind = pl.Enum([str(unit) for unit in (*first.units, *second.units)])
        frames, events = (
            [table.with_columns(pl.col("unit").cast(pl.String).cast(kind)) for table in tables]
            for tables in (frames, events)
        )
    return Fleet(
        pl.concat(frames, how="vertical_relaxed"),
        first.schema,
        pl.concat(events, how="vertical_relaxed"),
        name,
        (*first.notes, *second.notes),
    )
