"""What a bootstrap draws again: the parts that an evaluation's main figure is made of, by unit or block of time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wearcast.evaluation.by_target import AnyEvaluation
from wearcast.evaluation.classification import ClassEvaluation
from wearcast.evaluation.forecasting import ValueEvaluation
from wearcast.evaluation.protocol import Evaluation
from wearcast.fleet import Fleet

__all__ = ["Grouping", "Pieces", "grouping_of", "pieces_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_BLOCKS = 20


@dataclass(frozen=True)
class Grouping:
    """Which group each scored forecast belongs to.

    Attributes:
        by: units; or, of a single unit, blocks of time, each longer than what is forecast ahead.
        group: of each forecast, `(n,)`.
        count: number of groups.
    """

    by: Literal["units", "blocks of time"]
    group: Ints
    count: int


class Pieces(ABC):
    """The main figure as a function of how often each group was drawn."""

    @abstractmethod
    def figure(self, draws: Floats) -> Floats:
        """The figure of each draw; `draws` counts each group, `(n_draws, n_groups)`. NaN where there is none."""


@dataclass(frozen=True)
class Mean(Pieces):
    """A mean, or its square root.

    Attributes:
        total: sum of each group, `(n_groups,)`.
        count: terms of each group, `(n_groups,)`.
    """

    total: Floats
    count: Floats
    root: bool

    def figure(self, draws: Floats) -> Floats:
        """See `Pieces`."""
        mean = (draws @ self.total) / np.maximum(draws @ self.count, 1e-12)
        return np.sqrt(mean) if self.root else mean


@dataclass(frozen=True)
class MacroF1(Pieces):
    """Macro-F1.

    Attributes:
        counts: confusion of each group, rows the truth, `(n_groups, k, k)`.
    """

    counts: Floats

    def figure(self, draws: Floats) -> Floats:
        """See `Pieces`."""
        n, k, _ = self.counts.shape
        counts = (draws @ self.counts.reshape(n, -1)).reshape(-1, k, k)
        both = counts.sum(axis=1) + counts.sum(axis=2)
        right = 2 * np.diagonal(counts, axis1=1, axis2=2)
        there = both > 0
        f1 = np.where(there, right / np.where(there, both, 1.0), 0.0)
        return np.asarray(f1.sum(axis=1) / np.maximum(there.sum(axis=1), 1))


@dataclass(frozen=True)
class AveragePrecision(Pieces):
    """Average precision.

    Attributes:
        group: of each forecast, the highest score first, `(n,)`.
        positive: whether it is right to warn, in the same order, `(n,)`.
        step: whether a forecast is the last one with its score, `(n,)`; ties count as one step.
    """

    group: Ints
    positive: Floats
    step: NDArray[np.bool_]

    def figure(self, draws: Floats) -> Floats:
        """See `Pieces`: one draw at a time, for there may be many forecasts."""
        return np.array([self._one(draw) for draw in draws])

    def _one(self, draw: Floats) -> float:
        weight = draw[self.group]
        caught = np.cumsum(weight * self.positive)[self.step]
        seen = np.cumsum(weight)[self.step]
        if not len(caught) or caught[-1] == 0:
            return float("nan")
        precision = caught / np.maximum(seen, 1e-12)
        return float((np.diff(caught, prepend=0.0) * precision).sum() / caught[-1])


def grouping_of(evaluation: AnyEvaluation) -> Grouping:
    """Units, or blocks of time where there is one unit only: the groups of the scored forecasts, none of them empty."""
    if isinstance(evaluation, Evaluation):
        return _grouping(evaluation.fleet, evaluation.scored.astype(np.int64), ahead=1)
    if isinstance(evaluation, ClassEvaluation):
        return _grouping(evaluation.fleet, np.flatnonzero(evaluation.known), ahead=1)
    steps = evaluation.mae_by_step.shape[1]
    return _grouping(evaluation.fleet, evaluation.rows[evaluation.n_values > 0], ahead=steps)


def _grouping(fleet: Fleet, rows: Ints, *, ahead: int) -> Grouping:
    units, group = np.unique(np.asarray(fleet.row_unit)[rows], return_inverse=True)
    if len(units) > 1:
        return Grouping("units", group.astype(np.int64), len(units))
    blocks = max(1, min(MOST_BLOCKS, len(rows) // (2 * ahead)))
    return Grouping("blocks of time", np.arange(len(rows)) * blocks // max(len(rows), 1), blocks)


def pieces_of(evaluation: AnyEvaluation, groups: Grouping) -> Pieces:
    """The pieces of the target's main figure; see `figures.main_figure`."""

    def per_group(value: NDArray[np.generic]) -> Floats:
        return np.bincount(groups.group, weights=value, minlength=groups.count).astype(np.float64)

    if isinstance(evaluation, Evaluation):
        rows = evaluation.scored
        error = evaluation.forecast.rul[rows] - np.minimum(evaluation.true_rul[rows], evaluation.forecast.max_rul)
        return Mean(per_group(error**2), per_group(np.ones(len(rows))), root=True)
    if isinstance(evaluation, ValueEvaluation):
        scored = evaluation.n_values > 0
        return Mean(per_group(evaluation.absolute_error[scored]), per_group(evaluation.n_values[scored]), root=False)
    known = evaluation.known
    answer = evaluation.answer[known]
    if evaluation.record.target == "failure":
        score = evaluation.forecast.probability[known, 1]
        order = np.argsort(-score, kind="stable")
        last = np.append(score[order][1:] != score[order][:-1], True)
        return AveragePrecision(groups.group[order], (answer == 1)[order].astype(np.float64), last)
    k = len(evaluation.forecast.classes)
    at = (groups.group * k + answer) * k + evaluation.forecast.likeliest[known]
    return MacroF1(np.bincount(at, minlength=groups.count * k * k).reshape(groups.count, k, k).astype(np.float64))
