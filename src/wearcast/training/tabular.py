"""Training models that read tables: cross-fitted over all units, exported as a graph that is checked against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.bundle import Parity
from wearcast.errors import ExportError, FleetError
from wearcast.features import SequenceFeatures, SignalFeatures
from wearcast.fleet import Fleet
from wearcast.inference import OnnxSession
from wearcast.inference.engine import moments
from wearcast.inference.tables import table_columns, table_of
from wearcast.models import EnvelopeEvidence, LightGbm
from wearcast.models.curves import interpolate
from wearcast.models.envelope_evidence import EvidenceLayout, cross_fit_evidence, evidence_graph
from wearcast.models.folds import even_rows
from wearcast.models.gradient_boosting import cross_fit
from wearcast.models.tree_classes import cross_fit_classes
from wearcast.models.tree_graph import class_graph, tree_graph
from wearcast.training.experiment import Experiment
from wearcast.training.tasks import ClassTask, RulTask, Task
from wearcast.windows import Preprocessing

if TYPE_CHECKING:
    import lightgbm
    import onnx

__all__ = ["FittedTable", "fit_tabular"]

TOLERANCE = 1e-4
Table = NDArray[np.float32]
OnFold = Callable[[int, int], None]


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


@dataclass(frozen=True)
class _Rows:
    """What is learnt from."""

    table: Table
    answer: NDArray[Any]
    known: NDArray[np.bool_]
    unit: NDArray[np.int32]


@dataclass(frozen=True)
class _Model:
    """What was learnt: scores out of fold, the graph, what it should say of a sample, facts."""

    raw: NDArray[np.float64]
    graph: onnx.ModelProto
    expected: NDArray[np.float64]
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
    assert isinstance(spec, LightGbm | EnvelopeEvidence)  # noqa: S101 — the caller's choice
    assert not isinstance(features, SequenceFeatures)  # noqa: S101 — the experiment's own validator
    channels = preprocessing.transform(fleet)
    labels = task.answers(fleet)
    windows = moments(features, experiment.window, fleet.offsets)
    most = windows[even_rows(np.searchsorted(windows, fleet.offsets), spec.rows_per_unit)]
    rows = np.intersect1d(most, labels.rows, assume_unique=True)
    if not len(rows):
        raise FleetError("no window has an answer to learn from", where=fleet.name)
    table = table_of(channels, rows, features)
    answer, known = labels.at(rows)
    learnt = _Rows(table, answer, known, fleet.row_unit[rows])
    sample = table[np.linspace(0, len(table) - 1, 256).astype(np.intp)]
    with _Bar(progress) as on_fold:
        if isinstance(spec, EnvelopeEvidence):
            model = _evidence(experiment, spec, preprocessing, task, learnt, sample)
        else:
            model = _trees(experiment, spec, task, learnt, sample, on_fold)
    parity = _write(model, graph, sample, spec.kind)
    return FittedTable(parity, model.raw.astype(np.float32), rows, {**model.facts, "columns": table.shape[1]})


def _trees(
    experiment: Experiment, spec: LightGbm, task: Task, learnt: _Rows, sample: Table, on_fold: OnFold | None
) -> _Model:
    n_columns = sample.shape[1]
    if isinstance(task, RulTask):
        times = cross_fit(
            spec, learnt.table, learnt.answer, learnt.known, learnt.unit, grid=task.grid, max_rul=task.target.max_rul,
            seed=experiment.seed, on_fold=on_fold,
        )  # fmt: skip
        raw = interpolate(times.out_of_fold, times.knots, times.curves)
        return _Model(raw, tree_graph(times, n_columns), times.survival(sample), _count(times.boosters))
    assert isinstance(task, ClassTask)  # noqa: S101 — the experiment's own validator
    classes = cross_fit_classes(
        spec, learnt.table, learnt.answer, learnt.unit, weight=task.weight, seed=experiment.seed, on_fold=on_fold
    )
    graph = class_graph(classes, n_columns)
    return _Model(classes.out_of_fold, graph, classes.scores(sample), _count(classes.boosters))


def _count(boosters: tuple[lightgbm.Booster, ...]) -> dict[str, float | int | str]:
    return {"trees": sum(booster.num_trees() for booster in boosters)}


def _evidence(
    experiment: Experiment, spec: EnvelopeEvidence, preprocessing: Preprocessing, task: Task, learnt: _Rows,
    sample: Table,
) -> _Model:  # fmt: skip
    features = experiment.features
    assert isinstance(task, ClassTask)  # noqa: S101 — the experiment's own validator
    assert isinstance(features, SignalFeatures)  # noqa: S101 — the experiment's own validator
    signals = tuple(scale.column for scale in preprocessing.sensors)
    columns = table_columns(preprocessing, features)
    layout = EvidenceLayout.of(spec, features, signals, columns, task.target.classes)
    fitted = cross_fit_evidence(
        spec, layout, learnt.table, learnt.answer, learnt.unit, weight=task.weight, seed=experiment.seed
    )
    graph, facts = evidence_graph(fitted, sample.shape[1]), {"threshold": round(fitted.threshold, 6)}
    return _Model(fitted.out_of_fold, graph, fitted.scores(sample), dict(facts))


def _write(model: _Model, graph: Path, sample: Table, reference: str) -> Parity:
    graph.write_bytes(model.graph.SerializeToString())
    found = OnnxSession(graph).run({"table": sample})
    scale = max(1.0, float(np.abs(model.expected).max()))  # scores have no natural size
    difference = float(np.abs(found - model.expected).max()) / scale
    if not difference <= TOLERANCE:
        raise ExportError(f"the exported graph differs from the model by {difference:.2g}")
    return Parity(reference=reference, windows=len(sample), max_abs_difference=difference, tolerance=TOLERANCE)


class _Bar:
    """A bar over the folds on stderr."""

    def __init__(self, show: bool) -> None:
        self.show = show

    def __enter__(self) -> OnFold | None:
        if not self.show:
            return None
        from rich.console import Console
        from rich.progress import Progress

        self.bar = Progress(console=Console(stderr=True))
        self.bar.start()
        task = self.bar.add_task("by fold of units", total=None)
        return lambda done, total: self.bar.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self.show:
            self.bar.stop()
