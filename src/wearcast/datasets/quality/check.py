"""What is worth knowing about the data of a fleet before a model is trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wearcast.datasets.quality.answers import AnswerKey, label_findings, label_quality
from wearcast.datasets.quality.columns import column_findings, scan
from wearcast.datasets.quality.drift import along_time, drift_findings, drift_unassessed
from wearcast.datasets.quality.findings import (
    ColumnQuality,
    Finding,
    QualityReport,
    Severity,
    Unassessed,
    some,
)
from wearcast.datasets.quality.histories import Histories
from wearcast.datasets.quality.limits import Limits, limits_of
from wearcast.datasets.quality.relations import Repeats, correlated
from wearcast.datasets.quality.timeaxis import time_findings, time_quality
from wearcast.fleet import Fleet

__all__ = ["TargetKind", "check"]

TargetKind = Literal["rul", "failure", "fault", "sensor"]

SHORT_UNIT = 30  # readings; a unit below is mostly padding in a window
FEW_FAILURES = 10
_MEANING: dict[str, tuple[Severity, str | None]] = {
    "guessed": ("warning", "say it with flags or --mapping FILE.yaml"),
    "truth_missing": ("warning", "forecasts can be made but not scored"),
    "stray_events": ("warning", None),
    "empty_rows": ("warning", None),
    "time_backwards": ("warning", "was the clock set back, or the time zone changed?"),
}
MANY = 3  # columns with one and the same finding
_SHARED = {
    "constant": "columns never change",
    "outliers": "columns have readings far from their median",
    "drift": "columns drift",
    "missing": "columns miss many readings",
    "absent": "columns are missing in whole units",
    "stuck": "columns stand still for most of a life",
    "leak_by_name": "columns are called like an answer",
}
_COUNTED_HERE = ("gaps",)  # notes that the check says better


def check(
    fleet: Fleet, *, target: TargetKind | None = None, ranges: Mapping[str, Limits] | None = None
) -> QualityReport:
    """Count what is in a fleet, and find what a model would stumble over.

    Works column by column and in blocks of rows; statistics of order come from an even sample of 200,000 rows.

    Args:
        fleet: what is checked.
        target: what is to be learnt from it; unless given, `fault` if there are labels but no failures, else `rul`.
        ranges: lowest and highest possible value of columns, over those of the schema and of the units of measure.

    Raises:
        UsageError: a range of a column that is not there.

    Example:
        >>> from wearcast import load_dataset
        >>> check(load_dataset("simulated")).worst
        'info'
    """
    failed = int(np.isfinite(fleet.end_of_life_age).sum())
    chosen: TargetKind = target or ("rul" if failed or not fleet.schema.labels else "fault")
    limits = limits_of(fleet.schema, ranges)
    histories = Histories(fleet)
    findings = [*_notes(fleet), *_units(histories, failed, chosen)]
    time = time_quality(fleet) if fleet.n_rows else None
    if time is not None:
        findings += time_findings(fleet, time)
    labels = tuple(label_quality(histories, name) for name in fleet.schema.labels)
    findings += [finding for label in labels for finding in label_findings(label)]
    walk = _Walk(histories, AnswerKey(histories, labels), Repeats(histories), worn=failed > 0)
    columns = [walk.column(name, limits.get(name, (None, None))) for name in fleet.schema.numeric]
    findings += [*walk.findings, *walk.rest([column for column in columns if column.name not in walk.twins])]
    findings = _joined(findings)
    findings.sort(key=lambda finding: get_args(Severity).index(finding.severity))
    sizes = histories.sizes
    return QualityReport(
        name=fleet.name,
        target=chosen,
        units=fleet.n_units,
        rows=fleet.n_rows,
        failed=failed,
        censored=fleet.n_units - failed,
        readings_per_unit=(int(sizes.min()), int(np.median(sizes)), int(sizes.max())) if len(sizes) else (),
        time_unit=fleet.schema.time_unit,
        repeated_rows=walk.repeats.rows,
        columns=tuple(columns),
        time=time,
        labels=labels,
        findings=tuple(findings),
        unassessed=tuple(walk.unassessed()) if fleet.n_rows else (),
    )


def _joined(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, with those that many columns share as one: a list of two hundred dead columns is read by nobody."""
    kept = list(findings)
    for kind, what in _SHARED.items():
        alike = [finding for finding in kept if finding.kind == kind and len(finding.columns) == 1]
        for severity in get_args(Severity):
            same = [finding for finding in alike if finding.severity == severity]
            if len(same) <= MANY:
                continue
            names = tuple(finding.columns[0] for finding in same)
            examples = tuple(f"{finding.columns[0]}: {finding.what}" for finding in same[:3])
            one = Finding(
                severity, f"{len(same)} {what}", f"columns {some([repr(name) for name in names], 8)}", same[0].hint,
                kind, names, len(same), () if kind == "constant" else examples,
            )  # fmt: skip
            kept[kept.index(same[0])] = one
            kept = [finding for finding in kept if finding not in same]
    return kept


@dataclass
class _Walk:
    """From column to column."""

    histories: Histories
    key: AnswerKey
    repeats: Repeats
    worn: bool

    def __post_init__(self) -> None:
        self.findings: list[Finding] = []
        self.twins: dict[str, str] = {}

    def column(self, name: str, limits: Limits) -> ColumnQuality:
        """Look at one column; what is found is kept."""
        values = self.histories.fleet.frame[name].to_numpy()
        found = scan(self.histories, name, values, limits)
        self.findings += column_findings(self.histories, found, values)
        varies = found.quality.distinct > 1
        twin = self.repeats.add(name, values, varies=varies)
        if twin is not None:
            self.twins[name] = twin
            what, hint = f"the column repeats {twin!r}", "leave one of them out"
            self.findings.append(Finding("warning", what, f"column {name!r}", hint, "repeated_column", (name, twin)))
        if not varies:
            return found.quality
        drift = along_time(self.histories, values)
        self.findings += drift_findings(self.histories, name, values, drift, worn=self.worn)
        self.findings += self.key.findings(name, values)
        return replace(found.quality, drift=drift[0])

    def rest(self, columns: Sequence[ColumnQuality]) -> Iterator[Finding]:
        """What is found only when all columns were seen."""
        fleet = self.histories.fleet
        if not fleet.n_rows:
            return
        sensors = [c.name for c in columns if c.distinct > 1 and c.role == "sensor"]
        if not sensors:
            what = "no sensor varies: there is nothing to tell a worn unit from a new one by"
            yield Finding("error", what, fleet.name, "name other columns as sensors", "no_signal")
        yield from self.repeats.findings()
        yield from correlated(self.histories, sensors)
        for name in fleet.schema.statics:
            if fleet.frame[name].dtype.is_numeric():
                values: NDArray[np.float32] = fleet.frame[name].to_numpy()
                yield from self.key.findings(name, values, named=False)

    def unassessed(self) -> Iterator[Unassessed]:
        """What could not be looked at."""
        yield from self.key.unassessed()
        yield from drift_unassessed(self.histories, worn=self.worn)


def _notes(fleet: Fleet) -> Iterator[Finding]:
    for note in fleet.notes:
        if note.kind not in _COUNTED_HERE:
            severity, hint = _MEANING.get(note.kind, ("info", None))
            hint = "the columns say where" if note.kind == "missing" else hint
            yield Finding(severity, note.message, fleet.name, hint, note.kind, (), note.count)


def _units(histories: Histories, failed: int, target: TargetKind) -> Iterator[Finding]:
    fleet = histories.fleet
    if fleet.n_units == 0:
        yield Finding("error", "there are no units", fleet.name, "check the source and its mapping", "no_units")
        return
    if target in ("rul", "failure"):
        yield from _failures(fleet, failed, target)
    if fleet.n_units == 1:
        alone: Severity = "info" if target == "sensor" else "error"
        hint = "forecasts of a sensor are validated on later readings" if target == "sensor" else "bring more units"
        yield Finding(alone, "there is one unit: nothing is left to validate on", fleet.name, hint, "one_unit")
    if histories.single and fleet.n_units > 1 and target == "fault":
        what = "each unit is one reading: a table of cases, without histories"
        yield Finding("info", what, fleet.name, "windows are one reading long", "cases", (), fleet.n_units)
        return
    for least, most, what in ((1, 1, "a single reading"), (2, SHORT_UNIT - 1, f"fewer than {SHORT_UNIT} readings")):
        found = np.flatnonzero((histories.sizes >= least) & (histories.sizes <= most))
        if len(found):
            yield Finding(
                "warning", f"{len(found)} units have {what}", f"units {some([fleet.units[i] for i in found])}",
                "they are kept: short histories are padded", "short_units", (), len(found),
            )  # fmt: skip


def _failures(fleet: Fleet, failed: int, target: TargetKind) -> Iterator[Finding]:
    if failed == 0 and not (target == "failure" and fleet.schema.labels):
        yield Finding(
            "error", "every unit is still running: there is no end of life to learn from", fleet.name,
            "give the failures: --end-of-life last_row, or a table of failures", "no_failures",
        )  # fmt: skip
    elif 0 < failed < FEW_FAILURES:
        what = f"only {failed} {'unit has' if failed == 1 else 'units have'} failed: forecasts will be uncertain"
        yield Finding("warning", what, fleet.name, "bring more lives", "few_failures", (), failed)
