"""The table of a fast signal's segments: the blocks of features that a `SignalFeatures` asks for, side by side.

Each row depends on its own segment alone, whatever other rows are computed with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import FleetError
from wearcast.features.bearing import FAULT_NAMES
from wearcast.features.envelope import line_names, line_ratios, prewhiten, squared_envelope
from wearcast.features.order_tracking import order_track
from wearcast.features.segments import Floats
from wearcast.features.spec import EnvelopeLines, SignalFeatures
from wearcast.features.spectrum import Spectrum, band_energies, band_names, power_spectrum
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
    if features.envelope is not None:
        names += line_names(features.envelope.lines, features.envelope.harmonics)
    if features.wavelets is not None:
        for family in features.wavelets.families:
            for level in features.wavelets.levels:
                names += wavelet_packet_names(family, level)
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
        shaft_hz: turns a second at each sample, `(n, samples)`; for the envelope's lines.

    Returns:
        `(n, n_columns)`, columns as `channel_names` says.

    Raises:
        FleetError: the segments are too short for what is asked, or the shaft stands still.
        UsageError: a band or a line does not lie below half the sampling rate.
    """
    x = segments.astype(np.float64)
    parts: list[Floats] = [waveform_features(x)] if features.waveform else []
    if features.bands_hz:
        parts.append(_log(band_energies(power_spectrum(x, sampling_rate_hz), features.bands_hz, relative=True)))
    if features.envelope is not None:
        if shaft_hz is None:
            raise FleetError("the speed of the shaft is not known", hint="name its column as envelope.shaft_speed")
        parts.append(_lines(x, features.envelope, sampling_rate_hz, shaft_hz))
    if features.wavelets is not None:
        for family in features.wavelets.families:
            for level in features.wavelets.levels:
                whole = x[:, x.shape[1] % 2**level :]
                parts.append(_log(wavelet_packet_energies(whole, wavelet=family, level=level, relative=True)))
    return np.concatenate(parts, axis=1).astype(np.float32)


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
    else:  # one by one: together they would all be cut to the fewest turns
        orders, found = spec.multipliers.orders()[chosen], []
        for row, speed in zip(envelope, shaft_hz, strict=True):
            turned = order_track(row[None], sampling_rate_hz, speed[None], samples_per_revolution=steps)
            found.append(_ratios(power_spectrum(turned, steps), orders, spec))
        ratios = np.concatenate(found)
    return np.asarray(np.log(np.maximum(ratios, LEAST_RATIO)).reshape(len(x), -1))


def _ratios(spectrum: Spectrum, lines: NDArray[np.float64], spec: EnvelopeLines) -> NDArray[np.float64]:
    return line_ratios(spectrum, lines, harmonics=spec.harmonics, tolerance=spec.tolerance)


def _log(shares: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(shares, LEAST_SHARE)))
