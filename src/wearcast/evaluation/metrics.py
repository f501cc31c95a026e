"""The metrics of a RUL forecast, each one frozen value: name, function, unit, direction, paper.

Two labels are scored, always side by side. The *capped* label is `min(RUL, max_rul)`, the convention of the C-MAPSS
literature, and fits the point forecast `E[min(T, max_rul)]`. The *raw* label is the true RUL; against it the same point
forecast cannot be right for a healthy unit, which is the honest price of the cap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from wearcast.distribution import TimeToEvent

__all__ = [
    "COVERAGE",
    "LAST_METRICS",
    "WINDOW_METRICS",
    "CalibrationCurve",
    "Direction",
    "Metric",
    "Scored",
    "calibration_curve",
    "covered",
    "held_out_times",
    "interval_width",
    "mae",
    "nasa_score",
    "rmse",
]

Floats = NDArray[np.float64]
Direction = Literal["lower", "higher", "nominal"]
Subject = TypeVar("Subject")

COVERAGE = 0.9
"""Level of the central interval whose coverage and width are reported."""


@dataclass(frozen=True)
class Metric(Generic[Subject]):
    """One way to judge a forecast.

    Attributes:
        name: key in `evaluate --json`.
        function: what computes it.
        unit: `time` for the fleet's time unit, else the unit itself; empty for a share.
        direction: whether less or more is better, or how near it is to `nominal`.
        paper: where it is defined.
        nominal: the value to be near to, if that is the direction.
    """

    name: str
    function: Callable[[Subject], float]
    unit: str
    direction: Direction
    paper: str
    nominal: float | None = None

    def __call__(self, subject: Subject) -> float:
        """The value for these forecasts."""
        return float(self.function(subject))


@dataclass(frozen=True)
class Scored:
    """`n` forecasts whose truth is known.

    Attributes:
        rul: point forecast `E[min(T, max_rul)]`, `(n,)`.
        truth: true RUL, not capped, `(n,)`.
        distribution: the whole forecast, `n` rows.
        max_rul: the cap.
    """

    rul: Floats
    truth: Floats
    distribution: TimeToEvent
    max_rul: float

    @cached_property
    def capped(self) -> Floats:
        """The capped label `min(truth, max_rul)`, `(n,)`."""
        return np.minimum(self.truth, self.max_rul)

    def __len__(self) -> int:
        return len(self.truth)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Scored:
        """These rows only."""
        return Scored(self.rul[rows], self.truth[rows], self.distribution[rows], self.max_rul)


def rmse(predicted: Floats, true: Floats) -> float:
    """Root mean squared error, pooled over all rows and never averaged over batches.

    >>> rmse(np.array([1.0, 5.0]), np.array([1.0, 1.0]))
    2.8284271247461903
    """
    return float(np.sqrt(np.mean((predicted - true) ** 2)))


def mae(predicted: Floats, true: Floats) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(predicted - true)))


def nasa_score(predicted: Floats, true: Floats) -> float:
    """Asymmetric score of the PHM 2008 challenge (Saxena et al. 2008), a sum over units, in cycles.

    `d = predicted − true`; `exp(−d / 13) − 1` if early (`d < 0`), `exp(d / 10) − 1` if late: late costs more.

    >>> [round(nasa_score(np.array([predicted]), np.array([100.0])), 4) for predicted in (90.0, 110.0)]
    [1.158, 1.7183]
    """
    d = predicted - true
    # Beyond e^650 the sum would leave float64; such a score says "absurd" either way.
    return float(np.expm1(np.minimum(np.where(d < 0, -d / 13.0, d / 10.0), 650.0)).sum())


def _ends(distribution: TimeToEvent, level: float) -> tuple[Floats, Floats]:
    """Ends of the central interval; the upper end is infinite where the grid does not reach it."""
    tail = (1 - level) / 2
    upper = distribution.quantile(1 - tail)
    return distribution.quantile(tail), np.where(distribution.survival[:, -1] > tail, np.inf, upper)


def covered(scored: Scored, level: float = COVERAGE, *, capped: bool = False) -> NDArray[np.bool_]:
    """Whether the central interval of each forecast holds the truth, `(n,)`.

    Raw: `q_lower <= truth <= q_upper`, with quantiles that are not capped; an upper quantile beyond the last edge of
    the grid is unbounded. Capped: the same for `min(truth, cap)`, `min(q_lower, cap)` and `min(q_upper, cap)`.
    """
    lower, upper = _ends(scored.distribution, level)
    if capped:
        lower, upper = np.minimum(lower, scored.max_rul), np.minimum(upper, scored.max_rul)
    truth = scored.capped if capped else scored.truth
    return np.asarray((lower <= truth) & (truth <= upper))


def interval_width(scored: Scored, level: float = COVERAGE, *, capped: bool = False) -> Floats:
    """Width of the central interval of each forecast, `(n,)`; an unbounded end counts to the last edge of the grid."""
    lower, upper = _ends(scored.distribution, level)
    end = scored.max_rul if capped else float(scored.distribution.grid[-1])
    return np.minimum(upper, end) - np.minimum(lower, end)


@dataclass(frozen=True)
class CalibrationCurve:
    """Quantile reliability: of a calibrated forecast, a share `level` of the truths lies below the quantile `level`.

    Attributes:
        levels: nominal levels, `(k,)`.
        observed: share of truths at or below that quantile, `(k,)`.
        n: number of forecasts.
    """

    levels: tuple[float, ...]
    observed: tuple[float, ...]
    n: int

    @property
    def error(self) -> float:
        """Mean absolute distance from the diagonal."""
        return float(np.mean(np.abs(np.subtract(self.observed, self.levels))))


def calibration_curve(scored: Scored, levels: tuple[float, ...] | None = None) -> CalibrationCurve:
    """Observed against nominal level of each quantile (Gneiting, Balabdaoui & Raftery 2007), against raw labels.

    It is the empirical distribution of the probability integral transform `F(truth)`. A truth beyond the last edge of
    the grid lies above each quantile that the grid reaches and counts below those that it does not.
    """
    levels = levels or tuple(float(level) for level in np.round(np.arange(0.05, 1.0, 0.05), 2))
    survival = scored.distribution.survival_at(scored.truth)
    survival = np.where(scored.truth > scored.distribution.grid[-1], 0.0, survival)
    transform = 1.0 - survival
    beyond = scored.distribution.survival[:, -1]
    observed = [float(np.mean((transform <= level) | (beyond > 1 - level))) for level in levels]
    return CalibrationCurve(levels, tuple(observed), len(scored))


_SAXENA = "Saxena et al. 2008, Damage propagation modeling for aircraft engine run-to-failure simulation"
_GNEITING = "Gneiting & Raftery 2007, Strictly proper scoring rules, prediction, and estimation"
_HEIMES = "Heimes 2008, Recurrent neural networks for remaining useful life estimation (labels capped)"
_CALIBRATION = "Gneiting, Balabdaoui & Raftery 2007, Probabilistic forecasts, calibration and sharpness"

WINDOW_METRICS: tuple[Metric[Scored], ...] = (
    Metric("rmse_capped", lambda s: rmse(s.rul, s.capped), "time", "lower", _HEIMES),
    Metric("rmse", lambda s: rmse(s.rul, s.truth), "time", "lower", _SAXENA),
    Metric("mae_capped", lambda s: mae(s.rul, s.capped), "time", "lower", _HEIMES),
    Metric("mae", lambda s: mae(s.rul, s.truth), "time", "lower", _SAXENA),
    Metric("coverage_90", lambda s: float(covered(s).mean()), "", "nominal", _CALIBRATION, COVERAGE),
    Metric("width_90", lambda s: float(interval_width(s).mean()), "time", "lower", _CALIBRATION),
    Metric("crps", lambda s: float(s.distribution.crps(s.truth).mean()), "time", "lower", _GNEITING),
    Metric(
        "coverage_90_capped", lambda s: float(covered(s, capped=True).mean()), "", "nominal", _CALIBRATION, COVERAGE
    ),
    Metric("width_90_capped", lambda s: float(interval_width(s, capped=True).mean()), "time", "lower", _CALIBRATION),
    Metric("crps_capped", lambda s: float(s.distribution.crps(s.truth, s.max_rul).mean()), "time", "lower", _GNEITING),
    Metric("calibration_error", lambda s: calibration_curve(s).error, "", "lower", _CALIBRATION),
)
"""Pooled over the windows that the protocol scores."""

LAST_METRICS: tuple[Metric[Scored], ...] = (
    Metric("nasa_score_capped", lambda s: nasa_score(s.rul, s.capped), "score", "lower", _SAXENA),
    Metric("nasa_score", lambda s: nasa_score(s.rul, s.truth), "score", "lower", _SAXENA),
)
"""Summed over the last cycle of each unit, whatever the protocol."""


def held_out_times(
    distribution: TimeToEvent, duration: Floats, known: NDArray[np.bool_], max_rul: float
) -> dict[str, float]:
    """Error and coverage over held-out windows, pooled; empty if no truth is known.

    Args:
        distribution: of `n` windows.
        duration: time to the event, or so far without it, `(n,)`.
        known: whether the event was seen, `(n,)`.
        max_rul: cap of the labels.
    """
    if not known.any():
        return {}
    seen = distribution[known]
    scored = Scored(seen.expected(max_rul), duration[known], seen, max_rul)
    return {
        "validation_rmse_capped": rmse(scored.rul, scored.capped),
        "validation_crps": float(seen.crps(scored.truth).mean()),
        "validation_coverage_90": float(covered(scored).mean()),
    }
