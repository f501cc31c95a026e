"""Tables with one row a value (unit, time, tag, value), as historians write them, made wide."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from wearcast.config import Strict
from wearcast.errors import FleetError

__all__ = ["LongLayout", "widen"]


class LongLayout(Strict):
    """Which column of a long table names the sensor, and which holds its value."""

    tag: str = Field(min_length=1, description="Column that names the sensor.")
    value: str = Field(min_length=1, description="Column of the values.")


def widen(frame: pl.DataFrame, layout: LongLayout, *, unit: str, axis: str, where: str) -> pl.DataFrame:
    """One row a unit and time, one column a tag; a tag without a value at a time is missing there.

    Args:
        frame: columns of unit, time, tag and value.
        layout: which are the last two.
        unit, axis: which are the first two.
        where: shown in errors.

    Raises:
        FleetError: a row without a tag, a tag named like the unit or the time, or two values of a tag at one time.
    """
    tags = frame[layout.tag].cast(pl.String).str.strip_chars().replace("", None)
    if tags.null_count():
        row = int(tags.is_null().arg_true()[0]) + 1
        raise FleetError(f"{tags.null_count()} rows name no tag", where=f"{where}: row {row}, column {layout.tag!r}")
    clash = {unit, axis}.intersection(tags.unique())
    if clash:
        raise FleetError(f"a tag is called {clash.pop()!r}, as the column of units or times is", where=where)
    frame = frame.with_columns(tags)
    keys = [unit, axis, layout.tag]
    twice = frame.filter(frame.select(pl.struct(keys).is_duplicated()).to_series())
    if twice.height:
        first = twice.row(0, named=True)
        raise FleetError(
            f"unit {first[unit]!r} has two values of {first[layout.tag]!r} at {first[axis]} ({twice.height} such rows)",
            where=where,
            hint="remove the repeated rows",
        )
    wide = frame.pivot(on=layout.tag, index=[unit, axis], values=layout.value, sort_columns=True)
    return wide.sort(unit, axis, maintain_order=True)
