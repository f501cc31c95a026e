"""`POST /oauth/token` and the key set, behind the gate, with a client of the database."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from starlette.applications import Starlette
from tests.fixtures.service_security import Answer, call, make_settings

from wearcast.service import audit, database, problems  # noqa: F401 - the audit's table too
from wearcast.service.clients import Clients, Credentials
from wearcast.service.gate import Gate
from wearcast.service.issuer import StoredKeys, authority
from wearcast.service.limits import Limiter
from wearcast.service.routes.token import router
from wearcast.service.secrets import Secrets


@dataclass
class _Parts:
    """What the route reads of the service."""

    issuer: Any


class Tokens:
    """The two routes behind the gate."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = make_settings(**settings)
        self.engine = database.open(f"sqlite:///{folder / 'service.sqlite'}")
        self.clients = Clients(self.engine)
        who = authority(self.settings, self.engine, Secrets())
        app = Starlette(routes=router.routes)
        problems.install(app)
        app.state.service = _Parts(who.issuer)
        self.verifier = who.verifier
        self.gate = Gate(app, settings=self.settings, verifier=who.verifier, limiter=Limiter(self.settings.limits))

    def ask(self, fields: dict[str, str] | str, headers: dict[str, str] | None = None) -> Answer:
        body = (fields if isinstance(fields, str) else urlencode(fields)).encode()
        given = {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
        return asyncio.run(call(self.gate, "POST", "/oauth/token", headers={**given, **(headers or {})}, body=[body]))

    def get(self, path: str) -> Answer:
        return asyncio.run(call(self.gate, "GET", path))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    made = Tokens(tmp_path_factory.mktemp("tokens"), limits={"rates": {"token": "100000/minute"}})
    yield made
    made.engine.dispose()


@pytest.fixture(scope="module")
def client(tokens: Tokens) -> Credentials:
    return tokens.clients.create("plant", ["forecast", "write"])


WRONG = {"client_secret": "wrong"}


def header_of(token: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))


def form(client: Credentials, **changes: str) -> dict[str, str]:
    given = {"client_id": client.id, "client_secret": client.secret.get_secret_value()}
    return {"grant_type": "client_credentials", **given, **changes}


def basic(client: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}


def test_a_client_gets_a_token_that_the_service_believes(tokens: Tokens, client: Credentials) -> None:
    answer = tokens.ask(form(client))
    assert answer.status == 200
    given = answer.json()
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 600, "forecast write")
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    principal = asyncio.run(tokens.verifier.verify(given["access_token"].encode()))
    assert (principal.client, principal.scopes) == (client.id, frozenset({"forecast", "write"}))


def test_others_can_check_the_token_by_the_key_set(tokens: Tokens, client: Credentials) -> None:
    answer = tokens.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=60"
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}  # no private half
    token = jwt.decode(tokens.ask(form(client)).json()["access_token"], KeySet.import_key_set(answer.json()), ["ES256"])
    assert token.header["typ"] == "at+jwt"
    assert (token.claims["iss"], token.claims["aud"], token.claims["sub"]) == ("wearcast", "wearcast", client.id)
    assert token.claims["exp"] - token.claims["iat"] == 600


def test_the_secret_may_come_by_basic_authentication(tokens: Tokens, client: Credentials) -> None:
    secret = client.secret.get_secret_value()
    assert tokens.ask({"grant_type": "client_credentials"}, basic(client.id, secret)).status == 200
    assert tokens.ask({"grant_type": "client_credentials"}, basic(client.id, "x")).status == 401


def test_fewer_scopes_may_be_asked_for_and_no_more(tokens: Tokens, client: Credentials) -> None:
    assert tokens.ask(form(client, scope="write")).json()["scope"] == "write"
    assert tokens.ask(form(client, scope=" ")).json()["scope"] == "forecast write"
    answer = tokens.ask(form(client, scope="write admin"))
    assert (answer.status, answer.json()["error"]) == (400, "invalid_scope")


def test_who_does_not_know_the_secret_gets_nothing(tokens: Tokens, client: Credentials) -> None:
    for wrong in (form(client, **WRONG), form(client, client_id="nobody"), form(client, client_id="")):
        answer = tokens.ask(wrong)
        assert (answer.status, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic")
    known, unknown = tokens.ask(form(client, **WRONG)), tokens.ask(form(client, client_id="nobody"))
    assert known.body == unknown.body


BAD = {
    "another grant": ("grant_type=password&username=a&password=b", {}, 400, "unsupported_grant_type"),
    "no grant": ("client_id=a&client_secret=b", {}, 400, "invalid_request"),
    "nothing": ("", {}, 400, "invalid_request"),
    "a field twice": ("grant_type=client_credentials&client_id=a&client_id=b", {}, 400, "invalid_request"),
    "many fields": ("&".join(f"f{i}=1" for i in range(20)), {}, 400, "invalid_request"),
    "no credentials": ("grant_type=client_credentials", {}, 401, "invalid_client"),
    "bytes": ("grant_type=%ff%fe", {}, 400, "invalid_request"),
    "a NUL": ("grant_type=client_credentials&client_id=a%00&client_secret=b", {}, 400, "invalid_request"),
    "a long field": (f"grant_type=client_credentials&client_id={'a' * 600}", {}, 400, "invalid_request"),
    "JSON": ('{"grant_type":"client_credentials"}', {"content-type": "application/json"}, 400, "invalid_request"),
    "a bearer token": ("grant_type=client_credentials", {"authorization": "Bearer x"}, 401, "invalid_client"),
    "no base64": ("grant_type=client_credentials", {"authorization": "Basic %%%"}, 401, "invalid_client"),
    "no colon": ("grant_type=client_credentials", {"authorization": "Basic YWJj"}, 401, "invalid_client"),
    "no text": ("grant_type=client_credentials", {"authorization": "Basic //79"}, 401, "invalid_client"),
    "secrets in two places": (
        "grant_type=client_credentials&client_id=a&client_secret=b", basic("a", "b"), 400, "invalid_request",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "headers", "status", "error"), BAD.values(), ids=BAD.keys())
def test_a_bad_request_is_answered_as_oauth_has_it(
    tokens: Tokens, body: str, headers: dict[str, str], status: int, error: str
) -> None:
    answer = tokens.ask(body, headers)
    assert (answer.status, answer.json()["error"]) == (status, error)


def test_guessing_is_slowed_down_by_address(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, limits={"rates": {"token": "2/minute"}})
    statuses = [tokens.ask("grant_type=client_credentials").status for _ in range(3)]
    assert statuses == [401, 401, 429]
    tokens.engine.dispose()


def test_a_large_form_is_not_read(tokens: Tokens) -> None:
    assert tokens.ask("x" * 9_000).status == 413


def test_where_others_issue_tokens_there_is_no_such_route(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, auth={"issuer": "https://issuer.example"})
    assert tokens.ask("grant_type=client_credentials").status == 404
    assert tokens.get("/.well-known/jwks.json").status == 404
    tokens.engine.dispose()


def test_a_shared_secret_has_no_public_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED", "s" * 40)
    tokens = Tokens(tmp_path, auth={"algorithms": ["HS256"], "signing_key": "env:SHARED"})
    client = tokens.clients.create("plant", ["forecast"])
    token = tokens.ask(form(client)).json()["access_token"]
    assert asyncio.run(tokens.verifier.verify(token.encode())).client == client.id
    assert tokens.get("/.well-known/jwks.json").json() == {"keys": []}
    tokens.engine.dispose()


def test_a_revoked_client_and_its_token_are_out(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, auth={"revocation_s": 0.01})
    client = tokens.clients.create("plant", ["forecast"])
    token = tokens.ask(form(client)).json()["access_token"].encode()
    assert asyncio.run(tokens.verifier.verify(token)).client == client.id
    tokens.clients.revoke("plant")
    assert tokens.ask(form(client)).status == 401
    with pytest.raises(Exception, match="the client has been revoked"):
        asyncio.run(tokens.verifier.verify(token))
    tokens.engine.dispose()


def test_a_process_that_has_seen_nothing_looks_again_before_it_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = Tokens(tmp_path)
    client = tokens.clients.create("plant", ["forecast"])
    kid = StoredKeys(tokens.engine, "ES256", lifetime_s=630).rotate()
    assert header_of(tokens.ask(form(client)).json()["access_token"])["kid"] != kid
    monkeypatch.setattr("wearcast.service.issuer._FRESH_S", 0.0)
    assert header_of(tokens.ask(form(client)).json()["access_token"])["kid"] == kid
    tokens.engine.dispose()


def test_a_new_key_signs_and_the_old_one_is_still_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wearcast.service.issuer._LOOK_AGAIN_S", 0.0)
    tokens = Tokens(tmp_path)
    client = tokens.clients.create("plant", ["forecast"])
    old = tokens.ask(form(client)).json()["access_token"].encode()
    # Another process rotates; this one learns of it by the first token that names the new key.
    elsewhere = StoredKeys(tokens.engine, "ES256", lifetime_s=630)
    kid = elsewhere.rotate()
    assert elsewhere.signing().kid == kid
    assert asyncio.run(tokens.verifier.verify(old)).client == client.id
    other = Tokens(tmp_path)
    new = other.ask(form(client)).json()["access_token"].encode()
    assert asyncio.run(tokens.verifier.verify(new)).client == client.id
    listed = [key["kid"] for key in other.get("/.well-known/jwks.json").json()["keys"]]
    assert listed[0] == kid
    assert len(listed) == 2
    # This one has seen it by now, and signs with the new key too.
    assert header_of(tokens.ask(form(client)).json()["access_token"])["kid"] == kid
    for opened in (tokens, other):
        opened.engine.dispose()
