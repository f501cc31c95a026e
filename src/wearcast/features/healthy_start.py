"""A unit's own healthy start: what each sensor read when the unit was young.

Units differ by manufacturing and by their first wear; what matters is how far a unit has moved from its own start.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearcast.features.blocks import row_blocks

__all__ = ["healthy_start"]


def healthy_start(values: NDArray[np.float32], offsets: NDArray[np.int64], steps: int) -> NDArray[np.float32]:
    """Mean of each unit's first 1, 2, … `steps` readings: what its healthy start is known to be after that many.

    Args:
        values: scaled columns without NaN, `(n_rows, n_columns)`.
        offsets: first row of each unit and the number of rows, `(n_units + 1,)`.
        steps: readings that make the healthy start.

    Returns:
        `(n_units, steps, n_columns)`; what lies beyond the end of a short unit has no meaning.
    """
    first, last = offsets[:-1], offsets[1:] - 1
    means = np.empty((len(first), steps, values.shape[1]), dtype=np.float32)
    count = np.arange(1, steps + 1)[:, None]
    for units in row_blocks(len(first), steps * values.shape[1]):
        rows = np.minimum(first[units, None] + np.arange(steps), last[units, None])
        means[units] = np.cumsum(values[rows], axis=1, dtype=np.float64) / count
    return means
