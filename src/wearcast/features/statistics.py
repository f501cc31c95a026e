"""Mean, standard deviation and slope of each channel over several windows that end at a row, from prefix sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wearcast.features.blocks import row_blocks

__all__ = ["share_names", "statistic_names", "window_shares", "window_statistics"]


def statistic_names(channels: Sequence[str], scales: Sequence[int]) -> tuple[str, ...]:
    """Names of the columns of `window_statistics`, in order."""
    names = [f"{channel}_{kind}_{w}" for w in scales for kind in ("mean", "sd", "slope") for channel in channels]
    return (*names, *(f"{channel}_last" for channel in channels))


def window_statistics(
    values: NDArray[np.float32], start: NDArray[np.int64], rows: NDArray[np.int64], scales: Sequence[int]
) -> NDArray[np.float32]:
    """For each row the mean, standard deviation and least-squares slope of its last `w` readings, and the last one.

    A window ends at its row and never reaches back into another unit; one that is too short for a slope has slope 0.
    Cost is linear in the rows, whatever the scales; sums in double precision are held for a block of rows only.

    Args:
        values: channels, `(n_rows, n_channels)`.
        start: first row of the unit of each row, `(n_rows,)`.
        rows: rows to describe, `(n,)`.
        scales: window lengths in readings.

    Returns:
        `(n, n_channels * (3 * n_scales + 1))`, columns as `statistic_names` says.
    """
    out = np.empty((len(rows), values.shape[1] * (3 * len(scales) + 1)), dtype=np.float32)
    order = np.argsort(rows, kind="stable")
    for block in row_blocks(len(values)):
        begin, end = np.searchsorted(rows, (block.start, block.stop), sorter=order)
        if begin == end:
            continue
        chosen = order[begin:end]
        # The longest window of the block's first row begins before the block.
        low = max(block.start + 1 - max(scales, default=1), 0)
        since = np.maximum(start[low : block.stop] - low, 0)
        out[chosen] = _statistics(values[low : block.stop], since, rows[chosen] - low, scales)
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
    values: NDArray[np.float32], start: NDArray[np.int64], rows: NDArray[np.int64], scales: Sequence[int]
) -> NDArray[np.float32]:
    n_rows, n_channels = values.shape
    position = (np.arange(n_rows) - start).astype(np.float64)
    x = values.astype(np.float64)
    # Sums of x, x² and t·x up to each row; t counts from the unit's start or the block's, so that it stays small.
    sums = [np.zeros((n_rows + 1, n_channels)) for _ in range(3)]
    for total, term in zip(sums, (x, x * x, x * position[:, None]), strict=True):
        np.cumsum(term, axis=0, out=total[1:])
    out = np.empty((len(rows), n_channels * (3 * len(scales) + 1)), dtype=np.float32)
    for i, w in enumerate(scales):
        first = np.maximum(rows + 1 - w, start[rows])
        n = (rows + 1 - first).astype(np.float64)[:, None]
        total, squares, moments = (s[rows + 1] - s[first] for s in sums)
        mean = total / n
        variance = np.maximum(squares / n - mean**2, 0.0)
        centre = (position[first] + position[rows])[:, None] / 2
        spread = n * (n**2 - 1) / 12  # Σ (t − mean t)² of n equal steps
        slope = np.where(n > 1, (moments - centre * total) / np.maximum(spread, 1e-12), 0.0)
        block = out[:, 3 * n_channels * i : 3 * n_channels * (i + 1)]
        block[:, :n_channels] = mean
        block[:, n_channels : 2 * n_channels] = np.sqrt(variance)
        block[:, 2 * n_channels :] = slope
    out[:, 3 * n_channels * len(scales) :] = values[rows]
    return out
