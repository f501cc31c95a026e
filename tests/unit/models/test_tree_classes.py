"""Trees for classes: each unit judged by trees that never saw it, and a graph that says what the trees say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wearcast.inference import OnnxSession
from wearcast.models.folds import unit_folds
from wearcast.models.spec import LightGbm
from wearcast.models.tree_classes import ClassFit, cross_fit_classes
from wearcast.models.tree_graph import class_graph

COLUMNS = 5


def make_rows(k: int, units: int = 12, rows: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table in which column 0 tells the class, the class, and the unit; a unit has one class."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(units, dtype=np.int32), rows)
    answer = (unit % k).astype(np.int64)
    table = rng.normal(size=(len(unit), COLUMNS)).astype(np.float32)
    table[:, 0] += 3 * answer
    return table, answer, unit


def fit(k: int, folds: int = 3, weight: np.ndarray | None = None, trees: int = 8) -> ClassFit:
    """Small trees."""
    spec = LightGbm(folds=folds, n_trees=trees, learning_rate=0.3, max_leaves=6, min_leaf_rows=5, threads=1)
    table, answer, unit = make_rows(k)
    return cross_fit_classes(spec, table, answer, unit, weight=np.ones(k) if weight is None else weight, seed=1)


def served(fitted: ClassFit, table: np.ndarray, folder: Path) -> np.ndarray:
    """What the graph gives."""
    path = folder / "model.onnx"
    path.write_bytes(class_graph(fitted, COLUMNS).SerializeToString())
    return OnnxSession(path).run({"table": table})


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("folds", [2, 6])
def test_the_graph_says_what_the_trees_say(k: int, folds: int, tmp_path: Path) -> None:
    fitted = fit(k, folds)
    assert len(fitted.boosters) == folds
    fresh, _, _ = make_rows(k, seed=9)
    expected = fitted.scores(fresh)
    assert expected.shape == (len(fresh), k)
    np.testing.assert_allclose(served(fitted, fresh, tmp_path), expected, atol=1e-4)
    np.testing.assert_allclose(served(fitted, fresh[:1], tmp_path), expected[:1], atol=1e-4)
    # Scores of one class are not those of another: a mix-up of targets could not pass.
    assert np.abs(expected - np.roll(expected, 1, axis=1)).max() > 0.5


def test_trees_that_learnt_nothing_are_exported_too(tmp_path: Path) -> None:
    """Too few rows to divide once: each tree is one leaf."""
    spec = LightGbm(folds=2, n_trees=4, learning_rate=0.3, max_leaves=4, min_leaf_rows=10_000, threads=1)
    table = np.zeros((40, COLUMNS), dtype=np.float32)
    answer, unit = np.tile([0, 1, 2, 1], 10).astype(np.int64), np.repeat(np.arange(4, dtype=np.int32), 10)
    fitted = cross_fit_classes(spec, table, answer, unit, weight=np.ones(3), seed=0)
    np.testing.assert_allclose(served(fitted, table, tmp_path), fitted.scores(table), atol=1e-5)
    share = np.exp(fitted.scores(table[:1])[0])
    np.testing.assert_allclose(share / share.sum(), [0.25, 0.5, 0.25], atol=0.03)


@pytest.mark.parametrize("k", [2, 4])
def test_a_class_that_no_row_has_is_possible_in_the_graph_and_unlikely(k: int, tmp_path: Path) -> None:
    spec = LightGbm(folds=2, n_trees=6, learning_rate=0.3, max_leaves=4, min_leaf_rows=5, threads=1)
    table, answer, unit = make_rows(k)
    weight = np.where(np.arange(k + 1) < k, 1.0, 0.0)
    fitted = cross_fit_classes(spec, table, answer, unit, weight=weight, seed=0)
    scores = fitted.scores(table)
    assert np.isfinite(scores).all()
    assert (scores[:, k] < scores[:, :k].max(axis=1) - 5).all()
    np.testing.assert_allclose(served(fitted, table, tmp_path), scores, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("k", [2, 3])
def test_out_of_fold_scores_are_of_trees_that_never_saw_the_unit(k: int) -> None:
    fitted = fit(k)
    table, answer, unit = make_rows(k)
    fold = unit_folds(unit, 3, 1, strata=answer)
    for number, booster in enumerate(fitted.boosters):
        held_out = fold == number
        raw = np.asarray(booster.predict(table[held_out], raw_score=True))
        expected = raw if k > 2 else np.column_stack([np.zeros_like(raw), raw])
        np.testing.assert_array_equal(fitted.out_of_fold[held_out], expected)
    assert (fitted.out_of_fold.argmax(axis=1) == answer).mean() > 0.8


def test_every_fold_holds_out_units_of_each_class() -> None:
    _, answer, unit = make_rows(4)
    fold = unit_folds(unit, 3, 5, strata=answer)
    for number in range(3):
        assert set(answer[fold == number].tolist()) == {0, 1, 2, 3}
        assert set(unit[fold == number]).isdisjoint(unit[fold != number])


def test_a_weighted_class_is_said_more_often() -> None:
    plain, weighted = fit(2, trees=3), fit(2, weight=np.array([1.0, 20.0]), trees=3)
    assert weighted.out_of_fold[:, 1].mean() > plain.out_of_fold[:, 1].mean() + 1


def test_progress_is_told_fold_by_fold() -> None:
    told: list[tuple[int, int]] = []
    spec = LightGbm(folds=3, n_trees=1, threads=1)
    table, answer, unit = make_rows(2)
    cross_fit_classes(
        spec, table, answer, unit, weight=np.ones(2), seed=0, on_fold=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_more_bins_find_a_limit_that_few_records_lie_beyond() -> None:
    """255 bins by rank leave one or two to the last hundredth of the rows."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6000, 1)).astype(np.float32)
    answer = (table[:, 0] > np.sort(table[:, 0])[-31]).astype(np.int64)
    spec = LightGbm(folds=2, n_trees=20, learning_rate=0.3, max_leaves=4, min_leaf_rows=2, feature_share=1, threads=1)
    wrong = []
    for bins in (255, 4000):
        fine = spec.model_copy(update={"bins": bins, "row_share": 1.0})
        fitted = cross_fit_classes(fine, table, answer, np.arange(6000, dtype=np.int32), weight=np.ones(2), seed=0)
        wrong.append(int((fitted.out_of_fold.argmax(axis=1) != answer).sum()))
    assert wrong[1] <= 3 < wrong[0]
