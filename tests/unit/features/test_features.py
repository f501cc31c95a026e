"""Features against plain loops, and never a look ahead or into another unit."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wearcast.features import StatisticsFeatures, blocks, healthy_start, hold_last, statistic_names, window_statistics
from wearcast.features.statistics import MOMENTS, Statistic

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def offsets_of(sizes: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def start_of(offsets: np.ndarray) -> np.ndarray:
    return np.repeat(offsets[:-1], np.diff(offsets))


@given(st.data(), SIZES, st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_healthy_start_is_the_mean_of_the_first_readings_so_far(data, sizes, steps):
    offsets = offsets_of(sizes)
    x = data.draw(arrays(np.float32, (int(offsets[-1]), 2), elements=st.floats(-5, 5, width=32)))
    found = healthy_start(x, offsets, steps)
    for unit, (first, stop) in enumerate(itertools.pairwise(offsets)):
        for age in range(min(steps, stop - first)):
            expected = x[first : first + age + 1].astype(np.float64).mean(axis=0)
            assert found[unit, age] == pytest.approx(expected, abs=1e-5)


@given(st.data(), SIZES, st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_hold_last_never_borrows_from_another_unit(data, sizes, size):
    offsets = offsets_of(sizes)
    x = data.draw(arrays(np.float32, int(offsets[-1]), elements=st.sampled_from([np.nan, 1.0, 2.0, 3.0])))
    expected = []
    for first, stop in itertools.pairwise(offsets):
        last = 0.0
        for value in x[first:stop]:
            last = last if np.isnan(value) else float(value)
            expected.append(last)
    start = start_of(offsets)
    np.testing.assert_array_equal(hold_last(x, start), np.array(expected, dtype=np.float32))
    held: list[float] = [0.0]
    for at in range(0, len(x), size):
        held += hold_last(x[at : at + size], start[at : at + size] - at, held[-1]).tolist()
    assert held[1:] == expected


def plain_statistics(window: np.ndarray, kinds: tuple[str, ...]) -> list[np.ndarray]:
    found = {
        "mean": window.mean(axis=0),
        "sd": window.std(axis=0),
        "slope": np.polyfit(np.arange(len(window)), window, 1)[0] if len(window) > 1 else np.zeros(2),
        "min": window.min(axis=0),
        "max": window.max(axis=0),
        "median": np.median(window, axis=0),
    }
    return [found[kind] for kind in kinds]


@given(
    st.data(),
    SIZES,
    st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True).map(sorted),
    st.integers(1, 40),
    st.just(MOMENTS) | st.permutations(get_args(Statistic)).flatmap(lambda p: st.sampled_from([p[:2], p[:4], p])),
)
@settings(max_examples=60, deadline=None)
def test_window_statistics_equal_a_plain_loop(data, sizes, scales, size, kinds):
    offsets = offsets_of(sizes)
    start = start_of(offsets)
    x = data.draw(arrays(np.float32, (int(offsets[-1]), 2), elements=st.floats(-5, 5, width=32)))
    rows = np.array(data.draw(st.permutations(range(len(x)))))[: data.draw(st.integers(1, len(x)))]
    expected = np.empty((len(rows), 2 * (len(kinds) * len(scales) + 1)))
    for i, row in enumerate(rows):
        parts = []
        for w in scales:
            parts += plain_statistics(x[max(start[row], row + 1 - w) : row + 1].astype(np.float64), kinds)
        expected[i] = np.concatenate([*parts, x[row]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", size)
        found = window_statistics(x, start, rows, scales, kinds)
    assert len(statistic_names(["a", "b"], scales, kinds)) == found.shape[1]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_statistic_names_are_as_many_as_the_columns():
    x = np.zeros((5, 3), dtype=np.float32)
    names = statistic_names(["a", "b", "c"], (2, 4))
    assert len(names) == window_statistics(x, np.zeros(5, dtype=np.int64), np.arange(5), (2, 4)).shape[1]
    assert names[0] == "a_mean_2"
    assert names[-1] == "c_last"


@pytest.mark.parametrize("name", ["scales", "lags", "differences"])
@pytest.mark.parametrize("steps", [(5, 5), (9, 4)])
def test_scales_and_steps_must_ascend(name, steps):
    with pytest.raises(ValueError, match=f"{name} must be an ascending"):
        StatisticsFeatures.model_validate({name: steps})


def test_each_statistic_is_named_once_and_a_row_looks_back_as_far_as_the_longest_of_all():
    with pytest.raises(ValueError, match="each once"):
        StatisticsFeatures(statistics=("mean", "mean"))
    assert StatisticsFeatures().reach == 100
    assert StatisticsFeatures(scales=(), lags=(3,), differences=(7,)).reach == 8
    assert StatisticsFeatures(scales=()).reach == 1
