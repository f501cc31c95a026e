"""Clients of the built-in issuer: secrets that are shown once, rotated with an overlap and ended at once."""

from __future__ import annotations

import hmac
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.fixtures.service_security import NOW, Clock

from wearcast.errors import UsageError
from wearcast.service import database
from wearcast.service.clients import Clients, Credentials


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def clients(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    # The cost is tried once, below.
    monkeypatch.setattr("wearcast.service.clients._COST", {"n": 2, "r": 1, "p": 1, "dklen": 32})
    engine = database.open(f"sqlite:///{tmp_path / 'service.sqlite'}")
    yield Clients(engine, clock)
    engine.dispose()


def scopes(clients: Clients, given: Credentials, secret: str | None = None) -> frozenset[str] | None:
    return clients.authenticate(given.id, given.secret.get_secret_value() if secret is None else secret)


def test_a_client_gets_in_by_its_secret(clients: Clients) -> None:
    given = clients.create("plant-historian", ["forecast", "write"])
    assert given.id.startswith("plant-historian-")
    assert len(given.secret.get_secret_value()) >= 43  # 256 bits in base64
    assert scopes(clients, given) == frozenset({"forecast", "write"})
    assert scopes(clients, given, "wrong") is None
    assert scopes(clients, given, "") is None
    assert clients.authenticate("plant-historian", given.secret.get_secret_value()) is None  # the name is no id
    assert clients.authenticate("nobody", given.secret.get_secret_value()) is None


def test_no_secret_is_kept_or_shown(clients: Clients, tmp_path: Path) -> None:
    given = clients.create("a", ["forecast"])
    secret = given.secret.get_secret_value()
    assert secret not in repr(given)
    assert secret not in repr(clients.all())
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("service.sqlite*"))
    assert given.id.encode() in kept
    assert secret.encode() not in kept


def test_two_clients_with_one_secret_have_two_hashes(clients: Clients) -> None:
    first, second = clients.create("a", ["forecast"]), clients.create("b", ["forecast"])
    assert first.secret.get_secret_value() != second.secret.get_secret_value()
    with database.reading(clients._engine) as connection:
        salts = connection.execute(sa.text("SELECT salt FROM clients")).scalars().all()
    assert len(set(salts)) == 2


@pytest.mark.parametrize(
    ("name", "wanted", "told"),
    [
        ("Plant", ["forecast"], "'Plant' is no name of a client"),
        ("", ["forecast"], "is no name of a client"),
        ("a b", ["forecast"], "is no name"),
        ("a" * 64, ["forecast"], "is no name"),
        ("a\n", ["forecast"], "is no name"),
        ("a", ["forcast"], "there is no scope 'forcast' (did you mean 'forecast'?)"),
        ("a", [], "a client needs a scope (one of admin, forecast, monitor, write)"),
    ],
)
def test_what_is_no_client_is_refused(clients: Clients, name: str, wanted: list[str], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        clients.create(name, wanted)
    assert told in str(refused.value)
    assert clients.all() == []


def test_a_name_is_taken_until_its_client_is_revoked(clients: Clients) -> None:
    old = clients.create("a", ["forecast"])
    with pytest.raises(UsageError, match="there is a client 'a' already"):
        clients.create("a", ["write"])
    clients.revoke("a")
    new = clients.create("a", ["write"])
    assert new.id != old.id
    assert scopes(clients, old) is None
    assert scopes(clients, new) == frozenset({"write"})


def test_the_old_secret_is_good_for_the_overlap(clients: Clients, clock: Clock) -> None:
    old = clients.create("a", ["forecast"])
    new = clients.rotate("a", overlap_s=3_600)
    assert new.id == old.id
    assert scopes(clients, old) == scopes(clients, new) == frozenset({"forecast"})
    assert clients.all()[0].secrets == 2
    clock.now += 3_601
    assert scopes(clients, old) is None
    assert scopes(clients, new) is not None
    assert clients.all()[0].secrets == 1


def test_a_second_rotation_does_not_lengthen_the_first(clients: Clients, clock: Clock) -> None:
    first = clients.create("a", ["forecast"])
    second = clients.rotate("a", overlap_s=100)
    third = clients.rotate("a", overlap_s=1_000)
    clock.now += 101
    assert scopes(clients, first) is None
    assert scopes(clients, second) is not None
    fourth = clients.rotate("a", overlap_s=0)
    assert scopes(clients, second) is scopes(clients, third) is None
    assert scopes(clients, fourth) is not None


def test_without_an_overlap_the_old_secret_ends_at_once(clients: Clients) -> None:
    old = clients.create("a", ["forecast"])
    assert scopes(clients, old) is not None  # so that it is remembered as right
    clients.rotate("a", overlap_s=0)
    assert scopes(clients, old) is None


def test_a_revoked_client_is_out_at_once_and_on_the_list(clients: Clients, clock: Clock) -> None:
    given, other = clients.create("a", ["forecast"]), clients.create("b", ["forecast"])
    assert scopes(clients, given) is not None
    assert clients.revoke(given.id) == given.id
    assert scopes(clients, given) is None
    assert scopes(clients, other) is not None
    assert clients.revoked(600) == frozenset({given.id})
    shown = {client.name: (client.secrets, client.revoked) for client in clients.all()}
    assert shown == {"a": (0, NOW), "b": (1, None)}
    clock.now += 601
    assert clients.revoked(600) == frozenset()


@pytest.mark.parametrize("act", ["rotate", "revoke"])
def test_a_client_that_is_not_there_is_told_with_the_nearest(clients: Clients, act: str) -> None:
    clients.create("plant-historian", ["forecast"])
    with pytest.raises(UsageError, match=r"there is no client 'plant-histrian' \(did you mean 'plant-historian'\?\)"):
        clients.revoke("plant-histrian") if act == "revoke" else clients.rotate("plant-histrian", overlap_s=0)


def test_hashes_are_compared_in_constant_time(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def spy(one: bytes, two: bytes) -> bool:
        compared.append((len(one), len(two)))
        return real(one, two)

    given = clients.create("a", ["forecast"])
    monkeypatch.setattr("wearcast.service.clients.hmac.compare_digest", spy)
    clients.authenticate("nobody", "x")
    scopes(clients, given, "x")
    scopes(clients, given)
    assert compared == [(32, 32)] * 3


def test_an_unknown_client_costs_as_much_as_a_wrong_secret(tmp_path: Path) -> None:
    """With the real cost: medians within a factor of two, so that names cannot be found out by the clock."""
    engine = database.open(f"sqlite:///{tmp_path / 'service.sqlite'}")
    clients = Clients(engine)
    given = clients.create("a", ["forecast"])

    def median(client: str) -> float:
        taken = []
        for i in range(5):
            began = time.thread_time()
            assert clients.authenticate(client, f"wrong-{i}") is None
            taken.append(time.thread_time() - began)
        return statistics.median(taken)

    known, unknown = median(given.id), median("nobody")
    assert 0.5 < known / unknown < 2
    assert known > 0.005
    engine.dispose()


def test_a_secret_that_was_right_is_not_hashed_again_for_a_minute(
    clients: Clients, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = clients.create("a", ["forecast"])
    hashed: list[str] = []
    from wearcast.service import clients as module

    real = module._hashed

    def counted(secret: str, salt: bytes) -> bytes:
        hashed.append(secret)
        return real(secret, salt)

    monkeypatch.setattr(module, "_hashed", counted)
    for _ in range(3):
        assert scopes(clients, given) is not None
    assert len(hashed) == 1
    for _ in range(2):
        assert scopes(clients, given, "wrong") is None
    assert len(hashed) == 3
    clock.now += 61
    assert scopes(clients, given) is not None
    assert len(hashed) == 4
