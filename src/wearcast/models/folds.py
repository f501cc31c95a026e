"""Folds of rows for models that read tables: what each fold learns from, and what it is judged on.

By unit, so that no model is judged on a unit that it saw. Or by blocks of time within each unit, with a gap on both
sides of a block, for windows and answers that reach across its ends (hv-blocks; Racine 2000, "Consistent
cross-validatory model selection for dependent data").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import FleetError

__all__ = ["Folds", "by_time", "by_unit", "even_rows", "few_of", "unit_folds"]

Folds = tuple[tuple[NDArray[np.bool_], NDArray[np.bool_]], ...]
"""Of each fold the rows that are learnt from and those that are held out, `(n,)` each; every row is held out once."""


def even_rows(offsets: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """All rows of short units, `most` evenly spaced rows of long ones, the last always among them."""
    picked = []
    for first, n in zip(offsets[:-1], np.diff(offsets), strict=True):
        rows = np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(np.int64)
        picked.append(first + rows)
    return np.concatenate(picked)


def few_of(marked: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """All rows but the marked ones, and so large a share of these, evenly spaced, `(n,)`."""
    count = np.append(0, np.cumsum(marked))
    return np.asarray(~marked | (np.diff(np.floor(count * share)) > 0))


def unit_folds(
    row_unit: NDArray[np.int32], folds: int, seed: int, strata: NDArray[np.int64] | None = None
) -> NDArray[np.intp]:
    """Fold of each row; all rows of a unit are in one fold, and units of a stratum are divided evenly.

    Args:
        row_unit: unit of each row, `(n,)`.
        folds: how many; fewer where there are not so many units.
        seed: of the division.
        strata: stratum of each row, `(n,)`; a unit is of the highest of its rows.
    """
    units, index = np.unique(row_unit, return_inverse=True)
    folds = min(folds, len(units))
    place = np.random.default_rng([seed, 0xF01D]).permutation(len(units))
    if strata is not None:
        highest = np.zeros(len(units), dtype=np.int64)
        np.maximum.at(highest, index, strata)
        place = np.argsort(np.lexsort((place, highest)))
    return np.asarray((place % folds)[index])


def by_unit(row_unit: NDArray[np.int32], folds: int, seed: int, strata: NDArray[np.int64] | None = None) -> Folds:
    """The folds of `unit_folds`.

    Raises:
        FleetError: there is one unit only.
    """
    fold = unit_folds(row_unit, folds, seed, strata)
    if not fold.max(initial=0):
        raise FleetError(
            "there is one unit with an answer: none can be held out", hint="set split.by to time, or add units"
        )
    return tuple((fold != k, fold == k) for k in range(int(fold.max()) + 1))


def by_time(row_unit: NDArray[np.int32], rows: NDArray[np.int64], folds: int, gap: int) -> Folds:
    """Each unit in as many blocks of time as there are folds.

    Args:
        row_unit: unit of each row, `(n,)`, ascending.
        rows: place of each row in the fleet, `(n,)`, ascending.
        folds: how many.
        gap: readings on either side of a block that are neither learnt from nor held out.

    Raises:
        FleetError: the histories are too short for that.
    """
    first = np.searchsorted(row_unit, row_unit, side="left")
    count = np.searchsorted(row_unit, row_unit, side="right") - first
    block = (np.arange(len(rows)) - first) * folds // count
    found = []
    for k in range(folds):
        held = block == k
        seen = ~held
        for unit in np.unique(row_unit[held]):
            own = rows[held & (row_unit == unit)]
            seen &= (row_unit != unit) | (rows < own[0] - gap) | (rows > own[-1] + gap)
        if not held.any() or not seen.any():
            raise FleetError(
                f"histories are too short for {folds} blocks of time with {gap} readings between them",
                hint="take fewer folds, shorter features.scales, or split.by unit",
            )
        found.append((seen, held))
    return tuple(found)
