"""An ensemble: members on folds of units, weighted and calibrated by what each says of units that it has not seen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearcast.bundle import (
    MANIFEST,
    MODELS,
    DataRecord,
    EnsembleManifest,
    ModelRecord,
    pooled_engine,
    write_bundle,
)
from wearcast.errors import FleetError
from wearcast.evaluation.stacking import inverse_error_weights, stacked_weights
from wearcast.fleet import Fleet
from wearcast.forecast import Forecast, Moments
from wearcast.inference import Engine, Output, PooledEngine
from wearcast.inference.engine import last_read
from wearcast.training.experiment import Ensemble
from wearcast.training.one_model import versions
from wearcast.training.parts import Fitted, Part, parts_of
from wearcast.training.tasks import Task, task_for
from wearcast.training.workers import BeforeEach, Folds, PartTrainer

__all__ = ["Pooled", "folds_of", "forecast_at", "in_order", "pool_members", "train_ensemble", "write_ensemble"]

TIMED = 9
"""Forecasts that a latency is the median of."""


@dataclass(frozen=True)
class Pooled:
    """Members that are trained, and what they say together of rows that none of them has seen.

    Attributes:
        ensemble: see `Ensemble`.
        fleet: all units.
        task: what is learnt.
        fitted: every part.
        rows: rows of the fleet that every member has not seen.
        said: of each member, in the raw numbers of the ensemble, `(n, …)`.
        weights: of each member; they sum to 1.
        raw: what the members say together, `(n, …)`.
        output: what that means, calibrated on these rows.
    """

    ensemble: Ensemble
    fleet: Fleet
    task: Task
    fitted: tuple[Fitted, ...]
    rows: NDArray[np.int64]
    said: dict[str, NDArray[Any]]
    weights: dict[str, float]
    raw: NDArray[Any]
    output: Output

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Sizes, counts and seconds of training, summed over the parts."""
        facts = [one.bundle.manifest.training for one in self.fitted]
        total = {key: sum(float(fact.get(key, 0)) for fact in facts) for key in ("seconds", "parameters", "trees")}
        return {
            "seconds": round(total["seconds"], 2),
            "models": len(self.fitted),
            "parameters": int(total["parameters"]),
            "trees": int(total["trees"]),
        }


def train_ensemble(
    ensemble: Ensemble,
    fleet: Fleet,
    root: Path,
    *,
    work: Path,
    resume: bool = False,
    progress: bool = False,
    workers: int = 1,
) -> None:
    """Train every member on every fold and write the ensemble's bundle.

    Args:
        ensemble: see `Ensemble`.
        fleet: all units; each is held out once.
        root: directory of the bundle.
        work: where models lie until the end; those that are whole are not trained again.
        resume: go on from the last checkpoint of those that were interrupted.
        progress: show progress bars.
        workers: how many networks may be trained at once.

    Raises:
        DataError: the fleet cannot be learnt from.
        TrainingError: training failed.
    """
    folds = folds_of(ensemble, fleet)
    parts = parts_of(ensemble, len(folds.splits))
    missing = sum(not part.fills_machine and not part.is_whole(work) for part in parts)
    with PartTrainer(folds, max(1, min(workers, missing))) as trainer:
        pooled = pool_members(ensemble, trainer, work=work, resume=resume, progress=progress)
    write_ensemble(pooled, root)


def folds_of(ensemble: Ensemble, fleet: Fleet) -> Folds:
    """A fleet as the ensemble divides it."""
    return Folds(fleet, ensemble.split, ensemble.seed, ensemble.target)


def pool_members(
    ensemble: Ensemble,
    trainer: PartTrainer,
    *,
    work: Path,
    resume: bool = False,
    progress: bool = False,
    before_each: BeforeEach | None = None,
) -> Pooled:
    """Train every member on every fold and weigh them.

    Args:
        ensemble: see `Ensemble`.
        trainer: on the folds of all units, as the ensemble divides them.
        work: where models lie; those that are whole are not trained again.
        resume: go on from the last checkpoint of those that were interrupted.
        progress: show progress bars.
        before_each: see `BeforeEach`.

    Raises:
        DataError: the fleet cannot be learnt from.
        TrainingError: training failed.
    """
    fleet = trainer.folds.fleet
    task = task_for(ensemble.first, fleet)
    parts = tuple(parts_of(ensemble, len(trainer.folds.splits)))
    fitted = trainer.train(parts, work, resume=resume, progress=progress, before_each=before_each)
    rows, said = _of_members(fitted, task, fleet)
    weights = _weights(ensemble, said, task, fleet, rows)
    pooled = task.plain.mix(np.stack(list(said.values())), np.array(list(weights.values())))
    output = task.output(pooled, fleet, rows)
    return Pooled(ensemble, fleet, task, fitted, rows, said, weights, pooled, output)


def write_ensemble(pooled: Pooled, root: Path) -> None:
    """Write the bundle of an ensemble whose members are trained."""
    ensemble, fleet, task, rows, weights = pooled.ensemble, pooled.fleet, pooled.task, pooled.rows, pooled.weights
    parts = tuple(one.part for one in pooled.fitted)
    records = tuple(
        ModelRecord(folder=part.folder, member=part.member, weight=weights[part.member] / _runs(part.member, parts))
        for part in parts
    )
    bundles = [one.bundle for one in pooled.fitted]
    whole = pooled_engine(bundles, [record.weight for record in records], pooled.output)
    members = {
        name: {"weight": weights[name], **_figures(task, raw, fleet, rows), **_cost(name, pooled.fitted, fleet)}
        for name, raw in pooled.said.items()
    }
    manifest = EnsembleManifest(
        name=ensemble.name,
        seed=ensemble.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        experiment=ensemble.record(),
        target=ensemble.target.resolved(fleet),
        output=pooled.output,
        data=DataRecord.of(fleet, train=fleet.units, validation=(), rows=fleet.n_rows),
        models=records,
        members=members,
        metrics=task.held_out(pooled.output, pooled.raw, fleet, rows),
        training={**pooled.facts, "latency_ms": _latency(whole, fleet)},
        versions=versions(),
    )
    with write_bundle(root) as scratch:
        for one in pooled.fitted:
            shutil.copytree(one.bundle.path, scratch / MODELS / one.part.folder)
        (scratch / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def _runs(member: str, parts: tuple[Part, ...]) -> int:
    return sum(part.member == member for part in parts)


def _of_members(
    fitted: Sequence[Fitted], task: Task, fleet: Fleet
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Rows that every member has not seen, and what each says of them: the mean over its seeds."""
    runs: dict[tuple[str, int], list[Fitted]] = {}
    for one in fitted:
        runs.setdefault((one.part.member, one.part.run), []).append(one)
    covered = {key: np.concatenate([one.rows for one in group]) for key, group in runs.items()}
    rows = reduce(np.intersect1d, covered.values())
    if not len(rows):
        raise FleetError("no reading is held out from all members alike", where=fleet.name)
    said: dict[str, list[NDArray[Any]]] = {}
    for (member, run), group in runs.items():
        raw = np.concatenate([_in_common_terms(one, task, fleet) for one in group])
        said.setdefault(member, []).append(in_order(raw, covered[member, run], rows))
    output = task.plain
    return rows, {
        member: output.mix(np.stack(each), np.full(len(each), 1 / len(each))) for member, each in said.items()
    }


def _in_common_terms(one: Fitted, task: Task, fleet: Fleet) -> NDArray[Any]:
    """What a part says of the rows that it has not seen, calibrated by itself, in the raw numbers of the ensemble."""
    output = one.bundle.manifest.output
    forecast = forecast_at(one.rows, one.raw, output, fleet, one.part.folder)
    return task.plain.raw_of(forecast, last_read(output, fleet, one.rows))


def forecast_at(rows: NDArray[np.int64], raw: NDArray[Any], output: Output, fleet: Fleet, model: str) -> Forecast:
    """What raw numbers `(n, …)` say at these rows of a fleet, without flags and conditions."""
    moments = Moments(
        unit=fleet.frame["unit"].gather(rows),
        time=fleet.frame["time"].gather(rows),
        condition=np.zeros(len(rows), dtype=np.int16),
        flags=((),) * len(rows),
        model=model,
    )
    return output.forecast(raw, moments, last_read(output, fleet, rows))


def in_order(values: NDArray[Any], at: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Those of `values`, which stand at the rows `at` in any order, that stand at `rows`."""
    order = np.argsort(at, kind="stable")
    return values[order[np.searchsorted(at[order], rows)]]


def _weights(
    ensemble: Ensemble, said: dict[str, NDArray[Any]], task: Task, fleet: Fleet, rows: NDArray[np.int64]
) -> dict[str, float]:
    """Weight of each member; every unit counts alike, and readings far from the end do not: any member knows them."""
    if ensemble.combine == "mean" or len(said) == 1:
        return dict.fromkeys(said, 1 / len(said))
    near = ~task.far(task.answers(fleet).at(rows)[0])
    near = near if near.any() else ~near
    errors = np.stack([task.errors(raw[near], fleet, rows[near]) for raw in said.values()])
    _, unit, count = np.unique(fleet.row_unit[rows[near]], return_inverse=True, return_counts=True)
    alike = 1 / count[unit]
    stacked = ensemble.combine == "stacked"
    weights = stacked_weights(errors, alike, unit) if stacked else inverse_error_weights(errors, alike)
    return dict(zip(said, weights.tolist(), strict=True))


def _figures(task: Task, raw: NDArray[Any], fleet: Fleet, rows: NDArray[np.int64]) -> dict[str, float]:
    return task.held_out(task.output(raw, fleet, rows), raw, fleet, rows)


def _cost(member: str, fitted: Sequence[Fitted], fleet: Fleet) -> dict[str, float]:
    """What a member takes: training, size, and time of one forecast."""
    mine = [one.bundle for one in fitted if one.part.member == member]
    facts = [bundle.manifest.training for bundle in mine]
    return {
        "models": float(len(mine)),
        "seconds": float(sum(float(fact["seconds"]) for fact in facts)),
        "parameters": float(sum(float(fact.get("parameters", 0)) for fact in facts)),
        "latency_ms": sum(_latency(bundle.engine, fleet) for bundle in mine),
    }


def _latency(engine: Engine | PooledEngine, fleet: Fleet) -> float:
    """Milliseconds that a forecast of one unit takes in process, the median of several."""
    one = fleet.select(fleet.units[:1])
    took = []
    for _ in range(TIMED):
        began = time.perf_counter()
        engine.forecast(one)
        took.append(time.perf_counter() - began)
    return round(1000 * float(np.median(took)), 3)
