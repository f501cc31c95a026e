"""Gradient-boosted trees for future values of columns, with quantiles around them, cross-fitted.

One model a column, fold and anchor: a few steps ahead, spread geometrically, with the steps between interpolated.
How wide the quantiles are differs from row to row: a further model of each column learns the logarithm of the mean
error out of fold, and quantiles are those of the error in units of it (normalised conformal prediction, Papadopoulos,
Gammerman & Vovk 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import FleetError, require
from wearcast.models.folds import Folds
from wearcast.models.gradient_boosting import common_parameters
from wearcast.models.spec import LightGbm
from wearcast.models.tree_graph import table_model, tree_node

if TYPE_CHECKING:
    import lightgbm
    import onnx

__all__ = ["QuantileFit", "anchors", "cross_fit_quantiles", "error_quantiles", "quantile_tree_graph"]

Floats = NDArray[np.float64]
Table = NDArray[np.float32]

MOST_ANCHORS = 6
LEAST_ERROR = 1e-3  # of the scale of a column: what an error is taken for at least


@dataclass(frozen=True)
class QuantileFit:
    """Trees of every fold.

    Attributes:
        centre: models of each fold, column and anchor; their figure is the mean over the folds.
        spread: models of each fold and column, of the logarithm of the error.
        between: share of each anchor in each step, `(n_anchors, steps)`.
        around: quantiles of the error in units of the spread, `(steps, k, n_levels)`.
        out_of_fold: quantiles of each row by models that had not seen it, `(n, steps, k, n_levels)`.
    """

    centre: tuple[tuple[tuple[lightgbm.Booster, ...], ...], ...]
    spread: tuple[tuple[lightgbm.Booster, ...], ...]
    between: Floats
    around: Floats
    out_of_fold: Floats

    def quantiles(self, table: Table) -> Floats:
        """Of each row, `(n, steps, k, n_levels)`."""
        points = np.mean([_points(columns, table, self.between) for columns in self.centre], axis=0)
        logs = np.mean([_logs(columns, table) for columns in self.spread], axis=0)
        return _with_quantiles(points, logs, self.around)


def anchors(steps: int) -> NDArray[np.int64]:
    """Steps ahead that have a model, ascending, from 1: the first and the last among them."""
    return np.unique(np.geomspace(1, steps, min(steps, MOST_ANCHORS)).round().astype(np.int64))


def cross_fit_quantiles(
    spec: LightGbm,
    table: Table,
    answer: NDArray[Any],
    known: NDArray[np.bool_],
    *,
    levels: Sequence[float],
    folds: Folds,
    seed: int,
    on_fold: Callable[[int, int], None] | None = None,
) -> QuantileFit:
    """Fit the models of each fold.

    Args:
        spec: sizes of the trees.
        table: statistics of each window, `(n, n_columns)`.
        answer: future values, scaled, `(n, steps, k)`.
        known: whether they are known, `(n, steps, k)`.
        levels: of the quantiles.
        folds: of the rows.
        seed: of the trees.
        on_fold: called with (folds done, folds in all).

    Raises:
        FleetError: a fold has no known value of a column to learn from.
    """
    steps, k = answer.shape[1:]
    at = anchors(steps)
    between = np.stack([np.interp(np.arange(1, steps + 1), at, row) for row in np.eye(len(at))])
    points = np.empty(answer.shape)
    centre = []
    for fold, (seen, held) in enumerate(folds):
        own = tuple(
            tuple(
                _fit(spec, table, answer[:, step - 1, j], seen & known[:, step - 1, j], "regression_l1", seed + fold)
                for step in at
            )
            for j in range(k)
        )
        points[held] = _points(own, table[held], between)
        centre.append(own)
        if on_fold is not None:
            on_fold(fold + 1, len(folds))
    error = answer - points
    size = np.where(known, np.abs(error), 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    size = np.log(np.maximum(size, LEAST_ERROR))
    logs, spread = np.empty((len(table), k)), []
    for fold, (seen, held) in enumerate(folds):
        columns = tuple(
            _fit(spec, table, size[:, j], seen & known[:, :, j].any(axis=1), "regression", seed + fold)
            for j in range(k)
        )
        logs[held] = _logs(columns, table[held])
        spread.append(columns)
    around = error_quantiles(error / np.exp(logs)[:, None], known, levels)
    return QuantileFit(tuple(centre), tuple(spread), between, around, _with_quantiles(points, logs, around))


def error_quantiles(error: Floats, known: NDArray[np.bool_], levels: Sequence[float]) -> Floats:
    """Quantiles of the known errors `(n, steps, k)` of each step and column, `(steps, k, n_levels)`."""
    around = np.zeros((*error.shape[1:], len(levels)))
    for step in range(error.shape[1]):
        for j in range(error.shape[2]):
            there = error[known[:, step, j], step, j]
            if len(there):
                around[step, j] = np.quantile(there, levels)
    return around


def _fit(
    spec: LightGbm, table: Table, label: NDArray[Any], rows: NDArray[np.bool_], objective: str, seed: int
) -> lightgbm.Booster:
    if not rows.any():
        raise FleetError("a fold has no known value of a column to learn from", hint="take fewer folds")
    lgb = require("lightgbm", extra="train")
    parameters = common_parameters(spec, int(rows.sum()), seed) | {"objective": objective}
    booster: lightgbm.Booster = lgb.train(parameters, lgb.Dataset(table[rows], label=label[rows]), spec.n_trees)
    return booster


def _points(columns: Sequence[Sequence[lightgbm.Booster]], table: Table, between: Floats) -> Floats:
    """Values of each row, `(n, steps, k)`."""
    each = [np.stack([booster.predict(table) for booster in own], axis=1) @ between for own in columns]
    return np.stack(each, axis=2)


def _logs(columns: Sequence[lightgbm.Booster], table: Table) -> Floats:
    return np.stack([np.asarray(booster.predict(table)) for booster in columns], axis=1)


def _with_quantiles(points: Floats, logs: Floats, around: Floats) -> Floats:
    return np.asarray(points[..., None] + np.exp(logs)[:, None, :, None] * around)


def quantile_tree_graph(fitted: QuantileFit, n_columns: int) -> onnx.ModelProto:
    """Graph from `table (n, n_columns)` to `quantiles (n, steps, k, n_levels)`.

    Raises:
        ExportError: the trees hold a decision other than `<=` on a number.
    """
    package = require("onnx", extra="train")
    make = package.helper.make_node
    n_anchors, steps = fitted.between.shape
    k = fitted.around.shape[1]
    points, targets = [], []
    for columns in fitted.centre:
        for j, own in enumerate(columns):
            for i, booster in enumerate(own):
                points.append(booster)
                targets.append(i * k + j)
    logs = [booster for columns in fitted.spread for booster in columns]
    every = np.kron(fitted.between, np.eye(k))  # (n_anchors * k, steps * k)
    nodes = [
        tree_node(package, points, "at_anchors", n_targets=n_anchors * k, targets=targets),
        make("MatMul", ["at_anchors", "every"], ["flat"]),
        make("Reshape", ["flat", "by_step"], ["points"]),
        tree_node(package, logs, "logs", n_targets=k, targets=list(range(k)) * len(fitted.spread)),
        make("Exp", ["logs"], ["sizes"]),
        make("Reshape", ["sizes", "by_column"], ["spread"]),
        make("Mul", ["spread", "around"], ["distance"]),
        make("Add", ["points", "distance"], ["quantiles"]),
    ]
    shapes = {"by_step": [-1, steps, k, 1], "by_column": [-1, 1, k, 1]}
    more = [package.numpy_helper.from_array(np.array(v, dtype=np.int64), name) for name, v in shapes.items()]
    constants = {"every": every, "around": fitted.around}
    return table_model(package, nodes, n_columns, ("quantiles", *fitted.around.shape), constants, more)
