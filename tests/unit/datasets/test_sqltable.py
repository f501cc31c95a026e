"""Tables of a database: SQLite and a real PostgreSQL, read as files are, in one state, and never written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter
from tests.fixtures.postgres_server import missing, postgres_server

from wearcast import Fleet
from wearcast.datasets import Dataset, FilesDataset, resolve_source
from wearcast.datasets.endings import FailureRows
from wearcast.datasets.mapping import FILE_UNIT, ColumnMapping
from wearcast.datasets.reading import read_fleet
from wearcast.datasets.sqltable import check_url, open_database, open_sql, whole_url
from wearcast.errors import (
    DataError,
    FleetError,
    FormatError,
    SourceNotFoundError,
    UsageError,
    WearcastError,
)

MAPPING = ColumnMapping(unit="pump", cycle="n", table="readings")
SCHEMA = """
CREATE TABLE readings (pump integer, n integer, temp double precision, flow real, site text, failed integer);
INSERT INTO readings VALUES (1, 1, 20.5, 3, 'west', 0), (1, 2, 21.25, NULL, 'west', 1), (2, 1, 20, 4, 'east', 0);
CREATE TABLE failures (pump integer, n integer, mode text);
INSERT INTO failures VALUES (1, 5, 'seal');
CREATE TABLE vacant (a integer);
CREATE VIEW warm AS SELECT * FROM readings WHERE temp > 20.1;
"""


def _read(url: str, mapping: ColumnMapping | None = MAPPING, **update: Any) -> Fleet:
    return read_fleet([url], mapping.model_copy(update=update) if mapping else None, name="test")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite file in WAL mode, as services keep them."""
    path = tmp_path / "plant.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
    connection.close()
    return path


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


# ------------------------------------------------------------------ SQLite


def test_a_table_gives_the_same_fleet_as_a_file(tmp_path, url):
    (tmp_path / "p.csv").write_text("pump,n,temp,flow\n1,1,20.5,3\n1,2,21.25,\n2,1,20,4\n")
    plain = read_fleet([tmp_path / "p.csv"], ColumnMapping(unit="pump", cycle="n"), name="x")
    assert _read(url, sensors=("temp", "flow")).fingerprint == plain.fingerprint


def test_a_view_and_a_query_are_read(url):
    assert _read(url, table="warm").n_rows == 2
    query = "WITH hot AS (SELECT * FROM readings) SELECT pump, n, temp * 2 AS double FROM hot -- twice"
    fleet = _read(url, table=None, query=query)
    assert fleet.schema.sensors == ("double",)
    assert fleet.frame["double"].to_list() == [41, 42.5, 40]


def test_roles_labels_and_failures_of_the_same_database(url):
    ends = FailureRows(failures_table="failures")
    fleet = _read(url, statics=("site",), labels=("failed",), end_of_life=ends)
    assert fleet.rul()[0].tolist() == [4, 3, 0]
    assert fleet.events["mode"].to_list() == ["seal"]
    assert fleet.schema.labels == ("failed",)


def test_a_table_that_changes_while_it_is_read_gives_one_state(file, url):
    with open_database(url) as database:
        table = open_sql(database, table="readings")
        writer = sqlite3.connect(file)
        with writer:
            writer.execute("INSERT INTO readings VALUES (9, 1, 1, 1, 'new', 0)")
            writer.execute("DELETE FROM readings WHERE pump = 1")
            writer.execute("INSERT INTO failures VALUES (9, 2, 'new')")
        writer.close()
        assert table.read(["temp"], ["pump"])["pump"].to_list() == [1, 1, 2]
        assert open_sql(database, table="failures").read([], ["mode"])["mode"].to_list() == ["seal"]
    assert _read(url).units == (2, 9)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM readings",
        "SELECT 1; DELETE FROM readings",
        "DROP TABLE readings",
        "PRAGMA journal_mode = DELETE",
        "ATTACH 'other.db' AS other",
        "SELECT 1) AS a; DELETE FROM readings; --",
        "WITH gone AS (DELETE FROM readings RETURNING *) SELECT * FROM gone",
    ],
)
def test_nothing_but_one_select_is_run(url, query):
    with pytest.raises(UsageError, match=r"SELECT is run|refuses the query"):
        _read(url, table=None, query=query)
    assert _read(url).n_rows == 3


@pytest.mark.parametrize(
    ("update", "error", "message"),
    [
        (
            {"table": "reading"},
            SourceNotFoundError,
            r"no table 'reading'; there are failures, .*did you mean 'readings'",
        ),
        ({"table": None}, UsageError, r"which table .* there are failures, readings, vacant, warm .*--table NAME"),
        ({"table": "vacant"}, FormatError, "table 'vacant': there are no rows"),
        ({"table": None, "query": "SELECT pump, n, n FROM readings"}, FormatError, "'n' is there twice"),
        ({"table": None, "query": "SELECT nothere FROM readings"}, UsageError, "refuses the query: no such column"),
        ({"unit": FILE_UNIT}, UsageError, "a database holds no files"),
        ({"sensors": ("tmp",)}, FleetError, r"plant.db: table 'readings': column 'tmp' is missing"),
    ],
)
def test_a_wrong_wish_is_answered(url, update, error, message):
    with pytest.raises(error, match=message):
        _read(url, **update)


def test_cells_of_mixed_kinds_are_numbers_or_named(file, url):
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE mixed (pump, n, temp, raw)")
        connection.executemany("INSERT INTO mixed VALUES (?, ?, ?, ?)", [("a", 1, "20.5", b"x"), ("7", 2, 21, b"y")])
    connection.close()
    fleet = _read(url, table="mixed")
    assert fleet.units == ("a", "7")
    assert sorted(fleet.frame["temp"].to_list()) == [20.5, 21]
    with pytest.raises(FormatError, match=r"column 'raw'.*: bytes is neither|bytes is neither"):
        _read(url, table="mixed", sensors=("raw",))
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO mixed VALUES ('7', 3, 'warm', NULL)")
    connection.close()
    with pytest.raises(FleetError, match=r"table 'mixed': row 3, column 'temp': 'warm' is not a number"):
        _read(url, table="mixed", sensors=("temp",))


def test_batches_of_other_kinds_fit_together(file, url, monkeypatch):
    monkeypatch.setattr("wearcast.datasets.sqlite.BATCH_ROWS", 2)
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE long (pump, n, temp)")
        rows = [(None if n > 90 else n % 3, n, None if n < 5 else n / 2 if n % 2 else n) for n in range(1, 90)]
        connection.executemany("INSERT INTO long VALUES (?, ?, ?)", [*rows, ("x", 90, 1)])
    connection.close()
    fleet = _read(url, table="long")
    assert sorted(map(str, fleet.units)) == ["0", "1", "2", "x"]
    assert fleet.n_rows == 90


def test_without_a_mapping_one_table_is_taken_and_its_columns_guessed(tmp_path):
    path = tmp_path / "one.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE r (unit integer, cycle integer, temp real)")
        connection.execute("INSERT INTO r VALUES (1, 1, 20)")
    connection.close()
    fleet = _read(f"sqlite:///{path}", None)
    assert [note.kind for note in fleet.notes] == ["guessed"]


def test_files_that_are_no_database_or_not_there_are_refused(tmp_path):
    (tmp_path / "x.db").write_text("not a database, but long enough to be one " * 30)
    with pytest.raises(FormatError, match="not a SQLite file"):
        _read(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(SourceNotFoundError, match="no such SQLite file"):
        _read(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(UsageError, match="belong to a database"):
        read_fleet([tmp_path], MAPPING, name="x")


def test_a_database_is_a_data_set_like_files(url):
    dataset = FilesDataset(source=url, mapping=MAPPING)
    assert resolve_source(url, MAPPING) == dataset
    assert dataset.name == "sql/plant.db"
    adapter: TypeAdapter[Dataset] = TypeAdapter(Dataset)
    assert adapter.validate_json(adapter.dump_json(dataset), strict=True) == dataset
    assert dataset.load("all").n_units == 2
    with pytest.raises(UsageError, match="read alone"):
        FilesDataset(source=(url, "more.csv"), mapping=MAPPING).load("all")


# ------------------------------------------------------------------ URLs and secrets


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host:5432/plant",
        "postgres://me:hun/ter2@host/plant",
        "postgresql://me:hun#hunter2@host/plant",
        "postgresql://host/plant?user=me&password=hunter2",
        "postgresql://host/plant?sslpassword=hunter2",
        "mysql://me:hunter2@host/plant",
        "postgresql://me:hunter2@[broken/plant",
    ],
)
def test_a_secret_in_a_url_is_refused_and_never_repeated(url):
    for attempt in (check_url, lambda bad: FilesDataset(source=bad), lambda bad: FilesDataset(source=("a", bad))):
        with pytest.raises(UsageError) as caught:
            attempt(url)
        assert "hunter2" not in str(caught.value)
        assert "ter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/file.db", "sqlite:///a.db?mode=rw"])
def test_a_url_that_is_not_of_a_sqlite_file_is_refused(url):
    with pytest.raises(UsageError, match="not the URL of a SQLite file"), open_database(url):
        pass


def test_a_relative_url_is_made_whole(file, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    other = tmp_path / "Anlage 1.db"
    other.write_bytes(file.read_bytes())
    whole = whole_url("sqlite:///Anlage%201.db", tmp_path)
    assert whole == f"sqlite:///{tmp_path}/Anlage%201.db"
    assert whole_url(whole, Path("/elsewhere")) == whole
    assert whole_url("postgresql://me@host/plant", tmp_path) == "postgresql://me@host/plant"
    with open_database(whole) as database:
        assert "Anlage 1" not in "".join(database.tables())


# ------------------------------------------------------------------ PostgreSQL

no_server = missing()
needs_postgres = pytest.mark.skipif(no_server is not None, reason=no_server or "")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server with the same tables, and one of every kind of cell."""
    import psycopg

    with postgres_server() as url:
        with psycopg.connect(url) as connection:
            connection.execute(SCHEMA)
            connection.execute("CREATE SCHEMA plant")
            connection.execute("CREATE TABLE plant.more AS SELECT * FROM readings")
            connection.execute(
                "CREATE TABLE kinds AS SELECT 'A'::varchar AS pump, timestamptz '2024-03-31 01:30+01' + n * interval "
                "'1 hour' AS at, n::numeric / 4 AS exact, n::bigint AS whole, n > 1 AS flag, '{}'::json AS bag "
                "FROM generate_series(0, 2) AS n"
            )
        yield url


@needs_postgres
def test_postgres_gives_the_same_fleet_as_sqlite(server, url):
    ends = FailureRows(failures_table="failures")
    options: dict[str, Any] = {"end_of_life": ends, "statics": ("site",), "labels": ("failed",)}
    assert _read(server, **options).fingerprint == _read(url, **options).fingerprint
    assert _read(server, table="warm").n_rows == 2
    assert _read(server, table="plant.more").n_rows == 3
    query = "SELECT pump, n, temp FROM readings ORDER BY n -- newest last"
    assert _read(server, table=None, query=query).schema.sensors == ("temp",)


@needs_postgres
def test_postgres_times_are_utc_and_exact_numbers_are_numbers(server):
    mapping = ColumnMapping(unit="pump", time="at", table="kinds", sensors=("exact", "whole", "flag"))
    fleet = _read(server, mapping)
    assert str(fleet.frame["time"][0]) == "2024-03-31 00:30:00"
    assert fleet.frame["exact"].to_list() == [0, 0.25, 0.5]
    assert fleet.frame["flag"].to_list() == [0, 0, 1]
    assert fleet.frame.dtypes[2:] == [pl.Float32] * 3
    with pytest.raises(FormatError, match="dict is neither a number nor text"):
        _read(server, mapping, sensors=("bag",))


@needs_postgres
def test_a_postgres_table_that_changes_while_it_is_read_gives_one_state(server, monkeypatch):
    import psycopg

    monkeypatch.setattr("wearcast.datasets.postgres.BATCH_ROWS", 1)
    with psycopg.connect(server) as writer:
        writer.execute("CREATE TABLE moving AS SELECT * FROM readings")
    with open_database(server) as database:
        batches = database.rows("SELECT pump FROM moving")
        first = next(batches)[1]
        with psycopg.connect(server) as writer:
            writer.execute("DELETE FROM moving WHERE pump = 1")
            writer.execute("INSERT INTO moving VALUES (9, 1, 1, 1, 'new', 0)")
        assert [*first, *(row for _, rows in batches for row in rows)] == [(1,), (1,), (2,)]
        assert open_sql(database, table="moving").read([], ["pump"])["pump"].to_list() == [1, 1, 2]
    assert _read(server, table="moving").units == (2, 9)


@needs_postgres
@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM readings RETURNING *",
        "SELECT 1; DELETE FROM readings",
        "SELECT 1) AS a; COMMIT; DELETE FROM readings; --",
        "WITH gone AS (DELETE FROM readings RETURNING *) SELECT * FROM gone",
        "SELECT nothere FROM readings",
    ],
)
def test_postgres_runs_nothing_but_one_select(server, query):
    with pytest.raises(UsageError, match=r"SELECT is run|refuses the query"):
        _read(server, table=None, query=query)
    assert _read(server).n_rows == 3


@needs_postgres
def test_a_postgres_server_that_refuses_is_answered_without_secrets(server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    for wrong in (server.replace("me@", "nobody@"), "postgresql://me@127.0.0.1:9/plant"):
        with pytest.raises(DataError, match="cannot be read") as caught:
            _read(wrong)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(SourceNotFoundError, match=r"no table 'reading'; .* \(did you mean 'readings'"):
        _read(server, table="reading")


def test_without_its_driver_postgres_is_answered_with_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(WearcastError, match=r"wearcast\[sql\]"):
        _read("postgresql://me@host/plant")
