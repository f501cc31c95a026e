"""The outermost layer: every request gets an answer, a line and a count, whatever goes wrong inside."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from wearcast.errors import RegistryUnavailableError
from wearcast.service.access import Rule
from wearcast.service.lifecycle import Lifecycle
from wearcast.service.metrics import Metrics
from wearcast.service.problems import Problem
from wearcast.service.watch import Deadline, Direct, Watch


class Watched:
    """An application under watch, and what was told of it."""

    def __init__(self, app: ASGIApp, *, draining: bool = False) -> None:
        self.lifecycle = Lifecycle(draining=draining)
        self.metrics = Metrics()
        self.app = Watch(app, lifecycle=self.lifecycle, metrics=self.metrics)

    def get(self, **headers: str) -> tuple[httpx.Response, list[dict[str, Any]]]:
        """Its answer to one request, and the lines."""

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(self.app), base_url="http://localhost"
            ) as client:
                return await client.get(
                    "/some/path", headers={name.replace("_", "-"): v for name, v in headers.items()}
                )

        with capture_logs() as lines:
            answer = asyncio.run(ask())
        return answer, [dict(line) for line in lines]


def answering(status: int = 200, *, rule: Rule | None = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if rule is not None:
            scope["state"]["rule"] = rule
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b"whole"})

    return app


def failing(error: BaseException, *, after_start: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


RULE = Rule("GET", "/some/{name}", "forecast", "forecast")


def test_a_request_has_an_id_a_line_and_a_count() -> None:
    watched = Watched(answering(rule=RULE))
    answer, (line,) = watched.get(x_request_id="abc")
    assert answer.headers["x-request-id"] == "abc" == line["http.request.id"]
    assert answer.headers["x-own"] == "1"
    assert line["url.path"] == "/some/{name}"
    assert line["log_level"] == "info"
    assert 'route="/some/{name}",status="2xx"' in watched.metrics.render()[0].decode()
    assert watched.lifecycle.in_flight == 0


def test_a_path_that_is_none_of_ours_is_not_told() -> None:
    watched = Watched(answering(404))
    _, (line,) = watched.get()
    assert line["url.path"] == "unknown"
    assert "some" not in watched.metrics.render()[0].decode()


def test_a_bug_is_a_500_without_internals_and_a_traceback_in_the_log() -> None:
    answer, (failure, line) = Watched(failing(ZeroDivisionError("at /srv/secret/place.py"))).get()
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert failure["log_level"] == "error"
    assert failure["exc_info"]
    assert line["http.response.status_code"] == 500
    assert line["event.outcome"] == "failure"


@pytest.mark.parametrize(
    ("error", "status"), [(Problem("not-found", "no such thing"), 404), (RegistryUnavailableError("down"), 503)]
)
def test_what_is_refused_on_purpose_outside_the_routes_is_that_problem(error: Exception, status: int) -> None:
    answer, _ = Watched(failing(error)).get()
    assert answer.status_code == status
    assert answer.json()["status"] == status


def test_half_an_answer_is_not_made_a_whole_one() -> None:
    messages: list[Message] = []

    async def story() -> None:
        async def send(message: Message) -> None:
            messages.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await Watched(failing(ValueError(), after_start=True)).app(scope, receive, send)

    with capture_logs() as lines:
        asyncio.run(story())
    assert [message["type"] for message in messages] == ["http.response.start"], "no end: the server cuts the line"
    assert lines[0]["log_level"] == "error"


def test_while_it_drains_each_answer_closes_its_connection() -> None:
    answer, _ = Watched(answering(), draining=True).get()
    assert answer.headers["connection"] == "close"
    answer, _ = Watched(answering()).get()
    assert "connection" not in answer.headers


def test_who_is_cut_off_by_the_end_is_told_so() -> None:
    watched = Watched(failing(asyncio.CancelledError()))
    messages: list[Message] = []

    async def story() -> None:
        async def send(message: Message) -> None:
            messages.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        await watched.app({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)

    with capture_logs(), pytest.raises(asyncio.CancelledError):
        asyncio.run(story())
    assert messages[0]["status"] == 503
    assert watched.lifecycle.in_flight == 0


# ------------------------------------------------------------------ the deadline


def deadline(app: ASGIApp, timeout_s: float = 10.0, *, rule: Rule | None = None) -> Watched:
    inner = Deadline(app, timeout_s=timeout_s)

    async def gate(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["rule"] = rule
        await inner(scope, receive, send)

    return Watched(gate)


async def _hang(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(60)


def test_an_answer_that_has_not_begun_in_time_is_a_504() -> None:
    answer, _ = deadline(_hang, 0.02).get()
    assert answer.status_code == 504
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "/problems/timed-out"


def test_a_route_may_have_its_own_time() -> None:
    answer, _ = deadline(_hang, rule=Rule("GET", "/some/{name}", None, None, timeout_s=0.02)).get()
    assert answer.status_code == 504
    answer, _ = deadline(answering()).get()
    assert answer.text == "whole"


# ------------------------------------------------------------------ directly


async def asked(app: ASGIApp, scope: dict[str, Any]) -> list[Any]:
    """What an application sends in answer to a body of two parts."""
    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c"},
    ]
    sent: list[Any] = []

    async def receive() -> Message:
        return parts.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def direct_scope(method: str = "POST", path: str = "/v1/forecast", *, rule: bool = True) -> dict[str, Any]:
    state = {"rule": Rule(method, path, "forecast", "forecast")} if rule else {}
    return {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"x=1", "state": state}


async def echo(request: Request) -> Response:
    return PlainTextResponse(f"{(await request.body()).decode()} {request.query_params['x']} {request.state.rule.path}")


def test_what_is_asked_most_is_called_at_once() -> None:
    app = Direct(failing(AssertionError("the routes are not asked")), {("POST", "/v1/forecast"): echo})
    start, body = asyncio.run(asked(app, direct_scope()))
    assert (start["status"], body["body"]) == (200, b"abc 1 /v1/forecast")


@pytest.mark.parametrize(
    "scope",
    [
        direct_scope("GET"),
        direct_scope(path="/v1/units"),
        direct_scope(rule=False),
        {"type": "lifespan", "state": {}},
    ],
    ids=["another method", "another path", "no rule", "no request"],
)
def test_all_else_goes_to_the_routes(scope: dict[str, Any]) -> None:
    async def refused(request: Request) -> Response:
        raise AssertionError("not asked for")

    sent = asyncio.run(asked(Direct(answering(), {("POST", "/v1/forecast"): refused}), scope))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_a_problem_of_what_is_called_at_once_is_answered_by_the_watch() -> None:
    async def refusing(request: Request) -> Response:
        raise Problem("unknown-model", "no such model is loaded")

    async def ruled(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["rule"] = Rule("GET", "/v1/forecast", "forecast", "forecast")
        await Direct(answering(), {("GET", "/v1/forecast"): refusing})(scope, receive, send)

    answer, _ = Watched(ruled).get()
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-model")
