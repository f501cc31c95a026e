"""The time axis of a user's table: cycles, or timestamps as UTC."""

from __future__ import annotations

import polars as pl

from wearcast import frames
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.timezone import local_to_utc
from wearcast.errors import FleetError
from wearcast.schema import FleetSchema, Note

__all__ = ["axis_of", "keys_are_sure", "sort_by_time", "stamps_of"]


def axis_of(series: pl.Series, mapping: ColumnMapping, where: str, empty: pl.Series) -> pl.Series:
    """The time axis; rows that are empty altogether stay null.

    Raises:
        FleetError: a cell that is no time; the message has the row.
    """
    name = series.name
    schema = FleetSchema(time_unit="cycle" if mapping.cycle else (mapping.time_unit or "hour"), sensors=("any",))
    skipped = bool(empty.any())
    if skipped:  # filled for the check, so that rows keep their numbers
        series = series.set(empty, series.drop_nulls().head(1).item() if series.count() else None)
    if mapping.time is not None and series.null_count():
        row = int(series.is_null().arg_true()[0]) + 1
        raise FleetError("the time is empty", where=f"{where}: row {row}, column {name!r}")
    if mapping.time_zone is not None:
        series = local_to_utc(series, mapping.time_zone, mapping.ambiguous_hour, where, mapping.time_format)
    elif mapping.time_format and series.dtype == pl.String:
        series = frames.timestamps(series, where, mapping.time_format)
    axis = frames.time_axis(series, schema, where)
    return (axis.set(empty, None) if skipped else axis).alias(name)


def keys_are_sure(rows: pl.DataFrame, mapping: ColumnMapping) -> pl.Series:
    """Whether the unit and the time of each row of text can be read."""
    text = rows[mapping.axis].str.strip_chars().replace("", None)
    if mapping.cycle is not None:
        number = text.cast(pl.Float64, strict=False)
        good = number.is_finite().fill_null(False)
    else:
        try:
            stamps = text.str.to_datetime(mapping.time_format, time_unit="us", strict=False, ambiguous="earliest")
            good = stamps.is_not_null()
        except pl.exceptions.ComputeError:  # not one of them is a timestamp
            good = pl.repeat(False, rows.height, eager=True)
    if mapping.unit in rows.columns:
        good &= rows[mapping.unit].str.strip_chars().replace("", None).is_not_null()
    return good


def stamps_of(series: pl.Series, mapping: ColumnMapping, where: str) -> pl.Series:
    """Times of events, read as those of the readings are; what is empty stays empty."""
    if mapping.time is None or not series.count():
        return series
    empty = series.is_null()
    if series.dtype == pl.String:
        empty |= series == ""
        if empty.all():
            return pl.repeat(None, len(series), dtype=pl.Datetime("us"), eager=True).alias(series.name)
        series = series.set(empty, None)
    return axis_of(series, mapping, where, empty)


def sort_by_time(frame: pl.DataFrame, unit: str, axis: str) -> tuple[pl.DataFrame, tuple[Note, ...]]:
    """Sorted by unit and time, for what looks at neighbours; how many rows had to move is told."""
    one, time = pl.col(unit), pl.col(axis)
    before = (one < one.shift(1)) | ((one == one.shift(1)) & (time < time.shift(1)))
    moved = int(frame.select(before.sum()).item() or 0)
    if not moved:
        return frame, ()
    note = Note("unsorted", moved, f"{moved} rows were not in order of unit and time; sorted")
    return frame.sort(unit, axis, maintain_order=True), (note,)
