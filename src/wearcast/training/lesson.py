"""What a model that reads tables learns from, and what it leaves: the same for every kind of such a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wearcast.features import StatisticsFeatures
from wearcast.models.folds import Folds, by_time, by_unit
from wearcast.training.experiment import Experiment
from wearcast.training.tasks import Task
from wearcast.windows import Preprocessing

if TYPE_CHECKING:
    import onnx

__all__ = ["Facts", "Lesson", "TableModel"]

Table = NDArray[np.float32]
Facts = dict[str, float | int | str]


@dataclass(frozen=True)
class Lesson:
    """What is learnt from.

    Attributes:
        experiment: resolved.
        preprocessing: fitted on the fleet.
        task: the target's.
        table: statistics of each window, `(n, n_columns)`.
        answer: of each window, as the task's loss reads it; a time to the event for models of survival, `(n, …)`.
        known: whether it is known, of the same shape.
        unit: unit of each window, `(n,)`, ascending.
        rows: reading at which each window ends, `(n,)`, ascending.
        sample: windows on which the graph is compared with the model.
        on_fold: called with (folds done, folds in all), to show progress.
    """

    experiment: Experiment
    preprocessing: Preprocessing
    task: Task
    table: Table
    answer: NDArray[Any]
    known: NDArray[np.bool_]
    unit: NDArray[np.int32]
    rows: NDArray[np.int64]
    sample: Table
    on_fold: Callable[[int, int], None] | None = None

    def folds(self, n: int, strata: NDArray[np.int64] | None = None) -> Folds:
        """Folds by unit, or by blocks of time where the experiment divides by time.

        Args:
            n: how many.
            strata: of each row, divided evenly among folds of units.

        Raises:
            FleetError: there is one unit only, or histories are too short.
        """
        if self.experiment.split.by == "unit":
            return by_unit(self.unit, n, self.experiment.seed, strata)
        features = self.preprocessing.features
        back = features.reach if isinstance(features, StatisticsFeatures) else 1
        return by_time(self.unit, self.rows, n, back + self.experiment.window.prediction_length)


@dataclass(frozen=True)
class TableModel:
    """What was learnt.

    Attributes:
        raw: what the graph would give of each row, by models that had not seen it.
        graph: from a table to what is forecast.
        expected: what it should give of the lesson's sample.
        facts: sizes and counts.
    """

    raw: NDArray[Any]
    graph: onnx.ModelProto
    expected: NDArray[Any]
    facts: Facts
