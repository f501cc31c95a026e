"""Where the rows of each unit lie in Parquet files that are larger than memory: one look at two columns, in slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from wearcast.datasets.axis import axis_of
from wearcast.datasets.mapping import FILE_UNIT, ColumnMapping
from wearcast.datasets.parquetfile import ParquetFile
from wearcast.datasets.reading import whole_units
from wearcast.datasets.skipping import renumbered
from wearcast.errors import FleetError, FormatError

__all__ = ["ParquetPart", "UnitPlan", "look"]

SLICE_ROWS = 1 << 21
NEAR_ROWS = 1 << 17
MOST_RUNS = 1 << 20
"""Runs of equal units that are kept for one file; of a file with more, only the first and last row of each unit."""

_INTERVALS = {"start": pl.Int64, "stop": pl.Int64, "code": pl.Int64, "rows": pl.Int64}


@dataclass(frozen=True)
class ParquetPart(ParquetFile):
    """The rows of some units of a Parquet file, read slice by slice.

    Attributes:
        intervals: first row and row behind the last of where they are; rows of other units may lie between.
        unit: column of the unit; empty if every row of the file is of one unit.
        worded: whether units are text.
        wanted: the units.
        keyless: whether the rows without a unit belong here too.
    """

    intervals: tuple[tuple[int, int], ...] = ()
    unit: str = ""
    worded: bool = False
    wanted: pl.Series = field(default_factory=pl.Series)
    keyless: bool = False

    def _columns(self, wanted: Sequence[pl.Expr]) -> Iterator[pl.Series]:
        parts = []
        for start, stop in self._slices():
            rows = self.slice(start, stop, wanted)
            parts.append(rows.filter(self._mask(start, stop)))
        table = pl.concat(parts)
        for name in table.columns:
            column = table.drop_in_place(name).rechunk()
            yield column

    def file_row(self, row: int) -> int:
        """Row of the file that was read as row `row`; the first is 1."""
        row -= 1
        for start, stop in self._slices():
            kept = self._mask(start, stop)
            count = int(kept.sum())
            if row < count:
                return start + int(kept.arg_true()[row]) + 1
            row -= count
        raise IndexError(row)

    def _slices(self) -> Iterator[tuple[int, int]]:
        for first, last in self.intervals:
            for start in range(first, last, SLICE_ROWS):
                yield start, min(start + SLICE_ROWS, last)

    def _mask(self, start: int, stop: int) -> pl.Series:
        if not self.unit:
            return pl.repeat(True, stop - start, dtype=pl.Boolean, eager=True)
        units = units_of(self.slice(start, stop, [pl.col(self.unit)]).to_series(), worded=self.worded)
        return units.is_in(self.wanted.cast(units.dtype).implode()).fill_null(self.keyless)


@dataclass(frozen=True)
class UnitPlan:
    """What the two columns of the keys say.

    Attributes:
        units: each unit, in the order in which the fleet will have them.
        rows: of each unit.
        intervals: for each file `start`, `stop`, and `code`, the position in `units`.
        keyless: for each file the position of the unit with which the rows without a unit are read.
        moved: rows that are not in order of unit and time.
        fractions: whether there are cycles that are no whole numbers.
        worded: whether units are text in the files.
    """

    units: pl.Series
    rows: pl.Series
    intervals: tuple[pl.DataFrame, ...]
    keyless: tuple[int, ...]
    moved: int
    fractions: bool
    worded: bool

    def _intervals(self, at: int, first: int, last: int) -> tuple[tuple[int, int], ...]:
        """Where the units are; those that touch or nearly touch as one: a file is read fast in long stretches."""
        here = self.intervals[at].filter(pl.col("code").is_between(first, last, closed="left"))
        out: list[tuple[int, int]] = []
        for start, stop in here.sort("start").select("start", "stop").iter_rows():
            if out and start - out[-1][1] <= NEAR_ROWS:
                out[-1] = (out[-1][0], max(stop, out[-1][1]))
            else:
                out.append((start, stop))
        return tuple(out)

    def rows_to_read(self, at: int, first: int, last: int) -> int:
        """Rows of the file number `at` that are read for these units, those of other units between them included."""
        return sum(stop - start for start, stop in self._intervals(at, first, last))

    def part(self, file: ParquetFile, at: int, first: int, last: int, mapping: ColumnMapping) -> ParquetPart | None:
        """The rows of the units from `first` to before `last` in the file number `at`; None if there are none."""
        intervals = self._intervals(at, first, last)
        if not intervals:
            return None
        one = one_unit(file, mapping)
        names = self.units.slice(first, last - first)
        return ParquetPart(
            **{name: getattr(file, name) for name in ParquetFile.__dataclass_fields__},
            intervals=intervals,
            unit="" if one is not None else mapping.unit,
            worded=self.worded,
            wanted=names.cast(pl.String) if self.worded else names,
            keyless=first <= self.keyless[at] < last,
        )


def one_unit(file: ParquetFile, mapping: ColumnMapping) -> str | None:
    """The unit of all rows, where the name of the file or of its folder says it.

    Raises:
        FleetError: the name says that there is none.
    """
    if mapping.unit == FILE_UNIT:
        return file.path.stem
    if mapping.unit not in file.partition:
        return None
    unit = (file.partition[mapping.unit] or "").strip()
    if not unit:
        raise FleetError("the unit is empty", where=f"{file.where}: row 1, column {mapping.unit!r}")
    return unit


def units_of(series: pl.Series, *, worded: bool) -> pl.Series:
    """Units as they are compared: text without blanks around it, or numbers; null where there is none."""
    if worded:
        return series.cast(pl.String).str.strip_chars().replace("", None)
    return series.cast(pl.Int64) if series.dtype.is_integer() else series.cast(pl.Float64)


def look(files: Sequence[ParquetFile], mapping: ColumnMapping, *, alphabetical: bool, name: str) -> UnitPlan:
    """Read the units and the times of all files, a slice at a time.

    Args:
        files: of one kind.
        mapping: which columns they are.
        alphabetical: whether units that are text are wanted in that order, not as they first appear.
        name: shown in errors.

    Raises:
        FleetError: a row without a unit or a time, or one that cannot be read.
        FormatError: a file without rows.
    """
    worded = any(one_unit(file, mapping) is not None or not _is_number(file, mapping) for file in files)
    seen = _Seen(worded)
    for file in files:
        _look_at(file, mapping, seen)
    names = pl.Series("unit", list(seen.codes), dtype=pl.String if worded else None)
    units, moved, order = names, seen.by_value, None
    if worded and mapping.unit != FILE_UNIT and whole_units(names):
        units, moved = names.cast(pl.Int64), seen.by_number
    elif worded and not alphabetical:
        moved, order = seen.by_appearance, pl.int_range(len(units), eager=True)
    elif names.dtype.is_float():
        units = names.cast(pl.Int64, strict=False)
        if not (units.cast(pl.Float64) == names).fill_null(False).all():
            where = f"{name}: column {mapping.unit!r}"
            raise FleetError("units must be whole numbers or text, not fractions", where=where)
    order = units.arg_sort() if order is None else order
    rank = order.arg_sort().cast(pl.Int64)
    intervals = tuple(part.with_columns(rank.gather(part["code"]).alias("code")) for part in seen.files)
    keyless = tuple(int(rank[code]) for code in seen.keyless)
    rows = pl.concat(intervals).group_by("code").agg(pl.col("rows").sum()).sort("code")["rows"]
    return UnitPlan(units.gather(order), rows, intervals, keyless, moved + seen.backwards, seen.fractions, worded)


class _Seen:
    """What was seen of the files so far."""

    def __init__(self, worded: bool) -> None:
        self.worded = worded
        self.codes: dict[str | int | float, int] = {}  # in order of appearance
        self.files: list[pl.DataFrame] = []
        self.keyless: list[int] = []
        self.last: pl.DataFrame | None = None
        self.by_value = self.by_number = self.by_appearance = self.backwards = 0
        self.fractions = False

    def add(self, keys: pl.DataFrame) -> pl.Series:
        """Count what is out of order in `unit` and `time`; the codes of the units."""
        here = keys["unit"].unique(maintain_order=True)
        codes = [self.codes.setdefault(unit, len(self.codes)) for unit in here.to_list()]
        keys = keys.with_columns(keys["unit"].replace_strict(here, pl.Series(codes, dtype=pl.Int64)).alias("code"))
        pairs = keys if self.last is None else pl.concat([self.last, keys], how="vertical_relaxed")
        now, before = pl.col("unit", "time", "code"), pl.col("unit", "time", "code").shift(1).name.suffix("0")
        pairs = pairs.select(now, before).slice(1)
        same, other = pairs.filter(pl.col("code") == pl.col("code0")), pairs.filter(pl.col("code") != pl.col("code0"))
        self.backwards += int((same["time"] < same["time0"]).sum())
        self.by_value += int((other["unit"] < other["unit0"]).sum())
        self.by_appearance += int((other["code"] < other["code0"]).sum())
        if self.worded:
            number, number0 = (other[column].cast(pl.Int64, strict=False) for column in ("unit", "unit0"))
            self.by_number += int((number < number0).sum())
        self.last = keys.tail(1)
        return keys["code"]


def _look_at(file: ParquetFile, mapping: ColumnMapping, seen: _Seen) -> None:
    missing = next((c for c in (mapping.unit, mapping.axis) if c != FILE_UNIT and c not in file.columns), None)
    if missing is not None:
        there = ", ".join(file.columns)
        what = f"column {missing!r} is missing, which other files have; there are {there}"
        raise FleetError(what, where=file.where)
    rows = file.n_rows
    if rows == 0:
        raise FormatError("the file has a header but no rows", where=file.where, hint="write or copy it again")
    lie = pl.DataFrame(schema=_INTERVALS)
    for start in range(0, rows, SLICE_ROWS):
        codes = _keys(file, mapping, start, min(start + SLICE_ROWS, rows), seen)
        lie = pl.concat([lie, _runs(codes, start)])
        if lie.height > MOST_RUNS:
            spans = (pl.col("start").min(), pl.col("stop").max(), pl.col("rows").sum())
            lie = lie.group_by("code").agg(*spans).select(*_INTERVALS).sort("start")
    keyed = lie["code"].drop_nulls()
    if keyed.is_empty():
        raise FormatError("the file has a header but no rows", where=file.where, hint="write or copy it again")
    # Rows without a key are read with the first unit: they are counted, or refused if they hold a reading.
    seen.keyless.append(int(keyed[0]))
    seen.files.append(lie.with_columns(pl.col("code").fill_null(keyed[0])))


def _keys(file: ParquetFile, mapping: ColumnMapping, start: int, stop: int, seen: _Seen) -> pl.Series:
    """The code of the unit of each row, null where a row has neither unit nor time."""
    one = one_unit(file, mapping)
    units = _column(file, mapping.unit, start, stop) if one is None else pl.repeat(one, stop - start, eager=True)
    units = units_of(units, worded=seen.worded)
    time = _column(file, mapping.axis, start, stop)
    if time.dtype == pl.String:
        time = time.str.strip_chars().replace("", None)
    without = time.is_null() if one is not None else time.is_null() & units.is_null()
    codes = pl.repeat(None, stop - start, dtype=pl.Int64, eager=True)
    if without.all():
        return codes
    try:
        axis = axis_of(time, mapping, file.where, without)
    except FleetError as error:
        raise renumbered(error, lambda row: row + start) from error
    lost = units.is_null() & ~without
    if lost.any():
        at = f"{file.where}: row {start + int(lost.arg_true()[0]) + 1}, column {mapping.unit!r}"
        raise FleetError("the unit is empty", where=at)
    seen.fractions |= axis.dtype.is_float()
    there = ~without
    return codes.scatter(there.arg_true(), seen.add(pl.DataFrame({"unit": units, "time": axis}).filter(there)))


def _column(file: ParquetFile, name: str, start: int, stop: int) -> pl.Series:
    if name in file.partition:
        return pl.repeat(file.partition[name], stop - start, dtype=pl.String, eager=True).alias(name)
    return file.slice(start, stop, [pl.col(name)]).to_series()


def _runs(code: pl.Series, offset: int) -> pl.DataFrame:
    """Stretches of rows of one unit."""
    start = (code.ne_missing(code.shift(1)) | (pl.int_range(len(code), eager=True) == 0)).arg_true().cast(pl.Int64)
    stop = start.shift(-1).fill_null(len(code))
    columns = {"start": start + offset, "stop": stop + offset, "code": code.gather(start), "rows": stop - start}
    return pl.DataFrame(columns, schema=_INTERVALS)


def _is_number(file: ParquetFile, mapping: ColumnMapping) -> bool:
    kind = file.types.get(mapping.unit)
    return kind is not None and kind.is_numeric()
