"""The rows of a fleet as the checks walk through them: whole histories, evenly chosen samples, their thirds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wearcast.fleet import Fleet

__all__ = ["Histories", "evenly", "ks_distance", "ks_limit", "ranks"]

SAMPLE = 200_000  # rows that statistics of order are taken from
MOST_UNITS = 200  # histories that are looked at one by one
THIRD_ROWS = 600  # readings of a third of a history
LEAST_THIRD = 20
START_SHARE = 0.2  # of a history of median length: how many readings the healthy start of each has
START_ROWS = 50  # and at most so many

Rows = NDArray[np.int64]


def evenly(start: int, stop: int, most: int) -> Rows:
    """At most so many of the numbers from `start` up to `stop`, evenly spread."""
    count = max(0, min(most, stop - start))
    return start + (np.arange(count, dtype=np.int64) * (stop - start)) // max(count, 1)


@dataclass(frozen=True)
class Histories:
    """The rows of a fleet.

    Attributes:
        fleet: whose rows they are.
    """

    fleet: Fleet

    @cached_property
    def sizes(self) -> Rows:
        """Readings of each unit."""
        return np.diff(self.fleet.offsets)

    @property
    def single(self) -> bool:
        """Whether every unit is one reading, so that the table holds cases rather than histories."""
        return bool(len(self.sizes)) and int(self.sizes.max()) == 1

    @cached_property
    def borders(self) -> Rows:
        """Row at which each history starts, and the end; a table of cases is one history in the order of its rows."""
        return np.array([0, self.fleet.n_rows], dtype=np.int64) if self.single else self.fleet.offsets

    @cached_property
    def sample(self) -> Rows:
        """Rows for statistics of order, evenly spread."""
        return evenly(0, self.fleet.n_rows, SAMPLE)

    @cached_property
    def thirds(self) -> list[tuple[Rows, Rows]]:
        """Rows of the first and of the last third of histories that are long enough, of evenly chosen units."""
        third = np.diff(self.borders) // 3
        enough = np.flatnonzero(third >= LEAST_THIRD)
        chosen = enough[evenly(0, len(enough), MOST_UNITS)]
        return [
            (
                evenly(int(self.borders[unit]), int(self.borders[unit] + third[unit]), THIRD_ROWS),
                evenly(int(self.borders[unit + 1] - third[unit]), int(self.borders[unit + 1]), THIRD_ROWS),
            )
            for unit in chosen
        ]

    @cached_property
    def starts(self) -> list[Rows]:
        """Rows of the start of each history, of evenly chosen units in the order of their first reading."""
        firsts = self.fleet.frame["time"].gather(self.fleet.offsets[:-1]).to_physical().to_numpy()
        order = np.argsort(firsts, kind="stable") if self.fleet.schema.is_clock else np.arange(self.fleet.n_units)
        chosen = order[evenly(0, len(order), 3 * MOST_UNITS)]
        begin, size = self.fleet.offsets[chosen], self.sizes[chosen]
        # As many of each: over a share of the life, long lives would seem to start more worn than short ones.
        most = int(np.clip(np.median(self.sizes) * START_SHARE, 1, START_ROWS))
        return [np.arange(b, b + min(most, n), dtype=np.int64) for b, n in zip(begin, size, strict=True)]

    def place(self, row: int) -> str:
        """Unit and time of a row, for a sentence."""
        unit, time = self.fleet.frame["unit"][int(row)], self.fleet.frame["time"][int(row)]
        return f"unit {unit} at {time}"


def ks_distance(one: NDArray[np.floating], other: NDArray[np.floating]) -> float | None:
    """Two-sample Kolmogorov-Smirnov distance: the greatest between both distribution functions; None if one is empty.

    Missing values are left out (Kolmogorov 1933, Smirnov 1939).
    """
    first, second = (np.sort(values[~np.isnan(values)]) for values in (one, other))
    if not len(first) or not len(second):
        return None
    both = np.concatenate([first, second])
    below_first = np.searchsorted(first, both, side="right") / len(first)
    below_second = np.searchsorted(second, both, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def ks_limit(one: int, other: int) -> float:
    """Distance that two samples of one distribution exceed once in a thousand times (Smirnov 1948)."""
    return float(np.sqrt(-np.log(0.001 / 2) / 2 * (one + other) / max(one * other, 1)))


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rank of each value from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], dtype=np.float64)
