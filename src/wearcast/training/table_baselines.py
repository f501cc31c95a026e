"""How the baselines learn their targets: ridge, Weibull regression, persistence; a function each, from a lesson.

A time to an event is a figure with curves around it for each of them, as it is for trees: the forecast, the scale of
the Weibull distribution, or no more than the age. A failure within a horizon is read off the same curves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wearcast.inference.tables import table_columns
from wearcast.models import Persistence, Ridge, Survival
from wearcast.models.curves import beran_curves, interpolate, row_weights
from wearcast.models.folds import Folds
from wearcast.models.linear import Linear, Standard, choose, log_softmax, ridge, softmax, weibull
from wearcast.models.linear_graph import constant_graph, figure_graph, linear_graph, quantile_graph
from wearcast.models.tree_quantiles import error_quantiles
from wearcast.target import FailureTarget
from wearcast.training.lesson import Facts, Lesson, TableModel
from wearcast.training.tasks import ClassTask, RulTask, SensorTask

__all__ = ["learn_persistence", "learn_ridge", "learn_survival"]

Floats = NDArray[np.float64]

SHARE = 1e-4  # the least probability of a failure, and of none: a score is a logarithm


def learn_ridge(spec: Ridge, lesson: Lesson) -> TableModel:
    """Ridge regression of times and values, softmax regression of classes."""
    task = lesson.task
    if isinstance(task, RulTask):
        return _ridge_lives(spec, lesson, task)
    if isinstance(task, ClassTask):
        return _ridge_classes(spec, lesson, task)
    assert isinstance(task, SensorTask)  # noqa: S101 — there are no others
    return _ridge_values(spec, lesson, task)


def _ridge_lives(spec: Ridge, lesson: Lesson, task: RulTask) -> TableModel:
    cap = task.target.max_rul
    label = np.minimum(lesson.answer, cap)
    censored = ~lesson.known & (lesson.answer < cap)
    sure = ~censored
    standard = Standard.of(lesson.table)
    z = standard(lesson.table)

    def loss(said: Floats, _: float) -> float:
        # A running unit counts where it is said to end before it did.
        error = np.where(sure, said[:, 0] - label, np.minimum(said[:, 0] - label, 0))
        return float(np.mean(error**2))

    fit = ridge(z, label[:, None], censored)
    chosen = choose(standard, z, fit, loss, spec.penalties, lesson.folds(spec.folds), lesson.on_fold)
    knots, curves = _curves(lesson, chosen.out_of_fold[:, 0], task)
    graph = figure_graph(chosen.model, knots, curves, "survival")
    expected = interpolate(chosen.model(lesson.sample)[:, 0], knots, curves)
    return TableModel(
        interpolate(chosen.out_of_fold[:, 0], knots, curves), graph, expected, {"penalty": chosen.penalty}
    )


def _ridge_classes(spec: Ridge, lesson: Lesson, task: ClassTask) -> TableModel:
    standard = Standard.of(lesson.table)
    z, each = standard(lesson.table), task.weight[lesson.answer]
    rows = np.arange(len(z))

    def loss(said: Floats, _: float) -> float:
        return -float(np.average(log_softmax(said)[rows, lesson.answer], weights=each))

    fit = softmax(z, lesson.answer, task.weight)
    folds = lesson.folds(spec.folds, lesson.answer)
    chosen = choose(standard, z, fit, loss, spec.penalties, folds, lesson.on_fold)
    graph = linear_graph(chosen.model)
    return TableModel(chosen.out_of_fold, graph, chosen.model(lesson.sample), {"penalty": chosen.penalty})


def _ridge_values(spec: Ridge, lesson: Lesson, task: SensorTask) -> TableModel:
    n, steps, k = lesson.answer.shape
    folds = lesson.folds(spec.folds)
    standard = Standard.of(lesson.table)
    z = standard(lesson.table)
    points = np.empty((n, steps, k))
    weights, constant = np.zeros((z.shape[1], steps, k)), np.zeros((steps, k))
    facts: Facts = {}
    for j in range(k):  # columns differ in what is known of them
        whole: NDArray[np.bool_] = np.all(lesson.known[:, :, j], axis=1)
        answer = lesson.answer[:, :, j].astype(np.float64)

        def loss(said: Floats, _: float, answer: Floats = answer, whole: NDArray[np.bool_] = whole) -> float:
            return float(np.mean((said - answer)[whole] ** 2)) if whole.any() else 0.0

        known = tuple((_some(seen & whole, seen), held) for seen, held in folds)
        chosen = choose(standard, z, ridge(z, answer), loss, spec.penalties, known, lesson.on_fold)
        points[:, :, j] = chosen.out_of_fold
        weights[:, :, j], constant[:, j] = chosen.model.weights, chosen.model.constant
        facts[f"penalty_{task.target.columns[j]}"] = chosen.penalty
    around = error_quantiles(lesson.answer - points, lesson.known, task.target.quantile_levels)
    model = Linear(standard, weights.reshape(len(weights), -1), constant.ravel())
    expected = model(lesson.sample).reshape(-1, steps, k)[..., None] + around
    return TableModel(points[..., None] + around, quantile_graph(model, around), expected, facts)


def _some(rows: NDArray[np.bool_], otherwise: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return rows if rows.any() else otherwise


def learn_survival(spec: Survival, lesson: Lesson) -> TableModel:
    """Weibull regression of the time left; the lesson's answers are times, of running units so far."""
    standard = Standard.of(lesson.table)
    z, weight = standard(lesson.table), row_weights(lesson.unit)
    positive = lesson.answer[lesson.answer > 0]
    time = lesson.answer + (float(positive.min()) / 2 if len(positive) else 1.0)  # the last reading is not the end yet
    seen = lesson.known.astype(np.float64)

    def loss(said: Floats, scale: float) -> float:
        e = np.clip((np.log(time) - said[:, 0]) / scale, -50, 20)
        return -float(np.average(seen * (e - np.log(scale)) - np.exp(e), weights=weight))

    folds = lesson.folds(spec.folds)
    chosen = choose(
        standard, z, weibull(z, time, lesson.known, weight), loss, spec.penalties, folds, lesson.on_fold
    )  # fmt: skip
    bounds = float(np.log(time.min())) - 1, float(np.log(time.max())) + 1

    def figure(logarithm: Floats) -> Floats:
        return np.exp(np.clip(logarithm[:, 0], *bounds))

    knots, curves = _curves(lesson, figure(chosen.out_of_fold), lesson.task)
    graph = figure_graph(chosen.model, knots, curves, _output(lesson), logarithm=bounds)
    expected = interpolate(figure(chosen.model(lesson.sample)), knots, curves)
    facts: Facts = {"penalty": chosen.penalty, "shape": round(1 / chosen.scale, 4)}
    return TableModel(interpolate(figure(chosen.out_of_fold), knots, curves), graph, expected, facts)


def learn_persistence(spec: Persistence, lesson: Lesson) -> TableModel:
    """What comes is as it was before: the last value, or the lives of others of the same age."""
    folds = lesson.folds(spec.folds)
    n_columns = lesson.table.shape[1]
    if isinstance(lesson.task, SensorTask):
        return _last_value(lesson, folds, lesson.task)
    at = table_columns(lesson.preprocessing, lesson.preprocessing.features).index("age")  # type: ignore[arg-type]
    age = lesson.table[:, at].astype(np.float64)
    knots, curves = _curves(lesson, age, lesson.task)
    raw = np.empty((len(age), curves.shape[1]))
    for seen, held in folds:
        raw[held] = interpolate(age[held], *_curves(lesson, age, lesson.task, seen))
    weights = np.zeros((n_columns, 1))
    weights[at] = 1.0
    model = Linear(Standard(np.zeros(n_columns), np.ones(n_columns)), weights, np.zeros(1))
    graph = figure_graph(model, knots, curves, _output(lesson))
    return TableModel(raw, graph, interpolate(lesson.sample[:, at].astype(np.float64), knots, curves), {})


def _last_value(lesson: Lesson, folds: Folds, task: SensorTask) -> TableModel:
    levels = task.target.quantile_levels

    def changes(rows: NDArray[np.bool_]) -> Floats:
        around = error_quantiles(lesson.answer[rows].astype(np.float64), lesson.known[rows], levels)
        return around - around[..., [levels.index(0.5)]]  # the forecast is no change

    raw = np.empty((*lesson.answer.shape, len(levels)))
    for seen, held in folds:
        raw[held] = changes(seen)
    around = changes(np.ones(len(lesson.answer), dtype=np.bool_))
    graph = constant_graph(around, lesson.table.shape[1], "quantiles")
    return TableModel(raw, graph, np.broadcast_to(around, (len(lesson.sample), *around.shape)), {})


def _curves(
    lesson: Lesson, figure: Floats, task: object, rows: NDArray[np.bool_] | None = None
) -> tuple[Floats, Floats]:
    """Knots, and what is read off at each: survival at the grid's edges, or scores of a failure within the horizon."""
    chosen = np.ones(len(figure), dtype=np.bool_) if rows is None else rows
    grid, scored = _grid(task)
    knots, curves = beran_curves(
        figure[chosen], lesson.answer[chosen], lesson.known[chosen], row_weights(lesson.unit[chosen]), grid
    )
    return knots, scored(curves)


def _grid(task: object) -> tuple[Floats, Callable[[Floats], Floats]]:
    if isinstance(task, RulTask):
        return task.grid, lambda survival: survival
    assert isinstance(task, ClassTask)  # noqa: S101 — the experiment's own validator
    assert isinstance(task.target, FailureTarget)  # noqa: S101 — the experiment's own validator
    assert task.target.horizon is not None  # noqa: S101 — the experiment's own validator

    def scores(survival: Floats) -> Floats:
        failure = np.clip(1 - survival[:, 1], SHARE, 1 - SHARE)
        return np.column_stack([np.zeros(len(failure)), np.log(failure / (1 - failure))])

    return np.array([0.0, task.target.horizon]), scores


def _output(lesson: Lesson) -> str:
    return "survival" if isinstance(lesson.task, RulTask) else "scores"
