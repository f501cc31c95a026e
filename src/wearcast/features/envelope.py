"""Envelope analysis: demodulate a band, read the repetition rate of the impacts, compare it with fault frequencies.

A fault rings a resonance at each pass; the resonance says little, the rate of its bursts names the fault. Sources:
R. B. Randall, J. Antoni, "Rolling element bearing diagnostics – a tutorial", MSSP 25 (2011), §4; the squared envelope
rather than the envelope after D. Ho, R. B. Randall, "Optimisation of bearing diagnostic techniques", MSSP 14 (2000).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wearcast.errors import FleetError, UsageError
from wearcast.features.segments import Floats, blocks, check_band, check_rate, check_segments, over
from wearcast.features.spectrum import Spectrum, Window, power_spectrum

__all__ = ["band_pass", "envelope_spectrum", "line_names", "line_ratios", "prewhiten", "squared_envelope"]


def band_pass(segments: ArrayLike, sampling_rate_hz: float, band_hz: tuple[float, float]) -> Floats:
    """The part of each segment within a band, by an ideal filter: bins of the FFT outside are set to 0.

    It shifts no phase, and takes a segment as periodic, so that its two ends touch.

    Raises:
        UsageError: the band is empty or passes half the sampling rate.
        FleetError: a segment is too short for the band to hold a bin, or holds NaN.
    """
    x = check_segments(segments, shortest=4)
    kept = _bins(x.shape[1], sampling_rate_hz, band_hz)
    transform = np.fft.rfft(x, axis=1)
    transform[:, : kept.start] = 0
    transform[:, kept.stop :] = 0
    return np.asarray(np.fft.irfft(transform, n=x.shape[1], axis=1))


def prewhiten(segments: ArrayLike) -> Floats:
    """Each segment with its mean taken off and every line of its spectrum at one height: Y = X / |X|.

    Gears, shafts and resonances lose their weight, repeated impacts keep theirs, so no band has to be chosen: the
    envelope spectrum of nearly the whole band shows them, if they slip as those of bearings do: what is strictly
    periodic is a few lines like any others (cepstrum pre-whitening, P. Borghesani et al., MSSP 36
    (2013); judged on the Case Western recordings by W. A. Smith, R. B. Randall, MSSP 64–65 (2015)). The mean square
    is 1 up to the bins at 0 Hz and half the sampling rate; a segment without power stays 0.

    Raises:
        FleetError: a segment is shorter than four samples or holds NaN.
    """
    x = check_segments(segments, shortest=4)
    samples = x.shape[1]
    out = np.empty_like(x)
    for block in blocks(x):
        transform = np.fft.rfft(x[block], axis=1)
        size = np.abs(transform)
        # What is only the rounding of the highest line is not raised.
        size[size <= 8 * np.finfo(x.dtype).eps * size.max(axis=1, keepdims=True)] = np.inf
        size[:, 0] = np.inf
        transform /= size
        out[block] = np.fft.irfft(transform, n=samples, axis=1) * np.sqrt(samples)
    return out


def squared_envelope(segments: ArrayLike, sampling_rate_hz: float, band_hz: tuple[float, float]) -> Floats:
    """|x + i H(x)|² of each segment within a band, H the Hilbert transform: for a·sin it is a².

    The analytic signal is the inverse FFT of twice the positive frequencies (S. L. Marple, "Computing the
    discrete-time analytic signal via FFT", IEEE Trans. Signal Processing 47 (1999)), here of the band's alone. The
    band is moved down to 0 Hz, which no magnitude sees.

    Returns:
        `(n, samples)`.

    Raises:
        UsageError: the band is empty or passes half the sampling rate.
        FleetError: a segment is too short for the band to hold a bin, or holds NaN.
    """
    x = check_segments(segments, shortest=4)
    samples = x.shape[1]
    kept = _bins(samples, sampling_rate_hz, band_hz)
    paired = slice(1 if kept.start == 0 else 0, -1 if kept.stop * 2 - 2 == samples else None)
    out = np.empty_like(x)
    for block in blocks(x):
        band = np.fft.rfft(x[block], axis=1)[:, kept]
        band[:, paired] *= 2
        parts = np.fft.ifft(band, n=samples, axis=1).view(x.dtype)
        np.square(parts, out=parts)
        np.add(parts[:, ::2], parts[:, 1::2], out=out[block])
    return out


def envelope_spectrum(
    segments: ArrayLike,
    sampling_rate_hz: float,
    band_hz: tuple[float, float],
    *,
    squared: bool = True,
    normalised: bool = True,
    window: Window = "hann",
) -> Spectrum:
    """Spectrum of the envelope of a band: impacts f times a second stand as lines at f, 2f and so on.

    Args:
        segments: `(n, samples)`.
        sampling_rate_hz: of the samples.
        band_hz: the band to demodulate, with the resonance in it and wider than the lines wanted.
        squared: of the squared envelope, which makes no harmonics of its own, or of its root.
        normalised: divide each envelope by its mean, so that the level drops out and the depth of the modulation
            stays. A segment without power in the band has NaN.
        window: of the envelope.

    Raises:
        UsageError: the band is empty or passes half the sampling rate.
        FleetError: a segment is too short for the band to hold a bin, or holds NaN.
    """
    envelope = squared_envelope(segments, sampling_rate_hz, band_hz)
    if not squared:
        np.sqrt(envelope, out=envelope)
    spectrum = power_spectrum(envelope, sampling_rate_hz, window=window)
    if not normalised:
        return spectrum
    mean = envelope.mean(axis=1, keepdims=True)
    power = over(spectrum.power, np.broadcast_to(mean * mean, spectrum.power.shape))
    return Spectrum(spectrum.frequencies_hz, power, spectrum.noise_bandwidth, spectrum.samples)


def line_names(lines: Sequence[str], harmonics: int) -> tuple[str, ...]:
    """Names of the columns of `line_ratios` once its last two axes are flattened."""
    return tuple(f"{line}_x{h}" for line in lines for h in range(1, harmonics + 1))


def line_ratios(
    spectrum: Spectrum,
    lines_hz: ArrayLike,
    *,
    harmonics: int = 3,
    tolerance: float = 0.015,
    neighbourhood: float = 4.0,
) -> NDArray[np.float64]:
    """How far each line and its harmonics stand out: mean power within the tolerance over mean power around it.

    Harmonic h of a line f is looked for within h f (1 ± tolerance), at least one bin to each side; its neighbourhood
    reaches `neighbourhood` times as far, the line left out. 1 for noise, whatever its colour and level.

    Args:
        spectrum: of n segments; of an envelope, usually.
        lines_hz: `(n_lines,)` or, where each segment has its own speed, `(n, n_lines)`.
        harmonics: how many, the line itself the first.
        tolerance: half the width to search, as a part of the frequency: slip and an inexact speed move lines.
        neighbourhood: half the width to compare with, in tolerances.

    Returns:
        `(n, n_lines, harmonics)`; NaN where the neighbourhood has no power.

    Raises:
        UsageError: tolerance, neighbourhood or harmonics make no sense, or a line passes the end of the spectrum.
        FleetError: a line is closer to 0 Hz than its tolerance and neighbourhood in bins.
    """
    if harmonics < 1 or not 0 < tolerance < 0.5 or neighbourhood <= 1:
        raise UsageError(
            f"harmonics {harmonics}, tolerance {tolerance} and neighbourhood {neighbourhood} make no lines",
            hint="at least one harmonic, a tolerance between 0 and 0.5, a neighbourhood above 1",
        )
    n, bins = spectrum.power.shape
    lines = np.asarray(lines_hz, dtype=np.float64)
    lines = np.broadcast_to(np.atleast_2d(lines), (n, lines.shape[-1]))
    centre = lines[:, :, None] * np.arange(1, harmonics + 1) / spectrum.resolution_hz
    half = np.maximum(centre * tolerance, 1.0)
    low, high = np.rint(centre - half).astype(np.int64), np.rint(centre + half).astype(np.int64) + 1
    far = np.maximum(np.rint(half * neighbourhood).astype(np.int64), 3)
    outer_low, outer_high = np.maximum(np.rint(centre).astype(np.int64) - far, 1), np.rint(centre).astype(int) + far + 1
    _check_lines(lines, low, outer_high, bins, spectrum)
    sums = np.zeros((n, bins + 1))
    np.cumsum(spectrum.power, axis=1, dtype=np.float64, out=sums[:, 1:])
    row = np.arange(n)[:, None, None]
    inside = sums[row, high] - sums[row, low]
    around = sums[row, outer_high] - sums[row, outer_low] - inside
    width = high - low
    return np.asarray(over(inside / width, np.maximum(around, 0.0) / (outer_high - outer_low - width)))


def _check_lines(
    lines: NDArray[np.float64],
    low: NDArray[np.int64],
    outer_high: NDArray[np.int64],
    bins: int,
    spectrum: Spectrum,
) -> None:
    if not (np.isfinite(lines).all() and (lines > 0).all()):
        raise UsageError("lines to look for must be positive frequencies")
    if low.min() < 2:
        raise FleetError(
            f"a line at {lines.min():g} Hz cannot be told from 0 Hz by bins {spectrum.resolution_hz:g} Hz apart",
            hint="take longer segments or leave this line out",
        )
    if outer_high.max() > bins:
        raise UsageError(
            f"a harmonic of {lines.max():g} Hz with its neighbourhood passes the end of the spectrum, "
            f"{spectrum.frequencies_hz[-1]:g} Hz",
            hint="ask for fewer harmonics or a smaller neighbourhood",
        )


def _bins(samples: int, sampling_rate_hz: float, band_hz: tuple[float, float]) -> slice:
    """The bins of a band, both edges in it."""
    low, high = check_band(band_hz, sampling_rate_hz)
    step = check_rate(sampling_rate_hz) / samples
    kept = slice(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)
    if kept.stop <= kept.start:
        raise FleetError(
            f"no bin of the spectrum lies in it: bins are {step:g} Hz apart",
            where=f"band {low:g} to {high:g} Hz",
            hint="take longer segments or a wider band",
        )
    return kept
