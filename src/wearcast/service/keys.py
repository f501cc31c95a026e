"""Keys that tokens are checked with: a shared text, keys from a file, from the database, or from an outside issuer.

A key is chosen by the `kid` and fits only the algorithms of its own type, so that a public key can never be taken for a
shared secret. What a token says about where its key is to be found (`jku`, `x5u`, `jwk`, `x5c`) is never looked at.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from wearcast.errors import ConfigError
from wearcast.service.problems import Problem
from wearcast.service.settings import Algorithm

if TYPE_CHECKING:
    from wearcast.service.outside import Outside

__all__ = ["GivenKeys", "Keys", "RemoteKeys", "choose", "generate", "public_set", "shared_secret"]

_LOG = logging.getLogger("wearcast.service.keys")

_CURVES: Mapping[str, Literal["P-256", "P-384"]] = {"ES256": "P-256", "ES384": "P-384"}
SHORTEST_RSA = 2_048
SHORTEST_SECRET = 32
MOST_KEYS = 100
MOST_BYTES = 1_000_000
AGAIN_S = 60.0
"""An unknown key makes an outside issuer be asked again, at most so often."""
OLD_S = 600.0
"""Keys of an outside issuer are asked for again after this time, so that one it takes back goes."""
SOON_S = 5.0


class Keys(Protocol):
    """Where the key of a token comes from."""

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that this token must have been signed with, None if there is none."""
        ...


def fits(key: Key, algorithm: str) -> bool:
    """Whether a key may check signatures of this algorithm: by its type, its size and what it says of itself."""
    if algorithm.startswith("HS"):
        return isinstance(key, OctKey)
    if isinstance(key, OctKey):
        return False
    data = key.as_dict(private=False)
    if data.get("use") not in (None, "sig") or data.get("alg") not in (None, algorithm):
        return False
    if "key_ops" in data and "verify" not in data["key_ops"] and not key.is_private:
        return False
    if algorithm.startswith(("RS", "PS")):
        return isinstance(key, RSAKey) and key.public_key.key_size >= SHORTEST_RSA
    return isinstance(key, ECKey) and data.get("crv") == _CURVES.get(algorithm)


def choose(keys: Sequence[Key], kid: str | None, algorithm: str) -> Key | None:
    """The key of that name; without a name, the only one that fits."""
    fitting = [key for key in keys if fits(key, algorithm) and (kid is None or key.kid == kid)]
    return fitting[0] if fitting and (kid is not None or len(fitting) == 1) else None


def generate(algorithm: Algorithm) -> RSAKey | ECKey:
    """A new private key, named by its thumbprint."""
    key = RSAKey.generate_key(3_072) if algorithm[:2] in ("RS", "PS") else ECKey.generate_key(_CURVES[algorithm])
    key.ensure_kid()
    return key


def public_set(keys: Iterable[Key], algorithm: str) -> dict[str, Any]:
    """The public halves as a JWK set."""
    return {"keys": [{**key.as_dict(private=False), "use": "sig", "alg": algorithm} for key in keys]}


def shared_secret(text: str, where: str) -> OctKey:
    """The key of HS256.

    Raises:
        ConfigError: it is short enough to be guessed.
    """
    data = text.encode()
    if len(data) < SHORTEST_SECRET:
        hint = "openssl rand -base64 48"
        raise ConfigError(f"shorter than {SHORTEST_SECRET} bytes, so it could be guessed", where=where, hint=hint)
    key = OctKey.import_key(data)
    key.ensure_kid()
    return key


class GivenKeys:
    """Keys that somebody else keeps; the first signs, all are believed: put the new one in front to change it."""

    def __init__(self, keys: Sequence[Key], algorithm: Algorithm) -> None:
        self.keys = tuple(keys)
        self.algorithm = algorithm

    @classmethod
    def from_text(cls, text: str, algorithm: Algorithm, where: str) -> GivenKeys:
        """Private keys in PEM, one after the other, or the text that HS256 shares.

        Raises:
            ConfigError: no key in it fits the algorithm.
        """
        if algorithm == "HS256":
            return cls([shared_secret(text, where)], algorithm)
        blocks = re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", text, re.DOTALL)
        keys: list[Key] = []
        for block in blocks:
            try:
                with warnings.catch_warnings(action="ignore", category=SecurityWarning):  # a short one is refused below
                    key: Key = (RSAKey if algorithm[:2] in ("RS", "PS") else ECKey).import_key(block)
            except (JoseError, ValueError, TypeError):
                raise ConfigError(f"not a private key for {algorithm}", where=where) from None  # it may quote the key
            key.ensure_kid()
            if not fits(key, algorithm):
                raise ConfigError(f"a key of another kind or size than {algorithm} needs", where=where)
            keys.append(key)
        if not keys:
            raise ConfigError("holds no private key in PEM", where=where, hint="-----BEGIN PRIVATE KEY-----")
        return cls(keys, algorithm)

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of a token."""
        return choose(self.keys, kid, algorithm)

    async def refresh(self) -> None:
        """Nothing to be seen: they are read once."""

    def signing(self) -> Key:
        """The key that signs now."""
        return self.keys[0]

    def public(self) -> dict[str, Any]:
        """What anybody may know; nothing where the key is a shared secret."""
        return public_set((key for key in self.keys if not isinstance(key, OctKey)), self.algorithm)


class RemoteKeys:
    """Keys of an OpenID Connect issuer, asked for when they are first needed and kept when it does not answer."""

    def __init__(self, issuer: str, jwks_url: str | None = None, outside: Outside | None = None) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._outside = outside
        self._keys: tuple[Key, ...] = ()
        self._asked_at = float("-inf")
        self._got_at = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of a token; an unknown name makes the issuer be asked again, at most once a minute.

        Raises:
            Problem: no keys are known yet and the issuer does not answer.
        """
        key = choose(self._keys, kid, algorithm)
        if key is None or time.monotonic() - self._got_at > OLD_S:
            await self._refresh()
            key = choose(self._keys, kid, algorithm)
        if not self._keys:
            raise Problem("unavailable", "the issuer of tokens does not answer", retry_after_s=SOON_S)
        return key

    async def _refresh(self) -> None:
        async with self._lock:  # who waited here finds that it was asked just now
            now = time.monotonic()
            if now - self._asked_at < (AGAIN_S if self._keys else SOON_S):
                return
            self._asked_at = now
            try:
                self._keys = await self._fetch() if self._outside is None else await self._outside.call(self._fetch)
            except Exception as error:
                # Known keys go on to be believed: an issuer that is down must not take the service with it.
                _LOG.warning("keys of the issuer could not be fetched: %s", _story(error))
                return
            self._got_at = now

    async def _fetch(self) -> tuple[Key, ...]:
        import httpx

        # A redirect would let a third party name the keys.
        async with httpx.AsyncClient(timeout=2.0, follow_redirects=False) as client:
            url = self._jwks_url or await self._discover(client)
            return _usable(await _json(client, url))

    async def _discover(self, client: Any) -> str:
        document = await _json(client, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        url = document.get("jwks_uri")
        if document.get("issuer") != self._issuer:
            raise ConfigError("the issuer calls itself by another name", where="auth.issuer")
        if not isinstance(url, str) or urlsplit(url).scheme not in ("https", urlsplit(self._issuer).scheme):
            raise ConfigError("the issuer names no keys, or would send them unencrypted", where="auth.issuer")
        return url


def _story(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else type(error).__name__


async def _json(client: Any, url: str) -> dict[str, Any]:
    import orjson

    async with client.stream("GET", url, headers={"accept": "application/json"}) as answer:
        if answer.is_redirect:
            raise ConfigError("the issuer sends elsewhere, and redirects are not followed", where="auth.issuer")
        answer.raise_for_status()
        data = b""
        async for part in answer.aiter_bytes():
            data += part
            if len(data) > MOST_BYTES:
                raise ConfigError("the issuer's answer is too large", where="auth.issuer")
    try:
        content = orjson.loads(data)
    except ValueError as error:
        raise ConfigError("the issuer's answer is not JSON", where="auth.issuer") from error
    if not isinstance(content, dict):
        raise ConfigError("the issuer's answer is no JSON object", where="auth.issuer")
    return content


def _usable(document: dict[str, Any]) -> tuple[Key, ...]:
    """The keys of a set that can check signatures; shared secrets and what is not understood are passed over."""
    keys: list[Key] = []
    listed = document.get("keys")
    for data in listed[:MOST_KEYS] if isinstance(listed, list) else ():
        if not isinstance(data, dict) or data.get("kty") not in ("RSA", "EC") or "d" in data:
            continue
        if data["kty"] == "RSA" and len(str(data.get("n"))) * 6 < SHORTEST_RSA:
            continue
        try:
            keys.append(RSAKey.import_key(data) if data["kty"] == "RSA" else ECKey.import_key(data))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    if not keys:
        raise ConfigError("the issuer has no key that can be used", where="auth.issuer")
    return tuple(keys)
