"""What a unit read some readings ago, how far it has moved since, and its recent extremes and median.

Like `window_statistics`, each looks back from a row and never reaches into another unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import UsageError

__all__ = [
    "difference",
    "difference_names",
    "lag",
    "lag_names",
    "rolling_extremes",
    "rolling_median",
]

_BLOCK: Final = 1 << 22
"""Readings that `rolling_median` holds at once."""


def lag_names(channels: Sequence[str], steps: Sequence[int]) -> tuple[str, ...]:
    """Names of the columns of `lag`, in order."""
    return tuple(f"{channel}_lag_{k}" for k in steps for channel in channels)


def lag(
    values: NDArray[np.float32],
    start: NDArray[np.int64],
    rows: NDArray[np.int64],
    steps: Sequence[int],
    *,
    since_start: bool = False,
) -> NDArray[np.float32]:
    """For each row x_{t−k}, the reading k readings before it in the same unit.

    If the unit is not that old: NaN, or its first reading with `since_start`.

    Args:
        values: channels, `(n_rows, n_channels)`.
        start: first row of the unit of each row, `(n_rows,)`.
        rows: rows to describe, `(n,)`.
        steps: the k, each at least 1.

    Returns:
        `(n, n_channels * n_steps)`, columns as `lag_names` says.

    Raises:
        UsageError: there is no step, or one below 1.
    """
    _check_lengths(steps, "steps")
    n_channels = values.shape[1]
    out = np.empty((len(rows), n_channels * len(steps)), dtype=np.float32)
    for i, k in enumerate(steps):
        before = np.maximum(rows - k, start[rows])
        earlier = out[:, i * n_channels : (i + 1) * n_channels]
        earlier[:] = values[before]
        if not since_start:
            earlier[before > rows - k] = np.nan
    return out


def difference_names(channels: Sequence[str], steps: Sequence[int]) -> tuple[str, ...]:
    """Names of the columns of `difference`, in order."""
    return tuple(f"{channel}_difference_{k}" for k in steps for channel in channels)


def difference(
    values: NDArray[np.float32],
    start: NDArray[np.int64],
    rows: NDArray[np.int64],
    steps: Sequence[int],
    *,
    since_start: bool = False,
) -> NDArray[np.float32]:
    """For each row x_t − x_{t−k}; arguments as for `lag`.

    Returns:
        `(n, n_channels * n_steps)`, columns as `difference_names` says.

    Raises:
        UsageError: there is no step, or one below 1.
    """
    earlier = lag(values, start, rows, steps, since_start=since_start)
    return np.asarray(np.tile(values[rows], len(steps)) - earlier, dtype=np.float32)


def rolling_extremes(
    values: NDArray[np.float32], start: NDArray[np.int64], rows: NDArray[np.int64], scales: Sequence[int]
) -> NDArray[np.float32]:
    """For each row the least and the greatest of its last `w` readings; missing readings are passed over.

    By doubling (M. A. Bender, M. Farach-Colton, "The LCA problem revisited", LATIN 2000, §3: sparse tables): the
    extreme over 2^j readings is that of two halves, and two overlapping windows of 2^j make any w. Cost is n log w.

    Args:
        values: channels, `(n_rows, n_channels)`.
        start: first row of the unit of each row, `(n_rows,)`.
        rows: rows to describe, `(n,)`.
        scales: window lengths in readings; a window is shorter at the beginning of a unit.

    Returns:
        `(n, n_scales * 2 * n_channels)`, of each scale first all the least; NaN where all readings are missing.

    Raises:
        UsageError: there is no window length, or one below 1.
    """
    _check_lengths(scales, "scales")
    n_channels = values.shape[1]
    out = np.empty((len(rows), 2 * n_channels * len(scales)), dtype=np.float32)
    for side, better in enumerate((np.fmin, np.fmax)):
        for i, extreme in _extremes(values, start, rows, scales, better):
            first = (2 * i + side) * n_channels
            out[:, first : first + n_channels] = extreme
    return out


def _extremes(
    values: NDArray[np.float32],
    start: NDArray[np.int64],
    rows: NDArray[np.int64],
    scales: Sequence[int],
    better: Callable[..., NDArray[np.float32]],
) -> list[tuple[int, NDArray[np.float32]]]:
    """Extremes of each scale, with the scale's place among the scales."""
    found = []
    table, width = values, 1  # table[i]: the extreme of the last `width` readings up to row i
    position = np.arange(len(values)) - start
    for i in sorted(range(len(scales)), key=lambda i: scales[i]):
        while 2 * width <= scales[i]:
            halves = table.copy()
            old = np.flatnonzero(position >= width)
            halves[old] = better(table[old], table[old - width])
            table, width = halves, 2 * width
        other = rows - scales[i] + width
        found.append((i, better(table[rows], table[np.where(other >= start[rows], other, rows)])))
    return found


def rolling_median(
    values: NDArray[np.float32], start: NDArray[np.int64], rows: NDArray[np.int64], scales: Sequence[int]
) -> NDArray[np.float32]:
    """For each row the median of its last `w` readings; missing readings are passed over. Cost is n w log w.

    Args:
        values: channels, `(n_rows, n_channels)`.
        start: first row of the unit of each row, `(n_rows,)`.
        rows: rows to describe, `(n,)`.
        scales: window lengths in readings; a window is shorter at the beginning of a unit.

    Returns:
        `(n, n_scales * n_channels)`; NaN where all readings are missing.

    Raises:
        UsageError: there is no window length, or one below 1.
    """
    _check_lengths(scales, "scales")
    n_channels = values.shape[1]
    out = np.empty((len(rows), n_channels * len(scales)), dtype=np.float32)
    for i, w in enumerate(scales):
        step = max(1, _BLOCK // (w * max(n_channels, 1)))
        for first in range(0, len(rows), step):
            block = rows[first : first + step]
            out[first : first + step, i * n_channels : (i + 1) * n_channels] = _medians(values, start, block, w)
    return out


def _medians(
    values: NDArray[np.float32], start: NDArray[np.int64], rows: NDArray[np.int64], w: int
) -> NDArray[np.float32]:
    index = rows[:, None] - np.arange(w)
    inside = index >= start[rows][:, None]
    window = np.where(inside[:, :, None], values[np.where(inside, index, 0)], np.float32(np.nan))
    window.sort(axis=1)  # NaN last
    known = (~np.isnan(window)).sum(axis=1)[:, None, :]
    low = np.take_along_axis(window, np.maximum(known - 1, 0) // 2, axis=1)
    high = np.take_along_axis(window, np.minimum(known // 2, w - 1), axis=1)
    return np.asarray((low + high)[:, 0] / 2, dtype=np.float32)


def _check_lengths(lengths: Sequence[int], what: str) -> None:
    if not lengths or min(lengths) < 1:
        raise UsageError(f"{what} must be one or more whole numbers from 1 on, got {list(lengths)}")
