"""Training that is watched: each model's settings, epochs and held-out figures go to MLflow or Weights & Biases.

Both through Lightning's own loggers. What is watched, and where it goes, holds for all that is trained within a block:
an ensemble trains many models, and none of the steps in between needs to know.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from wearcast.errors import TrainingError, UsageError, require
from wearcast.training.quiet import hushed

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from wearcast.training.experiment import Experiment

__all__ = ["Tool", "is_tracked", "record_held_out", "run_logger", "tracked"]

Tool = Literal["mlflow", "wandb"]
PROJECT = "wearcast"
CHATTY = ("mlflow", "alembic", "alembic.runtime.migration", "lightning.pytorch.loggers.mlflow", "wandb")


@dataclass(frozen=True)
class _Tracker:
    """Where it goes, and the logger of each model, by the folder of its checkpoints."""

    tool: Tool
    uri: str | None
    artifacts: str | None
    loggers: dict[Path, Logger] = field(default_factory=dict)


_TRACKER: ContextVar[_Tracker | None] = ContextVar("_TRACKER", default=None)


@contextmanager
def tracked(tool: str | None, *, uri: str | None = None, artifacts: str | None = None) -> Iterator[None]:
    """Watch all models that are trained within this block.

    Args:
        tool: `mlflow`, `wandb`, or None to watch nothing.
        uri: of MLflow: where it goes; its own default unless given.
        artifacts: of MLflow: where files of a new experiment shall lie.

    Raises:
        UsageError: no such tool.
        MissingExtraError: it is not installed.
    """
    if tool is None:
        yield
        return
    if tool not in get_args(Tool):
        raise UsageError(f"no such tool: {tool!r}", where="--track", hint=f"one of {', '.join(get_args(Tool))}")
    require(tool, extra="registry" if tool == "mlflow" else "wandb")
    token = _TRACKER.set(_Tracker(tool, uri, artifacts))  # type: ignore[arg-type]
    try:
        yield
    finally:
        _TRACKER.reset(token)


def is_tracked() -> bool:
    """Whether somebody watches here: what is trained in other processes would not be seen."""
    return _TRACKER.get() is not None


def run_logger(experiment: Experiment, work: Path) -> Logger | Literal[False]:
    """Lightning's logger of the model whose checkpoints lie in `work`; False where nobody watches.

    Raises:
        TrainingError: the run cannot be begun.
    """
    tracker = _TRACKER.get()
    if tracker is None:
        return False
    if work not in tracker.loggers:
        refused: Any = (
            require("mlflow.exceptions", extra="registry").MlflowException
            if tracker.tool == "mlflow"
            else require("wandb.errors", extra="wandb").Error
        )
        try:
            with _quiet():
                logger = _new(tracker, experiment)
                logger.log_hyperparams(experiment.record())
        except (OSError, refused) as error:
            said = " ".join(str(error).split())[:300]
            raise TrainingError(
                f"the run cannot be recorded: {said}", where=f"--track {tracker.tool}", hint="or leave --track out"
            ) from error
        tracker.loggers[work] = logger
    return tracker.loggers[work]


def record_held_out(experiment: Experiment, work: Path, metrics: Mapping[str, float]) -> None:
    """Add what was measured on held-out rows to the run of a model, and end it."""
    if logger := run_logger(experiment, work):
        with _quiet():
            logger.log_metrics(dict(metrics))
            logger.finalize("success")
            finish = getattr(getattr(logger, "experiment", None), "finish", None)
            if finish is not None:  # of W&B: else the next model would go into this run
                finish()


def _new(tracker: _Tracker, experiment: Experiment) -> Logger:
    name = f"{experiment.name}-seed{experiment.seed}"
    if tracker.tool == "mlflow":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing about a plant's models goes elsewhere
        from lightning.pytorch.loggers import MLFlowLogger

        uri = tracker.uri or require("mlflow", extra="registry").get_tracking_uri()
        return MLFlowLogger(experiment.name, run_name=name, tracking_uri=uri, artifact_location=tracker.artifacts)
    from lightning.pytorch.loggers import WandbLogger

    offline = os.environ.get("WANDB_MODE", "").lower() in ("offline", "dryrun")
    return WandbLogger(name, project=PROJECT, group=experiment.name, offline=offline)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' greetings, and MLflow's warnings about its own type hints, from the user."""
    with hushed(*CHATTY), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
