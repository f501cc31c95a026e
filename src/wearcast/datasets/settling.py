"""How the histories of a user's tables end: what the mapping says, looked up where it says it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from wearcast.datasets.axis import sort_by_time, stamps_of
from wearcast.datasets.endings import FailureMark, FailureRows, FailureTable, RemainingLife
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.opening import Table, open_table
from wearcast.datasets.outcomes import Ended, by_mark, by_remaining, by_table, last_rows
from wearcast.datasets.sqltable import Database, open_sql
from wearcast.errors import FleetError, SourceNotFoundError, UsageError
from wearcast.schema import Note

__all__ = ["settle"]


def settle(frame: pl.DataFrame, mapping: ColumnMapping, database: Database | None, *, strays: bool, name: str) -> Ended:
    """The readings with what is known of their ends.

    Args:
        frame: the readings.
        mapping: how they end.
        database: where the readings are, if in a database.
        strays: whether failures may be of units that are not there; they are counted in a note.
        name: shown in errors.

    Raises:
        DataError: the failures are not there, or contradict the readings.
        UsageError: failures of a database, and the readings are in none.
    """
    ends, unit, axis = mapping.end_of_life, mapping.unit, mapping.axis
    if isinstance(ends, FailureTable | FailureRows):
        events, notes = _failures(ends, mapping, database, frame, strays=strays)
        if not ends.lives:
            return Ended(frame, unit, events.drop("until", strict=False), notes)
        ended = by_table(frame, unit, axis, events, stray=strays, name=name)
        return Ended(ended.frame, ended.unit, ended.events, (*notes, *ended.notes))
    if isinstance(ends, FailureMark | RemainingLife):
        frame, notes = sort_by_time(frame, unit, axis)
        if isinstance(ends, FailureMark):
            ended = by_mark(frame, unit, axis, ends, name=name)
        else:
            time_unit = "cycle" if mapping.cycle else (mapping.time_unit or "hour")
            ended = by_remaining(frame, unit, axis, ends, time_unit, name=name)
        return Ended(ended.frame, ended.unit, ended.events, (*notes, *ended.notes))
    if ends == "last_row" and mapping.resample is not None:  # before the last row is rounded to the step
        return Ended(frame, unit, last_rows(frame, unit, axis))
    return Ended(frame, unit, ends)


def _failures(
    wanted: FailureTable | FailureRows,
    mapping: ColumnMapping,
    database: Database | None,
    frame: pl.DataFrame,
    *,
    strays: bool,
) -> tuple[pl.DataFrame, tuple[Note, ...]]:
    table = _table_of_failures(wanted, database)
    unit = wanted.unit or (mapping.unit if mapping.unit in table.columns else "unit")
    time = wanted.time or (mapping.axis if mapping.axis in table.columns else "time")
    missing = next((column for column in (unit, time) if column not in table.columns), None)
    if missing is not None:
        raise FleetError(f"column {missing!r} is missing; there are {', '.join(table.columns)}", where=table.where)
    names = {unit: "unit", time: "time", wanted.kind: "kind", wanted.mode: "mode", wanted.until: "until"}
    events = table.read([], [column for column in names if column in table.columns])
    events = events.rename({old: new for old, new in names.items() if old in events.columns})
    events = events.filter(~pl.all_horizontal(pl.all().is_null()))
    for column in events.columns:
        if events[column].dtype == pl.String:
            events = events.with_columns(pl.col(column).str.strip_chars())
    times = [
        stamps_of(events[column], mapping, table.where) for column in ("time", "until") if column in events.columns
    ]
    events = events.with_columns(times)
    if not strays:
        return events, ()
    known = frame[mapping.unit].unique().cast(pl.String)
    here = events["unit"].cast(pl.String).is_in(known.implode())
    count = int((~here).sum())
    text = f"{Path(table.where).name}: {count} events of units that are not in the files"
    return events.filter(here), (Note("stray_events", count, text),) if count else ()


def _table_of_failures(wanted: FailureTable | FailureRows, database: Database | None) -> Table:
    if isinstance(wanted, FailureRows):
        if database is None:
            hint = "end_of_life: {failures: FILE} names a file"
            raise UsageError("failures_table is of a database, and the readings are in none", hint=hint)
        return open_sql(database, table=wanted.failures_table)
    path = Path(wanted.failures).expanduser()
    if not path.is_file():
        raise SourceNotFoundError("there is no such table of failures", where=str(path))
    return open_table(path, None)
