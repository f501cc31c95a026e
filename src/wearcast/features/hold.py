"""Missing readings: the last known value of the same unit is held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["hold_last"]


def hold_last(
    values: NDArray[np.float32], start: NDArray[np.int64], before: float | NDArray[np.float32] = 0.0
) -> NDArray[np.float32]:
    """Replace each NaN by the unit's last known value before it, or by 0 (the mean, once scaled) if there is none.

    Args:
        values: a block of one column or of several, `(n,)` or `(n, n_columns)`.
        start: first row of the unit of each row, counted from the block's first row and so below 0 if the unit starts
            before the block, `(n,)`.
        before: the value held in the row before the block, one a column.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    if values.ndim == 2:
        held = values.copy()
        for column in np.flatnonzero(missing.any(axis=0)):
            held[:, column] = hold_last(values[:, column], start, np.broadcast_to(before, values.shape[1:])[column])
        return held
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(values))))
    unknown = np.where(start < 0, np.float32(before), np.float32(0.0))
    return np.where(last >= np.maximum(start, 0), values[last], unknown).astype(np.float32)
