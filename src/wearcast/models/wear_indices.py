"""Linear indices of wear: what all sensors say together, as further columns for trees.

A tree splits by one column at a time, while wear shows a little in every sensor and each of them is noisy. An index is
a weighted sum of all sensors, whose weights are those of a ridge regression of the time left (the linear health index
of Wang, Yu, Siegel & Lee 2008, "A similarity-based prognostics approach for remaining useful life estimation of
engineered systems"). The weights are learnt from single readings, whose noise keeps them modest, and the index is then
read off every other description that is linear in them with the same weights: the mean of the index over the last
hundred readings is the index of the means, and so for slopes, lags and deviations.

What tells an old unit from a young one need not be what tells a dying one from an old one, so there are several
indices: over the whole life as far as the cap of the label reaches, near its end, and before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wearcast.inference.tables import SensorBlocks
from wearcast.models.linear import Standard, ridge

__all__ = ["WearIndices", "learn_indices"]

Floats = NDArray[np.float64]
Table = NDArray[np.float32]

STAGES: Final = ((0.0, 1.4), (0.0, 0.65), (0.5, 1.4))
"""Times left, in caps of the label, whose readings each index is learnt from; the time counts up to the cap."""
PENALTY: Final = 0.01


@dataclass(frozen=True)
class WearIndices:
    """Indices of a table's columns.

    Attributes:
        weights: of each column in each index, `(n_columns, n_indices)`.
    """

    weights: Floats

    def beside(self, table: Table) -> Table:
        """The table and its indices, `(n, n_columns + n_indices)`.

        Sums are in double precision, so that a graph in any order of summation gives the same single numbers, and no
        tree decides otherwise.
        """
        return np.concatenate([table, (table.astype(np.float64) @ self.weights).astype(np.float32)], axis=1)


def learn_indices(
    table: Table, duration: Floats, known: NDArray[np.bool_], blocks: SensorBlocks, *, max_rul: float
) -> WearIndices:
    """Learn the weights of each stage of life from each block of `blocks.learnt`.

    Args:
        table: statistics of each window, `(n, n_columns)`.
        duration: time to the event, or so far without it, `(n,)`; read where the event is known.
        known: whether the event was seen, `(n,)`.
        blocks: see `SensorBlocks`.
        max_rul: cap of the label.

    Returns:
        An index of each stage, block that is learnt from, and block; none of a stage that no known life reaches.
    """
    weights = [
        _weights(table[np.ix_(rows, blocks.columns[block])], np.minimum(duration[rows], max_rul))
        for low, high in STAGES
        if len(rows := np.flatnonzero(known & (duration >= low * max_rul) & (duration <= high * max_rul))) > 1
        for block in blocks.learnt
    ]
    spread = np.zeros((table.shape[1], len(weights), len(blocks.columns)))
    for i, own in enumerate(weights):
        for j, columns in enumerate(blocks.columns):
            spread[columns, i, j] = own
    return WearIndices(spread.reshape(table.shape[1], -1))


def _weights(sensors: Table, label: Floats) -> Floats:
    """Of a ridge regression, for sensors as they are, `(n_sensors,)`."""
    standard = Standard.of(sensors)
    z = standard(sensors)
    ((weights, _, _),) = ridge(z, label[:, None])(np.ones(len(z), dtype=np.bool_), (PENALTY,))
    return np.asarray(weights[:, 0] / standard.sd)
