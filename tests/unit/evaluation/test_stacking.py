"""Weights of ensembles against their definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast.evaluation.stacking import inverse_error_weights, stacked_weights


def errors_of(seed: int, members: int = 3, n: int = 60) -> np.ndarray:
    """Signed errors that share a part, `(members, n, 1)`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1, n, 1)) + rng.normal(size=(members, n, 1)) * rng.uniform(0.3, 3, (members, 1, 1))


@given(st.integers(0, 2**16))
def test_stacked_weights_are_the_best_on_a_grid(seed: int):
    errors, weight = errors_of(seed), np.random.default_rng(seed).uniform(0.1, 1.0, 60)

    def pooled(share: np.ndarray) -> float:
        return float((weight[:, None] * np.tensordot(share, errors, axes=1) ** 2).sum() / weight.sum())

    found = stacked_weights(errors, weight)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1.0)
    grid = [np.array([a, b, 1 - a - b]) for a, b in itertools.product(np.linspace(0, 1, 21), repeat=2) if a + b <= 1]
    assert pooled(found) <= min(map(pooled, grid)) + 1e-9


def test_a_member_that_only_adds_noise_gets_nothing():
    good = errors_of(0, members=1)
    both = np.concatenate([good, good * 3])
    assert stacked_weights(both, np.ones(60)) == pytest.approx([1.0, 0.0], abs=1e-6)


def test_inverse_error_weights():
    errors = np.array([[[1.0], [1.0]], [[2.0], [2.0]]])
    assert inverse_error_weights(errors, np.ones(2)) == pytest.approx([0.8, 0.2])


def test_rows_without_an_answer_do_not_count():
    errors = errors_of(1)
    holes = errors.copy()
    holes[:, :20] = np.nan
    assert stacked_weights(holes, np.ones(60)) == pytest.approx(stacked_weights(errors[:, 20:], np.ones(40)), abs=1e-6)


def test_rows_of_no_weight_do_not_count():
    errors, weight = errors_of(2), np.repeat([0.0, 1.0], 30)
    assert inverse_error_weights(errors, weight) == pytest.approx(inverse_error_weights(errors[:, 30:], np.ones(30)))
