"""Statistics of each channel over several windows that end at a row: moments and slope from prefix sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wearcast.features.blocks import row_blocks
from wearcast.features.rolling import rolling_extremes, rolling_median

__all__ = ["MOMENTS", "Statistic", "share_names", "statistic_names", "window_shares", "window_statistics"]

Statistic = Literal["mean", "sd", "slope", "min", "max", "median"]

MOMENTS: tuple[Statistic, ...] = ("mean", "sd", "slope")
"""What costs the same whatever the window: the default."""


def statistic_names(
    channels: Sequence[str], scales: Sequence[int], kinds: Sequence[Statistic] = MOMENTS
) -> tuple[str, ...]:
    """Names of the columns of `window_statistics`, in order."""
    names = [f"{channel}_{kind}_{w}" for w in scales for kind in kinds for channel in channels]
    return (*names, *(f"{channel}_last" for channel in channels))


def window_statistics(
    values: NDArray[np.float32],
    start: NDArray[np.int64],
    rows: NDArray[np.int64],
    scales: Sequence[int],
    kinds: Sequence[Statistic] = MOMENTS,
) -> NDArray[np.float32]:
    """For each row what its last `w` readings are like, and the last one.

    A window ends at its row and never reaches back into another unit; one that is too short for a slope has slope 0.
    Cost is linear in the rows, whatever the scales, for mean, standard deviation and least-squares slope, whose sums
    in double precision are held for a block of rows only; see `rolling` for the extremes and the median.

    Args:
        values: channels without NaN, `(n_rows, n_channels)`.
        start: first row of the unit of each row, `(n_rows,)`.
        rows: rows to describe, `(n,)`.
        scales: window lengths in readings.
        kinds: which statistics.

    Returns:
        `(n, n_channels * (n_kinds * n_scales + 1))`, columns as `statistic_names` says.
    """
    out = np.empty((len(rows), values.shape[1] * (len(kinds) * len(scales) + 1)), dtype=np.float32)
    order = np.argsort(rows, kind="stable")
    for block in row_blocks(len(values)):
        begin, end = np.searchsorted(rows, (block.start, block.stop), sorter=order)
        if begin == end:
            continue
        chosen = order[begin:end]
        # The longest window of the block's first row begins before the block.
        low = max(block.start + 1 - max(scales, default=1), 0)
        since = np.maximum(start[low : block.stop] - low, 0)
        out[chosen] = _statistics(values[low : block.stop], since, rows[chosen] - low, scales, kinds)
    return out


def share_names(channels: Sequence[str], scales: Sequence[int]) -> tuple[str, ...]:
    """Names of the columns of `window_shares`, in order."""
    return tuple(f"{channel}_share_{w}" for w in scales for channel in channels)


def window_shares(
    marks: NDArray[np.float32], start: NDArray[np.int64], rows: NDArray[np.int64], scales: Sequence[int]
) -> NDArray[np.float32]:
    """For each row the share of ones among its last `w` marks, fewer at the beginning of a unit.

    Args:
        marks: channels of 0 and 1, `(n_rows, n_channels)`.
        start: first row of the unit of each row, `(n_rows,)`.
        rows: rows to describe, `(n,)`.
        scales: window lengths in readings.

    Returns:
        `(n, n_channels * n_scales)`, columns as `share_names` says.
    """
    total = np.zeros((len(marks) + 1, marks.shape[1]), dtype=np.int64)
    np.cumsum(marks, axis=0, dtype=np.int64, out=total[1:])
    shares = [np.empty((len(rows), 0))]
    for w in scales:
        first = np.maximum(rows + 1 - w, start[rows])
        shares.append((total[rows + 1] - total[first]) / (rows + 1 - first)[:, None])
    return np.concatenate(shares, axis=1).astype(np.float32)


def _statistics(
    values: NDArray[np.float32],
    start: NDArray[np.int64],
    rows: NDArray[np.int64],
    scales: Sequence[int],
    kinds: Sequence[Statistic],
) -> NDArray[np.float32]:
    n = values.shape[1]
    out = np.empty((len(rows), len(scales), len(kinds), n), dtype=np.float32)
    if scales and not {*MOMENTS}.isdisjoint(kinds):
        _moments(values, start, rows, scales, kinds, out)
    if scales and not {"min", "max"}.isdisjoint(kinds):
        extremes = rolling_extremes(values, start, rows, scales).reshape(len(rows), len(scales), 2, n)
        for side, kind in enumerate(("min", "max")):
            if kind in kinds:
                out[:, :, kinds.index(kind)] = extremes[:, :, side]
    if scales and "median" in kinds:
        out[:, :, kinds.index("median")] = rolling_median(values, start, rows, scales).reshape(len(rows), -1, n)
    return np.concatenate([out.reshape(len(rows), -1), values[rows]], axis=1)


def _moments(
    values: NDArray[np.float32],
    start: NDArray[np.int64],
    rows: NDArray[np.int64],
    scales: Sequence[int],
    kinds: Sequence[Statistic],
    out: NDArray[np.float32],
) -> None:
    """Write mean, standard deviation and slope where they belong, `(n, n_scales, n_kinds, n_channels)`."""
    n_rows, n_channels = values.shape
    position = (np.arange(n_rows) - start).astype(np.float64)
    x = values.astype(np.float64)
    # Sums of x, x² and t·x up to each row; t counts from the unit's start or the block's, so that it stays small.
    sums = [np.zeros((n_rows + 1, n_channels)) for _ in range(3)]
    for total, term in zip(sums, (x, x * x, x * position[:, None]), strict=True):
        np.cumsum(term, axis=0, out=total[1:])
    place = {kind: i for i, kind in enumerate(kinds)}
    for i, w in enumerate(scales):
        first = np.maximum(rows + 1 - w, start[rows])
        n = (rows + 1 - first).astype(np.float64)[:, None]
        total, squares, moments = (s[rows + 1] - s[first] for s in sums)
        mean = total / n
        if "mean" in place:
            out[:, i, place["mean"]] = mean
        if "sd" in place:
            out[:, i, place["sd"]] = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
        if "slope" in place:
            centre = (position[first] + position[rows])[:, None] / 2
            spread = n * (n**2 - 1) / 12  # Σ (t − mean t)² of n equal steps
            slope = np.where(n > 1, (moments - centre * total) / np.maximum(spread, 1e-12), 0.0)
            out[:, i, place["slope"]] = slope
