"""Readings that are missing or stuck: what becomes of them, sensor by sensor, as the mapping says it."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import polars as pl

from wearcast.config import nearest
from wearcast.datasets.resampling import as_step
from wearcast.errors import FleetError
from wearcast.schema import Note

__all__ = ["MissingPolicy", "by_column", "drop_stuck", "masked_columns", "treat_missing"]

MissingPolicy = Literal["hold", "interpolate", "mask", "fail"]
T = TypeVar("T")


def by_column(wanted: Mapping[str, T], columns: Sequence[str], what: str, name: str) -> dict[str, T]:
    """What a mapping of names, patterns and `default` says of each column; columns it does not reach are left out.

    Raises:
        FleetError: a name or pattern that fits no column.
    """
    found: dict[str, T] = dict.fromkeys(columns, wanted["default"]) if "default" in wanted else {}
    exact = [key for key in wanted if key in columns]
    patterns = [key for key in wanted if key not in columns and key != "default"]
    for key in (*patterns, *exact):
        fits = [column for column in columns if column == key or fnmatch.fnmatchcase(column, key)]
        if not fits:
            hint = nearest(key, columns)
            raise FleetError(f"{what} names {key!r}, which is no sensor or setting", where=name, hint=hint)
        found.update(dict.fromkeys(fits if key in patterns else [key], wanted[key]))
    return found


def masked_columns(policies: Mapping[str, MissingPolicy], columns: Sequence[str], name: str) -> tuple[str, ...]:
    """The columns of whose missing readings the models are to be told.

    Raises:
        FleetError: a name or pattern that fits no column.
    """
    return tuple(c for c, policy in by_column(policies, columns, "missing", name).items() if policy == "mask")


def drop_stuck(
    frame: pl.DataFrame, after: int | Mapping[str, int], columns: Sequence[str], *, unit: str, name: str
) -> tuple[pl.DataFrame, tuple[Note, ...]]:
    """Readings that repeat the ones before them for longer than `after` readings become missing.

    The first `after` of a run stay, whatever comes later, so that what is known at a time never depends on the future.

    Args:
        frame: sorted by unit and time.
        after: how many equal readings in a row are believed; one number for all, or by name, pattern and `default`.
        columns: the sensors.
        unit: column of the unit.
        name: shown in errors.
    """
    limits = by_column({"default": after} if isinstance(after, int) else after, columns, "stuck_after", name)
    counts: dict[str, int] = {}
    changed = []
    row = pl.int_range(pl.len(), dtype=pl.Int64)
    for column, limit in limits.items():
        value = pl.col(column)
        new = value.ne_missing(value.shift(1)) | pl.col(unit).ne(pl.col(unit).shift(1)).fill_null(True)
        run = row - pl.when(new).then(row).otherwise(None).forward_fill()
        stuck = frame.select((run >= limit) & value.is_not_null() & value.is_not_nan()).to_series()
        counts[column] = int(stuck.sum())
        if counts[column]:
            changed.append(frame[column].set(stuck, None))
    total = sum(counts.values())
    if not total:
        return frame, ()
    worst = sorted((column for column in counts if counts[column]), key=lambda column: -counts[column])
    listed = ", ".join(f"{column} ({counts[column]})" for column in worst[:5])
    more = f" and {len(worst) - 5} more columns" if len(worst) > 5 else ""
    text = f"{total} readings that did not change for so long are taken as missing: {listed}{more}"
    return frame.with_columns(changed), (Note("stuck", total, text),)


def treat_missing(
    frame: pl.DataFrame,
    policies: Mapping[str, MissingPolicy],
    max_gap: float | str | None,
    columns: Sequence[str],
    *,
    unit: str,
    axis: str,
    name: str,
) -> tuple[pl.DataFrame, tuple[Note, ...]]:
    """What the mapping says of missing readings.

    `hold` and `mask` leave them missing: the preprocessing holds the last known value and flags the forecast, and under
    `mask` tells the models where it did so. `fail` refuses them, and `interpolate` draws a straight line between
    the readings around a gap of `max_gap` or less. What is still open at the end of a history is never filled: there
    is nothing yet to draw the line to.

    Args:
        frame: sorted by unit and time.
        policies: by name, pattern and `default`.
        max_gap: the longest gap that is interpolated.
        columns: the sensors and settings.
        unit, axis: columns of the unit and the time.
        name: shown in errors.

    Raises:
        FleetError: a reading is missing where none may be.
    """
    chosen = by_column(policies, columns, "missing", name)
    frame = frame.with_columns(pl.col(column).fill_nan(None) for column in chosen if frame[column].dtype.is_float())
    notes = []
    for column in (column for column, policy in chosen.items() if policy == "fail"):
        holes = frame.filter(pl.col(column).is_null())
        if holes.height:
            row = holes.row(0, named=True)
            what = f"unit {row[unit]!r} has no {column!r} at {row[axis]} ({holes.height} are missing in all)"
            raise FleetError(what, where=name, hint=f"missing: {{{column}: fail}} allows none")
    drawn = [column for column, policy in chosen.items() if policy == "interpolate"]
    if drawn:
        frame, count, left = _interpolated(frame, drawn, max_gap, unit=unit, axis=axis)
        text = f"{count} missing readings are interpolated within gaps of at most {max_gap}; {left} remain missing"
        notes.append(Note("interpolated", count, text))
    masked = masked_columns(policies, columns, name)
    count = sum(frame[column].null_count() for column in masked)
    if count:
        text = f"{count} missing readings stay missing; models see the last known value, and a mask that says so"
        notes.append(Note("masked", count, text))
    return frame, tuple(notes)


def _interpolated(
    frame: pl.DataFrame, columns: Sequence[str], max_gap: float | str | None, *, unit: str, axis: str
) -> tuple[pl.DataFrame, int, int]:
    temporal = frame.schema[axis].is_temporal()
    step = as_step(max_gap if max_gap is not None else 0, frame.schema[axis], "max_gap")
    longest = step if isinstance(step, int | float) else round(step.total_seconds() * 1e6)
    time = pl.col(axis).cast(pl.Datetime("us")).cast(pl.Int64) if temporal else pl.col(axis)
    before = frame.select(pl.col(columns).null_count()).sum_horizontal()[0]
    expressions = []
    for column in columns:
        value = pl.col(column).cast(pl.Float64)
        known = pl.when(value.is_not_null()).then(time)
        left_time, right_time = known.forward_fill().over(unit), known.backward_fill().over(unit)
        left, right = value.forward_fill().over(unit), value.backward_fill().over(unit)
        gap = right_time - left_time
        line = left + (right - left) * ((time - left_time) / gap)
        filled = pl.when(value.is_null() & (gap <= longest)).then(line).otherwise(value)
        expressions.append(filled.cast(pl.Float32).alias(column))
    frame = frame.with_columns(expressions)
    after = frame.select(pl.col(columns).null_count()).sum_horizontal()[0]
    return frame, int(before - after), int(after)
