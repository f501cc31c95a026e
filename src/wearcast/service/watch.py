"""The outermost layer: gives each request its id, times and counts it, writes its line, and lets no bug out.

It sees every request, also those that the gate refuses, and every answer on its way out.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from wearcast.errors import WearcastError
from wearcast.service.logs import get_logger
from wearcast.service.problems import Problem, as_problem, respond

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from wearcast.service.lifecycle import Lifecycle
    from wearcast.service.metrics import Metrics

__all__ = ["UNKNOWN_ROUTE", "Deadline", "Direct", "Watch"]

Endpoint = Callable[[Request], Awaitable["Response"]]

UNKNOWN_ROUTE = "unknown"
"""The route of a request that no rule knows: paths that somebody tries must not become labels."""

# Of a request that brings no id: random by process, counted in it; random bytes for each would be a system call.
_PROCESS = token_hex(8)
_NUMBER = count(1)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})  # told at `debug`: they come every few seconds


class Watch:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self.app = app
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._log = get_logger("wearcast.service.access").bind()
        self._failures = get_logger("wearcast.service.failures")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = _Request(scope, send, self._lifecycle)
        self._lifecycle.in_flight += 1
        try:
            await self.app(scope, receive, seen.send)
        except asyncio.CancelledError:  # the drain has waited long enough
            await self._instead(seen, scope, receive, Problem("unavailable", "the service ends", retry_after_s=5))
            raise
        except (Problem, WearcastError) as error:
            await self._instead(seen, scope, receive, as_problem(error))
        except Exception:
            self._failures.exception("a request failed", **{"http.request.id": seen.request_id})
            await self._instead(seen, scope, receive, Problem("internal", "the service failed; the log says why"))
        finally:
            self._lifecycle.in_flight -= 1
            self._tell(seen, scope)

    async def _instead(self, seen: _Request, scope: Scope, receive: Receive, problem: Problem) -> None:
        """Answer with a problem, unless an answer is on its way already."""
        if seen.status is None:
            await respond(problem, seen.request_id)(scope, receive, seen.send)

    def _tell(self, seen: _Request, scope: Scope) -> None:
        seconds = time.perf_counter() - seen.began
        state: dict[str, Any] = scope["state"]
        rule = state.get("rule")
        route = UNKNOWN_ROUTE if rule is None else rule.path
        method = scope["method"] if scope["method"] in _METHODS else "other"
        status = seen.status or 499  # the client went away before there was an answer
        self._metrics.request(method, route, status, seconds)
        fields = {
            "event.dataset": "wearcast.access",
            "http.request.method": method,
            "url.path": route,
            "http.response.status_code": status,
            "event.duration": int(seconds * 1e9),
            "event.outcome": "success" if status < 500 else "failure",
            "http.request.id": seen.request_id,
        }
        for name, key in _TOLD:
            if (value := state.get(key)) is not None:
                fields[name] = value
        principal = state.get("principal")
        if principal is not None:
            fields["user.id"] = principal.client
        if route in _QUIET and status < 500:
            self._log.debug("request", **fields)
        else:
            self._log.info("request", **fields)


_TOLD = (
    ("trace.id", "trace_id"),
    ("transaction.id", "span_id"),
    ("wearcast.unit_count", "unit_count"),
    ("wearcast.model.version", "model_version"),
    ("wearcast.arm", "arm"),
)


class _Request:
    """One request as it is watched."""

    __slots__ = ("_lifecycle", "_send", "began", "request_id", "status")

    def __init__(self, scope: Scope, send: Send, lifecycle: Lifecycle) -> None:
        self.began = time.perf_counter()
        self.status: int | None = None
        self.request_id = ""
        self._send = send
        self._lifecycle = lifecycle
        state = scope.setdefault("state", {})
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                self.request_id = value.decode()
            elif name == b"traceparent" and (found := _TRACEPARENT.fullmatch(value)):
                state["trace_id"] = found[1].decode()
        self.request_id = state["request_id"] = self.request_id or f"{_PROCESS}{next(_NUMBER):016x}"

    async def send(self, message: Message) -> None:
        """Pass a message on; the head of the answer gets the request's id and, at the end, the word to go."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
            if self._lifecycle.draining:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)


class Deadline:
    """ASGI middleware inside the gate: an answer that has not begun in the time of its route is a 504."""

    def __init__(self, app: ASGIApp, *, timeout_s: float) -> None:
        self.app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # the routes know GET; the server leaves the body out
            scope = {**scope, "method": "GET"}
        rule = scope.get("state", {}).get("rule")
        allowed = self._timeout_s if rule is None or rule.timeout_s is None else rule.timeout_s
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(allowed):
                await self.app(scope, receive, sending)
        except TimeoutError:
            if begun:  # half an answer must not look like a whole one: the connection is cut
                raise
            problem = Problem("timed-out", f"no answer within {allowed:g} s", retry_after_s=1)
            await respond(problem, scope["state"].get("request_id"))(scope, receive, send)


class Direct:
    """ASGI middleware before the routes: those that are asked most are called at once, by the rule of the gate."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
        """Around the routes.

        Args:
            app: all routes.
            endpoints: by method and path of their rule, which has no parameters.
        """
        self.app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        rule = scope["state"].get("rule") if scope["type"] == "http" else None
        endpoint = None if rule is None else self._endpoints.get((rule.method, rule.path))
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)
