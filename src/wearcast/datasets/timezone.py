"""Local timestamps as UTC, with the hours that are there twice or not at all answered for."""

from __future__ import annotations

from typing import Literal

import polars as pl

from wearcast import frames
from wearcast.errors import FleetError

__all__ = ["Ambiguous", "check_zone", "local_to_utc"]

Ambiguous = Literal["refuse", "earliest", "latest"]
_OFFSET = r":\d{2}(\.\d+)?\s*([zZ]|[+-]\d{2}(:?\d{2})?)$"


def check_zone(zone: str) -> str:
    """A time zone's name, as it is.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        pl.Series([], dtype=pl.Datetime("us")).dt.replace_time_zone(zone)
    except pl.exceptions.ComputeError as error:
        raise ValueError(f"there is no time zone {zone!r}: write it as Europe/Berlin") from error
    return zone


def local_to_utc(series: pl.Series, zone: str, ambiguous: Ambiguous, where: str, time_format: str | None) -> pl.Series:
    """Timestamps without an offset read as local time of a zone; those with one are UTC already.

    Args:
        series: text or timestamps, without empty cells.
        zone: where naive stamps were written.
        ambiguous: which one is meant of an hour that the change back to winter time gives twice.
        where: how errors call the table.
        time_format: of text, if not ISO 8601.

    Raises:
        FleetError: an hour that is there twice and nobody said which is meant, one that does not exist, or stamps
            with and without offset in one column; the row is named.
    """
    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is not None:
        return series.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if series.dtype == pl.String:
        if time_format is not None and "%z" in time_format:
            return frames.timestamps(series, where, time_format)
        offset = series.str.strip_chars().str.contains(_OFFSET)
        if offset.any():
            if not offset.all():
                bare = series.filter(~offset)[0]
                raise FleetError(
                    f"{bare!r} has no offset from UTC, which other stamps have",
                    where=f"{where}: row {int((~offset).arg_true()[0]) + 1}, column {series.name!r}",
                )
            return frames.timestamps(series, where, time_format)
        series = frames.timestamps(series, where, time_format)
    if not series.dtype.is_temporal():
        return series  # answered for by who wants timestamps
    return _converted(series.cast(pl.Datetime("us")), zone, ambiguous, where)


def _converted(naive: pl.Series, zone: str, ambiguous: Ambiguous, where: str) -> pl.Series:
    early = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    skipped = early.is_null()
    if skipped.any():
        row = int(skipped.arg_true()[0])
        raise FleetError(
            f"{naive[row]} does not exist in {zone}: the clocks go forward over it ({int(skipped.sum())} such rows)",
            where=f"{where}: row {row + 1}, column {naive.name!r}",
            hint="were the stamps written in UTC or in winter time all year? then leave time_zone out",
        )
    late = naive.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    twice = early != late
    if ambiguous == "refuse" and twice.any():
        row = int(twice.arg_true()[0])
        raise FleetError(
            f"{naive[row]} is there twice in {zone}: the clocks go back over it ({int(twice.sum())} such rows)",
            where=f"{where}: row {row + 1}, column {naive.name!r}",
            hint="say which is meant: ambiguous_hour: earliest or latest",
        )
    chosen = late if ambiguous == "latest" else early
    return chosen.dt.convert_time_zone("UTC").dt.replace_time_zone(None).alias(naive.name)
