"""What a model costs: how long it was trained, how large it is, how long a forecast takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from wearcast.evaluation.protocol import Forecaster
from wearcast.fleet import Fleet

__all__ = ["Cost", "measure_cost"]

TIMED = 15


@dataclass(frozen=True)
class Cost:
    """What one bundle costs; None where it is not known.

    Attributes:
        training_seconds: as the manifest says.
        parameters: of networks.
        trees: of boosted trees.
        models: how many graphs answer together.
        latency_ms: of a forecast of one unit at its last reading, in this process, the median of several.
    """

    training_seconds: float | None
    parameters: int | None
    trees: int | None
    models: int
    latency_ms: float | None

    def to_dict(self) -> dict[str, Any]:
        """As in `compare --json`."""
        return dict(self.__dict__)

    @property
    def size(self) -> str:
        """Size in words."""
        parts = [] if self.models == 1 else [f"{self.models} models"]
        if self.parameters:
            parts.append(f"{self.parameters:,} parameters")
        if self.trees:
            parts.append(f"{self.trees:,} trees")
        return ", ".join(parts) or "—"


def measure_cost(bundle: Forecaster, fleet: Fleet) -> Cost:
    """Read the manifest, and time forecasts of one unit: one to warm up, then the median of `TIMED`."""
    one = fleet.select(fleet.units[:1])
    bundle.predict(one)
    took = []
    for _ in range(TIMED):
        began = time.perf_counter()
        bundle.predict(one)
        took.append(time.perf_counter() - began)
    facts = bundle.manifest.training

    def number(key: str) -> float | None:
        value = facts.get(key)
        return float(value) if isinstance(value, int | float) and value else None

    parameters, trees = number("parameters"), number("trees")
    return Cost(
        training_seconds=number("seconds"),
        parameters=None if parameters is None else int(parameters),
        trees=None if trees is None else int(trees),
        models=int(number("models") or 1),
        latency_ms=round(1000 * float(np.median(took)), 3),
    )
