"""Gradient-boosted trees for classes, cross-fitted by unit.

Each fold's model never saw the units it is judged on; the scores that are served are the mean of all folds'. Class
weights distort probabilities, which the calibration on the out-of-fold scores puts right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import require
from wearcast.models.folds import Folds, by_unit
from wearcast.models.gradient_boosting import common_parameters
from wearcast.models.spec import LightGbm

if TYPE_CHECKING:
    import lightgbm

__all__ = ["ClassFit", "cross_fit_classes"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassFit:
    """Trees of every fold.

    Attributes:
        boosters: one model a fold; the score is the mean of them all.
        n_classes: how many classes there are; for two, the first has the score 0.
        out_of_fold: scores of each row by the model that had not seen its unit, `(n, n_classes)`.
    """

    boosters: tuple[lightgbm.Booster, ...]
    n_classes: int
    out_of_fold: Floats

    def scores(self, table: NDArray[np.float32]) -> Floats:
        """Scores of each row of `table (n, n_columns)`: `(n, n_classes)`."""
        return np.asarray(np.mean([_scores(booster, table) for booster in self.boosters], axis=0))


def cross_fit_classes(
    spec: LightGbm,
    table: NDArray[np.float32],
    answer: NDArray[np.int64],
    row_unit: NDArray[np.int32],
    *,
    weight: Floats,
    seed: int,
    folds: Folds | None = None,
    on_fold: Callable[[int, int], None] | None = None,
) -> ClassFit:
    """Fit one model a fold.

    Args:
        spec: sizes of the trees.
        table: statistics of each window, `(n, n_columns)`.
        answer: class of each row, `(n,)`.
        row_unit: unit of each row, `(n,)`.
        weight: of each class, `(n_classes,)`.
        seed: of folds and trees.
        folds: of the rows; by unit, of each class alike, unless given.
        on_fold: called with (folds done, folds in all).
    """
    n_classes = len(weight)
    folds = by_unit(row_unit, spec.folds, seed, strata=answer) if folds is None else folds
    out_of_fold = np.empty((len(table), n_classes))
    boosters = []
    for k, (seen, held) in enumerate(folds):
        booster = _fit(spec, table[seen], answer[seen], weight, seed=seed + k)
        out_of_fold[held] = _scores(booster, table[held])
        boosters.append(booster)
        if on_fold is not None:
            on_fold(k + 1, len(folds))
    return ClassFit(tuple(boosters), n_classes, out_of_fold)


def _fit(
    spec: LightGbm, table: NDArray[np.float32], answer: NDArray[np.int64], weight: Floats, *, seed: int
) -> lightgbm.Booster:
    lgb = require("lightgbm", extra="train")
    n_classes = len(weight)
    several: dict[str, Any] = {"objective": "multiclass", "num_class": n_classes}
    parameters = common_parameters(spec, len(table), seed) | ({"objective": "binary"} if n_classes == 2 else several)
    data = lgb.Dataset(table, label=answer, weight=weight[answer])
    booster: lightgbm.Booster = lgb.train(parameters, data, num_boost_round=spec.n_trees)
    return booster


def _scores(booster: lightgbm.Booster, table: NDArray[np.float32]) -> Floats:
    raw = np.asarray(booster.predict(table, raw_score=True))
    return np.column_stack([np.zeros_like(raw), raw]) if raw.ndim == 1 else raw
