"""Spectra of segments: power and amplitude, bands, peaks, and the shape of the spectrum.

Scaling follows G. Heinzel, A. Rüdiger, R. Schilling, "Spectrum and spectral density estimation by the DFT" (MPI 2002):
power adds up to the segment's variance (Parseval), amplitude reads the height of a sine off its line.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wearcast.errors import FleetError, UsageError
from wearcast.features.segments import Floats, blocks, check_edges, check_rate, check_segments, over, row_sums

__all__ = [
    "Spectrum",
    "Window",
    "band_energies",
    "band_kurtosis",
    "band_names",
    "kurtosis_names",
    "peak_names",
    "power_spectrum",
    "shape_features",
    "shape_names",
    "spectral_kurtosis",
    "spectral_peaks",
]

Window = Literal["hann", "boxcar"]


@dataclass(frozen=True)
class Spectrum:
    """One-sided power spectra of equally long segments.

    Attributes:
        frequencies_hz: of the bins, `(bins,)`, from 0 to half the sampling rate, equally spaced. Orders of the shaft
            instead of Hz if the segments were resampled to equal angle.
        power: mean square in each bin, `(n, bins)`; a row adds up to the variance of its (windowed) segment.
        noise_bandwidth: equivalent noise bandwidth of the window, in bins: 1 without a window, 1.5 for Hann.
        samples: of a segment.
    """

    frequencies_hz: NDArray[np.float64]
    power: Floats
    noise_bandwidth: float
    samples: int

    @property
    def resolution_hz(self) -> float:
        """Distance between two bins."""
        return float(self.frequencies_hz[1])

    @property
    def amplitude(self) -> Floats:
        """Height of the sine that would make each bin, `(n, bins)`: a sine of amplitude a on a bin reads a."""
        return self.amplitudes(0, self.power.shape[1])

    def amplitudes(self, first: int, stop: int) -> Floats:
        """`amplitude` of the bins from `first` to before `stop`."""
        sides = _sides(self.samples)[first:stop]
        return np.sqrt(self.power[:, first:stop] * (sides * self.noise_bandwidth).astype(self.power.dtype))


def power_spectrum(segments: ArrayLike, sampling_rate_hz: float, *, window: Window = "hann") -> Spectrum:
    """Power spectrum of each segment, its mean taken off first.

    P_k = c |Σ_j w_j x_j e^(−2πi jk/N)|² / (N Σ w²), c = 2 except at 0 and N/2 (Heinzel et al. 2002, eq. 23).

    Args:
        segments: `(n, samples)`.
        sampling_rate_hz: of the samples.
        window: Hann (periodic) against leakage, or none (`boxcar`).

    Raises:
        UsageError: the sampling rate or the window is wrong.
        FleetError: a segment is shorter than four samples or holds NaN.
    """
    rate = check_rate(sampling_rate_hz)
    x = check_segments(segments, shortest=4)
    samples = x.shape[1]
    weights = _weights(window, samples)
    squares = float(weights @ weights)
    # Scaled before the transform, as if each bin stood for two; the few that do not are halved behind it.
    taper = (weights * np.sqrt(2 / (samples * squares))).astype(x.dtype)
    power = np.empty((len(x), samples // 2 + 1), dtype=x.dtype)
    for block in blocks(x, arrays=2):
        centred = x[block] - row_sums(x[block])[:, None] / x.dtype.type(samples)
        transform = np.fft.rfft(np.multiply(centred, taper, out=centred), axis=1)
        parts = transform.view(x.dtype)
        np.square(parts, out=parts)
        np.add(parts[:, ::2], parts[:, 1::2], out=power[block])
    power[:, _sides(samples) == 1] /= 2
    return Spectrum(
        frequencies_hz=np.arange(samples // 2 + 1) * (rate / samples),
        power=power,
        noise_bandwidth=samples * squares / float(weights.sum()) ** 2,
        samples=samples,
    )


def _weights(window: Window, samples: int) -> NDArray[np.float64]:
    match window:
        case "hann":
            return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples))
        case "boxcar":
            return np.ones(samples)
        case _:
            raise UsageError(f"no window {window!r}", hint="'hann' or 'boxcar'")


def band_names(edges_hz: Sequence[float]) -> tuple[str, ...]:
    """Names of the columns of `band_energies`, in order."""
    return tuple(f"band_{low:g}_{high:g}_hz" for low, high in itertools.pairwise(edges_hz))


def band_energies(spectrum: Spectrum, edges_hz: Sequence[float], *, relative: bool = False) -> Floats:
    """Power in each band: the sum of P_k over the bins with low ≤ f < high, the last band with its upper edge.

    Bands that cover the spectrum add up to the variance.

    Args:
        spectrum: of n segments.
        edges_hz: ascending edges of `len(edges_hz) - 1` bands.
        relative: as a part of all the power in the spectrum; NaN for a segment without any.

    Returns:
        `(n, n_bands)`, columns as `band_names` says.

    Raises:
        UsageError: the edges do not ascend or pass half the sampling rate.
        FleetError: the segments are too short for a band to hold a bin.
    """
    first = _first_bins(spectrum.frequencies_hz, edges_hz)
    energies = np.add.reduceat(spectrum.power[:, : first[-1]], first[:-1], axis=1)
    return over(energies, np.broadcast_to(_total(spectrum.power), energies.shape)) if relative else energies


def _first_bins(frequencies_hz: NDArray[np.float64], edges_hz: Sequence[float]) -> NDArray[np.int64]:
    """Where each band begins, and behind the last bin of the last one."""
    edges = check_edges(edges_hz, float(frequencies_hz[-1]))
    first = np.searchsorted(frequencies_hz, edges * (1 - 1e-12))
    first[-1] = np.searchsorted(frequencies_hz, edges[-1] * (1 + 1e-12), side="right")
    empty = np.flatnonzero(np.diff(first) == 0)
    if len(empty):
        raise FleetError(
            f"no bin of the spectrum lies in it: bins are {frequencies_hz[1]:g} Hz apart",
            where=f"band {edges[empty[0]]:g} to {edges[empty[0] + 1]:g} Hz",
            hint="take longer segments or wider bands",
        )
    return first


def peak_names(count: int) -> tuple[str, ...]:
    """Names of the columns of `spectral_peaks`, in order."""
    return tuple(f"peak_{i + 1}_{kind}" for kind in ("hz", "amplitude") for i in range(count))


def spectral_peaks(spectrum: Spectrum, count: int) -> Floats:
    """Frequency and amplitude of the strongest local maxima of each spectrum, strongest first.

    A maximum is a bin above the one before and not below the one after; 0 Hz and the last bin are none. Where there
    are fewer, the frequency is NaN and the amplitude 0.

    Returns:
        `(n, 2 * count)`, columns as `peak_names` says: all the frequencies, then all the amplitudes.

    Raises:
        UsageError: the count is not between 1 and the number of inner bins.
    """
    power = spectrum.power
    if not 1 <= count <= power.shape[1] - 2:
        raise UsageError(f"the number of peaks must be between 1 and {power.shape[1] - 2}, got {count}")
    inner = power[:, 1:-1]
    heights = np.where((inner > power[:, :-2]) & (inner >= power[:, 2:]), inner, 0)
    strongest = np.argpartition(-heights, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(heights, strongest, axis=1), axis=1, kind="stable")
    bins = np.take_along_axis(strongest, order, axis=1) + 1
    found = np.take_along_axis(heights, bins - 1, axis=1)
    amplitude = np.sqrt(found * found.dtype.type(2 * spectrum.noise_bandwidth))
    frequency = np.where(found > 0, spectrum.frequencies_hz[bins], np.nan).astype(power.dtype)
    return np.concatenate([frequency, amplitude], axis=1)


_SHAPE = (
    "spectral_centroid_hz",
    "spectral_spread_hz",
    "spectral_skewness",
    "spectral_shape_kurtosis",
    "spectral_entropy",
)


def shape_names() -> tuple[str, ...]:
    """Names of the columns of `shape_features`, in order."""
    return _SHAPE


def shape_features(spectrum: Spectrum, *, names: Sequence[str] = _SHAPE) -> Floats:
    """Moments and entropy of the spectrum as a distribution p_k = P_k / Σ P over frequency, 0 Hz left out.

    Centroid μ = Σ f p, spread σ = √Σ (f − μ)² p, skewness Σ (f − μ)³ p / σ³, kurtosis Σ (f − μ)⁴ p / σ⁴ (G. Peeters,
    "A large set of audio features", IRCAM 2004, §6.1); entropy −Σ p ln p / ln K with K bins, 0 for one line and 1 for
    a flat spectrum (T. Inouye et al., Electroencephalography and Clinical Neurophysiology 79 (1991)).

    Args:
        spectrum: of n segments.
        names: which features, all unless given; what is not asked for takes no time.

    Returns:
        `(n, len(names))`; NaN for a segment without power.

    Raises:
        UsageError: there is no such feature.
    """
    unknown = [name for name in names if name not in _SHAPE]
    if unknown:
        raise UsageError(f"there is no feature {unknown[0]!r} of a spectrum", hint=f"one of {', '.join(_SHAPE)}")
    power = spectrum.power[:, 1:]
    out = np.empty((len(power), len(names)), dtype=power.dtype)
    scale = spectrum.frequencies_hz[-1]
    f = (spectrum.frequencies_hz[1:] / scale).astype(power.dtype)
    for block in blocks(power):
        found = _moments(power[block], f, frozenset(names))
        for i, name in enumerate(names):
            out[block, i] = found[name] * power.dtype.type(scale) if name.endswith("_hz") else found[name]
    return out


def _moments(power: Floats, f: Floats, names: frozenset[str]) -> dict[str, Floats]:
    """A block of spectra over frequencies from 0 to 1: moments, and entropy if it is asked for."""
    total = _total(power)
    share = over(np.ones_like(total), total)[:, 0]
    centroid = np.vecdot(power, f) * share
    distance = f - centroid[:, None]
    weighted = power * distance
    variance = np.vecdot(weighted, distance) * share
    wide = np.where(variance > 1e-10, variance, 0).astype(power.dtype)
    squared = np.square(distance, out=distance)
    found = {"spectral_centroid_hz": centroid, "spectral_spread_hz": np.sqrt(variance)}
    found["spectral_skewness"] = over(np.vecdot(weighted, squared) * share, wide**1.5)
    if "spectral_shape_kurtosis" in names:
        fourth = np.vecdot(np.multiply(power, squared, out=weighted), squared) * share
        found["spectral_shape_kurtosis"] = over(fourth, wide**2)
    if "spectral_entropy" in names:
        p = np.multiply(power, share[:, None], out=weighted)
        logarithm = np.log(np.maximum(p, np.finfo(p.dtype).tiny))
        found["spectral_entropy"] = -np.vecdot(p, logarithm) / np.log(p.shape[1])
    return found


def spectral_kurtosis(
    segments: ArrayLike, sampling_rate_hz: float, *, frame: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spectral kurtosis: how impulsive each segment is at each frequency.

    SK(f) = ⟨|X_t(f)|⁴⟩ / ⟨|X_t(f)|²⟩² − 2 over half-overlapping Hann frames t: 0 for Gaussian noise, −1 for a steady
    sine, large where transients ring (J. Antoni, "The spectral kurtosis", MSSP 20 (2006), eq. 23).

    Args:
        segments: `(n, samples)`, at least eight frames long for a mean that says something.
        sampling_rate_hz: of the samples.
        frame: samples of a frame: longer than an impulse rings, shorter than the time between two.

    Returns:
        Frequencies `(frame // 2 + 1,)` and kurtosis `(n, frame // 2 + 1)`, NaN where there is no power.

    Raises:
        UsageError: the frame is shorter than eight samples.
        FleetError: a segment holds fewer than two frames.
    """
    rate = check_rate(sampling_rate_hz)
    if frame < 8:
        raise UsageError(f"a frame must have 8 samples or more, got {frame}")
    x = check_segments(segments, shortest=frame + frame // 2)
    frames = np.lib.stride_tricks.sliding_window_view(x, frame, axis=1)[:, :: frame // 2]
    transform = np.fft.rfft(frames * _weights("hann", frame).astype(x.dtype), axis=2)
    power = (transform.real**2 + transform.imag**2).astype(np.float64)
    mean = power.mean(axis=1)
    kurtosis = over((power**2).mean(axis=1), mean**2) - 2
    frequencies = np.arange(frame // 2 + 1) * (rate / frame)
    return frequencies.astype(np.float64), np.asarray(kurtosis, dtype=np.float64)


def kurtosis_names(edges_hz: Sequence[float]) -> tuple[str, ...]:
    """Names of the columns of `band_kurtosis`, in order."""
    return tuple(f"spectral_kurtosis_{low:g}_{high:g}_hz" for low, high in itertools.pairwise(edges_hz))


def band_kurtosis(
    segments: ArrayLike, sampling_rate_hz: float, edges_hz: Sequence[float], *, frame: int
) -> NDArray[np.float64]:
    """The greatest spectral kurtosis in each band; arguments as for `spectral_kurtosis` and `band_energies`.

    Returns:
        `(n, n_bands)`, columns as `kurtosis_names` says; NaN where a band has no power.
    """
    frequencies, kurtosis = spectral_kurtosis(segments, sampling_rate_hz, frame=frame)
    first = _first_bins(frequencies, edges_hz)
    return np.asarray(np.fmax.reduceat(kurtosis[:, : first[-1]], first[:-1], axis=1))


def _sides(samples: int) -> NDArray[np.float64]:
    """How many bins of the two-sided spectrum each bin stands for: two, but for 0 and half the sampling rate."""
    sides = np.full(samples // 2 + 1, 2.0)
    sides[0] = 1.0
    if samples % 2 == 0:
        sides[-1] = 1.0
    return sides


def _total(power: Floats) -> Floats:
    return row_sums(power)[:, None]
