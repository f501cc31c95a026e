"""Several evaluations side by side: mean ± sd over seeds, and whether a difference between recipes is real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import UsageError
from wearcast.evaluation.by_target import AnyEvaluation
from wearcast.evaluation.classification import ClassEvaluation
from wearcast.evaluation.cost import Cost
from wearcast.evaluation.figures import FIGURES, Figure, main_figure
from wearcast.evaluation.forecasting import ValueEvaluation
from wearcast.evaluation.pieces import Grouping, grouping_of, pieces_of
from wearcast.evaluation.protocol import Evaluation

if TYPE_CHECKING:
    from rich.console import Group as Renderable

__all__ = ["Comparison", "Difference", "Group", "Spread", "compare"]

Floats = NDArray[np.float64]
FEW = 10
"""Units below which an interval over units is itself uncertain."""


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

    @classmethod
    def of(cls, figure: Figure, values: tuple[float, ...]) -> Spread:
        """Of at least one value."""
        return cls(
            mean=float(np.mean(values)),
            sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            best=min(values, key=figure.badness),
            worst=max(values, key=figure.badness),
            values=values,
        )

    def to_dict(self) -> dict[str, Any]:
        """As in `compare --json`."""
        return {**self.__dict__, "values": list(self.values)}


@dataclass(frozen=True)
class Group:
    """The evaluations of one recipe.

    Attributes:
        recipe: name of the recipe.
        dataset: name of the fleet.
        split: which split of it.
        seeds: one an evaluation.
        metrics: spread of each figure; None where the truth is not known.
        interval: bootstrap interval of the main figure, mean over seeds; None where nothing is known.
        evaluations: the evaluations.
        costs: of the bundles, as far as they were measured.
    """

    recipe: str
    dataset: str
    split: str
    seeds: tuple[int, ...]
    metrics: Mapping[str, Spread | None]
    interval: tuple[float, float] | None
    evaluations: tuple[AnyEvaluation, ...]
    costs: tuple[Cost, ...]

    @property
    def training_seconds(self) -> float | None:
        """Of one model, mean over seeds."""
        return _mean([cost.training_seconds for cost in self.costs])

    @property
    def latency_ms(self) -> float | None:
        """Of one forecast, mean over seeds."""
        return _mean([cost.latency_ms for cost in self.costs])

    @property
    def size(self) -> str:
        """Of one model, in words."""
        return self.costs[0].size if self.costs else "—"

    def to_dict(self) -> dict[str, Any]:
        """As in `compare --json`."""
        return {
            "recipe": self.recipe,
            "dataset": self.dataset,
            "split": self.split,
            "seeds": list(self.seeds),
            "n": len(self.evaluations),
            "bundles": [evaluation.record.bundle for evaluation in self.evaluations],
            "metrics": {name: spread.to_dict() if spread else None for name, spread in self.metrics.items()},
            "interval": list(self.interval) if self.interval else None,
            "costs": [cost.to_dict() for cost in self.costs],
        }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Difference:
    """The main figure of recipe `a` minus that of recipe `b` on the same units, with its bootstrap interval.

    Attributes:
        a, b: names of the recipes.
        dataset: name of the fleet.
        figure: what is compared.
        difference: mean over the seeds of `a` minus that of `b`.
        low, high: interval of that difference.
        level: probability of the interval.
        by: what was drawn again, units or blocks of time.
        n: how many of them there are.
    """

    a: str
    b: str
    dataset: str
    figure: Figure
    difference: float
    low: float
    high: float
    level: float
    by: Literal["units", "blocks of time"]
    n: int

    @property
    def real(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0.0 or self.high < 0.0

    @property
    def verdict(self) -> str:
        """In words."""
        if not self.real:
            return f"no real difference between {self.a} and {self.b}"
        first = (self.difference < 0) == (self.figure.direction == "lower")
        better, worse = (self.a, self.b) if first else (self.b, self.a)
        return f"{better} is better than {worse}"

    @property
    def reservation(self) -> str | None:
        """What to hold against the interval."""
        if self.by == "units" and self.n < FEW:
            return f"only {self.n} units: other units may say otherwise"
        return None

    def to_dict(self) -> dict[str, Any]:
        """As in `compare --json`."""
        return {
            "a": self.a,
            "b": self.b,
            "dataset": self.dataset,
            "metric": self.figure.name,
            "difference": self.difference,
            "interval": [self.low, self.high],
            "level": self.level,
            "resampled": self.by,
            "n": self.n,
            "verdict": self.verdict,
            "reservation": self.reservation,
        }


@dataclass(frozen=True)
class Comparison:
    """Recipes on the same units, best first by the target's main figure, and the difference of each pair."""

    target: str
    groups: tuple[Group, ...]
    differences: tuple[Difference, ...]

    @property
    def figure(self) -> Figure:
        """The main figure."""
        return main_figure(self.target)

    def to_dict(self) -> dict[str, Any]:
        """The object that `compare --json` prints."""
        return {
            "target": self.target,
            "metric": self.figure.name,
            "groups": [group.to_dict() for group in self.groups],
            "differences": [difference.to_dict() for difference in self.differences],
        }

    def table(self) -> Renderable:
        """For the terminal."""
        from wearcast.evaluation.table import comparison_table

        return comparison_table(self)


def compare(
    evaluations: Sequence[AnyEvaluation],
    costs: Sequence[Cost] = (),
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Group evaluations by recipe, and test each pair of recipes on the same units.

    Args:
        evaluations: one a bundle; those of one recipe are its seeds.
        costs: of the same bundles, in the same order; or none.
        resamples: how often the units are drawn again.
        level: probability of the interval of a difference.
        seed: seed of the bootstrap; the same input gives the same interval.

    Raises:
        UsageError: there is nothing to compare, or not the same question about the same readings.
    """
    if not evaluations:
        raise UsageError("there is nothing to compare", hint="give at least one bundle")
    for other in evaluations[1:]:
        _check_alike(evaluations[0], other)
    first = evaluations[0].record
    grouping = grouping_of(evaluations[0])
    drawn = _draws(grouping, resamples, seed)
    members: dict[str, list[int]] = {}
    for i, evaluation in enumerate(evaluations):
        members.setdefault(evaluation.record.recipe, []).append(i)
    found = []
    for at in members.values():
        chosen = [evaluations[i] for i in at]
        scores = None if drawn is None else np.mean([pieces_of(e, grouping).figure(drawn) for e in chosen], axis=0)
        found.append((_group(chosen, [costs[i] for i in at] if costs else [], scores, level), scores))
    main = main_figure(first.target)
    found.sort(key=lambda pair: (_rank(pair[0], main), pair[0].recipe))
    differences = [
        _difference(a, of_a, b, of_b, main, grouping, level)
        for (a, of_a), (b, of_b) in combinations(found, 2)
        if of_a is not None and of_b is not None
    ]
    return Comparison(first.target, tuple(group for group, _ in found), tuple(d for d in differences if d is not None))


def _check_alike(one: AnyEvaluation, other: AnyEvaluation) -> None:
    """Only forecasts of one thing at the same readings can be told apart by their errors."""
    a, b = one.record, other.record
    names = f"{a.bundle} and {b.bundle}"
    if a.target != b.target:
        raise UsageError(f"different targets cannot be compared: {a.target!r} and {b.target!r}", where=names)
    if (a.dataset, a.split) != (b.dataset, b.split) or one.fleet.fingerprint != other.fleet.fingerprint:
        raise UsageError(
            f"judged on different readings: {a.dataset} ({a.split}) and {b.dataset} ({b.split})",
            where=names,
            hint="give --source and --split to judge all of them on the same units",
        )
    question = "the target's parameters differ, so the errors are of different things"
    if _question(one) != _question(other):
        raise UsageError(f"{question}: {_question(one)} and {_question(other)}", where=names)
    if isinstance(one, ClassEvaluation) and isinstance(other, ClassEvaluation):
        same = np.array_equal(one.known, other.known) and np.array_equal(one.answer, other.answer)
    elif isinstance(one, ValueEvaluation) and isinstance(other, ValueEvaluation):
        same = np.array_equal(one.rows, other.rows) and np.array_equal(one.n_values, other.n_values)
    else:
        same = True
    if not same:
        raise UsageError(question, where=names)


def _question(evaluation: AnyEvaluation) -> str:
    """What was asked, as far as the forecast tells."""
    if isinstance(evaluation, Evaluation):
        return f"labels capped at {evaluation.forecast.max_rul:g}"
    if isinstance(evaluation, ClassEvaluation):
        return f"classes {', '.join(evaluation.forecast.classes)}"
    return f"{', '.join(evaluation.sample.names)}, {evaluation.mae_by_step.shape[1]} steps ahead"


def _rank(group: Group, main: Figure) -> float:
    spread = group.metrics[main.name]
    return main.badness(spread.mean) if spread else float("inf")


def _group(members: list[AnyEvaluation], costs: list[Cost], scores: Floats | None, level: float) -> Group:
    first = members[0].record
    metrics: dict[str, Spread | None] = {}
    for figure in FIGURES[first.target]:
        values = tuple(v for e in members if isinstance(v := e.metrics.get(figure.name), float))
        if len(values) < len(members):
            metrics[figure.name] = None
            continue
        metrics[figure.name] = Spread.of(figure, values)
    return Group(
        recipe=first.recipe,
        dataset=first.dataset,
        split=first.split,
        seeds=tuple(e.record.seed for e in members),
        metrics=metrics,
        interval=None if scores is None else _interval(scores, level),
        evaluations=tuple(members),
        costs=tuple(costs),
    )


def _draws(grouping: Grouping, resamples: int, seed: int) -> Floats | None:
    """How often each group is drawn; the first row is the data as they are. None where there is nothing to draw."""
    n = grouping.count
    if n < 2 or not len(grouping.group):
        return None
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)
    return np.vstack([np.ones(n), draws])


def _interval(scores: Floats, level: float) -> tuple[float, float] | None:
    """Percentile interval (Efron & Tibshirani 1993); draws that have no figure, such as none that failed, are out."""
    drawn = scores[1:][np.isfinite(scores[1:])]
    if not len(drawn):
        return None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _difference(
    a: Group, of_a: Floats, b: Group, of_b: Floats, main: Figure, grouping: Grouping, level: float
) -> Difference | None:
    """The same units drawn for both recipes."""
    difference = of_a - of_b
    interval = _interval(difference, level)
    if interval is None:
        return None
    return Difference(
        a.recipe, b.recipe, a.dataset, main, float(difference[0]), *interval, level, grouping.by, grouping.count
    )
