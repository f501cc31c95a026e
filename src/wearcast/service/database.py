"""One database for everything that must survive a restart: SQLite in a file, or PostgreSQL where processes are many.

Each store declares its table on `metadata`; `open` makes what is lacking. A row says by which schema version the
database was written: an older one is migrated step by step, a newer one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from wearcast.errors import ConfigError, require

__all__ = ["SCHEMA_VERSION", "metadata", "open", "reading", "writing"]

SCHEMA_VERSION = 1

metadata = MetaData()

_schema = Table("wearcast_schema", metadata, Column("version", Integer, nullable=False), Column("by", String(64)))

Step = Callable[[Connection], None]
_STEPS: Mapping[int, Step] = {}
"""What brings a database of that version to the next one."""

_LOCK = 0x57656172
_WRITES = "wearcast_writes"


def open(url: str, *, steps: Mapping[int, Step] = _STEPS, version: int = SCHEMA_VERSION) -> Engine:
    """Connect, make the tables that are lacking and bring older ones up; safe when two processes do so at once.

    Raises:
        ConfigError: no such database, or a newer Wearcast wrote it.
    """
    engine = _engine(url)
    try:
        with writing(engine, alone=True) as connection:
            _bring_up(connection, steps, version)
    except DBAPIError as error:
        engine.dispose()
        said = " ".join(str(error.orig).split())
        raise ConfigError(f"the state cannot be opened: {said}", where=_shown(url), hint="see state_url") from error
    except ConfigError:
        engine.dispose()
        raise
    return engine


def _bring_up(connection: Connection, steps: Mapping[int, Step], version: int) -> None:
    from wearcast import __version__

    where = _shown(connection.engine.url)
    if not sa.inspect(connection).has_table(_schema.name):
        metadata.create_all(connection)
        connection.execute(_schema.insert().values(version=version, by=__version__))
        return
    row = connection.execute(sa.select(_schema)).first()
    found = version if row is None else int(row.version)
    if found > version:
        raise ConfigError(
            f"a newer Wearcast wrote the state: schema {found} by {row.by if row else '?'}, this one knows {version}",
            where=where,
            hint="install that version, or name another state_url",
        )
    for old in range(found, version):
        if old not in steps:
            raise ConfigError(f"nothing leads from schema {old} to {old + 1}", where=where)
        steps[old](connection)
    metadata.create_all(connection)  # tables of stores that are new
    if found < version:
        connection.execute(_schema.update().values(version=version, by=__version__))


@contextmanager
def writing(engine: Engine, *, alone: bool = False) -> Iterator[Connection]:
    """A transaction that will write; on SQLite it takes the lock at once, so as not to fail halfway for want of it.

    Args:
        engine: the database.
        alone: on PostgreSQL too, wait for others who write alone: what is read stays so until it is written.
    """
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        if alone and engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads: it sees one state and does not wait for writers."""
    with engine.connect() as connection, connection.begin():
        yield connection


# ------------------------------------------------------------------ engines


def _shown(url: str | URL) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "state_url"


def _engine(text: str) -> Engine:
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigError(
            "not the URL of a database", where="state_url", hint="sqlite:///PATH or postgresql://…"
        ) from error
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _sqlite(url)
    if backend == "postgresql":
        require("psycopg", extra="sql")
        url = url.set(drivername="postgresql+psycopg")
        # A connection that the server has closed is noticed before it is used.
        return sa.create_engine(
            url,
            pool_pre_ping=True,
            pool_size=5,
            max_overflow=10,
            pool_recycle=1_800,
            connect_args={"connect_timeout": 5},
        )
    raise ConfigError(
        f"{backend} is not a database for the state", where=_shown(url), hint="sqlite:/// or postgresql://"
    )


def _sqlite(url: URL) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    if not in_memory:
        path = Path(str(url.database))
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                path.touch(mode=0o600)  # hashes of secrets and keys lie in it
        except OSError as error:
            raise ConfigError(f"the state cannot be kept there: {error.strerror}", where=str(path)) from error
    options: dict[str, Any] = {"poolclass": sa.pool.StaticPool} if in_memory else {}
    engine = sa.create_engine(url, connect_args={"timeout": 10, "check_same_thread": False}, **options)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # Python's own idea of when a transaction begins would skip DDL
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
