"""A line that follows the shaft stands still over its angle."""

from __future__ import annotations

import numpy as np
import pytest

from wearcast.errors import FleetError, UsageError
from wearcast.features.order_tracking import order_track, tacho_speed_hz
from wearcast.features.spectrum import power_spectrum

RATE = 12_000.0
T = np.arange(12_000) / RATE
RUN_UP = 20 + 20 * T  # turns a second
ANGLE = 20 * T + 10 * T**2  # turns


def test_a_chirp_becomes_one_line():
    chirp = np.sin(2 * np.pi * 5 * ANGLE)[None, :]
    smeared = power_spectrum(chirp, RATE)
    assert smeared.power.max() / smeared.power.sum() < 0.1
    tracked = power_spectrum(order_track(chirp, RATE, RUN_UP[None, :], samples_per_revolution=64), 64.0)
    assert tracked.power.shape == (1, 29 * 32 + 1)
    assert tracked.frequencies_hz[tracked.power[0].argmax()] == pytest.approx(5.0)
    assert tracked.power[0].max() / tracked.power[0].sum() > 0.6
    assert tracked.amplitude[0].max() == pytest.approx(1.0, rel=0.02)


def test_segments_of_different_speed_have_the_same_orders():
    speeds = np.array([25.0, 31.0])
    x = np.sin(2 * np.pi * 3.5 * speeds[:, None] * T)
    tracked = order_track(x, RATE, speeds, samples_per_revolution=128)
    assert tracked.shape == (2, 24 * 128)
    expected = np.sin(2 * np.pi * 3.5 * np.arange(24 * 128) / 128)
    np.testing.assert_allclose(tracked[:, 50:-50], np.stack([expected, expected])[:, 50:-50], atol=2e-3)


def test_what_the_new_steps_cannot_hold_is_filtered_out():
    x = np.sin(2 * np.pi * 4000 * T)[None, :]
    assert np.abs(order_track(x, RATE, 30.0, samples_per_revolution=64)).max() < 1e-6


def test_the_tachometer_gives_the_speed():
    tacho = (np.mod(ANGLE, 1.0) < 0.1).astype(np.float32)[None, :]
    found = tacho_speed_hz(tacho, RATE, threshold=0.5)
    inner = slice(1000, -1000)
    np.testing.assert_allclose(found[0, inner], RUN_UP[inner], rtol=0.01)


@pytest.mark.parametrize(
    ("shaft", "error"),
    [(0.0, FleetError), (np.array([30.0, np.nan]), FleetError), (np.ones(3), UsageError), (0.5, FleetError)],
)
def test_a_shaft_that_does_not_turn_is_refused(shaft, error):
    with pytest.raises(error, match=r"shaft|turn"):
        order_track(np.ones((2, 12_000)), RATE, shaft, samples_per_revolution=64)


def test_tracking_and_tachometer_check_their_numbers():
    with pytest.raises(UsageError, match="samples_per_revolution"):
        order_track(np.ones((1, 12_000)), RATE, 30.0, samples_per_revolution=1)
    with pytest.raises(UsageError, match="pulses_per_revolution"):
        tacho_speed_hz(np.ones((1, 100)), RATE, threshold=0.5, pulses_per_revolution=0)
    with pytest.raises(FleetError, match=r"segment 0: 0 pulses"):
        tacho_speed_hz(np.ones((1, 100)), RATE, threshold=0.5)


def test_no_segments_make_no_rows():
    assert order_track(np.empty((0, 100)), RATE, 30.0, samples_per_revolution=64).shape[0] == 0
