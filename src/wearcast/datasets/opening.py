"""The tables that a user means: files, folders and patterns of them, or a table of a database."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wearcast.datasets.csvfile import CsvFile, open_csv
from wearcast.datasets.endings import FailureTable
from wearcast.datasets.mapping import FILE_UNIT, ColumnMapping
from wearcast.datasets.parquetfile import ParquetFile, open_parquet
from wearcast.datasets.sqltable import Database, SqlTable, is_url, open_database, open_sql
from wearcast.errors import FormatError, SourceNotFoundError, UsageError

__all__ = ["Table", "find_files", "is_parquet", "open_table", "open_tables"]

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


def is_parquet(path: Path) -> bool:
    """Whether the name says that a file is Parquet."""
    return path.suffix.lower() in PARQUET


def open_table(path: Path, mapping: ColumnMapping | None = None, root: Path | None = None) -> TableFile:
    """Look at the columns of a CSV or Parquet file.

    Args:
        path: the file.
        mapping: how CSV is written.
        root: the folder that was named, for partitioned Parquet.

    Raises:
        FormatError: it is neither, or damaged.
    """
    if is_parquet(path):
        return open_parquet(path, root)
    if path.suffix.lower() in (".zip", ".gz", ".xlsx", ".xls", ".json", ".feather", ".mat", ".h5"):
        raise FormatError(f"{path.suffix} files are not read", where=str(path), hint="CSV, TSV and Parquet files are")
    if mapping is None:
        return open_csv(path)
    damaged = mapping.on_error == "skip"
    return open_csv(path, separator=mapping.separator, decimal=mapping.decimal, damaged=damaged)


@contextmanager
def open_tables(
    sources: Sequence[str | Path], mapping: ColumnMapping | None
) -> Iterator[tuple[Sequence[Table], Database | None]]:
    """The tables that are meant, and the database that holds them."""
    urls = [str(source) for source in sources if is_url(source)]
    table, query = (mapping.table, mapping.query) if mapping else (None, None)
    if not urls:
        if table is not None or query is not None:
            hint = "give a connection URL, such as sqlite:///plant.db"
            raise UsageError("table and query belong to a database, and this is none", where=str(sources[0]), hint=hint)
        roots = [_root(source) for source in sources]
        yield (
            [
                open_table(path, mapping, next((root for root in roots if path.is_relative_to(root)), None))
                for path in _readings(find_files(sources), mapping)
            ],
            None,
        )
        return
    if len(sources) > 1:
        raise UsageError("a database is read alone", where="source", hint="one connection URL, and nothing beside it")
    if mapping is not None and mapping.unit == FILE_UNIT:
        raise UsageError(f"a database holds no files, so {FILE_UNIT} names no units", where="unit")
    with open_database(urls[0]) as database:
        yield [open_sql(database, table=table, query=query)], database


def _root(source: str | Path) -> Path:
    """The folder below which the names of folders may be columns."""
    path = Path(source).expanduser()
    if path.is_dir() or path.exists():
        return path if path.is_dir() else path.parent
    fixed = []
    for part in path.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _readings(paths: Sequence[Path], mapping: ColumnMapping | None) -> tuple[Path, ...]:
    """The files without the table of failures, which may lie beside them."""
    if mapping is None or not isinstance(mapping.end_of_life, FailureTable):
        return tuple(paths)
    failures = Path(mapping.end_of_life.failures).expanduser().resolve()
    kept = tuple(path for path in paths if path.resolve() != failures)
    if not kept:
        raise SourceNotFoundError("there is only the table of failures, no readings", where=str(failures))
    return kept
