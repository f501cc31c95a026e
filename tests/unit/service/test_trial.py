"""Intervals of a difference hold what they promise, and looking again and again stops none that is no worse."""

from __future__ import annotations

import numpy as np
import pytest

from wearcast.service.trial import FEWEST, Arms, anytime_half_width, judge, mean_interval

N = 400
RUNS = 1_000


def test_a_worse_challenger_is_told_and_stopped() -> None:
    rng = np.random.default_rng(1)
    champion = rng.exponential(10, 60)
    trial = judge(Arms(champion, champion + rng.normal(3, 2, 60), "paired"))
    assert trial.verdict == "worse"
    assert trial.losing
    assert trial.low <= trial.difference <= trial.high
    assert trial.anytime_low < trial.low < trial.high < trial.anytime_high


def test_a_better_challenger_is_told_and_not_stopped() -> None:
    rng = np.random.default_rng(2)
    trial = judge(Arms(rng.exponential(10, 200), rng.exponential(4, 200), "split"))
    assert trial.verdict == "better"
    assert not trial.losing


def test_no_difference_is_called_none() -> None:
    rng = np.random.default_rng(3)
    trial = judge(Arms(rng.exponential(10, 100), rng.exponential(10, 40), "split"))
    assert trial.verdict == "no real difference"
    assert not trial.losing


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 5), (5, 1), (0, 3)])
def test_nothing_is_said_of_too_few_units(a: int, b: int) -> None:
    trial = judge(Arms(np.ones(a), np.ones(b), "split"))
    assert trial.verdict == "unknown"
    assert not trial.losing
    assert not trial.enough


def test_few_units_are_reported_as_few_and_stop_nothing() -> None:
    trial = judge(Arms(np.arange(6.0), np.arange(6.0) + 50, "paired"))
    assert trial.verdict == "worse"
    assert "only 6 units" in (trial.reservation or "")
    assert not trial.losing, "six units are no reason to stop"


def test_pairs_see_what_two_samples_cannot() -> None:
    """Units differ more than the models: only pairs take that out."""
    rng = np.random.default_rng(4)
    champion = rng.exponential(20, 40)
    challenger = champion + 1 + rng.normal(0, 0.5, 40)
    assert judge(Arms(champion, challenger, "paired")).verdict == "worse"
    assert judge(Arms(champion, challenger, "split")).verdict == "no real difference"


def test_the_bootstrap_interval_holds_the_truth() -> None:
    """95 % of intervals of the mean of 50 skewed errors; 88 % allows for small samples (Efron & Tibshirani, §13.3)."""
    rng = np.random.default_rng(5)
    held = [low <= 1 <= high for low, high in (mean_interval(rng.exponential(1, 50)) or (0, 0) for _ in range(300))]
    assert 0.88 <= np.mean(held) <= 0.99


def test_many_units_give_the_same_interval_as_few_thousand() -> None:
    rng = np.random.default_rng(6)
    errors = rng.exponential(1, 5_001)
    below, above = mean_interval(errors[:5_000]), mean_interval(errors)
    assert below == pytest.approx(above, abs=0.01)
    assert mean_interval(np.ones(1)) is None


def _looks(rng: np.random.Generator, share: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Difference and standard error after each unit of `RUNS` experiments without a difference, `(RUNS, N)` each."""
    if share is None:  # pairs: skewed errors, each model with its own noise
        value = rng.exponential(10, (RUNS, N)) - rng.exponential(10, (RUNS, N))
        return _running(value, np.ones_like(value, dtype=bool))
    errors, challenger = rng.exponential(10, (RUNS, N)), rng.random((RUNS, N)) < share
    mean_b, error_b = _running(errors, challenger)
    mean_a, error_a = _running(errors, ~challenger)
    return mean_b - mean_a, np.sqrt(error_a**2 + error_b**2)


def _running(values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over those that are counted so far; infinite error of too few."""
    n = counted.cumsum(axis=1)
    total, square = (values * counted).cumsum(axis=1), (values**2 * counted).cumsum(axis=1)
    safe = np.maximum(n, 2)
    variance = np.maximum(square - total**2 / safe, 0) / (safe - 1)
    return total / safe, np.where(n >= FEWEST, np.sqrt(variance / safe), np.inf)


@pytest.mark.parametrize("share", [None, 0.1, 0.5, 0.9])
def test_peeking_after_each_unit_stops_few_challengers_that_are_no_worse(share: float | None) -> None:
    """At most 5 % of 1,000 experiments are stopped by the sequence; whoever peeks at 95 % intervals errs far more."""
    difference, error = _looks(np.random.default_rng(7), share)
    ours = np.array([anytime_half_width(1.0, n, 0.05) for n in range(1, N + 1)])
    late = np.arange(1, N + 1) >= FEWEST
    stopped = ((difference > ours * error) & late).any(axis=1).mean()
    peeked = ((np.abs(difference) > 1.96 * error) & late).any(axis=1).mean()
    assert stopped <= 0.05
    assert peeked > 0.1, "so the test could fail"


def test_a_challenger_that_is_clearly_worse_is_stopped_soon() -> None:
    """Half as much error again, at a share of one half: most are stopped within 400 units."""
    rng = np.random.default_rng(8)
    challenger = rng.random((RUNS, N)) < 0.5
    errors = rng.exponential(10, (RUNS, N)) * np.where(challenger, 1.5, 1.0)
    mean_b, error_b = _running(errors, challenger)
    mean_a, error_a = _running(errors, ~challenger)
    ours = np.array([anytime_half_width(1.0, n, 0.05) for n in range(1, N + 1)])
    error = np.sqrt(error_a**2 + error_b**2)
    stopped = ((mean_b - mean_a > ours * error) & (np.arange(1, N + 1) >= FEWEST)).any(axis=1).mean()
    assert stopped > 0.8


def test_the_half_width_is_that_of_the_paper() -> None:
    """Equation 4 written out at n = 100, alpha = 0.05, and the rho that is best at 50."""
    rho2 = (-2 * np.log(0.05) + np.log(-2 * np.log(0.05)) + 1) / 50
    whole = np.sqrt(2 * (100 * rho2 + 1) / (100**2 * rho2) * np.log(np.sqrt(100 * rho2 + 1) / 0.05))
    assert anytime_half_width(1 / np.sqrt(100), 100, 0.05) == pytest.approx(whole)
