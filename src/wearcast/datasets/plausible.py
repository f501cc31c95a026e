"""Readings that cannot be: marked, or taken as missing, as the mapping says it. No row is deleted."""

from __future__ import annotations

from typing import Literal

import polars as pl

from wearcast.datasets.missing import by_column
from wearcast.datasets.quality.limits import Limits, limits_of
from wearcast.schema import FleetSchema, Note

__all__ = ["OutOfRange", "mark_names", "treat_out_of_range", "with_measures"]

OutOfRange = Literal["keep", "mark", "missing"]


def with_measures(
    schema: FleetSchema, ranges: dict[str, Limits], units_of_measure: dict[str, str], name: str
) -> FleetSchema:
    """The schema with what a mapping says of what is possible and of units of measure, by name or pattern.

    Raises:
        FleetError: a name or pattern that fits no column.
    """
    units = by_column(units_of_measure, (*schema.numeric, *schema.statics), "units_of_measure", name)
    possible = by_column(ranges, schema.numeric, "ranges", name)
    return schema.model_copy(update={"ranges": possible, "units_of_measure": units})


def mark_names(schema: FleetSchema) -> tuple[str, ...]:
    """Names of the marks, one of each sensor and setting whose limits are known."""
    limits = limits_of(schema)
    return tuple(f"{column}_out_of_range" for column in (*schema.settings, *schema.sensors) if column in limits)


def treat_out_of_range(
    frame: pl.DataFrame, treatment: OutOfRange, schema: FleetSchema
) -> tuple[pl.DataFrame, tuple[Note, ...]]:
    """Mark readings beyond what is possible with 1, all others with 0, in further columns; or take them as missing.

    Args:
        frame: the readings.
        treatment: `mark` adds the columns of `mark_names` and leaves the readings as they are, `missing` adds nothing.
        schema: with the limits, given or from units of measure; see `limits_of`.
    """
    counts: dict[str, int] = {}
    changed = []
    limits = limits_of(schema)
    for column in (*schema.settings, *schema.sensors):
        if column not in limits:
            continue
        low, high = limits[column]
        value, beyond = pl.col(column), pl.repeat(False, pl.len())
        if low is not None:
            beyond |= value < low
        if high is not None:
            beyond |= (value > high) & value.is_not_nan()  # to Polars, NaN is the greatest number
        outside = frame.select(beyond.fill_null(False).alias("outside")).to_series()
        if outside.any():
            counts[column] = int(outside.sum())
        if treatment == "mark":
            changed.append(outside.cast(pl.Float32).alias(f"{column}_out_of_range"))
        elif treatment == "missing" and outside.any():
            changed.append(frame[column].set(outside, None))
    if not counts:
        return frame.with_columns(changed), ()
    listed = ", ".join(f"{column} ({count})" for column, count in sorted(counts.items(), key=lambda one: -one[1])[:5])
    more = f" and {len(counts) - 5} more columns" if len(counts) > 5 else ""
    what = "taken as missing" if treatment == "missing" else "marked"
    text = f"{sum(counts.values())} readings beyond what is possible are {what}: {listed}{more}"
    return frame.with_columns(changed), (Note("out_of_range", sum(counts.values()), text),)
