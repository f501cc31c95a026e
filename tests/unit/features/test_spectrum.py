"""Spectra against sines, Parseval and plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wearcast.errors import FleetError, UsageError
from wearcast.features.spectrum import (
    band_energies,
    band_names,
    peak_names,
    power_spectrum,
    shape_features,
    shape_names,
    spectral_kurtosis,
    spectral_peaks,
)

RATE = 1000.0
T = np.arange(1000) / RATE


def sine(hz: float, amplitude: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * T + 0.7)


@pytest.mark.parametrize("window", ["hann", "boxcar"])
def test_a_sine_reads_its_amplitude_off_its_bin(window):
    spectrum = power_spectrum((5 + sine(50, 2.0))[None, :], RATE, window=window)
    assert spectrum.resolution_hz == 1.0
    assert spectrum.amplitude[0, 50] == pytest.approx(2.0)
    assert spectrum.amplitude[0, 0] == pytest.approx(0.0, abs=1e-9)
    assert spectrum.power[0].sum() == pytest.approx(2.0)


def test_the_last_bin_reads_the_alternation():
    assert power_spectrum(3 * np.cos(np.pi * np.arange(64))[None, :], RATE).amplitude[0, -1] == pytest.approx(3.0)


@given(st.data(), st.integers(4, 33))
@settings(max_examples=40, deadline=None)
def test_power_adds_up_to_the_variance_of_the_windowed_segment(data, samples):
    """Parseval, for even and odd lengths."""
    x = data.draw(arrays(np.float64, (2, samples), elements=st.floats(-10, 10)))
    np.testing.assert_allclose(power_spectrum(x, RATE, window="boxcar").power.sum(axis=1), x.var(axis=1), atol=1e-9)
    w = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
    windowed = ((w * (x - x.mean(axis=1, keepdims=True))) ** 2).sum(axis=1) / (w**2).sum()
    np.testing.assert_allclose(power_spectrum(x, RATE).power.sum(axis=1), windowed, atol=1e-9)


@given(
    arrays(np.float64, (3, 64), elements=st.floats(-10, 10)),
    st.lists(st.integers(1, 31), min_size=0, max_size=4, unique=True).map(sorted),
)
@settings(max_examples=40, deadline=None)
def test_bands_equal_a_plain_loop_and_add_up(x, inner):
    spectrum = power_spectrum(x, 64.0)
    edges = [0.0, *map(float, inner), 32.0]
    found = band_energies(spectrum, edges)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), spectrum.power.sum(axis=1))
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        bins = [k for k, f in enumerate(spectrum.frequencies_hz) if low <= f < high or f == high == 32.0]
        np.testing.assert_allclose(found[:, i], spectrum.power[:, bins].sum(axis=1), atol=1e-12)


def test_relative_bands_are_parts_of_the_whole():
    x = np.stack([sine(50) + sine(150), np.zeros_like(T)])
    found = band_energies(power_spectrum(x, RATE), (0, 100, 200, 500), relative=True)
    np.testing.assert_allclose(found[0], [0.5, 0.5, 0], atol=1e-9)
    assert np.isnan(found[1]).all()
    assert band_names((0, 100, 200.5)) == ("band_0_100_hz", "band_100_200.5_hz")


@pytest.mark.parametrize("edges", [(0, 600), (-1, 10), (10, 5), (5,), (5, 5), (0, np.nan)])
def test_bands_that_the_sampling_rate_cannot_hold_are_refused(edges):
    with pytest.raises(UsageError, match=r"band|lie within"):
        band_energies(power_spectrum(sine(50)[None, :], RATE), edges)


def test_a_band_between_two_bins_is_refused():
    with pytest.raises(FleetError, match=r"band 10.2 to 10.8 Hz: no bin .* longer segments"):
        band_energies(power_spectrum(sine(50)[None, :], RATE), (0, 10.2, 10.8, 500))


def test_peaks_are_the_sines_strongest_first():
    x = np.stack([sine(50, 2.0) + sine(200, 3.0), np.zeros_like(T)])
    found = spectral_peaks(power_spectrum(x, RATE), 2)
    np.testing.assert_allclose(found[0], [200, 50, 3, 2], rtol=1e-9)
    assert np.isnan(found[1, :2]).all()
    assert (found[1, 2:] == 0).all()
    assert peak_names(2) == ("peak_1_hz", "peak_2_hz", "peak_1_amplitude", "peak_2_amplitude")
    with pytest.raises(UsageError, match="between 1 and"):
        spectral_peaks(power_spectrum(x, RATE), 0)


@given(arrays(np.float64, (2, 40), elements=st.floats(-10, 10)))
@settings(max_examples=40, deadline=None)
def test_the_shape_equals_a_plain_loop(x):
    spectrum = power_spectrum(x, RATE)
    for power, found in zip(spectrum.power[:, 1:], shape_features(spectrum), strict=True):
        if power.sum() < 1e-6:
            continue
        f, p = spectrum.frequencies_hz[1:], power / power.sum()
        centre = (f * p).sum()
        spread = np.sqrt((p * (f - centre) ** 2).sum())
        entropy = -sum(v * np.log(v) for v in p if v > 0) / np.log(len(p))
        assert found[[0, 1, 4]] == pytest.approx([centre, spread, entropy], rel=1e-6, abs=1e-3)
        if spread > 10:
            moments = [(p * (f - centre) ** k).sum() / spread**k for k in (3, 4)]
            assert found[2:4] == pytest.approx(moments, rel=1e-4, abs=1e-4)


def test_entropy_is_0_for_a_line_and_1_for_white_noise():
    x = np.stack([sine(100), np.random.default_rng(0).standard_normal(1000), np.zeros(1000)])
    found = shape_features(power_spectrum(x, RATE, window="boxcar"))
    at = shape_names().index("spectral_entropy")
    assert found[0, at] == pytest.approx(0, abs=1e-9)
    assert found[1, at] > 0.9
    assert np.isnan(found[2]).all()
    assert found[0, 0] == pytest.approx(100)


def test_spectral_kurtosis_is_0_for_noise_and_high_where_impacts_ring():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((1, 40_000))
    ring = np.zeros(40_000)
    ring[::2000] = 30
    decay = np.exp(-np.arange(60) / 10) * np.sin(2 * np.pi * 0.25 * np.arange(60))
    frequencies, found = spectral_kurtosis(
        np.vstack([noise, noise + np.convolve(ring, decay)[:40_000]]), RATE, frame=64
    )
    assert np.abs(found[0, 2:-2]).max() < 0.5
    assert found[1].argmax() == pytest.approx(np.argmin(np.abs(frequencies - 250)), abs=1)
    assert found[1].max() > 5
    with pytest.raises(FleetError, match="too short"):
        spectral_kurtosis(noise[:, :64], RATE, frame=64)
    with pytest.raises(UsageError, match="frame"):
        spectral_kurtosis(noise, RATE, frame=4)


def test_float32_stays_float32_and_agrees():
    x = np.random.default_rng(2).standard_normal((3, 1200))
    single, double = power_spectrum(x.astype(np.float32), RATE), power_spectrum(x, RATE)
    assert single.power.dtype == single.amplitude.dtype == shape_features(single).dtype == np.float32
    np.testing.assert_allclose(shape_features(single), shape_features(double), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [0, -1, np.nan, np.inf])
def test_a_sampling_rate_must_be_positive(rate):
    with pytest.raises(UsageError, match="sampling rate"):
        power_spectrum(sine(50)[None, :], rate)


def test_segments_and_windows_are_checked():
    with pytest.raises(FleetError, match="too short"):
        power_spectrum(np.ones((2, 3)), RATE)
    with pytest.raises(UsageError, match="no window"):
        power_spectrum(sine(50)[None, :], RATE, window="kaiser")  # type: ignore[arg-type]


def test_a_part_of_the_amplitudes_and_shapes_is_that_part_of_all():
    """For those who want no more of them."""
    found = power_spectrum(np.random.default_rng(0).standard_normal((3, 200)), 1000.0)
    np.testing.assert_array_equal(found.amplitudes(5, 20), found.amplitude[:, 5:20])
    some = ("spectral_entropy", "spectral_centroid_hz")
    np.testing.assert_array_equal(shape_features(found, names=some), shape_features(found)[:, [4, 0]])
    with pytest.raises(UsageError, match="no feature 'spectral_mood'"):
        shape_features(found, names=("spectral_mood",))
