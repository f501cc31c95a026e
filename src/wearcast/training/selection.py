"""Which model is best for these data, found within a budget of time.

Every candidate is trained on the same folds of the training units and judged by what it says of units that it has not
seen, paired by unit. An ensemble of those that were tried is one more candidate: its models are trained already. The
test units are not read: `select` loads the training split, and nothing in it can ask for another.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from wearcast.bundle import MANIFEST, MODELS, SUMS, Bundle, load_bundle, write_bundle
from wearcast.errors import ConfigError, WearcastError
from wearcast.evaluation import AnyEvaluation, Comparison, Cost, compare
from wearcast.fleet import Fleet
from wearcast.models import Tabular
from wearcast.training.board import BOARD, Board, Entry, Question
from wearcast.training.budget import Budget, OutOfTime, Pace
from wearcast.training.candidates import Candidate, Unfit
from wearcast.training.choice import reasons
from wearcast.training.ensemble import Pooled, pool_members, write_ensemble
from wearcast.training.experiment import Ensemble, Experiment
from wearcast.training.out_of_fold import cost_of, evaluate_out_of_fold
from wearcast.training.parts import Part
from wearcast.training.workers import Folds, PartTrainer, refuse_unguarded
from wearcast.windows import SplitSpec

__all__ = ["Selection", "select"]

ENSEMBLE = "ensemble"
BEST = "best"
LEAST_EPOCHS = 0.5
"""Share of a recipe's epochs below which it is not tried: such a model would say little of the recipe."""
LEAST_WEIGHT = 0.05
"""Members that count less are left out of the ensemble: they cost as much as the others."""
PROBE_EPOCHS = 2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Selection:
    """What came of it.

    Attributes:
        board: what was tried.
        comparison: of the candidates that were trained, on units that they had not seen.
        bundle: the best one.
    """

    board: Board
    comparison: Comparison
    bundle: Bundle


def select(
    candidates: Sequence[Candidate],
    *,
    seconds: float,
    out: Path,
    unfit: Sequence[Unfit] = (),
    folds: int = 5,
    seed: int = 0,
    say: Say = lambda _: None,
    progress: bool = False,
    workers: int = 1,
) -> Selection:
    """Try candidates within a budget of time, cheapest first, and leave the best as a bundle in `out/best`.

    Args:
        candidates: of one data set and target, cheapest first.
        seconds: the budget.
        out: folder of the record, the models and the best bundle; a selection that is there goes on.
        unfit: recipes that do not fit, for the record.
        folds: of the training units; networks are trained once a fold.
        seed: of the folds and of every candidate.
        say: told what happens.
        progress: show progress bars.
        workers: how many networks may be trained at once, each in a process of its own.

    Raises:
        ConfigError: the folder holds another selection or something else, or no candidate could be trained.
        DataError: the training units cannot be read.
    """
    refuse_unguarded(workers)
    _spare_other_folders(out)
    first = candidates[0].experiment
    fleet = first.dataset.load("train")
    say(f"learning from {fleet.name}, {fleet.n_units} units")
    question = Question(
        dataset=fleet.name, fingerprint=fleet.fingerprint, target=first.target.model_dump(mode="json"), seed=seed,
        folds=folds,
    )  # fmt: skip
    board = Board.read(out) or Board(question=question, budget_seconds=seconds)
    if board.question != question:
        raise ConfigError("the folder holds another selection", where=str(out), hint="give another --out")
    split = _split(fleet, candidates, folds)
    with PartTrainer(Folds(fleet, split, seed, first.target), min(workers, folds)) as trainer:
        run = _Run(
            fleet=fleet,
            split=split,
            trainer=trainer,
            out=out,
            seed=seed,
            board=board.model_copy(update={"budget_seconds": seconds}),
            budget=Budget(seconds, board.spent_seconds),
            say=say,
            progress=progress,
        )
        try:
            for one in unfit:
                run.note(Entry(name=one.recipe, status="unfit", note=one.why))
            for candidate in candidates:
                run.attempt(candidate)
            run.attempt_ensemble()
            return run.choose()
        finally:
            run.save()


def _spare_other_folders(out: Path) -> None:
    """A selection removes and replaces what is in its folder: stop where that is somebody else's."""
    if out.exists() and not out.is_dir():
        raise ConfigError("this is a file, a selection is a folder", where=str(out), hint="give another --out DIR")
    if out.is_dir() and any(out.iterdir()) and not (out / BOARD).exists():
        raise ConfigError(
            "the folder holds something else than a selection", where=str(out), hint="give another --out DIR"
        )


def _split(fleet: Fleet, candidates: Sequence[Candidate], folds: int) -> SplitSpec:
    """By unit, unless there is one unit only or the recipes divide time."""
    in_time = fleet.n_units < 2 or candidates[0].experiment.split.by == "time"
    return SplitSpec(by="time" if in_time else "unit", validation_share=1 / folds)


@dataclass
class _Run:
    """A selection under way."""

    fleet: Fleet
    split: SplitSpec
    trainer: PartTrainer
    out: Path
    seed: int
    board: Board
    budget: Budget
    say: Say
    progress: bool
    pooled: dict[str, Pooled] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Where the models lie."""
        return self.out / "work"

    def save(self) -> None:
        """Put what is known on disk."""
        self.board = self.board.model_copy(update={"spent_seconds": round(self.budget.spent, 1)})
        self.board.save(self.out)

    def note(self, entry: Entry) -> None:
        """Enter what became of a candidate."""
        self.board = self.board.model_copy(update={"entries": {**self.board.entries, entry.name: entry}})
        self.save()
        if entry.status != "begun":
            self.say(f"{entry.name}: {entry.status}{f', {entry.note}' if entry.note else ''}")

    # ------------------------------------------------------------------ one candidate

    def attempt(self, candidate: Candidate) -> None:
        """Train a candidate if it fits into what is left."""
        name, before = candidate.recipe, self.board.entries.get(candidate.recipe)
        began = time.perf_counter()
        try:
            if before is not None and before.status == "done":
                self.pooled[name] = self._pool(self._alone(name, _recorded(before, candidate.experiment)))
                return
            experiment, pace = self._planned(candidate, before)
            entry = Entry(name=name, status="begun", pace=pace, experiment=experiment.record())
            self._drop_others(before, entry)
            self.note(entry)
            self.pooled[name] = self._pool(self._alone(name, experiment), pace)
        except OutOfTime as stop:
            begun = self.board.entries.get(name)
            status = "stopped" if begun is not None and begun.status == "begun" else "not begun"
            entry = begun if begun is not None and status == "stopped" else Entry(name=name, status="not begun")
            self.note(entry.model_copy(update={"status": status, "note": str(stop), "pace": self.paces.get(name)}))
        except WearcastError as error:
            self.note(Entry(name=name, status="failed", note=str(error)))
        else:
            took = time.perf_counter() - began + (before.seconds if before is not None else 0.0)
            note = f"{took:.0f} s, {_models(len(self.pooled[name].fitted))}"
            epochs, whole = experiment.trainer.max_epochs, candidate.experiment.trainer.max_epochs
            if epochs < whole:
                note += f", of {epochs} instead of {whole} epochs to fit into the budget"
            update = {"status": "done", "seconds": round(took, 1), "note": note}
            self.note(self.board.entries[name].model_copy(update=update))

    def _planned(self, candidate: Candidate, before: Entry | None) -> tuple[Experiment, Pace | None]:
        """The experiment as it can be afforded, with what it is expected to take.

        Raises:
            OutOfTime: it cannot be.
        """
        experiment = candidate.experiment
        if self.budget.left <= 0:
            raise OutOfTime("the budget is spent")
        if isinstance(experiment.backbone, Tabular):
            return experiment, None
        pace = before.pace if before is not None and before.pace is not None else self._probe(candidate)
        self.paces[candidate.recipe] = pace
        if before is not None and before.status in ("begun", "stopped"):
            experiment = _recorded(before, experiment)
            self._affordable(pace, experiment.trainer.max_epochs, self._missing(candidate.recipe))
            return experiment, pace
        epochs = self._affordable(pace, experiment.trainer.max_epochs, self._missing(candidate.recipe, anew=True))
        trainer = experiment.trainer.model_copy(update={"max_epochs": epochs})
        return experiment.model_copy(update={"trainer": trainer}), pace

    def _affordable(self, pace: Pace, epochs: int, models: int) -> int:
        """How many of these epochs each of so many models can have."""
        if not models:
            return epochs
        within = self._within(pace, epochs, models)
        if not within:
            rounds = self._rounds(models)
            at_once = f", {self.trainer.workers} at once" if rounds < models else ""
            raise OutOfTime(
                f"it would take about {rounds * pace.seconds(epochs):.0f} s ({_models(models)}{at_once}, {epochs} "
                f"epochs of {pace.epoch_seconds:.1f} s), {max(self.budget.left, 0):.0f} s are left"
            )
        return within

    def _within(self, pace: Pace, epochs: int, models: int) -> int:
        """How many of these epochs each of so many models can have; 0 where that is too few."""
        within = min(pace.epochs_within(self.budget.left / self._rounds(models)), epochs)
        return within if within >= max(1, epochs * LEAST_EPOCHS) else 0

    def _rounds(self, models: int) -> int:
        """How often all workers train a model each until so many are trained."""
        return -(-models // self.trainer.workers)

    def _missing(self, name: str, *, anew: bool = False) -> int:
        """How many models of a network are not trained yet."""
        folds = 1 if self.split.by == "time" else min(round(1 / self.split.validation_share), self.fleet.n_units)
        there = 0 if anew else len(list((self.work / MODELS).glob(f"{name}-seed*-fold*/{MANIFEST}")))
        return max(folds - there, 0)

    def _probe(self, candidate: Candidate) -> Pace:
        """Train for two epochs to see what one takes.

        Raises:
            OutOfTime: at the pace of the fastest network so far it would not fit.
        """
        experiment = candidate.experiment
        epochs, models = experiment.trainer.max_epochs, self._missing(candidate.recipe, anew=True)
        known = [entry.pace for entry in self.board.entries.values() if entry.pace is not None]
        if known and not any(self._within(pace, epochs, models) for pace in known):
            raise OutOfTime(f"{self.budget.left:.0f} s are left, too few at the pace of the fastest network so far")
        self.trainer.warm_up()  # what is imported once must not count as part of each training
        trainer = experiment.trainer.model_copy(update={"max_epochs": PROBE_EPOCHS})
        probe, place = Part("probe", experiment.model_copy(update={"trainer": trainer})), self.work / "probe"
        shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
        facts = self.trainer.train([probe], place, resume=False, progress=False)[0].bundle.manifest.training
        shutil.rmtree(place)
        epoch = float(facts["epoch_seconds"])
        return Pace(
            fixed_seconds=max(float(facts["seconds"]) - PROBE_EPOCHS * epoch, 0.0), epoch_seconds=max(epoch, 1e-3)
        )

    def _drop_others(self, before: Entry | None, entry: Entry) -> None:
        """Models of the same name that another experiment left are not its own."""
        if before is not None and before.experiment == entry.experiment:
            return
        for left in (self.work / MODELS).glob(f"{entry.name}-seed*-fold*"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()

    def _alone(self, name: str, experiment: Experiment) -> Ensemble:
        return self._of(name, {name: experiment})

    def _of(self, name: str, members: dict[str, Experiment]) -> Ensemble:
        first = next(iter(members.values()))
        return Ensemble(
            name=name,
            dataset=first.dataset,
            target=first.target,
            members=members,
            split=self.split,
            calibration=first.calibration,
            seed=self.seed,
        )

    def _pool(self, ensemble: Ensemble, pace: Pace | None = None) -> Pooled:
        """Train what is missing, and stop where the rest would not fit."""
        began, workers = time.perf_counter(), self.trainer.workers

        def check(begun: int, total: int) -> None:
            rounds = begun // workers
            if pace is None or not rounds:
                return
            each = (time.perf_counter() - began) / rounds
            if each * self._rounds(total - begun) > self.budget.left:
                raise OutOfTime(
                    f"{begun} of {total} models took {each:.0f} s each, {max(self.budget.left, 0):.0f} s are left: "
                    "a larger budget goes on from here"
                )

        return pool_members(
            ensemble, self.trainer, work=self.work, resume=True, progress=self.progress, before_each=check
        )

    # ------------------------------------------------------------------ all of them

    def attempt_ensemble(self) -> None:
        """Weigh what is trained; members that count for next to nothing are left out."""
        members = {name: pooled.ensemble.members[name] for name, pooled in self.pooled.items()}
        if len(members) < 2:
            return
        try:
            pooled = self._pool(self._of(ENSEMBLE, members))
            kept = {name: e for name, e in members.items() if pooled.weights[name] >= LEAST_WEIGHT}
            if len(kept) == 1:
                note = f"stacking leaves {next(iter(kept))} alone"
                self.note(Entry(name=ENSEMBLE, status="unfit", note=note))
                return
            if len(kept) < len(members):
                pooled = self._pool(self._of(ENSEMBLE, kept))
        except ValidationError as error:
            self.note(Entry(name=ENSEMBLE, status="unfit", note=error.errors(include_url=False)[0]["msg"]))
            return
        except WearcastError as error:
            self.note(Entry(name=ENSEMBLE, status="failed", note=str(error)))
            return
        self.pooled[ENSEMBLE] = pooled
        weights = ", ".join(f"{weight:.0%} {name}" for name, weight in pooled.weights.items())
        self.note(Entry(name=ENSEMBLE, status="done", note=weights, seconds=float(pooled.facts["seconds"])))

    def choose(self) -> Selection:
        """Judge all on the units that they have not seen, write the best, and say why."""
        if not self.pooled:
            notes = "; ".join(f"{entry.name}: {entry.note}" for entry in self.board.entries.values())
            raise ConfigError(f"no candidate could be trained ({notes})", hint="give a larger --budget")
        rows = reduce(np.intersect1d, (pooled.rows for pooled in self.pooled.values()))
        evaluations: list[AnyEvaluation] = [evaluate_out_of_fold(pooled, rows) for pooled in self.pooled.values()]
        costs: list[Cost] = [cost_of(pooled) for pooled in self.pooled.values()]
        comparison = compare(evaluations, costs)
        best = comparison.groups[0].recipe
        bundle = _write(self.pooled[best], self.out / BEST)
        entries = dict(self.board.entries)
        for name, evaluation, cost in zip(self.pooled, evaluations, costs, strict=True):
            figures = {key: v for key, v in evaluation.metrics.items() if v is None or isinstance(v, float)}
            entries[name] = entries[name].model_copy(update={"metrics": figures, "latency_ms": cost.latency_ms})
        why = reasons(comparison, entries)
        self.board = self.board.model_copy(update={"entries": entries, "chosen": best, "why": why})
        self.save()
        return Selection(self.board, comparison, bundle)


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _recorded(entry: Entry, otherwise: Experiment) -> Experiment:
    return otherwise if entry.experiment is None else Experiment.model_validate(entry.experiment)


def _write(pooled: Pooled, root: Path) -> Bundle:
    """The bundle of an ensemble, or of its only model."""
    if len(pooled.fitted) > 1:
        write_ensemble(pooled, root)
        return load_bundle(root)
    with write_bundle(root) as scratch:
        for file in pooled.fitted[0].bundle.path.iterdir():
            if file.name != SUMS:
                shutil.copy2(file, scratch / file.name)
    return load_bundle(root)
