"""Calibration on held-out units: intervals become as wide, and probabilities as large, as they have to be.

Times to an event after Qi, Yu & Greiner 2024, "Conformalized survival distributions" (ICML): the conformity score of a
held-out window is where its true time falls in its own distribution. Here the score is the distance from the median,
`|2 F(T) − 1|`, so the recalibration widens or narrows every distribution about its median and never moves the median:
with a dozen held-out units a shift would be mostly noise. Censored windows enter by the Kaplan-Meier estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearcast.distribution import Recalibration, TimeToEvent
from wearcast.target import AlarmRule, FalseAlarmRate, Fixed, LeastCost

__all__ = ["calibrate_quantiles", "calibrate_scores", "calibrate_spread", "choose_threshold"]

LEVELS = np.linspace(0.0, 1.0, 41)
LEAST_SLOPE = 1e-3


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


def calibrate_scores(
    scores: NDArray[Any], answer: NDArray[np.int64], *, shifts: bool = True
) -> tuple[float, tuple[float, ...]]:
    """Slope and shifts under which `softmax(slope · score + shift)` is most likely on held-out rows.

    Platt 1999 for two classes, vector scaling with one slope for more (Guo et al. 2017), with Platt's prior counts so
    that few rows do not make the probabilities extreme. Newton's method on a concave likelihood. The slope is never
    below 0.001: where scores say the opposite of the truth, the probabilities are all but the shares of the classes.

    Args:
        scores: `(n, k)`.
        answer: class of each row, `(n,)`.
        shifts: or the slope alone (temperature scaling, Guo et al. 2017), which leaves the likeliest class as it is.
    """
    n, k = scores.shape
    x = np.asarray(scores, dtype=np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    count = np.bincount(answer, minlength=k)
    truth = np.zeros((n, k))
    truth[np.arange(n), answer] = 1.0
    soft = (count + 1.0) / (count + k)  # Platt's targets: (N+ + 1) / (N+ + 2) for two classes
    truth = truth * soft[answer][:, None] + (1 - truth) * ((1 - soft[answer]) / max(k - 1, 1))[:, None]
    theta = _most_likely(x, truth, np.concatenate([[1.0], np.zeros(k)]), shifts_are_free=shifts)
    if theta[0] < LEAST_SLOPE:
        theta = _most_likely(
            x, truth, np.concatenate([[LEAST_SLOPE], np.zeros(k)]), slope_is_free=False, shifts_are_free=shifts
        )
    return float(theta[0]), tuple(theta[1:].tolist())


def _most_likely(
    x: NDArray[np.float64],
    truth: NDArray[np.float64],
    start: NDArray[np.float64],
    *,
    slope_is_free: bool = True,
    shifts_are_free: bool = True,
) -> NDArray[np.float64]:
    """Slope and shifts, `(1 + k,)`; a shift of all classes alike changes nothing, so the shifts sum to 0."""
    n, k = truth.shape
    hold = np.zeros((k + 1, k + 1))
    hold[0, 0] = 1e-6 * n if slope_is_free else 1e12 * n
    hold[1:, 1:] = max(n, 1)
    if not shifts_are_free:
        hold[1:, 1:] += 1e12 * n * np.eye(k)

    def loss(at: NDArray[np.float64]) -> float:
        away = at - start
        return -float((truth * _log_softmax(at[0] * x + at[1:])).sum()) + float(away @ hold @ away / 2)

    theta = start
    for _ in range(50):
        p = np.exp(_log_softmax(theta[0] * x + theta[1:]))
        rest = p - truth
        gradient = np.concatenate([[(rest * x).sum()], rest.sum(axis=0)]) + hold @ (theta - start)
        px = p * (x - (p * x).sum(axis=1, keepdims=True))
        hessian = hold.copy()
        hessian[0, 0] += (px * x).sum()
        hessian[0, 1:] += px.sum(axis=0)
        hessian[1:, 0] = hessian[0, 1:]
        hessian[1:, 1:] += np.diag(p.sum(axis=0)) - p.T @ p
        step = np.linalg.solve(hessian + 1e-9 * np.eye(k + 1), gradient)
        size = 1.0
        while size > 1e-6 and loss(theta - size * step) > loss(theta):
            size /= 2
        theta = theta - size * step
        if np.abs(size * step).max() < 1e-8:
            break
    return theta


def _log_softmax(score: NDArray[np.float64]) -> NDArray[np.float64]:
    top = score - score.max(axis=1, keepdims=True)
    return np.asarray(top - np.log(np.exp(top).sum(axis=1, keepdims=True)))


def choose_threshold(rule: AlarmRule, probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The alarm threshold that a rule asks for, on held-out rows.

    Args:
        rule: see `AlarmRule`.
        probability: calibrated probability of a failure, `(n,)`.
        positive: whether there was one, `(n,)`.

    Returns:
        The least probability with an alarm. Above each of these rows' probabilities where the rule allows none of them
        an alarm, or where no failure was held out that an alarm could be for.
    """
    if isinstance(rule, Fixed):
        return rule.probability
    order = np.argsort(-probability, kind="stable")
    ranked, hit = probability[order], positive[order]
    # Only where the probability changes can a threshold lie.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    caught, false = np.cumsum(hit)[ends], np.cumsum(~hit)[ends]
    if isinstance(rule, FalseAlarmRate):
        allowed = np.flatnonzero(false <= rule.at_most * max(int((~positive).sum()), 1))
        best = int(allowed[-1]) if len(allowed) else -1
    elif isinstance(rule, LeastCost):
        cost = rule.miss * (positive.sum() - caught) + rule.false_alarm * false
        best = int(cost.argmin()) if cost.min() < rule.miss * positive.sum() else -1
    else:
        best = int((2 * caught / np.maximum(caught + false + positive.sum(), 1)).argmax()) if positive.any() else -1
    # Between the last probability with an alarm and the first without.
    upper = float(ranked[ends[best]]) if best >= 0 else np.nextafter(1.0, 2.0)
    lower = float(ranked[ends[best + 1]]) if best + 1 < len(ends) else 0.0
    middle = (upper + lower) / 2
    return float(middle if middle > lower else upper)


def calibrate_quantiles(
    quantiles: NDArray[Any], value: NDArray[Any], known: NDArray[np.bool_], levels: Sequence[float]
) -> NDArray[np.float64]:
    """Factor of each level's distance from the median, by step, under which quantiles hold what they promise.

    Conformalised quantile regression (Romano, Patterson & Candès 2019) with a multiplicative score, so that intervals
    stay wide where the model is unsure.

    Args:
        quantiles: `(n, steps, k, n_levels)`.
        value: what came, `(n, steps, k)`.
        known: whether it is known, `(n, steps, k)`.
        levels: of the quantiles, 0.5 among them.

    Returns:
        `(steps, n_levels)`, 1 at the median.
    """
    centre = list(levels).index(0.5)
    factors = np.ones((quantiles.shape[1], len(levels)))
    offset = value - quantiles[..., centre]
    for i, level in enumerate(levels):
        if i == centre:
            continue
        side = 1.0 if level > 0.5 else -1.0
        width = np.maximum(side * (quantiles[..., i] - quantiles[..., centre]), 1e-9)
        for step in range(quantiles.shape[1]):
            score = (side * offset / width)[:, step][known[:, step]]
            if len(score):
                factors[step, i] = max(float(np.quantile(score, level if side > 0 else 1 - level)), 0.0)
    return factors
