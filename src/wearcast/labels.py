"""What became of each reading: the answers that a model learns from and is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FutureLabels", "Labels", "RowLabels"]


class Labels(Protocol):
    """Answers by row."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows that have an answer to learn from, ascending."""

    def at(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Answer of each of these rows, and whether it is known; the first dimension is that of `rows`."""


@dataclass(frozen=True)
class RowLabels:
    """One answer a reading.

    Attributes:
        value: `(n_rows,)`.
        known: whether it is the answer, or (for a time) the least that it can be, `(n_rows,)`.
        rows: see `Labels`.
    """

    value: NDArray[Any]
    known: NDArray[np.bool_]
    rows: NDArray[np.int64]

    def at(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """See `Labels`: both `(n,)`."""
        return self.value[rows], self.known[rows]


@dataclass(frozen=True)
class FutureLabels:
    """The values after each reading, looked up rather than laid out.

    Attributes:
        values: `(n_rows, n_columns)`, NaN where a reading is missing.
        stop: row after the last of the unit of each row, `(n_rows,)`.
        length: how many steps ahead.
        rows: see `Labels`.
    """

    values: NDArray[np.float32]
    stop: NDArray[np.int64]
    length: int
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float32], offsets: NDArray[np.int64], length: int) -> FutureLabels:
        """Of a fleet's columns; rows whose future the unit's history does not hold whole are left out of `rows`."""
        stop = np.repeat(offsets[1:], np.diff(offsets))
        return cls(values, stop, length, np.flatnonzero(np.arange(len(values)) + length < stop))

    def at(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """See `Labels`: both `(n, length, n_columns)`."""
        ahead = rows[:, None] + np.arange(1, self.length + 1)
        stop = self.stop[rows][:, None]
        value = self.values[np.minimum(ahead, stop - 1)]
        known = np.isfinite(value) & (ahead < stop)[:, :, None]
        return np.where(known, value, np.float32(0)), known
