"""Irregular readings onto an even step, each column by the aggregation that its mapping names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

import polars as pl
from pydantic import AfterValidator, Field, model_validator

from wearcast.config import Strict, nearest
from wearcast.errors import FleetError
from wearcast.schema import FleetSchema, Note

__all__ = ["Aggregation", "Duration", "Resampling", "as_step", "resample", "seconds"]

Aggregation = Literal["mean", "median", "min", "max", "sum", "std", "first", "last", "count"]
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """`10s`, `5m`, `1h`, `1d` or `200ms` in seconds.

    Raises:
        ValueError: it is none of these, or zero.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", text)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"{text!r} is not a length of time: write 200ms, 10s, 5m, 1h or 1d")
    return float(found[1]) * _UNITS[found[2]]


def _checked(value: float | str) -> float | str:
    if isinstance(value, str):
        seconds(value)
    elif value <= 0:
        raise ValueError("a step must be greater than 0")
    return value


Duration: TypeAlias = Annotated[int | float | str, AfterValidator(_checked)]
"""A length of time such as `10s` on a clock, a number on a counter of cycles."""


class Resampling(Strict):
    """An even step, and what becomes of the readings within one.

    A step is named by its start and holds the readings from there up to, not including, the next. A step without a
    reading is left out: nothing is invented.
    """

    every: Duration = Field(description="The step: 10s, 5m, 1h or 1d, or a number of cycles.")
    aggregate: dict[str, Aggregation] = Field(
        description="How each column is aggregated: names, * allowed, and default for all others."
    )

    @model_validator(mode="after")
    def _some(self) -> Resampling:
        if not self.aggregate:
            raise ValueError("aggregate is empty: say how, such as {default: mean}")
        return self

    def of(self, column: str) -> Aggregation | None:
        """How a column is aggregated; its own name wins over a pattern, a pattern over the default."""
        if column in self.aggregate:
            return self.aggregate[column]
        patterns = (name for name in self.aggregate if name != "default" and fnmatch.fnmatchcase(column, name))
        return self.aggregate.get(next(patterns, "default"))


def as_step(value: float | str, axis: pl.DataType, what: str) -> int | float | timedelta:
    """A length of time on this axis.

    Raises:
        FleetError: a number on a clock, or `10s` on a counter.
    """
    if axis.is_temporal():
        if not isinstance(value, str):
            raise FleetError(f"{what} is {value}, but the axis is a clock", hint="write 10s, 5m, 1h or 1d")
        return timedelta(seconds=seconds(value))
    if isinstance(value, str):
        raise FleetError(f"{what} is {value!r}, but the axis counts cycles", hint="write a number of cycles")
    if axis.is_integer() and value != int(value):
        raise FleetError(f"{what} is {value}, but cycles are whole numbers")
    return int(value) if axis.is_integer() else float(value)


def resample(
    frame: pl.DataFrame, wanted: Resampling, schema: FleetSchema, *, unit: str, axis: str, name: str
) -> tuple[pl.DataFrame, tuple[Note, ...]]:
    """Readings on an even step, unit by unit.

    Args:
        frame: sorted by unit and time.
        wanted: step and aggregations.
        schema: roles: statics keep their first value, labels their largest number or last text unless said otherwise.
        unit, axis: columns of the unit and the time.
        name: shown in errors.

    Raises:
        FleetError: an aggregation for a column that is not there, or none for one that is; a step that does not fit
            the axis.
    """
    columns = [*schema.numeric, *schema.labels]
    for key in wanted.aggregate:
        if key != "default" and not any(fnmatch.fnmatchcase(column, key) for column in columns):
            hint = nearest(key, columns)
            raise FleetError(f"aggregate names {key!r}, which is no varying column", where=name, hint=hint)
    step = as_step(wanted.every, frame.schema[axis], "every")
    start = _start(axis, step)
    grouped = frame.lazy().with_columns(start.alias(axis), pl.lit(1, pl.UInt32).alias("rows?"))
    grouped = grouped.with_columns(pl.col(_floats(frame, columns)).fill_nan(None))
    aggregated = [_aggregated(frame, column, wanted, schema, name) for column in columns]
    aggregated += [pl.col(column).first() for column in schema.statics]
    even = grouped.group_by(unit, axis, maintain_order=True).agg(*aggregated, pl.len().alias("rows?")).collect()
    several = int((even["rows?"] > 1).sum())
    text = f"{frame.height} readings became {even.height} on an even step of {wanted.every}; {several} hold several"
    notes = [Note("resampled", frame.height, text)]
    empty = _empty_steps(even, unit, axis, step)
    if empty:
        notes.append(Note("empty_steps", empty, f"{empty} steps hold no reading; they are left out, not filled in"))
    return even.drop("rows?"), tuple(notes)


def _start(axis: str, step: int | float | timedelta) -> pl.Expr:
    if isinstance(step, timedelta):
        return pl.col(axis).dt.truncate(f"{round(step.total_seconds() * 1e6)}us")
    return (pl.col(axis) / step).floor().cast(pl.Int64) * step


def _floats(frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    return [column for column in columns if frame[column].dtype.is_float()]


def _aggregated(frame: pl.DataFrame, column: str, wanted: Resampling, schema: FleetSchema, name: str) -> pl.Expr:
    number = frame[column].dtype.is_numeric()
    how = wanted.aggregate.get(column)
    if how is None and column in schema.labels:
        how = "max" if number else "last"
    how = how or wanted.of(column)
    if how is None:
        hint = f"say it: aggregate: {{{column}: mean}}, or {{default: mean}} for all"
        raise FleetError(f"aggregate does not say what becomes of {column!r}", where=name, hint=hint)
    if not number and how not in ("first", "last"):
        raise FleetError(f"{column!r} is text, which has no {how}", where=name, hint="first or last")
    cells = pl.col(column).drop_nulls()
    value: pl.Expr = getattr(cells, how)()
    if how == "sum":  # the sum of no reading is not 0
        value = pl.when(cells.len() > 0).then(value)
    return (value.cast(pl.Float32) if number else value).alias(column)


def _empty_steps(even: pl.DataFrame, unit: str, axis: str, step: int | float | timedelta) -> int:
    length = round(step.total_seconds() * 1e6) if isinstance(step, timedelta) else step
    time = pl.col(axis).cast(pl.Datetime("us")).cast(pl.Int64) if isinstance(step, timedelta) else pl.col(axis)
    spans = even.group_by(unit).agg(((time.max() - time.min()) / length).round().alias("steps"), pl.len().alias("rows"))
    return int(spans.select((pl.col("steps") + 1 - pl.col("rows")).sum()).item())
