"""How trees and envelope evidence learn their targets: a function each, from a lesson to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wearcast.features import SignalFeatures
from wearcast.inference.tables import sensor_blocks, table_columns
from wearcast.models import EnvelopeEvidence, LightGbm
from wearcast.models.curves import interpolate
from wearcast.models.envelope_evidence import EvidenceLayout, cross_fit_evidence, evidence_graph
from wearcast.models.folds import few_of
from wearcast.models.gradient_boosting import cross_fit
from wearcast.models.tree_classes import cross_fit_classes
from wearcast.models.tree_graph import class_graph, tree_graph
from wearcast.models.tree_quantiles import cross_fit_quantiles, quantile_tree_graph
from wearcast.training.lesson import Facts, Lesson, TableModel
from wearcast.training.tasks import ClassTask, RulTask, SensorTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lightgbm

__all__ = ["learn_evidence", "learn_trees"]


def learn_trees(spec: LightGbm, lesson: Lesson) -> TableModel:
    """Gradient-boosted trees, for every target."""
    task = lesson.task
    if isinstance(task, RulTask):
        return _lives(spec, lesson, task)
    if isinstance(task, ClassTask):
        return _classes(spec, lesson, task)
    assert isinstance(task, SensorTask)  # noqa: S101 — there are no others
    return _values(spec, lesson, task)


def _lives(spec: LightGbm, lesson: Lesson, task: RulTask) -> TableModel:
    blocks = sensor_blocks(lesson.preprocessing) if spec.wear_indices else None
    far_share = lesson.experiment.trainer.far_share
    fitted = cross_fit(
        spec, lesson.table, lesson.answer, lesson.known, lesson.unit, grid=task.grid, max_rul=task.target.max_rul,
        seed=lesson.experiment.seed, folds=lesson.folds(spec.folds), blocks=blocks,
        learnt=few_of(task.far(lesson.answer), far_share), on_fold=lesson.on_fold,
    )  # fmt: skip
    raw = interpolate(fitted.out_of_fold, fitted.knots, fitted.curves)
    graph = tree_graph(fitted, lesson.table.shape[1])
    return TableModel(raw, graph, fitted.survival(lesson.sample), _count(fitted.boosters))


def _classes(spec: LightGbm, lesson: Lesson, task: ClassTask) -> TableModel:
    fitted = cross_fit_classes(
        spec, lesson.table, lesson.answer, lesson.unit, weight=task.weight, seed=lesson.experiment.seed,
        folds=lesson.folds(spec.folds, lesson.answer), on_fold=lesson.on_fold,
    )  # fmt: skip
    graph = class_graph(fitted, lesson.table.shape[1])
    return TableModel(fitted.out_of_fold, graph, fitted.scores(lesson.sample), _count(fitted.boosters))


def _values(spec: LightGbm, lesson: Lesson, task: SensorTask) -> TableModel:
    fitted = cross_fit_quantiles(
        spec, lesson.table, lesson.answer, lesson.known, levels=task.target.quantile_levels,
        folds=lesson.folds(spec.folds), seed=lesson.experiment.seed, on_fold=lesson.on_fold,
    )  # fmt: skip
    graph = quantile_tree_graph(fitted, lesson.table.shape[1])
    boosters = [booster for fold in fitted.centre for column in fold for booster in column]
    boosters += [booster for fold in fitted.spread for booster in fold]
    return TableModel(fitted.out_of_fold, graph, fitted.quantiles(lesson.sample), _count(boosters))


def _count(boosters: Sequence[lightgbm.Booster]) -> Facts:
    return {"trees": sum(booster.num_trees() for booster in boosters)}


def learn_evidence(spec: EnvelopeEvidence, lesson: Lesson) -> TableModel:
    """Bearing faults by their line in the envelope spectrum."""
    task, features = lesson.task, lesson.preprocessing.features
    assert isinstance(task, ClassTask)  # noqa: S101 — the experiment's own validator
    assert isinstance(features, SignalFeatures)  # noqa: S101 — the experiment's own validator
    signals = tuple(scale.column for scale in lesson.preprocessing.sensors)
    columns = table_columns(lesson.preprocessing, features)
    layout = EvidenceLayout.of(spec, features, signals, columns, task.target.classes)
    fitted = cross_fit_evidence(
        spec, layout, lesson.table, lesson.answer, lesson.unit, weight=task.weight, seed=lesson.experiment.seed
    )
    graph = evidence_graph(fitted, lesson.table.shape[1])
    facts: Facts = {"threshold": round(fitted.threshold, 6)}
    return TableModel(fitted.out_of_fold, graph, fitted.scores(lesson.sample), facts)
