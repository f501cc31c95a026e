"""How right a forecast was: metrics, protocol, comparison, importance, report."""

from __future__ import annotations

from wearcast.evaluation.by_target import AnyEvaluation, evaluate
from wearcast.evaluation.classification import ClassEvaluation
from wearcast.evaluation.comparison import Comparison, compare
from wearcast.evaluation.forecasting import ValueEvaluation
from wearcast.evaluation.importance import Importance, occlusion_importance
from wearcast.evaluation.metrics import Metric
from wearcast.evaluation.protocol import Evaluation, Forecaster
from wearcast.evaluation.report import write_report

__all__ = [
    "AnyEvaluation",
    "ClassEvaluation",
    "Comparison",
    "Evaluation",
    "Forecaster",
    "Importance",
    "Metric",
    "ValueEvaluation",
    "compare",
    "evaluate",
    "occlusion_importance",
    "write_report",
]
