"""Operating conditions, found from the settings without a number of clusters and without chance.

Each setting is divided where its histogram has a gap, if that division explains something of some sensor (the rounded
noise of a setting has gaps too, and means nothing); the combinations of these parts that occur are the conditions.
Settings that vary without gaps (a load that takes any value) make one condition, and stay inputs of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wearcast.config import Strict
from wearcast.features import row_blocks
from wearcast.fleet import Fleet
from wearcast.readings import History

__all__ = ["OperatingConditions"]

BINS = 200
GAP = 0.03  # of the setting's range: what is empty for longer divides it
MARGIN = 0.1  # of the setting's range: how far outside its parts a value is still known
MOST = 64  # conditions
EXPLAINED = 0.05  # of a sensor's variance: what a division must explain of at least one
SAMPLE = 100_000  # rows that are looked at for this

Parts = tuple[tuple[float, float], ...]


class OperatingConditions(Strict):
    """Known conditions: the parts of each setting, and which part each condition takes of each setting."""

    settings: tuple[str, ...]
    parts: tuple[Parts, ...] = Field(description="Low and high end of each setting's parts.")
    combinations: tuple[tuple[int, ...], ...] = Field(description="Part of each setting, per condition.")

    @classmethod
    def fit(cls, fleet: Fleet) -> OperatingConditions:
        """Find the conditions of a training fleet; readings without a setting are left out."""
        sample = fleet.frame.gather_every(max(1, fleet.n_rows // SAMPLE))
        sensors = [sample[name].to_numpy() for name in fleet.schema.sensors]
        parts = []
        for name in fleet.schema.settings:
            found = _divide(fleet.frame[name].to_numpy())
            code, _ = _part_of(sample[name].to_numpy(), found)
            telling = len(found) > 1 and _explained(code, sensors) >= EXPLAINED
            parts.append(found if telling else ((found[0][0], found[-1][1]),))
        together = cls(settings=fleet.schema.settings, parts=tuple(parts), combinations=())._combinations(fleet)
        if len(together) > MOST:
            parts = [((p[0][0], p[-1][1]),) for p in parts]
            together = ((0,) * len(parts),)
        return cls(settings=fleet.schema.settings, parts=tuple(parts), combinations=together)

    def __len__(self) -> int:
        return len(self.combinations)

    def assign(self, history: History) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """Condition of each row and whether it was seen in training, both `(n_rows,)`.

        An unseen row gets the known condition that shares most settings with it.
        """
        condition = np.zeros(history.n_rows, dtype=np.int16)
        seen = np.ones(history.n_rows, dtype=np.bool_)
        known = self._known
        for block in row_blocks(history.n_rows if self.settings else 0):
            codes, inside = self._codes(history, block)
            agree = (codes[:, None, :] == known[None]).sum(axis=2, dtype=np.int16)
            condition[block] = agree.argmax(axis=1)
            seen[block] = inside & (agree.max(axis=1) == len(self.settings))
        return condition, seen

    @cached_property
    def _known(self) -> NDArray[np.int8]:
        """Part of each setting, per condition, `(n_conditions, n_settings)`."""
        return np.array(self.combinations, dtype=np.int8)

    def _combinations(self, fleet: Fleet) -> tuple[tuple[int, ...], ...]:
        sizes = [len(p) for p in self.parts]
        if not sizes:
            return ((),)
        found = np.zeros(int(np.prod(sizes)), dtype=np.bool_)
        for block in row_blocks(fleet.n_rows):
            codes, inside = self._codes(fleet, block)
            found[np.ravel_multi_index(tuple(codes[inside].T), sizes)] = True
        combinations = np.stack(np.unravel_index(np.flatnonzero(found), sizes), axis=1)
        return tuple(tuple(row) for row in combinations.tolist()) or ((0,) * len(sizes),)

    def _codes(self, history: History, block: slice) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Part of each setting, `(block, n_settings)`, and whether all lie in or near their parts, `(block,)`."""
        columns = [history.column(name, block) for name in self.settings]
        found = [_part_of(column, parts) for column, parts in zip(columns, self.parts, strict=True)]
        codes = np.stack([code for code, _ in found], axis=1).astype(np.int8)
        return codes, np.logical_and.reduce([inside for _, inside in found])


def _divide(column: NDArray[np.float32]) -> Parts:
    column = column[np.isfinite(column)] if not np.isfinite(column).all() else column
    if len(column) == 0:
        limit = float(np.finfo(np.float32).max)
        return ((-limit, limit),)
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


def _part_of(column: NDArray[np.float32], parts: Parts) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
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


def _explained(code: NDArray[np.intp], sensors: Sequence[NDArray[np.float32]]) -> float:
    """Largest share of any sensor's variance that lies between the parts (the correlation ratio, Fisher 1925)."""
    best = 0.0
    for sensor in sensors:
        known = np.isfinite(sensor)
        x, group = sensor[known].astype(np.float64), code[known]
        if len(x) < 2 or (total := float(x.var())) <= 1e-12 * max(float(np.abs(x).max()), 1e-6) ** 2:
            continue
        count = np.maximum(np.bincount(group), 1)
        mean = np.bincount(group, weights=x) / count
        best = max(best, float((count * (mean - x.mean()) ** 2).sum() / len(x) / total))
    return best
