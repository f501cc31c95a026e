"""From an experiment and a fleet to a bundle: split, fit, train, export, calibrate, write."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import wearcast
from wearcast.bundle import (
    GRAPH,
    HISTORY,
    MANIFEST,
    WEIGHTS,
    Bundle,
    DataRecord,
    Manifest,
    Parity,
    check_place,
    load_bundle,
    write_bundle,
)
from wearcast.errors import BundleError, ConfigError, require
from wearcast.fleet import Fleet
from wearcast.inference import Engine, OnnxSession, Output
from wearcast.models import Tabular
from wearcast.training.experiment import Experiment
from wearcast.training.tasks import Task, task_for
from wearcast.windows import Preprocessing, UnitSplit, split_units

__all__ = ["train"]

CALIBRATION_ROWS = 200_000


@dataclass(frozen=True)
class Trained:
    """What any kind of training leaves: files in a directory, and what the manifest says of them.

    Attributes:
        parity: of the exported graph.
        output: what the graph's numbers mean, calibrated.
        held_out: figures on rows that the model had not seen.
        history: metrics of each epoch.
        facts: sizes and counts.
    """

    parity: Parity
    output: Output
    held_out: dict[str, float]
    history: list[dict[str, float]]
    facts: dict[str, float | int | str]


def train(
    experiment: Experiment,
    fleet: Fleet | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = False,
) -> Bundle:
    """Train the experiment's model and write its bundle.

    Args:
        experiment: see `Experiment`.
        fleet: training fleet; the experiment's own data set unless given. It is divided by unit.
        out: directory of the bundle; `runs/<name>-seed<seed>` unless given. Work files lie beside it until the end.
        resume: go on from the last checkpoint of an interrupted training, if there is one.
        force: replace a bundle that is already there.
        progress: show a progress bar.

    Raises:
        DataError: the fleet cannot be learnt from.
        ConfigError: there is a checkpoint of another experiment.
        BundleError: there is a bundle already, or something else that a bundle must not take the place of.
        TrainingError: training failed.
        SystemExit: in a further process that Lightning started for a further device, once its share is done.
    """
    root = Path(out) if out is not None else Path("runs") / f"{experiment.name}-seed{experiment.seed}"
    if (root / MANIFEST).exists() and not force:
        raise BundleError(
            "there is a bundle already", where=str(root), hint="give --force to replace it, or another --out"
        )
    check_place(root)
    started = time.perf_counter()
    fleet = experiment.dataset.load("train") if fleet is None else fleet
    split = split_units(fleet, experiment.split, experiment.seed, experiment.target)
    # Models that read tables learn from every unit, each fold held out from the others': none is set apart.
    learnt = fleet if isinstance(experiment.backbone, Tabular) else split.train
    task = task_for(experiment, learnt)
    with write_bundle(root) as scratch:
        work = _work_directory(root, experiment, fleet, resume=resume)
        preprocessing = Preprocessing.fit(learnt, experiment.features)
        if isinstance(experiment.backbone, Tabular):
            trained = _train_tabular(experiment, preprocessing, fleet, task, scratch, progress=progress)
        else:
            trained = _train_network(experiment, preprocessing, split, task, scratch, work, resume, progress)
        manifest = _manifest(experiment, fleet, split, preprocessing, trained, time.perf_counter() - started)
        (scratch / HISTORY).write_text(json.dumps(trained.history), encoding="utf-8")
        (scratch / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return load_bundle(root)


def _work_directory(root: Path, experiment: Experiment, fleet: Fleet, *, resume: bool) -> Path:
    """Directory of the checkpoints; it belongs to one experiment and one fleet."""
    work = root.resolve().with_name(f"{root.resolve().name}.work")
    if not _is_first_process(experiment):
        return work
    identity = json.dumps({"experiment": experiment.record(), "data": fleet.fingerprint}, sort_keys=True)
    note = work / "experiment.json"
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
    work.mkdir(parents=True)
    note.write_text(identity, encoding="utf-8")
    return work


def _is_first_process(experiment: Experiment) -> bool:
    """Whether the files are ours to write: for further devices Lightning or a launcher starts further processes."""
    if isinstance(experiment.backbone, Tabular) or experiment.trainer.devices == 1:
        return True
    ranks = (os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ)
    return int(next(ranks, "0")) == 0


def _train_network(
    experiment: Experiment,
    preprocessing: Preprocessing,
    split: UnitSplit,
    task: Task,
    scratch: Path,
    work: Path,
    resume: bool,
    progress: bool,
) -> Trained:
    for module in ("torch", "lightning", "onnxscript", "safetensors"):
        require(module, extra="train")
    from safetensors.torch import save

    from wearcast.training.export import TOLERANCE, export_network
    from wearcast.training.network_training import thinned, train_network

    result = train_network(
        experiment, preprocessing, split.train, split.validation, task, work=work, resume=resume, progress=progress
    )
    (scratch / WEIGHTS).write_bytes(save({k: v.contiguous() for k, v in result.network.state_dict().items()}))
    windows = result.validation.windows
    sample = windows.batch(np.linspace(0, len(windows) - 1, 64).astype(np.intp))
    difference = export_network(result.network, sample, scratch / GRAPH)
    # Calibrated by the very path that serves.
    labels = task.answers(split.validation)
    session = OnnxSession(scratch / GRAPH)
    engine = Engine(preprocessing, experiment.window, task.plain, session)
    rows = np.intersect1d(labels.rows, engine.rows(split.validation), assume_unique=True)
    rows = thinned(rows, labels, CALIBRATION_ROWS)
    raw = engine.raw(preprocessing.transform(split.validation), rows)
    output = task.output(raw, split.validation, rows)
    parameters = sum(p.numel() for p in result.network.parameters())
    return Trained(
        parity=Parity(reference="torch", windows=64, max_abs_difference=difference, tolerance=TOLERANCE),
        output=output,
        held_out=task.held_out(output, raw, split.validation, rows),
        history=result.history,
        facts={"parameters": parameters, "epochs": len(result.history), "best_epoch": result.best_epoch},
    )


def _train_tabular(
    experiment: Experiment, preprocessing: Preprocessing, fleet: Fleet, task: Task, scratch: Path, *, progress: bool
) -> Trained:
    require("onnx", extra="train")
    from wearcast.training.tabular import fit_tabular

    fitted = fit_tabular(experiment, preprocessing, fleet, task, scratch / GRAPH, progress=progress)
    output = task.output(fitted.raw, fleet, fitted.rows, out_of_fold=True)
    return Trained(
        parity=fitted.parity,
        output=output,
        held_out=task.held_out(output, fitted.raw, fleet, fitted.rows),
        history=[],
        facts=fitted.facts,
    )


def _manifest(
    experiment: Experiment,
    fleet: Fleet,
    split: UnitSplit,
    preprocessing: Preprocessing,
    trained: Trained,
    seconds: float,
) -> Manifest:
    cross_fitted = isinstance(experiment.backbone, Tabular)
    learnt = fleet if cross_fitted else split.train
    return Manifest(
        name=experiment.name,
        seed=experiment.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        experiment=experiment.record(),
        target=experiment.target.resolved(learnt),
        window=experiment.window,
        preprocessing=preprocessing,
        output=trained.output,
        data=DataRecord(
            name=fleet.name,
            fingerprint=fleet.fingerprint,
            train_units=learnt.units,
            validation_units=() if cross_fitted else split.validation.units,
            train_rows=learnt.n_rows,
            notes=tuple(note.message for note in fleet.notes),
        ),
        parity=trained.parity,
        metrics=trained.held_out,
        training={"seconds": round(seconds, 2), **trained.facts},
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {"wearcast": wearcast.__version__, "python": platform.python_version()}
    for package in ("numpy", "polars", "onnxruntime", "onnx", "torch", "lightning", "lightgbm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
