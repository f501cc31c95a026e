"""Keys that are given: PEM, one after the other, or a shared text that is long enough."""

from __future__ import annotations

import traceback

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import RSAKey
from tests.fixtures.service_security import ec_key, rsa_key

from wearcast.errors import ConfigError
from wearcast.service.keys import GivenKeys, choose
from wearcast.service.settings import Algorithm

EC_PEM = ec_key().as_pem(private=True).decode()
RSA_PEM = rsa_key().as_pem(private=True).decode()


def test_the_first_key_signs_and_all_are_believed() -> None:
    both = GivenKeys.from_text(ec_key().as_pem(private=True).decode() + EC_PEM, "ES256", "file:/keys")
    assert len(both.keys) == 2
    assert both.signing() is both.keys[0]
    published = both.public()["keys"]
    assert [key["kid"] for key in published] == [key.kid for key in both.keys]
    assert all("d" not in key and key["alg"] == "ES256" for key in published)
    assert choose(both.keys, both.keys[1].kid, "ES256") is both.keys[1]


def test_a_key_keeps_its_name() -> None:
    one, again = (GivenKeys.from_text(RSA_PEM, "RS256", "file:/keys") for _ in range(2))
    assert one.signing().kid == again.signing().kid


@pytest.mark.parametrize(
    ("text", "algorithm", "told"),
    [
        ("hunter2", "ES256", "holds no private key in PEM"),
        ("hunter2", "HS256", "shorter than 32 bytes, so it could be guessed"),
        (RSA_PEM, "ES256", "not a private key for ES256"),
        (EC_PEM, "RS256", "not a private key for RS256"),
        (EC_PEM, "ES384", "a key of another kind or size than ES384 needs"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----", "ES256", "not a private key for ES256"),
        (ec_key().as_pem(private=False).decode(), "ES256", "holds no private key in PEM"),
    ],
)
def test_what_is_no_key_is_said_without_repeating_it(text: str, algorithm: Algorithm, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        GivenKeys.from_text(text, algorithm, "auth.signing_key (env:KEY)")
    assert told in str(refused.value)
    assert str(refused.value).startswith("auth.signing_key (env:KEY): ")
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_a_short_rsa_key_is_refused() -> None:
    with pytest.warns(SecurityWarning):
        short = RSAKey.generate_key(1_024).as_pem(private=True).decode()
    with pytest.raises(ConfigError, match="a key of another kind or size than RS256 needs"):
        GivenKeys.from_text(short, "RS256", "file:/keys")
