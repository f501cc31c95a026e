"""The built-in issuer of tokens, for those who have none: OAuth 2 client credentials (RFC 6749, 4.4; RFC 9068).

Its private keys lie in the database, or where `auth.signing_key` says. A new key signs at once; an old one is believed
until the last token that it signed is over.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from sqlalchemy import Column, Connection, Engine, Float, String, Table, Text

from wearcast.errors import ConfigError
from wearcast.service.clients import Clients
from wearcast.service.database import metadata, reading, writing
from wearcast.service.keys import GivenKeys, RemoteKeys, choose, generate, public_set
from wearcast.service.revocations import Revocations
from wearcast.service.settings import BUILTIN, Algorithm, AuthSettings, Settings
from wearcast.service.tokens import Verifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wearcast.service.outside import Outside
    from wearcast.service.secrets import Secrets

__all__ = ["ISSUER", "Authority", "Grant", "Issuer", "StoredKeys", "authority"]

ISSUER = "wearcast"
"""`iss` of the built-in issuer."""

_LOOK_AGAIN_S = 1.0
_FRESH_S = 30.0
"""No process signs with a key, or publishes keys, by what it knew longer ago than this."""

_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("algorithm", String(8), nullable=False),
    Column("pem", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("ends", Float),
)


class SigningKeys(Protocol):
    """Keys that can sign too."""

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of a token."""
        ...

    async def refresh(self) -> None:
        """See whether another process has changed them."""
        ...

    def signing(self) -> Key:
        """The key that signs now."""
        ...

    def public(self) -> dict[str, Any]:
        """What anybody may know."""
        ...


class StoredKeys:
    """Keys in the database, made when there is none; read again when a token names one that is not known."""

    def __init__(
        self, engine: Engine, algorithm: Algorithm, *, lifetime_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Read them, and make the first.

        Args:
            engine: the database.
            algorithm: what they sign with.
            lifetime_s: how long the last token of a key that was replaced may be good.
            clock: seconds since 1970.
        """
        self._engine = engine
        self._algorithm = algorithm
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._looked_at = 0.0
        self._known: tuple[Key, ...] = ()
        self.reload()

    def reload(self) -> None:
        """Read the keys that are good now; the newest signs."""
        self._looked_at = time.monotonic()
        self._known = self._read()
        if not self._known:
            with writing(self._engine, alone=True) as connection:
                if not self._rows(connection):
                    self._add(connection)
            self._known = self._read()

    def rotate(self) -> str:
        """A new key signs from now on; returns its name."""
        ends = self._clock() + self._lifetime_s
        with writing(self._engine, alone=True) as connection:
            same = (_keys.c.algorithm == self._algorithm, _keys.c.ends.is_(None))
            connection.execute(_keys.update().where(*same).values(ends=ends))
            connection.execute(_keys.delete().where(_keys.c.ends < self._clock() - self._lifetime_s))
            kid = self._add(connection)
        self.reload()
        return kid

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of a token; another process may have made it a moment ago."""
        key = choose(self._known, kid, algorithm)
        if key is None and time.monotonic() - self._looked_at > _LOOK_AGAIN_S:
            self._looked_at = time.monotonic()
            await asyncio.to_thread(self.reload)
            key = choose(self._known, kid, algorithm)
        return key

    async def refresh(self) -> None:
        """Read them again if that was a while ago."""
        if time.monotonic() - self._looked_at > _FRESH_S:
            await asyncio.to_thread(self.reload)

    def signing(self) -> Key:
        """The key that signs now."""
        return self._known[0]

    def public(self) -> dict[str, Any]:
        """What anybody may know."""
        return public_set(self._known, self._algorithm)

    def _rows(self, connection: Connection) -> list[str]:
        good = _keys.c.ends.is_(None) | (_keys.c.ends > self._clock())
        # Those that do not end come first, and of them the newest.
        order = (_keys.c.ends.is_not(None), _keys.c.created.desc())
        query = sa.select(_keys.c.pem).where(_keys.c.algorithm == self._algorithm, good).order_by(*order)
        return list(connection.execute(query).scalars())

    def _read(self) -> tuple[Key, ...]:
        kind = RSAKey if self._algorithm[:2] in ("RS", "PS") else ECKey
        with reading(self._engine) as connection:
            keys: list[Key] = [kind.import_key(pem) for pem in self._rows(connection)]
        for key in keys:
            key.ensure_kid()
        return tuple(keys)

    def _add(self, connection: Connection) -> str:
        key = generate(self._algorithm)
        pem = key.as_pem(private=True).decode()
        row = {"kid": str(key.kid), "algorithm": self._algorithm, "pem": pem, "created": self._clock()}
        connection.execute(_keys.insert().values(row))
        return str(key.kid)


@dataclass(frozen=True, slots=True)
class Grant:
    """A token that was given."""

    token: str
    expires_s: int
    scopes: frozenset[str]


class Issuer:
    """Gives tokens to clients that know their secret."""

    def __init__(
        self, auth: AuthSettings, keys: SigningKeys, clients: Clients, clock: Callable[[], float] = time.time
    ) -> None:
        self._auth = auth
        self._keys = keys
        self._clients = clients
        self._clock = clock

    async def grant(self, client: str, secret: str, wanted: frozenset[str] | None) -> Grant | None:
        """A token for some or all scopes of the client; None if it is not who it says.

        Raises:
            PermissionError: the client may not have one of the scopes.
        """
        scopes = await asyncio.to_thread(self._clients.authenticate, client, secret)
        if scopes is None:
            return None
        if wanted is not None and not wanted <= scopes:
            raise PermissionError(" ".join(sorted(wanted - scopes)))
        await self._keys.refresh()
        return self._sign(client, wanted or scopes)

    async def public(self) -> dict[str, Any]:
        """The JWK set that others check its tokens with."""
        await self._keys.refresh()
        return self._keys.public()

    def _sign(self, client: str, scopes: frozenset[str]) -> Grant:
        now, key = int(self._clock()), self._keys.signing()
        claims = {
            "iss": ISSUER,
            "aud": self._auth.audience,
            "sub": client,
            "client_id": client,
            "scope": " ".join(sorted(scopes)),
            "iat": now,
            "nbf": now,
            "exp": now + self._auth.token_ttl_s,
            "jti": secrets.token_urlsafe(12),
        }
        algorithm = self._auth.algorithms[0]
        header = {"alg": algorithm, "typ": "at+jwt", "kid": key.kid}
        return Grant(jwt.encode(header, claims, key, [algorithm]), self._auth.token_ttl_s, scopes)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who is believed.

    Attributes:
        verifier: says who a token belongs to.
        issuer: the built-in one; None where somebody else issues the tokens.
    """

    verifier: Verifier
    issuer: Issuer | None


def authority(
    settings: Settings, engine: Engine, keeper: Secrets, outside: Mapping[str, Outside] | None = None
) -> Authority:
    """Put together who is believed, by the settings.

    Raises:
        ConfigError: the signing key is not there or does not fit.
    """
    auth, guards = settings.auth, outside or {}
    if auth.issuer != BUILTIN:
        remote = RemoteKeys(auth.issuer, auth.jwks_url, guards.get("oidc"))
        return Authority(Verifier(auth, auth.issuer, remote), None)
    clients, lasting_s = Clients(engine), auth.token_ttl_s + auth.leeway_s + 60.0
    revocations = Revocations(lambda: clients.revoked(lasting_s), auth.revocation_s, guards.get("database"))
    keys = signing_keys(settings, engine, keeper)
    return Authority(Verifier(auth, ISSUER, keys, revocations), Issuer(auth, keys, clients))


def signing_keys(settings: Settings, engine: Engine, keeper: Secrets) -> GivenKeys | StoredKeys:
    """The keys of the built-in issuer.

    Raises:
        ConfigError: they are not there or do not fit.
    """
    auth = settings.auth
    if auth.signing_key is not None:
        text = keeper.resolve(auth.signing_key).get_secret_value()
        return GivenKeys.from_text(text, settings.algorithm, f"auth.signing_key ({auth.signing_key})")
    if settings.algorithm == "HS256":
        raise ConfigError("HS256 needs the shared text", where="auth.signing_key", hint="file:/path or env:NAME")
    return StoredKeys(engine, settings.algorithm, lifetime_s=auth.token_ttl_s + auth.leeway_s + 2 * _FRESH_S)
