"""Linear models of window statistics with squared weights penalised, and the choice of the penalty out of fold.

Ridge regression after Hoerl & Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems"; where all
that is known of a value is that it is larger, by the EM algorithm of Schmee & Hahn 1979, "A simple method for
regression analysis with censored data". Softmax regression with a penalty after le Cessie & van Houwelingen 1992,
"Ridge estimators in logistic regression". Weibull regression of the time left, an accelerated-failure-time and
proportional-hazards model at once, after Kalbfleisch & Prentice 2002, "The statistical analysis of failure time data",
section 2.3; each reading is a landmark from which the time counts (van Houwelingen 2007).

Columns are standardised first, so that one penalty suits all; a column that is not known counts as its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import require
from wearcast.models.censoring import inverse_mills
from wearcast.models.folds import Folds

__all__ = ["Choice", "Linear", "Standard", "choose", "ridge", "softmax", "weibull"]

Floats = NDArray[np.float64]
Table = NDArray[np.float32]

EM_STEPS = 30
MOST_STEPS = 300


@dataclass(frozen=True)
class Standard:
    """Scale of each column, `(n_columns,)` each; a column that never varies is left out by a weight of 0."""

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, table: Table) -> Standard:
        """Of the rows of a table in which each column is known once at least; else its mean is 0."""
        known = np.isfinite(table)
        count = np.maximum(known.sum(axis=0), 1)
        x = np.where(known, table, 0.0).astype(np.float64)
        mean = x.sum(axis=0) / count
        sd = np.sqrt((np.where(known, x - mean, 0.0) ** 2).sum(axis=0) / count)
        return cls(mean, np.where(sd > 1e-6 * np.maximum(np.abs(mean), 1e-6), sd, np.inf))

    def __call__(self, table: Table) -> Floats:
        """The standardised table, without NaN."""
        return np.nan_to_num((table - self.mean) / self.sd, nan=0.0)


@dataclass(frozen=True)
class Linear:
    """`z @ weights + constant` of a standardised table: weights `(n_columns, m)`, constant `(m,)`."""

    standard: Standard
    weights: Floats
    constant: Floats

    def __call__(self, table: Table) -> Floats:
        """Of each row, `(n, m)`."""
        return self.of(self.standard(table))

    def of(self, z: Floats) -> Floats:
        """Of rows that are standardised already, `(n, m)`."""
        return np.asarray(z @ self.weights + self.constant)


@dataclass(frozen=True)
class Choice:
    """The model of the penalty that was chosen.

    Attributes:
        model: fitted on all rows.
        out_of_fold: of each row by the fold's model that had not seen it, `(n, m)`.
        penalty: that was chosen.
        scale: what a fit finds besides, such as a spread; of all rows.
    """

    model: Linear
    out_of_fold: Floats
    penalty: float
    scale: float


Fit = Callable[[NDArray[np.bool_], Sequence[float]], Sequence[tuple[Floats, Floats, float]]]
"""From rows and penalties to weights, constant and scale for each penalty, of a table that is standardised."""


def choose(
    standard: Standard, z: Floats, fit: Fit, loss: Callable[[Floats, float], float], penalties: Sequence[float],
    folds: Folds, on_fold: Callable[[int, int], None] | None = None,
) -> Choice:  # fmt: skip
    """Fit every penalty in every fold, and the one of least loss out of fold on all rows.

    Args:
        standard: scale of the columns.
        z: standardised table, `(n, n_columns)`.
        fit: see `Fit`.
        loss: of what is said out of fold `(n, m)`, and the mean scale.
        penalties: to choose from.
        folds: of the rows.
        on_fold: called with (folds done, folds in all).
    """
    said: list[list[Any]] = [[] for _ in penalties]
    scales = np.zeros(len(penalties))
    for k, (seen, held) in enumerate(folds):
        for i, (weights, constant, scale) in enumerate(fit(seen, penalties)):
            said[i].append((held, z[held] @ weights + constant))
            scales[i] += scale / len(folds)
        if on_fold is not None:
            on_fold(k + 1, len(folds))
    whole = []
    for parts in said:
        out = np.empty((len(z), parts[0][1].shape[1]))
        for held, values in parts:
            out[held] = values
        whole.append(out)
    best = int(np.argmin([loss(out, scale) for out, scale in zip(whole, scales, strict=True)]))
    ((weights, constant, scale),) = fit(np.ones(len(z), dtype=np.bool_), penalties[best : best + 1])
    return Choice(Linear(standard, weights, constant), whole[best], penalties[best], scale)


@dataclass(frozen=True)
class Axes:
    """A table along its principal axes, where columns do not depend on each other.

    Attributes:
        x: the rows in these coordinates, `(n, n_columns)`, of mean 0.
        spread: variance along each axis, `(n_columns,)`.
        vectors: the axes, `(n_columns, n_columns)`.
        centre: mean of the table.
    """

    x: Floats
    spread: Floats
    vectors: Floats
    centre: Floats

    @classmethod
    def of(cls, table: Floats) -> Axes:
        """Of a standardised table."""
        centre = table.mean(axis=0)
        x = table - centre
        spread, vectors = np.linalg.eigh(x.T @ x / len(x))
        return cls(x @ vectors, np.maximum(spread, 0.0), vectors, centre)

    def back(self, weights: Floats, constant: Floats) -> tuple[Floats, Floats]:
        """Weights `(n_columns, m)` and constant `(m,)` of the table as it was."""
        own = self.vectors @ weights
        return own, constant - self.centre @ own

    def lengths(self, penalty: float) -> Floats:
        """Units of the weights in which a squared loss with this penalty is round: a search takes few steps."""
        return np.asarray(1 / np.sqrt(self.spread + penalty))


def ridge(z: Floats, y: Floats, censored: NDArray[np.bool_] | None = None) -> Fit:
    """Least squares of `y (n, m)`; of rows that are `censored` (then `m` is 1), only that the value is larger is known.

    The scale is the standard deviation of the error.
    """

    def fit(rows: NDArray[np.bool_], penalties: Sequence[float]) -> list[tuple[Floats, Floats, float]]:
        axes, target = Axes.of(z[rows]), y[rows]
        above = None if censored is None else censored[rows]

        def solve(to: Floats, penalty: float) -> tuple[Floats, Floats]:
            mean = to.mean(axis=0)
            return (axes.x.T @ (to - mean) / len(axes.x)) / (axes.spread + penalty)[:, None], mean

        found = []
        for penalty in penalties:
            w, c = solve(target, penalty)
            sd = float(np.sqrt(np.mean((target - axes.x @ w - c) ** 2)))
            if above is not None and above.any():
                w, c, sd = _beyond(solve, axes.x, target, above, penalty)
            found.append((*axes.back(w, c), sd))
        return found

    return fit


def _beyond(
    solve: Callable[[Floats, float], tuple[Floats, Floats]], x: Floats, y: Floats, above: NDArray[np.bool_],
    penalty: float,
) -> tuple[Floats, Floats, float]:  # fmt: skip
    """EM: values that are only known to be larger are put where the model expects them, again and again."""
    target = y
    w, c = solve(target, penalty)
    sd = float(np.std(y)) or 1.0
    for _ in range(EM_STEPS):
        said = x @ w + c
        known = ~above if not above.all() else above
        sd = max(float(np.sqrt(np.mean((y - said)[known] ** 2))), 1e-9)
        lifted = said + sd * inverse_mills((said - y) / sd)
        target = np.where(above[:, None], np.maximum(lifted, y), y)
        w, c = solve(target, penalty)
    return w, c, sd


def softmax(z: Floats, answer: NDArray[np.int64], weight: Floats) -> Fit:
    """Logarithms of probabilities of classes, up to a constant a row; `weight (n_classes,)` is that of each class."""
    k = len(weight)
    truth, own = np.eye(k)[answer], weight[answer]

    def fit(rows: NDArray[np.bool_], penalties: Sequence[float]) -> list[tuple[Floats, Floats, float]]:
        axes, right = Axes.of(z[rows]), truth[rows]
        each = own[rows] / own[rows].sum()
        start = np.zeros((len(axes.spread) + 1, k))
        start[-1] = np.log(np.maximum(each @ right, 1e-6))
        start[-1] -= start[-1].mean()

        def loss(w: Floats, penalty: float) -> tuple[float, Floats]:
            logs = log_softmax(axes.x @ w[:-1] + w[-1])
            rest = each[:, None] * (np.exp(logs) - right)
            value = float(-each @ (logs * right).sum(axis=1) + penalty / 2 * (w[:-1] ** 2).sum())
            return value, np.vstack([axes.x.T @ rest + penalty * w[:-1], rest.sum(axis=0)])

        return [(*axes.back(w[:-1], w[-1]), 1.0) for w in _path(loss, start, penalties, axes)]

    return fit


def weibull(z: Floats, time: Floats, known: NDArray[np.bool_], weight: Floats) -> Fit:
    """Logarithm of a Weibull time's scale, the shape the same for all; unknown times are longer. Times are above 0.

    The scale of the fit is that of the logarithm, `1 / shape`.
    """
    logs = np.log(time)

    def fit(rows: NDArray[np.bool_], penalties: Sequence[float]) -> list[tuple[Floats, Floats, float]]:
        axes, t, seen = Axes.of(z[rows]), logs[rows], known[rows].astype(np.float64)
        each = weight[rows] / weight[rows].sum()

        def loss(at: Floats, penalty: float) -> tuple[float, Floats]:
            w, c, log_scale = at[:-2], at[-2], at[-1]
            scale = np.exp(log_scale)
            e = np.clip((t - axes.x @ w - c) / scale, -50, 20)
            power = np.exp(e)
            slope = each * (seen - power) / scale  # of the loss, by the logarithm of the time's scale
            value = -each @ (seen * (e - log_scale) - power) + penalty / 2 * (w**2).sum()
            by_scale = each @ (seen * (1 + e) - e * power)
            return float(value), np.concatenate([axes.x.T @ slope + penalty * w, [slope.sum(), by_scale]])

        start = np.zeros(len(axes.spread) + 2)
        start[-2] = np.log((each @ np.exp(t)) / max(float(each @ seen), 1e-6))
        ends = _path(loss, start, penalties, axes)
        return [(*axes.back(at[:-2, None], at[-2:-1]), float(np.exp(at[-1]))) for at in ends]

    return fit


def _path(
    loss: Callable[[Floats, float], tuple[float, Floats]], start: Floats, penalties: Sequence[float], axes: Axes
) -> list[Floats]:
    """The least loss for each penalty; the strongest first, each search begins where the one before ended.

    Args:
        loss: and its gradient, of weights along the axes with what is not penalised after them, and of a penalty.
        start: where to begin, `(n_columns + …, …)`.
        penalties: of the squared weights.
        axes: see `Axes.lengths`.
    """
    minimize = require("scipy.optimize", extra="train").minimize
    found: dict[int, Floats] = {}
    at = start.ravel()  # the weights are zero: so they are in any unit
    for i in sorted(range(len(penalties)), key=lambda i: -penalties[i]):
        unit = np.ones(len(start))
        unit[: len(axes.spread)] = axes.lengths(penalties[i])
        unit = unit.reshape(-1, *(1,) * (start.ndim - 1))

        def scaled(at: Floats, penalty: float, unit: Floats = unit) -> tuple[float, Floats]:
            value, slope = loss(unit * at.reshape(start.shape), penalty)
            return value, (unit * slope).ravel()

        options = {"maxiter": MOST_STEPS, "maxcor": 20}
        at = minimize(scaled, at, args=(penalties[i],), jac=True, method="L-BFGS-B", options=options).x
        found[i] = unit * at.reshape(start.shape)
    return [found[i] for i in range(len(penalties))]


def log_softmax(score: Floats) -> Floats:
    """Logarithm of the softmax of each row."""
    top = score - score.max(axis=1, keepdims=True)
    return np.asarray(top - np.log(np.exp(top).sum(axis=1, keepdims=True)))
