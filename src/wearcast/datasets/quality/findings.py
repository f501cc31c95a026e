"""What a check says: findings with a severity, and the numbers that they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

__all__ = [
    "ColumnQuality",
    "Finding",
    "LabelQuality",
    "QualityReport",
    "Severity",
    "TimeQuality",
    "Unassessed",
    "counted",
    "some",
]

Severity = Literal["error", "warning", "info"]
"""The severest first. error: no model should learn from this; warning: someone should look; info: good to know."""


@dataclass(frozen=True)
class Finding:
    """One thing that is worth knowing.

    Attributes:
        severity: see `Severity`.
        what: is the matter, in words.
        where: it is: a column, units, the data set.
        hint: what to do about it.
        kind: the same for all findings of one sort, such as `out_of_range`; for programs.
        columns: that it is about; empty if it is about the units or the time.
        count: of readings, units or columns, whichever `what` counts; None if it counts nothing.
        examples: a few of the places.
    """

    severity: Severity
    what: str
    where: str
    hint: str | None = None
    kind: str = "note"
    columns: tuple[str, ...] = ()
    count: int | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnQuality:
    """A column in numbers.

    Attributes:
        name: of the column.
        role: setting, sensor or known_future.
        unit_of_measure: as the data say it; None where they do not.
        missing_share: share of readings that are missing.
        distinct: how many different values there are, counted up to 1000.
        minimum, mean, maximum: of the readings that are there; None without any.
        longest_run: most readings in a row, within a unit, that do not change.
        lowest, highest: what is possible, from the schema, the unit of measure or the user; None where unbounded.
        out_of_range: readings outside of that.
        outliers: readings far from the median, see `outlier_limits`.
        drift: Kolmogorov-Smirnov distance of the first from the last third of the histories, 0 to 1.
    """

    name: str
    role: str
    unit_of_measure: str | None
    missing_share: float
    distinct: int
    minimum: float | None
    mean: float | None
    maximum: float | None
    longest_run: int
    lowest: float | None = None
    highest: float | None = None
    out_of_range: int = 0
    outliers: int = 0
    drift: float | None = None


@dataclass(frozen=True)
class TimeQuality:
    """The time axis in numbers; steps are in the fleet's unit of time, or in seconds where it has a clock.

    Attributes:
        unit: `cycle` or `second`.
        step: the typical step between two readings of a unit.
        jitter_share: steps that differ from the typical one by more than a tenth.
        gaps: steps longer than one and a half typical ones.
        longest_gap: the longest step.
        longest_gap_at: where it is.
        lost: readings that would fit into the gaps.
    """

    unit: str
    step: float
    jitter_share: float
    gaps: int
    longest_gap: float
    longest_gap_at: str
    lost: int


@dataclass(frozen=True)
class LabelQuality:
    """The classes of a label column: how many readings and how many units each has, the most frequent first."""

    name: str
    classes: tuple[tuple[str, int, int], ...]
    missing: int
    distinct: int


@dataclass(frozen=True)
class Unassessed:
    """What was not looked at, and why: silence would read as a clean bill."""

    what: str
    why: str


@dataclass(frozen=True)
class QualityReport:
    """Counts, columns and findings of one fleet.

    Attributes:
        name: of the fleet.
        target: what the data were judged for: rul, failure, fault or sensor.
        units, rows, failed, censored: how many there are.
        readings_per_unit: least, median and most; empty without units.
        time_unit: of the fleet.
        repeated_rows: readings in which no column changes from the one before, of the same unit.
        columns, time, labels: in numbers; `time` is None where no unit has two readings.
        findings: the severest first.
        unassessed: what was not looked at.
    """

    name: str
    target: str
    units: int
    rows: int
    failed: int
    censored: int
    readings_per_unit: tuple[int, ...]
    time_unit: str
    repeated_rows: int
    columns: tuple[ColumnQuality, ...]
    time: TimeQuality | None
    labels: tuple[LabelQuality, ...]
    findings: tuple[Finding, ...]
    unassessed: tuple[Unassessed, ...]

    @property
    def worst(self) -> Severity | None:
        """The severest finding, None if there is none."""
        levels = {finding.severity for finding in self.findings}
        return next((level for level in get_args(Severity) if level in levels), None)

    def count(self, severity: Severity) -> int:
        """How many findings are of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def missing_share(self) -> float:
        """Share of all cells that are missing."""
        return sum(column.missing_share for column in self.columns) / max(len(self.columns), 1)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "worst": self.worst, "missing_share": self.missing_share}


def counted(count: int, noun: str) -> str:
    """A number with its noun: 1 unit, 2 units."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def some(names: Sequence[object], most: int = 5) -> str:
    """The first few of some names, for a sentence."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, …"
