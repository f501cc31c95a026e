"""From an experiment and a fleet to a bundle: split, fit, train, export, calibrate, write."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from wearcast.distribution import Recalibration, TimeToEvent
from wearcast.errors import BundleError, ConfigError, ExportError, require
from wearcast.evaluation.calibration import calibrate_spread
from wearcast.fleet import Fleet
from wearcast.inference import Engine, OnnxSession
from wearcast.models import LightGbm
from wearcast.training.experiment import Experiment
from wearcast.windows import Preprocessing, UnitSplit, split_units

__all__ = ["train"]

Floats = NDArray[np.float64]

TREE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Trained:
    """What any kind of training leaves: files in a directory, and what the manifest says of them."""

    parity: Parity
    raw: TimeToEvent
    """Uncalibrated distributions of rows that the model had not seen."""
    rows: NDArray[np.int64]
    """Those rows, of `fleet`."""
    fleet: Fleet
    calibration: Recalibration
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
    split = split_units(fleet, experiment.split, experiment.seed)
    with write_bundle(root) as scratch:
        work = _work_directory(root, experiment, fleet, resume=resume)
        fit = _train_trees if isinstance(experiment.backbone, LightGbm) else _train_network
        fitted_on = fleet if isinstance(experiment.backbone, LightGbm) else split.train
        preprocessing = Preprocessing.fit(fitted_on, experiment.features)
        longest = float(np.max(fitted_on.rul()[0]))
        grid = experiment.target.grid(longest)
        trained = fit(experiment, preprocessing, fleet, split, grid, scratch, work, resume, progress)
        manifest = _manifest(experiment, fleet, split, preprocessing, grid, trained, time.perf_counter() - started)
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
    if isinstance(experiment.backbone, LightGbm) or experiment.trainer.devices == 1:
        return True
    ranks = (os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ)
    return int(next(ranks, "0")) == 0


def _train_network(
    experiment: Experiment,
    preprocessing: Preprocessing,
    fleet: Fleet,
    split: UnitSplit,
    grid: Floats,
    scratch: Path,
    work: Path,
    resume: bool,
    progress: bool,
) -> Trained:
    for module in ("torch", "lightning", "onnxscript", "safetensors"):
        require(module, extra="train")
    from safetensors.torch import save

    from wearcast.training.export import TOLERANCE, export_network
    from wearcast.training.network_training import train_network

    result = train_network(
        experiment, preprocessing, split.train, split.validation, grid, work=work, resume=resume, progress=progress
    )
    (scratch / WEIGHTS).write_bytes(save({k: v.contiguous() for k, v in result.network.state_dict().items()}))
    windows = result.validation.windows
    sample = windows.batch(np.linspace(0, len(windows) - 1, 64).astype(np.intp))
    difference = export_network(result.network, sample, scratch / GRAPH)
    raw = _raw(experiment, preprocessing, grid, scratch / GRAPH, split.validation)
    rows = np.arange(split.validation.n_rows)
    duration, known = split.validation.rul()
    calibration = Recalibration()
    if experiment.calibration.kind == "spread":
        calibration = calibrate_spread(raw, duration, known, split.validation.row_unit)
    parameters = sum(p.numel() for p in result.network.parameters())
    return Trained(
        parity=Parity(reference="torch", windows=64, max_abs_difference=difference, tolerance=TOLERANCE),
        raw=raw,
        rows=rows,
        fleet=split.validation,
        calibration=calibration,
        history=result.history,
        facts={"parameters": parameters, "epochs": len(result.history), "best_epoch": result.best_epoch},
    )


def _train_trees(
    experiment: Experiment,
    preprocessing: Preprocessing,
    fleet: Fleet,
    split: UnitSplit,
    grid: Floats,
    scratch: Path,
    work: Path,
    resume: bool,
    progress: bool,
) -> Trained:
    """Cross-fitted over all units of the fleet: every unit is held out once, so none is set apart."""
    require("lightgbm", extra="train")
    require("onnx", extra="train")
    from wearcast.features import StatisticsFeatures
    from wearcast.inference.engine import table_of
    from wearcast.models.gradient_boosting import cross_fit, even_rows, interpolate
    from wearcast.models.tree_graph import tree_graph

    spec, features = experiment.backbone, experiment.features
    assert isinstance(spec, LightGbm)  # noqa: S101 — the caller's choice
    assert isinstance(features, StatisticsFeatures)  # noqa: S101 — the experiment's own validator
    channels = preprocessing.transform(fleet)
    rows = even_rows(fleet.offsets, spec.rows_per_unit)
    table = table_of(channels, rows, features)
    duration, known = fleet.rul()
    with _fold_progress(progress) as on_fold:
        fitted = cross_fit(
            spec,
            table,
            duration[rows],
            known[rows],
            fleet.row_unit[rows],
            grid=grid,
            max_rul=experiment.target.max_rul,
            seed=experiment.seed,
            on_fold=on_fold,
        )
    graph = tree_graph(fitted, table.shape[1])
    (scratch / GRAPH).write_bytes(graph.SerializeToString())
    sample = table[np.linspace(0, len(table) - 1, 256).astype(np.intp)]
    difference = float(np.abs(OnnxSession(scratch / GRAPH).run({"table": sample}) - fitted.survival(sample)).max())
    if not difference <= TREE_TOLERANCE:
        raise ExportError(f"the exported graph differs from the trees by {difference:.2g}")
    return Trained(
        parity=Parity(
            reference="lightgbm", windows=len(sample), max_abs_difference=difference, tolerance=TREE_TOLERANCE
        ),
        raw=TimeToEvent(grid, interpolate(fitted.out_of_fold, fitted.knots, fitted.curves)),
        rows=rows,
        fleet=fleet,
        calibration=Recalibration(),  # the curves are those of out-of-fold rows already
        history=[],
        facts={"trees": sum(b.num_trees() for b in fitted.boosters), "columns": table.shape[1]},
    )


class _fold_progress:  # noqa: N801 — used as a function
    """A bar over the folds on stderr."""

    def __init__(self, show: bool) -> None:
        self.show = show

    def __enter__(self) -> Callable[[int, int], None] | None:
        if not self.show:
            return None
        from rich.console import Console
        from rich.progress import Progress

        self.bar = Progress(console=Console(stderr=True))
        self.bar.start()
        task = self.bar.add_task("trees, by fold of units", total=None)
        return lambda done, total: self.bar.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self.show:
            self.bar.stop()


def _raw(experiment: Experiment, preprocessing: Preprocessing, grid: Floats, graph: Path, fleet: Fleet) -> TimeToEvent:
    """Uncalibrated distributions at every row of the fleet, by the very path that serves."""
    engine = Engine(preprocessing, experiment.window, experiment.target, grid, OnnxSession(graph))
    return TimeToEvent(grid, engine.survival(preprocessing.transform(fleet), np.arange(fleet.n_rows)))


def _manifest(
    experiment: Experiment,
    fleet: Fleet,
    split: UnitSplit,
    preprocessing: Preprocessing,
    grid: Floats,
    trained: Trained,
    seconds: float,
) -> Manifest:
    # Trees learn from every unit, each fold held out from the others' trees: none is unseen as a whole.
    cross_fitted = isinstance(experiment.backbone, LightGbm)
    learnt = fleet if cross_fitted else split.train
    return Manifest(
        name=experiment.name,
        seed=experiment.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        experiment=experiment.record(),
        target=experiment.target,
        window=experiment.window,
        preprocessing=preprocessing,
        grid=tuple(grid.tolist()),
        calibration={"raw": trained.calibration.raw, "calibrated": trained.calibration.calibrated},
        data=DataRecord(
            name=fleet.name,
            fingerprint=fleet.fingerprint,
            train_units=learnt.units,
            validation_units=() if cross_fitted else split.validation.units,
            train_rows=learnt.n_rows,
            notes=tuple(note.message for note in fleet.notes),
        ),
        parity=trained.parity,
        metrics=_held_out_metrics(experiment, trained),
        training={"seconds": round(seconds, 2), **trained.facts},
        versions=_versions(),
    )


def _held_out_metrics(experiment: Experiment, trained: Trained) -> dict[str, float]:
    """Error and coverage on rows that the model had not seen, pooled."""
    duration, known = trained.fleet.rul()
    duration, known = duration[trained.rows], known[trained.rows]
    if not known.any():
        return {}
    distribution = trained.calibration.apply(trained.raw)[known]
    truth = duration[known]
    error = distribution.expected(experiment.target.max_rul) - np.minimum(truth, experiment.target.max_rul)
    low, high = distribution.quantile(0.05), distribution.quantile(0.95)
    return {
        "validation_rmse_capped": float(np.sqrt(np.mean(error**2))),
        "validation_crps": float(distribution.crps(truth).mean()),
        "validation_coverage_90": float(np.mean((low <= truth) & (truth <= high))),
    }


def _versions() -> dict[str, str]:
    found = {"wearcast": wearcast.__version__, "python": platform.python_version()}
    for package in ("numpy", "polars", "onnxruntime", "onnx", "torch", "lightning", "lightgbm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
