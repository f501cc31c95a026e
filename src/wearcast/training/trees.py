"""Training trees: cross-fitted over all units, exported as a graph that is checked against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wearcast.bundle import Parity
from wearcast.errors import ExportError
from wearcast.features import StatisticsFeatures
from wearcast.fleet import Fleet
from wearcast.inference import OnnxSession
from wearcast.inference.engine import table_of
from wearcast.models import LightGbm
from wearcast.models.gradient_boosting import cross_fit, even_rows, interpolate
from wearcast.models.tree_classes import cross_fit_classes
from wearcast.models.tree_graph import class_graph, tree_graph
from wearcast.training.experiment import Experiment
from wearcast.training.tasks import ClassTask, RulTask, Task
from wearcast.windows import Preprocessing

if TYPE_CHECKING:
    import onnx

__all__ = ["FittedTrees", "fit_trees"]

TOLERANCE = 1e-4
Table = NDArray[np.float32]


@dataclass(frozen=True)
class FittedTrees:
    """Trees that are written, and what they say of rows that they had not seen.

    Attributes:
        parity: of the exported graph.
        raw: what the graph gives, of each row by the fold's trees that had not seen its unit.
        rows: those rows of the fleet.
        trees: how many there are.
        columns: of the table that they read.
    """

    parity: Parity
    raw: NDArray[np.float32]
    rows: NDArray[np.int64]
    trees: int
    columns: int


def fit_trees(
    experiment: Experiment, preprocessing: Preprocessing, fleet: Fleet, task: Task, graph: Path, *, progress: bool
) -> FittedTrees:
    """Fit on every unit of the fleet, each fold held out from the others' trees, and write the graph.

    Raises:
        ExportError: the graph says something else than the trees.
    """
    spec, features = experiment.backbone, experiment.features
    assert isinstance(spec, LightGbm)  # noqa: S101 — the caller's choice
    assert isinstance(features, StatisticsFeatures)  # noqa: S101 — the experiment's own validator
    assert isinstance(task, RulTask | ClassTask)  # noqa: S101 — the experiment's own validator
    channels = preprocessing.transform(fleet)
    labels = task.answers(fleet)
    rows = np.intersect1d(even_rows(fleet.offsets, spec.rows_per_unit), labels.rows, assume_unique=True)
    table = table_of(channels, rows, features)
    answer, known = labels.at(rows)
    unit = fleet.row_unit[rows]
    sample = table[np.linspace(0, len(table) - 1, 256).astype(np.intp)]
    with _Bar(progress) as on_fold:
        if isinstance(task, RulTask):
            times = cross_fit(
                spec, table, answer, known, unit, grid=task.grid, max_rul=task.target.max_rul, seed=experiment.seed,
                on_fold=on_fold,
            )  # fmt: skip
            raw = interpolate(times.out_of_fold, times.knots, times.curves)
            boosters, expected, model = times.boosters, times.survival(sample), tree_graph(times, table.shape[1])
        else:
            classes = cross_fit_classes(
                spec, table, answer, unit, weight=task.weight, seed=experiment.seed, on_fold=on_fold
            )
            raw = classes.out_of_fold
            boosters, expected, model = classes.boosters, classes.scores(sample), class_graph(classes, table.shape[1])
    parity = _write(model, graph, sample, expected)
    n_trees = sum(booster.num_trees() for booster in boosters)
    return FittedTrees(parity, raw.astype(np.float32), rows, n_trees, table.shape[1])


def _write(model: onnx.ModelProto, graph: Path, sample: Table, expected: NDArray[np.float64]) -> Parity:
    graph.write_bytes(model.SerializeToString())
    found = OnnxSession(graph).run({"table": sample})
    scale = max(1.0, float(np.abs(expected).max()))  # scores have no natural size
    difference = float(np.abs(found - expected).max()) / scale
    if not difference <= TOLERANCE:
        raise ExportError(f"the exported graph differs from the trees by {difference:.2g}")
    return Parity(reference="lightgbm", windows=len(sample), max_abs_difference=difference, tolerance=TOLERANCE)


class _Bar:
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
