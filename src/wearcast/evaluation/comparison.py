"""Several evaluations side by side: mean ± sd over seeds, and whether a difference between recipes is real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import UsageError
from wearcast.evaluation.protocol import ALL_METRICS, Evaluation

if TYPE_CHECKING:
    from rich.console import Group as Renderable

__all__ = ["Comparison", "Difference", "Group", "Spread", "compare"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """One metric over the seeds of a recipe.

    Attributes:
        mean: mean over seeds.
        sd: sample standard deviation, None for one seed.
        best, worst: by the metric's direction.
        values: one a seed, in the order given.
    """

    mean: float
    sd: float | None
    best: float
    worst: float
    values: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As in `compare --json`."""
        return {**self.__dict__, "values": list(self.values)}


@dataclass(frozen=True)
class Group:
    """The evaluations of one recipe on one data set.

    Attributes:
        recipe: name of the recipe.
        dataset: name of the fleet.
        split: which split of it.
        seeds: one an evaluation.
        metrics: spread of each metric; None where the truth is not known.
        evaluations: the evaluations.
    """

    recipe: str
    dataset: str
    split: str
    seeds: tuple[int, ...]
    metrics: dict[str, Spread | None]
    evaluations: tuple[Evaluation, ...]

    def to_dict(self) -> dict[str, Any]:
        """As in `compare --json`."""
        return {
            "recipe": self.recipe,
            "dataset": self.dataset,
            "split": self.split,
            "seeds": list(self.seeds),
            "n": len(self.evaluations),
            "bundles": [evaluation.bundle for evaluation in self.evaluations],
            "metrics": {name: spread.to_dict() if spread else None for name, spread in self.metrics.items()},
        }


@dataclass(frozen=True)
class Difference:
    """RMSE of recipe `a` minus that of recipe `b` on the same units, capped labels, with its bootstrap interval.

    Attributes:
        a, b: names of the recipes.
        dataset: name of the fleet.
        difference: mean RMSE over the seeds of `a` minus that of `b`; negative where `a` is better.
        low, high: interval of that difference.
        level: probability of the interval.
    """

    a: str
    b: str
    dataset: str
    difference: float
    low: float
    high: float
    level: float

    @property
    def real(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.low <= 0.0 <= self.high

    @property
    def verdict(self) -> str:
        """In words."""
        if not self.real:
            return f"no real difference between {self.a} and {self.b}"
        better, worse = (self.a, self.b) if self.difference < 0 else (self.b, self.a)
        return f"{better} is better than {worse}"

    def to_dict(self) -> dict[str, Any]:
        """As in `compare --json`."""
        return {
            "a": self.a,
            "b": self.b,
            "dataset": self.dataset,
            "metric": "rmse_capped",
            "difference": self.difference,
            "interval": [self.low, self.high],
            "level": self.level,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Comparison:
    """Groups, best first by `rmse_capped` within a data set, and the difference of each pair on the same units."""

    groups: tuple[Group, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """The object that `compare --json` prints."""
        return {
            "groups": [group.to_dict() for group in self.groups],
            "differences": [difference.to_dict() for difference in self.differences],
        }

    def table(self) -> Renderable:
        """For the terminal."""
        from wearcast.evaluation.table import comparison_table

        return comparison_table(self)


def compare(
    evaluations: Sequence[Evaluation], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Comparison:
    """Group evaluations by recipe and data set, and test each pair of recipes on the same units.

    Args:
        evaluations: one a bundle; those of one recipe on one fleet are its seeds.
        resamples: how often the units are drawn again.
        level: probability of the interval of a difference.
        seed: seed of the bootstrap; the same input gives the same interval.

    Raises:
        UsageError: there is nothing to compare.
    """
    if not evaluations:
        raise UsageError("there is nothing to compare", hint="give at least one bundle")
    keyed: dict[tuple[str, str, str, float, str], list[Evaluation]] = {}
    for e in evaluations:
        keyed.setdefault((e.dataset, e.split, e.fleet.fingerprint, e.forecast.max_rul, e.recipe), []).append(e)
    ranked = sorted(keyed.items(), key=lambda item: (item[0][:4], _rank(item[1]), item[0][4]))
    groups = tuple(_group(members) for _, members in ranked)
    differences = [
        _difference(a, b, resamples=resamples, level=level, seed=seed)
        for (key_a, a), (key_b, b) in combinations(ranked, 2)
        if key_a[:4] == key_b[:4] and a[0].n_units_known
    ]
    return Comparison(groups, tuple(differences))


def _rank(members: Sequence[Evaluation]) -> float:
    values = [v for e in members if isinstance(v := e.metrics["rmse_capped"], float)]
    return float(np.mean(values)) if values else float("inf")


def _group(members: list[Evaluation]) -> Group:
    metrics: dict[str, Spread | None] = {}
    for metric in ALL_METRICS:
        values = tuple(v for e in members if isinstance(v := e.metrics[metric.name], float))
        if len(values) < len(members):
            metrics[metric.name] = None
            continue
        metrics[metric.name] = Spread(
            mean=float(np.mean(values)),
            sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            best=min(values, key=metric.badness),
            worst=max(values, key=metric.badness),
            values=values,
        )
    first = members[0]
    return Group(first.recipe, first.dataset, first.split, tuple(e.seed for e in members), metrics, tuple(members))


def _squared_errors(members: Sequence[Evaluation]) -> tuple[Floats, Floats]:
    """Sum of squared errors of each seed and unit, `(n_seeds, n_units)`, and number of scored windows of each unit."""
    rows = members[0].scored
    unit = np.asarray(members[0].fleet.row_unit)[rows]
    n_units = members[0].fleet.n_units
    counts = np.bincount(unit, minlength=n_units).astype(np.float64)
    sums = []
    for e in members:
        error = e.forecast.rul[rows] - np.minimum(e.true_rul[rows], e.forecast.max_rul)
        sums.append(np.bincount(unit, weights=error**2, minlength=n_units).astype(np.float64))
    kept = counts > 0
    return np.array(sums)[:, kept], counts[kept]


def _difference(
    a: Sequence[Evaluation], b: Sequence[Evaluation], *, resamples: int, level: float, seed: int
) -> Difference:
    """Percentile bootstrap over units (Efron & Tibshirani 1993), the same units drawn for both recipes."""
    sums_a, counts = _squared_errors(a)
    sums_b, _ = _squared_errors(b)
    n = len(counts)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)
    draws = np.vstack([np.ones(n), draws])  # the first is the fleet as it is
    total = draws @ counts
    rmse_a = np.sqrt((draws @ sums_a.T) / total[:, None]).mean(axis=1)
    rmse_b = np.sqrt((draws @ sums_b.T) / total[:, None]).mean(axis=1)
    difference = rmse_a - rmse_b
    low, high = np.quantile(difference[1:], [(1 - level) / 2, (1 + level) / 2])
    return Difference(a[0].recipe, b[0].recipe, a[0].dataset, float(difference[0]), float(low), float(high), level)
