"""Clients, keys and audit in PostgreSQL, where several processes write at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from tests.fixtures.postgres_server import missing, postgres_server

from wearcast.errors import ConfigError, UsageError
from wearcast.service import database
from wearcast.service.audit import Audit
from wearcast.service.clients import Clients
from wearcast.service.issuer import StoredKeys

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def engine(url: str) -> Iterator[sa.Engine]:
    opened = database.open(url)
    yield opened
    opened.dispose()


def together(count: int, *acts: object) -> list[BaseException]:
    """Run each act in threads that begin at once; what went wrong."""
    gate, wrong = threading.Barrier(count), list[BaseException]()

    def run(act: object) -> None:
        gate.wait()
        try:
            act()  # type: ignore[operator]
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(acts[i % len(acts)],)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def test_processes_that_come_at_once_make_it_once(url: str) -> None:
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA fresh")
    fresh = f"{url}&options=-csearch_path%3Dfresh"
    engines: list[sa.Engine] = []
    assert together(4, lambda: engines.append(database.open(fresh))) == []
    with database.writing(engines[0]) as writer:
        assert writer.execute(sa.text("SELECT count(*) FROM fresh.wearcast_schema")).scalar_one() == 1
        writer.execute(sa.text("UPDATE wearcast_schema SET version = 99"))
    with pytest.raises(ConfigError, match="a newer Wearcast wrote the state: schema 99"):
        database.open(fresh)
    for engine in engines:
        engine.dispose()


def test_one_name_goes_to_one_of_those_who_ask_at_once(engine: sa.Engine) -> None:
    clients = Clients(engine)
    wrong = together(4, lambda: clients.create("contested", ["forecast"]))
    assert [type(error) for error in wrong] == [UsageError] * 3
    given = clients.rotate("contested", overlap_s=100)
    assert clients.authenticate(given.id, given.secret.get_secret_value()) == frozenset({"forecast"})
    assert [(client.name, client.secrets) for client in clients.all()] == [("contested", 2)]
    clients.revoke("contested")
    assert clients.authenticate(given.id, given.secret.get_secret_value()) is None
    assert clients.revoked(60) == {given.id}


def test_processes_that_start_at_once_sign_with_one_key(engine: sa.Engine) -> None:
    made: list[StoredKeys] = []
    assert together(4, lambda: made.append(StoredKeys(engine, "ES256", lifetime_s=60))) == []
    assert len({keys.signing().kid for keys in made}) == 1


def test_the_audit_is_one_chain_and_append_only(engine: sa.Engine) -> None:
    audit = Audit(engine)
    act = lambda: audit.record("ops", "model.promote", "pumps", origin="::1", result="done")  # noqa: E731
    assert together(12, act) == []
    assert [entry.number for entry in audit.entries()] == list(range(1, 13))
    for statement in ("UPDATE audit SET who = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.writing(engine) as connection:
            connection.execute(sa.text(statement))
    assert audit.verify() == []
