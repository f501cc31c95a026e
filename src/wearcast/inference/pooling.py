"""Several models as one: each forecasts by its own path, what they say is pooled and calibrated as one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearcast.forecast import Forecast, Moments
from wearcast.inference.engine import Engine, last_read
from wearcast.inference.outputs import Output
from wearcast.readings import History, Readings

__all__ = ["PooledEngine"]


@dataclass(frozen=True)
class PooledEngine:
    """The loaded models of an ensemble, which forecast at the same readings.

    Attributes:
        engines: of the models.
        weights: of the models, they sum to 1.
        output: what the pooled numbers mean.
        model: name and version of the ensemble.
    """

    engines: tuple[Engine, ...]
    weights: tuple[float, ...]
    output: Output
    model: str = "unnamed"

    def forecast(self, history: History, *, every: int | None = None, without: Collection[str] = ()) -> Forecast:
        """See `Engine.forecast`; a flag that any of the models raises is raised."""
        arrays = Readings.of(history, dict.fromkeys(column for engine in self.engines for column in engine.columns))
        forecasts = [engine.forecast(arrays, every=every, without=without) for engine in self.engines]
        first, rows = forecasts[0], self.rows(history, every)
        last = last_read(self.output, history, rows)
        pooled = self.output.mix(
            np.stack([self.output.raw_of(forecast, last) for forecast in forecasts]), np.array(self.weights)
        )
        moments = Moments(
            unit=history.unit_at(rows),
            time=history.time_at(rows),
            condition=first.condition,
            flags=tuple(tuple(dict.fromkeys(sum(row, ()))) for row in zip(*(f.flags for f in forecasts), strict=True)),
            model=self.model,
        )
        return self.output.forecast(pooled, moments, last)

    def rows(self, history: History, every: int | None = 1) -> NDArray[np.int64]:
        """Readings at which `forecast` forecasts."""
        return self.engines[0].rows(history, every)
