"""The metrics against published formulas, closed forms and slow oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.forecasters import draw, gaussian

from wearcast.distribution import TimeToEvent
from wearcast.evaluation.metrics import (
    LAST_METRICS,
    WINDOW_METRICS,
    Scored,
    calibration_curve,
    covered,
    interval_width,
    mae,
    nasa_score,
    rmse,
)
from wearcast.evaluation.protocol import ALL_METRICS

GRID = np.concatenate([np.linspace(0, 125, 51), np.geomspace(125, 350, 11)[1:]])


def scored(n: int = 2000, *, sd: float = 8.0, claimed: float | None = None, seed: int = 0) -> Scored:
    """Forecasts whose truth really is drawn from them, unless another spread is claimed."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(40, 200, n)
    truth = draw(gaussian(mean, sd, GRID), rng)
    distribution = gaussian(mean, claimed or sd, GRID)
    return Scored(distribution.expected(125.0), truth, distribution, 125.0)


def test_pooled_errors_by_hand():
    """RMSE and MAE of two rows; pooled, so a long unit weighs more than a short one."""
    predicted, true = np.array([3.0, 10.0, 10.0]), np.array([0.0, 6.0, 10.0])
    assert rmse(predicted, true) == pytest.approx(math.sqrt(25 / 3))
    assert mae(predicted, true) == pytest.approx(7 / 3)


@pytest.mark.parametrize(("d", "score"), [(0, 0.0), (-13, math.e - 1), (10, math.e - 1), (-26, math.e**2 - 1)])
def test_nasa_score_of_the_published_formula(d, score):
    """exp(−d / 13) − 1 early, exp(d / 10) − 1 late (Saxena et al. 2008)."""
    assert nasa_score(np.array([100.0 + d]), np.array([100.0])) == pytest.approx(score)


def test_nasa_score_is_a_sum():
    """Two units count twice, not on average."""
    assert nasa_score(np.array([110.0, 110.0]), np.array([100.0, 100.0])) == pytest.approx(2 * (math.e - 1))


@given(d=st.floats(0.1, 100))
def test_late_costs_more_than_early(d):
    """The score is not symmetric."""
    at = np.array([100.0])
    assert nasa_score(at + d, at) > nasa_score(at - d, at) > 0


def test_nasa_score_stays_finite():
    """An absurd error in hours gives a huge number, not an infinite one."""
    assert np.isfinite(nasa_score(np.array([1e6]), np.array([0.0])))


@settings(max_examples=15, deadline=None)
@given(sd=st.floats(6, 15), seed=st.integers(0, 1000), level=st.sampled_from([0.5, 0.8, 0.9]))
def test_coverage_of_a_perfect_distribution_is_its_level(sd, seed, level):
    """Truth drawn from the forecast itself lies in the central interval as often as the level says."""
    s = scored(1500, sd=sd, seed=seed)
    assert covered(s, level).mean() == pytest.approx(level, abs=0.04)


def test_coverage_tells_overconfidence():
    """Half the spread claimed: the interval is half as wide and holds far less."""
    honest, bold = scored(), scored(claimed=4.0)
    assert covered(bold).mean() < 0.75 < covered(honest).mean()
    assert interval_width(bold).mean() == pytest.approx(interval_width(honest).mean() / 2, rel=0.25)


def test_capped_coverage_rule():
    """min(y, cap) in [min(q05, cap), min(q95, cap)]: a healthy unit forecast beyond the cap counts as covered."""
    distribution = gaussian(np.array([200.0, 200.0, 60.0]), 5.0, GRID)
    s = Scored(distribution.expected(125.0), np.array([300.0, 130.0, 90.0]), distribution, 125.0)
    assert covered(s).tolist() == [False, False, False]
    assert covered(s, capped=True).tolist() == [True, True, False]
    assert interval_width(s, capped=True)[:2] == pytest.approx([0.0, 0.0])


def test_an_interval_beyond_the_grid_is_unbounded():
    """Where the grid does not reach the upper quantile, no long life is outside; its width counts to the last edge."""
    survival = np.linspace(1.0, 0.4, len(GRID))[None, :]
    s = Scored(np.array([100.0]), np.array([1000.0]), TimeToEvent(GRID, survival), 125.0)
    assert covered(s).all()
    assert interval_width(s)[0] == pytest.approx(350.0 - s.distribution.quantile(0.05)[0])


def test_crps_of_a_gaussian_in_closed_form():
    """CRPS(N(μ, σ), y) = σ (z (2Φ(z) − 1) + 2φ(z) − 1/√π) (Gneiting & Raftery 2007, eq. 21)."""
    grid = np.linspace(0, 120, 2401)
    truth = np.array([50.0, 53.0, 40.0])
    z = (truth - 50) / 4
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    cumulative = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z])
    expected = 4 * (z * (2 * cumulative - 1) + 2 * density - 1 / math.sqrt(math.pi))
    assert gaussian(np.full(3, 50.0), 4.0, grid).crps(truth) == pytest.approx(expected, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    drops=st.lists(st.floats(0, 1), min_size=8, max_size=8),
    truth=st.floats(0, 120),
    cap=st.sampled_from([None, 40.0]),
)
def test_crps_is_a_fine_integral_and_never_negative(drops, truth, cap):
    """The exact piecewise formula against a Riemann sum of (F − 1{y <= t})²."""
    grid = np.linspace(0, 80, 9)
    weight = np.array(drops) + 1e-3
    survival = np.concatenate([[1.0], 1 - 0.9 * np.cumsum(weight) / weight.sum()])[None, :]
    distribution = TimeToEvent(grid, survival)
    end = cap or 80.0
    t = (np.arange(20000) + 0.5) * end / 20000
    failed = 1 - np.interp(t, grid, survival[0])
    value = distribution.crps(np.array([truth]), cap)[0]
    assert value >= 0
    assert value == pytest.approx(((failed - (truth <= t)) ** 2).mean() * end, abs=0.02)


def test_calibration_curve_of_a_perfect_and_of_a_biased_forecast():
    """On the diagonal if honest; above it where the truth comes earlier than forecast."""
    honest = calibration_curve(scored())
    assert honest.error < 0.02
    assert honest.n == 2000
    s = scored()
    late = Scored(s.rul, s.truth - 8.0, s.distribution, 125.0)
    assert all(o > level for o, level in zip(calibration_curve(late).observed, honest.levels, strict=True))


def test_calibration_curve_is_the_share_below_each_quantile():
    """The oracle: compare with the quantiles themselves."""
    s = scored(300)
    curve = calibration_curve(s, (0.1, 0.5, 0.9))
    slow = [float((s.truth <= s.distribution.quantile(level)).mean()) for level in (0.1, 0.5, 0.9)]
    assert curve.observed == pytest.approx(slow, abs=0.005)


def test_each_metric_is_declared_whole():
    """Names are unique; each has a paper; the nominal one has its value."""
    names = [m.name for m in ALL_METRICS]
    assert len(set(names)) == len(names)
    assert all(m.paper and (m.direction != "nominal" or m.nominal == 0.9) for m in ALL_METRICS)


def test_window_and_last_metrics_read_the_right_label():
    """Capped metrics see min(truth, cap), raw ones the truth."""
    distribution = gaussian(np.array([300.0]), 5.0, GRID)
    s = Scored(distribution.expected(125.0), np.array([225.0]), distribution, 125.0)
    values = {m.name: m(s) for m in (*WINDOW_METRICS, *LAST_METRICS)}
    assert values["rmse_capped"] == pytest.approx(0.0, abs=1e-6)
    assert values["rmse"] == values["mae"] == pytest.approx(100.0)
    assert values["nasa_score_capped"] == pytest.approx(0.0, abs=1e-6)
    assert values["nasa_score"] == pytest.approx(math.exp(100 / 13) - 1)
