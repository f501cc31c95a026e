"""Envelope analysis of signals whose modulation is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast.errors import FleetError, UsageError
from wearcast.features.envelope import (
    band_pass,
    envelope_spectrum,
    line_names,
    line_ratios,
    prewhiten,
    squared_envelope,
)
from wearcast.features.spectrum import Spectrum

RATE = 12_000.0
T = np.arange(12_000) / RATE
BAND = (2000.0, 4000.0)


def modulated(hz: float, depth: float = 0.5, carrier: float = 3000.0) -> np.ndarray:
    return (1 + depth * np.cos(2 * np.pi * hz * T)) * np.sin(2 * np.pi * carrier * T)


def spectrum_of(power: np.ndarray) -> Spectrum:
    return Spectrum(np.arange(power.shape[1], dtype=float), power, 1.5, 2 * power.shape[1] - 2)


def test_band_pass_keeps_what_is_inside():
    inside, outside = np.sin(2 * np.pi * 3000 * T), np.sin(2 * np.pi * 500 * T)
    np.testing.assert_allclose(band_pass((inside + outside)[None, :], RATE, BAND)[0], inside, atol=1e-9)


@pytest.mark.parametrize("samples", [12_000, 11_999])
def test_the_envelope_of_the_whole_band_is_that_of_the_analytic_signal(samples):
    x = np.random.default_rng(0).standard_normal((2, samples))
    spectrum = np.fft.fft(x, axis=1)
    spectrum[:, 1 : (samples + 1) // 2] *= 2
    spectrum[:, samples // 2 + 1 :] = 0
    expected = np.abs(np.fft.ifft(spectrum, axis=1)) ** 2
    np.testing.assert_allclose(squared_envelope(x, RATE, (0, RATE / 2)), expected, atol=1e-9)


def test_a_modulated_carrier_has_its_envelope():
    found = squared_envelope(modulated(100, carrier=3000)[None, :], RATE, BAND)
    np.testing.assert_allclose(found[0], (1 + 0.5 * np.cos(2 * np.pi * 100 * T)) ** 2, atol=1e-9)


@pytest.mark.parametrize(("squared", "expected"), [(True, 1.0 / 1.125), (False, 0.5)])
def test_the_line_stands_at_the_modulation_frequency(squared, expected):
    """(1 + m cos)² = 1 + m²/2 + 2m cos + …, over its mean; and the level of the signal drops out."""
    for gain in (1.0, 1e-3):
        found = envelope_spectrum(gain * modulated(100)[None, :], RATE, BAND, squared=squared)
        assert found.frequencies_hz[found.power[0].argmax()] == 100
        assert found.amplitude[0, 100] == pytest.approx(expected, rel=1e-6)


def test_without_normalisation_the_level_stays():
    found = envelope_spectrum(2 * modulated(100)[None, :], RATE, BAND, normalised=False)
    assert found.amplitude[0, 100] == pytest.approx(4.0, rel=1e-6)


def test_silence_in_the_band_is_not_known():
    assert np.isnan(envelope_spectrum(np.zeros((1, 1000)), RATE, BAND).power).all()


def test_lines_at_a_fault_frequency_stand_out_and_others_do_not():
    rng = np.random.default_rng(3)
    impacts = np.zeros((4, 12_000))
    impacts[:2, ::75] = 5.0  # 160 Hz
    decay = np.exp(-np.arange(40) / 8) * np.sin(2 * np.pi * 0.25 * np.arange(40))
    x = np.stack([np.convolve(row, decay)[:12_000] for row in impacts]) + 0.3 * rng.standard_normal((4, 12_000))
    ratios = line_ratios(envelope_spectrum(x, RATE, BAND), [160.0, 107.0], harmonics=2)
    assert ratios.shape == (4, 2, 2)
    assert (ratios[:2, 0] > 10).all()
    assert (ratios[2:] < 5).all()
    assert line_names(["bpfi", "bpfo"], 2) == ("bpfi_x1", "bpfi_x2", "bpfo_x1", "bpfo_x2")


@given(st.integers(0, 2**32 - 1), st.floats(60, 120), st.floats(0.01, 0.05))
@settings(max_examples=30, deadline=None)
def test_line_ratios_equal_a_plain_loop(seed, line, tolerance):
    power = np.random.default_rng(seed).random((2, 600)) + 0.1
    found = line_ratios(spectrum_of(power), np.array([[line], [line + 7]]), harmonics=2, tolerance=tolerance)
    for i, base in enumerate((line, line + 7)):
        for h in (1, 2):
            centre = h * base
            half = max(centre * tolerance, 1.0)
            inside = list(range(round(centre - half), round(centre + half) + 1))
            far = max(round(half * 4), 3)
            around = [k for k in range(round(centre) - far, round(centre) + far + 1) if k not in inside and k >= 1]
            assert found[i, 0, h - 1] == pytest.approx(power[i, inside].mean() / power[i, around].mean())


def test_prewhitening_levels_the_spectrum_and_keeps_the_phase():
    x = np.random.default_rng(4).standard_normal((2, 999)).astype(np.float32)
    x[1] += 100 * np.sin(2 * np.pi * 0.1 * np.arange(999)).astype(np.float32)
    found = prewhiten(7 * x + 3)
    assert found.dtype == np.float32
    transform, before = np.fft.rfft(found, axis=1), np.fft.rfft(x, axis=1)
    np.testing.assert_allclose(np.abs(transform[:, 1:]) / np.sqrt(999), 1, atol=1e-3)
    np.testing.assert_allclose(np.angle(transform[:, 1:] / before[:, 1:]), 0, atol=1e-2)
    np.testing.assert_allclose((found**2).mean(axis=1), 1, atol=2e-3)


def test_prewhitening_raises_nothing_out_of_rounding():
    assert (prewhiten(np.full((1, 100), 0.3)) == 0).all()
    alone = np.abs(np.fft.rfft(prewhiten(np.tile(np.sin(2 * np.pi * np.arange(10) / 10), 100)[None, :])))[0]
    assert (np.flatnonzero(alone > 1e-6) == 100).all()


def test_prewhitening_finds_impacts_under_a_loud_gear():
    rng = np.random.default_rng(5)
    impacts = np.zeros(12_000)
    impacts[np.arange(5, 11_990, 75) + rng.integers(-2, 3, 160)] = 3.0  # 160 Hz, with slip
    decay = np.exp(-np.arange(40) / 8) * np.sin(2 * np.pi * 0.25 * np.arange(40))
    gear = 20 * np.sin(2 * np.pi * 3100 * T) * (1 + 0.3 * np.sin(2 * np.pi * 31 * T))
    x = (np.convolve(impacts, decay)[:12_000] + gear + 0.3 * rng.standard_normal(12_000))[None, :]
    whole = (100.0, 5900.0)
    assert line_ratios(envelope_spectrum(x, RATE, whole), [160.0], harmonics=1)[0, 0, 0] < 5
    assert line_ratios(envelope_spectrum(prewhiten(x), RATE, whole), [160.0], harmonics=1)[0, 0, 0] > 20


def test_each_scale_of_noise_has_ratio_1():
    found = line_ratios(spectrum_of(np.full((1, 500), 7.0)), [50.0, 80.0])
    np.testing.assert_allclose(found, 1.0)


@pytest.mark.parametrize("band", [(2000, 7000), (-10, 100), (3000, 2000)])
def test_a_band_that_the_rate_cannot_hold_is_refused(band):
    with pytest.raises(UsageError, match=r"Hz"):
        envelope_spectrum(modulated(100)[None, :], RATE, band)


def test_what_the_segment_cannot_resolve_is_refused():
    with pytest.raises(FleetError, match="longer segments or a wider band"):
        squared_envelope(np.ones((1, 100)), RATE, (130.0, 140.0))
    with pytest.raises(FleetError, match="cannot be told from 0 Hz"):
        line_ratios(spectrum_of(np.ones((1, 100))), [1.5])
    with pytest.raises(UsageError, match="passes the end"):
        line_ratios(spectrum_of(np.ones((1, 100))), [60.0])
    with pytest.raises(UsageError, match="positive"):
        line_ratios(spectrum_of(np.ones((1, 100))), [-3.0])
    with pytest.raises(UsageError, match="make no lines"):
        line_ratios(spectrum_of(np.ones((1, 100))), [10.0], harmonics=0)
