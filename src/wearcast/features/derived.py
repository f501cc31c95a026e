"""Columns computed from others, such as a power from torque and speed: declared in the recipe, stored in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from wearcast.config import Strict
from wearcast.errors import FleetError
from wearcast.fleet import Fleet

__all__ = ["Derived", "with_derived"]


class Derived(Strict):
    """One computed column."""

    name: str = Field(min_length=1, description="What the column is called; it becomes a sensor.")
    operation: Literal["product", "sum", "difference", "ratio"]
    columns: tuple[str, ...] = Field(min_length=2, description="Sensors or settings, in order; two for the last two.")
    scale: float = Field(1.0, description="Factor of the result, such as 2π/60 from revolutions a minute.")
    source: Annotated[str, Field(max_length=300)] = Field("", description="Where the formula comes from.")

    @model_validator(mode="after")
    def _two(self) -> Derived:
        if self.operation in ("difference", "ratio") and len(self.columns) != 2:
            raise ValueError(f"a {self.operation} is of two columns, not {len(self.columns)}")
        if self.scale == 0 or not np.isfinite(self.scale):
            raise ValueError("scale must be a finite number other than 0")
        return self

    def compute(self, columns: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The column, NaN where a reading is missing or a ratio has no value."""
        first, *rest = (column.astype(np.float64) for column in columns)
        for column in rest:
            if self.operation == "product":
                first = first * column
            elif self.operation == "sum":
                first = first + column
            elif self.operation == "difference":
                first = first - column
            else:
                first = np.divide(first, column, out=np.full_like(first, np.nan), where=column != 0)
        return np.asarray(first * self.scale, dtype=np.float32)


def with_derived(fleet: Fleet, derived: Sequence[Derived]) -> Fleet:
    """The fleet with these columns as further sensors.

    Raises:
        FleetError: a column that is needed is missing, or one of that name is there already.
    """
    if not derived:
        return fleet
    frame = fleet.frame
    for one in derived:
        missing = [column for column in one.columns if column not in frame.columns]
        if missing:
            raise FleetError(
                f"column {missing[0]!r} is missing, from which {one.name!r} is derived; there are "
                f"{', '.join(fleet.schema.numeric)}",
                where=fleet.name,
            )
        if one.name in frame.columns:
            raise FleetError(
                f"there is a column {one.name!r} already", where=fleet.name, hint="derive it by another name"
            )
        values = one.compute([frame[column].to_numpy() for column in one.columns])
        frame = frame.with_columns(pl.Series(one.name, values))
    sensors = (*fleet.schema.sensors, *(one.name for one in derived))
    return replace(fleet, frame=frame, schema=fleet.schema.model_copy(update={"sensors": sensors}))
