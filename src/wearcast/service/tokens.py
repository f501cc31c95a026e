"""From a bearer token to who asks: a JWT in compact form, signed by an issuer that is believed, for this audience.

joserfc checks the signature and the times. What is refused before it gets there: what is too large, not three parts of
base64url, encrypted or nested, signed by an algorithm that is not on the list (`none` never is), with critical
extensions, or of an unknown key. A token that was believed is remembered by its hash, until it ends and for a minute at
most, so that a client costs one signature a minute.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
from joserfc import jws
from joserfc.errors import BadSignatureError, ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwt import JWTClaimsRegistry
from joserfc.util import urlsafe_b64decode

from wearcast.errors import WearcastError
from wearcast.service.access import SCOPES, Principal
from wearcast.service.settings import AuthSettings

if TYPE_CHECKING:
    from wearcast.service.keys import Keys
    from wearcast.service.revocations import Revocations

__all__ = ["TokenRefusedError", "Verifier"]

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_CLIENT = re.compile(r"[\x21-\x7e]{1,256}")
_REMEMBERED_S = 60.0
_MOST_REMEMBERED = 10_000
_LONGEST_HEADER = 2_048


class TokenRefusedError(WearcastError):
    """A token that is not believed; what is told is safe for whoever sent it."""


class Verifier:
    """Says who a token belongs to."""

    def __init__(
        self,
        auth: AuthSettings,
        issuer: str,
        keys: Keys,
        revocations: Revocations | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is asked yet.

        Args:
            auth: audience, algorithms and sizes.
            issuer: what `iss` must be, byte by byte.
            keys: where keys come from.
            revocations: clients whose tokens are no longer believed.
            clock: seconds since 1970.
        """
        self._issuer = issuer
        self._keys = keys
        self._revocations = revocations
        self._clock = clock
        self._algorithms = frozenset(auth.algorithms)
        self._max_bytes = auth.max_token_bytes
        self._leeway = auth.leeway_s
        self._signatures = jws.JWSRegistry(algorithms=list(auth.algorithms), strict_check_header=False)
        self._signatures.max_header_length = _LONGEST_HEADER
        self._claims = JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            leeway=auth.leeway_s,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": auth.audience},
            exp={"essential": True},
        )
        self._remembered: dict[bytes, tuple[float, Principal]] = {}

    def remembered(self, token: bytes) -> Principal | None:
        """Who this token belongs to, if that was found out within the last minute; else `verify` it."""
        found = self._remembered.get(sha256(token).digest())
        if found is None or self._clock() >= found[0]:
            return None
        if self._revocations is not None and self._revocations.is_due():
            return None
        return found[1]

    def has_believed(self, token: bytes) -> bool:
        """Whether this token was good once: to look at it again costs nobody anything who forges others."""
        return sha256(token).digest() in self._remembered

    async def verify(self, token: bytes) -> Principal:
        """Who this token belongs to.

        Raises:
            TokenRefusedError: it is not believed.
            Problem: the issuer's keys are not known and cannot be fetched now.
        """
        if self._revocations is not None and await self._revocations.refresh():
            self._forget(self._revocations.clients)
        if (known := self.remembered(token)) is not None:
            return known
        header = self._header(token)
        key = await self._keys.find(header.get("kid"), header["alg"])
        if key is None:
            raise TokenRefusedError("no key of the issuer fits the token")
        claims = self._signed(token, key)
        principal = self._principal(claims)
        if self._revocations is not None and principal.client in self._revocations.clients:
            raise TokenRefusedError("the client has been revoked")
        self._remember(token, principal, claims["exp"])
        return principal

    def _header(self, token: bytes) -> Mapping[str, Any]:
        if len(token) > self._max_bytes:
            raise TokenRefusedError(f"the token is longer than {self._max_bytes} bytes")
        if _COMPACT.fullmatch(token) is None:  # an encrypted one has five parts
            raise TokenRefusedError("not a signed JWT")
        try:
            header = orjson.loads(urlsafe_b64decode(token[: token.index(b".")]))
        except ValueError:
            raise TokenRefusedError("not a signed JWT") from None
        if not isinstance(header, dict):
            raise TokenRefusedError("not a signed JWT")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenRefusedError("signed by an algorithm that is not accepted")
        if "crit" in header or "zip" in header or "enc" in header or "cty" in header:
            raise TokenRefusedError("the token asks for something that is not done here")
        kind, kid = header.get("typ", "JWT"), header.get("kid")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise TokenRefusedError("not an access token")
        if kid is not None and (not isinstance(kid, str) or len(kid) > 256):
            raise TokenRefusedError("not a signed JWT")
        return header

    def _signed(self, token: bytes, key: Any) -> dict[str, Any]:
        """The claims of a token whose signature and times are good."""
        try:
            payload = jws.deserialize_compact(token, key, registry=self._signatures).payload
            claims = orjson.loads(payload)
            if not isinstance(claims, dict):
                raise TokenRefusedError("not a signed JWT")
            self._claims.validate(claims)
        except BadSignatureError:
            raise TokenRefusedError("the signature is wrong") from None
        except ExpiredTokenError:
            raise TokenRefusedError("the token has expired") from None
        except MissingClaimError as error:
            raise TokenRefusedError(f"the token lacks a claim: {error.claim}") from None
        except InvalidClaimError as error:
            raise TokenRefusedError(f"the token is not for here or not for now: {error.claim}") from None
        except (JoseError, ValueError, TypeError, RecursionError):
            raise TokenRefusedError("not a signed JWT") from None
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        # `azp` is what OpenID Connect calls it, `sub` who is there without a client.
        client = next((claims[name] for name in ("client_id", "azp", "sub") if claims.get(name)), None)
        if not isinstance(client, str) or _CLIENT.fullmatch(client) is None:
            raise TokenRefusedError("the token names no client")
        given = claims.get("scope", claims.get("scp", ""))
        words = given.split() if isinstance(given, str) else given if isinstance(given, list) else ()
        return Principal(client, SCOPES.intersection(word for word in words if isinstance(word, str)), self._issuer)

    def _remember(self, token: bytes, principal: Principal, expires: float) -> None:
        if len(self._remembered) >= _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        until = min(expires + self._leeway, self._clock() + _REMEMBERED_S)
        self._remembered[sha256(token).digest()] = (until, principal)

    def _forget(self, clients: frozenset[str]) -> None:
        kept = {key: value for key, value in self._remembered.items() if value[1].client not in clients}
        self._remembered = kept
