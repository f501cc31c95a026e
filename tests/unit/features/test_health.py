"""The health index against plain loops, and alarms that latch and clear."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from wearcast import Fleet
from wearcast.errors import FleetError, UsageError
from wearcast.features.health import AlarmThresholds, HealthIndex, alarm_states, health_index


def _fleet(*units: list[float] | np.ndarray) -> Fleet:
    parts = [
        pl.DataFrame({"unit": [f"pump {i}"] * len(v), "t": np.arange(len(v)), "vibration": np.asarray(v, float)})
        for i, v in enumerate(units)
    ]
    return Fleet.from_frame(pl.concat(parts), unit="unit", cycle="t", sensors=["vibration"])


def _health(values: list[float | None], unit: str = "a") -> pl.DataFrame:
    return pl.DataFrame({"unit": [unit] * len(values), "health": values}, schema_overrides={"health": pl.Float64})


@pytest.mark.parametrize("statistic", ["rms", "quantile"])
def test_the_level_is_that_of_a_plain_loop(statistic):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=50), rng.normal(size=30)]
    values[0][7] = np.nan
    table = health_index(_fleet(*values), HealthIndex(window=8, statistic=statistic, baseline_rows=10))
    expected = []
    for channel in values:
        for i in range(len(channel)):
            last = np.abs(channel[max(0, i - 7) : i + 1].astype(np.float32).astype(float))
            last = last[np.isfinite(last)]
            expected.append(np.sqrt(np.mean(last**2)) if statistic == "rms" else np.quantile(last, 0.9))
    np.testing.assert_allclose(table["level"].to_numpy(), expected, rtol=1e-9)
    ratio = expected[0] / np.median(expected[:10])
    assert table["ratio"][0] == pytest.approx(ratio)
    assert table["health"][0] == pytest.approx(min(1, 1 - np.log(ratio) / np.log(6.3)))


def test_decibels_are_turned_back_into_amplitudes():
    """20 dB more is ten times the amplitude."""
    index = HealthIndex(scale="decibel", window=1, baseline_rows=2, limit=100)
    assert health_index(_fleet([3, 3, 23, 43, 63]), index)["health"].to_list() == pytest.approx([1, 1, 0.5, 0, 0])


def test_each_unit_is_held_to_its_own_start():
    table = health_index(_fleet([1, 1, 2], [10, 10, 20]), HealthIndex(window=1, baseline_rows=2))
    assert table["ratio"].to_list() == pytest.approx([1, 1, 2, 1, 1, 2])


def test_a_fitted_index_holds_others_to_the_level_it_saw():
    index = HealthIndex(window=1, baseline_rows=2).fitted(_fleet([1, 1, 9], [3, 3, 9], [2, 2, 9]))
    assert index.baseline_level == 2
    assert health_index(_fleet([4, 4]), index)["ratio"].to_list() == [2, 2]


def test_an_edit_of_the_future_changes_nothing_before_it():
    values = np.random.default_rng(1).uniform(1, 2, 60)
    index = HealthIndex(window=5, baseline_rows=10)
    before = health_index(_fleet(values), index)
    values[40:] = 50
    assert health_index(_fleet(values), index)[:40].equals(before[:40])


def test_a_window_without_readings_has_no_health():
    table = health_index(_fleet([1, 1, np.nan, 1]), HealthIndex(window=1, baseline_rows=2))
    assert table["health"].to_list() == [1, 1, None, 1]


@pytest.mark.parametrize("start", [[0.0, 0.0, 1.0], [np.nan, np.nan, 1.0]])
def test_a_unit_without_a_healthy_start_is_named(start):
    with pytest.raises(FleetError, match="unit 'pump 1' does not vibrate in its first 2 readings"):
        health_index(_fleet([1, 1, 1], start), HealthIndex(window=1, baseline_rows=2))


def test_a_fleet_without_a_healthy_start_cannot_be_fitted():
    with pytest.raises(FleetError, match="there is no healthy level"):
        HealthIndex(window=1, baseline_rows=2).fitted(_fleet([0, 0, 1]))


def test_an_unknown_column_is_refused():
    with pytest.raises(UsageError, match="there is no column 'noise'"):
        health_index(_fleet([1]), HealthIndex(column="noise"))


def test_states_latch_until_health_is_clearly_back():
    health = _health([0.9, 0.5, 0.52, 0.54, 0.56, 0.2, 0.24, 0.26, 0.56])
    states = alarm_states(health, AlarmThresholds(warn=0.5, alarm=0.2, hysteresis=0.05))["state"].to_list()
    assert states == ["healthy", "warn", "warn", "warn", "healthy", "alarm", "alarm", "warn", "healthy"]


def test_one_reading_raises_nothing_when_several_are_asked_for():
    health = _health([0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9])
    states = alarm_states(health, AlarmThresholds(hold=3))["state"].to_list()
    assert states == ["healthy"] * 5 + ["alarm", "healthy"]


def test_a_reading_without_health_leaves_the_state():
    states = alarm_states(_health([None, 0.1, None, 0.9]))["state"].to_list()
    assert states == ["healthy", "alarm", "alarm", "healthy"]


def test_states_never_cross_units():
    health = pl.concat([_health([0.9, 0.1], "a"), _health([0.52, 0.1], "b")])
    assert alarm_states(health, AlarmThresholds(hold=2))["state"].to_list() == ["healthy"] * 4
    assert alarm_states(health)["state"].to_list() == ["healthy", "alarm", "healthy", "alarm"]


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 4), st.floats(0, 0.3))
def test_states_are_those_of_a_plain_loop(values, hold, hysteresis):
    thresholds = AlarmThresholds(warn=0.5, alarm=0.25, hysteresis=hysteresis, hold=hold)
    expected = []
    on, runs = {0.5: False, 0.25: False}, {0.5: 0, 0.25: 0}
    for value in values:
        for level in on:
            runs[level] = runs[level] + 1 if value is not None and value <= level else 0
            if runs[level] >= hold:
                on[level] = True
            elif value is not None and value > level + hysteresis:
                on[level] = False
        expected.append("alarm" if on[0.25] else "warn" if on[0.5] else "healthy")
    assert alarm_states(_health(values), thresholds)["state"].to_list() == expected


def test_thresholds_are_ordered():
    with pytest.raises(ValidationError, match=r"alarm \(0.6\) is above warn \(0.5\)"):
        AlarmThresholds(alarm=0.6)
