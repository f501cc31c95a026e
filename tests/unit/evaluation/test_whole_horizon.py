"""Of a model of whole windows, forecasts are judged where all steps came."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.bundle import DataRecord, ModelManifest
from wearcast.evaluation.forecasting import evaluate_values
from wearcast.forecast import SensorForecast
from wearcast.target import SensorTarget
from wearcast.windows import WindowSpec

STEPS = 3


def manifest(*, whole: bool) -> ModelManifest:
    """As much of a manifest as evaluation reads."""
    fields: dict[str, Any] = {
        "name": "rising",
        "seed": 0,
        "target": SensorTarget(columns=("s0",)),
        "window": WindowSpec(context_length=4, prediction_length=STEPS, whole=whole),
        "data": DataRecord(name="none", fingerprint="none", train_units=(), validation_units=(), train_rows=0),
    }
    return ModelManifest.model_construct(**fields)


@dataclass(frozen=True)
class Rising:
    """Forecasts of an error of 1, 2, 3 by step: how steps are weighed shows in the mean."""

    manifest: ModelManifest
    path: Path = Path("rising")

    def rows(self, fleet: Fleet) -> NDArray[np.int64]:
        """Every reading."""
        return np.arange(fleet.n_rows)

    def predict(self, fleet: Fleet, *, every: int | None = None, without: object = ()) -> SensorForecast:
        """At each reading."""
        value, _ = SensorTarget(columns=("s0",)).labels(fleet, STEPS).at(np.arange(fleet.n_rows))
        wrong = value + np.arange(1, STEPS + 1, dtype=np.float32)[:, None]
        return SensorForecast(
            unit=fleet.frame["unit"],
            time=fleet.frame["time"],
            condition=np.zeros(fleet.n_rows, dtype=np.int16),
            flags=((),) * fleet.n_rows,
            model="rising",
            names=("s0",),
            quantile_levels=(0.5,),
            quantiles=wrong[..., None],
        )


@pytest.mark.parametrize("whole", [True, False])
def test_forecasts_beyond_the_last_reading_are_not_judged_in_part(whole: bool) -> None:
    """Of n readings n - 3 have three after them; n - 1 have one, and what came counts unless whole windows do."""
    fleet = make_fleet(units=2, cycles=10)
    lengths = np.diff(fleet.offsets)
    found = evaluate_values(Rising(manifest(whole=whole)), fleet, split="test", seed=None)
    counts = [sum(lengths - (STEPS if whole else step)) for step in (1, 2, 3)]
    assert found.n_scored == counts[0]
    assert found.metrics["mae"] == pytest.approx(np.average([1, 2, 3], weights=counts), rel=1e-5)
