"""What is forecast: the target of an experiment, as a discriminated union on `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from wearcast.config import Strict

__all__ = ["RulTarget", "Target"]

Level = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class RulTarget(Strict):
    """Time to end of life, as one distribution on a grid of ages from now."""

    kind: Literal["rul"] = "rul"
    max_rul: Positive = Field(
        125.0,
        description="Cap of the expected RUL, in the fleet's time unit: above it a healthy unit shows no wear.",
    )
    horizons: tuple[Positive, ...] = Field(
        (10.0, 30.0, 60.0), description="Horizons h at which P(failure <= h) is written out."
    )
    quantile_levels: tuple[Level, ...] = Field(
        (0.05, 0.25, 0.5, 0.75, 0.95), description="Levels of the RUL quantiles that are written out."
    )
    bins: int = Field(50, ge=8, le=500, description="Equal bins between now and max_rul.")
    tail_bins: int = Field(10, ge=1, le=100, description="Geometrically growing bins beyond max_rul.")

    @model_validator(mode="after")
    def _ascending(self) -> RulTarget:
        for name in ("horizons", "quantile_levels"):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"{name} must be a non-empty ascending list without repeats, got {list(values)}")
        return self

    def grid(self, longest_rul: float) -> np.ndarray:
        """Edges `(n_edges,)` of the time grid: 0, equal steps to `max_rul`, growing steps to `longest_rul`."""
        even = np.linspace(0.0, self.max_rul, self.bins + 1)
        end = max(longest_rul, self.max_rul * 1.5)
        tail = np.geomspace(self.max_rul, end, self.tail_bins + 1)[1:]
        return np.concatenate([even, tail])


Target = RulTarget  # grows into Annotated[RulTarget | FailureTarget | …, Field(discriminator="kind")]
