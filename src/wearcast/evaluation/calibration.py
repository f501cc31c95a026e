"""Conformal recalibration on held-out units: the intervals become as wide as they have to be.

After Qi, Yu & Greiner 2024, "Conformalized survival distributions" (ICML): the conformity score of a held-out window
is where its true time falls in its own distribution. Here the score is the distance from the median, `|2 F(T) − 1|`,
so the recalibration widens or narrows every distribution about its median and never moves the median: with a dozen
held-out units a shift would be mostly noise. Censored windows enter by the Kaplan-Meier estimator of the score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearcast.distribution import Recalibration, TimeToEvent

__all__ = ["calibrate_spread"]

LEVELS = np.linspace(0.0, 1.0, 41)


def calibrate_spread(
    distribution: TimeToEvent, duration: NDArray[np.float64], known: NDArray[np.bool_], unit: NDArray[np.int32]
) -> Recalibration:
    """The map of probabilities under which central intervals of held-out windows hold what they promise.

    Args:
        distribution: of `n` windows, uncalibrated.
        duration: time to the event, or so far without it, `(n,)`.
        known: whether the event was seen, `(n,)`.
        unit: unit of each window, `(n,)`; every unit has the same weight.
    """
    place = distribution.failure_probability(duration)
    seen = known & (duration < distribution.grid[-1])
    # A censored window is known to lie above its place: a bound on the score once that is above the median.
    score = np.where(seen, np.abs(2 * place - 1), np.maximum(2 * place - 1, 0.0))
    _, index, count = np.unique(unit, return_inverse=True, return_counts=True)
    # Knots at even calibrated levels, so that they crowd where the scores do: in the tails of a timid model.
    knots = _kaplan_meier_quantiles(score, seen, 1.0 / count[index], LEVELS)
    raw = np.concatenate([0.5 - knots[::-1] / 2, 0.5 + knots[1:] / 2])
    calibrated = np.concatenate([0.5 - LEVELS[::-1] / 2, 0.5 + LEVELS[1:] / 2])
    return Recalibration(tuple(raw.tolist()), tuple(calibrated.tolist()))


def _kaplan_meier_quantiles(
    score: NDArray[np.float64], seen: NDArray[np.bool_], weight: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    order = np.argsort(score, kind="stable")
    score, seen, weight = score[order], seen[order], weight[order]
    at_risk = weight[::-1].cumsum()[::-1]
    cdf = 1 - np.cumprod(1 - np.where(seen, weight / at_risk, 0.0))
    at = np.searchsorted(cdf, levels - 1e-12, side="left")
    quantiles = np.append(score, 1.0)[at]
    quantiles[0], quantiles[-1] = 0.0, 1.0
    return np.asarray(np.maximum.accumulate(quantiles))
