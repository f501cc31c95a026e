"""Data quality: what is wrong with a fleet's data, how badly, where, and what to do about it."""

from __future__ import annotations

from wearcast.datasets.quality.check import TargetKind, check
from wearcast.datasets.quality.columns import mark_outliers
from wearcast.datasets.quality.findings import (
    ColumnQuality,
    Finding,
    LabelQuality,
    QualityReport,
    Severity,
    TimeQuality,
    Unassessed,
)
from wearcast.datasets.quality.limits import Limits, parse_ranges

__all__ = [
    "ColumnQuality",
    "Finding",
    "LabelQuality",
    "Limits",
    "QualityReport",
    "Severity",
    "TargetKind",
    "TimeQuality",
    "Unassessed",
    "check",
    "mark_outliers",
    "parse_ranges",
]
