"""One model: fit on one side of a split, exported, calibrated on rows that it has not seen, written as a bundle."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import wearcast
from wearcast.bundle import GRAPH, HISTORY, MANIFEST, WEIGHTS, DataRecord, ModelManifest, Parity, write_bundle
from wearcast.errors import require
from wearcast.fleet import Fleet
from wearcast.inference import Engine, OnnxSession, Output
from wearcast.models import Tabular
from wearcast.training.experiment import Experiment
from wearcast.training.progress import OnEpoch
from wearcast.training.tasks import Task, task_for
from wearcast.training.tracking import record_held_out
from wearcast.windows import Preprocessing, UnitSplit

__all__ = ["Unseen", "train_model", "versions"]

CALIBRATION_ROWS = 200_000


@dataclass(frozen=True)
class Unseen:
    """What a model says of rows that it has not seen.

    Attributes:
        fleet: whose rows they are.
        rows: `(n,)`.
        raw: what the graph gives, not calibrated, `(n, …)`.
    """

    fleet: Fleet
    rows: NDArray[np.int64]
    raw: NDArray[np.float32]


@dataclass(frozen=True)
class Trained:
    """What any kind of training leaves: files in a directory, and what the manifest says of them.

    Attributes:
        parity: of the exported graph.
        unseen: what calibration learnt from.
        output: what the graph's numbers mean, calibrated.
        held_out: figures on rows that the model had not seen.
        history: metrics of each epoch.
        facts: sizes and counts.
    """

    parity: Parity
    unseen: Unseen
    output: Output
    held_out: dict[str, float]
    history: list[dict[str, float]]
    facts: dict[str, float | int | str]


def train_model(
    experiment: Experiment,
    fleet: Fleet,
    split: UnitSplit,
    root: Path,
    *,
    work: Path,
    resume: bool = False,
    progress: bool | OnEpoch = False,
) -> Unseen:
    """Train a model and write its bundle.

    Args:
        experiment: of one model.
        fleet: all units; models that read tables learn from every one, each fold held out from the others'.
        split: of the fleet, for networks.
        root: directory of the bundle.
        work: where checkpoints lie.
        resume: go on from the last of them.
        progress: show a progress bar, or of a network tell each epoch.

    Raises:
        DataError: the fleet cannot be learnt from.
        TrainingError: training failed.
        SystemExit: in a further process that Lightning started for a further device, once its share is done.
    """
    started = time.perf_counter()
    learnt = fleet if isinstance(experiment.backbone, Tabular) else split.train
    task = task_for(experiment, learnt)
    with write_bundle(root) as scratch:
        preprocessing = Preprocessing.fit(learnt, experiment.features)
        if isinstance(experiment.backbone, Tabular):
            trained = _train_tabular(experiment, preprocessing, fleet, task, scratch, progress=progress is True)
        else:
            trained = _train_network(experiment, preprocessing, split, task, scratch, work, resume, progress)
        manifest = _manifest(experiment, fleet, split, preprocessing, trained, time.perf_counter() - started)
        (scratch / HISTORY).write_text(json.dumps(trained.history), encoding="utf-8")
        (scratch / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    record_held_out(experiment, work, manifest.metrics)
    return trained.unseen


def _train_network(
    experiment: Experiment,
    preprocessing: Preprocessing,
    split: UnitSplit,
    task: Task,
    scratch: Path,
    work: Path,
    resume: bool,
    progress: bool | OnEpoch,
) -> Trained:
    for module in ("torch", "lightning", "onnxscript", "safetensors"):
        require(module, extra="train")
    from safetensors.torch import save

    from wearcast.training.export import TOLERANCE, export_network
    from wearcast.training.network_training import thinned, train_network

    began = time.perf_counter()
    result = train_network(
        experiment, preprocessing, split.train, split.validation, task,
        work=work, resume=resume, progress=progress, held_out=split.held_out,
    )  # fmt: skip
    epoch_seconds = round((time.perf_counter() - began) / len(result.history), 3)
    (scratch / WEIGHTS).write_bytes(save({k: v.contiguous() for k, v in result.network.state_dict().items()}))
    windows = result.validation.windows
    sample = windows.batch(np.linspace(0, len(windows) - 1, 64).astype(np.intp))
    difference = export_network(result.network, sample, scratch / GRAPH)
    # Calibrated by the very path that serves.
    labels = task.answers(split.validation)
    session = OnnxSession(scratch / GRAPH)
    engine = Engine(preprocessing, experiment.window, task.plain, session)
    rows = np.intersect1d(labels.rows, engine.rows(split.validation), assume_unique=True)
    rows = np.intersect1d(rows, split.held_out, assume_unique=True)
    rows = thinned(rows, labels, CALIBRATION_ROWS)
    raw = engine.raw(preprocessing.transform(split.validation), rows)
    output = task.output(raw, split.validation, rows)
    parameters = sum(p.numel() for p in result.network.parameters())
    return Trained(
        unseen=Unseen(split.validation, rows, raw),
        parity=Parity(reference="torch", windows=64, max_abs_difference=difference, tolerance=TOLERANCE),
        output=output,
        held_out=task.held_out(output, raw, split.validation, rows),
        history=result.history,
        facts={
            "parameters": parameters,
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
            "epoch_seconds": epoch_seconds,
        },
    )


def _train_tabular(
    experiment: Experiment, preprocessing: Preprocessing, fleet: Fleet, task: Task, scratch: Path, *, progress: bool
) -> Trained:
    require("onnx", extra="train")
    from wearcast.training.tabular import fit_tabular

    fitted = fit_tabular(experiment, preprocessing, fleet, task, scratch / GRAPH, progress=progress)
    output = task.output(fitted.raw, fleet, fitted.rows, out_of_fold=True)
    return Trained(
        unseen=Unseen(fleet, fitted.rows, fitted.raw),
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
) -> ModelManifest:
    cross_fitted = isinstance(experiment.backbone, Tabular)
    learnt = fleet if cross_fitted else split.train
    return ModelManifest(
        name=experiment.name,
        seed=experiment.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        experiment=experiment.record(),
        target=experiment.target.resolved(learnt),
        window=experiment.window,
        preprocessing=preprocessing,
        output=trained.output,
        data=DataRecord.of(
            fleet,
            train=learnt.units,
            validation=() if cross_fitted else split.validation.units,
            rows=learnt.n_rows,
        ),
        parity=trained.parity,
        metrics=trained.held_out,
        training={"seconds": round(seconds, 2), **trained.facts},
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Versions of what takes part in training and forecasting."""
    found = {"wearcast": wearcast.__version__, "python": platform.python_version()}
    for package in ("numpy", "polars", "onnxruntime", "onnx", "torch", "lightning", "lightgbm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
