"""How right class probabilities are: ranking, alarms at a threshold, calibration, confusion.

Average precision and ROC after Davis & Goadrich 2006, "The relationship between precision-recall and ROC curves"
(ICML); Brier score after Brier 1950; an alarm is judged by whether it comes before the failure, and how long before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import ModelError
from wearcast.evaluation.judged import Judged
from wearcast.evaluation.protocol import Forecaster, Record, at_each_window, fleet_at
from wearcast.fleet import Fleet
from wearcast.forecast import ClassForecast
from wearcast.schema import SECONDS
from wearcast.target import FailureTarget, FaultTarget

__all__ = [
    "Alarms",
    "ClassEvaluation",
    "average_precision",
    "confusion",
    "evaluate_classes",
    "held_out_classes",
    "judge_alarms",
    "macro_f1",
    "roc_auc",
]

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]
MONTH_S = 30 * 86400.0


def average_precision(score: Floats, positive: Truths) -> float:
    """Area under the precision-recall curve as the mean precision at each positive; ties count as one step."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked, hit = score[order], positive[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    caught = np.cumsum(hit)[ends]
    precision = caught / (ends + 1)
    return float((np.diff(caught, prepend=0) * precision).sum() / positive.sum())


def roc_auc(score: Floats, positive: Truths) -> float:
    """Probability that a positive has a higher score than a negative, ties half (Mann & Whitney 1947)."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    total = float(rank[place][positive].sum())
    return (total - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def confusion(truth: NDArray[np.int64], forecast: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Counts, `(n_classes, n_classes)`: rows are the truth, columns the forecast."""
    return np.bincount(truth * n_classes + forecast, minlength=n_classes**2).reshape(n_classes, n_classes)


def macro_f1(counts: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur in truth or forecast."""
    right = np.diag(counts).astype(np.float64)
    both = counts.sum(axis=0) + counts.sum(axis=1)
    there = both > 0
    return float((2 * right[there] / both[there]).mean()) if there.any() else float("nan")


def held_out_classes(probability: Floats, answer: NDArray[np.int64]) -> dict[str, float]:
    """Figures over held-out rows, for the manifest; empty without rows."""
    if not len(answer):
        return {}
    n, k = probability.shape
    right = probability[np.arange(n), answer]
    found = {"validation_log_loss": float(-np.log(np.maximum(right, 1e-12)).mean())}
    counts = confusion(answer, probability.argmax(axis=1), k)
    found["validation_macro_f1"] = macro_f1(counts)
    if k == 2 and answer.any():
        found["validation_pr_auc"] = average_precision(probability[:, 1], answer == 1)
    return found


@dataclass(frozen=True)
class Alarms:
    """What a threshold's alarms did for the failures.

    Attributes:
        n_events: units that failed, with a reading within the horizon before it.
        caught: how many of them had an alarm within the horizon before the failure.
        forewarning: time from the first such alarm to the failure, one a caught event, in the fleet's time unit.
        false_alarms: stretches of alarms that touch no reading that is, or could be, within the horizon of a failure:
            of a unit that still runs, what comes after its last readings is not known.
        asset_months: how long the units were watched where an alarm is known to be false, in months of 30 days; None
            for cycles.
    """

    n_events: int
    caught: int
    forewarning: tuple[float, ...]
    false_alarms: int
    asset_months: float | None

    def to_dict(self) -> dict[str, Any]:
        """As in `evaluate --json`."""
        rate = self.false_alarms / self.asset_months if self.asset_months else None
        return {
            "n_events": self.n_events,
            "events_caught": self.caught,
            "forewarning_median": float(np.median(self.forewarning)) if self.forewarning else None,
            "forewarning_min": min(self.forewarning) if self.forewarning else None,
            "false_alarms": self.false_alarms,
            "false_alarms_per_asset_month": rate,
        }


def judge_alarms(alarm: Truths, fleet: Fleet, horizon: float) -> Alarms:
    """Judge alarms at every reading of a fleet against the failures of its units.

    Args:
        alarm: whether there is one at each reading, `(n_rows,)`.
        fleet: with the failures as events.
        horizon: how long before a failure an alarm is right, in the fleet's time unit.
    """
    remaining, _ = fleet.rul()
    truth = FailureTarget(horizon=horizon).labels(fleet)
    near = truth.value == 1
    wrong = truth.known & ~near  # where an alarm is known to be false
    starts = fleet.offsets[:-1]
    n_events = len(np.unique(fleet.row_unit[near]))
    right = np.flatnonzero(alarm & near)
    first = right[np.unique(fleet.row_unit[right], return_index=True)[1]]
    forewarning = tuple(remaining[first].tolist())
    first_of_run = alarm & ~np.append(False, alarm[:-1])
    first_of_run[starts] = alarm[starts]
    run = np.cumsum(first_of_run)
    touching = np.unique(run[alarm & ~wrong])
    false = int(first_of_run.sum()) - len(touching)
    months = None
    if fleet.schema.is_clock:
        steps = np.diff(fleet.age, prepend=0.0)
        steps[starts] = 0.0
        months = float(steps[wrong].sum()) * SECONDS[fleet.schema.time_unit] / MONTH_S
    return Alarms(n_events, len(forewarning), forewarning, false, months)


@dataclass(frozen=True, kw_only=True, repr=False)
class ClassEvaluation(Judged):
    """Class forecasts, judged.

    Attributes:
        forecast: at each window, in the fleet's order.
        answer: true class of each forecast, `(n,)`.
        known: whether it is known, `(n,)`.
    """

    forecast: ClassForecast
    answer: NDArray[np.int64]
    known: Truths

    @property
    def latest(self) -> ClassForecast:
        """The forecast at the last reading of each unit."""
        return self.forecast.select(self.last)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Confusion over the known forecasts, by alarm for a failure target and by the likeliest class else."""
        chosen = self.forecast.likeliest if self.forecast.threshold is None else self.forecast.alarm.astype(np.int64)
        return confusion(self.answer[self.known], chosen[self.known], len(self.forecast.classes))


def evaluate_classes(bundle: Forecaster, fleet: Fleet, *, split: str, seed: int | None) -> ClassEvaluation:
    """Forecast each window of a fleet once and score what can be scored.

    Raises:
        ModelError: the bundle does not forecast classes, or not once a window.
    """
    forecast, rows = at_each_window(bundle, fleet)
    target = bundle.manifest.target
    if not isinstance(forecast, ClassForecast) or not isinstance(target, FailureTarget | FaultTarget):
        raise ModelError("the bundle does not forecast classes", where=str(bundle.path))
    answer, known = (
        target.labels(fleet).at(rows)
        if _has_truth(target, fleet)
        else (np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.bool_))
    )
    judged = ClassEvaluation(
        record=Record.of(bundle, fleet, split, seed),
        fleet=fleet_at(fleet, rows),
        metrics={},
        n_windows=len(forecast),
        n_scored=int(known.sum()),
        forecast=forecast,
        answer=answer,
        known=known,
    )
    return replace(judged, metrics=_metrics(judged, target))


def _has_truth(target: FailureTarget | FaultTarget, fleet: Fleet) -> bool:
    return target.label is None or target.label in fleet.schema.labels


def _metrics(judged: ClassEvaluation, target: FailureTarget | FaultTarget) -> dict[str, Any]:
    names: tuple[str, ...] = ("pr_auc", "roc_auc", "f1", "precision", "recall", "brier", "log_loss", "threshold")
    if isinstance(target, FaultTarget):
        names = ("macro_f1", "accuracy", "log_loss", "confusion")
    if not judged.n_scored:
        return dict.fromkeys(names)
    answer, probability = judged.answer[judged.known], judged.forecast.probability[judged.known]
    right = probability[np.arange(len(answer)), answer]
    counts = judged.counts
    found: dict[str, Any] = {"log_loss": float(-np.log(np.maximum(right, 1e-12)).mean())}
    if isinstance(target, FaultTarget):
        found |= {"macro_f1": macro_f1(counts), "accuracy": float(np.diag(counts).sum() / counts.sum())}
        found["confusion"] = {"classes": list(judged.forecast.classes), "counts": counts.tolist()}
        return {name: found[name] for name in names}
    positive = answer == 1
    caught, false, missed = int(counts[1, 1]), int(counts[0, 1]), int(counts[1, 0])
    found |= {
        "pr_auc": average_precision(probability[:, 1], positive),
        "roc_auc": roc_auc(probability[:, 1], positive),
        "precision": caught / (caught + false) if caught + false else None,
        "recall": caught / (caught + missed) if caught + missed else None,
        "f1": 2 * caught / max(2 * caught + false + missed, 1),
        "brier": float(np.mean((probability[:, 1] - positive) ** 2)),
        "threshold": judged.forecast.threshold,
    }
    found = {name: None if isinstance(found[name], float) and np.isnan(found[name]) else found[name] for name in names}
    if target.horizon is not None:
        found["alarms"] = judge_alarms(judged.forecast.alarm, judged.fleet, target.horizon).to_dict()
    return found
