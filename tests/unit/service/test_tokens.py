"""A token is believed only if everything about it is right; each way to be wrong is tried."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.errors import SecurityWarning
from joserfc.jwk import Key, OctKey
from tests.fixtures.service_security import (
    ISSUER,
    NOW,
    Clock,
    by_hand,
    ec_key,
    make_auth,
    make_claims,
    part,
    rsa_key,
    sign,
)

from wearcast.service.access import SCOPES, Principal
from wearcast.service.keys import GivenKeys
from wearcast.service.revocations import Revocations
from wearcast.service.tokens import TokenRefusedError, Verifier

EC = ec_key()
RSA = rsa_key()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _short_rsa() -> Key:
    with pytest.warns(SecurityWarning):
        return rsa_key(size=1_024)


class Counted(GivenKeys):
    """Keys that count how often they are asked for."""

    asked = 0

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        self.asked += 1
        return await super().find(kid, algorithm)


def make_verifier(*keys: Key, clock: Clock | None = None, revoked: Revocations | None = None, **auth: Any) -> Verifier:
    given = Counted(keys or (EC,), "ES256")
    return Verifier(make_auth(**auth), ISSUER, given, revoked, clock or Clock())


def verify(token: bytes, verifier: Verifier | None = None) -> Principal:
    return asyncio.run((verifier or make_verifier()).verify(token))


def refusal(token: bytes, verifier: Verifier | None = None) -> str:
    with pytest.raises(TokenRefusedError) as refused:
        verify(token, verifier)
    return refused.value.what


@pytest.mark.parametrize(("key", "algorithm"), [(EC, "ES256"), (RSA, "RS256")])
def test_a_good_token_says_who_asks_and_what_for(key: Key, algorithm: str) -> None:
    token = sign(key, make_claims(scope="forecast write unheard-of"), algorithm=algorithm)
    assert verify(token, make_verifier(key)) == Principal("pump-reader", frozenset({"forecast", "write"}), ISSUER)


def test_the_audience_may_be_one_of_several_and_scopes_a_list() -> None:
    claims = make_claims(aud=["others", "wearcast"], scope=None, scp=["write", 7], client_id=None, azp="a-plant")
    assert verify(sign(EC, claims)) == Principal("a-plant", frozenset({"write"}), ISSUER)


def test_without_scopes_a_token_is_good_for_nothing() -> None:
    assert verify(sign(EC, make_claims(scope=None))).scopes == frozenset()


WRONG_CLAIMS = {
    "another issuer": {"iss": "https://issuer.example.attacker.example"},
    "an issuer with another case": {"iss": ISSUER.upper()},
    "a list of issuers": {"iss": [ISSUER]},
    "no issuer": {"iss": None},
    "another audience": {"aud": "historian"},
    "a longer audience": {"aud": "wearcast2"},
    "other audiences": {"aud": ["a", "b"]},
    "no audience": {"aud": None},
    "an empty audience": {"aud": ""},
    "expired": {"exp": int(NOW) - 31},
    "expired at once": {"exp": int(NOW) - 30},
    "no end": {"exp": None},
    "an end in words": {"exp": "tomorrow"},
    "an end that is true": {"exp": True},
    "not yet valid": {"nbf": int(NOW) + 31},
    "made in the future": {"iat": int(NOW) + 3_600},
    "no client": {"client_id": None, "sub": None},
    "a client that is a number": {"client_id": 7},
    "a client with a line break": {"client_id": "pump\nreader"},
    "a client without an end": {"client_id": "x" * 257},
}


@pytest.mark.parametrize("claims", WRONG_CLAIMS.values(), ids=WRONG_CLAIMS.keys())
def test_wrong_claims_are_refused(claims: dict[str, Any]) -> None:
    assert refusal(sign(EC, make_claims(**claims)))


def test_what_is_just_within_the_leeway_is_believed() -> None:
    assert verify(sign(EC, make_claims(exp=int(NOW) - 29, nbf=int(NOW) + 29))).client == "pump-reader"


def test_an_end_that_is_not_a_number_of_json_is_refused() -> None:
    claims = json.dumps(make_claims()).replace(str(int(NOW) + 600), "NaN")
    assert refusal(sign(EC, claims.encode()))


@pytest.mark.parametrize("payload", [b"[]", b"7", b"", b"{", b'"text"', b"[" * 2_000, b"\xff\xfe"])
def test_claims_that_are_no_object_are_refused(payload: bytes) -> None:
    assert refusal(sign(EC, payload)) == "not a signed JWT"


WRONG_HEADERS: dict[str, dict[str, Any]] = {
    "an extension that must be understood": {"crit": ["exp"]},
    "an unencoded payload": {"b64": False, "crit": ["b64"]},
    "a nested token": {"cty": "JWT"},
    "compressed": {"zip": "DEF"},
    "another kind of token": {"typ": "logout+jwt"},
    "a kind that is a list": {"typ": ["JWT"]},
    "an unknown key": {"kid": "second"},
    "a key that is no text": {"kid": 7},
    "a key with a path": {"kid": "../../../dev/null"},
    "a long key": {"kid": "k" * 300},
}


@pytest.mark.parametrize("header", WRONG_HEADERS.values(), ids=WRONG_HEADERS.keys())
def test_wrong_headers_are_refused(header: dict[str, Any]) -> None:
    good = sign(EC, make_claims())
    named = {"alg": "ES256", "typ": "at+jwt", "kid": "first", **header}
    assert refusal(part(named) + good[good.index(b".") :])


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "ES512", "EdDSA", None, 7, ["ES256"], {}])
def test_an_algorithm_that_is_not_on_the_list_is_refused(algorithm: Any) -> None:
    unsigned = by_hand({"alg": algorithm, "typ": "JWT", "kid": "first"}, make_claims())
    assert refusal(unsigned + b"AAAA") == "signed by an algorithm that is not accepted"


def test_a_token_without_a_signature_is_refused() -> None:
    assert refusal(by_hand({"alg": "none"}, make_claims())) == "not a signed JWT"
    assert refusal(by_hand({"alg": "ES256", "kid": "first"}, make_claims())) == "not a signed JWT"


@pytest.mark.parametrize("algorithms", [["RS256"], ["RS256", "ES256"]])
def test_a_public_key_is_never_taken_for_a_shared_secret(algorithms: list[str]) -> None:
    """The old trick: sign by HS256 with the RSA public key, which everybody has."""
    verifier = make_verifier(RSA, algorithms=algorithms)
    for public in (
        RSA.as_pem(private=False),
        RSA.as_der(private=False),
        json.dumps(RSA.as_dict(private=False)).encode(),
    ):
        forged = by_hand({"alg": "HS256", "typ": "JWT", "kid": "first"}, make_claims(), secret=public)
        assert refusal(forged, verifier) == "signed by an algorithm that is not accepted"
        # And where the list of algorithms would allow it, the type of the key does not.
        loose = make_verifier(RSA, algorithms=["HS256"])
        assert refusal(forged, loose) == "no key of the issuer fits the token"


def test_a_key_checks_only_algorithms_of_its_own_type() -> None:
    verifier = make_verifier(EC, RSA)
    as_rsa = sign(EC, make_claims())
    header = {"alg": "RS256", "typ": "at+jwt", "kid": "first"}
    assert refusal(part(header) + as_rsa[as_rsa.index(b".") :], verifier) == "the signature is wrong"
    assert refusal(part(header) + as_rsa[as_rsa.index(b".") :]) == "no key of the issuer fits the token"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(_short_rsa(), "RS256"), (OctKey.import_key(b"x" * 40), "ES256")],
    ids=["a short RSA key", "a shared secret"],
)
def test_keys_that_are_too_weak_check_nothing(key: Key, algorithm: str) -> None:
    signer = key if not isinstance(key, OctKey) else EC
    token = sign(signer, make_claims(), algorithm=algorithm)
    assert refusal(token, make_verifier(key)) == "no key of the issuer fits the token"


def test_a_key_for_encryption_checks_no_signature() -> None:
    other = type(EC).import_key({**EC.as_dict(private=False), "use": "enc"})
    assert refusal(sign(EC, make_claims()), make_verifier(other)) == "no key of the issuer fits the token"


def test_a_key_that_the_token_brings_along_is_not_looked_at() -> None:
    mine = ec_key("mine")
    brought: dict[str, Any] = {
        "jwk": mine.as_dict(private=False),
        "jku": "https://attacker.example/keys",
        "x5u": "https://attacker.example",
    }
    token = sign(mine, make_claims(), kid="mine", **brought)
    assert refusal(token) == "no key of the issuer fits the token"
    assert refusal(sign(mine, make_claims(), kid="first", **brought)) == "the signature is wrong"


def test_headers_that_point_elsewhere_do_no_harm_to_a_good_token() -> None:
    token = sign(EC, make_claims(), jku="https://attacker.example/keys", x5u="https://attacker.example")
    assert verify(token).client == "pump-reader"


def test_a_changed_token_is_refused() -> None:
    head, _, signature = sign(EC, make_claims()).split(b".")
    assert refusal(head + b"." + part(make_claims(scope="admin")) + b"." + signature) == "the signature is wrong"
    assert refusal(sign(ec_key(), make_claims())) == "the signature is wrong"


def test_an_encrypted_token_is_refused() -> None:
    key = OctKey.generate_key(128)
    token = jwe.encrypt_compact({"alg": "dir", "enc": "A128GCM", "cty": "JWT"}, sign(EC, make_claims()), key)
    assert refusal(token.encode()) == "not a signed JWT"


@pytest.mark.parametrize(
    "token",
    [b"", b".", b"..", b"a.b", b"a.b.c.d", b"a.b.c", b" a.b.c", b"a.b.c\n", b"\xff.\xff.\xff", part([1]) + b".e30.AA",
     part(b"[" * 1_400) + b".e30.AA", part(b'{"alg":') + b".e30.AA", b"a" * 5_000, b"Bearer x"],
)  # fmt: skip
def test_what_is_no_token_is_refused(token: bytes) -> None:
    assert refusal(token)


def test_a_token_that_is_too_large_is_refused_before_it_is_read() -> None:
    verifier = make_verifier(max_token_bytes=512)
    assert refusal(sign(EC, make_claims(more="x" * 400)), verifier) == "the token is longer than 512 bytes"


def test_a_large_header_is_refused() -> None:
    assert refusal(sign(EC, make_claims(), x5c=["x" * 3_000])) == "not a signed JWT"


def test_without_a_name_the_only_key_is_taken_and_of_several_none() -> None:
    token = sign(EC, make_claims(), kid=None)
    assert verify(token).client == "pump-reader"
    assert refusal(token, make_verifier(EC, ec_key("second"))) == "no key of the issuer fits the token"


def test_a_shared_secret_checks_what_it_signed() -> None:
    keys = GivenKeys.from_text("s" * 40, "HS256", "env:X")
    verifier = Verifier(make_auth(algorithms=["HS256"]), ISSUER, keys, clock=Clock())
    good = sign(keys.signing(), make_claims(), algorithm="HS256")
    assert verify(good, verifier).client == "pump-reader"
    assert keys.public() == {"keys": []}
    other = GivenKeys.from_text("t" * 40, "HS256", "env:X").signing()
    assert (
        refusal(sign(other, make_claims(), algorithm="HS256", kid=keys.signing().kid), verifier)
        == "the signature is wrong"
    )


# ------------------------------------------------------------------ what is remembered


def test_a_token_is_checked_once_a_minute() -> None:
    clock = Clock()
    keys = Counted((EC,), "ES256")
    verifier = Verifier(make_auth(), ISSUER, keys, clock=clock)
    token = sign(EC, make_claims())
    assert verifier.remembered(token) is None
    principal = verify(token, verifier)
    assert verifier.remembered(token) is principal
    assert verify(token, verifier) is principal
    assert keys.asked == 1
    clock.now += 61
    assert verifier.remembered(token) is None
    verify(token, verifier)
    assert keys.asked == 2


def test_a_token_is_not_remembered_beyond_its_end() -> None:
    clock = Clock()
    verifier = make_verifier(clock=clock)
    token = sign(EC, make_claims(exp=int(NOW) + 10))
    verify(token, verifier)
    clock.now += 39
    assert verifier.remembered(token) is not None  # the leeway
    clock.now += 1
    assert verifier.remembered(token) is None
    assert refusal(token, verifier) == "the token has expired"


def test_what_is_refused_is_not_remembered() -> None:
    verifier = make_verifier()
    token = sign(ec_key(), make_claims())
    refusal(token, verifier)
    assert verifier.remembered(token) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wearcast.service.tokens._MOST_REMEMBERED", 3)
    verifier = make_verifier()
    tokens = [sign(EC, make_claims(jti=str(i))) for i in range(5)]
    for token in tokens:
        verify(token, verifier)
    assert [verifier.remembered(token) is not None for token in tokens] == [False, False, True, True, True]


def test_a_revoked_client_is_out_within_the_interval() -> None:
    clock, revoked = Clock(), set[str]()
    revocations = Revocations(lambda: frozenset(revoked), 5.0, clock=clock)
    verifier = make_verifier(clock=clock, revoked=revocations)
    token, other = sign(EC, make_claims()), sign(EC, make_claims(client_id="another"))
    verify(token, verifier)
    verify(other, verifier)
    revoked.add("pump-reader")
    clock.now += 4
    assert verifier.remembered(token) is not None
    clock.now += 1
    assert verifier.remembered(token) is None
    assert refusal(token, verifier) == "the client has been revoked"
    assert verify(other, verifier).client == "another"
    assert verifier.remembered(token) is None


def test_when_revocations_cannot_be_read_the_last_list_holds() -> None:
    clock, failing = Clock(), [False]

    def load() -> frozenset[str]:
        if failing[0]:
            raise OSError("the database is away")
        return frozenset({"gone"})

    verifier = make_verifier(clock=clock, revoked=Revocations(load, 5.0, clock=clock))
    token = sign(EC, make_claims())
    verify(token, verifier)
    failing[0] = True
    clock.now += 6
    assert verify(token, verifier).client == "pump-reader"
    assert refusal(sign(EC, make_claims(client_id="gone")), verifier) == "the client has been revoked"


# ------------------------------------------------------------------ anything at all


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    assert refusal(data)


@given(header=st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "enc"]), JSON), claims=JSON)
def test_any_json_is_refused_and_nothing_else_happens(header: Any, claims: Any) -> None:
    assert refusal(by_hand({"alg": "ES256", "kid": "first", **header}, claims) + b"AAAA")


@given(st.dictionaries(st.sampled_from(list(make_claims())), JSON))
def test_any_claims_that_are_signed_are_believed_or_refused(changes: dict[str, Any]) -> None:
    """Whatever an issuer signs, nothing but a refusal comes of it, and never more scopes than there are."""
    scopes: frozenset[str] = frozenset()
    with contextlib.suppress(TokenRefusedError):
        scopes = verify(sign(EC, make_claims(**changes))).scopes
    assert scopes <= SCOPES


@given(st.data())
def test_a_token_with_another_letter_is_refused(data: st.DataObject) -> None:
    token = sign(EC, make_claims())
    at = data.draw(st.integers(0, len(token) - 2))  # of the last letter, some bits mean nothing
    letter = data.draw(st.sampled_from(b"AZaz09-_."))
    assume(token[at] != letter)
    assert refusal(token[:at] + bytes([letter]) + token[at + 1 :])
