"""The parts of an ensemble: one member's model with one seed on one fold, each trained unless it is whole already."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearcast.bundle import MANIFEST, MODELS, Bundle, load_bundle
from wearcast.fleet import Fleet
from wearcast.models import Tabular
from wearcast.training.experiment import Ensemble, Experiment
from wearcast.training.one_model import Unseen, train_model
from wearcast.training.progress import OnEpoch
from wearcast.windows import UnitSplit
from wearcast.writing import replace_file

__all__ = ["Fitted", "Part", "parts_of", "read_part", "train_part"]


@dataclass(frozen=True)
class Part:
    """One model of an ensemble.

    Attributes:
        member: its name in the ensemble.
        experiment: of one model, with a seed of its own.
        run: which of the ensemble's seeds, from 0.
        fold: which of the folds is held out, from 0; not read by models that cross-fit themselves.
    """

    member: str
    experiment: Experiment
    run: int = 0
    fold: int = 0

    @property
    def folder(self) -> str:
        """Name of its bundle."""
        return f"{self.member}-seed{self.run}-fold{self.fold}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.member}, seed {self.run}, fold {self.fold + 1}"

    @property
    def fills_machine(self) -> bool:
        """Whether it uses all cores by itself, as trees do, or other devices: nothing is to be trained beside it."""
        trainer = self.experiment.trainer
        return isinstance(self.experiment.backbone, Tabular) or trainer.accelerator != "cpu" or trainer.devices != 1

    def is_whole(self, work: Path) -> bool:
        """Whether it was trained, and all of it is there."""
        return (self.bundle_in(work) / MANIFEST).exists() and self.record_in(work).exists()

    def bundle_in(self, work: Path) -> Path:
        """Its bundle."""
        return work / MODELS / self.folder

    def record_in(self, work: Path) -> Path:
        """What it says of rows that it has not seen."""
        return work / MODELS / f"{self.folder}.npz"


@dataclass(frozen=True)
class Fitted:
    """A part that was trained: its bundle, and what it says of rows of the whole fleet that it has not seen."""

    part: Part
    bundle: Bundle
    rows: NDArray[np.int64]
    raw: NDArray[Any]


def parts_of(ensemble: Ensemble, folds: int) -> Iterator[Part]:
    """Every member with every seed on every fold; members that read tables cross-fit themselves: one part a seed."""
    for name, member in ensemble.members.items():
        for run in range(ensemble.seeds):
            for fold in range(1 if isinstance(member.backbone, Tabular) else folds):
                seed = int(np.random.default_rng([ensemble.seed, run, fold]).integers(2**31))
                yield Part(name, member.model_copy(update={"seed": seed}), run, fold)


def train_part(
    part: Part, fleet: Fleet, splits: Sequence[UnitSplit], work: Path, *, resume: bool, progress: bool | OnEpoch
) -> None:
    """Train a part; its bundle, and then its record, are whole or not there.

    Args:
        part: which.
        fleet: all units.
        splits: its folds.
        work: where models lie.
        resume: go on from the last checkpoint, if there is one.
        progress: see `train_model`.
    """
    root = part.bundle_in(work)
    checkpoints = root.with_name(f"{part.folder}.work")
    checkpoints.mkdir(parents=True, exist_ok=True)
    unseen = train_model(
        part.experiment, fleet, splits[part.fold], root, work=checkpoints, resume=resume, progress=progress
    )
    content = io.BytesIO()
    np.savez(content, rows=_rows_in(fleet, unseen), raw=unseen.raw)
    replace_file(part.record_in(work), content.getbuffer())
    shutil.rmtree(checkpoints, ignore_errors=True)


def read_part(part: Part, work: Path) -> Fitted:
    """What training a part left."""
    with np.load(part.record_in(work), allow_pickle=False) as held:
        return Fitted(part, load_bundle(part.bundle_in(work)), held["rows"], held["raw"])


def _rows_in(fleet: Fleet, unseen: Unseen) -> NDArray[np.int64]:
    """Rows of the whole fleet, found by unit and time."""
    if unseen.fleet is fleet:
        return unseen.rows
    whole = fleet.frame.select("unit", "time").with_row_index("row")
    part = unseen.fleet.frame.select("unit", "time")[unseen.rows]
    found = part.join(whole, on=["unit", "time"], how="left", maintain_order="left")["row"]
    return found.to_numpy().astype(np.int64)
