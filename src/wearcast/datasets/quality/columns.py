"""Each column on its own: missing, dead, stuck, impossible and outlying readings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearcast.datasets.quality.findings import ColumnQuality, Finding, Severity, counted, some
from wearcast.datasets.quality.histories import Histories
from wearcast.datasets.quality.limits import Limits, decimal, outlier_limits

__all__ = ["Scan", "column_findings", "mark_outliers", "scan"]

Values = NDArray[np.float32]

BLOCK = 1 << 20
MUCH_MISSING = 0.3  # share of a column's readings
STUCK_SHARE = 0.5  # share of a unit's readings
STUCK_ROWS = 20  # and at least so many readings
MUCH_IMPOSSIBLE = 1e-3  # share of a column's readings
MUCH_FAR = 0.05  # share of a column's readings: more are no outliers but another way to run
FEW_VALUES = 20  # below, a column is a switch or a level: nothing lies far out
EXAMPLES = 3
_STAND_INS = (-999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0, -32768.0, 32767.0, 65535.0)


@dataclass(frozen=True)
class Scan:
    """What one walk over a column found.

    Attributes:
        quality: the column in numbers.
        stuck: indices of units in which the value stands still for most of the time.
        absent: indices of units that have no reading of it.
        impossible, far: the first rows out of range, and the first outliers.
        stand_ins: numbers that may stand for missing readings, with their counts.
    """

    quality: ColumnQuality
    stuck: NDArray[np.intp]
    absent: NDArray[np.intp]
    impossible: tuple[int, ...]
    far: tuple[int, ...]
    stand_ins: tuple[tuple[float, int], ...]


def mark_outliers(values: Values) -> NDArray[np.bool_]:
    """Which readings lie far from the median (see `outlier_limits`); nothing is deleted."""
    limits = outlier_limits(values[~np.isnan(values)])
    if limits is None:
        return np.zeros(len(values), dtype=np.bool_)
    return (values < limits[0]) | (values > limits[1])


def scan(histories: Histories, name: str, values: Values, limits: Limits) -> Scan:
    """Walk over a column, block by block.

    Args:
        histories: of the fleet.
        name: of the column.
        values: of the column, `(n_rows,)`.
        limits: lowest and highest possible value.
    """
    schema = histories.fleet.schema
    role = "setting" if name in schema.settings else "sensor" if name in schema.sensors else "known_future"
    count = _Count()
    sample = values[histories.sample]
    sample = sample[~np.isnan(sample)]
    distinct = _distinct(values, sample)
    usual = outlier_limits(sample) if distinct >= FEW_VALUES else None
    for at in range(0, len(values), BLOCK):
        count.add(values[at : at + BLOCK], at, limits, usual)
    run, unit = _long_runs(values, histories.fleet.offsets)
    there = count.there
    quality = ColumnQuality(
        name=name,
        role=role,
        unit_of_measure=schema.units_of_measure.get(name),
        missing_share=1 - there / len(values) if len(values) else 0.0,
        distinct=distinct,
        minimum=count.low if there else None,
        mean=count.total / there if there else None,
        maximum=count.high if there else None,
        longest_run=run if there else 0,
        lowest=limits[0],
        highest=limits[1],
        out_of_range=count.impossible,
        outliers=count.far,
    )
    stuck = unit if distinct >= FEW_VALUES and role == "sensor" else unit[:0]
    absent = _absent(values, histories) if quality.missing_share > 0 else unit[:0]
    stand_ins = _stand_ins(values, quality, usual)
    return Scan(quality, stuck, absent, tuple(count.impossible_rows), tuple(count.far_rows), stand_ins)


class _Count:
    """Sums over the blocks of a column."""

    def __init__(self) -> None:
        self.there, self.total, self.low, self.high = 0, 0.0, np.inf, -np.inf
        self.impossible, self.far = 0, 0
        self.impossible_rows: list[int] = []
        self.far_rows: list[int] = []

    def add(self, block: Values, at: int, limits: Limits, usual: tuple[float, float] | None) -> None:
        missing = np.isnan(block)
        there = len(block) - int(np.count_nonzero(missing))
        if not there:
            return
        self.there += there
        self.total += float(block.sum(dtype=np.float64) if there == len(block) else np.nansum(block, dtype=np.float64))
        low, high = float(np.fmin.reduce(block)), float(np.fmax.reduce(block))
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.impossible += _outside(block, at, low, high, limits, self.impossible_rows)
        if usual is not None:
            self.far += _outside(block, at, low, high, usual, self.far_rows)


def _outside(block: Values, at: int, low: float, high: float, limits: Limits, rows: list[int]) -> int:
    """How many readings of a block lie outside; the first few are added to `rows`."""
    under = limits[0] is not None and low < np.float32(limits[0])
    over = limits[1] is not None and high > np.float32(limits[1])
    if not (under or over):
        return 0
    outside = np.zeros(len(block), dtype=np.bool_)
    if under:
        outside |= block < np.float32(limits[0] or 0.0)
    if over:
        outside |= block > np.float32(limits[1] or 0.0)
    if len(rows) < EXAMPLES:
        rows += (at + np.flatnonzero(outside)[: EXAMPLES - len(rows)]).tolist()
    return int(np.count_nonzero(outside))


def _distinct(values: Values, sample: Values) -> int:
    """How many different values there are, up to 1000: a sample first, which settles it for most columns."""
    found = np.unique(sample)
    for at in range(0, len(values), BLOCK):
        if len(found) >= 1000:
            return 1000
        block = values[at : at + BLOCK]
        found = np.union1d(found, block[~np.isnan(block) & ~np.isin(block, found)])
    return min(len(found), 1000)


def _long_runs(values: Values, offsets: NDArray[np.int64]) -> tuple[int, NDArray[np.intp]]:
    """The longest stretch within a unit in which a value does not change, and the units that mostly stand still."""
    longest, begun = 0, 0
    starts, lengths = [], []
    for at in range(0, len(values), BLOCK):
        stop = min(at + BLOCK, len(values))
        changed = np.ones(stop - at, dtype=np.bool_)
        first = max(at, 1)
        changed[first - at :] = values[first:stop] != values[first - 1 : stop - 1]
        changed[offsets[np.searchsorted(offsets, at) : np.searchsorted(offsets, stop)] - at] = True
        edges = np.concatenate([[begun], at + np.flatnonzero(changed)])
        length = np.diff(edges)
        long = length >= STUCK_ROWS
        starts.append(edges[:-1][long])
        lengths.append(length[long])
        longest, begun = max(longest, int(length.max(initial=0))), int(edges[-1])
    last = len(values) - begun
    start, size = np.concatenate([*starts, [begun]]), np.concatenate([*lengths, [last]])
    if not len(values):
        return 0, np.zeros(0, dtype=np.intp)
    unit = np.searchsorted(offsets, start, side="right") - 1
    still = (size >= STUCK_ROWS) & (size > STUCK_SHARE * np.diff(offsets)[unit]) & ~np.isnan(values[start])
    return max(longest, last), np.unique(unit[still])


def _absent(values: Values, histories: Histories) -> NDArray[np.intp]:
    """Units without one reading of the column."""
    if histories.single:
        return np.zeros(0, dtype=np.intp)
    anything = np.logical_or.reduceat(~np.isnan(values), histories.fleet.offsets[:-1])
    return np.flatnonzero(~anything)


def _stand_ins(
    values: Values, quality: ColumnQuality, usual: tuple[float, float] | None
) -> tuple[tuple[float, int], ...]:
    """Numbers such as −999 that lie far out, come more than once and so may stand for missing readings."""
    if usual is None or not quality.outliers:
        return ()
    ends = {quality.minimum, quality.maximum}.intersection(_STAND_INS)
    found = [(float(end), int(np.count_nonzero(values == np.float32(end)))) for end in ends if end is not None]
    return tuple((end, n) for end, n in sorted(found) if n > 1 and not usual[0] <= end <= usual[1])


def column_findings(histories: Histories, found: Scan, values: Values) -> Iterator[Finding]:
    """What a person should know about a column."""
    column = found.quality
    where, names = f"column {column.name!r}", (column.name,)
    rows, units = len(values), histories.fleet.units
    if column.distinct == 0:
        yield Finding("error", "there is not one reading", where, "leave the column out", "empty", names, rows)
        return
    if column.missing_share > MUCH_MISSING:
        what = f"{column.missing_share:.0%} of the readings are missing"
        hint = "look why; leave the column out if it is mostly held values"
        yield Finding("warning", what, where, hint, "missing", names, round(column.missing_share * rows))
    if len(found.absent):
        who = some([units[i] for i in found.absent])
        what = f"{counted(len(found.absent), 'unit')} without one reading of it"
        hint = "is the sensor fitted there? models see its mean instead"
        yield Finding("warning", what, f"{where}, units {who}", hint, "absent", names, len(found.absent))
    if column.distinct == 1:
        what = "is constant" if column.minimum else "is dead: it is always 0"
        hint = "it says nothing and can be left out"
        yield Finding("info", f"the column {what}", where, hint, "constant", names)
    if len(found.stuck):
        who = some([units[i] for i in found.stuck])
        what = f"the value does not change over more than half the life of {counted(len(found.stuck), 'unit')}"
        yield Finding(
            "warning", what, f"{where}, units {who}", "is the sensor stuck, or its value logged only on change?",
            "stuck", names, len(found.stuck),
        )  # fmt: skip
    yield from _values(histories, found, values)


def _values(histories: Histories, found: Scan, values: Values) -> Iterator[Finding]:
    column = found.quality
    where, names, rows = f"column {column.name!r}", (column.name,), len(values)

    def examples(at: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(f"{decimal(float(values[row]))} ({histories.place(row)})" for row in at)

    if column.out_of_range:
        severity: Severity = "error" if column.out_of_range > MUCH_IMPOSSIBLE * rows else "warning"
        low, high = (decimal(end) if end is not None else None for end in (column.lowest, column.highest))
        bounds = f"below {low}" if high is None else f"above {high}" if low is None else f"outside of {low} to {high}"
        measure = f" {column.unit_of_measure}" if column.unit_of_measure else ""
        share = f" ({column.out_of_range / rows:.1%} of all)" if severity == "error" else ""
        what = f"{counted(column.out_of_range, 'reading')}{share} {bounds}{measure}"
        hint = "wrong unit or scale, or a broken sensor? mend them, empty the cells, or give the true --range"
        yield Finding(
            severity, what, where, hint, "out_of_range", names, column.out_of_range, examples(found.impossible)
        )
    for stand_in, n in found.stand_ins:
        what = f"{decimal(stand_in)} comes {n:,} times, far from all else: it may stand for a missing reading"
        yield Finding("warning", what, where, "empty these cells before training", "stand_in", names, n)
    explained = column.out_of_range + sum(n for _, n in found.stand_ins)
    if explained < column.outliers <= MUCH_FAR * rows:
        what = f"{counted(column.outliers, 'reading')} more than 8 robust standard deviations from the median"
        hint = "they are marked, not deleted; scaling clips them. Faults look like this too"
        yield Finding("info", what, where, hint, "outliers", names, column.outliers, examples(found.far))
