"""A PostgreSQL database, in a read-only transaction at REPEATABLE READ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wearcast.datasets.sqltable import BATCH_ROWS, Rows, unreadable
from wearcast.errors import UsageError, WearcastError, require

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresDatabase", "open_postgres"]

CONNECT_S = 10
_TABLES = """
SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\\_toast%' AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
ORDER BY 1
"""


class PostgresDatabase:
    """See `wearcast.datasets.sqltable.Database`."""

    def __init__(self, connection: psycopg.Connection[Any], where: str) -> None:
        self.where = where
        self._connection = connection

    def tables(self) -> tuple[str, ...]:
        """See `Database`."""
        return tuple(str(row[0]) for _, rows in self.rows(_TABLES) for row in rows)

    def rows(self, sql: str) -> Iterator[tuple[tuple[str, ...], Rows]]:
        """See `Database`; through a cursor on the server, so that only a batch is held here."""
        psycopg = require("psycopg", extra="sql")
        try:
            with self._connection.cursor(name="wearcast") as cursor:
                cursor.execute(sql.encode())
                names = tuple(column.name for column in cursor.description or ())
                rows = cursor.fetchmany(BATCH_ROWS)
                yield names, rows
                while rows := cursor.fetchmany(BATCH_ROWS):
                    yield names, rows
        except psycopg.Error as error:
            raise _told(error, self.where) from error


@contextmanager
def open_postgres(url: str, where: str) -> Iterator[PostgresDatabase]:
    """A database in one state: what others write meanwhile is not seen.

    Raises:
        MissingExtraError: the driver is not installed.
        DataError: the server cannot be reached, or refuses.
    """
    psycopg = require("psycopg", extra="sql")
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.types.numeric import FloatLoader

    try:
        wanted = {"connect_timeout": CONNECT_S, "client_encoding": "utf8", "application_name": "wearcast"}
        connection = psycopg.connect(**{**wanted, **conninfo_to_dict(url)})
    except psycopg.Error as error:
        hint = "the password comes from PGPASSWORD or ~/.pgpass" if "password" in str(error) else None
        raise unreadable(where, error, hint=hint) from error
    try:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.adapters.register_loader("numeric", FloatLoader)
        connection.execute("SET TIME ZONE 'UTC'")  # also begins the transaction
        yield PostgresDatabase(connection, where)
    except psycopg.Error as error:
        raise _told(error, where) from error
    finally:
        connection.close()


def _told(error: Exception, where: str) -> WearcastError:
    import psycopg

    refused = (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.errors.ReadOnlySqlTransaction)
    if isinstance(error, refused):
        text = str(error).strip().splitlines()
        return UsageError(f"the database refuses the query: {text[0] if text else type(error).__name__}", where=where)
    return unreadable(where, error)
