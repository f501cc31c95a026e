"""The quality report: one HTML file that needs nothing else, for the person who can mend the data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from wearcast.datasets.quality.findings import ColumnQuality, LabelQuality, QualityReport
from wearcast.datasets.quality.histories import Histories
from wearcast.datasets.quality.limits import decimal
from wearcast.datasets.quality.pictures import bars, profile, sparkline
from wearcast.fleet import Fleet
from wearcast.pages import page, trusted

__all__ = ["report_html"]

MOST_PICTURES = 200
HISTOGRAM = 32


def report_html(report: QualityReport, fleet: Fleet, *, at: datetime | None = None) -> str:
    """The report as one self-contained page.

    Args:
        report: what a check of the fleet found.
        fleet: for the pictures.
        at: when it was checked; now unless given.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    histories = Histories(fleet)
    columns = [_column(report, column, histories) for column in report.columns[:MOST_PICTURES]]
    return page(
        __package__,
        "quality.html.j2",
        when=f"{at or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        r=report,
        title=report.name,
        summary=_summary(report),
        columns=columns,
        left_out=len(report.columns) - len(columns),
        axis=_axis(histories),
        sizes=_sizes(histories),
        labels=[_label(label) for label in report.labels],
        time=_time(report),
    )


def _summary(report: QualityReport) -> list[str]:
    errors, warnings = report.count("error"), report.count("warning")
    if errors:
        verdict = f"{_number(errors, 'finding')} would keep a model from learning what it should."
    elif warnings:
        verdict = f"A model can learn from these data. {_number(warnings, 'finding')} should be looked at first."
    else:
        verdict = "Nothing stands in the way of a model."
    worst = [f"{f.where}: {f.what}." for f in report.findings if f.severity != "info"][:1]
    return [verdict, *(f"First of all, {line}" for line in worst)]


def _number(count: int, noun: str) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
    word = words[count] if count < len(words) else str(count)
    return f"{word} {noun}" if count == 1 else f"{word} {noun}s"


def _axis(histories: Histories) -> str:
    if histories.single:
        return "From left to right: the rows in their order."
    if histories.fleet.n_units == 1:
        return "From left to right: from the first reading to the last."
    return "From left to right: from the first reading of each unit to its last, all units laid over one another."


def _column(report: QualityReport, column: ColumnQuality, histories: Histories) -> dict[str, Any]:
    drawn = profile(histories, column)
    found = [f for f in report.findings if column.name in f.columns]
    facts = [("mean", decimal(column.mean))] if column.mean is not None else []
    if column.missing_share:
        facts.append(("missing", _percent(column.missing_share)))
    if column.out_of_range:
        facts.append(("impossible", f"{column.out_of_range:,}"))
    if column.outliers:
        facts.append(("far out", f"{column.outliers:,}"))
    if column.drift is not None:
        facts.append(("change", f"{column.drift:.2f}"))
    if column.longest_run > 1:
        facts.append(("longest still", f"{column.longest_run:,}"))
    return {
        "name": column.name,
        "role": column.role.replace("_", " "),
        "measure": column.unit_of_measure,
        "svg": trusted(sparkline(drawn, column)) if drawn is not None else None,
        "low": decimal(drawn.view[0]) if drawn else "",
        "high": decimal(drawn.view[1]) if drawn else "",
        "facts": facts,
        "chips": list(dict.fromkeys((f.severity, f.kind.replace("_", " ")) for f in found)),
        "worst": found[0].severity if found else None,
    }


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def _sizes(histories: Histories) -> dict[str, Any] | None:
    """How long the histories are, where they differ."""
    sizes = histories.sizes
    if len(sizes) < 2 or sizes.min() == sizes.max():
        return None
    counts, _ = np.histogram(sizes, bins=HISTOGRAM)
    svg = bars(counts.astype(np.int64), "readings of a unit")
    return {"svg": trusted(svg), "low": f"{sizes.min():,}", "high": f"{sizes.max():,}"}


def _label(label: LabelQuality) -> dict[str, Any]:
    most = max((rows for _, rows, _ in label.classes), default=1)
    total = sum(rows for _, rows, _ in label.classes) + label.missing
    rows = [
        {"name": name, "rows": f"{n:,}", "share": _percent(n / total), "units": f"{u:,}", "width": f"{n / most:.1%}"}
        for name, n, u in label.classes
    ]
    return {"name": label.name, "rows": rows, "missing": label.missing, "more": label.distinct - len(rows)}


def _time(report: QualityReport) -> list[tuple[str, str]]:
    time = report.time
    if time is None:
        return []
    unit = "s" if time.unit == "second" else "cycles" if time.longest_gap != 1 else "cycle"
    facts = [("typical step", f"{decimal(time.step)} {unit}"), ("steps off it", f"{time.jitter_share:.1%}")]
    if time.gaps:
        facts += [
            ("longer than usual", f"{time.gaps:,} steps"),
            ("longest", f"{decimal(time.longest_gap)} {unit} ({time.longest_gap_at})"),
            ("would fit in", f"{time.lost:,} readings"),
        ]
    return [*facts, ("repeated rows", f"{report.repeated_rows:,}")]
