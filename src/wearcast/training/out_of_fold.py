"""Pooled members as a forecaster of the very units that they learnt from, each reading by models that never saw it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import ModelError
from wearcast.evaluation import AnyEvaluation, Cost, evaluate
from wearcast.fleet import Fleet
from wearcast.forecast import Forecast
from wearcast.schema import UnitId
from wearcast.target import Target
from wearcast.training.ensemble import Pooled, forecast_at, in_order

__all__ = ["OutOfFold", "cost_of", "evaluate_out_of_fold"]


@dataclass(frozen=True)
class HeldOut:
    """What evaluation reads of a record of the training data: that nothing forecast here was trained on."""

    def units_seen(self, fleet: Fleet) -> tuple[UnitId, ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class Description:
    """What evaluation reads of a manifest."""

    name: str
    seed: int
    target: Target
    training: dict[str, float | int | str]
    data: HeldOut = HeldOut()

    def model_dump(self, *, mode: str = "python") -> dict[str, object]:
        """As much as there is."""
        return {"name": self.name, "seed": self.seed, "training": self.training}


@dataclass(frozen=True)
class OutOfFold:
    """Forecasts at rows that the models had not seen, behind the contract of a bundle.

    Attributes:
        pooled: the members.
        shared: rows of the fleet that are forecast at; all models that are compared have not seen them.
    """

    pooled: Pooled
    shared: NDArray[np.int64]

    @property
    def path(self) -> Path:
        """It lies nowhere: its name."""
        return Path(self.pooled.ensemble.name)

    @property
    def manifest(self) -> Description:
        """Its description of itself."""
        ensemble = self.pooled.ensemble
        return Description(ensemble.name, ensemble.seed, ensemble.target.resolved(self.pooled.fleet), self.pooled.facts)

    def rows(self, fleet: Fleet) -> NDArray[np.int64]:
        """The shared rows."""
        return self.shared

    def predict(self, fleet: Fleet, *, every: int | None = None, without: Collection[str] = ()) -> Forecast:
        """A forecast at each of `rows`.

        Raises:
            ModelError: it is asked for anything else, which it does not know.
        """
        if every != 1 or without or fleet is not self.pooled.fleet:
            raise ModelError("forecasts of held-out rows are there for the fleet that was learnt from only")
        pooled = self.pooled
        raw = in_order(pooled.raw, pooled.rows, self.shared)
        return forecast_at(self.shared, raw, pooled.output, fleet, pooled.ensemble.name)


def evaluate_out_of_fold(pooled: Pooled, rows: NDArray[np.int64]) -> AnyEvaluation:
    """Judge pooled members on rows that none of them has seen; nothing but the training units is read."""
    return evaluate(OutOfFold(pooled, rows), pooled.fleet, split="held out")


def cost_of(pooled: Pooled) -> Cost:
    """What the bundle of these members will cost; the latency is the sum over its models."""
    from wearcast.evaluation import measure_cost

    one = pooled.fleet.select(pooled.fleet.units[:1])
    each = [measure_cost(fitted.bundle, one).latency_ms or 0.0 for fitted in pooled.fitted]
    facts = pooled.facts
    return Cost(
        training_seconds=float(facts["seconds"]),
        parameters=int(facts["parameters"]) or None,
        trees=int(facts["trees"]) or None,
        models=len(each),
        latency_ms=round(sum(each), 3),
    )
