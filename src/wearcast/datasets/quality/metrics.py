"""Quality in numbers that a monitor can plot over time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

from wearcast.datasets.quality.findings import ColumnQuality, QualityReport, Severity

__all__ = ["json_line", "prometheus_text"]

_FLEET = {
    "units": "Units in the data set.",
    "rows": "Readings in the data set.",
    "failed_units": "Units whose end of life is known.",
    "repeated_rows": "Readings in which no column changes from the one before.",
    "time_gaps": "Steps longer than one and a half typical ones.",
    "time_lost_readings": "Readings that would fit into the gaps.",
    "time_jitter_share": "Share of steps that are off the typical one by more than a tenth.",
    "time_longest_gap": "Longest step, in seconds or cycles.",
    "time_step": "Typical step, in seconds or cycles.",
}
_COLUMN = {
    "column_missing_share": "Share of readings that are missing.",
    "column_out_of_range_readings": "Readings outside of what is possible.",
    "column_outlier_readings": "Readings far from the median.",
    "column_longest_still": "Most readings in a row, within a unit, that do not change.",
    "column_minimum": "Lowest reading.",
    "column_mean": "Mean reading.",
    "column_maximum": "Highest reading.",
    "column_change": "Kolmogorov-Smirnov distance of the first from the last third of the histories.",
}


def _fleet_figures(report: QualityReport) -> dict[str, float]:
    figures: dict[str, float] = {
        "units": report.units,
        "rows": report.rows,
        "failed_units": report.failed,
        "repeated_rows": report.repeated_rows,
    }
    if report.time is not None:
        figures |= {
            "time_gaps": report.time.gaps,
            "time_lost_readings": report.time.lost,
            "time_jitter_share": report.time.jitter_share,
            "time_longest_gap": report.time.longest_gap,
            "time_step": report.time.step,
        }
    return figures


def _column_figures(column: ColumnQuality) -> dict[str, float]:
    figures = {
        "column_missing_share": column.missing_share,
        "column_out_of_range_readings": column.out_of_range,
        "column_outlier_readings": column.outliers,
        "column_longest_still": column.longest_run,
        "column_minimum": column.minimum,
        "column_mean": column.mean,
        "column_maximum": column.maximum,
        "column_change": column.drift,
    }
    return {name: value for name, value in figures.items() if value is not None}


def prometheus_text(report: QualityReport, *, at: float | None = None) -> str:
    """The figures in the text format of Prometheus, for its textfile collector or a gateway.

    Args:
        report: what a check found.
        at: when it was checked, in seconds since 1970; now unless given.
    """
    return "".join(f"{line}\n" for line in _lines(report, time.time() if at is None else at))


def _lines(report: QualityReport, at: float) -> Iterator[str]:
    data = f"dataset={_quoted(report.name)}"
    for name, value in _fleet_figures(report).items():
        yield from _head(name, _FLEET[name])
        yield f"wearcast_data_{name}{{{data}}} {_plain(value)}"
    yield from _head("findings", "Findings of a check by severity.")
    for severity in get_args(Severity):
        yield f'wearcast_data_findings{{{data},severity="{severity}"}} {report.count(severity)}'
    figures = [(column.name, _column_figures(column)) for column in report.columns]
    for name, meaning in _COLUMN.items():
        yield from _head(name, meaning)
        for column, values in figures:
            if name in values:
                yield f"wearcast_data_{name}{{{data},column={_quoted(column)}}} {_plain(values[name])}"
    if report.labels:
        yield from _head("label_readings", "Readings of each class of a label.")
    for label in report.labels:
        for case, rows, _ in label.classes:
            yield f"wearcast_data_label_readings{{{data},column={_quoted(label.name)},class={_quoted(case)}}} {rows}"
    yield from _head("checked_timestamp_seconds", "When the data were checked.")
    yield f"wearcast_data_checked_timestamp_seconds{{{data}}} {_plain(at)}"


def _head(name: str, meaning: str) -> Iterator[str]:
    yield f"# HELP wearcast_data_{name} {meaning}"
    yield f"# TYPE wearcast_data_{name} gauge"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.10g}" if abs(value) < 1e9 else f"{value:.3f}"


def json_line(report: QualityReport, *, at: float | None = None) -> str:
    """The figures as one line of JSON with the time of the check, to be added to a file of such lines.

    Args:
        report: what a check found.
        at: when it was checked, in seconds since 1970; now unless given.
    """
    when = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    record: dict[str, Any] = {
        "time": when.isoformat(timespec="seconds"),
        "dataset": report.name,
        "target": report.target,
        "worst": report.worst,
        "findings": {severity: report.count(severity) for severity in get_args(Severity)},
        **_fleet_figures(report),
        "columns": {
            column.name: {name.removeprefix("column_"): value for name, value in _column_figures(column).items()}
            for column in report.columns
        },
        "labels": {label.name: {case: rows for case, rows, _ in label.classes} for label in report.labels},
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
