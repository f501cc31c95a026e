"""Training a network: Lightning's loop, checkpoints that survive a kill, the best epoch by held-out units."""

from __future__ import annotations

import io
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException
from numpy.typing import NDArray

from wearcast.errors import ConfigError, TrainingError
from wearcast.fleet import Fleet
from wearcast.inference.engine import moments
from wearcast.labels import Labels
from wearcast.models.folds import few_of
from wearcast.models.network import ForecastNetwork
from wearcast.models.quantile import HorizonHead
from wearcast.models.spec import Inputs, Network
from wearcast.training.data import EpochBatches, LabelledWindows, loader
from wearcast.training.experiment import Experiment, TrainerSpec
from wearcast.training.module import ForecastModule
from wearcast.training.progress import OnEpoch
from wearcast.training.quiet import hushed
from wearcast.training.tasks import SensorTask, Task
from wearcast.training.tracking import run_logger
from wearcast.windows import Preprocessing, Windows
from wearcast.writing import replace_file

__all__ = ["TrainedNetwork", "train_network"]

VALIDATION_WINDOWS = 4000
MOST_TO_START_FROM = 200_000


@dataclass(frozen=True)
class TrainedNetwork:
    """The network of the best epoch, and how it came about."""

    network: ForecastNetwork
    history: list[dict[str, float]]
    best_epoch: int
    validation: LabelledWindows


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there: written beside, synced, renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the checkpoint at once."""
        content = io.BytesIO()  # so that a full disk is an OSError of ours, not torch's account of a broken archive
        torch.save(checkpoint, content)
        replace_file(Path(path), content.getbuffer())


class Patience(EarlyStopping):
    """Early stopping that stays stopped: a training that is resumed after its patience ran out does not go on."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop at once if the checkpoint says so."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Told(Callback):
    """Tells somebody else how far a training is."""

    def __init__(self, on_epoch: OnEpoch, error: str) -> None:
        self.on_epoch, self.error = on_epoch, error

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """An epoch is done, and judged."""
        error = trainer.callback_metrics.get(self.error)
        said = "" if error is None else f"{self.error}: {float(error):.3f}"
        self.on_epoch(trainer.current_epoch + 1, trainer.max_epochs or 0, said)


def train_network(
    experiment: Experiment,
    preprocessing: Preprocessing,
    train: Fleet,
    validation: Fleet,
    task: Task,
    *,
    work: Path,
    resume: bool,
    progress: bool | OnEpoch,
    held_out: NDArray[np.int64] | None = None,
) -> TrainedNetwork:
    """Train on one fleet, choose the epoch on another.

    Args:
        experiment: with a network as backbone.
        preprocessing: fitted on `train`.
        train, validation: see `UnitSplit`.
        task: what is learnt.
        work: where checkpoints lie.
        resume: go on from `work/last.ckpt` if it is there.
        progress: show a bar, or tell each epoch.
        held_out: rows of `validation` to go by; all unless given.

    Raises:
        TrainingError: the loss is not finite.
        ConfigError: there are no such devices, or the strategy starts its processes in a way that cannot work here.
        SystemExit: in every process but the first, once its share of the training is done.
    """
    lightning.seed_everything(experiment.seed, workers=True, verbose=False)
    spec = experiment.trainer
    seen = _labelled(train, preprocessing, experiment, task, far_share=spec.far_share)
    judged = _labelled(validation, preprocessing, experiment, task, most=VALIDATION_WINDOWS, within=held_out)
    network = build_network(experiment, preprocessing, task)
    some = seen.windows.rows[:: max(1, len(seen) // MOST_TO_START_FROM)]
    task.start(network.head, *seen.labels.at(some))
    module = _module(network, task, experiment, preprocessing, seen.windows.channels.units)
    best, callbacks = _callbacks(spec, f"val_{module.loss.error_name}", work, progress=progress)
    trainer = _trainer(spec, callbacks, work, run_logger(experiment, work), progress=progress is True)
    batches = EpochBatches(
        len(seen),
        spec.batch_size,
        share=spec.epoch_share,
        seed=experiment.seed,
        rank=trainer.global_rank,
        world=trainer.world_size,
    )
    checkpoint = work / "last.ckpt"
    with _calm(), _plain_interrupts():
        trainer.fit(
            module,
            train_dataloaders=loader(seen, batches),
            val_dataloaders=loader(judged, EpochBatches(len(judged), 1024)),
            ckpt_path=checkpoint if resume and checkpoint.exists() else None,
            weights_only=True,
        )
    if not trainer.is_global_zero:
        raise SystemExit(0)  # the first process exports and writes; two would write one bundle twice
    if not best.best_model_path or not module.history:
        raise TrainingError("training ended before its first epoch")
    epoch = _take_weights(network, best.best_model_path)
    return TrainedNetwork(network, module.history, epoch, judged)


def _module(
    network: ForecastNetwork,
    task: Task,
    experiment: Experiment,
    preprocessing: Preprocessing,
    units: Sequence[int | str],
) -> ForecastModule:
    """What Lightning trains."""
    n_sensors = len(preprocessing.sensors)
    return ForecastModule(
        network,
        task.loss(),
        experiment.optimiser,
        experiment.trainer,
        n_sensors=n_sensors,
        n_deviations=n_sensors if experiment.features.deviation else 0,
        sensor_of=preprocessing.sensor_of,
        exact=preprocessing.exact,
        units=units,
        seed=experiment.seed,
    )


def _callbacks(
    spec: TrainerSpec, error: str, work: Path, *, progress: bool | OnEpoch
) -> tuple[ModelCheckpoint, list[Callback]]:
    """The keeper of the best epoch by this figure, and all callbacks of a training."""
    # At the end of whole epochs: a training resumed from within one would not be what the unbroken one was.
    whole: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    best = ModelCheckpoint(dirpath=work, filename="best", monitor=error, mode="min", **whole)
    # Not `save_last`: that keeps the last checkpoint that was a best one, and a resumed training would lose the rest.
    last = ModelCheckpoint(dirpath=work, filename="last", **whole)
    patience = Patience(monitor=error, mode="min", patience=spec.patience, check_finite=False)
    callbacks: list[Callback] = [best, last, patience]
    if spec.weight_average > 0:
        from lightning.pytorch.callbacks import EMAWeightAveraging

        callbacks.append(EMAWeightAveraging(decay=spec.weight_average))
    if callable(progress):
        callbacks.append(Told(progress, error))
    elif progress:
        callbacks.append(RichProgressBar(leave=True))
    return best, callbacks


def _take_weights(network: ForecastNetwork, checkpoint: str) -> int:
    """Load the weights of a checkpoint for use; its epoch."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = {k.removeprefix("network."): v for k, v in state["state_dict"].items() if k.startswith("network.")}
    network.load_state_dict(weights)
    network.cpu().eval()
    return int(state["epoch"])


def _trainer(
    spec: TrainerSpec, callbacks: list[Callback], work: Path, logger: Logger | Literal[False], *, progress: bool
) -> lightning.Trainer:
    """Lightning's trainer, or what is wrong with the devices that were asked for."""
    try:
        with _calm():
            trainer = lightning.Trainer(
                accelerator=spec.accelerator,
                devices=spec.devices,
                strategy=spec.strategy,
                precision=spec.precision,
                max_epochs=spec.max_epochs,
                gradient_clip_val=spec.gradient_clip,
                deterministic="warn",
                callbacks=callbacks,
                plugins=[AtomicCheckpointIO()],
                logger=logger,
                enable_progress_bar=progress,
                enable_model_summary=False,
                use_distributed_sampler=False,
                num_sanity_val_steps=0,
                default_root_dir=work,
            )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        asked = f"accelerator {spec.accelerator!r}, devices {spec.devices!r}, strategy {spec.strategy!r}"
        raise ConfigError(f"no training with {asked}: {' '.join(str(error).split())}") from error
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(
            f"trainer.strategy {spec.strategy!r} forks or spawns its processes here, which leaves their results behind",
            hint="train on one device, or from a script or the command line with the strategy ddp",
        )
    return trainer


@contextmanager
def _calm() -> Iterator[None]:
    """Keep Lightning's greetings, and its warnings about what is meant here, from the user."""
    with warnings.catch_warnings(), hushed("lightning.pytorch", "lightning.fabric"):
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        warnings.filterwarnings("ignore", message=".*(num_workers|lr_scheduler.step|checkpoint directory).*")
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")  # torch.compile
        yield


@contextmanager
def _plain_interrupts() -> Iterator[None]:
    """Ctrl-C is KeyboardInterrupt and SIGTERM a failure; Lightning exits with 1 on the one and 0 on the other."""
    try:
        yield
    except SIGTERMException as error:
        raise SystemExit(128 + signal.SIGTERM) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def build_network(experiment: Experiment, preprocessing: Preprocessing, task: Task) -> ForecastNetwork:
    """The untrained network that fits the channels and the task."""
    spec = experiment.backbone
    assert isinstance(spec, Network)  # noqa: S101 — the experiment's own validator holds this
    inputs = Inputs(
        n_past=len(preprocessing.names),
        n_static=preprocessing.n_static,
        n_known_future=preprocessing.n_known_future,
        context_length=experiment.window.context_length,
        prediction_length=experiment.window.prediction_length,
        known_future_at=_known_future_at(preprocessing),
    )
    network = ForecastNetwork(spec, inputs, lambda backbone: task.head(backbone, spec.dropout))
    if isinstance(network.head, HorizonHead) and isinstance(task, SensorTask) and not task.target.relative:
        sensors = [scale.column for scale in preprocessing.sensors]
        network.head.carry([network.backbone.levels_of(sensors.index(name)) for name in task.target.columns])
    return network


def _known_future_at(preprocessing: Preprocessing) -> tuple[int, ...]:
    """Which of the channels are those that are known ahead, in their order there."""
    ahead = {*preprocessing.known_future, *(f"calendar_{mark}" for mark in preprocessing.features.calendar)}
    return tuple(i for i, name in enumerate(preprocessing.names) if name in ahead)


def _labelled(
    fleet: Fleet,
    preprocessing: Preprocessing,
    experiment: Experiment,
    task: Task,
    *,
    most: int | None = None,
    far_share: float = 1.0,
    within: NDArray[np.int64] | None = None,
) -> LabelledWindows:
    labels = task.answers(fleet)
    windows = moments(preprocessing.features, experiment.window, fleet.offsets)
    rows = np.intersect1d(labels.rows, windows, assume_unique=True)
    if within is not None:
        rows = np.intersect1d(rows, within, assume_unique=True)
    if most is not None:
        rows = thinned(rows, labels, most)
    if far_share < 1:
        rows = rows[few_of(task.far(labels.at(rows)[0]), far_share)]
    return LabelledWindows(Windows(preprocessing.transform(fleet), experiment.window, rows), labels)


def thinned(rows: NDArray[np.int64], labels: Labels, most: int) -> NDArray[np.int64]:
    """About `most` of the rows, evenly; those with a known answer apart: without one there is no error to go by."""
    step = max(1, -(-len(rows) // most))
    if step == 1:
        return rows
    known = np.asarray(labels.at(rows)[1].reshape(len(rows), -1).any(axis=1))
    return np.sort(np.concatenate([rows[known][::step], rows[~known][::step]]))
