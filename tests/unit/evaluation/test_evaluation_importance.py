"""Occlusion finds what was put in."""

from __future__ import annotations

import json

import pytest
from tests.fixtures.forecasters import Oracle, make_judged_fleet

from wearcast.errors import UsageError
from wearcast.evaluation import Importance, occlusion_importance


def found(sensors=None) -> tuple[Importance, Oracle]:
    """An oracle whose sensor s0 shortens the life by 15 and whose s2 lengthens it by 4."""
    fleet, lives = make_judged_fleet(units=5, life=80)
    oracle = Oracle(lives, sd=0.01, claimed=3.0, effects={"s0": 15.0, "s2": -4.0})
    return occlusion_importance(oracle, fleet, sensors), oracle


def test_effects_are_found_and_ranked():
    """Mean absolute change of the expected RUL, most important first; an unused sensor has none."""
    importance, oracle = found()
    ranked = dict(importance.ranked)
    assert [sensor for sensor, _ in importance.ranked] == ["s0", "s2", "s1"]
    assert ranked["s0"] == pytest.approx(15.0, abs=1.0)
    assert ranked["s2"] == pytest.approx(4.0, abs=1.0)
    assert ranked["s1"] == 0.0
    assert oracle.calls == [(), ("s0",), ("s1",), ("s2",)]


def test_drivers_shorten_the_life():
    """Only what shortens it, with a negative effect."""
    importance, _ = found()
    (driver,) = importance.drivers(importance.units[0])
    assert driver.sensor == "s0"
    assert driver.effect == pytest.approx(-15.0, abs=1.0)


def test_chosen_sensors_only():
    """Fewer passes when asked for fewer."""
    importance, _ = found(["s2"])
    assert importance.sensors == ("s2",)
    assert json.loads(json.dumps(importance.to_dict()))["sensors"][0]["sensor"] == "s2"


def test_wrong_calls_are_refused():
    """An unknown sensor, no sensor, an unknown unit."""
    with pytest.raises(UsageError, match="no sensor 's9'"):
        found(["s9"])
    with pytest.raises(UsageError, match="no sensor to hide"):
        found([])
    with pytest.raises(UsageError, match="was not assessed"):
        found()[0].drivers("nobody")
