"""How right a forecast was: metrics, protocol, comparison, importance, report."""

from __future__ import annotations

from wearcast.evaluation.by_target import AnyEvaluation, evaluate
from wearcast.evaluation.classification import ClassEvaluation
from wearcast.evaluation.comparison import Comparison, compare
from wearcast.evaluation.cost import Cost, measure_cost
from wearcast.evaluation.forecasting import ValueEvaluation
from wearcast.evaluation.importance import Importance, occlusion_importance
from wearcast.evaluation.leaderboard import write_leaderboard
from wearcast.evaluation.metrics import Metric
from wearcast.evaluation.protocol import Evaluation, Forecaster
from wearcast.evaluation.report import write_report
from wearcast.evaluation.robustness import Robustness, measure_robustness

__all__ = [
    "AnyEvaluation",
    "ClassEvaluation",
    "Comparison",
    "Cost",
    "Evaluation",
    "Forecaster",
    "Importance",
    "Metric",
    "Robustness",
    "ValueEvaluation",
    "compare",
    "evaluate",
    "measure_cost",
    "measure_robustness",
    "occlusion_importance",
    "write_leaderboard",
    "write_report",
]
