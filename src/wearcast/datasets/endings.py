"""How a user's histories end, as a mapping says it: a table of failures, a mark in the readings, or the life left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from wearcast.config import Strict
from wearcast.schema import Outcome

__all__ = ["Ending", "FailureMark", "FailureRows", "FailureTable", "RemainingLife"]


class _FailureColumns(Strict):
    unit: str | None = Field(None, description="Column of units; by default the mapping's unit column, or 'unit'.")
    time: str | None = Field(None, description="Column of times; by default the mapping's time column, or 'time'.")
    kind: str = Field("kind", description="Column with end_of_life, failure or maintenance; 'failure' if not there.")
    mode: str = Field("mode", description="Column with the failure mode; it may be missing.")
    lives: bool = Field(
        False, description="Whether a unit runs on after a failure: its history is cut into lives unit#1, unit#2, …"
    )
    until: str = Field("until", description="With lives: column of when the unit ran again; it may be missing.")


class FailureTable(_FailureColumns):
    """A table of what happened to the units: one row an event; units without one are still running."""

    failures: str = Field(min_length=1, description="CSV or Parquet file, relative to the mapping file.")


class FailureRows(_FailureColumns):
    """A table of failures in the database that holds the readings, read in the same state of it."""

    failures_table: str = Field(min_length=1, description="Its name in the database.")


class FailureMark(Strict):
    """A column of the readings that says that the unit has failed: the first row with the mark ends the life."""

    column: str = Field(min_length=1, description="Column of the readings; it is never a feature.")
    value: int | float | str = Field(1, description="What stands in it at a failure.")
    after: Literal["refuse", "new_life"] = Field(
        "refuse",
        description="Rows after the first mark are refused, or the next row without it begins a new life unit#2, …",
    )


class RemainingLife(Strict):
    """A column of the readings that holds the life left, in cycles or in the mapping's time_unit."""

    remaining: str = Field(min_length=1, description="Column of the readings; empty where a unit is still running.")


def _which(value: Any) -> str:
    """The member that is meant, so that a misspelt key is answered for that one alone."""
    if isinstance(value, Strict):
        return type(value).__name__
    if not isinstance(value, dict):
        return "Outcome"
    if "failures" not in value:
        for key, name in (
            ("failures_table", "FailureRows"), ("remaining", "RemainingLife"), ("column", "FailureMark")
        ):  # fmt: skip
            if key in value:
                return name
    return "FailureTable"


if TYPE_CHECKING:
    Ending: TypeAlias = Outcome | FailureTable | FailureRows | FailureMark | RemainingLife
else:
    Ending = Annotated[
        Annotated[Outcome, Tag("Outcome")]
        | Annotated[FailureTable, Tag("FailureTable")]
        | Annotated[FailureRows, Tag("FailureRows")]
        | Annotated[FailureMark, Tag("FailureMark")]
        | Annotated[RemainingLife, Tag("RemainingLife")],
        Discriminator(_which),
    ]
