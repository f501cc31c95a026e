"""Gradient-boosted trees on window statistics, with a whole distribution around them.

Trees: LightGBM (Ke et al. 2017) on the capped time to event, cross-fitted by unit: each fold's model never saw the
units it is judged on. Censored rows are trained with the normal censored likelihood (Tobin 1958) instead of a label.
Distribution: given the trees' figure, the conditional Kaplan-Meier curve of the out-of-fold rows with nearly the same
figure (Beran 1981), so it is right by construction on units that the trees had not seen, censored ones included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import require
from wearcast.models.spec import LightGbm

if TYPE_CHECKING:
    from collections.abc import Callable

    import lightgbm

__all__ = ["CrossFit", "beran_curves", "common_parameters", "cross_fit", "even_rows", "unit_folds"]

Floats = NDArray[np.float64]

KNOTS = 40
NEIGHBOURS = 0.04  # of the out-of-fold rows: how many have "nearly the same figure"
CENSORED_SD = 0.1  # of the cap: spread that the likelihood of a censored row assumes


@dataclass(frozen=True)
class CrossFit:
    """Trees of every fold, and the curves around them.

    Attributes:
        boosters: one model a fold; their figure is the mean of them all.
        out_of_fold: figure of each row by the model that had not seen its unit, `(n,)`.
        knots: figures at which curves are known, ascending, `(n_knots,)`.
        curves: survival at the grid's edges at each knot, `(n_knots, n_edges)`; linear in the figure in between.
    """

    boosters: tuple[lightgbm.Booster, ...]
    out_of_fold: Floats
    knots: Floats
    curves: Floats

    def survival(self, table: NDArray[np.float32]) -> Floats:
        """Survival at the grid's edges of each row of `table (n, n_columns)`: `(n, n_edges)`."""
        return interpolate(self.figure(table), self.knots, self.curves)

    def figure(self, table: NDArray[np.float32]) -> Floats:
        """Mean of the folds' models, `(n,)`."""
        figures: Floats = np.mean([booster.predict(table) for booster in self.boosters], axis=0)
        return figures


def interpolate(figure: Floats, knots: Floats, curves: Floats) -> Floats:
    """Curves between the knots: a mixture of the two neighbours, so monotone as they are."""
    x = np.clip(figure, knots[0], knots[-1])
    right = np.clip(np.searchsorted(knots, x, side="right"), 1, len(knots) - 1)
    share = ((x - knots[right - 1]) / (knots[right] - knots[right - 1]))[:, None]
    return np.asarray((1 - share) * curves[right - 1] + share * curves[right])


def even_rows(offsets: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """All rows of short units, `most` evenly spaced rows of long ones, the last always among them."""
    picked = []
    for first, n in zip(offsets[:-1], np.diff(offsets), strict=True):
        rows = np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(np.int64)
        picked.append(first + rows)
    return np.concatenate(picked)


def unit_folds(
    row_unit: NDArray[np.int32], folds: int, seed: int, strata: NDArray[np.int64] | None = None
) -> NDArray[np.intp]:
    """Fold of each row; all rows of a unit are in one fold, and units of a stratum are divided evenly.

    Args:
        row_unit: unit of each row, `(n,)`.
        folds: how many; fewer where there are not so many units.
        seed: of the division.
        strata: stratum of each row, `(n,)`; a unit is of the highest of its rows.
    """
    units, index = np.unique(row_unit, return_inverse=True)
    folds = min(folds, len(units))
    place = np.random.default_rng([seed, 0xF01D]).permutation(len(units))
    if strata is not None:
        highest = np.zeros(len(units), dtype=np.int64)
        np.maximum.at(highest, index, strata)
        place = np.argsort(np.lexsort((place, highest)))
    return np.asarray((place % folds)[index])


def common_parameters(spec: LightGbm, n_rows: int, seed: int) -> dict[str, Any]:
    """Parameters of LightGBM that do not depend on what is learnt."""
    return {
        "learning_rate": spec.learning_rate,
        "num_leaves": spec.max_leaves,
        "min_data_in_leaf": min(spec.min_leaf_rows, max(n_rows // 20, 1)),
        "feature_fraction": spec.feature_share,
        "bagging_fraction": spec.row_share,
        "bagging_freq": 1,
        "lambda_l2": spec.l2,
        "num_threads": spec.threads,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def cross_fit(
    spec: LightGbm,
    table: NDArray[np.float32],
    duration: Floats,
    known: NDArray[np.bool_],
    row_unit: NDArray[np.int32],
    *,
    grid: Floats,
    max_rul: float,
    seed: int,
    on_fold: Callable[[int, int], None] | None = None,
) -> CrossFit:
    """Fit one model a fold and the curves around their out-of-fold figures.

    Args:
        spec: sizes of the trees.
        table: statistics of each window, `(n, n_columns)`.
        duration: time to the event, or so far without it, `(n,)`.
        known: whether the event was seen, `(n,)`.
        row_unit: unit of each row, `(n,)`.
        grid: edges of the survival curves.
        max_rul: cap of the label.
        seed: of folds and trees.
        on_fold: called with (folds done, folds in all).
    """
    fold = unit_folds(row_unit, spec.folds, seed)
    n_folds = int(fold.max()) + 1
    out_of_fold = np.empty(len(table))
    boosters = []
    for k in range(n_folds):
        train = fold != k
        booster = _fit(spec, table[train], duration[train], known[train], max_rul=max_rul, seed=seed + k)
        out_of_fold[~train] = booster.predict(table[~train])
        boosters.append(booster)
        if on_fold is not None:
            on_fold(k + 1, n_folds)
    knots, curves = beran_curves(out_of_fold, duration, known, _row_weights(row_unit), grid)
    return CrossFit(tuple(boosters), out_of_fold, knots, curves)


def _row_weights(row_unit: NDArray[np.int32]) -> Floats:
    _, index, count = np.unique(row_unit, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / count[index])


def _fit(
    spec: LightGbm, table: NDArray[np.float32], duration: Floats, known: NDArray[np.bool_], *, max_rul: float, seed: int
) -> lightgbm.Booster:
    lgb = require("lightgbm", extra="train")
    label = np.minimum(duration, max_rul)
    censored = ~known & (duration < max_rul)
    objective = _censored_normal(censored, CENSORED_SD * max_rul) if censored.any() else "regression"
    parameters = common_parameters(spec, len(label), seed) | {"objective": objective}
    start = float(label.mean())
    data = lgb.Dataset(table, label=label, init_score=np.full(len(label), start) if censored.any() else None)
    booster: lightgbm.Booster = lgb.train(parameters, data, num_boost_round=spec.n_trees)
    return _with_offset(booster, start) if censored.any() else booster


def _with_offset(booster: lightgbm.Booster, offset: float) -> lightgbm.Booster:
    # A custom objective starts from init_score, which a booster does not keep: put it into the first tree.
    for leaf in range(booster.dump_model(num_iteration=1)["tree_info"][0]["num_leaves"]):
        booster.set_leaf_output(0, leaf, booster.get_leaf_output(0, leaf) + offset)
    return booster


def _censored_normal(censored: NDArray[np.bool_], sd: float) -> Callable[..., tuple[Floats, Floats]]:
    """Gradient and curvature of half the squared error where the label is known, of −sd² log P(T > label) else."""

    def objective(figure: Floats, data: lightgbm.Dataset) -> tuple[Floats, Floats]:
        error = figure - np.asarray(data.get_label(), dtype=np.float64)
        z = error[censored] / sd
        gradient, curvature = error.copy(), np.ones_like(error)
        ratio = _inverse_mills(z)
        gradient[censored] = -sd * ratio
        curvature[censored] = np.maximum(ratio * (ratio + z), 1e-3)
        return gradient, curvature

    return objective


def _inverse_mills(z: Floats) -> Floats:
    """`φ(z) / Φ(z)`, stable for very negative z (Abramowitz & Stegun 26.2.17 for Φ, asymptote below −5)."""
    z = np.asarray(z, dtype=np.float64)
    t = 1 / (1 + 0.2316419 * np.abs(z))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    upper = density * series
    ratio = density / np.where(z < 0, np.maximum(upper, 1e-300), 1 - upper)
    return np.where(z < -5, -z - 1 / np.minimum(z, -1e-9), ratio)


def beran_curves(
    figure: Floats, duration: Floats, known: NDArray[np.bool_], weight: Floats, grid: Floats
) -> tuple[Floats, Floats]:
    """Conditional Kaplan-Meier curves given the figure (Beran 1981), at knots spread over the figures.

    Returns:
        Knots `(n_knots,)` and survival at the grid's edges `(n_knots, n_edges)`.
    """
    order = np.argsort(figure, kind="stable")
    figure, duration, known, weight = figure[order], duration[order], known[order], weight[order]
    # Knots evenly over the range and over the ranks: young units crowd at the cap, old ones need resolution.
    even = np.linspace(figure[0], figure[-1], KNOTS // 2)
    ranked = np.quantile(figure, np.linspace(0, 1, KNOTS // 2))
    knots = _apart(np.sort(np.concatenate([even, ranked])))
    near = max(int(len(figure) * NEIGHBOURS), min(50, len(figure)))
    curves = np.empty((len(knots), len(grid)))
    for i, knot in enumerate(knots):
        first = int(np.clip(np.searchsorted(figure, knot) - near // 2, 0, max(len(figure) - near, 0)))
        chosen = slice(first, first + near)
        distance = np.abs(figure[chosen] - knot)
        kernel = (1 - np.clip(distance / max(float(distance.max()), 1e-12), 0, 1) ** 3) ** 3 + 1e-6  # tricube
        curves[i] = _kaplan_meier(duration[chosen], known[chosen], weight[chosen] * kernel, grid)
    return knots, curves


def _apart(knots: Floats) -> Floats:
    step = max(float(knots[-1] - knots[0]), 1e-6) / 1000
    kept = [float(knots[0])]
    for knot in knots[1:]:
        if knot - kept[-1] > step:
            kept.append(float(knot))
    return np.array(kept if len(kept) > 1 else [kept[0], kept[0] + step])


def _kaplan_meier(duration: Floats, known: NDArray[np.bool_], weight: Floats, grid: Floats) -> Floats:
    order = np.argsort(duration, kind="stable")
    time, event, weight = duration[order], known[order], weight[order]
    at_risk = weight[::-1].cumsum()[::-1]
    # Ties: all that end at one time are at risk together.
    first = np.searchsorted(time, time, side="left")
    drop = np.where(event, weight / at_risk[first], 0.0)
    times, index = np.unique(time, return_inverse=True)
    hazard = np.bincount(index, weights=drop)
    after = np.cumprod(1 - np.clip(hazard, 0, 1))
    # Half of a step is down at its event: time is continuous, its record is not, and the mean must not move.
    middle = (np.append(1.0, after[:-1]) + after) / 2
    end = np.nextafter(times[-1], np.inf)
    curve = np.interp(grid, [0.0, *times, end], [1.0, *middle, after[-1]])
    curve[0] = 1.0
    return np.minimum.accumulate(curve)
