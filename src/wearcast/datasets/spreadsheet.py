"""Readings that a spreadsheet turned into dates or shifted by a thousands point, put back where it is certain.

A German spreadsheet takes the point of `18.5` for the point of a date or of the thousands. Three things happen to a
file that was opened in one and saved as text:

- a reading that looks like day and month becomes a date: 18.5 and 18.05 both read `18. Mai`, 18.11 reads `18. Nov`;
- one that looks like month and year becomes that: 3.49 reads `Mrz 49`;
- one with four decimals is taken for a whole number and gets a point before its last three digits: 7.0025 reads
  70.025, ten times too much. Nothing in the cell shows it.

So a cell stands for one reading or for two, and only its neighbours tell. Among all ways to read the column the one is
taken along which the readings move least. How much more they would have to move for the other reading of a cell is its
margin, and a cell with too small a margin stays *uncertain*: it is never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast.datasets.published import line_of
from wearcast.errors import FormatError
from wearcast.frames import MISSING

__all__ = ["Repaired", "date_candidates", "repair_cells"]

REACH = 20
"""Cells farther apart than this number of rows, for readings are missing between them, say nothing of each other."""

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        ("jan", "feb", "mrz mär mar", "apr", "mai may", "jun", "jul", "aug", "sep", "okt oct", "nov", "dez dec"),
        start=1,
    )
    for name in names.split()
}
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAY_MONTH = re.compile(r"(\d{1,2})[.-] ?([^\W\d_]{3})\.?")
_MONTH_YEAR = re.compile(r"([^\W\d_]{3})\.?[ -](\d{2})")
_TENFOLD = math.log(10.0)
_MARGIN_OF_SHIFT = _TENFOLD / 2
_STEP_AFTER_SHIFT = 0.2  # a reading whose point was put back is within a fifth of a neighbour
_PRIOR_OF_SHIFT = 1e-6  # where nothing tells, the cell says what it says


@dataclass(frozen=True)
class Repaired:
    """A column as numbers, and what was done to it; rows count from 0.

    Attributes:
        values: NaN where a reading is missing or uncertain.
        dates: rows that held a date, repaired.
        shifted: rows whose point was put back, repaired.
        uncertain: rows that are damaged, but the neighbours do not tell what they were.
    """

    values: NDArray[np.float64]
    dates: NDArray[np.intp]
    shifted: NDArray[np.intp]
    uncertain: NDArray[np.intp]


def date_candidates(text: str) -> tuple[float, ...]:
    """The readings that a spreadsheet shows as this date; none if it is not one.

    Example:
        >>> date_candidates("18. Mai"), date_candidates("18. Nov"), date_candidates("Mrz 49")
        ((18.05, 18.5), (18.11,), (3.49,))
    """
    if found := _DAY_MONTH.fullmatch(text):
        day, month = int(found[1]), _MONTHS.get(found[2].lower(), 0)
        if not month or not 1 <= day <= _DAYS[month - 1]:
            return ()
        return (day + month / 100,) if month >= 10 else (day + month / 100, day + month / 10)
    if found := _MONTH_YEAR.fullmatch(text):
        month = _MONTHS.get(found[1].lower(), 0)
        return (month + int(found[2]) / 100,) if month else ()
    return ()


def repair_cells(cells: pl.Series, *, shifts: bool = False, where: str = "table") -> Repaired:
    """A column of text as numbers, with what a spreadsheet did to it undone where that is certain.

    Args:
        cells: a series of one channel in the order of time; empty cells are missing readings.
        shifts: also look for tenfold readings. Only for positive channels that move by little from row to row: of
            others, such cells would be called uncertain.
        where: how errors call the file.

    Raises:
        FormatError: a cell is neither a number nor a date that a spreadsheet makes of one, named by line and column.
    """
    text = cells.str.strip_chars()
    text = text.set(text.is_in(MISSING), None)
    number = text.cast(pl.Float64, strict=False)
    values = number.to_numpy().astype(np.float64)
    odd = (~number.is_finite()).fill_null(text.is_not_null())
    dates: dict[int, tuple[float, ...]] = {}
    for row in odd.arg_true().to_list():
        dates[row] = date_candidates(text[row])
        if not dates[row]:
            raise FormatError(
                f"{text[row]!r} is neither a number nor a date that a spreadsheet makes of one",
                where=f"{where}: line {line_of(row)}, column {cells.name!r}",
            )
    dates = _of_one_resolution(dates, text)
    shifted, unclear = np.empty(0, np.intp), np.empty(0, np.intp)
    if shifts:
        values, shifted, unclear = _undo_shifts(values, text, dates)
    values, undecided = _undo_dates(values, dates)
    repaired = np.setdiff1d(np.array(sorted(dates), dtype=np.intp), undecided)
    return Repaired(values, repaired, shifted, np.union1d(unclear, undecided).astype(np.intp))


def _of_one_resolution(dates: dict[int, tuple[float, ...]], text: pl.Series) -> dict[int, tuple[float, ...]]:
    """The candidates without hundredths where the column is one of tenths.

    A column of hundredths shows some of them undamaged or as month and year, one of tenths nowhere: there 3.5 between
    3 and 3 is all too easily read as 3.05. It is one of tenths if a tenth is undamaged, or if the dates change day
    without ever passing a hundredth above 12.
    """
    if any(len(candidates) == 1 for candidates in dates.values()):
        return dates
    decimals = text.str.extract(r"\.(\d+)$").str.strip_chars_end("0").str.len_chars().max()
    days = {int(candidates[0]) for candidates in dates.values()}
    if isinstance(decimals, int) and decimals >= 2:
        return dates
    if decimals == 1 or len(days) > 1:
        return {row: candidates[1:] for row, candidates in dates.items()}
    return dates


# ---------------------------------------------------------------------- the smoothest way to read a chain of cells


def _margins(chain: Sequence[tuple[float, ...]], priors: Sequence[tuple[float, ...]]) -> list[tuple[int, float]]:
    """Which candidate of each cell lies on the shortest path through the chain, and how much longer it is without it.

    The length of a path is the sum of its absolute steps and the priors of its candidates. Exact, forward and backward
    in one pass each (Viterbi's algorithm with min-marginals).
    """
    ahead = _lengths(chain, priors)
    back = _lengths(chain[::-1], priors[::-1])[::-1]
    chosen = []
    for one, other, prior in zip(ahead, back, priors, strict=True):
        lengths = [a + b - p for a, b, p in zip(one, other, prior, strict=True)]
        best = min(range(len(lengths)), key=lengths.__getitem__)
        others = [length for i, length in enumerate(lengths) if i != best]
        chosen.append((best, min(others) - lengths[best] if others else math.inf))
    return chosen


def _lengths(chain: Sequence[tuple[float, ...]], priors: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Length of the shortest path from the start of the chain to each candidate, its own prior included."""
    found: list[tuple[float, ...]] = []
    before: tuple[float, ...] = ()
    for values, prior in zip(chain, priors, strict=True):
        here = prior
        if found:
            last = found[-1]
            here = tuple(
                p + min(length + abs(value - old) for length, old in zip(last, before, strict=True))
                for value, p in zip(values, prior, strict=True)
            )
        found.append(here)
        before = values
    return found


def _runs(rows: NDArray[np.intp], wide: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Bounds of the runs of cells with several candidates, each with one cell more at either end that says something.

    Args:
        rows: row of each cell that holds anything.
        wide: whether it has several candidates.
    """
    joined = np.diff(rows) <= REACH
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wide.view(np.int8), [0]])))
    runs = []
    for start, stop in edges.reshape(-1, 2).tolist():
        begin = start
        for cut in (*(np.flatnonzero(~joined[start : stop - 1]) + start + 1).tolist(), stop):
            left = begin - 1 if begin > 0 and joined[begin - 1] else begin
            right = cut + 1 if cut < len(rows) and joined[cut - 1] else cut
            runs.append((left, right))
            begin = cut
    return runs


# ---------------------------------------------------------------------- tenfold readings


def _undo_shifts(
    values: NDArray[np.float64], text: pl.Series, dates: dict[int, tuple[float, ...]]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """The values with points put back, the rows of these and the rows where the neighbours do not tell.

    Steps are of logarithms, so that a channel and the same channel tenfold move equally far: where no neighbour with
    one candidate decides, the cells say what they say.
    """
    level = values.copy()
    for row, candidates in dates.items():
        level[row] = math.sqrt(candidates[0] * candidates[-1])  # which of the two it is hardly matters here
    rows = np.flatnonzero(level > 0).astype(np.intp)
    may = text.str.contains(r"^\d+\.\d\d[1-9]$").fill_null(False).to_numpy() & (values >= 10)
    wide = may[rows]
    logs = np.log(level[rows])
    shifted: list[np.intp] = []
    unclear: list[np.intp] = []
    far = np.append(np.abs(np.diff(logs)) > _STEP_AFTER_SHIFT, False)
    for start, stop in _runs(rows, wide):
        if not far[start : stop - 1].any():
            continue  # as it stands the stretch is smooth, so putting points back could only make it rougher
        chain = [(x, x - _TENFOLD) if w else (x,) for x, w in zip(logs[start:stop], wide[start:stop], strict=True)]
        chosen = _margins(chain, [(0.0, _PRIOR_OF_SHIFT) if len(cell) > 1 else (0.0,) for cell in chain])
        path = [cell[choice] for cell, (choice, _) in zip(chain, chosen, strict=True)]
        for i, (choice, margin) in enumerate(chosen):
            if choice == 1:
                step = min(abs(path[i] - path[j]) for j in (i - 1, i + 1) if 0 <= j < len(path))
                certain = margin >= _MARGIN_OF_SHIFT and step <= _STEP_AFTER_SHIFT
                (shifted if certain else unclear).append(rows[start + i])
    restored = values.copy()
    restored[shifted] /= 10
    restored[unclear] = np.nan
    return restored, np.array(shifted, dtype=np.intp), np.array(unclear, dtype=np.intp)


# ---------------------------------------------------------------------- dates


def _undo_dates(
    values: NDArray[np.float64], dates: dict[int, tuple[float, ...]]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The values with the dates read where that is certain, and the rows where it is not."""
    restored = values.copy()
    scale = _Scale(values)
    for row, candidates in dates.items():
        if len(candidates) == 1:
            restored[row] = candidates[0]
    known = np.isfinite(restored)
    double = np.zeros(len(values), dtype=np.bool_)
    double[[row for row, candidates in dates.items() if len(candidates) > 1]] = True
    rows = np.flatnonzero(known | double).astype(np.intp)
    undecided = []
    for start, stop in _runs(rows, double[rows]):
        cells = rows[start:stop].tolist()
        chain = [dates[row] if double[row] else (float(restored[row]),) for row in cells]
        chosen = _margins(chain, [(0.0,) * len(cell) for cell in chain])
        path = [cell[choice] for cell, (choice, _) in zip(chain, chosen, strict=True)]
        for i, row in enumerate(cells):
            if not double[row]:
                continue
            gap, noise = chain[i][1] - chain[i][0], scale.near(row)
            around = [path[j] for j in (i - 1, i + 1) if 0 <= j < len(path)]
            clear = chosen[i][1] >= max(gap / 2, 6 * noise)
            if around and clear and _detour(path[i], around) <= max(gap / 4, 3 * noise):
                restored[row] = path[i]
            else:
                undecided.append(row)
    for _ in range(2):  # there and back, for each one read helps its neighbour
        undecided = [row for row in undecided if not _extrapolate(restored, row, dates[row])][::-1]
    return restored, np.array(undecided, dtype=np.intp)


def _detour(value: float, around: Sequence[float]) -> float:
    """How far one strays from the straight way between the neighbours."""
    if len(around) == 1:
        return abs(value - around[0])
    return (abs(value - around[0]) + abs(value - around[1]) - abs(around[0] - around[1])) / 2


class _Scale:
    """How far undamaged readings move from one row to the next, around a row."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        steps = np.abs(np.diff(values))
        self._rows = np.flatnonzero(np.isfinite(steps))
        self._steps = steps[self._rows]

    def near(self, row: int, pairs: int = 10) -> float:
        """Median of the absolute steps of the nearest pairs before and after."""
        i = int(np.searchsorted(self._rows, row))
        around = self._steps[max(0, i - pairs) : i + pairs]
        return float(np.median(around)) if len(around) else 0.0


def _extrapolate(values: NDArray[np.float64], row: int, candidates: tuple[float, ...], points: int = 6) -> bool:
    """Read a date by the straight lines through the readings before and after it, where both lines agree on it.

    For steep and straight stretches, where both candidates lie between the neighbours.
    """
    gap = candidates[1] - candidates[0]
    expected = []
    for side in (range(row - 1, row - REACH - 1, -1), range(row + 1, row + REACH + 1)):
        near = [i for i in side if 0 <= i < len(values) and np.isfinite(values[i])][:points]
        if len(near) < points:
            return False
        slope, level = np.polyfit(np.array(near) - row, values[near], 1)
        if np.abs(values[near] - level - slope * (np.array(near) - row)).max() > gap / 10:
            return False
        expected.append(level)
    fits = [value for value in candidates if max(abs(value - level) for level in expected) <= gap / 4]
    if fits:
        values[row] = fits[0]
    return bool(fits)
