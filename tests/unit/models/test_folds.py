"""Folds of units and of blocks of time."""

from __future__ import annotations

import numpy as np
import pytest

from wearcast.errors import FleetError
from wearcast.models.folds import by_time, by_unit

UNIT = np.repeat(np.arange(3, dtype=np.int32), [30, 24, 60])
ROWS = np.arange(114)[::2]


def test_units_are_held_out_whole_and_once():
    folds = by_unit(UNIT, 3, seed=0)
    assert np.sum([held for _, held in folds], axis=0).tolist() == [1] * len(UNIT)
    for seen, held in folds:
        assert set(UNIT[seen]).isdisjoint(UNIT[held])
    with pytest.raises(FleetError, match="one unit") as caught:
        by_unit(np.zeros(9, dtype=np.int32), 3, seed=0)
    assert "split.by" in str(caught.value.hint)


@pytest.mark.parametrize("gap", [0, 3, 9])
def test_blocks_of_time_are_held_out_once_with_a_gap_around(gap: int):
    unit = UNIT[ROWS]
    folds = by_time(unit, ROWS, 4, gap)
    assert np.sum([held for _, held in folds], axis=0).tolist() == [1] * len(ROWS)
    for seen, held in folds:
        for i in np.flatnonzero(seen):  # a plain loop
            assert all(abs(ROWS[i] - ROWS[j]) > gap for j in np.flatnonzero(held & (unit == unit[i])))
        for u in range(3):
            own = np.flatnonzero(held & (unit == u))
            assert (np.diff(own) == 1).all()  # one block
            assert len(own) >= (unit == u).sum() // 4


def test_a_history_that_is_all_gap_is_refused():
    with pytest.raises(FleetError, match="too short for 2 blocks of time with 20 readings between them"):
        by_time(np.zeros(20, dtype=np.int32), np.arange(20), 2, 20)
