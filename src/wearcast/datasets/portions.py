"""Parquet files that are larger than memory, as fleets of some units each, one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import polars as pl

from wearcast import frames
from wearcast.datasets.mapping import ColumnMapping, Roles, assign, guess
from wearcast.datasets.opening import Table, find_files, is_parquet, open_tables
from wearcast.datasets.outcomes import text_or_number
from wearcast.datasets.parquetfile import ParquetFile
from wearcast.datasets.reading import (
    Wanted,
    fleet_of,
    label_of,
    read_table,
    schema_of,
    stacked,
    treated,
    wanted_of,
)
from wearcast.datasets.settling import settle
from wearcast.datasets.skipping import renumbered
from wearcast.datasets.sqltable import is_url
from wearcast.datasets.unitplan import UnitPlan, look
from wearcast.errors import FleetError, UsageError
from wearcast.fleet import Fleet
from wearcast.schema import Note

__all__ = ["LARGE_CELLS", "PORTION_CELLS", "Portions", "read_portions", "summed", "total_cells"]

PORTION_CELLS = 40_000_000
"""Readings of a portion: 160 MB as they are kept, some five times as much while they are forecast."""
LARGE_CELLS = 250_000_000
"""Readings above which files are better read in portions."""

_NUMBER = re.compile(r"(?<![\w.,-])\d+(?![\w.,-])")


@dataclass(frozen=True)
class Portions:
    """Files whose units are read some at a time. Iterate over it: each portion is a fleet of whole units.

    The portions together hold what one fleet of all files would: the same units in the same order, of the same types,
    checked in the same way. What was repaired is in the notes of each; `summed` puts them together.

    Attributes:
        name: of the data set.
        files: what is read.
        mapping: roles of the columns.
        roles: the same, with the names that are there.
        plan: where the units are.
        bounds: first unit of each portion, and the number of units at the end.
        notes: what is known before a portion is read.
    """

    name: str
    files: tuple[ParquetFile, ...]
    mapping: ColumnMapping
    roles: Roles
    plan: UnitPlan
    bounds: tuple[int, ...]
    notes: tuple[Note, ...]

    @property
    def n_rows(self) -> int:
        """Rows of all files."""
        return int(self.plan.rows.sum())

    @property
    def n_units(self) -> int:
        """Units of all files."""
        return len(self.plan.units)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[Fleet]:
        """The portions.

        Raises:
            DataError: see `read_fleet`.
        """
        wanted = wanted_of(self.files, self.mapping, self.roles)
        step: float | None = None
        for first, last in pairwise(self.bounds):
            fleet = self._fleet(first, last, wanted)
            step = step if step is not None else frames.typical_step(fleet.frame)
            yield _with_gaps(fleet, step)

    def _fleet(self, first: int, last: int, wanted: Wanted) -> Fleet:
        notes: list[Note] = []
        frame = self._rows(first, last, wanted, notes)
        name = self.name
        if len(self) > 1:
            name = f"{name}: units {self.plan.units[first]} to {self.plan.units[last - 1]}"
        if self.mapping.time_zone is not None:
            text = f"local times of {self.mapping.time_zone} are converted to UTC"
            notes.append(Note("time_zone", frame.height, text))
        ended = settle(frame, self.mapping, None, strays=False, name=name)
        del frame
        ended = treated(ended, self.mapping, schema_of(self.mapping, self.roles), notes, name)
        fleet = fleet_of(ended, self.mapping, self.roles, name)
        # Rows that were not in order are counted over the files, not within a portion.
        notes = [note for note in (*fleet.notes, *notes) if note.kind != "unsorted"]
        if self.plan.fractions:
            times = pl.col("time").cast(pl.Float64)
            fleet = replace(fleet, frame=fleet.frame.with_columns(times), events=fleet.events.with_columns(times))
        return replace(fleet, name=self.name, notes=tuple(notes))

    def _rows(self, first: int, last: int, wanted: Wanted, notes: list[Note]) -> pl.DataFrame:
        """The rows of the units from `first` to before `last`, in the order of the files."""
        parts = []
        unit = pl.col(self.mapping.unit)
        for at, file in enumerate(self.files):
            part = self.plan.part(file, at, first, last, self.mapping)
            if part is None:
                continue
            try:
                frame = read_table(part, self.mapping, wanted, notes, label=label_of(file, self.files))
            except FleetError as error:
                raise renumbered(error, part.file_row) from error
            parts.append(frame.with_columns(unit.cast(pl.String if self.plan.worded else pl.Int64)))
        units = self.plan.units
        frame = stacked(parts).with_columns(unit.cast(pl.Enum(units) if units.dtype == pl.String else pl.Int64))
        return text_or_number(frame, self.roles.labels)


def read_portions(
    sources: Iterable[str | Path], mapping: ColumnMapping | None, *, name: str, cells: int | None = None
) -> Portions:
    """Look where the units are in Parquet files, to read them some at a time.

    A unit is never cut, so that its history is whole; one that is larger than a portion is one by itself.

    Args:
        sources: see `find_files`.
        mapping: roles of the columns; guessed where the names are plain if not given.
        name: of the data set.
        cells: readings of a portion; `PORTION_CELLS` unless given.

    Raises:
        UsageError: the files are not Parquet, or the mapping needs all rows at once.
        DataError: a row without a unit or a time.
    """
    notes: list[Note] = []
    with open_tables(tuple(sources), mapping) as (tables, _):
        files = _parquet(tables)
    if mapping is None:
        mapping, note = guess(files[0].kinds, files[0].where)
        notes.append(note)
    _check_mapping(mapping, name)
    roles = assign(mapping, files[0].kinds, files[0].where)
    notes += roles.notes
    apart = bool(mapping.resample or mapping.stuck_after or mapping.missing)  # these sort units by name
    plan = look(files, mapping, alphabetical=apart, name=name)
    if plan.moved:
        text = f"{plan.moved} rows were not in order of unit and time; sorted"
        notes.insert(0, Note("unsorted", plan.moved, text))
    bounds = _bounds(plan.rows.to_list(), max(1, (cells or PORTION_CELLS) // (len(roles.numeric) + 2)))
    return Portions(name, files, mapping, roles, plan, bounds, (*notes, *_notes_on(plan, bounds)))


def total_cells(sources: Iterable[str | Path], mapping: ColumnMapping | None) -> int:
    """Number of readings in Parquet files, as their footers say it; 0 where they cannot be read in portions."""
    if mapping is not None and _needs_all(mapping) is not None:
        return 0
    sources = tuple(sources)
    if any(is_url(source) for source in sources) or any(not is_parquet(path) for path in find_files(sources)):
        return 0
    with open_tables(sources, mapping) as (tables, _):
        return sum(table.n_rows * len(table.columns) for table in _parquet(tables))


def _parquet(tables: Sequence[Table]) -> tuple[ParquetFile, ...]:
    other = next((table for table in tables if not isinstance(table, ParquetFile)), None)
    if other is not None:
        hint = "write it as Parquet first, such as with polars.scan_csv(…).sink_parquet(…)"
        raise UsageError("only Parquet files are read in portions", where=other.where, hint=hint)
    return tuple(table for table in tables if isinstance(table, ParquetFile))


def _needs_all(mapping: ColumnMapping) -> str | None:
    """What cannot be done with some of the rows."""
    if mapping.layout is not None:
        return "a table with one row a value is made wide as a whole"
    if mapping.end_of_life not in ("censored", "last_row"):
        return "how histories end is looked up for all units at once"
    return None


def _check_mapping(mapping: ColumnMapping, name: str) -> None:
    why = _needs_all(mapping)
    if why is not None:
        raise UsageError(f"it cannot be read in portions: {why}", where=name, hint="read it as a whole")


def _bounds(rows: Sequence[int], most: int) -> tuple[int, ...]:
    bounds, held = [0], 0
    for unit, count in enumerate(rows):
        if held and held + count > most:
            bounds.append(unit)
            held = 0
        held += count
    return (*bounds, len(rows))


def _notes_on(plan: UnitPlan, bounds: Sequence[int]) -> tuple[Note, ...]:
    """Whether the rows of a unit lie so far apart that files are read several times."""
    total, read = 0, 0
    for at, lie in enumerate(plan.intervals):
        total += int(lie["rows"].sum())
        read += sum(plan.rows_to_read(at, first, last) for first, last in pairwise(bounds))
    if read <= 2 * total:
        return ()
    text = f"the rows of a unit lie far apart: what is read is {read / total:.1f} times the files; sort them by unit"
    return (Note("scattered", read, text),)


def _with_gaps(fleet: Fleet, step: float | None) -> Fleet:
    """The fleet with its gaps counted by the step of the first portion, as one fleet of all would count them."""
    notes = [note for note in fleet.notes if note.kind != "gaps"]
    count = 0 if step is None else frames.count_gaps(fleet.frame, step)
    if count:
        notes.append(frames.gaps_note(count))
    return replace(fleet, notes=tuple(notes))


def summed(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Notes of several portions as those of one fleet: what is said several times is said once, with the sums."""
    found: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        label, text = _parted(note.message)
        key = "" if note.kind == "stuck" else label + _NUMBER.sub("#", text)
        found.setdefault((note.kind, key), []).append(note)
    return tuple(_sum(same) for same in found.values())


def _parted(message: str) -> tuple[str, str]:
    """The name of a file at the front, whose figures are no counts, and the rest."""
    label = re.match(r"\S*\.(parquet|pq): ", message)
    return ("", message) if label is None else (label[0], message[label.end() :])


def _sum(notes: Sequence[Note]) -> Note:
    if len(notes) == 1:
        return notes[0]
    total = sum(note.count for note in notes)
    label, text = _parted(notes[0].message)
    if notes[0].kind == "stuck":  # the columns with the most differ from portion to portion
        return Note("stuck", total, f"{total} {text.split(' ', 1)[1].split(':')[0]}")
    counts = [list(map(int, _NUMBER.findall(_parted(note.message)[1]))) for note in notes]
    sums = iter(map(sum, zip(*counts, strict=True)))
    return Note(notes[0].kind, total, label + _NUMBER.sub(lambda _: str(next(sums)), text))
