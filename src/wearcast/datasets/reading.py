"""From files to a fleet: find them, give each column its role, read, put together, check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from wearcast.datasets.axis import axis_of, keys_are_sure, sort_by_time
from wearcast.datasets.csvfile import CsvFile
from wearcast.datasets.longlayout import LongLayout, widen
from wearcast.datasets.mapping import FILE_UNIT, ColumnKind, ColumnMapping, Roles, assign, guess
from wearcast.datasets.missing import drop_stuck, masked_columns, treat_missing
from wearcast.datasets.opening import Table, find_files, open_table, open_tables
from wearcast.datasets.outcomes import Ended, text_or_number
from wearcast.datasets.plausible import mark_names, treat_out_of_range, with_measures
from wearcast.datasets.resampling import resample
from wearcast.datasets.settling import settle
from wearcast.datasets.skipping import Skipped
from wearcast.datasets.sqltable import SqlTable
from wearcast.errors import FleetError, FormatError
from wearcast.fleet import Fleet
from wearcast.schema import FleetSchema, Note

__all__ = [
    "Wanted", "find_files", "fleet_of", "label_of", "open_table", "read_fleet", "read_table", "schema_of", "stacked",
    "treated", "wanted_of", "whole_units",
]  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """The columns to read of a table, beside the unit and the time.

    Attributes:
        numeric: as numbers.
        others: as they are.
        words: those of `others` that are read as text.
    """

    numeric: tuple[str, ...]
    others: tuple[str, ...]
    words: tuple[str, ...]


def read_fleet(
    sources: Iterable[str | Path], mapping: ColumnMapping | None = None, *, name: str, strays: bool = False
) -> Fleet:
    """Read files, or a table of a database, into one fleet.

    Args:
        sources: see `find_files`; or one connection URL.
        mapping: roles of the columns; guessed where the names are plain if not given.
        name: name of the fleet.
        strays: whether the table of failures may name units that are not in the files; they are counted in a note.

    Raises:
        DataError: see the parts; the message has the file, and the row and column where there is one.
        UsageError: no mapping is given and the names are not plain.
    """
    notes: list[Note] = []
    with open_tables(tuple(sources), mapping) as (tables, database):
        if mapping is None:
            mapping, note = guess(tables[0].kinds, tables[0].where)
            notes.append(note)
        if mapping.layout is not None:
            frame, roles = _long(tables, mapping, mapping.layout, notes)
        else:
            frame, roles = _wide(tables, mapping, notes)
        if mapping.time_zone is not None:
            notes.append(Note("time_zone", frame.height, f"local times of {mapping.time_zone} are converted to UTC"))
        ended = settle(frame, mapping, database, strays=strays, name=name)
    notes += ended.notes
    del frame
    ended = treated(ended, mapping, schema_of(mapping, roles, name), notes, name)
    return fleet_of(ended, mapping, roles, name).with_notes(*notes)


def fleet_of(ended: Ended, mapping: ColumnMapping, roles: Roles, name: str) -> Fleet:
    """Readings whose ends are known, as a fleet.

    Raises:
        FleetError: see `Fleet.from_frame`.
    """
    schema = schema_of(mapping, roles, name)
    fleet = Fleet.from_frame(
        ended.frame,
        unit=ended.unit,
        cycle=mapping.cycle,
        time=mapping.time,
        time_unit=mapping.time_unit,
        sensors=(*roles.sensors, *(mark_names(schema) if mapping.out_of_range == "mark" else ())),
        settings=roles.settings,
        statics=roles.statics,
        known_future=roles.known_future,
        labels=roles.labels,
        masked=masked_columns(mapping.missing, (*roles.settings, *roles.sensors), name),
        events=ended.events,
        name=name,
    )
    known = {"units_of_measure": schema.units_of_measure, "ranges": schema.ranges}
    return replace(fleet, schema=fleet.schema.model_copy(update=known))


def _wide(tables: Sequence[Table], mapping: ColumnMapping, notes: list[Note]) -> tuple[pl.DataFrame, Roles]:
    """Tables with a column for each sensor, below each other."""
    roles = assign(mapping, tables[0].kinds, tables[0].where)
    notes += roles.notes
    wanted = wanted_of(tables, mapping, roles)
    parts = [read_table(table, mapping, wanted, notes, label=label_of(table, tables)) for table in tables]
    return text_or_number(_together(parts, mapping), roles.labels), roles


def wanted_of(tables: Sequence[Table], mapping: ColumnMapping, roles: Roles) -> Wanted:
    """What is read of tables with a column for each sensor."""
    words = tuple(c for c in roles.statics if any(table.kinds.get(c) != "number" for table in tables))
    told = (mapping.told_in,) if mapping.told_in is not None and mapping.told_in not in roles.labels else ()
    numeric = (*roles.numeric, *(column for column in roles.statics if column not in words))
    return Wanted(numeric, (*words, *roles.labels, *told), words)


def _long(
    tables: Sequence[Table], mapping: ColumnMapping, layout: LongLayout, notes: list[Note]
) -> tuple[pl.DataFrame, Roles]:
    """Tables with a row for each value, made wide."""
    wanted = Wanted((layout.value,), (layout.tag,), (layout.tag,))
    parts = [read_table(table, mapping, wanted, notes, label=label_of(table, tables)) for table in tables]
    where = tables[0].where if len(tables) == 1 else f"{tables[0].where} and {len(tables) - 1} more"
    rows = sum(part.height for part in parts)
    frame = widen(_together(parts, mapping), layout, unit=mapping.unit, axis=mapping.axis, where=where)
    kinds: dict[str, ColumnKind] = dict.fromkeys(frame.columns, "number")
    roles = assign(mapping, kinds, where)
    text = f"{rows} values of {len(frame.columns) - 2} tags became {frame.height} rows"
    notes += [Note("widened", rows, text), *roles.notes]
    return frame, roles


def label_of(table: Table, tables: Sequence[Table]) -> str:
    """What notes on one of several tables begin with."""
    return f"{Path(table.where).name}: " if len(tables) > 1 else ""


def schema_of(mapping: ColumnMapping, roles: Roles, name: str = "the mapping") -> FleetSchema:
    """The roles as the schema of a fleet, with units of measure and ranges.

    Raises:
        FleetError: one of these names a column that is not there.
    """
    schema = FleetSchema(
        time_unit="cycle" if mapping.cycle else (mapping.time_unit or "hour"),
        sensors=roles.sensors,
        settings=roles.settings,
        statics=roles.statics,
        known_future=roles.known_future,
        labels=roles.labels,
    )
    return with_measures(schema, mapping.ranges, mapping.units_of_measure, name)


def treated(ended: Ended, mapping: ColumnMapping, schema: FleetSchema, notes: list[Note], name: str) -> Ended:
    """What cannot be is marked or taken out, what is stuck is taken out, an even step, missing readings treated.

    In this order, as the mapping asks for it.
    """
    if not (mapping.stuck_after or mapping.resample or mapping.missing or mapping.out_of_range != "keep"):
        return ended
    unit, axis = ended.unit, mapping.axis
    frame, told = sort_by_time(ended.frame, unit, axis)
    notes += told
    if mapping.out_of_range != "keep":
        frame, told = treat_out_of_range(frame, mapping.out_of_range, schema)
        notes += told
    if mapping.stuck_after:
        frame, told = drop_stuck(frame, mapping.stuck_after, schema.sensors, unit=unit, name=name)
        notes += told
    if mapping.resample is not None:
        marks = mark_names(schema) if mapping.out_of_range == "mark" else ()
        marked = schema.model_copy(update={"sensors": (*schema.sensors, *marks)})
        frame, told = resample(frame, mapping.resample, marked, unit=unit, axis=axis, name=name)
        notes += told
    if mapping.missing:
        columns = (*schema.settings, *schema.sensors)
        gap = mapping.max_gap
        frame, told = treat_missing(frame, mapping.missing, gap, columns, unit=unit, axis=axis, name=name)
        notes += told
    return Ended(frame, unit, ended.events, ended.notes)


def read_table(
    table: Table, mapping: ColumnMapping, wanted: Wanted, notes: list[Note], *, label: str = ""
) -> pl.DataFrame:
    """One file as columns of the types that a fleet needs, so that every complaint has the file's own row number.

    `label` tells the notes from those of other files.

    Raises:
        DataError: a column is missing, or a cell cannot be read.
    """
    numeric, words = wanted.numeric, wanted.words
    where = table.where
    by_file = mapping.unit == FILE_UNIT
    texts = [] if by_file else [mapping.unit]
    texts += [mapping.axis, *wanted.others]
    missing = next((column for column in (*texts, *numeric) if column not in table.columns), None)
    if missing is not None:
        raise FleetError(
            f"column {missing!r} is missing, which other files have; there are {', '.join(table.columns)}", where=where
        )
    frame = _rows(table, mapping, numeric, texts, notes, label=label)
    if words:
        frame = frame.with_columns(pl.col(words).cast(pl.String))
    keys = texts[: 1 if by_file else 2]
    for key in keys:
        if frame[key].dtype == pl.String:
            frame = frame.with_columns(pl.col(key).str.strip_chars().replace("", None))
    # Looked for only if there is a row without any key.
    empty = frame.select(pl.all_horizontal(pl.col(keys).is_null())).to_series()
    if empty.all():
        raise FormatError("the file has a header but no rows", where=where, hint="write or copy it again")
    if empty.any():
        values = [pl.col(numeric).is_null().name.suffix("?"), pl.col(texts).is_null().name.suffix("?")]
        empty &= frame.select(values).select(pl.all_horizontal(pl.all())).to_series()
    axis = axis_of(frame[mapping.axis], mapping, where, empty)
    if not by_file:
        lost = frame[mapping.unit].is_null() & ~empty
        if lost.any():
            row = int(lost.arg_true()[0]) + 1
            raise FleetError("the unit is empty", where=f"{where}: row {row}, column {mapping.unit!r}")
    frame = frame.with_columns(axis)
    if empty.any():
        count = int(empty.sum())
        notes.append(Note("empty_rows", count, f"{label}{count} rows without a single value are left out"))
        frame = frame.filter(~empty)
    if isinstance(table, CsvFile) and table.decimal == ",":
        notes.append(Note("decimal_comma", 1, f"{label}numbers are read with a decimal comma"))
    if by_file and not isinstance(table, SqlTable):
        frame = frame.with_columns(pl.lit(table.path.stem).alias(FILE_UNIT))
    return frame


def _rows(
    table: Table,
    mapping: ColumnMapping,
    numeric: Sequence[str],
    texts: Sequence[str],
    notes: list[Note],
    *,
    label: str,
) -> pl.DataFrame:
    """The rows of a table; of a CSV file without those that cannot be read, if the mapping says so."""
    if not isinstance(table, CsvFile) or mapping.on_error == "fail":
        return table.read(numeric, texts)
    skipped = Skipped(lambda rows: keys_are_sure(rows, mapping))
    frame = table.read(numeric, texts, skipped)
    if frame.height == 0 and skipped.lines:
        raise FormatError(f"not one row can be read; {skipped.first}", where=table.where)
    notes += skipped.notes(label)
    return frame


def _together(parts: Sequence[pl.DataFrame], mapping: ColumnMapping) -> pl.DataFrame:
    """The files below each other, with units of one type."""
    worded = [not part[mapping.unit].dtype.is_numeric() for part in parts]
    if any(worded) and not all(worded):
        parts = [part.with_columns(pl.col(mapping.unit).cast(pl.String)) for part in parts]
    frame = stacked(parts)
    if frame[mapping.unit].dtype == pl.String and mapping.unit != FILE_UNIT:
        text = frame[mapping.unit]
        if whole_units(text.unique()):
            frame = frame.with_columns(text.cast(pl.Int64))
    return frame


def stacked(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Tables below each other.

    Raises:
        FormatError: they do not fit together.
    """
    parts = [
        part.with_columns(pl.col(column).cast(pl.String) for column in part.columns if _is_word(part[column].dtype))
        for part in parts
    ]
    if len(parts) > 1:
        parts = _one_kind(parts)
    try:
        return parts[0] if len(parts) == 1 else pl.concat(parts, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise FormatError(f"the files do not fit together: {error}") from error


def _one_kind(parts: Sequence[pl.DataFrame]) -> Sequence[pl.DataFrame]:
    """Columns that are text in one file, as labels may be, are text in all."""
    kinds = [part.schema for part in parts]
    mixed = [
        c for c in kinds[0] if len({kind[c] for kind in kinds}) > 1 and any(kind[c] == pl.String for kind in kinds)
    ]
    return [part.with_columns(pl.col(mixed).cast(pl.String)) for part in parts] if mixed else parts


def _is_word(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.Categorical | pl.Enum)


def whole_units(names: pl.Series) -> bool:
    """Whether units that are text are meant as numbers: each is written as a whole one (007 is not)."""
    return bool(names.str.contains(r"^(0|-?[1-9]\d{0,17})$").all())
