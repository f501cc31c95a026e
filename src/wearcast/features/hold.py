"""Missing readings: the last known value of the same unit is held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["hold_last"]


def hold_last(values: NDArray[np.float32], start: NDArray[np.int64], before: float = 0.0) -> NDArray[np.float32]:
    """Replace each NaN by the unit's last known value before it, or by 0 (the mean, once scaled) if there is none.

    Args:
        values: a block of one column, `(n,)`.
        start: first row of the unit of each row, counted from the block's first row and so below 0 if the unit starts
            before the block, `(n,)`.
        before: the value held in the row before the block.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(values))))
    unknown = np.where(start < 0, np.float32(before), np.float32(0.0))
    return np.where(last >= np.maximum(start, 0), values[last], unknown).astype(np.float32)
