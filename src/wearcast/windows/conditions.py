"""Operating conditions, found from the settings without a number of clusters and without chance.

Each setting is divided where its histogram has a gap; the combinations of these parts that occur are the conditions.
Settings that vary without gaps (a load that takes any value) make one condition, and stay inputs of the model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wearcast.config import Strict

__all__ = ["OperatingConditions"]

BINS = 200
GAP = 0.03  # of the setting's range: what is empty for longer divides it
MARGIN = 0.1  # of the setting's range: how far outside its parts a value is still known
MOST = 64


class OperatingConditions(Strict):
    """Known conditions: the parts of each setting, and which part each condition takes of each setting."""

    parts: tuple[tuple[tuple[float, float], ...], ...] = Field(description="Low and high end of each setting's parts.")
    combinations: tuple[tuple[int, ...], ...] = Field(description="Part of each setting, per condition.")

    @classmethod
    def fit(cls, settings: NDArray[np.float32]) -> OperatingConditions:
        """Find the conditions in `(n_rows, n_settings)`; NaN rows are left out."""
        settings = settings[np.isfinite(settings).all(axis=1)]
        if len(settings) == 0 or settings.shape[1] == 0:
            n = settings.shape[1]
            return cls(parts=(((-np.finfo(np.float64).max, np.finfo(np.float64).max),),) * n, combinations=((0,) * n,))
        parts = tuple(_divide(column) for column in settings.T)
        codes = np.stack([_part_of(column, p)[0] for column, p in zip(settings.T, parts, strict=True)], axis=1)
        found = np.unique(codes, axis=0)
        if len(found) > MOST:
            whole = tuple(((p[0][0], p[-1][1]),) for p in parts)
            return cls(parts=whole, combinations=((0,) * len(parts),))
        return cls(parts=parts, combinations=tuple(tuple(int(c) for c in row) for row in found))

    def __len__(self) -> int:
        return len(self.combinations)

    def assign(self, settings: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """Condition of each row and whether it was seen in training, both `(n_rows,)`.

        An unseen row gets the known condition that shares most settings with it.
        """
        n = len(settings)
        if not self.parts:
            return np.zeros(n, dtype=np.int16), np.ones(n, dtype=np.bool_)
        seen = np.ones(n, dtype=np.bool_)
        agree = np.zeros((n, len(self)), dtype=np.int16)
        known = np.array(self.combinations)
        for i, parts in enumerate(self.parts):
            code, inside = _part_of(settings[:, i], parts)
            seen &= inside
            agree += code[:, None] == known[None, :, i]
        condition = agree.argmax(axis=1).astype(np.int16)
        return condition, seen & (agree.max(axis=1) == len(self.parts))


def _divide(column: NDArray[np.float32]) -> tuple[tuple[float, float], ...]:
    low, high = float(column.min()), float(column.max())
    # A range of rounding errors is one value, not a scale of its own.
    if high - low <= 1e-6 * max(abs(low), abs(high), 1e-6):
        return ((low, high),)
    counts, edges = np.histogram(column, bins=BINS, range=(low, high))
    filled = np.flatnonzero(counts)
    breaks = np.flatnonzero(np.diff(filled) > GAP * BINS)
    starts = np.append(filled[0], filled[breaks + 1])
    ends = np.append(filled[breaks], filled[-1]) + 1
    return tuple((float(edges[s]), float(edges[e])) for s, e in zip(starts, ends, strict=True))


def _part_of(
    column: NDArray[np.float32], parts: tuple[tuple[float, float], ...]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Nearest part of each value, and whether the value lies in it or near it."""
    low, high = np.array(parts, dtype=np.float64).T
    values = column.astype(np.float64)
    if len(parts) == 1:
        nearest = np.zeros(len(values), dtype=np.intp)
        reach = max(MARGIN * (high[0] - low[0]), 1e-6 * max(abs(low[0]), abs(high[0]), 1e-6))
    else:
        nearest = np.searchsorted((high[:-1] + low[1:]) / 2, values)
        reach = min(MARGIN * (high[-1] - low[0]), float((low[1:] - high[:-1]).min()) / 2)
    distance = np.maximum(low[nearest] - values, values - high[nearest])
    return nearest, distance <= reach
