"""Tokens of an OpenID Connect issuer over HTTP: discovery, keys that change, and an issuer that is down."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import Key
from tests.fixtures.http_server import Reply, Server, running_server
from tests.fixtures.service_security import Clock, by_hand, ec_key, make_auth, make_claims, rsa_key, sign

from wearcast.service import keys as keys_module
from wearcast.service.keys import RemoteKeys
from wearcast.service.outside import outside_services
from wearcast.service.problems import Problem
from wearcast.service.tokens import TokenRefusedError, Verifier

EC, RSA = ec_key("ec-1"), rsa_key("rsa-1")
CONFIGURATION = "/.well-known/openid-configuration"


def reply(content: Any, **more: Any) -> Reply:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Reply(body, headers={"Content-Type": "application/json"}, **more)


def key_set(*keys: Key | dict[str, Any]) -> dict[str, Any]:
    return {"keys": [key if isinstance(key, dict) else {**key.as_dict(private=False), "use": "sig"} for key in keys]}


class Issuer:
    """An issuer at work."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = server.url
        server.serve(CONFIGURATION, reply({"issuer": self.name, "jwks_uri": f"{self.name}/keys"}))
        self.publish(EC, RSA)

    def publish(self, *keys: Key | dict[str, Any]) -> None:
        self.server.serve("/keys", reply(key_set(*keys)))

    def asked(self, path: str) -> int:
        return sum(1 for asked, _ in self.server.asked if asked == path)

    def verifier(self, *, jwks_url: str | None = None, guarded: bool = True) -> Verifier:
        remote = RemoteKeys(self.name, jwks_url, outside_services()["oidc"] if guarded else None)
        return Verifier(make_auth(issuer=self.name), self.name, remote, clock=Clock())

    def token(self, key: Key = EC, algorithm: str = "ES256", **header: Any) -> bytes:
        return sign(key, make_claims(iss=self.name), algorithm=algorithm, **header)


@pytest.fixture
def issuer() -> Any:
    with running_server() as server:
        yield Issuer(server)


def verify(verifier: Verifier, *tokens: bytes) -> list[str]:
    async def each() -> list[str]:
        told = []
        for token in tokens:
            try:
                told.append((await verifier.verify(token)).client)
            except TokenRefusedError as error:
                told.append(error.what)
        return told

    return asyncio.run(each())


def test_keys_are_found_by_discovery_and_asked_for_once(issuer: Issuer) -> None:
    verifier = issuer.verifier()
    assert verify(verifier, issuer.token(), issuer.token(RSA, "RS256"), issuer.token(jti="2")) == ["pump-reader"] * 3
    assert (issuer.asked(CONFIGURATION), issuer.asked("/keys")) == (1, 1)


def test_keys_may_be_named_outright(issuer: Issuer) -> None:
    assert verify(issuer.verifier(jwks_url=f"{issuer.name}/keys"), issuer.token()) == ["pump-reader"]
    assert issuer.asked(CONFIGURATION) == 0


def test_many_requests_at_once_ask_once(issuer: Issuer) -> None:
    verifier = issuer.verifier()

    async def together() -> None:
        await asyncio.gather(*(verifier.verify(issuer.token(jti=str(i))) for i in range(20)))

    asyncio.run(together())
    assert issuer.asked("/keys") == 1


def test_a_new_key_is_fetched_and_an_unknown_one_at_most_once_a_minute(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = issuer.verifier()
    verify(verifier, issuer.token())
    new = ec_key("ec-2")
    issuer.publish(EC, new)
    unknown = "no key of the issuer fits the token"
    # Asked a moment ago: somebody who makes names up cannot have the issuer asked for each.
    assert verify(verifier, *(issuer.token(new, jti=str(i)) for i in range(5))) == [unknown] * 5
    assert issuer.asked("/keys") == 1
    monkeypatch.setattr(keys_module, "AGAIN_S", 0.0)
    assert verify(verifier, issuer.token(new)) == ["pump-reader"]
    assert issuer.asked("/keys") == 2


def test_a_key_that_the_issuer_takes_back_goes(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = issuer.verifier()
    verify(verifier, issuer.token())
    issuer.publish(RSA)
    monkeypatch.setattr(keys_module, "AGAIN_S", 0.0)
    monkeypatch.setattr(keys_module, "OLD_S", 0.0)
    assert verify(verifier, issuer.token(jti="2")) == ["no key of the issuer fits the token"]


def test_the_public_key_of_the_issuer_is_no_shared_secret(issuer: Issuer) -> None:
    forged = by_hand({"alg": "HS256", "kid": "rsa-1"}, make_claims(iss=issuer.name), secret=RSA.as_pem(private=False))
    assert verify(issuer.verifier(), forged) == ["signed by an algorithm that is not accepted"]


def test_an_issuer_that_is_down_at_first_is_no_fault_of_the_client(issuer: Issuer) -> None:
    issuer.server.serve("/keys", Reply(b"", status=503))
    with pytest.raises(Problem) as refused:
        asyncio.run(issuer.verifier().verify(issuer.token()))
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5.0)


def test_an_issuer_that_goes_down_later_is_not_missed(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    verifier = issuer.verifier()
    verify(verifier, issuer.token())
    issuer.server.serve("/keys", Reply(b"", status=503))
    monkeypatch.setattr(keys_module, "AGAIN_S", 0.0)
    monkeypatch.setattr(keys_module, "OLD_S", 0.0)
    assert verify(verifier, issuer.token(jti="2")) == ["pump-reader"]
    assert "keys of the issuer could not be fetched" in caplog.text


Break = Callable[[Issuer], object]
BROKEN: dict[str, tuple[Break, str]] = {
    "another name": (
        lambda issuer: issuer.server.serve(
            CONFIGURATION, reply({"issuer": "https://x", "jwks_uri": f"{issuer.name}/keys"})
        ),
        "the issuer calls itself by another name",
    ),
    "no keys named": (
        lambda issuer: issuer.server.serve(CONFIGURATION, reply({"issuer": issuer.name})),
        "the issuer names no keys",
    ),
    "keys in a file": (
        lambda issuer: issuer.server.serve(
            CONFIGURATION, reply({"issuer": issuer.name, "jwks_uri": "file:///etc/passwd"})
        ),
        "the issuer names no keys",
    ),
    "no JSON": (lambda issuer: issuer.server.serve("/keys", reply(b"<html>")), "not JSON"),
    "a list": (lambda issuer: issuer.server.serve("/keys", reply([])), "no JSON object"),
    "endless": (lambda issuer: issuer.server.serve("/keys", reply(b" " * 1_100_000)), "too large"),
    "a redirect": (
        lambda issuer: issuer.server.serve(
            "/keys", Reply(b"", status=302, headers={"Location": "https://attacker.example"})
        ),
        "redirects are not followed",
    ),
    "only shared secrets": (
        lambda issuer: issuer.publish({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "ec-1"}),
        "no key that can be used",
    ),
    "nonsense": (
        lambda issuer: issuer.publish({"kty": "EC", "crv": "P-256", "x": "!", "y": "!"}, {"kty": "RSA"}, {"kty": 7}),
        "no key that can be used",
    ),
    "a short key": (lambda issuer: issuer.publish({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), "no key that can be used"),
}


@pytest.mark.parametrize(("broken", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_issuer_is_not_believed(
    issuer: Issuer, broken: Break, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    broken(issuer)
    with pytest.raises(Problem, match="unavailable"):
        asyncio.run(issuer.verifier(guarded=False).verify(issuer.token()))
    assert told in caplog.text
