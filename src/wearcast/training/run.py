"""From an experiment and a fleet to a bundle; what an interrupted training left is found again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from wearcast.bundle import MANIFEST, Bundle, check_place, load_bundle
from wearcast.errors import BundleError, ConfigError
from wearcast.fleet import Fleet
from wearcast.models import Tabular
from wearcast.training.ensemble import train_ensemble
from wearcast.training.experiment import Ensemble, Experiment
from wearcast.training.one_model import train_model
from wearcast.training.tracking import is_tracked
from wearcast.training.workers import refuse_unguarded
from wearcast.windows import split_units
from wearcast.writing import why_not

__all__ = ["train"]

NOTE = "experiment.json"
"""Says in a work directory whose checkpoints these are."""


def train(
    experiment: Experiment | Ensemble,
    fleet: Fleet | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = False,
    workers: int = 1,
) -> Bundle:
    """Train the experiment's model and write its bundle.

    Args:
        experiment: see `Experiment`.
        fleet: training fleet; the experiment's own data set unless given. It is divided by unit.
        out: directory of the bundle; `runs/<name>-seed<seed>` unless given. Work files lie beside it until the end.
        resume: go on from the last checkpoint of an interrupted training, if there is one.
        force: replace a bundle that is already there.
        progress: show progress bars.
        workers: of an ensemble, how many networks may be trained at once, each in a process of its own; with more than
            one, a script must keep what it runs under `if __name__ == "__main__":`, for each process imports it.

    Raises:
        DataError: the fleet cannot be learnt from.
        ConfigError: there is a checkpoint of another experiment, or several workers train from an unguarded script.
        BundleError: there is a bundle already, or something else that a bundle must not take the place of.
        TrainingError: training failed.
        SystemExit: in a further process that Lightning started for a further device, once its share is done.
    """
    refuse_unguarded(workers)
    root = Path(out) if out is not None else Path("runs") / f"{experiment.name}-seed{experiment.seed}"
    if (root / MANIFEST).exists() and not force:
        raise BundleError(
            "there is a bundle already", where=str(root), hint="give --force to replace it, or another --out"
        )
    check_place(root)
    fleet = experiment.dataset.load("train") if fleet is None else fleet
    work = _work_directory(root, experiment, fleet, resume=resume)
    try:
        if isinstance(experiment, Ensemble):
            count = 1 if is_tracked() else workers
            train_ensemble(experiment, fleet, root, work=work, resume=resume, progress=progress, workers=count)
        else:
            split = split_units(fleet, experiment.split, experiment.seed, experiment.target)
            train_model(experiment, fleet, split, root, work=work, resume=resume, progress=progress)
    except BaseException:
        if {path.name for path in work.glob("*")} == {NOTE}:  # nothing to go on from
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
    return load_bundle(root)


def _work_directory(root: Path, experiment: Experiment | Ensemble, fleet: Fleet, *, resume: bool) -> Path:
    """Directory of the checkpoints; it belongs to one experiment and one fleet."""
    work = root.resolve().with_name(f"{root.resolve().name}.work")
    if not _is_first_process(experiment):
        return work
    identity = json.dumps({"experiment": experiment.record(), "data": fleet.fingerprint}, sort_keys=True)
    note = work / NOTE
    if work.exists() and not note.exists() and any(work.iterdir()):
        raise BundleError(
            "the place of the checkpoints holds something else", where=str(work), hint="give another folder"
        )
    if resume and note.exists():
        found = note.read_text(encoding="utf-8")
        if found == identity:
            return work
        if not identity.startswith(found):  # else it was killed while writing the note, before any checkpoint
            raise ConfigError(
                "the checkpoints are of another experiment or other data",
                where=str(work),
                hint="train without --resume to start anew",
            )
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        note.write_text(identity, encoding="utf-8")
    except OSError as error:
        raise BundleError(
            f"cannot write here: {why_not(error)}", where=str(root), hint="give another folder"
        ) from error
    return work


def _is_first_process(experiment: Experiment | Ensemble) -> bool:
    """Whether the files are ours to write: for further devices Lightning or a launcher starts further processes."""
    if isinstance(experiment, Ensemble) or isinstance(experiment.backbone, Tabular) or experiment.trainer.devices == 1:
        return True
    ranks = (os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ)
    return int(next(ranks, "0")) == 0
