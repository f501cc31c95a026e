"""How a forecast behaves along a life: α-λ accuracy, relative accuracy, prognostic horizon.

After Saxena, Celaya, Saha, Saha & Goebel 2010, "Metrics for offline evaluation of prognostic performance",
International Journal of Prognostics and Health Management 1(1). Their point `<r(k)>` is a central tendency of the
forecast distribution: here its median, not capped, against the true RUL, not capped, so that the cap can neither help
nor hurt. A history that ends before the end of life (a truncated test history) is judged on the part that was seen;
what would lie after it is never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearcast.evaluation.metrics import Metric
from wearcast.schema import UnitId

__all__ = [
    "ALPHA",
    "HORIZON_ALPHA",
    "LAMBDA",
    "PROGNOSTIC_METRICS",
    "Trajectory",
    "UnitPrognosis",
    "WorstUnit",
    "judge",
    "worst_unit",
]

Floats = NDArray[np.float64]

ALPHA = 0.2
"""Half-width of the α-λ cone, as a share of the true RUL."""
LAMBDA = 0.5
"""Share of the way from the first forecast to the end of life at which α-λ and relative accuracy are read."""
HORIZON_ALPHA = 0.1
"""Half-width of the band of the prognostic horizon, as a share of the whole life."""

_PAPER = "Saxena et al. 2010, Metrics for offline evaluation of prognostic performance"


@dataclass(frozen=True)
class Trajectory:
    """The forecasts of one unit, in order of time.

    Attributes:
        unit: the unit.
        age: time since the unit's first reading, `(n,)`, ascending.
        predicted: median RUL, `(n,)`.
        truth: true RUL, `(n,)`.
        capped_error: point forecast minus capped label, `(n,)`.
    """

    unit: UnitId
    age: Floats
    predicted: Floats
    truth: Floats
    capped_error: Floats

    @property
    def life(self) -> float:
        """Age at end of life."""
        return float(self.age[-1] + self.truth[-1])


@dataclass(frozen=True)
class UnitPrognosis:
    """What `judge` finds for one unit; None where the history does not reach the place that is asked for.

    Attributes:
        unit: the unit.
        rmse_capped: RMSE over its trajectory, against capped labels.
        alpha_lambda: whether the forecast at λ is within ±α of the true RUL.
        alpha_lambda_trajectory: share of the readings whose forecast is.
        relative_accuracy: `1 − |true − predicted| / true` at λ; negative where the error exceeds the truth.
        relative_accuracy_trajectory: the same, mean over the readings before the end of life (cumulative relative
            accuracy with equal weights).
        horizon_first_hit: time before end of life when the forecast is first within ±α·life; 0 if never.
        horizon_sustained: time before end of life from which it stays there until the last reading; 0 if it does not.
    """

    unit: UnitId
    rmse_capped: float
    alpha_lambda: bool | None
    alpha_lambda_trajectory: float | None
    relative_accuracy: float | None
    relative_accuracy_trajectory: float | None
    horizon_first_hit: float
    horizon_sustained: float


@dataclass(frozen=True)
class WorstUnit:
    """The unit whose trajectory is forecast worst."""

    unit: UnitId
    rmse_capped: float

    def to_dict(self) -> dict[str, Any]:
        """As in `evaluate --json`."""
        return {"unit": self.unit, "rmse_capped": self.rmse_capped}


def judge(
    trajectory: Trajectory, *, alpha: float = ALPHA, at: float = LAMBDA, horizon_alpha: float = HORIZON_ALPHA
) -> UnitPrognosis:
    """The prognostic metrics of one unit.

    Args:
        trajectory: its forecasts.
        alpha: half-width of the α-λ cone, as a share of the true RUL.
        at: λ; the reading nearest to `t_λ = t_first + λ (life − t_first)`.
        horizon_alpha: half-width of the prognostic horizon's band, as a share of the life.
    """
    predicted, truth, age = trajectory.predicted, trajectory.truth, trajectory.age
    alive = truth > 0  # at the end of life a relative error is not defined
    relative = np.abs(truth - predicted)[alive] / truth[alive]
    inside = relative <= alpha
    time = age[0] + at * (trajectory.life - age[0])
    row = int(np.abs(age[alive] - time).argmin()) if alive.any() and time <= age[-1] else None
    hits = np.abs(truth - predicted) <= horizon_alpha * trajectory.life
    misses = np.flatnonzero(~hits)
    stays = int(misses[-1]) + 1 if len(misses) else 0
    return UnitPrognosis(
        unit=trajectory.unit,
        rmse_capped=float(np.sqrt(np.mean(trajectory.capped_error**2))),
        alpha_lambda=None if row is None else bool(inside[row]),
        alpha_lambda_trajectory=float(inside.mean()) if alive.any() else None,
        relative_accuracy=None if row is None else float(1.0 - relative[row]),
        relative_accuracy_trajectory=float(1.0 - relative.mean()) if alive.any() else None,
        horizon_first_hit=float(truth[hits.argmax()]) if hits.any() else 0.0,
        horizon_sustained=float(truth[stays]) if stays < len(truth) else 0.0,
    )


def worst_unit(units: Sequence[UnitPrognosis]) -> WorstUnit | None:
    """The unit with the largest RMSE over its trajectory; None if there is none."""
    if not units:
        return None
    worst = max(units, key=lambda u: u.rmse_capped)
    return WorstUnit(worst.unit, worst.rmse_capped)


def _mean(values: Iterable[float | None]) -> float:
    """Mean of what is known, NaN where nothing is."""
    known = [float(v) for v in values if v is not None]
    return float(np.mean(known)) if known else float("nan")


def _over_units(read: Callable[[UnitPrognosis], float | None]) -> Callable[[Sequence[UnitPrognosis]], float]:
    return lambda units: _mean(read(u) for u in units)


PROGNOSTIC_METRICS: tuple[Metric[Sequence[UnitPrognosis]], ...] = (
    Metric("relative_accuracy", _over_units(lambda u: u.relative_accuracy), "", "higher", _PAPER),
    Metric("alpha_lambda", _over_units(lambda u: u.alpha_lambda), "", "higher", _PAPER),
    Metric("horizon_first_hit", _over_units(lambda u: u.horizon_first_hit), "time", "higher", _PAPER),
    Metric("horizon_sustained", _over_units(lambda u: u.horizon_sustained), "time", "higher", _PAPER),
    Metric("relative_accuracy_trajectory", _over_units(lambda u: u.relative_accuracy_trajectory), "", "higher", _PAPER),
    Metric("alpha_lambda_trajectory", _over_units(lambda u: u.alpha_lambda_trajectory), "", "higher", _PAPER),
)
"""Each a mean over units."""
