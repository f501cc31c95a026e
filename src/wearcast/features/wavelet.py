"""Wavelet-packet energies: the power of a segment in equally wide bands, by filter banks rather than by sines.

Source: R. R. Coifman, M. V. Wickerhauser, "Entropy-based algorithms for best basis selection", IEEE Trans. Information
Theory 38 (1992); as a bearing feature: X. Lou, K. A. Loparo, "Bearing fault diagnosis based on wavelet transform and
fuzzy inference", MSSP 18 (2004).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wearcast.errors import FleetError, UsageError, require
from wearcast.features.segments import Floats, check_segments, over

__all__ = ["wavelet_packet_energies", "wavelet_packet_names"]


def wavelet_packet_names(wavelet: str, level: int) -> tuple[str, ...]:
    """Names of the columns of `wavelet_packet_energies`, in order: lowest frequencies first."""
    return tuple(f"wavelet_{wavelet}_{level}_{node}" for node in range(2**level))


def wavelet_packet_energies(
    segments: ArrayLike, *, wavelet: str = "db4", level: int = 3, relative: bool = False
) -> Floats:
    """Mean square of each segment in the 2^level nodes of its wavelet-packet tree, lowest frequencies first.

    Node j holds E_j = Σ_k c_jk² / N, c its coefficients, about the frequencies j/2^(level+1) to (j+1)/2^(level+1) of
    the sampling rate. The transform is periodic and orthogonal, so that the energies add up to the mean square.

    Args:
        segments: `(n, samples)`; samples a multiple of 2^level.
        wavelet: an orthogonal wavelet that PyWavelets knows: `db4`, `sym8`, `coif3`, `haar`…
        level: depth of the tree.
        relative: as a part of the whole; NaN for a segment that is zero.

    Returns:
        `(n, 2**level)`, columns as `wavelet_packet_names` says.

    Raises:
        MissingExtraError: PyWavelets is not installed.
        UsageError: no such wavelet, or it is not orthogonal, or no level.
        FleetError: the segments are too short for this depth or cannot be halved so often.
    """
    pywt = require("pywt", extra="signals")
    if wavelet not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(wavelet).orthogonal:
        raise UsageError(f"no orthogonal wavelet {wavelet!r}", hint="'haar', 'db4', 'sym8', 'coif3' …")
    if level < 1:
        raise UsageError(f"level must be 1 or more, got {level}")
    x = check_segments(segments, shortest=(pywt.Wavelet(wavelet).dec_len - 1) * 2**level)
    if x.shape[1] % 2**level:
        raise FleetError(
            f"segments of {x.shape[1]} samples cannot be halved {level} times",
            hint=f"cut segments of {x.shape[1] - x.shape[1] % 2**level} samples",
        )
    nodes = [x]
    for _ in range(level):
        halves = [pywt.dwt(node, wavelet, mode="periodization", axis=1) for node in nodes]
        # Each high-pass mirrors the order of the frequencies beneath it (Gray code).
        nodes = [half for i, pair in enumerate(halves) for half in (pair if i % 2 == 0 else pair[::-1])]
    energies = np.stack([np.square(node).sum(axis=1) for node in nodes], axis=1) / x.dtype.type(x.shape[1])
    if not relative:
        return np.asarray(energies)
    return over(energies, np.broadcast_to(energies.sum(axis=1, keepdims=True), energies.shape))
