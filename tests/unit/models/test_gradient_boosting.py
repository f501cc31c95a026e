"""Cross-fitted trees: folds by unit, curves from rows not seen, an exact graph."""

from __future__ import annotations

import numpy as np
import pytest

from wearcast.errors import ExportError
from wearcast.inference import OnnxSession
from wearcast.models import LightGbm
from wearcast.models.curves import beran_curves, interpolate
from wearcast.models.folds import even_rows, unit_folds
from wearcast.models.gradient_boosting import cross_fit
from wearcast.models.tree_graph import _round_down, _walk, tree_graph

GRID = np.linspace(0, 30, 16)
SPEC = LightGbm(folds=3, n_trees=20, max_leaves=6, min_leaf_rows=5, threads=1)


def make_table(units: int = 12, rows: int = 30, censored: int = 0, seed: int = 0):
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(units, dtype=np.int32), rows)
    duration = np.tile(np.arange(rows)[::-1].astype(float), units)
    known = unit < units - censored
    table = rng.normal(size=(len(unit), 4)).astype(np.float32)
    table[:, 0] += duration / 5
    return table, np.where(known, duration, np.maximum(duration - 10, 0)), known, unit


def test_folds_never_divide_a_unit_and_use_every_unit_once():
    unit = np.repeat(np.arange(10, dtype=np.int32), 5)
    folds = unit_folds(unit, 4, seed=1)
    assert {len(set(folds[unit == u])) for u in range(10)} == {1}
    assert set(folds) == {0, 1, 2, 3}


def test_more_folds_than_units_is_one_fold_a_unit():
    assert set(unit_folds(np.array([0, 0, 1]), 5, seed=0)) == {0, 1}


def test_even_rows_keep_the_last_of_each_unit():
    rows = even_rows(np.array([0, 100, 103]), 10)
    assert len(rows) == 13
    assert rows[9] == 99
    assert rows[-1] == 102


def test_curves_are_the_kaplan_meier_curve_when_the_figure_says_nothing():
    rng = np.random.default_rng(0)
    event, stop = rng.exponential(10, 20000), rng.exponential(15, 20000)
    _, curves = beran_curves(rng.normal(size=20000), np.minimum(event, stop), event <= stop, np.ones(20000), GRID)
    np.testing.assert_allclose(curves.mean(axis=0)[GRID < 20], np.exp(-GRID / 10)[GRID < 20], atol=0.03)
    assert (np.diff(curves, axis=1) <= 1e-12).all()


@pytest.mark.parametrize("censored", [0, 4])
def test_graph_equals_the_trees(censored, tmp_path):
    table, duration, known, unit = make_table(censored=censored)
    fitted = cross_fit(SPEC, table, duration, known, unit, grid=GRID, max_rul=25.0, seed=0)
    path = tmp_path / "trees.onnx"
    path.write_bytes(tree_graph(fitted, table.shape[1]).SerializeToString())
    got = OnnxSession(path).run({"table": table})
    np.testing.assert_allclose(got, fitted.survival(table), atol=1e-5)
    figure = fitted.figure(table)
    assert abs(figure.mean() - np.minimum(duration, 25).mean()) < 6
    assert np.corrcoef(figure[known], duration[known])[0, 1] > 0.8


def test_running_units_raise_the_figure_above_their_own_time():
    table, duration, known, unit = make_table(units=20, censored=10)
    fitted = cross_fit(SPEC, table, duration, known, unit, grid=GRID, max_rul=25.0, seed=0)
    running = ~known
    assert fitted.figure(table)[running].mean() > duration[running].mean() + 3


def test_one_seed_gives_one_model():
    table, duration, known, unit = make_table()
    first, second = (
        cross_fit(SPEC, table, duration, known, unit, grid=GRID, max_rul=25.0, seed=5).figure(table) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_interpolation_is_exact_at_the_knots_and_clamped_beyond():
    knots, curves = np.array([0.0, 10.0]), np.array([[1, 0.0], [1, 1.0]])
    np.testing.assert_allclose(interpolate(np.array([-5, 0, 5, 10, 20.0]), knots, curves)[:, 1], [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("threshold", [0.1, -0.1, 1e-45, 1.0, 16777217.0, -3.3e38])
def test_rounding_a_threshold_down_changes_no_decision(threshold):
    single = _round_down(threshold)
    around = np.nextafter(np.float32(single), np.array([-np.inf, np.inf], dtype=np.float32))
    for x in (*around, np.float32(single)):
        assert (float(x) <= threshold) == (x <= np.float32(single))


def test_a_decision_that_onnx_cannot_take_is_refused():
    node = {"decision_type": "==", "split_feature": 0, "threshold": 1, "left_child": {}, "right_child": {}}
    with pytest.raises(ExportError, match="'=='"):
        _walk(node, 0, {}, {})
