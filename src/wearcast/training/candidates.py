"""Which shipped recipes fit a data set and a target: what a selection or a benchmark can try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wearcast.config import nearest
from wearcast.errors import ConfigError, UsageError
from wearcast.models import Tabular
from wearcast.training.experiment import Ensemble, Experiment
from wearcast.training.recipes import load_experiment, recipe_names

if TYPE_CHECKING:
    from wearcast.datasets import Dataset

__all__ = ["Candidate", "Unfit", "find_candidates"]

CHEAPEST_FIRST = ("persistence", "survival", "ridge", "lightgbm", "cnn_bilstm", "autoformer", "informer", "tft")
"""Kinds of backbones by what their training takes; those not named here come after their likes."""


@dataclass(frozen=True)
class Candidate:
    """A recipe on the data at hand."""

    recipe: str
    experiment: Experiment

    @property
    def kind(self) -> str:
        """Kind of its backbone."""
        return self.experiment.backbone.kind


@dataclass(frozen=True)
class Unfit:
    """A recipe that does not fit, and why."""

    recipe: str
    why: str


def find_candidates(
    dataset: Dataset,
    *,
    source: str,
    target: str | None = None,
    models: Sequence[str] = (),
    assignments: Sequence[str] = (),
    seed: int = 0,
) -> tuple[tuple[Candidate, ...], tuple[Unfit, ...]]:
    """The recipes that fit, cheapest first, and those that do not.

    A data set that recipes are shipped for is tried with these, any other with the recipes that take your data. Where
    an ensemble is shipped for it, all learn from what that learns from, unless `assignments` say otherwise.

    Args:
        dataset: what is learnt from.
        source: how the user named it, for messages.
        target: kind of target; that of the recipes unless given.
        models: names of recipes or kinds of backbones; all unless given.
        assignments: `key=value`, applied to every recipe.
        seed: of every candidate.

    Raises:
        UsageError: there is no such model, or none is left.
    """
    shipped = {name: _declared(name) for name in recipe_names()}
    own = {name: found for name, found in shipped.items() if found and found.dataset.name == dataset.name}
    if target is not None:
        own = {name: found for name, found in own.items() if found.target.kind == target}
    if target is None and own:
        target = "rul" if any(found.target.kind == "rul" for found in own.values()) else None
        target = target or next(iter(own.values())).target.kind
        own = {name: found for name, found in own.items() if found.target.kind == target}
    said = list(assignments)
    if not own and target is not None:
        said.insert(0, f"target.kind={target}")
    ensemble = next(((name, found.dataset) for name, found in own.items() if isinstance(found, Ensemble)), None)
    place, data = ensemble or (source, dataset)
    replacing = (place, data.model_dump(mode="json")) if ensemble or not own else None
    fitting, unfit = [], []
    for name in own or [name for name, found in shipped.items() if found is None]:
        try:
            experiment = load_experiment(name, said, dataset=replacing, seed=seed)
        except ConfigError as error:
            unfit.append(Unfit(name, error.what))
            continue
        if isinstance(experiment, Experiment):  # ensembles are made of what was tried, not tried by themselves
            fitting.append(Candidate(name, experiment))
    fitting, other = _of_one_question(fitting)
    unfit += other
    chosen = _named(fitting, unfit, models)
    if not chosen:
        why = f": {unfit[0].recipe}: {unfit[0].why}" if unfit else ""
        raise UsageError(f"no shipped recipe fits{why}", where=source, hint="`wearcast config recipes` lists them")
    return tuple(sorted(chosen, key=_cheapness)), tuple(unfit)


def _declared(name: str) -> Experiment | Ensemble | None:
    """A recipe with a data set of its own; None if it takes yours."""
    try:
        return load_experiment(name)
    except ConfigError:
        return None


def _of_one_question(candidates: list[Candidate]) -> tuple[list[Candidate], list[Unfit]]:
    """Those that forecast the same thing from the same readings as the first, and the others."""
    if not candidates:
        return [], []

    def question(candidate: Candidate) -> tuple[object, ...]:
        e = candidate.experiment
        return e.dataset, e.target, e.window.prediction_length if e.target.kind == "sensor" else 0, e.features.every

    first = question(candidates[0])
    same = [candidate for candidate in candidates if question(candidate) == first]
    why = f"it forecasts something else, or at other readings, than {candidates[0].recipe}"
    return same, [Unfit(candidate.recipe, why) for candidate in candidates if candidate not in same]


def _named(fitting: list[Candidate], unfit: list[Unfit], models: Sequence[str]) -> list[Candidate]:
    if not models:
        return fitting
    chosen: list[Candidate] = []
    for name in models:
        plain = name.replace("-", "_")
        found = [c for c in fitting if c.recipe == name or c.kind == plain]
        if not found:
            reason = next((u.why for u in unfit if name in u.recipe), None)
            known = sorted({c.kind for c in fitting} | {c.recipe for c in fitting})
            what = f"{name} does not fit: {reason}" if reason else f"no such model fits these data: {name!r}"
            raise UsageError(what, where="--models", hint=nearest(plain, known) or f"one of {', '.join(known)}")
        chosen += [c for c in found if c not in chosen]
    return chosen


def _cheapness(candidate: Candidate) -> tuple[bool, int, str]:
    place = CHEAPEST_FIRST.index(candidate.kind) if candidate.kind in CHEAPEST_FIRST else len(CHEAPEST_FIRST)
    return not isinstance(candidate.experiment.backbone, Tabular), place, candidate.recipe
