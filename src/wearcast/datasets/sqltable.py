"""A table or a query of a SQL database, read in one unchanging state of it: SQLite and PostgreSQL.

Nothing is ever written: SQLite is opened read-only behind an authoriser that lets nothing through but reading, and
PostgreSQL in a read-only transaction at the isolation level REPEATABLE READ. All that is read of a database, a table
of failures too, is read in one transaction, so that a table that changes meanwhile gives one consistent state.

A password never stands in a connection URL: it would end in the list of processes, in reports and in bundles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import polars as pl

from wearcast import frames
from wearcast.config import nearest
from wearcast.datasets.csvfile import cell_kind
from wearcast.datasets.mapping import ColumnKind
from wearcast.errors import DataError, FormatError, SourceNotFoundError, UsageError

__all__ = ["Database", "SqlTable", "check_url", "is_url", "open_database", "open_sql", "whole_url"]

SAMPLE_ROWS = 1000
BATCH_ROWS = 50_000
_POSTGRES = ("postgresql", "postgres")
_START = re.compile(r"(\s|--[^\n]*\n|/\*.*?\*/|\()*(select|with|values)\b", re.IGNORECASE | re.DOTALL)
Rows = Sequence[tuple[Any, ...]]


class Database(Protocol):
    """An open connection, in the middle of one read-only transaction."""

    where: str

    def tables(self) -> tuple[str, ...]:
        """Names of the tables and views, with the schema where it is needed."""

    def rows(self, sql: str) -> Iterator[tuple[tuple[str, ...], Rows]]:
        """Names of the columns and rows of a query, a batch at a time; one batch at least.

        Raises:
            UsageError: the query is refused.
            DataError: the database cannot be read.
        """


@dataclass(frozen=True)
class SqlTable:
    """A table or query whose columns are known; it can be read while its database is open.

    Attributes:
        where: how errors call it.
        columns: names.
        kinds: what each column holds, from the first rows.
        database: where it is.
        sql: what stands behind FROM.
    """

    where: str
    columns: tuple[str, ...]
    kinds: dict[str, ColumnKind]
    database: Database
    sql: str

    def read(self, numeric: Sequence[str], texts: Sequence[str]) -> pl.DataFrame:
        """The columns named: `numeric` as Float32, `texts` as they are.

        Raises:
            FormatError: a column holds bytes or the like.
            FleetError: a cell of a numeric column is not a finite number; the message has the row and the column.
            DataError: the database cannot be read any more.
        """
        wanted = list(dict.fromkeys((*texts, *numeric)))
        parts: dict[str, list[pl.Series]] = {column: [] for column in wanted}
        for _, rows in self.database.rows(f"SELECT {', '.join(map(_quoted, wanted))} FROM {self.sql}"):  # noqa: S608
            for column, cells in zip(wanted, _columns(rows, len(wanted)), strict=True):
                parts[column].append(_series(column, cells, self.where, numeric=column in numeric))
        table = pl.DataFrame([_joined(series) for series in parts.values()])
        return table.with_columns(frames.numbers(table[column], self.where) for column in numeric)


def is_url(source: str | Path) -> bool:
    """Whether a source is a connection URL rather than a file."""
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


def check_url(url: str) -> None:
    """Whether a URL is of a database that is read, and without a password.

    Raises:
        UsageError: it is not; no secret is in the message.
    """
    scheme = url.split("://", 1)[0].lower()
    if scheme != "sqlite" and scheme not in _POSTGRES:
        hint = "sqlite:///file.db and postgresql://host/database are; export other tables as Parquet or CSV"
        raise UsageError(f"connection URLs of {scheme} are not read", where=_masked(url), hint=hint)
    try:
        parts = urlsplit(url)
        keys = [key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)]
        secret = parts.password is not None or any("password" in key for key in keys)
    except ValueError as error:
        hint = "postgresql://user@host:5432/database; %-encode what is not a letter or digit"
        raise UsageError("this is not a connection URL", where=_masked(url), hint=hint) from error
    # A secret that holds a / or # unencoded ends the host for urlsplit, and stands behind it.
    if secret or (scheme != "sqlite" and "@" in f"{parts.path}{parts.query}{parts.fragment}"):
        raise UsageError(
            "the password must not stand in the URL",
            where=_masked(url),
            hint="leave it out, and set PGPASSWORD or put it into ~/.pgpass",
        )


def whole_url(url: str, folder: Path) -> str:
    """The URL with the whole path of a SQLite file, which may be relative to `folder`; others as they are.

    Raises:
        UsageError: see `check_url`.
    """
    check_url(url)
    if not url.lower().startswith("sqlite:"):
        return url
    return f"sqlite:///{quote(str((folder / _sqlite_path(url)).resolve()))}"


def _masked(url: str) -> str:
    """The URL without anything that may be a secret."""
    scheme, _, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    name = f"{user.split(':', 1)[0]}:***@" if ":" in user else f"{user}{at}"
    return f"{scheme}://{name}{host.split('?', 1)[0]}"


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    """A database in one state, for as long as the context lasts.

    Raises:
        UsageError: see `check_url`.
        SourceNotFoundError: there is no such file.
        DataError: it cannot be opened or read.
        MissingExtraError: PostgreSQL, and its driver is not installed.
    """
    check_url(url)
    if url.lower().startswith("sqlite:"):
        from wearcast.datasets.sqlite import open_sqlite

        with open_sqlite(_sqlite_path(url), _masked(url)) as sqlite:
            yield sqlite
        return
    from wearcast.datasets.postgres import open_postgres

    with open_postgres(url, _masked(url)) as postgres:
        yield postgres


def _sqlite_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or len(parts.path) < 2:
        hint = "sqlite:///relative/file.db or sqlite:////absolute/file.db"
        raise UsageError("this is not the URL of a SQLite file", where=url, hint=hint)
    return Path(unquote(parts.path[1:])).expanduser()


def open_sql(database: Database, *, table: str | None = None, query: str | None = None) -> SqlTable:
    """Look at the first rows of a table or a query.

    Args:
        database: where it is.
        table: its name; needed unless there is only one, or a query.
        query: a SELECT instead.

    Raises:
        SourceNotFoundError: there is no such table; the nearest spelling is offered.
        UsageError: it is not said which table, both are given, or the query is refused.
        FormatError: there are no rows, or two columns have one name.
    """
    if query is not None:
        if table is not None:
            raise UsageError("give a table or a query, not both", where=database.where)
        sql, where = _of_query(query), f"{database.where}: the query"
    else:
        table = _chosen(database, table)
        sql, where = _of_table(database, table), f"{database.where}: table {table!r}"
    names, rows = next(iter(database.rows(f"SELECT * FROM {sql} LIMIT {SAMPLE_ROWS}")))  # noqa: S608
    # SQLite makes "n" and "n:1" of two columns of one name in a query.
    bare = [re.sub(r":\d+$", "", name) if query is not None else name for name in names]
    doubled = next((name for name in bare if bare.count(name) > 1), None)
    if doubled is not None:
        raise FormatError(f"column {doubled!r} is there twice", where=where, hint="name one of them anew with AS")
    if not rows:
        raise FormatError("there are no rows", where=where)
    cells = dict(zip(names, _columns(rows, len(names)), strict=True))
    return SqlTable(where, names, {name: _kind(name, values) for name, values in cells.items()}, database, sql)


def _of_query(query: str) -> str:
    text = query.strip().rstrip(";").rstrip()
    if not _START.match(text):
        raise UsageError("only a SELECT is run", where="query", hint="WITH … SELECT is fine too")
    return f"(\n{text}\n) AS readings"  # on lines of its own: it may end in a comment


def _of_table(database: Database, table: str) -> str:
    tables = database.tables()
    if table not in tables:
        hint = nearest(table, tables)
        there = f"there are {', '.join(tables[:40])}" if tables else "there is none"
        raise SourceNotFoundError(f"there is no table {table!r}; {there}", where=database.where, hint=hint)
    return ".".join(map(_quoted, table.split(".", 1)))


def _chosen(database: Database, table: str | None) -> str:
    if table is not None:
        return table
    tables = database.tables()
    if len(tables) != 1:
        there = f"there are {', '.join(tables[:40])}" if tables else "there is none"
        hint = "say it with --table NAME or --query SQL"
        raise UsageError(f"which table holds the readings? {there}", where=database.where, hint=hint)
    return tables[0]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# ---------------------------------------------------------------------- cells


def _columns(rows: Rows, width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _kind(name: str, cells: Sequence[Any]) -> ColumnKind:
    try:
        series = _series(name, cells, "", numeric=False)
    except FormatError:
        return "text"
    if series.dtype == pl.String:
        return cell_kind(series.to_list())
    return "time" if series.dtype.is_temporal() else "number"


def _series(name: str, cells: Sequence[Any], where: str, *, numeric: bool) -> pl.Series:
    """Cells of one batch as numbers, times or text."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float, bool}:
        wide = pl.Int64 if kinds == {int} else pl.Float64
        series = pl.Series(name, cells, dtype=wide if kinds else pl.Null, strict=False)
        return series.cast(pl.Float32) if numeric else series
    if kinds == {datetime}:
        aware = {cell.tzinfo is not None for cell in cells if cell is not None}
        if len(aware) == 1:
            return pl.Series(name, cells, dtype=pl.Datetime("us", "UTC" if aware.pop() else None))
    if kinds == {date}:
        return pl.Series(name, cells, dtype=pl.Date)
    strange = kinds & {bytes, memoryview, list, dict, tuple}
    if strange:
        kind = strange.pop().__name__
        raise FormatError(f"{kind} is neither a number nor text", where=f"{where}: column {name!r}")
    return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def _joined(parts: Sequence[pl.Series]) -> pl.Series:
    """The batches of one column below each other, as text where one of them is."""
    filled = [part for part in parts if part.dtype != pl.Null] or list(parts[:1])
    if len({part.dtype for part in filled}) > 1:
        kind = pl.Float64 if all(part.dtype.is_numeric() for part in filled) else pl.String
        filled = [part.cast(kind) for part in filled]
    return pl.concat([part.cast(filled[0].dtype) for part in parts] if len(filled) < len(parts) else filled)


def unreadable(where: str, error: Exception, *, hint: str | None = None) -> DataError:
    """A driver's complaint in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(f"cannot be read: {lines[0]}", where=where, hint=hint)
