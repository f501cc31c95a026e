"""How right a forecast was: metrics, protocol, comparison, importance, report."""

from __future__ import annotations

from wearcast.evaluation.comparison import Comparison, compare
from wearcast.evaluation.importance import Importance, occlusion_importance
from wearcast.evaluation.metrics import Metric
from wearcast.evaluation.protocol import Evaluation, Forecaster, evaluate
from wearcast.evaluation.report import write_report

__all__ = [
    "Comparison",
    "Evaluation",
    "Forecaster",
    "Importance",
    "Metric",
    "compare",
    "evaluate",
    "occlusion_importance",
    "write_report",
]
