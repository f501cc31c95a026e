"""Connections to MLflow's database: what goes wrong with one is said in our words, and whether it may pass."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wearcast.errors import NoRegistryError, RegistryError, RegistryUnavailableError, require

__all__ = ["Connect", "foreign", "postgres", "shown_uri", "spare_foreign", "sqlite", "sqlite_path"]

Execute = Callable[[str, Sequence[object]], list[dict[str, Any]]]
Connect = Callable[[bool], AbstractContextManager[Execute]]
"""Opens a connection, for writing or not, and gives what executes a statement of one transaction."""

SHORTEST_S = 2.0  # libpq waits at least so long for a connection


def shown_uri(uri: str) -> str:
    """A URI without its password, for messages."""
    return re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", uri)


def sqlite_path(uri: str) -> Path:
    """The file of `sqlite:///PATH`.

    Raises:
        RegistryError: it names no file.
    """
    scheme, _, path = uri.partition(":///")
    path = path.partition("?")[0]
    if not path or scheme.lower().partition("+")[0] != "sqlite":
        raise RegistryError(
            f"this names no file: {uri!r}", hint="write sqlite:///relative.db or sqlite:////absolute.db"
        )
    return Path(path)


def sqlite(uri: str, timeout_s: float) -> Connect:
    """Connections to a SQLite file; one for reading never makes or changes it."""
    path, where = sqlite_path(uri), shown_uri(uri)

    @contextmanager
    def connect(write: bool) -> Iterator[Execute]:
        if not path.is_file():
            raise NoRegistryError(
                "there is no registry here yet",
                where=where,
                hint="`wearcast registry register BUNDLE` makes one; --registry or WEARCAST_REGISTRY names another",
            )
        name = f"file:{quote(str(path.resolve()))}?mode={'rw' if write else 'ro'}"
        try:
            with closing(sqlite3.connect(name, uri=True, timeout=timeout_s, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield lambda statement, values: [dict(row) for row in connection.execute(statement, tuple(values))]
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _of_sqlite(error, where) from error

    return connect


def spare_foreign(uri: str) -> None:
    """Stop before MLflow makes its tables in a file that is somebody else's.

    Raises:
        RegistryError: it is no database, or has tables and none of MLflow's.
    """
    path = sqlite_path(uri)
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return
    with sqlite(uri, 5.0)(False) as execute:
        names = {row["name"] for row in execute("SELECT name FROM sqlite_master WHERE type = 'table'", ())}
    if names and "experiments" not in names:
        raise NoRegistryError(
            f"the database holds something else: {', '.join(sorted(names)[:5])}",
            where=shown_uri(uri),
            hint="name another file with --registry",
        )


def _of_sqlite(error: sqlite3.Error, where: str) -> RegistryError:
    said = str(error)
    if "locked" in said or "busy" in said:
        return RegistryUnavailableError("the registry is busy: another process writes", where=where)
    if "no such table" in said or "no such column" in said or isinstance(error, IndexError | KeyError):
        return foreign(said, where)
    if "not a database" in said or "malformed" in said:
        return NoRegistryError(f"not a database: {said}", where=where, hint="name another with --registry")
    return NoRegistryError(f"the registry cannot be read: {said}", where=where)


def foreign(said: str, where: str | None = None) -> NoRegistryError:
    """What a database is told that is no registry of a version that we read."""
    return NoRegistryError(
        f"the database is not a registry of MLflow 3: {said}",
        where=where,
        hint="name another with --registry; that of an older MLflow is brought up by `mlflow db upgrade URI`",
    )


def postgres(uri: str, timeout_s: float) -> Connect:
    """Connections to a PostgreSQL database; one for reading is read-only to the server too."""
    psycopg = require("psycopg", extra="sql")
    rows = require("psycopg.rows", extra="sql")
    where = shown_uri(uri)
    plain = re.sub(r"^postgres(?:ql)?(?:\+\w+)?:", "postgresql:", uri, flags=re.IGNORECASE)
    milliseconds = int(timeout_s * 1000)

    @contextmanager
    def connect(write: bool) -> Iterator[Execute]:
        try:
            with psycopg.connect(
                plain,
                row_factory=rows.dict_row,
                connect_timeout=max(SHORTEST_S, round(timeout_s)),
                tcp_user_timeout=milliseconds,
            ) as connection:
                connection.read_only = not write
                connection.execute(f"SET LOCAL statement_timeout = {milliseconds}")
                connection.execute(f"SET LOCAL lock_timeout = {milliseconds}")

                def execute(statement: str, values: Sequence[object]) -> list[dict[str, Any]]:
                    cursor = connection.execute(statement.replace("?", "%s"), tuple(values))
                    return list(cursor) if cursor.description else []

                yield execute
        except psycopg.Error as error:
            raise _of_postgres(error, where) from error

    return connect


def _of_postgres(error: Any, where: str) -> RegistryError:
    said = " ".join(str(error).split())
    state = error.sqlstate or ""
    if state in ("42P01", "42703"):  # undefined table, undefined column
        return foreign(said, where)
    if state[:2] in ("28", "3D", "42") or "authentication failed" in said or "does not exist" in said:
        return NoRegistryError(f"the registry cannot be opened: {said}", where=where)
    return RegistryUnavailableError(f"the registry does not answer: {said}", where=where)
