"""Waveform features against known signals and plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wearcast.errors import FleetError, UsageError
from wearcast.features.waveform import waveform_features, waveform_names

SAMPLES = arrays(np.float64, (3, 16), elements=st.floats(-10, 10).map(lambda value: round(value, 3)))


def features_of(segment: np.ndarray, *, centred: bool = True) -> dict[str, float]:
    return dict(zip(waveform_names(), waveform_features(segment[None, :], centred=centred)[0].tolist(), strict=True))


def test_a_sine_has_the_factors_of_the_textbook():
    """RMS a/√2, crest √2, shape π/(2√2), impulse π/2, kurtosis 1.5, two crossings a period."""
    t = np.arange(12_000) / 12_000
    found = features_of(3 * np.sin(2 * np.pi * 10 * t + 0.3))
    expected = {
        "rms": 3 / np.sqrt(2),
        "peak": 3,
        "peak_to_peak": 6,
        "mean_absolute": 6 / np.pi,
        "crest_factor": np.sqrt(2),
        "shape_factor": np.pi / (2 * np.sqrt(2)),
        "impulse_factor": np.pi / 2,
        "skewness": 0,
        "kurtosis": 1.5,
        "zero_crossing_rate": 20 / 12_000,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-3), name


def test_gaussian_noise_has_kurtosis_3():
    noise = np.random.default_rng(0).standard_normal((4, 50_000)).astype(np.float32)
    found = waveform_features(noise)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, waveform_names().index("kurtosis")], 3, atol=0.1)


@given(SAMPLES)
@settings(max_examples=50, deadline=None)
def test_features_equal_a_plain_loop(x):
    for segment, found in zip(x, waveform_features(x, centred=False), strict=True):
        magnitudes = [abs(v) for v in segment]
        n, mean = len(segment), sum(segment) / len(segment)
        rms, absolute = (sum(v * v for v in segment) / n) ** 0.5, sum(magnitudes) / n
        root = (sum(m**0.5 for m in magnitudes) / n) ** 2
        peak = max(magnitudes)
        second = sum((v - mean) ** 2 for v in segment) / n
        assert found[:4] == pytest.approx([rms, peak, max(segment) - min(segment), absolute])
        if peak > 0:
            assert found[4:8] == pytest.approx([peak / rms, rms / absolute, peak / absolute, peak / root])
        if second > 1e-9:
            third, fourth = (sum((v - mean) ** k for v in segment) / n for k in (3, 4))
            assert found[8:10] == pytest.approx([third / second**1.5, fourth / second**2], rel=1e-6, abs=1e-6)
        crossings = sum((a < 0) != (b < 0) for a, b in itertools.pairwise(segment))
        assert found[10] == pytest.approx(crossings / (n - 1))


@given(SAMPLES, st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_ratios_do_not_depend_on_the_level(x, gain):
    np.testing.assert_allclose(waveform_features(gain * x)[:, 4:], waveform_features(x)[:, 4:], rtol=1e-6, atol=1e-6)


def test_a_large_level_does_not_overflow():
    wave = 1e12 * np.sin(np.linspace(0, 60, 500, dtype=np.float32))[None, :]
    assert np.isfinite(waveform_features(wave)).all()


def test_a_constant_segment_has_no_shape():
    found = features_of(np.full(100, 0.1, dtype=np.float32))
    assert found["rms"] == found["peak"] == found["zero_crossing_rate"] == 0
    assert np.isnan([found[name] for name in ("crest_factor", "kurtosis", "skewness", "clearance_factor")]).all()
    assert features_of(np.full(100, 0.1), centred=False)["crest_factor"] == pytest.approx(1)


def test_no_segments_make_no_rows():
    assert waveform_features(np.empty((0, 10))).shape == (0, len(waveform_names()))


def test_a_missing_sample_is_named():
    x = np.ones((3, 8))
    x[1, 5] = np.nan
    with pytest.raises(FleetError, match="segment 1, sample 5"):
        waveform_features(x)


@pytest.mark.parametrize(
    ("segments", "error"),
    [(np.ones((2, 1)), FleetError), (np.ones(8), UsageError), (np.ones((2, 4), dtype=complex), UsageError)],
)
def test_what_is_no_segment_is_refused(segments, error):
    with pytest.raises(error, match="segment"):
        waveform_features(segments)


def test_only_what_is_asked_for_and_in_that_order():
    """A part of the features is that part of all, and a name that is none is refused."""
    x = np.random.default_rng(0).standard_normal((3, 203)).astype(np.float32)
    every = dict(zip(waveform_names(), waveform_features(x).T, strict=True))
    for names in (("kurtosis", "rms"), ("zero_crossing_rate",), ("clearance_factor", "peak_to_peak")):
        np.testing.assert_array_equal(waveform_features(x, names=names).T, [every[name] for name in names])
    with pytest.raises(UsageError, match="no waveform feature 'rsm'"):
        waveform_features(x, names=("rsm",))
