"""Gradient-boosted trees on window statistics, with a whole distribution around them.

Trees: LightGBM (Ke et al. 2017) on the capped time to event, cross-fitted by unit: each fold's model never saw the
units it is judged on, nor did its linear indices of wear (`models.wear_indices`), where they are asked for. Censored
rows are trained with the normal censored likelihood (Tobin 1958) instead of a label.
Distribution: around the trees' out-of-fold figure; see `models.curves`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import require
from wearcast.inference.tables import SensorBlocks
from wearcast.models.censoring import inverse_mills
from wearcast.models.curves import beran_curves, interpolate, row_weights
from wearcast.models.folds import Folds, by_unit
from wearcast.models.spec import LightGbm
from wearcast.models.wear_indices import WearIndices, learn_indices

if TYPE_CHECKING:
    from collections.abc import Callable

    import lightgbm

__all__ = ["CrossFit", "common_parameters", "cross_fit"]

Floats = NDArray[np.float64]

CENSORED_SD = 0.1  # of the cap: spread that the likelihood of a censored row assumes


@dataclass(frozen=True)
class CrossFit:
    """Trees of every fold, and the curves around them.

    Attributes:
        boosters: one model a fold; their figure is the mean of them all.
        out_of_fold: figure of each row by the model that had not seen its unit, `(n,)`.
        knots: figures at which curves are known, ascending, `(n_knots,)`.
        curves: survival at the grid's edges at each knot, `(n_knots, n_edges)`; linear in the figure in between.
        indices: that each fold's model reads beside the table; none where there are none.
    """

    boosters: tuple[lightgbm.Booster, ...]
    out_of_fold: Floats
    knots: Floats
    curves: Floats
    indices: tuple[WearIndices, ...] = ()

    def survival(self, table: NDArray[np.float32]) -> Floats:
        """Survival at the grid's edges of each row of `table (n, n_columns)`: `(n, n_edges)`."""
        return interpolate(self.figure(table), self.knots, self.curves)

    def figure(self, table: NDArray[np.float32]) -> Floats:
        """Mean of the folds' models, `(n,)`."""
        tables = [one.beside(table) for one in self.indices] or [table] * len(self.boosters)
        said = [booster.predict(own) for booster, own in zip(self.boosters, tables, strict=True)]
        return np.asarray(np.mean(said, axis=0))


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
        "max_bin": spec.bins,
        "min_data_in_bin": 3 if spec.bins <= 255 else 1,  # LightGBM's own; where more bins are asked for, all of them
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
    folds: Folds | None = None,
    learnt: NDArray[np.bool_] | None = None,
    blocks: SensorBlocks | None = None,
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
        folds: of the rows; by unit unless given.
        learnt: rows that trees are learnt from, `(n,)`; all unless given. Every row is judged.
        blocks: columns that indices of wear are made of; none unless given.
        on_fold: called with (folds done, folds in all).
    """
    folds = by_unit(row_unit, spec.folds, seed) if folds is None else folds
    out_of_fold = np.empty(len(table))
    boosters, indices = [], []
    for k, (fold, held) in enumerate(folds):
        seen = fold if learnt is None else fold & learnt
        wide = table
        if blocks is not None:
            indices.append(learn_indices(table[seen], duration[seen], known[seen], blocks, max_rul=max_rul))
            wide = indices[-1].beside(table)
        booster = _fit(spec, wide[seen], duration[seen], known[seen], max_rul=max_rul, seed=seed + k)
        out_of_fold[held] = booster.predict(wide[held])
        boosters.append(booster)
        if on_fold is not None:
            on_fold(k + 1, len(folds))
    knots, curves = beran_curves(out_of_fold, duration, known, row_weights(row_unit), grid)
    return CrossFit(tuple(boosters), out_of_fold, knots, curves, tuple(indices))


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
        ratio = inverse_mills(z)
        gradient[censored] = -sd * ratio
        curvature[censored] = np.maximum(ratio * (ratio + z), 1e-3)
        return gradient, curvature

    return objective
