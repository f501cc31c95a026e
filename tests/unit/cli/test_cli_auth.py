"""`wearcast auth`: clients are made, rotated and revoked; a secret is shown once; every act is written down."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wearcast.service import database
from wearcast.service.clients import Clients

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Run


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A state of the test's own."""
    for name in os.environ:
        if name.startswith("WEARCAST_"):
            monkeypatch.delenv(name)
    url = f"sqlite:///{tmp_path / 'state.sqlite'}"
    monkeypatch.setenv("WEARCAST_SERVICE__STATE_URL", url)
    monkeypatch.setattr("wearcast.service.clients._COST", {"n": 2, "r": 1, "p": 1, "dklen": 32})
    return url


def create(run: Run, name: str = "plant", scope: str = "forecast,write") -> dict[str, Any]:
    ran = run("auth", "client", "create", name, "--scope", scope, "--json")
    assert ran.code == 0, ran.err
    made: dict[str, Any] = json.loads(ran.out)
    return made


def knows(state: str, client: str, secret: str) -> frozenset[str] | None:
    engine = database.open(state)
    try:
        return Clients(engine).authenticate(client, secret)
    finally:
        engine.dispose()


def test_a_client_is_made_and_its_secret_shown_once(run: Run, state: str) -> None:
    ran = run("auth", "client", "create", "plant", "--scope", "forecast, write")
    assert ran.code == 0
    (_, client), (_, secret) = (line.split() for line in ran.out.splitlines())
    assert "not shown again" in ran.err
    assert knows(state, client, secret) == frozenset({"forecast", "write"})
    listed = run("auth", "client", "list")
    assert client in listed.out
    assert secret not in listed.out + listed.err


def test_clients_as_json(run: Run) -> None:
    made = create(run)
    assert made["scopes"] == ["forecast", "write"]
    (client,) = json.loads(run("auth", "client", "list", "--json").out)["clients"]
    assert (client["id"], client["name"], client["secrets"], client["revoked"]) == (made["id"], "plant", 1, None)
    assert client["scopes"] == ["forecast", "write"]


def test_rotation_keeps_the_old_secret_for_the_overlap(run: Run, state: str) -> None:
    old = create(run)
    new = json.loads(run("auth", "client", "rotate", "plant", "--json").out)
    assert new["id"] == old["id"]
    assert knows(state, old["id"], old["secret"]) == knows(state, new["id"], new["secret"]) != frozenset()
    newest = json.loads(run("auth", "client", "rotate", "plant", "--overlap-hours", "0", "--json").out)
    assert knows(state, old["id"], old["secret"]) is None
    assert knows(state, new["id"], new["secret"]) is None
    assert knows(state, newest["id"], newest["secret"]) is not None


def test_revoking_ends_a_client(run: Run, state: str) -> None:
    made = create(run)
    ran = run("auth", "client", "revoke", "plant", "--reason", "left", "--json")
    assert json.loads(ran.out) == {"id": made["id"], "revoked": True}
    assert knows(state, made["id"], made["secret"]) is None
    again = run("auth", "client", "revoke", "plant")
    assert (again.code, again.err) == (2, "error: there is no client 'plant' (wearcast auth client list)\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "Plant"), "'Plant' is no name of a client"),
        (("create", "plant", "--scope", "forcast"), "there is no scope 'forcast' (did you mean 'forecast'?)"),
        (("create", "plant", "--scope", ","), "a client needs a scope"),
        (("rotate", "nobody"), "there is no client 'nobody'"),
        (("rotate", "nobody", "--overlap-hours", "-1"), "--overlap-hours"),
        (("list", "--profile", "pord"), "expected one of dev, staging, prod, got 'pord' (did you mean 'prod'?)"),
        (("list", "--settings", "/no/such/file"), "/no/such/file: no such file"),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, words: tuple[str, ...], told: str) -> None:
    ran = run("auth", "client", *words)
    assert ran.code == 2
    assert told in ran.err
    assert len(ran.err.splitlines()) == 1


def test_every_act_is_written_down_also_one_that_is_refused(run: Run) -> None:
    create(run)
    run("auth", "client", "create", "plant")
    run("auth", "client", "revoke", "plant", "--reason", "left the company")
    entries = json.loads(run("auth", "audit", "--json").out)["entries"]
    assert [(entry["act"], entry["result"]) for entry in entries] == [
        ("client.create", "done"),
        ("client.create", "refused"),
        ("client.revoke", "done"),
    ]
    assert entries[0]["reason"] == "scope forecast,write"
    assert entries[2]["reason"] == "left the company"
    assert entries[0]["who"].endswith("(command line)")
    assert "client.revoke" in run("auth", "audit", "--after", "2").out
    whole = run("auth", "audit", "--verify", "--number", "3", "--hash", entries[2]["hash"])
    assert (whole.code, "whole" in whole.err) == (0, True)
    cut = run("auth", "audit", "--verify", "--number", "9", "--hash", "0" * 64)
    assert (cut.code, "entries 4 to 9 are missing at the end" in cut.err) == (3, True)


def test_a_new_key_signs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    kids = [json.loads(run("auth", "key", "rotate", "--json").out)["kid"] for _ in range(2)]
    assert kids[0] != kids[1]
    assert "signing with" in run("auth", "key", "rotate").err
    monkeypatch.setenv("WEARCAST_AUTH__ALGORITHMS", "HS256")
    monkeypatch.setenv("WEARCAST_AUTH__SIGNING_KEY", "env:SHARED")
    monkeypatch.setenv("SHARED", "s" * 40)
    ran = run("auth", "key", "rotate")
    assert (ran.code, "the signing key is kept where auth.signing_key says" in ran.err) == (2, True)
