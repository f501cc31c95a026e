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


ONE_UNIT = np.zeros(60, dtype=np.intp)


@given(st.integers(0, 2**16))
def test_weights_of_one_unit_are_the_best_on_a_grid(seed: int):
    errors, weight = errors_of(seed), np.random.default_rng(seed).uniform(0.1, 1.0, 60)

    def pooled(share: np.ndarray) -> float:
        return float((weight[:, None] * np.tensordot(share, errors, axes=1) ** 2).sum() / weight.sum())

    found = stacked_weights(errors, weight, ONE_UNIT)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1.0)
    grid = [np.array([a, b, 1 - a - b]) for a, b in itertools.product(np.linspace(0, 1, 21), repeat=2) if a + b <= 1]
    assert pooled(found) <= min(map(pooled, grid)) + 1e-9


@pytest.mark.parametrize("unit", [ONE_UNIT, np.arange(60) % 12], ids=["one unit", "twelve units"])
def test_a_member_that_only_adds_noise_gets_nothing(unit: np.ndarray):
    good = errors_of(0, members=1)
    both = np.concatenate([good, good * 3])
    assert stacked_weights(both, np.ones(60), unit) == pytest.approx([1.0, 0.0], abs=1e-6)


def test_what_is_luck_with_a_few_units_is_not_followed():
    """Of members that err alike on the whole, the pooled error on further units is least with equal weights."""
    # The sum of squared weights is what the pooled error has beyond what all have in common; 0.25 with equal weights.
    pulled, followed = [], []
    for seed in range(60):
        rng, unit = np.random.default_rng(seed), np.repeat(np.arange(30), 5)
        errors = (rng.normal(size=(4, 30)) + 2 * rng.normal(size=30))[:, unit, None]
        pulled.append(np.square(stacked_weights(errors, np.ones(150), unit)).sum() - 0.25)
        followed.append(np.square(stacked_weights(errors, np.ones(150), 0 * unit)).sum() - 0.25)
    assert np.mean(followed) > 0.2
    assert np.mean(pulled) < 0.6 * np.mean(followed)


def test_weights_do_not_depend_on_the_scale_of_the_errors():
    errors, unit = errors_of(3), np.arange(60) % 12
    found = stacked_weights(errors, np.ones(60), unit)
    assert stacked_weights(1e-9 * errors, np.ones(60), unit) == pytest.approx(found, abs=1e-6)
    assert stacked_weights(1e9 * errors, 1e-9 * np.ones(60), unit) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("errors", [np.zeros((3, 60, 1)), errors_of(4, 1).repeat(3, axis=0)], ids=["none", "the same"])
@pytest.mark.parametrize("unit", [ONE_UNIT, np.arange(60) % 12], ids=["one unit", "twelve units"])
def test_members_that_cannot_be_told_apart_share_alike(errors: np.ndarray, unit: np.ndarray):
    assert stacked_weights(errors, np.ones(60), unit) == pytest.approx(np.full(3, 1 / 3), abs=1e-6)


def test_inverse_error_weights():
    errors = np.array([[[1.0], [1.0]], [[2.0], [2.0]]])
    assert inverse_error_weights(errors, np.ones(2)) == pytest.approx([0.8, 0.2])


def test_rows_without_an_answer_do_not_count():
    errors = errors_of(1)
    holes = errors.copy()
    holes[:, :20] = np.nan
    unit = np.arange(60) % 12
    found = stacked_weights(errors[:, 20:], np.ones(40), unit[20:])
    assert stacked_weights(holes, np.ones(60), unit) == pytest.approx(found, abs=1e-6)


def test_rows_of_no_weight_do_not_count():
    errors, weight = errors_of(2), np.repeat([0.0, 1.0], 30)
    assert inverse_error_weights(errors, weight) == pytest.approx(inverse_error_weights(errors[:, 30:], np.ones(30)))
