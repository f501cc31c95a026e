"""The table of a fast signal's segments: the blocks of features that a `SignalFeatures` asks for, side by side.

Each row depends on its own segment alone, whatever other rows are computed with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import FleetError
from wearcast.features.bearing import FAULT_NAMES
from wearcast.features.envelope import line_names, line_ratios, prewhiten, squared_envelope
from wearcast.features.order_tracking import order_track
from wearcast.features.segments import Floats
from wearcast.features.spec import EnvelopeLines, ShaftOrders, SignalFeatures
from wearcast.features.spectrum import (
    Spectrum,
    band_energies,
    band_kurtosis,
    band_names,
    kurtosis_names,
    peak_names,
    power_spectrum,
    shape_features,
    shape_names,
    spectral_peaks,
)
from wearcast.features.waveform import waveform_features, waveform_names
from wearcast.features.wavelet import wavelet_packet_energies, wavelet_packet_names

__all__ = ["channel_names", "signal_features", "signal_names"]

LEAST_SHARE = 1e-12
LEAST_RATIO = 1e-3
"""Where a logarithm is cut off."""


def signal_names(features: SignalFeatures, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the columns of `signal_features` for each channel in turn."""
    return tuple(f"{channel}_{name}" for channel in channels for name in channel_names(features))


def channel_names(features: SignalFeatures) -> tuple[str, ...]:
    """Names of the columns of one channel, in order."""
    names: list[str] = list(waveform_names()) if features.waveform else []
    if features.bands_hz:
        names += band_names(features.bands_hz)
    names += shape_names() if features.spectrum else ()
    names += peak_names(features.peaks)
    if features.envelope is not None:
        names += line_names(features.envelope.lines, features.envelope.harmonics)
    if features.wavelets is not None:
        for family in features.wavelets.families:
            for level in features.wavelets.levels:
                names += wavelet_packet_names(family, level)
    if features.spectral_kurtosis is not None:
        names += kurtosis_names(features.spectral_kurtosis.bands_hz)
    if features.orders is not None:
        names += [f"order_{low:g}_{high:g}" for low, high in pairwise(features.orders.edges)]
    return tuple(names)


def signal_features(
    segments: NDArray[np.float32],
    features: SignalFeatures,
    sampling_rate_hz: float,
    shaft_hz: NDArray[np.float64] | None,
) -> NDArray[np.float32]:
    """Features of one channel's segments; NaN where a segment without power has no answer.

    Args:
        segments: `(n, samples)`.
        features: which.
        sampling_rate_hz: of the samples.
        shaft_hz: turns a second at each sample, `(n, samples)`; for lines and orders.

    Returns:
        `(n, n_columns)`, columns as `channel_names` says.

    Raises:
        FleetError: the segments are too short for what is asked, or the shaft stands still.
        UsageError: a band or a line does not lie below half the sampling rate.
    """
    x = segments.astype(np.float64)
    parts: list[Floats] = [waveform_features(x)] if features.waveform else []
    if features.bands_hz or features.spectrum or features.peaks:
        parts += _of_spectrum(power_spectrum(x, sampling_rate_hz), features)
    if features.envelope is not None:
        parts.append(_lines(x, features.envelope, sampling_rate_hz, _known(shaft_hz)))
    if features.wavelets is not None:
        for family in features.wavelets.families:
            for level in features.wavelets.levels:
                whole = x[:, x.shape[1] % 2**level :]
                parts.append(_log(wavelet_packet_energies(whole, wavelet=family, level=level, relative=True)))
    if features.spectral_kurtosis is not None:
        kurtosis = features.spectral_kurtosis
        parts.append(band_kurtosis(x, sampling_rate_hz, kurtosis.bands_hz, frame=kurtosis.frame))
    if features.orders is not None:
        parts.append(_orders(x, features.orders, sampling_rate_hz, _known(shaft_hz)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _known(shaft_hz: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if shaft_hz is None:
        raise FleetError("the speed of the shaft is not known", hint="name its column as shaft_speed")
    return shaft_hz


def _of_spectrum(spectrum: Spectrum, features: SignalFeatures) -> list[Floats]:
    parts = [_log(band_energies(spectrum, features.bands_hz, relative=True))] if features.bands_hz else []
    parts += [shape_features(spectrum)] if features.spectrum else []
    parts += [spectral_peaks(spectrum, features.peaks)] if features.peaks else []
    return parts


def _orders(
    x: NDArray[np.float64], spec: ShaftOrders, sampling_rate_hz: float, shaft_hz: NDArray[np.float64]
) -> Floats:
    """Logarithm of the share of the power in each band of orders, `(n, n_bands)`."""
    turned = _turned(x, sampling_rate_hz, shaft_hz, spec.samples_per_revolution)
    return _log(np.concatenate([band_energies(spectrum, spec.edges, relative=True) for spectrum in turned]))


def _turned(x: Floats, sampling_rate_hz: float, shaft_hz: NDArray[np.float64], steps: int) -> Iterator[Spectrum]:
    """The spectrum over orders of each segment; one by one, for together they would all be cut to the fewest turns."""
    for row, speed in zip(x, shaft_hz, strict=True):
        turned = order_track(row[None], sampling_rate_hz, speed[None], samples_per_revolution=steps)
        yield power_spectrum(turned, steps)


def _lines(
    x: NDArray[np.float64], spec: EnvelopeLines, sampling_rate_hz: float, shaft_hz: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Logarithm of how far each line stands out, `(n, lines * harmonics)`."""
    chosen = [FAULT_NAMES.index(line) for line in spec.lines]
    band = spec.band_hz or (0.025 * sampling_rate_hz, 0.475 * sampling_rate_hz)
    envelope = squared_envelope(prewhiten(x) if spec.prewhitened else x, sampling_rate_hz, band)
    steps = spec.samples_per_revolution
    if steps is None:
        lines = spec.multipliers.fault_frequencies(shaft_hz.mean(axis=1))[:, chosen]
        ratios = _ratios(power_spectrum(envelope, sampling_rate_hz), lines, spec)
    else:
        orders = spec.multipliers.orders()[chosen]
        turned = _turned(envelope, sampling_rate_hz, shaft_hz, steps)
        ratios = np.concatenate([_ratios(spectrum, orders, spec) for spectrum in turned])
    return np.asarray(np.log(np.maximum(ratios, LEAST_RATIO)).reshape(len(x), -1))


def _ratios(spectrum: Spectrum, lines: NDArray[np.float64], spec: EnvelopeLines) -> NDArray[np.float64]:
    return line_ratios(spectrum, lines, harmonics=spec.harmonics, tolerance=spec.tolerance)


def _log(shares: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(shares, LEAST_SHARE)))
