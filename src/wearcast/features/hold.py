"""Missing readings: the last known value of the same unit is held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["hold_last"]


def hold_last(values: NDArray[np.float32], start: NDArray[np.int64]) -> NDArray[np.float32]:
    """Replace each NaN by the unit's last known value before it, or by 0 (the mean, once scaled) if there is none.

    Args:
        values: one column, `(n_rows,)`.
        start: first row of the unit of each row, `(n_rows,)`.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(values))))
    return np.where(last >= start, values[np.maximum(last, 0)], np.float32(0.0)).astype(np.float32)
