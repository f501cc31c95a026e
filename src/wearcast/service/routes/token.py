"""`POST /oauth/token` and the keys that tokens are checked with, of the built-in issuer.

Errors of the first are those of RFC 6749, which OAuth 2 clients know how to read; what the gate refuses is a problem as
everywhere.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal
from urllib.parse import parse_qsl, unquote_plus

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from wearcast.service.context import service_of
from wearcast.service.issuer import Issuer
from wearcast.service.logs import get_logger
from wearcast.service.openapi import HotRoute, problems
from wearcast.service.problems import Problem

__all__ = ["router"]

router = APIRouter(route_class=HotRoute, tags=["token"])
log = get_logger("wearcast.service.token")

_FORM = "application/x-www-form-urlencoded"
_LONGEST = 512


class Token(BaseModel):
    """An access token."""

    access_token: str = Field(examples=["eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.…"])
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the word of RFC 6749
    expires_in: int = Field(examples=[600], description="Seconds")
    scope: str = Field(examples=["forecast write"])


class TokenError(BaseModel):
    """Why there is no token (RFC 6749, 5.2)."""

    error: Literal["invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type"]
    error_description: str


class KeySet(BaseModel):
    """Public keys (RFC 7517)."""

    keys: list[dict[str, str]]


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            _FORM: {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "enum": ["client_credentials"]},
                        "scope": {"type": "string", "description": "Words with spaces between; all if it is left out."},
                        "client_id": {"type": "string", "description": "Or by HTTP Basic authentication."},
                        "client_secret": {"type": "string", "format": "password"},
                    },
                }
            }
        },
    }
}


@router.post(
    "/oauth/token",
    summary="An access token for a client that knows its secret",
    responses={
        200: {"model": Token, "description": "The token"},
        400: {"model": TokenError, "description": "Not a request for a token, or a scope that the client has not"},
        401: {"model": TokenError, "description": "No such client, or not its secret"},
        **problems(404),
    },
    openapi_extra=_BODY,
)
async def token(request: Request) -> Response:
    """Give a token by client credentials."""
    issuer = _issuer(request)
    try:
        form = _form(request, await request.body())
        client, secret = _credentials(request, form)
        wanted = frozenset(form["scope"].split()) if form.get("scope", "").strip() else None
    except _TokenError as error:
        return error.answer()
    try:
        grant = await issuer.grant(client, secret, wanted)
    except PermissionError:
        return _TokenError("invalid_scope", "the client does not have one of these scopes").answer()
    if grant is None:
        log.warning("a client was not let in", **{"event.action": "token", "event.outcome": "failure"})
        return _TokenError("invalid_client", "no such client, or not its secret").answer()
    answer = Token(access_token=grant.token, expires_in=grant.expires_s, scope=" ".join(sorted(grant.scopes)))
    return _json(answer.model_dump(), 200)


@router.get(
    "/.well-known/jwks.json",
    summary="The keys that tokens of the built-in issuer are checked with",
    responses={200: {"model": KeySet, "description": "A JWK set"}, **problems(404)},
)
async def key_set(request: Request) -> Response:
    """Give the public keys."""
    headers = {"cache-control": "public, max-age=60"}
    return Response(orjson.dumps(await _issuer(request).public()), 200, headers, "application/json")


def _issuer(request: Request) -> Issuer:
    issuer = service_of(request).issuer
    if issuer is None:
        raise Problem("not-found", "tokens come from another issuer")
    return issuer


class _TokenError(Exception):
    def __init__(
        self,
        error: Literal["invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type"],
        description: str,
    ) -> None:
        super().__init__(error)
        self.body = TokenError(error=error, error_description=description)

    def answer(self) -> Response:
        status = 401 if self.body.error == "invalid_client" else 400
        response = _json(self.body.model_dump(), status)
        if status == 401:
            response.headers["www-authenticate"] = 'Basic realm="wearcast", charset="UTF-8"'
        return response


def _json(content: dict[str, object], status: int) -> Response:
    # Both headers are asked for by RFC 6749, 5.1.
    return Response(
        orjson.dumps(content), status, {"cache-control": "no-store", "pragma": "no-cache"}, "application/json"
    )


def _form(request: Request, body: bytes) -> dict[str, str]:
    """The fields of the form, each at most once."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise _TokenError("invalid_request", f"the body must be {_FORM}")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=10, errors="strict")
    except ValueError:
        raise _TokenError("invalid_request", "the form cannot be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _TokenError("invalid_request", "a field is given twice")
    if any(len(value) > _LONGEST or not value.isprintable() for value in form.values()):
        raise _TokenError("invalid_request", "a field is too long or holds control characters")
    grant = form.get("grant_type")
    if grant != "client_credentials":
        error: Literal["invalid_request", "unsupported_grant_type"]
        error = "unsupported_grant_type" if grant else "invalid_request"
        raise _TokenError(error, "grant_type must be client_credentials")
    return form


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Id and secret, by HTTP Basic authentication or as fields, not both."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    fields = form.get("client_id", ""), form.get("client_secret", "")
    if not kind:
        if not all(fields):
            raise _TokenError("invalid_client", "client_id and client_secret are needed")
        return fields
    if fields[1]:
        raise _TokenError("invalid_request", "the secret is given twice")
    if kind.lower() != "basic" or len(value) > 2 * _LONGEST:
        raise _TokenError("invalid_client", "only HTTP Basic authentication is understood")
    try:
        client, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _TokenError("invalid_client", "the Authorization header cannot be read") from None
    if not colon:
        raise _TokenError("invalid_client", "the Authorization header cannot be read")
    return unquote_plus(client), unquote_plus(secret)
