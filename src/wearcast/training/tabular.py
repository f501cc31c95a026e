"""Training models that read tables: cross-fitted over all units, exported as a graph that is checked against them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearcast.bundle import Parity
from wearcast.errors import ExportError, FleetError
from wearcast.features import SequenceFeatures
from wearcast.fleet import Fleet
from wearcast.inference import OnnxSession
from wearcast.inference.engine import moments
from wearcast.inference.tables import table_of
from wearcast.labels import Labels
from wearcast.models import EnvelopeEvidence, LightGbm, Persistence, Ridge, Survival, Tabular
from wearcast.models.folds import even_rows
from wearcast.target import RulTarget
from wearcast.training.experiment import Experiment
from wearcast.training.lesson import Lesson, TableModel
from wearcast.training.progress import fold_bar
from wearcast.training.table_baselines import learn_persistence, learn_ridge, learn_survival
from wearcast.training.table_models import learn_evidence, learn_trees
from wearcast.training.tasks import SensorTask, Task
from wearcast.windows import Preprocessing

__all__ = ["FittedTable", "fit_tabular"]

TOLERANCE = 1e-4
Table = NDArray[np.float32]


@dataclass(frozen=True)
class FittedTable:
    """A model that is written, and what it says of rows that it had not seen.

    Attributes:
        parity: of the exported graph.
        raw: what the graph gives, of each row by the fold's model that had not seen its unit.
        rows: those rows of the fleet.
        facts: sizes and counts.
    """

    parity: Parity
    raw: NDArray[np.float32]
    rows: NDArray[np.int64]
    facts: dict[str, float | int | str]


def fit_tabular(
    experiment: Experiment, preprocessing: Preprocessing, fleet: Fleet, task: Task, graph: Path, *, progress: bool
) -> FittedTable:
    """Fit on every unit of the fleet, each fold held out from the others' models, and write the graph.

    Raises:
        ExportError: the graph says something else than the model.
        FleetError: no window has an answer to learn from, or a segment cannot be described.
    """
    spec, features = experiment.backbone, experiment.features
    assert isinstance(spec, Tabular)  # noqa: S101 — the caller's choice
    assert not isinstance(features, SequenceFeatures)  # noqa: S101 — the experiment's own validator
    channels = preprocessing.transform(fleet)
    answers = task.answers(fleet)
    # A life is learnt from every reading, also from those of which nobody knows whether a failure was near.
    by_life = isinstance(spec, Survival | Persistence) and not isinstance(task, SensorTask)
    labels: Labels = RulTarget().labels(fleet) if by_life else answers
    windows = moments(features, experiment.window, fleet.offsets)
    most = windows[even_rows(np.searchsorted(windows, fleet.offsets), spec.rows_per_unit)]
    rows = np.intersect1d(most, labels.rows, assume_unique=True)
    if not len(rows):
        raise FleetError("no window has an answer to learn from", where=fleet.name)
    table = table_of(channels, rows, features)
    answer, known = labels.at(rows)
    sample = table[np.linspace(0, len(table) - 1, 256).astype(np.intp)]
    with fold_bar(progress) as on_fold:
        model = _learn(
            Lesson(experiment, preprocessing, task, table, answer, known, fleet.row_unit[rows], rows, sample, on_fold)
        )
    parity = _write(model, graph, sample, spec.kind)
    judged = np.isin(rows, answers.rows)
    raw = model.raw[judged].astype(np.float32)
    return FittedTable(parity, raw, rows[judged], {**model.facts, "columns": table.shape[1]})


def _learn(lesson: Lesson) -> TableModel:
    """By the function of the experiment's backbone."""
    match lesson.experiment.backbone:
        case LightGbm() as spec:
            return learn_trees(spec, lesson)
        case EnvelopeEvidence() as spec:
            return learn_evidence(spec, lesson)
        case Ridge() as spec:
            return learn_ridge(spec, lesson)
        case Survival() as spec:
            return learn_survival(spec, lesson)
        case Persistence() as spec:
            return learn_persistence(spec, lesson)
        case other:
            raise TypeError(f"{other.kind} does not read tables")


def _write(model: TableModel, graph: Path, sample: Table, reference: str) -> Parity:
    graph.write_bytes(model.graph.SerializeToString())
    found = OnnxSession(graph).run({"table": sample})
    scale = max(1.0, float(np.abs(model.expected).max()))  # scores have no natural size
    difference = float(np.abs(found - model.expected).max()) / scale
    if not difference <= TOLERANCE:
        raise ExportError(f"the exported graph differs from the model by {difference:.2g}")
    return Parity(reference=reference, windows=len(sample), max_abs_difference=difference, tolerance=TOLERANCE)
