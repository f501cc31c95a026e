"""What is worth knowing about the data of a fleet before a model is trained on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wearcast.fleet import Fleet

__all__ = ["ColumnQuality", "Finding", "QualityReport", "Severity", "check"]

Severity = Literal["info", "warning", "error"]

SHORT_UNIT = 30  # readings; a unit below is mostly padding in a window
MUCH_MISSING = 0.3  # share of a column's readings
STUCK_SHARE = 0.5  # share of a unit's readings
STUCK_ROWS = 20  # and at least so many readings
FEW_FAILURES = 10
_MEANING = {
    "missing": ("info", "the last known value is held"),
    "unsorted": ("info", None),
    "gaps": ("warning", "readings may have been lost; nothing is filled in"),
    "guessed": ("warning", "say it with flags or --mapping FILE.yaml"),
    "truth_missing": ("warning", "forecasts can be made but not scored"),
    "stray_events": ("warning", None),
    "empty_rows": ("warning", None),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is worth knowing."""

    severity: Severity
    what: str
    where: str
    hint: str | None = None


@dataclass(frozen=True)
class ColumnQuality:
    """A column in numbers.

    Attributes:
        name: of the column.
        missing_share: share of readings that are missing.
        distinct: how many different values there are, counted up to 1000.
        minimum, mean, maximum: of the readings that are there; None without any.
        longest_run: most readings in a row, within a unit, that do not change.
    """

    name: str
    missing_share: float
    distinct: int
    minimum: float | None
    mean: float | None
    maximum: float | None
    longest_run: int


@dataclass(frozen=True)
class QualityReport:
    """Counts, columns and findings of one fleet."""

    name: str
    units: int
    rows: int
    failed: int
    censored: int
    time_unit: str
    columns: tuple[ColumnQuality, ...]
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Severity | None:
        """The severest finding, None if there is none."""
        levels = {finding.severity for finding in self.findings}
        return next((level for level in ("error", "warning", "info") if level in levels), None)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "worst": self.worst}


def check(fleet: Fleet) -> QualityReport:
    """Count what is in a fleet, and find what a model would stumble over."""
    columns, findings = [], list(_notes(fleet))
    findings += _units(fleet)
    seen: dict[bytes, str] = {}
    for name in fleet.schema.numeric:
        values = fleet.values([name])[:, 0]
        runs = _runs(values, fleet.offsets)
        column = _quality(name, values, runs)
        columns.append(column)
        findings += _column(fleet, column, runs, seen, values)
    varies = {column.name for column in columns if column.distinct > 1}
    if fleet.n_rows and not varies & set(fleet.schema.sensors):
        what = "no sensor varies: there is nothing to tell a worn unit from a new one by"
        findings.append(Finding("error", what, fleet.name, "name other columns as sensors"))
    summary = fleet.summary()
    rank = {"error": 0, "warning": 1, "info": 2}
    findings.sort(key=lambda finding: rank[finding.severity])
    return QualityReport(
        fleet.name, fleet.n_units, fleet.n_rows, summary["failed"], summary["censored"], fleet.schema.time_unit,
        tuple(columns), tuple(findings),
    )  # fmt: skip


def _notes(fleet: Fleet) -> Iterator[Finding]:
    for note in fleet.notes:
        severity, hint = _MEANING.get(note.kind, ("info", None))
        yield Finding(severity, note.message, fleet.name, hint)  # type: ignore[arg-type]


def _units(fleet: Fleet) -> Iterator[Finding]:
    sizes = np.diff(fleet.offsets)
    failed = int(np.isfinite(fleet.end_of_life_age).sum())
    if fleet.n_units == 0:
        yield Finding("error", "there are no units", fleet.name)
        return
    if failed == 0:
        yield Finding(
            "error", "every unit is still running: there is no end of life to learn from", fleet.name,
            "give the failures: --end-of-life last_row, or a table of failures",
        )  # fmt: skip
    elif failed < FEW_FAILURES:
        yield Finding("warning", f"only {failed} units have failed: forecasts will be uncertain", fleet.name)
    if fleet.n_units == 1:
        yield Finding("error", "there is one unit: nothing is left to validate on", fleet.name)
    for least, most, what in ((1, 1, "a single reading"), (2, SHORT_UNIT - 1, f"fewer than {SHORT_UNIT} readings")):
        found = np.flatnonzero((sizes >= least) & (sizes <= most))
        if len(found):
            yield Finding(
                "warning", f"{len(found)} units have {what}", f"units {_some(fleet, found)}",
                "they are kept: short histories are padded",
            )  # fmt: skip


def _some(fleet: Fleet, units: NDArray[np.intp]) -> str:
    shown = ", ".join(str(fleet.units[i]) for i in units[:5])
    return shown if len(units) <= 5 else f"{shown}, …"


@dataclass(frozen=True)
class _Runs:
    """Stretches within a unit in which a value does not change; `unit` and `length` of each, missing ones left out."""

    unit: NDArray[np.intp]
    length: NDArray[np.int64]


def _runs(values: NDArray[np.float32], offsets: NDArray[np.int64]) -> _Runs:
    starts = np.ones(len(values), dtype=bool)
    starts[1:] = values[1:] != values[:-1]
    starts[offsets[:-1]] = True
    first = np.flatnonzero(starts)
    length = np.diff(np.append(first, len(values)))
    there = ~np.isnan(values[first])
    unit = np.searchsorted(offsets, first[there], side="right") - 1
    return _Runs(unit, length[there])


def _quality(name: str, values: NDArray[np.float32], runs: _Runs) -> ColumnQuality:
    there = values[~np.isnan(values)]
    longest = int(runs.length.max()) if len(runs.length) else 0
    if not len(there):
        return ColumnQuality(name, 1.0 if len(values) else 0.0, 0, None, None, None, longest)
    # A sample first: whether there are many values is quickly known.
    distinct = len(np.unique(there[:: max(1, len(there) // 10_000)]))
    distinct = distinct if distinct >= 1000 else len(np.unique(there))
    low, high = float(there.min()), float(there.max())
    mean = float(there.mean(dtype=np.float64))
    return ColumnQuality(name, 1 - len(there) / len(values), min(distinct, 1000), low, mean, high, longest)


def _column(
    fleet: Fleet, column: ColumnQuality, runs: _Runs, seen: dict[bytes, str], values: NDArray[np.float32]
) -> Iterator[Finding]:
    where = f"column {column.name!r}"
    if column.distinct == 0:
        yield Finding("error", "there is not one reading", where, "leave the column out")
        return
    if column.missing_share > MUCH_MISSING:
        yield Finding("warning", f"{column.missing_share:.0%} of the readings are missing", where)
    if column.distinct == 1:
        what = "is constant" if column.minimum else "is dead: it is always 0"
        yield Finding("info", f"the column {what}", where, "it says nothing and can be left out")
        return
    stuck = _stuck(fleet, column, runs)
    if len(stuck):
        yield Finding(
            "warning", f"the value does not change over more than half the life of {len(stuck)} units",
            f"{where}, units {_some(fleet, stuck)}", "is the sensor stuck?",
        )  # fmt: skip
    twin = seen.setdefault(hashlib.sha256(np.ascontiguousarray(values).data).digest(), column.name)
    if twin != column.name:
        yield Finding("warning", f"the column repeats {twin!r}", where, "leave one of them out")


def _stuck(fleet: Fleet, column: ColumnQuality, runs: _Runs) -> NDArray[np.intp]:
    """Units in which a sensor with many values stands still for most of the time."""
    if column.distinct < STUCK_ROWS or column.name not in fleet.schema.sensors:
        return np.zeros(0, dtype=np.intp)
    size = np.diff(fleet.offsets)[runs.unit]
    still = (runs.length >= STUCK_ROWS) & (runs.length > STUCK_SHARE * size)
    return np.unique(runs.unit[still])
