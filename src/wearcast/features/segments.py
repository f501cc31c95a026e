"""Segments of a fast signal, `(n, samples)`, checked once before any feature is taken of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wearcast.errors import FleetError, UsageError

__all__ = [
    "Floats",
    "blocks",
    "check_band",
    "check_edges",
    "check_rate",
    "check_segments",
    "is_flat",
    "over",
    "row_sums",
]

Floats = NDArray[np.floating[Any]]

_BLOCK_BYTES: Final = 1 << 20
"""What stays in a core's cache: whole tables at once would wait for memory at each step."""


def check_segments(segments: ArrayLike, *, shortest: int = 2) -> Floats:
    """The segments as floats, `(n, samples)`: float32 stays float32, everything else becomes float64.

    Raises:
        UsageError: this is not a two-dimensional array of real numbers.
        FleetError: a segment is empty or too short, or holds NaN or infinity.
    """
    x = np.asarray(segments)
    if x.ndim != 2 or x.dtype.kind not in "fiub":
        raise UsageError(
            f"segments must be a table (n, samples) of real numbers, got shape {x.shape} of {x.dtype}",
            hint="one segment is x[None, :]",
        )
    if x.shape[1] < shortest:
        raise FleetError(
            f"segments of {x.shape[1]} samples are too short: this needs {shortest}", hint="cut longer segments"
        )
    x = x if x.dtype == np.float32 else x.astype(np.float64, copy=False)
    finite = np.isfinite(x)
    if not finite.all():
        segment, sample = np.argwhere(~finite)[0]
        raise FleetError(
            f"{x.size - int(finite.sum())} samples are NaN or infinite",
            where=f"segment {segment}, sample {sample}",
            hint="repair them or leave the segment out before taking features",
        )
    return x


def check_rate(sampling_rate_hz: float) -> float:
    """The sampling rate.

    Raises:
        UsageError: it is not a positive number.
    """
    if not (math.isfinite(sampling_rate_hz) and sampling_rate_hz > 0):
        raise UsageError(f"the sampling rate must be a positive number of Hz, got {sampling_rate_hz}")
    return float(sampling_rate_hz)


def check_edges(edges_hz: Sequence[float], highest_hz: float) -> NDArray[np.float64]:
    """Edges of bands: at least two, ascending, from 0 to the highest frequency there is.

    Raises:
        UsageError: they do not ascend, or the sampling rate cannot hold them.
    """
    edges = np.asarray(edges_hz, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        raise UsageError(f"band edges must be two or more ascending frequencies in Hz, got {list(edges_hz)}")
    if edges[0] < 0 or edges[-1] > highest_hz * (1 + 1e-9):
        raise UsageError(
            f"bands from {edges[0]:g} to {edges[-1]:g} Hz do not lie within 0 to {highest_hz:g} Hz",
            hint="the highest frequency that a recording holds is half its sampling rate",
        )
    return edges


def check_band(band_hz: tuple[float, float], sampling_rate_hz: float) -> tuple[float, float]:
    """One band, as `check_edges` wants it.

    Raises:
        UsageError: it is empty, or the sampling rate cannot hold it.
    """
    low, high = check_edges(band_hz, check_rate(sampling_rate_hz) / 2)
    return float(low), float(high)


def blocks(segments: Floats, *, arrays: int = 1) -> Iterator[slice]:
    """Rows to work on at a time, so that a block of segments and what is made of it stay in the cache.

    Args:
        segments: `(n, samples)`.
        arrays: how many arrays of the block's size are made of it.
    """
    step = max(1, _BLOCK_BYTES // max(1, arrays * segments.shape[1] * segments.itemsize))
    for first in range(0, len(segments), step):
        yield slice(first, first + step)


def row_sums(x: Floats) -> Floats:
    """Sum of each row, `(n,)`: a product with ones adds up three times as fast as a sum along rows."""
    return np.asarray(x @ np.ones(x.shape[1], dtype=x.dtype))


def is_flat(spread: Floats, size: Floats) -> NDArray[np.bool_]:
    """Whether a spread is nothing but the rounding of values of this size."""
    return np.asarray(spread <= 8 * np.finfo(spread.dtype).eps * size)


def over(top: Floats, bottom: Floats) -> Floats:
    """The ratio, NaN where the lower number is not positive: nothing divided by nothing is not known."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
