"""Linear models against slow or known answers: normal equations, Newton's method, the truth behind drawn data."""

from __future__ import annotations

import numpy as np
import pytest

from wearcast.inference import OnnxSession
from wearcast.models.envelope_evidence import _regression
from wearcast.models.folds import by_unit
from wearcast.models.linear import Linear, Standard, choose, ridge, softmax, weibull
from wearcast.models.linear_graph import linear_graph


def make_table(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    """Four columns of different size, and a generator to go on with."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 4)) * [1, 10, 0.1, 1] + [0, 50, 0, -3]).astype(np.float32), rng


def all_rows(z: np.ndarray) -> np.ndarray:
    return np.ones(len(z), dtype=np.bool_)


def test_ridge_is_the_solution_of_the_normal_equations():
    table, rng = make_table()
    z = Standard.of(table)(table)
    y = z @ rng.normal(size=(4, 3)) + rng.normal(size=(400, 3))
    for (w, c, _), penalty in zip(ridge(z, y)(all_rows(z), (0.1, 2.0)), (0.1, 2.0), strict=True):
        x = z - z.mean(axis=0)
        expected = np.linalg.solve(x.T @ x / len(x) + penalty * np.eye(4), x.T @ (y - y.mean(axis=0)) / len(x))
        np.testing.assert_allclose(w, expected, atol=1e-10)
        np.testing.assert_allclose((z @ w + c).mean(axis=0), y.mean(axis=0), atol=1e-10)


def test_values_that_are_only_known_to_be_larger_are_not_taken_as_they_are():
    table, rng = make_table(4000)
    z = Standard.of(table)(table)
    truth = 20 + 5 * z[:, 0] + rng.normal(size=4000)
    stop = 20 + rng.normal(0, 3, size=4000)
    censored = truth > stop
    seen = np.minimum(truth, stop)[:, None]
    ((naive, low, _),) = ridge(z, seen)(all_rows(z), (1e-6,))
    ((w, c, sd),) = ridge(z, seen, censored)(all_rows(z), (1e-6,))
    assert naive[0, 0] < 4
    assert low[0] < 19
    assert w[0, 0] == pytest.approx(5, abs=0.3)
    assert c[0] == pytest.approx(20, abs=0.3)
    assert sd == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("k", [2, 3])
def test_softmax_regression_is_where_newtons_method_ends(k: int):
    table, rng = make_table(300)
    z = Standard.of(table)(table)
    answer = (z[:, 0] + rng.normal(size=300) > 0).astype(np.int64) + (k - 2) * (z[:, 1] > 0.5)
    weight = np.arange(1.0, k + 1)
    total = weight[answer].sum()
    ((w, c, _),) = softmax(z, answer, weight)(all_rows(z), (20 / total,))
    newton = _regression(z, answer.astype(np.intp), weight[answer], k, 10.0)
    expected = z @ newton[:-1] + newton[-1]
    found = z @ w + c
    np.testing.assert_allclose(
        found - found.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True), atol=0.01
    )


def test_weibull_regression_finds_what_the_times_were_drawn_from():
    table, rng = make_table(6000)
    z = Standard.of(table)(table)
    time = np.exp(3 + 0.7 * z[:, 1]) * rng.weibull(2.0, size=6000)
    stop = rng.exponential(40, size=6000)
    ((w, c, scale),) = weibull(z, np.minimum(time, stop), time <= stop, np.ones(6000))(all_rows(z), (1e-6,))
    np.testing.assert_allclose(w[:, 0], [0, 0.7, 0, 0], atol=0.04)
    assert c[0] == pytest.approx(3, abs=0.04)
    assert scale == pytest.approx(0.5, abs=0.02)


def test_the_penalty_of_least_error_out_of_fold_is_taken_and_rows_are_judged_by_others():
    table, rng = make_table(60)
    standard = Standard.of(table)
    z = standard(table)
    y = rng.normal(size=(60, 1))  # nothing to learn: the strongest penalty is the best
    folds = by_unit(np.repeat(np.arange(6, dtype=np.int32), 10), 3, 0)
    chosen = choose(standard, z, ridge(z, y), lambda said, _: float(np.mean((said - y) ** 2)), (1e-3, 1.0, 1e3), folds)
    assert chosen.penalty == 1e3
    seen, held = folds[0]
    ((w, c, _),) = ridge(z, y)(seen, (1e3,))
    np.testing.assert_allclose(chosen.out_of_fold[held], z[held] @ w + c)


def test_what_is_not_known_counts_as_the_mean_and_what_never_varies_as_nothing(tmp_path):
    table, rng = make_table()
    table[:, 3] = 7.0
    table[5, 0] = np.nan
    standard = Standard.of(table)
    z = standard(table)
    assert (z[:, 3] == 0).all()
    assert z[5, 0] == 0
    np.testing.assert_allclose(z[:, :3].std(axis=0), 1, atol=0.01)
    model = Linear(standard, rng.normal(size=(4, 2)), rng.normal(size=2))
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear_graph(model).SerializeToString())
    np.testing.assert_allclose(OnnxSession(path).run({"table": table}), model(table), atol=1e-5)
