"""What the waveform of a vibration segment looks like: level, impulsiveness, symmetry, rate of crossings.

The factors are those of condition monitoring: impulses that a young fault makes raise the peak long before the level,
so the ratios grow first and fall again when the fault is everywhere.

Sources: R. B. Randall, "Vibration-based Condition Monitoring" (Wiley, 2011), ch. 5; Y. Lei, Z. He, Y. Zi, "A new
approach to intelligent fault diagnosis of rotating machinery", Expert Systems with Applications 35 (2008), table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from wearcast.errors import UsageError
from wearcast.features.segments import Floats, blocks, check_segments, is_flat, over, row_sums

__all__ = ["waveform_features", "waveform_names"]

_NAMES: Final = (
    "rms",
    "peak",
    "peak_to_peak",
    "mean_absolute",
    "crest_factor",
    "shape_factor",
    "impulse_factor",
    "clearance_factor",
    "skewness",
    "kurtosis",
    "zero_crossing_rate",
)


def waveform_names() -> tuple[str, ...]:
    """Names of the columns of `waveform_features`, in order."""
    return _NAMES


def waveform_features(segments: ArrayLike, *, centred: bool = True, names: Sequence[str] = _NAMES) -> Floats:
    """Level and shape of each segment.

    With x the samples of a segment, μ and σ their mean and (biased) standard deviation:

    - `rms` √mean(x²); `peak` max |x|; `peak_to_peak` max x − min x; `mean_absolute` mean |x|
    - `crest_factor` peak / rms (√2 for a sine); `shape_factor` rms / mean |x|; `impulse_factor` peak / mean |x|;
      `clearance_factor` peak / (mean √|x|)²
    - `skewness` mean((x − μ)³) / σ³; `kurtosis` mean((x − μ)⁴) / σ⁴, so 3 for Gaussian noise and 1.5 for a sine
    - `zero_crossing_rate` changes of sign for each step from one sample to the next, 0 to 1; a sample that is 0
      counts as positive

    A ratio is NaN where the segment is constant (skewness, kurtosis) or zero (the factors).

    Args:
        segments: `(n, samples)`.
        centred: take the segment's mean off first, as an AC-coupled accelerometer does.
        names: which features, all unless given; what is not asked for takes no time.

    Returns:
        `(n, len(names))`.

    Raises:
        UsageError: there is no such feature.
        FleetError: a segment is shorter than two samples or holds NaN.
    """
    unknown = [name for name in names if name not in _NAMES]
    if unknown:
        raise UsageError(f"there is no waveform feature {unknown[0]!r}", hint=f"one of {', '.join(_NAMES)}")
    x = check_segments(segments)
    out = np.empty((len(x), len(names)), dtype=x.dtype)
    for block in blocks(x):
        found = _describe(x[block], centred, frozenset(names))
        for i, name in enumerate(names):
            out[block, i] = found[name]
    return out


def _describe(x: Floats, centred: bool, names: frozenset[str]) -> dict[str, Floats]:
    """The features of a block of segments, at least those that are asked for."""
    samples = x.shape[1]
    mean, highest, lowest = row_sums(x) / samples, x.max(axis=1), x.min(axis=1)
    deviation = x - mean[:, None]
    mean_square = np.vecdot(deviation, deviation) / samples
    sd = np.sqrt(mean_square)
    flat = is_flat(sd, np.maximum(highest, -lowest))
    if centred:
        x, deviation[flat] = deviation, 0
        highest, lowest = (np.where(flat, 0, side - mean).astype(x.dtype) for side in (highest, lowest))
    peak = np.maximum(highest, -lowest)
    rms = np.sqrt(mean_square if centred else np.vecdot(x, x) / samples)
    rms[peak == 0] = 0
    found = {"rms": rms, "peak": peak, "peak_to_peak": highest - lowest, "crest_factor": over(peak, rms)}
    if names & {"mean_absolute", "shape_factor", "impulse_factor", "clearance_factor"}:
        magnitude = np.abs(x)
        mean_absolute = row_sums(magnitude) / samples
        root = row_sums(np.sqrt(magnitude, out=magnitude)) / samples
        found |= {"mean_absolute": mean_absolute, "shape_factor": over(rms, mean_absolute)}
        found |= {"impulse_factor": over(peak, mean_absolute), "clearance_factor": over(peak, root * root)}
    if "zero_crossing_rate" in names:
        found["zero_crossing_rate"] = _crossings(x) / (samples - 1)
    if names & {"skewness", "kurtosis"}:
        # Scaled by the standard deviation first, so that no fourth power overflows.
        z = np.divide(deviation, np.where(flat, 1, sd)[:, None].astype(x.dtype), out=deviation)
        squares = z * z
        found["skewness"] = np.where(flat, np.nan, np.vecdot(squares, z) / samples)
        found["kurtosis"] = np.where(flat, np.nan, np.vecdot(squares, squares) / samples)
    return found


def _crossings(x: Floats) -> Floats:
    """How often each row changes its sign; counted eight at a time."""
    signs = np.packbits(x < 0, axis=1)  # the first sample in the highest bit
    before = signs >> 1
    before[:, 1:] |= signs[:, :-1] << 7
    before[:, 0] |= signs[:, 0] & 0x80  # the first sample has none before it
    changes = signs ^ before
    if spare := -x.shape[1] % 8:
        changes[:, -1] &= 0xFF << spare & 0xFF
    return np.asarray(np.bitwise_count(changes).sum(axis=1, dtype=x.dtype))
