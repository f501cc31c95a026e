"""What the waveform of a vibration segment looks like: level, impulsiveness, symmetry, rate of crossings.

The factors are those of condition monitoring: impulses that a young fault makes raise the peak long before the level,
so the ratios grow first and fall again when the fault is everywhere.

Sources: R. B. Randall, "Vibration-based Condition Monitoring" (Wiley, 2011), ch. 5; Y. Lei, Z. He, Y. Zi, "A new
approach to intelligent fault diagnosis of rotating machinery", Expert Systems with Applications 35 (2008), table 1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from wearcast.features.segments import Floats, check_segments, is_flat, over

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


def waveform_features(segments: ArrayLike, *, centred: bool = True) -> Floats:
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

    Returns:
        `(n, 11)`, columns as `waveform_names` says.

    Raises:
        FleetError: a segment is shorter than two samples or holds NaN.
    """
    x = check_segments(segments)
    mean = x.mean(axis=1, keepdims=True)
    size = np.abs(x).max(axis=1)
    deviation = x - mean
    squares = deviation * deviation
    sd = np.sqrt(squares.mean(axis=1))
    flat = is_flat(sd, size)
    if centred:
        x = np.where(flat[:, None], x.dtype.type(0), deviation)
    magnitude = np.abs(x)
    peak = magnitude.max(axis=1)
    rms = np.sqrt(squares.mean(axis=1) if centred else (x * x).mean(axis=1))
    rms = np.where(peak > 0, rms, x.dtype.type(0))
    mean_absolute = magnitude.mean(axis=1)
    root = np.sqrt(magnitude, out=magnitude).mean(axis=1)
    out = np.empty((len(x), len(_NAMES)), dtype=x.dtype)
    out[:, 0] = rms
    out[:, 1] = peak
    out[:, 2] = x.max(axis=1) - x.min(axis=1)
    out[:, 3] = mean_absolute
    out[:, 4] = over(peak, rms)
    out[:, 5] = over(rms, mean_absolute)
    out[:, 6] = over(peak, mean_absolute)
    out[:, 7] = over(peak, root * root)
    out[:, 8:10] = _moments(deviation, sd, flat)
    negative = np.signbit(x) & (x != 0)
    out[:, 10] = (negative[:, 1:] != negative[:, :-1]).mean(axis=1)
    return out


def _moments(deviation: Floats, sd: Floats, flat: np.ndarray) -> Floats:
    """Skewness and kurtosis; scaled by the standard deviation first, so that no fourth power overflows."""
    z = deviation / np.where(flat, 1, sd)[:, None].astype(sd.dtype)
    squares = z * z
    third = (squares * z).mean(axis=1)
    fourth = np.square(squares, out=squares).mean(axis=1)
    moments = np.stack([third, fourth], axis=1)
    moments[flat] = np.nan
    return moments
