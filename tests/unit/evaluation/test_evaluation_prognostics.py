"""The prognostic metrics of Saxena et al. 2010 on lives that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast.evaluation.prognostics import PROGNOSTIC_METRICS, Trajectory, UnitPrognosis, judge, worst_unit


def life(error, *, length: int = 100, seen: int | None = None, unit: str = "a") -> Trajectory:
    """A unit of this life, seen for so many cycles, whose forecast is wrong by `error(truth)`."""
    age = np.arange((length if seen is None else seen) + 1, dtype=float)
    truth = length - age
    wrong = error(truth)
    return Trajectory(unit, age, truth + wrong, truth, wrong)


def test_a_forecast_ten_percent_too_long():
    """RA is 0.9 everywhere, α-λ holds, and ±10 % of the life is never left."""
    found = judge(life(lambda truth: 0.1 * truth))
    assert found.relative_accuracy == pytest.approx(0.9)
    assert found.relative_accuracy_trajectory == pytest.approx(0.9)
    assert found.alpha_lambda is True
    assert found.alpha_lambda_trajectory == 1.0
    assert (found.horizon_first_hit, found.horizon_sustained) == (100.0, 100.0)


def test_relative_accuracy_at_half_life_by_hand():
    """True 50, forecast 80: 1 − 30 / 50 = 0.4; outside ±20 %."""
    found = judge(life(lambda truth: np.full_like(truth, 30.0)))
    assert found.relative_accuracy == pytest.approx(0.4)
    assert found.alpha_lambda is False
    assert found.horizon_first_hit == found.horizon_sustained == 0.0


def test_horizons_differ_when_the_band_is_left_again():
    """In the band from 80 to 61 cycles before the end, out of it, and back for good at 20."""
    found = judge(life(lambda truth: np.where((truth > 80) | ((truth <= 60) & (truth > 20)), 25.0, 0.0)))
    assert found.horizon_first_hit == 80.0
    assert found.horizon_sustained == 20.0


def test_a_truncated_history_is_not_judged_where_it_was_not_seen():
    """Half life lies beyond the last reading: no α-λ and no RA there, but the trajectory counts."""
    found = judge(life(lambda truth: 0.0 * truth, seen=30))
    assert found.alpha_lambda is None
    assert found.relative_accuracy is None
    assert found.alpha_lambda_trajectory == 1.0
    assert found.horizon_sustained == 100.0


def test_a_unit_first_seen_at_its_end():
    """With no reading before the end of life there is no relative error."""
    found = judge(Trajectory("a", np.zeros(1), np.ones(1), np.zeros(1), np.ones(1)))
    assert found.relative_accuracy is None
    assert found.alpha_lambda_trajectory is None
    assert found.rmse_capped == 1.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), sd=st.floats(0, 40))
def test_sustained_never_exceeds_first_hit(seed, sd):
    """Whoever stays in the band has entered it; both lie within the life."""
    rng = np.random.default_rng(seed)
    found = judge(life(lambda truth: rng.normal(0, sd, len(truth))))
    assert 0 <= found.horizon_sustained <= found.horizon_first_hit <= 100
    assert found.alpha_lambda_trajectory is not None
    assert found.relative_accuracy is not None
    assert 0 <= found.alpha_lambda_trajectory <= 1
    assert found.relative_accuracy <= 1


def test_means_over_units_leave_out_what_was_not_seen():
    """Two units with α-λ, one without: the mean is over two; over none it is NaN."""
    good, bad = judge(life(lambda t: 0 * t)), judge(life(lambda t: 0 * t + 30))
    short = judge(life(lambda t: 0 * t, seen=10))
    named = {m.name: m for m in PROGNOSTIC_METRICS}
    assert named["alpha_lambda"]([good, bad, short]) == 0.5
    assert named["horizon_first_hit"]([good, bad]) == 50.0
    assert math.isnan(named["relative_accuracy"]([short]))


def test_worst_unit():
    """The largest RMSE over the trajectory; none among no units."""
    units: list[UnitPrognosis] = [judge(life(lambda t, k=k: 0 * t + k, unit=f"u{k}")) for k in (3.0, 9.0, 5.0)]
    worst = worst_unit(units)
    assert worst is not None
    assert worst.to_dict() == {"unit": "u9.0", "rmse_capped": 9.0}
    assert worst_unit([]) is None
