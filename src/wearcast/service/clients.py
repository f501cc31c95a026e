"""Clients of the built-in issuer: who they are, what they may do, and hashes of their secrets.

A secret is 256 random bits, shown once and kept as a scrypt hash. Rotation adds a new one and lets the old one live for
an overlap; revoking a client ends its secrets at once and its tokens within `auth.revocation_s`.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import scrypt, sha256

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy import Column, Connection, Engine, Float, ForeignKey, Integer, LargeBinary, String, Table

from wearcast.config import nearest
from wearcast.errors import UsageError
from wearcast.service.access import SCOPES
from wearcast.service.database import metadata, reading, writing

__all__ = ["Client", "Clients", "Credentials"]

_clients = Table(
    "clients",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("scopes", String(256), nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
)
_secrets = Table(
    "client_secrets",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("client", ForeignKey("clients.id"), nullable=False, index=True),
    Column("hash", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
)
# Two processes cannot both make a client of one name; the name of a revoked one is free again.
sa.Index("clients_name", _clients.c.name, unique=True, sqlite_where=_clients.c.revoked.is_(None),
         postgresql_where=_clients.c.revoked.is_(None))  # fmt: skip

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
# 16 MiB and some 30 ms. The secret has 256 bits, so this only has to keep a stolen table from being read off a list.
_COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
_NOBODY = b"\0" * 32
_PROVEN_S = 60.0
_MOST_PROVEN = 1_000
_AT_ONCE = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Client:
    """Who may ask for tokens.

    Attributes:
        id: what it calls itself with.
        secrets: how many of its secrets are good now.
        created: seconds since 1970, as is `revoked`.
    """

    id: str
    name: str
    scopes: frozenset[str]
    secrets: int
    created: float
    revoked: float | None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client gets once."""

    id: str
    secret: SecretStr


class Clients:
    """The store of them. Synchronous: call it from a thread on a route."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._proven: dict[bytes, tuple[float, bytes]] = {}
        self._key = secrets.token_bytes(32)

    def create(self, name: str, scopes: Iterable[str]) -> Credentials:
        """A new client; its secret is not to be had again.

        Raises:
            UsageError: a name that is taken or of other letters, or an unknown scope.
        """
        wanted = _checked_scopes(scopes)
        if _NAME.fullmatch(name) is None:
            raise UsageError(f"{name!r} is no name of a client", hint="a-z, 0-9, '.', '_' and '-', at most 63")
        client, salt, secret = f"{name}-{secrets.token_hex(4)}", secrets.token_bytes(16), secrets.token_urlsafe(32)
        now = self._clock()
        with writing(self._engine, alone=True) as connection:
            taken = sa.select(_clients.c.id).where(_clients.c.name == name, _clients.c.revoked.is_(None))
            if connection.execute(taken).first() is not None:
                raise UsageError(f"there is a client {name!r} already", hint="rotate its secret, or revoke it first")
            row = {"id": client, "name": name, "scopes": " ".join(sorted(wanted)), "salt": salt, "created": now}
            connection.execute(_clients.insert().values(row))
            connection.execute(_secrets.insert().values(client=client, hash=_hashed(secret, salt), created=now))
        return Credentials(client, SecretStr(secret))

    def all(self) -> list[Client]:
        """Every client, also those that were revoked."""
        now = self._clock()
        good = sa.func.count(_secrets.c.number).filter(_good(now))
        query = sa.select(_clients, good.label("good")).join(_secrets, isouter=True).group_by(_clients.c.id)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(_clients.c.created)).all()
        return [
            Client(
                row.id,
                row.name,
                frozenset(row.scopes.split()),
                0 if row.revoked else row.good,
                row.created,
                row.revoked,
            )
            for row in rows
        ]

    def rotate(self, name: str, *, overlap_s: float) -> Credentials:
        """A new secret; those of before are good for `overlap_s` more.

        Raises:
            UsageError: no such client.
        """
        secret, now = secrets.token_urlsafe(32), self._clock()
        with writing(self._engine, alone=True) as connection:
            row = _live(connection, name)
            ends = now + overlap_s
            of_client = _secrets.c.client == row.id
            connection.execute(
                _secrets.update()
                .where(of_client, _secrets.c.expires.is_(None) | (_secrets.c.expires > ends))
                .values(expires=ends)
            )
            connection.execute(_secrets.delete().where(of_client, _secrets.c.expires <= now))
            connection.execute(_secrets.insert().values(client=row.id, hash=_hashed(secret, row.salt), created=now))
        return Credentials(row.id, SecretStr(secret))

    def revoke(self, name: str) -> str:
        """End a client; returns its id.

        Raises:
            UsageError: no such client.
        """
        with writing(self._engine, alone=True) as connection:
            row = _live(connection, name)
            connection.execute(_clients.update().where(_clients.c.id == row.id).values(revoked=self._clock()))
            connection.execute(_secrets.delete().where(_secrets.c.client == row.id))
        return str(row.id)

    def revoked(self, within_s: float) -> frozenset[str]:
        """Clients that were revoked lately, whose tokens may not be over."""
        query = sa.select(_clients.c.id).where(_clients.c.revoked > self._clock() - within_s)
        with reading(self._engine) as connection:
            return frozenset(connection.execute(query).scalars())

    def authenticate(self, client: str, secret: str) -> frozenset[str] | None:
        """The scopes of a client that knows its secret, else None.

        An unknown client costs the same hash as a wrong secret, and hashes are compared in constant time, so that
        neither names nor secrets can be found out by the clock.
        """
        now = self._clock()
        with reading(self._engine) as connection:
            row = connection.execute(
                sa.select(_clients).where(_clients.c.id == client, _clients.c.revoked.is_(None))
            ).first()
            good = sa.select(_secrets.c.hash).where(_secrets.c.client == client, _good(now))
            hashes = [bytes(found) for found in connection.execute(good).scalars()]
        salt = _NOBODY[:16] if row is None else bytes(row.salt)
        mark = hmac.digest(self._key, salt + secret.encode("utf-8", "replace"), sha256)
        given = self._hash(secret, salt, mark, now)
        matches = [hmac.compare_digest(given, stored) for stored in hashes or [_NOBODY]]
        if row is None or not any(matches):
            return None
        self._remember(mark, given, now)
        return frozenset(row.scopes.split())

    def _hash(self, secret: str, salt: bytes, mark: bytes, now: float) -> bytes:
        until, known = self._proven.get(mark, (0.0, b""))
        if until > now:
            return known
        with _AT_ONCE:  # each takes 16 MiB
            return _hashed(secret, salt)

    def _remember(self, mark: bytes, given: bytes, now: float) -> None:
        """Of a secret that was right, the hash need not be computed again for a minute; it is compared each time."""
        if len(self._proven) >= _MOST_PROVEN:
            self._proven.clear()
        self._proven.setdefault(mark, (now + _PROVEN_S, given))


def _good(now: float) -> sa.ColumnElement[bool]:
    return _secrets.c.expires.is_(None) | (_secrets.c.expires > now)


def _hashed(secret: str, salt: bytes) -> bytes:
    return scrypt(secret.encode("utf-8", "replace"), salt=salt, **_COST)


def _checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    wanted = frozenset(scopes)
    for scope in sorted(wanted - SCOPES):
        hint = nearest(scope, SCOPES) or f"one of {', '.join(sorted(SCOPES))}"
        raise UsageError(f"there is no scope {scope!r}", hint=hint)
    if not wanted:
        raise UsageError("a client needs a scope", hint=f"one of {', '.join(sorted(SCOPES))}")
    return wanted


def _live(connection: Connection, name: str) -> sa.Row[tuple[object, ...]]:
    """The client of this name or id that is not revoked."""
    found = connection.execute(
        sa.select(_clients).where((_clients.c.name == name) | (_clients.c.id == name), _clients.c.revoked.is_(None))
    ).first()
    if found is None:
        names = connection.execute(sa.select(_clients.c.name).where(_clients.c.revoked.is_(None))).scalars().all()
        raise UsageError(f"there is no client {name!r}", hint=nearest(name, names) or "wearcast auth client list")
    return found
