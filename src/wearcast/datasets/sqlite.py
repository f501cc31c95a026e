"""A SQLite file, opened so that nothing can be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from wearcast.datasets.sqltable import BATCH_ROWS, Rows, unreadable
from wearcast.errors import FormatError, SourceNotFoundError, UsageError, WearcastError

__all__ = ["SqliteDatabase", "open_sqlite"]

_READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
WAIT_S = 30  # for a writer that holds the file


class SqliteDatabase:
    """See `wearcast.datasets.sqltable.Database`."""

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self.where = where
        self._connection = connection

    def tables(self) -> tuple[str, ...]:
        """See `Database`."""
        return tuple(str(row[0]) for _, rows in self.rows(f"{_TABLES} ORDER BY name") for row in rows)

    def rows(self, sql: str) -> Iterator[tuple[tuple[str, ...], Rows]]:
        """See `Database`."""
        try:
            cursor = self._connection.execute(sql)
            names = tuple(column[0] for column in cursor.description)
            rows = cursor.fetchmany(BATCH_ROWS)
            yield names, rows
            while rows := cursor.fetchmany(BATCH_ROWS):
                yield names, rows
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _told(error, self.where) from error


@contextmanager
def open_sqlite(path: Path, where: str) -> Iterator[SqliteDatabase]:
    """A SQLite file in one state: what others write meanwhile is not seen.

    Raises:
        SourceNotFoundError: there is no such file.
        FormatError: it is no SQLite file.
        DataError: it cannot be opened.
    """
    if not path.is_file():
        raise SourceNotFoundError("there is no such SQLite file", where=where)
    try:
        uri = f"file:{quote(str(path.resolve()))}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=WAIT_S)
    except sqlite3.Error as error:
        raise _told(error, where) from error
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        # The state is that of the first reading, so read at once.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY)
        yield SqliteDatabase(connection, where)
    except sqlite3.Error as error:
        raise _told(error, where) from error
    finally:
        connection.close()


def _told(error: Exception, where: str) -> WearcastError:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return FormatError(f"not a SQLite file, or a damaged one: {text}", where=where, hint="copy the file again")
    if "not authorized" in text or "one statement" in text or "readonly" in text:
        return UsageError("only one SELECT is run", where=where)
    if isinstance(error, sqlite3.OperationalError) and "locked" not in text and "unable to open" not in text:
        return UsageError(f"the database refuses the query: {text}", where=where)
    return unreadable(where, error)
