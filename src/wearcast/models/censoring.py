"""The normal distribution where all that is known of a value is that it is larger (Tobin 1958)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["inverse_mills"]

Floats = NDArray[np.float64]


def inverse_mills(z: Floats) -> Floats:
    """`φ(z) / Φ(z)`, stable for very negative z (Abramowitz & Stegun 26.2.17 for Φ, asymptote below −5)."""
    z = np.asarray(z, dtype=np.float64)
    t = 1 / (1 + 0.2316419 * np.abs(z))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    upper = density * series
    ratio = density / np.where(z < 0, np.maximum(upper, 1e-300), 1 - upper)
    return np.where(z < -5, -z - 1 / np.minimum(z, -1e-9), ratio)
