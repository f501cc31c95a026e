"""Lags, differences, extremes and medians against plain loops; none reaches into another unit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wearcast.errors import UsageError
from wearcast.features import rolling

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=4)
LENGTHS = st.lists(st.integers(1, 14), min_size=1, max_size=3)
READINGS = st.sampled_from([np.nan, -2.0, 0.5, 1.0, 3.0, 7.0])


def drawn(data: st.DataObject, sizes: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    start = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    x = data.draw(arrays(np.float32, (len(start), 2), elements=READINGS))
    return x, start, np.arange(len(start))[:: data.draw(st.integers(1, 3))]


@given(st.data(), SIZES, LENGTHS)
@settings(max_examples=40, deadline=None)
def test_lag_and_difference_equal_a_plain_loop(data, sizes, steps):
    x, start, rows = drawn(data, sizes)
    nothing = np.full(2, np.nan, dtype=np.float32)
    expected = [np.concatenate([x[r - k] if r - k >= start[r] else nothing for k in steps]) for r in rows]
    np.testing.assert_array_equal(rolling.lag(x, start, rows, steps), expected)
    moved = [np.concatenate([x[r] - x[r - k] if r - k >= start[r] else nothing for k in steps]) for r in rows]
    np.testing.assert_array_equal(rolling.difference(x, start, rows, steps), moved)
    first = [np.concatenate([x[max(r - k, start[r])] for k in steps]) for r in rows]
    np.testing.assert_array_equal(rolling.lag(x, start, rows, steps, since_start=True), first)
    since = np.tile(x[rows], len(steps)) - np.array(first)
    np.testing.assert_array_equal(rolling.difference(x, start, rows, steps, since_start=True), since)


def of_window(window: np.ndarray, kind: str) -> list[float]:
    columns = [column[~np.isnan(column)] for column in window.T]
    quantile = {"min": 0.0, "median": 0.5, "max": 1.0}[kind]
    return [float(np.quantile(column, quantile)) if len(column) else np.nan for column in columns]


@given(st.data(), SIZES, LENGTHS)
@settings(max_examples=60, deadline=None)
def test_extremes_and_median_equal_a_plain_loop(data, sizes, scales):
    x, start, rows = drawn(data, sizes)
    windows = {r: [x[max(start[r], r + 1 - w) : r + 1] for w in scales] for r in rows}
    extremes = [[v for window in windows[r] for kind in ("min", "max") for v in of_window(window, kind)] for r in rows]
    np.testing.assert_array_equal(
        rolling.rolling_extremes(x, start, rows, scales), np.array(extremes, dtype=np.float32)
    )
    medians = [[v for window in windows[r] for v in of_window(window, "median")] for r in rows]
    np.testing.assert_allclose(rolling.rolling_median(x, start, rows, scales), np.array(medians, dtype=np.float32))


def test_the_median_in_blocks_is_the_median(monkeypatch):
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    start, rows = np.zeros(50, dtype=np.int64), np.arange(50)
    whole = rolling.rolling_median(x, start, rows, [7])
    monkeypatch.setattr(rolling, "_BLOCK", 60)
    np.testing.assert_array_equal(rolling.rolling_median(x, start, rows, [7]), whole)


def test_names_are_as_many_as_the_columns_and_in_order():
    x, start, rows = np.array([[1, 10], [2, 20], [4, 40]], dtype=np.float32), np.zeros(3, dtype=np.int64), np.array([2])
    named = {
        **dict(zip(rolling.lag_names("ab", [1, 2]), rolling.lag(x, start, rows, [1, 2])[0], strict=True)),
        **dict(zip(rolling.difference_names("ab", [1]), rolling.difference(x, start, rows, [1])[0], strict=True)),
    }
    assert named == {
        "a_lag_1": 2, "b_lag_1": 20, "a_lag_2": 1, "b_lag_2": 10, "a_difference_1": 2, "b_difference_1": 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    "function", [rolling.lag, rolling.difference, rolling.rolling_extremes, rolling.rolling_median]
)
@pytest.mark.parametrize("lengths", [[], [0], [3, -1]])
def test_lengths_start_at_1(function, lengths):
    x, start = np.zeros((3, 1), dtype=np.float32), np.zeros(3, dtype=np.int64)
    with pytest.raises(UsageError, match="whole numbers from 1"):
        function(x, start, np.arange(3), lengths)
