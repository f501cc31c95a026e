"""One database: made once, brought up step by step, refused when it is newer."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from wearcast.errors import ConfigError
from wearcast.service import database


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'state' / 'service.sqlite'}"


def version_of(engine: sa.Engine) -> int:
    with database.reading(engine) as connection:
        return int(connection.execute(sa.text("SELECT version FROM wearcast_schema")).scalar_one())


def test_it_is_made_where_it_is_lacking_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    engine = database.open(url_of(tmp_path))
    assert version_of(engine) == database.SCHEMA_VERSION
    with database.reading(engine) as connection:
        pragmas = {name: connection.execute(sa.text(f"PRAGMA {name}")).scalar_one()
                   for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")}  # fmt: skip
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 10_000}
    engine.dispose()
    file = tmp_path / "state" / "service.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_what_is_written_is_there_afterwards(tmp_path: Path) -> None:
    engine = database.open(url_of(tmp_path))
    with database.writing(engine) as connection:
        connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
        connection.execute(sa.text("INSERT INTO t VALUES (7)"))
    engine.dispose()
    engine = database.open(url_of(tmp_path))
    with database.reading(engine) as connection:
        assert connection.execute(sa.text("SELECT x FROM t")).scalar_one() == 7
    engine.dispose()


def test_what_fails_halfway_is_not_there(tmp_path: Path) -> None:
    engine = database.open(url_of(tmp_path))

    def halfway() -> None:
        with database.writing(engine) as connection:
            connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        halfway()
    assert not sa.inspect(engine).has_table("t")
    engine.dispose()


def test_writers_wait_for_one_another(tmp_path: Path) -> None:
    engine = database.open(url_of(tmp_path))
    with database.writing(engine) as connection:
        connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
        connection.execute(sa.text("INSERT INTO t VALUES (0)"))

    def count() -> None:
        for _ in range(20):
            with database.writing(engine, alone=True) as connection:
                x = connection.execute(sa.text("SELECT x FROM t")).scalar_one()
                connection.execute(sa.text("UPDATE t SET x = :x"), {"x": x + 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading(engine) as connection:
        assert connection.execute(sa.text("SELECT x FROM t")).scalar_one() == 80
    engine.dispose()


def test_processes_that_come_at_once_make_it_once(tmp_path: Path) -> None:
    code = f"from wearcast.service import audit, database; database.open({url_of(tmp_path)!r}).dispose()"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(2)]
    told = [process.communicate(timeout=60)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    engine = database.open(url_of(tmp_path))
    with database.reading(engine) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM wearcast_schema")).scalar_one() == 1
    engine.dispose()


def test_an_older_one_is_brought_up_step_by_step(tmp_path: Path) -> None:
    database.open(url_of(tmp_path)).dispose()
    done: list[int] = []
    steps = {1: lambda connection: done.append(1), 2: lambda connection: done.append(2)}
    engine = database.open(url_of(tmp_path), steps=steps, version=3)
    assert (done, version_of(engine)) == ([1, 2], 3)
    engine.dispose()
    database.open(url_of(tmp_path), steps=steps, version=3).dispose()
    assert done == [1, 2]


def test_a_step_that_fails_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    database.open(url_of(tmp_path)).dispose()

    def fail(connection: sa.Connection) -> None:
        connection.execute(sa.text("CREATE TABLE half (x INTEGER)"))
        connection.execute(sa.text("nonsense"))

    with pytest.raises(ConfigError, match="the state cannot be opened"):
        database.open(url_of(tmp_path), steps={1: fail}, version=2)
    engine = database.open(url_of(tmp_path))
    assert version_of(engine) == 1
    assert not sa.inspect(engine).has_table("half")
    engine.dispose()


def test_a_gap_between_versions_is_refused(tmp_path: Path) -> None:
    database.open(url_of(tmp_path)).dispose()
    with pytest.raises(ConfigError, match="nothing leads from schema 1 to 2"):
        database.open(url_of(tmp_path), steps={}, version=2)


def test_a_newer_one_is_refused(tmp_path: Path) -> None:
    database.open(url_of(tmp_path), steps={}, version=9).dispose()
    with pytest.raises(ConfigError, match="a newer Wearcast wrote the state: schema 9"):
        database.open(url_of(tmp_path))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "not the URL of a database"),
        ("mysql://me:hunter2@db/x", "mysql is not a database for the state"),
        ("sqlite:////proc/nowhere/service.sqlite", "the state cannot be kept there"),
        ("postgresql://me:hunter2@127.0.0.1:1/x", "the state cannot be opened"),
    ],
)
def test_what_cannot_be_opened_is_said_without_a_password(url: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        database.open(url)
    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "service.sqlite").write_text("this is not a database, it only looks long enough" * 50)
    with pytest.raises(ConfigError, match="file is not a database"):
        database.open(url_of(tmp_path))
