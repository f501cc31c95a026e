"""One way in: each kind of target is judged by its own protocol."""

from __future__ import annotations

from wearcast.evaluation.classification import ClassEvaluation, evaluate_classes
from wearcast.evaluation.forecasting import ValueEvaluation, evaluate_values
from wearcast.evaluation.protocol import Evaluation, Forecaster, evaluate_rul
from wearcast.fleet import Fleet
from wearcast.target import RulTarget, SensorTarget

__all__ = ["AnyEvaluation", "evaluate"]

AnyEvaluation = Evaluation | ClassEvaluation | ValueEvaluation


def evaluate(bundle: Forecaster, fleet: Fleet, *, split: str = "test", seed: int | None = None) -> AnyEvaluation:
    """Forecast each window of a fleet once and score what can be scored.

    Args:
        bundle: what forecasts.
        fleet: the units to judge it on; they must not have been trained on.
        split: name of the split, for the record.
        seed: seed of the training, for the record; that of the bundle unless given.

    Raises:
        FleetError: the fleet is empty.
        ModelError: the bundle did not forecast each window once, or forecast something that is not a number.
    """
    target = bundle.manifest.target
    if isinstance(target, RulTarget):
        return evaluate_rul(bundle, fleet, split=split, seed=seed)
    if isinstance(target, SensorTarget):
        return evaluate_values(bundle, fleet, split=split, seed=seed)
    return evaluate_classes(bundle, fleet, split=split, seed=seed)
