"""Which sensors a forecast rests on, found by hiding each in turn; works for any model.

Occlusion after Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks": the bundle forecasts
again with one sensor's channels set to what a healthy unit shows (zero after scaling), and the change of the expected
RUL at the last reading says what that sensor did. Sensors that carry the same message share it: hiding one alone
understates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import ModelError, UsageError
from wearcast.evaluation.protocol import Forecaster
from wearcast.fleet import Fleet
from wearcast.forecast import RulForecast
from wearcast.schema import UnitId

__all__ = ["Driver", "Importance", "occlusion_importance"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Driver:
    """What one sensor does to one unit's forecast.

    Attributes:
        sensor: the sensor.
        effect: expected RUL with it minus without it, in the fleet's time unit; negative where it shortens the life.
    """

    sensor: str
    effect: float


@dataclass(frozen=True)
class Importance:
    """What each sensor does to the forecast at the last reading of each unit.

    Attributes:
        sensors: the sensors, `k`.
        units: the units, `n`.
        effects: expected RUL with the sensor minus without it, `(n, k)`.
    """

    sensors: tuple[str, ...]
    units: tuple[UnitId, ...]
    effects: Floats

    @property
    def ranked(self) -> tuple[tuple[str, float], ...]:
        """Each sensor with the mean absolute change of RUL without it, most important first."""
        mean = np.abs(self.effects).mean(axis=0)
        order = np.argsort(-mean, kind="stable")
        return tuple((self.sensors[i], float(mean[i])) for i in order)

    def drivers(self, unit: UnitId, *, top: int = 3) -> tuple[Driver, ...]:
        """The sensors that shorten this unit's forecast life most, at most `top`; none if none does.

        Raises:
            UsageError: the unit was not assessed.
        """
        if unit not in self.units:
            raise UsageError(f"unit {unit!r} was not assessed")
        effects = self.effects[self.units.index(unit)]
        order = np.argsort(effects, kind="stable")[:top]
        return tuple(Driver(self.sensors[i], float(effects[i])) for i in order if effects[i] < 0)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "method": "occlusion",
            "sensors": [{"sensor": sensor, "mean_abs_change": change} for sensor, change in self.ranked],
            "n_units": len(self.units),
        }


def occlusion_importance(bundle: Forecaster, fleet: Fleet, sensors: Sequence[str] | None = None) -> Importance:
    """Forecast the last reading of each unit without each sensor in turn.

    Args:
        bundle: what forecasts.
        fleet: the units.
        sensors: which to hide; all of the fleet's unless given.

    Raises:
        UsageError: a sensor is not in the fleet, or there is none.
    """
    chosen = tuple(fleet.schema.sensors if sensors is None else sensors)
    unknown = [sensor for sensor in chosen if sensor not in fleet.schema.sensors]
    if unknown or not chosen:
        what = f"the fleet has no sensor {unknown[0]!r}" if unknown else "there is no sensor to hide"
        raise UsageError(what, where=fleet.name)
    whole = _forecast(bundle, fleet)
    effects = np.empty((len(whole), len(chosen)))
    for k, sensor in enumerate(chosen):
        effects[:, k] = whole.rul - _forecast(bundle, fleet, sensor).rul
    return Importance(chosen, tuple(whole.unit.to_list()), effects)


def _forecast(bundle: Forecaster, fleet: Fleet, *without: str) -> RulForecast:
    forecast = bundle.predict(fleet, every=None, without=without)
    if not isinstance(forecast, RulForecast):
        raise ModelError("the bundle does not forecast a remaining useful life", where=str(bundle.path))
    return forecast
