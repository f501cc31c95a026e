"""Recalibration: intervals hold what they promise on new draws, and the median never moves."""

from __future__ import annotations

import numpy as np
import pytest

from wearcast.distribution import TimeToEvent
from wearcast.evaluation.calibration import calibrate_spread

GRID = np.linspace(0, 200, 401)


def logistic(centre: np.ndarray, scale: float) -> TimeToEvent:
    return TimeToEvent(GRID, 1 / (1 + np.exp((GRID[None] - centre[:, None]) / scale)))


def draw(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centre = rng.uniform(60, 120, n)
    return centre, np.clip(centre + rng.logistic(0, 6, n), 0, None), np.arange(n, dtype=np.int32) // 100


@pytest.mark.parametrize("scale", [3.0, 6.0, 12.0])
def test_overconfident_and_timid_intervals_are_mended(scale):
    centre, truth, unit = draw(0)
    fitted = calibrate_spread(logistic(centre, scale), truth, np.ones(len(truth), dtype=bool), unit)
    centre, truth, _ = draw(1)
    raw = logistic(centre, scale)
    after = fitted.apply(raw)
    for level in (0.5, 0.8, 0.9):
        low, high = after.quantile((1 - level) / 2), after.quantile((1 + level) / 2)
        assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(level, abs=0.03)
    np.testing.assert_allclose(after.quantile(0.5), raw.quantile(0.5), atol=0.3)


def test_censored_windows_are_used_without_bias():
    centre, truth, unit = draw(2, n=20000)
    stop = np.random.default_rng(3).uniform(40, 200, len(truth))
    fitted = calibrate_spread(logistic(centre, 3.0), np.minimum(truth, stop), truth <= stop, unit)
    centre, truth, _ = draw(4)
    after = fitted.apply(logistic(centre, 3.0))
    low, high = after.quantile(0.05), after.quantile(0.95)
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.9, abs=0.04)


def test_every_unit_has_the_same_weight():
    centre, truth, _ = draw(0, n=1000)
    truth[:900] = centre[:900]  # one unit of 900 windows that is hit exactly
    unit = np.concatenate([np.zeros(900), np.arange(1, 101)]).astype(np.int32)
    fitted = calibrate_spread(logistic(centre, 6.0), truth, np.ones(1000, dtype=bool), unit)
    after = fitted.apply(logistic(centre, 6.0))
    low, high = after.quantile(0.05), after.quantile(0.95)
    assert np.mean(((low <= truth) & (truth <= high))[900:]) > 0.85
