"""Recipes side by side: spread over seeds, and whether a difference is real."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from tests.fixtures.forecasters import Oracle, SimpleManifest, make_judged_fleet

from wearcast.errors import UsageError
from wearcast.evaluation import Evaluation, compare
from wearcast.evaluation.protocol import evaluate_rul as evaluate


def runs(name: str, *, sd: float, seeds=(1, 2, 3), fleet_seed: int = 0, units: int = 30) -> list[Evaluation]:
    """One evaluation a seed of a recipe with this error."""
    fleet, lives = make_judged_fleet(units=units, seed=fleet_seed)
    return [
        evaluate(Oracle(lives, sd=sd, seed=seed, manifest=SimpleManifest(name=name, seed=seed)), fleet)
        for seed in seeds
    ]


def test_mean_sd_best_and_worst_over_seeds():
    """Against NumPy; coverage is best where it is nearest to 90 %."""
    evaluations = runs("a", sd=5)
    (group,) = compare(evaluations).groups
    values = [float(e.metrics["rmse_capped"]) for e in evaluations]  # type: ignore[arg-type]
    spread = group.metrics["rmse_capped"]
    assert spread is not None
    assert (spread.mean, spread.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (spread.best, spread.worst) == (min(values), max(values))
    coverage = group.metrics["coverage_90"]
    assert coverage is not None
    assert abs(coverage.best - 0.9) <= abs(coverage.worst - 0.9)
    assert group.seeds == (1, 2, 3)


def test_one_seed_has_no_spread():
    """None rather than a zero that looks certain."""
    (group,) = compare(runs("a", sd=5, seeds=(1,))).groups
    spread = group.metrics["rmse"]
    assert spread is not None
    assert spread.sd is None


def test_a_real_difference_is_found_and_ranked_first():
    """Twice the error on 30 units over three seeds."""
    comparison = compare([*runs("coarse", sd=14), *runs("fine", sd=4)])
    (difference,) = comparison.differences
    assert [group.recipe for group in comparison.groups] == ["fine", "coarse"]
    assert difference.real
    assert difference.high < 0
    assert difference.verdict == "fine is better than coarse"


def test_no_real_difference_is_said():
    """The same error, other seeds: the interval holds 0."""
    comparison = compare([*runs("a", sd=6), *runs("b", sd=6, seeds=(11, 12, 13))])
    (difference,) = comparison.differences
    assert difference.low <= 0 <= difference.high
    assert difference.verdict.startswith("no real difference")


def test_the_bootstrap_is_deterministic_and_matches_a_slow_one():
    """The same seed gives the same interval; the point is the difference of mean RMSEs."""
    evaluations = [*runs("a", sd=6), *runs("b", sd=9)]
    first, second = compare(evaluations), compare(evaluations)
    assert first.to_dict() == second.to_dict()
    (difference,) = first.differences
    means = {g.recipe: g.metrics["rmse_capped"].mean for g in first.groups if g.metrics["rmse_capped"]}
    assert difference.difference == pytest.approx(means[difference.a] - means[difference.b])

    rng = np.random.default_rng(5)
    groups = {g.recipe: g.evaluations for g in first.groups}
    errors = {
        name: np.array(
            [
                e.forecast.rul[e.scored] - np.minimum(e.true_rul[e.scored], 125)
                for e in members
                if isinstance(e, Evaluation)
            ]
        )
        for name, members in groups.items()
    }
    draws = []
    for _ in range(500):
        rows = rng.integers(0, 30, 30)
        rmse = {name: np.sqrt((e[:, rows] ** 2).mean(axis=1)).mean() for name, e in errors.items()}
        draws.append(rmse[difference.a] - rmse[difference.b])
    assert (difference.low, difference.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.4)


def test_unknown_truth_gives_no_numbers_and_no_verdict():
    """Groups with None."""
    fleet, lives = make_judged_fleet(units=4, unknown=4)
    oracles = [Oracle(lives, manifest=SimpleManifest(name=name)) for name in "ab"]
    comparison = compare([evaluate(oracle, fleet) for oracle in oracles])
    assert comparison.groups[0].metrics["rmse"] is None
    assert comparison.differences == ()


def test_json_and_table():
    """Strict JSON; the table says the verdict and takes names as text."""
    from rich.console import Console

    comparison = compare([*runs("[b]a", sd=4), *runs("b", sd=14)])
    data = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert data["groups"][0]["n"] == 3
    assert data["differences"][0]["metric"] == "rmse_capped"
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparison.table())
    text = console.export_text()
    assert "[b]a is better than b" in text
    assert "±" in text


def test_names_are_told_apart_on_a_narrow_page():
    """A long name is folded, never cut, and a data set that all share is said once."""
    from rich.console import Console

    long = "a-recipe-with-a-very-long-name-that-ends-in-"
    comparison = compare([*runs(f"{long}1", sd=4), *runs(f"{long}2", sd=14)])
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(comparison.table())
    table = console.export_text().partition("is better")[0]
    assert "…" not in table
    first = "".join(line.split(" ")[1] if line.startswith(" ") else "" for line in table.splitlines())
    assert f"{long}1" in first
    assert f"{long}2" in first


def test_nothing_to_compare():
    """An empty list is a wrong call."""
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([])
