"""What every evaluation beside that of RUL has in common: whose forecasts, of what, and the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.evaluation.protocol import Record
from wearcast.fleet import Fleet

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Judged"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One bundle's forecasts of one fleet, and how right they were.

    Attributes:
        record: whose forecasts, of what.
        fleet: the fleet; of a class forecast at the readings that were forecast at.
        metrics: value of each figure, None where the truth is not known.
        n_windows: how many forecasts there are.
        n_scored: how many of them have a known truth.
    """

    record: Record
    fleet: Fleet = field(repr=False)
    metrics: Mapping[str, Any]
    n_windows: int
    n_scored: int

    @property
    def truth(self) -> str:
        """Whether the truth of all, of some or of no forecast is known."""
        return "unknown" if not self.n_scored else "known" if self.n_scored == self.n_windows else "partial"

    @property
    def truth_note(self) -> str:
        """One plain sentence on what could be scored."""
        if self.truth == "unknown":
            return f"What came of none of the {self.n_windows} forecasts is known: nothing is scored, they stand."
        return f"What came of {self.n_scored} of {self.n_windows} forecasts is known: these are scored."

    @property
    def last(self) -> NDArray[np.intp]:
        """Row of the last forecast of each unit, `(n_units,)`."""
        return np.asarray(self.fleet.offsets[1:].astype(np.intp) - 1)

    def to_dict(self) -> dict[str, Any]:
        """The object that `evaluate --json` prints."""
        record = {k: v for k, v in self.record.__dict__.items() if k != "trained_on"}
        return {
            **record,
            "n_units": self.fleet.n_units,
            "n_windows": self.n_windows,
            "metrics": dict(self.metrics),
            "trained_on_this_data": bool(self.record.trained_on),
            "units_trained_on": list(self.record.trained_on),
            "truth": self.truth,
            "truth_note": self.truth_note,
            "n_windows_scored": self.n_scored,
        }

    def table(self) -> Table:
        """The figures as a table for the terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=f"{self.record.recipe} on {self.record.dataset} {self.record.split}")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for name, value in self.figures():
            table.add_row(name, Text(value))
        return table

    def figures(self) -> Iterator[tuple[str, str]]:
        """Name and text of each figure, those of a group with its name before them."""
        for name, value in self.metrics.items():
            group = value.items() if isinstance(value, dict) else [("", value)]
            for inner, number in group:
                if isinstance(number, int | float) or number is None:
                    yield f"{name}.{inner}" if inner else name, "—" if number is None else f"{number:.4g}"
