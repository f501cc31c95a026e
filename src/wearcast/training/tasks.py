"""What training has to know of each kind of target: answers, head, loss, and how its output is calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from wearcast.distribution import TimeToEvent
from wearcast.errors import FleetError
from wearcast.evaluation.calibration import calibrate_quantiles, calibrate_scores, calibrate_spread, choose_threshold
from wearcast.evaluation.classification import held_out_classes
from wearcast.evaluation.forecasting import held_out_values
from wearcast.evaluation.metrics import held_out_times
from wearcast.fleet import Fleet
from wearcast.inference import Output, ProbabilityOutput, QuantileOutput, SurvivalOutput
from wearcast.inference.engine import last_known
from wearcast.labels import FutureLabels, Labels
from wearcast.target import ClassTarget, FailureTarget, RulTarget, SensorTarget
from wearcast.training.experiment import Experiment

if TYPE_CHECKING:
    from wearcast.models.network import BackboneModule, Head, Loss

__all__ = ["ClassTask", "RulTask", "SensorTask", "Task", "task_for"]

Rows = NDArray[np.int64]
L = TypeVar("L", bound=Labels)
FAR = 1.4
"""Caps of the label from which on a reading is far from the end."""


class Task(Protocol):
    """A target, resolved for the fleet that is learnt from."""

    def answers(self, fleet: Fleet) -> Labels:
        """The answers as the loss reads them."""

    def far(self, answer: NDArray[Any]) -> NDArray[np.bool_]:
        """Which answers of `n` rows are so far beyond what is to be told apart that few of them tell all, `(n,)`."""

    def head(self, backbone: BackboneModule, dropout: float) -> Head:
        """The untrained head."""

    def loss(self) -> Loss:
        """The loss."""

    def start(self, head: Head, answer: NDArray[Any], known: NDArray[np.bool_]) -> None:
        """Let the head begin with what is true of the training windows on average."""

    @property
    def plain(self) -> Output:
        """What the raw numbers mean, not calibrated."""

    def output(self, raw: NDArray[Any], fleet: Fleet, rows: Rows, *, out_of_fold: bool = False) -> Output:
        """What the raw numbers mean, calibrated on these held-out rows.

        `out_of_fold`: they are the trees' own, of models that had not seen the row's unit.
        """

    def held_out(self, output: Output, raw: NDArray[Any], fleet: Fleet, rows: Rows) -> dict[str, float]:
        """Figures on the held-out rows, for the manifest."""

    def errors(self, raw: NDArray[Any], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """Signed errors whose mean square is to be small, `(n, n_errors)`; NaN where the answer is not known."""


def task_for(experiment: Experiment, learnt: Fleet) -> Task:
    """The task of an experiment.

    Args:
        experiment: with any target.
        learnt: the fleet that is learnt from.

    Raises:
        FleetError: the fleet does not have what the target needs.
    """
    target = experiment.target.resolved(learnt)
    if isinstance(target, RulTarget):
        return RulTask(experiment, target, target.grid(float(np.max(learnt.rul()[0]))))
    if isinstance(target, SensorTarget):
        return SensorTask.of(experiment, target, learnt)
    return ClassTask.of(experiment, target, learnt)


def _some(labels: L, fleet: Fleet, what: str) -> L:
    if not len(labels.rows):
        raise FleetError(f"no reading has {what}: there is nothing to learn from or to hold out", where=fleet.name)
    return labels


@dataclass(frozen=True)
class RulTask:
    """Time to end of life on a grid of ages."""

    experiment: Experiment
    target: RulTarget
    grid: NDArray[np.float64]

    def answers(self, fleet: Fleet) -> Labels:
        """See `Task`."""
        return self.target.labels(fleet)

    def far(self, answer: NDArray[Any]) -> NDArray[np.bool_]:
        """See `Task`; a unit that still runs is beyond the cap as surely as one that failed later."""
        return np.asarray(answer >= FAR * self.target.max_rul)

    def head(self, backbone: BackboneModule, dropout: float) -> Head:
        """See `Task`."""
        from wearcast.models.time_to_event import TimeToEventHead

        return TimeToEventHead(backbone.d_state, self.target.bins, self.target.tail_bins, dropout=dropout)

    def loss(self) -> Loss:
        """See `Task`."""
        import torch

        from wearcast.models.time_to_event import TimeToEventLoss

        return TimeToEventLoss(
            torch.from_numpy(self.grid).float(),
            max_rul=self.target.max_rul,
            likelihood_weight=self.experiment.optimiser.likelihood_weight,
        )

    def start(self, head: Head, answer: NDArray[Any], known: NDArray[np.bool_]) -> None:
        """Begin with the fleet's own hazard."""
        import torch

        from wearcast.models.time_to_event import TimeToEventHead

        if isinstance(head, TimeToEventHead):
            head.start_from(torch.from_numpy(base_hazard(answer, known, self.grid)))

    @property
    def plain(self) -> SurvivalOutput:
        """See `Task`."""
        return SurvivalOutput(target=self.target, grid=tuple(self.grid.tolist()))

    def output(self, raw: NDArray[Any], fleet: Fleet, rows: Rows, *, out_of_fold: bool = False) -> SurvivalOutput:
        """See `Task`; the trees' curves are those of out-of-fold rows already."""
        if self.experiment.calibration.kind == "none" or out_of_fold:
            return self.plain
        duration, known = self.target.labels(fleet).at(rows)
        found = calibrate_spread(TimeToEvent(self.grid, raw.astype(np.float64)), duration, known, fleet.row_unit[rows])
        return self.plain.model_copy(update={"raw": found.raw, "calibrated": found.calibrated})

    def held_out(self, output: Output, raw: NDArray[Any], fleet: Fleet, rows: Rows) -> dict[str, float]:
        """See `Task`."""
        assert isinstance(output, SurvivalOutput)  # noqa: S101 - made by `output`
        duration, known = self.target.labels(fleet).at(rows)
        return held_out_times(output.distribution(raw), duration, known, self.target.max_rul)

    def errors(self, raw: NDArray[Any], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """See `Task`: of the expected RUL, up to the cap."""
        duration, known = self.target.labels(fleet).at(rows)
        cap = self.target.max_rul
        error = TimeToEvent(self.grid, raw).expected(cap) - np.minimum(duration, cap)
        return np.where(known | (duration >= cap), error, np.nan)[:, None]


@dataclass(frozen=True)
class ClassTask:
    """Classes.

    Attributes:
        share: of each class among the rows that are learnt from, `(n_classes,)`.
    """

    experiment: Experiment
    target: ClassTarget
    share: NDArray[np.float64]

    @classmethod
    def of(cls, experiment: Experiment, target: ClassTarget, learnt: Fleet) -> ClassTask:
        """With the share of each class in the fleet that is learnt from."""
        labels = _some(target.labels(learnt), learnt, "a known class")
        count = np.bincount(labels.at(labels.rows)[0], minlength=len(target.classes))
        return cls(experiment, target, count / count.sum())

    @property
    def weight(self) -> NDArray[np.float64]:
        """Weight of each class in the loss, 1 on average over the rows."""
        if self.target.class_weight == "none":
            return np.ones(len(self.share))
        there = self.share > 0
        return np.where(there, 1 / np.maximum(self.share, 1e-12) / there.sum(), 0.0)

    def answers(self, fleet: Fleet) -> Labels:
        """See `Task`.

        Raises:
            FleetError: no reading has an answer.
        """
        return _some(self.target.labels(fleet), fleet, "a known class")

    def far(self, answer: NDArray[Any]) -> NDArray[np.bool_]:
        """See `Task`: every class is to be told."""
        return np.zeros(len(answer), dtype=np.bool_)

    def head(self, backbone: BackboneModule, dropout: float) -> Head:
        """See `Task`."""
        from wearcast.models.classes import ClassHead

        return ClassHead(backbone.d_state, len(self.target.classes), dropout=dropout)

    def loss(self) -> Loss:
        """See `Task`."""
        import torch

        from wearcast.models.classes import ClassLoss

        return ClassLoss(torch.from_numpy(self.weight).float(), gamma=self.target.focal_gamma)

    def start(self, head: Head, answer: NDArray[Any], known: NDArray[np.bool_]) -> None:
        """Begin with the weighted share of each class."""
        import torch

        from wearcast.models.classes import ClassHead

        if isinstance(head, ClassHead):
            share = self.share * self.weight
            head.start_from(torch.from_numpy(share / share.sum()).float())

    @property
    def plain(self) -> ProbabilityOutput:
        """See `Task`."""
        return ProbabilityOutput(classes=self.target.classes, shift=(0.0,) * len(self.target.classes))

    def output(self, raw: NDArray[Any], fleet: Fleet, rows: Rows, *, out_of_fold: bool = False) -> ProbabilityOutput:
        """See `Task`."""
        answer, known = self.target.labels(fleet).at(rows)
        output = self.plain
        if self.experiment.calibration.kind != "none":
            slope, shift = calibrate_scores(
                raw[known], answer[known], shifts=self.experiment.calibration.kind != "temperature"
            )
            output = output.model_copy(update={"slope": slope, "shift": shift})
        if not isinstance(self.target, FailureTarget):
            return output
        probability = output.probability(raw[known])[:, 1]
        threshold = choose_threshold(self.target.threshold, probability, answer[known] == 1)
        return output.model_copy(update={"threshold": threshold})

    def held_out(self, output: Output, raw: NDArray[Any], fleet: Fleet, rows: Rows) -> dict[str, float]:
        """See `Task`."""
        assert isinstance(output, ProbabilityOutput)  # noqa: S101 - made by `output`
        answer, known = self.target.labels(fleet).at(rows)
        return held_out_classes(output.probability(raw[known]), answer[known])

    def errors(self, raw: NDArray[Any], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """See `Task`: of the probability of each class (Brier 1950)."""
        answer, known = self.target.labels(fleet).at(rows)
        error = self.plain.probability(raw) - (answer[:, None] == np.arange(len(self.target.classes)))
        return np.where(known[:, None], error, np.nan)


@dataclass(frozen=True)
class SensorTask:
    """Future values of columns, scaled.

    Attributes:
        mean: of each column among the rows that are learnt from, `(n_columns,)`.
        sd: of each column, or of its change over the horizon where the target is relative, `(n_columns,)`.
    """

    experiment: Experiment
    target: SensorTarget
    mean: NDArray[np.float32]
    sd: NDArray[np.float32]

    @classmethod
    def of(cls, experiment: Experiment, target: SensorTarget, learnt: Fleet) -> SensorTask:
        """With the scale of the fleet that is learnt from."""
        values = learnt.values(target.columns).astype(np.float64)
        mean, sd = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        plain = cls(experiment, target, mean.astype(np.float32), np.maximum(sd, 1e-6).astype(np.float32))
        if not target.relative:
            return plain
        labels = plain.answers(learnt)
        some = labels.rows[:: max(1, len(labels.rows) // 20_000)]
        value, known = labels.at(some)
        mean_square = (value**2).sum(axis=(0, 1)) / np.maximum(known.sum(axis=(0, 1)), 1)  # 0 where it is not known
        change = np.sqrt(mean_square) * plain.sd
        return cls(experiment, target, plain.mean, np.maximum(change, 1e-6).astype(np.float32))

    @property
    def steps(self) -> int:
        """How many steps ahead."""
        return self.experiment.window.prediction_length

    def answers(self, fleet: Fleet) -> Labels:
        """See `Task`: `(n, steps, n_columns)` in standard deviations.

        Raises:
            FleetError: no history is long enough to have an answer.
        """
        labels = _some(self.target.labels(fleet, self.steps), fleet, f"{self.steps} readings after it")
        assert isinstance(labels, FutureLabels)  # noqa: S101 - a sensor target's
        last = last_known(fleet, self.target.columns, np.arange(fleet.n_rows)) if self.target.relative else None
        return ScaledFuture(labels, self.mean if last is None else last, self.sd)

    def far(self, answer: NDArray[Any]) -> NDArray[np.bool_]:
        """See `Task`: every value is to be told."""
        return np.zeros(len(answer), dtype=np.bool_)

    def head(self, backbone: BackboneModule, dropout: float) -> Head:
        """See `Task`."""
        from wearcast.models.quantile import HorizonHead

        return HorizonHead(
            backbone.d_state,
            self.steps,
            len(self.target.columns),
            levels=self.target.quantile_levels,
            decoded=backbone.decodes,
            dropout=dropout,
        )

    def loss(self) -> Loss:
        """See `Task`."""
        from wearcast.models.quantile import PinballLoss

        return PinballLoss(self.target.quantile_levels)

    def start(self, head: Head, answer: NDArray[Any], known: NDArray[np.bool_]) -> None:
        """Nothing: a scaled value is 0 on average."""

    @property
    def plain(self) -> QuantileOutput:
        """See `Task`."""
        return QuantileOutput(
            columns=self.target.columns,
            quantile_levels=self.target.quantile_levels,
            mean=tuple(self.mean.tolist()),
            sd=tuple(self.sd.tolist()),
            relative=self.target.relative,
        )

    def output(self, raw: NDArray[Any], fleet: Fleet, rows: Rows, *, out_of_fold: bool = False) -> QuantileOutput:
        """See `Task`."""
        if self.experiment.calibration.kind == "none":
            return self.plain
        answer, known = self.answers(fleet).at(rows)
        spread = calibrate_quantiles(raw, answer, known, self.target.quantile_levels)
        return self.plain.model_copy(update={"spread": tuple(tuple(row) for row in spread.tolist())})

    def held_out(self, output: Output, raw: NDArray[Any], fleet: Fleet, rows: Rows) -> dict[str, float]:
        """See `Task`."""
        assert isinstance(output, QuantileOutput)  # noqa: S101 - made by `output`
        last = last_known(fleet, self.target.columns, rows)
        value, known = self.target.labels(fleet, self.steps).at(rows)
        return held_out_values(output.quantiles(raw, last), output.quantile_levels, value, known, last)

    def errors(self, raw: NDArray[Any], fleet: Fleet, rows: Rows) -> NDArray[np.float64]:
        """See `Task`: of the medians, in standard deviations."""
        answer, known = self.answers(fleet).at(rows)
        error = raw[..., self.target.quantile_levels.index(0.5)] - answer
        return np.where(known, error, np.nan).reshape(len(rows), -1).astype(np.float64)


@dataclass(frozen=True)
class ScaledFuture:
    """Future values in standard deviations from a base.

    Attributes:
        base: one a column, `(n_columns,)`, or one a row and column, `(n_rows, n_columns)`; what comes after one that
            is NaN is not known.
    """

    labels: FutureLabels
    base: NDArray[np.float32]
    sd: NDArray[np.float32]

    @property
    def rows(self) -> Rows:
        """See `Labels`."""
        return self.labels.rows

    def at(self, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """See `Labels`: both `(n, steps, n_columns)`."""
        value, known = self.labels.at(rows)
        base = self.base[rows][:, None] if self.base.ndim == 2 else self.base
        known = known & np.isfinite(base)
        return np.where(known, (value - base) / self.sd, np.float32(0)), known


def base_hazard(duration: NDArray[Any], known: NDArray[np.bool_], grid: NDArray[np.float64]) -> NDArray[np.float32]:
    """The fleet's own hazard in each bin, `(n_bins,)`: events over windows at risk, with one of each to begin with."""
    at = np.clip(np.searchsorted(grid, duration, side="right") - 1, 0, len(grid) - 2)
    ended = np.bincount(at, minlength=len(grid) - 1)
    events = np.bincount(at[known], minlength=len(grid) - 1)
    at_risk = ended[::-1].cumsum()[::-1]
    return np.asarray((events + 1.0) / (at_risk + 2.0), dtype=np.float32)
