"""Columns computed from others, such as a power from torque and speed: declared in the recipe, stored in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from wearcast.config import Strict
from wearcast.errors import FleetError
from wearcast.features.rolling import lag
from wearcast.readings import History

__all__ = ["Derived", "Limits", "with_derived"]

H = TypeVar("H", bound=History)


class Limits(Strict):
    """A limit for each value of a static text column, such as a rated load by variant."""

    column: str = Field(description="Static text column.")
    values: dict[str, Annotated[float, Field(gt=0)]] = Field(min_length=1)

    def of(self, history: History) -> NDArray[np.float64]:
        """The limit of each reading, `(n_rows,)`; NaN for a value that has none."""
        text = history.column(self.column, history.offsets[:-1]).tolist()  # a static column: one value a unit
        limits = [self.values.get(str(value), np.nan) for value in text]
        return np.repeat(np.array(limits, dtype=np.float64), np.diff(history.offsets))


class Derived(Strict):
    """One computed column: `scale · operation(columns)`, then its distance from a centre, then its share of a limit."""

    name: str = Field(min_length=1, description="What the column is called; it becomes a sensor.")
    operation: Literal["product", "sum", "difference", "ratio", "change", "maximum"]
    columns: tuple[str, ...] = Field(
        min_length=1, description="Sensors or settings, in order; two for a difference or a ratio, one for a change."
    )
    steps: int = Field(1, ge=1, description="Of a change: since how many readings before, within the unit.")
    scale: float = Field(1.0, description="Factor of the result, such as 2π/60 from revolutions a minute.")
    centre: float | None = Field(None, description="Take the absolute distance from this value.")
    limits: Limits | None = Field(None, description="Divide by the limit of the unit.")
    source: Annotated[str, Field(max_length=300)] = Field("", description="Where the formula comes from.")

    @model_validator(mode="after")
    def _two(self) -> Derived:
        wanted = {"difference": 2, "ratio": 2, "change": 1}.get(self.operation)
        if wanted and len(self.columns) != wanted:
            raise ValueError(f"a {self.operation} is of {wanted} columns, not {len(self.columns)}")
        if self.scale == 0 or not np.isfinite(self.scale):
            raise ValueError("scale must be a finite number other than 0")
        return self

    def compute(self, columns: Sequence[NDArray[np.float32]], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        """The column, NaN where a reading is missing, a ratio has no value or a change reaches before the unit.

        Args:
            columns: `(n_rows,)` each.
            offsets: first row of each unit and the number of rows.
        """
        if self.operation == "change":
            start = np.repeat(offsets[:-1], np.diff(offsets))
            columns = (columns[0], lag(columns[0][:, None], start, np.arange(len(start)), (self.steps,))[:, 0])
        first, *rest = (column.astype(np.float64) for column in columns)
        for column in rest:
            if self.operation == "product":
                first = first * column
            elif self.operation == "sum":
                first = first + column
            elif self.operation == "maximum":
                first = np.maximum(first, column)
            elif self.operation in ("difference", "change"):
                first = first - column
            else:
                first = np.divide(first, column, out=np.full_like(first, np.nan), where=column != 0)
        result = first * self.scale
        return np.asarray(result if self.centre is None else np.abs(result - self.centre), dtype=np.float32)


def with_derived(history: H, derived: Sequence[Derived]) -> H:
    """The fleet with these columns as further sensors.

    Raises:
        FleetError: a column that is needed is missing, or one of that name is there already.
    """
    for one in derived:
        there = history.column_names
        wanted = (*one.columns, *([one.limits.column] if one.limits else []))
        missing = [column for column in wanted if column not in there]
        if missing:
            raise FleetError(
                f"column {missing[0]!r} is missing, from which {one.name!r} is derived; there are {', '.join(there)}",
                where=history.name,
            )
        if one.name in there:
            raise FleetError(
                f"there is a column {one.name!r} already", where=history.name, hint="derive it by another name"
            )
        values = one.compute([history.column(column) for column in one.columns], history.offsets)
        if one.limits is not None:
            values = (values / one.limits.of(history)).astype(np.float32)
        history = history.with_sensors({one.name: values})
    return history
