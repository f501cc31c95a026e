"""The one way in: host, origin, route, size, token, scope and rate are looked at before any route runs.

One layer of plain ASGI, because each further one costs as much as all of these checks together. What it finds out lies
in the scope's state: `rule`, `principal`, `client_address`. Whoever is refused gets a problem (RFC 9457), and every
answer the headers that keep browsers from doing more with it than they should.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from starlette.responses import Response

from wearcast.service.access import ACCESS, ANYBODY, Principal, Rule, Table
from wearcast.service.browsers import Browsers, Header, security_headers
from wearcast.service.callers import Callers, Hosts
from wearcast.service.limits import Limiter, Verdict, address_key
from wearcast.service.problems import Problem, respond
from wearcast.service.settings import Settings
from wearcast.service.tokens import TokenRefusedError, Verifier

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Gate", "Refusal"]

Refusal = Literal["auth", "scope", "rate", "size", "host"]

MOST_HEADER_BYTES = 16 * 1024
MOST_HEADERS = 64

# Of each at most one: of two, this layer might go by the one and the next layer by the other.
_SINGLE = frozenset({b"host", b"authorization", b"origin", b"content-length"})
_READ = _SINGLE | {b"x-forwarded-for", b"access-control-request-method"}
_REASONS: Mapping[int, Refusal] = {400: "host", 401: "auth", 403: "scope", 413: "size", 429: "rate", 431: "size"}


def _uncounted(reason: Refusal) -> None:
    """Nobody counts refusals."""


class Gate:
    """ASGI middleware around the routes."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        verifier: Verifier,
        limiter: Limiter,
        refused: Callable[[Refusal], None] = _uncounted,
        rules: tuple[Rule, ...] = ACCESS,
    ) -> None:
        """Nothing is let in yet.

        Args:
            app: the routes.
            settings: hosts, origins, proxies and sizes.
            verifier: says who a token belongs to.
            limiter: says who asks too often.
            refused: is told why a request was refused.
            rules: what each route asks for.
        """
        self.app = app
        self._table = Table(rules)
        self._verifier = verifier
        self._limiter = limiter
        self._refused = refused
        self._open = not settings.auth.required
        self._bodies = {None: settings.limits.body_bytes, "job": settings.jobs.body_bytes}
        self._hosts = Hosts(settings.hosts)
        self._callers = Callers(settings.tls.trusted_proxies if settings.tls.behind_proxy else ())
        self._browsers = Browsers(settings.cors)
        self._headers = security_headers(settings, page=False)
        self._page_headers = security_headers(settings, page=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self._not_http(scope, receive, send)
            return
        rule = self._table.find(scope["method"], scope["path"])
        standing = self._page_headers if rule is not None and rule.page else self._headers
        further: list[Header] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers") or ()
                message["headers"] = [*own, *further, *(standing[1:] if _says_how_long(own) else standing)]
            await send(message)

        state = scope.setdefault("state", {})
        try:
            receive = await self._admit(scope, state, rule, further, receive)
        except Problem as problem:
            if (reason := _REASONS.get(problem.status)) is not None:
                self._refused(reason)
            await respond(problem, state.get("request_id"))(scope, receive, sending)
            return
        except _PreflightAnswer:
            await Response(status_code=204)(scope, receive, sending)
            return
        await self.app(scope, receive, sending)

    async def _not_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there is none, so nobody gets to a route without being looked at
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        await self.app(scope, receive, send)

    async def _admit(
        self, scope: Scope, state: dict[str, Any], rule: Rule | None, further: list[Header], receive: Receive
    ) -> Receive:
        """Let a request through, with what to read its body by.

        Raises:
            Problem: it is refused.
        """
        asked = _headers(scope["headers"])
        state["client_address"] = address = self._callers.address(scope, asked.get(b"x-forwarded-for"))
        if rule is None or rule.limit is not None:  # probes come by address, before anybody knows a name
            self._check_host(asked, scope, further)
        if rule is None:
            raise self._no_rule(scope["path"])
        state["rule"] = rule
        receive = self._sized(rule, asked, receive)
        if rule.scope is None:
            who = address_key(address)
        else:
            principal = await self._principal(asked.get(b"authorization"), address)
            if rule.scope not in principal.scopes:
                raise _forbidden(rule.scope)
            state["principal"] = principal
            who = principal.client
        if rule.limit is not None:
            limiter = self._limiter
            verdict = await limiter.hit(rule.limit, who) if limiter.shared else limiter.hit_here(rule.limit, who)
            further += _rate_headers(verdict)
            if not verdict.allowed:
                raise _too_often(verdict.reset_s)
        return receive

    # -------------------------------------------------------------- names and origins

    def _check_host(self, asked: Mapping[bytes, bytes], scope: Scope, further: list[Header]) -> None:
        host = asked.get(b"host")
        if host is None or not self._hosts.allows(host):
            raise Problem("bad-request", "the service is not called by this name; the setting `hosts` lists its names")
        origin = asked.get(b"origin")
        if origin is None:
            return
        if not self._browsers.may(origin, host):
            # Not only unreadable for the page: not done at all.
            raise Problem("forbidden", "pages of this origin may not call the service")
        further += self._browsers.answer(origin)
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in asked:
            methods = self._table.allowed(scope["path"])
            if asked[b"access-control-request-method"].decode("latin-1") not in methods:
                raise self._no_rule(scope["path"])
            further += self._browsers.preflight(methods)
            raise _PreflightAnswer

    def _no_rule(self, path: str) -> Problem:
        allowed = self._table.allowed(path)
        if not allowed:
            return Problem("not-found", "there is nothing under this path")
        listed = ", ".join(allowed)
        return Problem("method-not-allowed", f"this path takes {listed}", headers={"allow": listed})

    # -------------------------------------------------------------- size

    def _sized(self, rule: Rule, asked: Mapping[bytes, bytes], receive: Receive) -> Receive:
        most = rule.body_bytes if isinstance(rule.body_bytes, int) else self._bodies[rule.body_bytes]
        length = asked.get(b"content-length")
        if length is None:
            return self._counted(receive, most)
        if not length.isdigit() or len(length) > 18:
            raise Problem("bad-request", "Content-Length is no number")
        if int(length) > most:
            raise _too_large(most)
        return receive  # the server cuts a body off at the length that it was given

    def _counted(self, receive: Receive, most: int) -> Receive:
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > most:
                    self._refused("size")
                    raise _too_large(most)
            return message

        return counting

    # -------------------------------------------------------------- who

    async def _principal(self, authorization: bytes | None, address: str) -> Principal:
        if self._open:
            return ANYBODY
        if authorization is None:
            raise _unauthorized("a bearer token is needed", None)
        kind, _, token = authorization.partition(b" ")
        if kind.lower() != b"bearer":
            raise _unauthorized("a bearer token is needed", None)
        token = token.strip()
        known = self._verifier.remembered(token)
        if known is not None:
            return known
        who = address_key(address)
        if self._limiter.is_tiring(who) and not self._verifier.has_believed(token):
            raise _too_often(1)
        try:
            return await self._verifier.verify(token)
        except TokenRefusedError as error:
            self._limiter.unproven(who)
            raise _unauthorized(error.what, "invalid_token") from None


class _PreflightAnswer(Exception):  # noqa: N818 - no error: a question that is answered here
    """A browser asked whether it may."""


def _headers(listed: Sequence[Header]) -> dict[bytes, bytes]:
    """Those that are looked at here, by name."""
    found: dict[bytes, bytes] = {}
    size = 0
    for name, value in listed:
        size += len(name) + len(value)
        if name in _READ:
            if name in found:
                if name in _SINGLE:
                    raise Problem("bad-request", f"more than one header {name.decode('latin-1')}")
                found[name] += b"," + value
            else:
                found[name] = value
    if size > MOST_HEADER_BYTES or len(listed) > MOST_HEADERS:
        raise Problem("headers-too-large", f"more than {MOST_HEADERS} headers or {MOST_HEADER_BYTES} bytes of them")
    return found


def _says_how_long(headers: Sequence[Header]) -> bool:
    return any(name == b"cache-control" for name, _ in headers)


def _rate_headers(verdict: Verdict) -> tuple[Header, ...]:
    return (
        (b"ratelimit-limit", b"%d" % verdict.limit),
        (b"ratelimit-remaining", b"%d" % verdict.remaining),
        (b"ratelimit-reset", b"%d" % verdict.reset_s),
    )


def _too_large(most: int) -> Problem:
    told = f"the body is larger than {most} bytes" if most else "this route takes no body"
    # What is still to come is not read, so the connection cannot be used again.
    return Problem("body-too-large", told, headers={"connection": "close"})


def _too_often(reset_s: int) -> Problem:
    return Problem("too-many-requests", f"the next request may come in {reset_s} s", retry_after_s=reset_s)


def _unauthorized(detail: str, error: str | None) -> Problem:
    challenge = 'Bearer realm="wearcast"'
    if error is not None:
        challenge += f', error="{error}", error_description="{detail}"'
    return Problem("unauthorized", detail, headers={"www-authenticate": challenge})


def _forbidden(scope: str) -> Problem:
    challenge = f'Bearer realm="wearcast", error="insufficient_scope", scope="{scope}"'
    return Problem("forbidden", f"the token lacks the scope {scope}", headers={"www-authenticate": challenge})
