"""What the numbers that a graph gives mean, and how they were calibrated: a discriminated union on `kind`.

An output is stored in the bundle. `forecast` turns raw numbers into a forecast, calibrated; it is the only place that
does, in training, evaluation and service alike. For ensembles there is the way back, `raw_of`, and `mix`, which pools
the raw numbers of several models: survival curves and class probabilities by the linear opinion pool (Stone 1961),
quantiles by their mean (Vincent 1912).
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wearcast.config import Strict
from wearcast.distribution import Recalibration, TimeToEvent
from wearcast.errors import ModelError
from wearcast.forecast import ClassForecast, Forecast, Moments, RulForecast, SensorForecast
from wearcast.target import RulTarget

__all__ = ["Output", "ProbabilityOutput", "QuantileOutput", "SurvivalOutput"]

Knots = tuple[float, ...]

LEAST_PROBABILITY = 1e-7
"""So that no model of an ensemble can rule a class out."""


class SurvivalOutput(Strict):
    """Survival at the edges of a grid, `(n, n_edges)`."""

    kind: Literal["survival"] = "survival"
    target: RulTarget
    grid: Knots = Field(description="Edges of the grid, in the fleet's time unit.")
    raw: Knots = Field((0.0, 1.0), description="Knots of the model's own probability.")
    calibrated: Knots = Field((0.0, 1.0), description="The probability found on held-out units at each knot.")

    def distribution(self, raw: NDArray[Any]) -> TimeToEvent:
        """The calibrated distributions."""
        return self._recalibration.apply(TimeToEvent(self._edges, raw))

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        return np.array(self.grid)

    @cached_property
    def _recalibration(self) -> Recalibration:
        return Recalibration(self.raw, self.calibrated)

    def forecast(self, raw: NDArray[Any], moments: Moments, last: NDArray[np.float32] | None = None) -> Forecast:
        """RUL of each row."""
        return RulForecast(
            **_fields(moments),
            distribution=self.distribution(raw),
            max_rul=self.target.max_rul,
            horizons=self.target.horizons,
            quantile_levels=self.target.quantile_levels,
        )

    def raw_of(self, forecast: Forecast, last: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """Survival of a forecast at this grid's edges, `(n, n_edges)`."""
        assert isinstance(forecast, RulForecast)  # noqa: S101 - a member of one target
        return forecast.distribution.on(np.array(self.grid)).survival

    def mix(self, raws: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """One raw number out of `(n_models, …)`."""
        return np.tensordot(weights, raws, axes=1)


class ProbabilityOutput(Strict):
    """Class scores (logits), `(n, k)`."""

    kind: Literal["probability"] = "probability"
    classes: tuple[str, ...]
    slope: float = Field(1.0, gt=0, description="Platt scaling: probability = softmax(slope · score + shift).")
    shift: Knots = Field(description="One a class.")
    threshold: float | None = Field(None, description="Alarm threshold of the second class, None without alarms.")

    def probability(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated probabilities, `(n, k)` (Platt 1999; Guo et al. 2017 for several classes)."""
        score = self.slope * np.asarray(raw, dtype=np.float64) + np.array(self.shift)
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))

    def forecast(self, raw: NDArray[Any], moments: Moments, last: NDArray[np.float32] | None = None) -> Forecast:
        """Class probabilities of each row."""
        return ClassForecast(
            **_fields(moments), classes=self.classes, probability=self.probability(raw), threshold=self.threshold
        )

    def raw_of(self, forecast: Forecast, last: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """Log-probabilities of a forecast, `(n, k)`."""
        assert isinstance(forecast, ClassForecast)  # noqa: S101 - a member of one target
        return np.log(np.maximum(forecast.probability, LEAST_PROBABILITY))

    def mix(self, raws: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log of the mean probability, of log-probabilities `(n_models, n, k)`."""
        return np.log(np.tensordot(weights, np.exp(raws), axes=1))


class QuantileOutput(Strict):
    """Scaled quantiles of the next values of columns, `(n, steps, k, n_levels)`."""

    kind: Literal["quantiles"] = "quantiles"
    columns: tuple[str, ...]
    quantile_levels: Knots
    mean: Knots = Field(description="Of each column in training; where `relative`, of a column without a reading yet.")
    sd: Knots = Field(description="Of each column in training, or of its change where `relative`.")
    relative: bool = Field(description="Whether the numbers are changes from the last reading.")
    spread: tuple[Knots, ...] = Field(
        (), description="Conformal factor of each level's distance from the median, by step; empty: none."
    )

    def quantiles(self, raw: NDArray[Any], last: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Quantiles in the columns' own units.

        Args:
            raw: `(n, steps, k, n_levels)`.
            last: last known value of each column, `(n, k)`; read if `relative`. Where it is NaN (no reading yet), the
                mean in training stands for it.

        Raises:
            ModelError: `last` is not given and the numbers are changes from it.
        """
        if self.relative and last is None:
            raise ModelError("changes from the last reading say nothing without that reading")
        scaled = np.asarray(raw, dtype=np.float32)
        if self.spread:
            centre = scaled[..., [self.quantile_levels.index(0.5)]]
            scaled = centre + (scaled - centre) * np.array(self.spread, dtype=np.float32)[:, None, :]
        base, sd = self._scale(last)
        # Monotone rearrangement (Chernozhukov, Fernández-Val & Galichon 2010): calibrated levels could cross.
        values: NDArray[np.float32] = np.sort(base + scaled * sd, axis=3)
        return values

    def forecast(self, raw: NDArray[Any], moments: Moments, last: NDArray[np.float32] | None = None) -> Forecast:
        """Future values of each row."""
        return SensorForecast(
            **_fields(moments),
            names=self.columns,
            quantile_levels=self.quantile_levels,
            quantiles=self.quantiles(raw, last),
        )

    def raw_of(self, forecast: Forecast, last: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Scaled quantiles of a forecast, `(n, steps, k, n_levels)`."""
        assert isinstance(forecast, SensorForecast)  # noqa: S101 - a member of one target
        base, sd = self._scale(last)
        return np.asarray((forecast.quantiles - base) / sd, dtype=np.float32)

    def mix(self, raws: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of the quantiles of `(n_models, …)`."""
        return np.tensordot(weights, raws, axes=1)

    def _scale(self, last: NDArray[np.float32] | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the numbers count from and in, both ready for `(n, steps, k, n_levels)`."""
        mean, sd = (np.array(numbers, dtype=np.float32)[:, None] for numbers in (self.mean, self.sd))
        if not self.relative or last is None:
            return mean, sd
        return np.where(np.isnan(last), mean[:, 0], last)[:, None, :, None], sd


def _fields(moments: Moments) -> dict[str, Any]:
    names = ("unit", "time", "condition", "flags", "model")
    return {name: getattr(moments, name) for name in names}


Output = Annotated[SurvivalOutput | ProbabilityOutput | QuantileOutput, Field(discriminator="kind")]
