"""From files to a fleet: find them, give each column its role, read, put together, check."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from wearcast import frames
from wearcast.datasets.csvfile import CsvFile, open_csv
from wearcast.datasets.endings import FailureMark, FailureRows, FailureTable, RemainingLife
from wearcast.datasets.mapping import FILE_UNIT, ColumnMapping, Roles, assign, guess
from wearcast.datasets.outcomes import Ended, by_mark, by_remaining, by_table, text_or_number
from wearcast.datasets.parquetfile import ParquetFile, open_parquet
from wearcast.datasets.sqltable import Database, SqlTable, is_url, open_database, open_sql
from wearcast.errors import FleetError, FormatError, SourceNotFoundError, UsageError
from wearcast.fleet import Fleet
from wearcast.schema import FleetSchema, Note

__all__ = ["find_files", "open_table", "read_fleet"]

TableFile = CsvFile | ParquetFile
Table = TableFile | SqlTable
PARQUET = (".parquet", ".pq")
ENDINGS = (*PARQUET, ".csv", ".tsv", ".txt")


def find_files(sources: Iterable[str | Path]) -> tuple[Path, ...]:
    """The files that are meant: each source is a file, a folder of tables, or a pattern with `*`.

    Raises:
        SourceNotFoundError: a source is not there, or a folder or pattern holds no table.
        FormatError: a source is a pipe.
    """
    found: list[Path] = []
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
            files = sorted(p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts))
            if not files:
                raise SourceNotFoundError(
                    "there is no table in this folder", where=str(path), hint=f"looked for {', '.join(ENDINGS)}"
                )
        elif path.is_fifo():  # what kind of table it is takes a look before the reading
            raise FormatError("a pipe can be read only once", where=str(path), hint="write it into a file first")
        elif path.exists():
            files = [path]
        elif glob.has_magic(str(path)):
            matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            files = sorted(Path(match) for match in matches if Path(match).is_file())
            if not files:
                raise SourceNotFoundError("no file matches", where=str(path))
        else:
            raise SourceNotFoundError("no such file or folder", where=str(path))
        found += [file for file in files if file not in found]
    return tuple(found)


def open_table(path: Path, mapping: ColumnMapping | None = None) -> TableFile:
    """Look at the columns of a CSV or Parquet file.

    Raises:
        FormatError: it is neither, or damaged.
    """
    if path.suffix.lower() in PARQUET:
        return open_parquet(path)
    if path.suffix.lower() in (".zip", ".gz", ".xlsx", ".xls", ".json", ".feather", ".mat", ".h5"):
        raise FormatError(f"{path.suffix} files are not read", where=str(path), hint="CSV, TSV and Parquet files are")
    return open_csv(
        path, separator=mapping.separator if mapping else None, decimal=mapping.decimal if mapping else None
    )


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
    with _opened(tuple(sources), mapping) as (tables, database):
        if mapping is None:
            mapping, note = guess(tables[0].kinds, tables[0].where)
            notes.append(note)
        roles = assign(mapping, tables[0].kinds, tables[0].where)
        notes += roles.notes
        words = tuple(c for c in roles.statics if any(table.kinds.get(c) != "number" for table in tables))
        parts = [
            _read(table, mapping, roles, words, notes, label=f"{Path(table.where).name}: " if len(tables) > 1 else "")
            for table in tables
        ]
        frame = text_or_number(_together(parts, mapping), roles.labels)
        del parts
        ended = _ended(frame, mapping, database, notes, strays=strays, name=name)
    notes += ended.notes
    del frame
    fleet = Fleet.from_frame(
        ended.frame,
        unit=ended.unit,
        cycle=mapping.cycle,
        time=mapping.time,
        time_unit=mapping.time_unit,
        sensors=roles.sensors,
        settings=roles.settings,
        statics=roles.statics,
        known_future=roles.known_future,
        labels=roles.labels,
        events=ended.events,
        name=name,
    )
    return fleet.with_notes(*notes)


@contextmanager
def _opened(
    sources: Sequence[str | Path], mapping: ColumnMapping | None
) -> Iterator[tuple[Sequence[Table], Database | None]]:
    """The tables that are meant, and the database that holds them."""
    urls = [str(source) for source in sources if is_url(source)]
    table, query = (mapping.table, mapping.query) if mapping else (None, None)
    if not urls:
        if table is not None or query is not None:
            hint = "give a connection URL, such as sqlite:///plant.db"
            raise UsageError("table and query belong to a database, and this is none", where=str(sources[0]), hint=hint)
        yield [open_table(path, mapping) for path in _readings(find_files(sources), mapping)], None
        return
    if len(sources) > 1:
        raise UsageError("a database is read alone", where="source", hint="one connection URL, and nothing beside it")
    if mapping is not None and mapping.unit == FILE_UNIT:
        raise UsageError(f"a database holds no files, so {FILE_UNIT} names no units", where="unit")
    with open_database(urls[0]) as database:
        yield [open_sql(database, table=table, query=query)], database


def _readings(paths: Sequence[Path], mapping: ColumnMapping | None) -> tuple[Path, ...]:
    """The files without the table of failures, which may lie beside them."""
    if mapping is None or not isinstance(mapping.end_of_life, FailureTable):
        return tuple(paths)
    failures = Path(mapping.end_of_life.failures).expanduser().resolve()
    kept = tuple(path for path in paths if path.resolve() != failures)
    if not kept:
        raise SourceNotFoundError("there is only the table of failures, no readings", where=str(failures))
    return kept


def _read(
    table: Table, mapping: ColumnMapping, roles: Roles, words: Sequence[str], notes: list[Note], *, label: str
) -> pl.DataFrame:
    """One file as columns of the types that a fleet needs, so that every complaint has the file's own row number.

    `words` are the statics that are text in any of the files; `label` tells its notes from those of other files.
    """
    where = table.where
    by_file = mapping.unit == FILE_UNIT
    texts = [] if by_file else [mapping.unit]
    told = [mapping.told_in] if mapping.told_in is not None and mapping.told_in not in roles.labels else []
    texts += [mapping.axis, *words, *roles.labels, *told]
    numeric = [*roles.numeric, *(column for column in roles.statics if column not in words)]
    missing = next((column for column in (*texts, *numeric) if column not in table.columns), None)
    if missing is not None:
        raise FleetError(
            f"column {missing!r} is missing, which other files have; there are {', '.join(table.columns)}", where=where
        )
    frame = table.read(numeric, texts)
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
    axis = _axis(frame[mapping.axis], mapping, where, empty)
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


def _axis(series: pl.Series, mapping: ColumnMapping, where: str, empty: pl.Series) -> pl.Series:
    """The time axis; rows that are empty altogether stay null."""
    name = series.name
    schema = FleetSchema(time_unit="cycle" if mapping.cycle else (mapping.time_unit or "hour"), sensors=("any",))
    skipped = bool(empty.any())
    if skipped:  # filled for the check, so that rows keep their numbers
        series = series.set(empty, series.drop_nulls().head(1).item() if series.count() else None)
    if mapping.time_format and series.dtype == pl.String:
        lost = series.is_null()
        if lost.any():
            row = int(lost.arg_true()[0]) + 1
            raise FleetError("the time is empty", where=f"{where}: row {row}, column {name!r}")
        axis = frames.timestamps(series, where, mapping.time_format)
    else:
        axis = frames.time_axis(series, schema, where)
    return (axis.set(empty, None) if skipped else axis).alias(name)


def _together(parts: Sequence[pl.DataFrame], mapping: ColumnMapping) -> pl.DataFrame:
    """The files below each other, with units of one type."""
    worded = [not part[mapping.unit].dtype.is_numeric() for part in parts]
    if any(worded) and not all(worded):
        parts = [part.with_columns(pl.col(mapping.unit).cast(pl.String)) for part in parts]
    parts = [
        part.with_columns(pl.col(column).cast(pl.String) for column in part.columns if _is_word(part[column].dtype))
        for part in parts
    ]
    if len(parts) > 1:
        parts = _one_kind(parts)
    try:
        frame = parts[0] if len(parts) == 1 else pl.concat(parts, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise FormatError(f"the files do not fit together: {error}") from error
    if frame[mapping.unit].dtype == pl.String and mapping.unit != FILE_UNIT:
        frame = frame.with_columns(_unit(frame[mapping.unit]))
    return frame


def _one_kind(parts: Sequence[pl.DataFrame]) -> Sequence[pl.DataFrame]:
    """Columns that are text in one file, as labels may be, are text in all."""
    kinds = [part.schema for part in parts]
    mixed = [
        c for c in kinds[0] if len({kind[c] for kind in kinds}) > 1 and any(kind[c] == pl.String for kind in kinds)
    ]
    return [part.with_columns(pl.col(mixed).cast(pl.String)) for part in parts] if mixed else parts


def _is_word(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.Categorical | pl.Enum)


def _unit(text: pl.Series) -> pl.Series:
    """Whole numbers where every unit is written as one (007 is not), else text."""
    known = text.unique()
    whole = known.str.contains(r"^(0|-?[1-9]\d{0,17})$").all()
    return text.cast(pl.Int64) if whole else text


def _ended(
    frame: pl.DataFrame,
    mapping: ColumnMapping,
    database: Database | None,
    notes: list[Note],
    *,
    strays: bool,
    name: str,
) -> Ended:
    """The readings with what is known of their ends."""
    ends, unit, axis = mapping.end_of_life, mapping.unit, mapping.axis
    if isinstance(ends, FailureTable | FailureRows):
        events = _failures(ends, mapping, database, frame, notes, strays=strays)
        if ends.lives:
            return by_table(frame, unit, axis, events, stray=strays, name=name)
        return Ended(frame, unit, events.drop("until", strict=False))
    if isinstance(ends, FailureMark):
        return by_mark(_sorted(frame, mapping, notes), unit, axis, ends, name=name)
    if isinstance(ends, RemainingLife):
        time_unit = "cycle" if mapping.cycle else (mapping.time_unit or "hour")
        return by_remaining(_sorted(frame, mapping, notes), unit, axis, ends, time_unit, name=name)
    return Ended(frame, unit, ends)


def _sorted(frame: pl.DataFrame, mapping: ColumnMapping, notes: list[Note]) -> pl.DataFrame:
    """Sorted by unit and time, for what looks at neighbours; how many rows had to move is told as ever."""
    unit, time = pl.col(mapping.unit), pl.col(mapping.axis)
    before = (unit < unit.shift(1)) | ((unit == unit.shift(1)) & (time < time.shift(1)))
    moved = int(frame.select(before.sum()).item() or 0)
    if not moved:
        return frame
    notes.append(Note("unsorted", moved, f"{moved} rows were not in order of unit and time; sorted"))
    return frame.sort(mapping.unit, mapping.axis, maintain_order=True)


def _failures(
    wanted: FailureTable | FailureRows,
    mapping: ColumnMapping,
    database: Database | None,
    frame: pl.DataFrame,
    notes: list[Note],
    *,
    strays: bool,
) -> pl.DataFrame:
    table = _table_of_failures(wanted, database)
    unit = wanted.unit or (mapping.unit if mapping.unit in table.columns else "unit")
    time = wanted.time or (mapping.axis if mapping.axis in table.columns else "time")
    missing = next((column for column in (unit, time) if column not in table.columns), None)
    if missing is not None:
        raise FleetError(f"column {missing!r} is missing; there are {', '.join(table.columns)}", where=table.where)
    names = {unit: "unit", time: "time", wanted.kind: "kind", wanted.mode: "mode", wanted.until: "until"}
    events = table.read([], [column for column in names if column in table.columns])
    events = events.rename({old: new for old, new in names.items() if old in events.columns})
    events = events.filter(~pl.all_horizontal(pl.all().is_null()))
    for column in events.columns:
        if events[column].dtype == pl.String:
            events = events.with_columns(pl.col(column).str.strip_chars())
    for column in ("time", "until") if mapping.time_format else ():
        if column in events.columns and events[column].dtype == pl.String and events[column].count():
            events = events.with_columns(_stamps(events[column], table.where, mapping.time_format))
    if strays:
        known = frame[mapping.unit].unique().cast(pl.String)
        here = events["unit"].cast(pl.String).is_in(known.implode())
        if not here.all():
            count = int((~here).sum())
            text = f"{Path(table.where).name}: {count} events of units that are not in the files"
            notes.append(Note("stray_events", count, text))
            events = events.filter(here)
    return events


def _table_of_failures(wanted: FailureTable | FailureRows, database: Database | None) -> Table:
    if isinstance(wanted, FailureRows):
        if database is None:
            hint = "end_of_life: {failures: FILE} names a file"
            raise UsageError("failures_table is of a database, and the readings are in none", hint=hint)
        return open_sql(database, table=wanted.failures_table)
    path = Path(wanted.failures).expanduser()
    if not path.is_file():
        raise SourceNotFoundError("there is no such table of failures", where=str(path))
    return open_table(path, None)


def _stamps(series: pl.Series, where: str, time_format: str | None) -> pl.Series:
    """Timestamps where there is text; what is empty stays empty."""
    filled = series.replace("", None)
    first = filled.drop_nulls().head(1).item()
    return frames.timestamps(filled.fill_null(first), where, time_format).set(filled.is_null(), None).alias(series.name)
