"""The gate: each request is looked at in full before any route runs, and each refusal says why."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.fixtures.service_security import ISSUER, NOW, Answer, Clock, call, ec_key, make_claims, make_settings, sign

from wearcast.service import problems
from wearcast.service.access import Rule
from wearcast.service.gate import Gate
from wearcast.service.keys import GivenKeys
from wearcast.service.limits import Limiter
from wearcast.service.tokens import Verifier

KEY = ec_key()
RULES = (
    Rule("GET", "/data/{name}", "forecast", "forecast"),
    Rule("POST", "/data", "write", "write", body_bytes=None),
    Rule("POST", "/small", "forecast", "forecast", body_bytes=10),
    Rule("POST", "/jobs", "forecast", "forecast", body_bytes="job"),
    Rule("GET", "/open", None, "public"),
    Rule("GET", "/page", None, "public", page=True),
    Rule("GET", "/probe", None, None),
    Rule("GET", "/admin", "admin", "admin"),
)
OPEN = {"required": False}


async def _route(request: Request) -> Response:
    body = await request.body()
    principal = getattr(request.state, "principal", None)
    headers = {"cache-control": "public, max-age=60"} if request.url.path == "/page" else {}
    who = principal.client if principal else "nobody"
    return PlainTextResponse(f"{who} {request.state.client_address} {len(body)}", headers=headers)


class Gated:
    """A small app behind the gate, and what the gate counted."""

    def __init__(self, **settings: Any) -> None:
        self.reached = 0
        self.refused: list[str] = []
        self.clock = Clock()
        built = make_settings(**{"auth": {"issuer": ISSUER}, **settings})
        inner = Starlette(routes=[Route("/{path:path}", _route, methods=["GET", "POST", "PUT", "OPTIONS"])])
        problems.install(inner)
        verifier = Verifier(built.auth, ISSUER, GivenKeys([KEY], "ES256"), clock=self.clock)
        limiter = Limiter(built.limits, clock=self.clock)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.reached += 1
            await inner(scope, receive, send)

        self.gate = Gate(
            app, settings=built, verifier=verifier, limiter=limiter, refused=self.refused.append, rules=RULES
        )

    def __call__(self, *request: Any, **more: Any) -> Answer:
        return asyncio.run(call(self.gate, *request, **more))


def bearer(**claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {sign(KEY, make_claims(**claims)).decode()}"}


# ------------------------------------------------------------------ routes and tokens


def test_a_good_request_reaches_its_route() -> None:
    gated = Gated()
    answer = gated("GET", "/data/pump-7", headers=bearer())
    assert (answer.status, answer.body) == (200, b"pump-reader 203.0.113.5 0")
    assert (gated.reached, gated.refused) == (1, [])


@pytest.mark.parametrize("path", ["/", "/data", "/nowhere", "/data/a/b", "/openapi.json", "/data/../admin"])
def test_a_path_without_a_rule_is_not_there(path: str) -> None:
    gated = Gated()
    answer = gated("GET", path, headers=bearer(scope="admin forecast write"))
    assert answer.status in (404, 405)
    assert gated.reached == 0


def test_another_method_is_told_which_ones_there_are() -> None:
    answer = Gated()("PUT", "/data/x", headers=bearer())
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["type"] == "/problems/method-not-allowed"


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": ""}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"},
     {"authorization": "Token x.y.z"}, {"cookie": "access_token=x.y.z"}],
)  # fmt: skip
def test_without_a_token_nobody_gets_in(headers: dict[str, str]) -> None:
    gated = Gated()
    answer = gated("GET", "/data/x", headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="wearcast"')
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/unauthorized"
    assert (gated.reached, gated.refused) == (0, ["auth"])


def test_a_token_in_the_address_is_not_read() -> None:
    gated = Gated()
    assert gated("GET", "/data/x?access_token=" + bearer()["authorization"][7:]).status == 401


def test_a_refused_token_says_why_and_nothing_more() -> None:
    answer = Gated()("GET", "/data/x", headers=bearer(exp=int(NOW) - 3_600), state={"request_id": "r-1"})
    assert answer.status == 401
    assert 'error="invalid_token", error_description="the token has expired"' in answer.headers["www-authenticate"]
    assert answer.json() == {
        "type": "/problems/unauthorized",
        "title": "A valid access token is needed",
        "status": 401,
        "detail": "the token has expired",
        "instance": "r-1",
    }


def test_the_kind_of_the_token_may_be_written_in_any_case() -> None:
    token = bearer()["authorization"][7:]
    assert Gated()("GET", "/data/x", headers={"authorization": f"bEARER  {token}"}).status == 200


def test_a_token_without_the_scope_is_forbidden() -> None:
    gated = Gated()
    answer = gated("GET", "/admin", headers=bearer(scope="forecast write monitor"))
    assert answer.status == 403
    assert 'error="insufficient_scope", scope="admin"' in answer.headers["www-authenticate"]
    assert (gated.reached, gated.refused) == (0, ["scope"])


def test_two_tokens_are_none() -> None:
    headers = [("authorization", bearer()["authorization"]), ("authorization", bearer()["authorization"])]
    assert Gated()("GET", "/data/x", headers=headers).status == 400


def test_public_routes_need_no_token() -> None:
    answer = Gated()("GET", "/open")
    assert (answer.status, answer.body) == (200, b"nobody 203.0.113.5 0")


def test_where_authentication_is_off_everybody_is_anonymous() -> None:
    gated = Gated(profile="dev", auth={"required": False})
    assert gated("GET", "/admin").body.startswith(b"anonymous")


def test_web_sockets_are_closed() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    gated = Gated()
    asyncio.run(gated.gate({"type": "websocket", "path": "/data/x", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert gated.reached == 0


# ------------------------------------------------------------------ names and origins


@pytest.mark.parametrize("host", [None, "attacker.example", "testserver.attacker.example", "testserver@attacker", ""])
def test_another_name_is_refused(host: str | None) -> None:
    gated = Gated()
    answer = gated("GET", "/open", host=host)
    assert (answer.status, gated.reached, gated.refused) == (400, 0, ["host"])


def test_two_names_are_none() -> None:
    assert Gated()("GET", "/open", headers=[("host", "testserver")]).status == 400


def test_probes_come_by_address() -> None:
    assert Gated()("GET", "/probe", host="10.1.2.3:8000").status == 200


CORS = {"cors": {"origins": ["https://plant.example"]}}


def test_a_page_of_a_named_origin_may_read_the_answer() -> None:
    answer = Gated(**CORS)("GET", "/data/x", headers={**bearer(), "origin": "https://plant.example"})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://plant.example"
    assert answer.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["https://attacker.example", "http://plant.example", "https://plant.example.attacker.example", "null", "",
     "https://plant.example:8443", "*"],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused_and_nothing_is_done(origin: str) -> None:
    gated = Gated(**CORS)
    answer = gated("POST", "/data", headers={**bearer(scope="write"), "origin": origin}, body=[b"{}"])
    assert (answer.status, gated.reached) == (403, 0)
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_the_service_itself_may_call() -> None:
    assert Gated()("GET", "/open", headers={"origin": "https://testserver"}).status == 200


def test_a_question_before_the_request_is_answered_without_a_token() -> None:
    gated = Gated(**CORS)
    asking = {"origin": "https://plant.example", "access-control-request-method": "POST"}
    answer = gated("OPTIONS", "/data", headers=asking)
    assert (answer.status, answer.body, gated.reached) == (204, b"", 0)
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-max-age"] == "600"
    assert gated("OPTIONS", "/data", headers={**asking, "access-control-request-method": "DELETE"}).status == 405
    assert gated("OPTIONS", "/nowhere", headers=asking).status == 404
    assert gated("OPTIONS", "/data", headers={**asking, "origin": "https://attacker.example"}).status == 403


def test_a_question_of_nobody_is_no_question() -> None:
    assert Gated(**CORS)("OPTIONS", "/data", headers={"access-control-request-method": "POST"}).status == 405


# ------------------------------------------------------------------ sizes


def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    gated = Gated()
    answer = gated("POST", "/small", headers={**bearer(), "content-length": "11"}, body=[b"x" * 11])
    assert (answer.status, gated.reached, gated.refused) == (413, 0, ["size"])
    assert answer.headers["connection"] == "close"
    assert answer.json()["detail"] == "the body is larger than 10 bytes"


def test_a_body_that_just_fits_passes() -> None:
    answer = Gated()("POST", "/small", headers={**bearer(), "content-length": "10"}, body=[b"x" * 10])
    assert answer.body.endswith(b" 10")


def test_a_body_that_comes_in_parts_is_counted() -> None:
    gated = Gated()
    assert gated("POST", "/small", headers=bearer(), body=[b"x" * 6, b"x" * 4]).body.endswith(b" 10")
    answer = gated("POST", "/small", headers=bearer(), body=[b"x" * 6, b"x" * 5])
    assert (answer.status, gated.refused) == (413, ["size"])


def test_a_route_without_a_body_takes_none() -> None:
    answer = Gated()("GET", "/data/x", headers={**bearer(), "content-length": "1"}, body=[b"x"])
    assert (answer.status, answer.json()["detail"]) == (413, "this route takes no body")


def test_the_largest_body_is_a_setting() -> None:
    gated = Gated(limits={"body_bytes": 2_000})
    headers = {**bearer(scope="write"), "content-length": "2001"}
    assert gated("POST", "/data", headers=headers).status == 413
    gated = Gated(jobs={"body_bytes": 2_000})
    assert gated("POST", "/jobs", headers={**bearer(), "content-length": "2001"}).status == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "+5", "", " 5", "9" * 30, "١"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    raw = length.encode().decode("latin-1")
    assert Gated()("POST", "/small", headers={**bearer(), "content-length": raw}).status == 400


def test_two_lengths_are_refused() -> None:
    headers = [*bearer().items(), ("content-length", "1"), ("content-length", "2")]
    assert Gated()("POST", "/small", headers=headers).status == 400


def test_too_many_headers_are_refused() -> None:
    answer = Gated()("GET", "/open", headers=[("x-h", "1")] * 70)
    assert (answer.status, answer.json()["type"]) == (431, "/problems/headers-too-large")
    assert Gated()("GET", "/open", headers={"x-h": "1" * 17_000}).status == 431


# ------------------------------------------------------------------ rates


def test_a_client_that_asks_too_often_waits() -> None:
    gated = Gated(limits={"rates": {"forecast": "2/minute"}})
    answers = [gated("GET", "/data/x", headers=bearer()) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    last = answers[-1]
    assert last.headers["ratelimit-limit"] == "2"
    assert 0 < int(last.headers["retry-after"]) == int(last.headers["ratelimit-reset"]) <= 60
    assert gated.refused == ["rate"]
    assert gated("GET", "/data/x", headers=bearer(client_id="another")).status == 200
    gated.clock.now += 60
    assert gated("GET", "/data/x", headers=bearer()).status == 200


def test_who_is_not_known_is_counted_by_address() -> None:
    gated = Gated(limits={"rates": {"public": "1/minute"}})
    assert [gated("GET", "/open", client=name).status for name in ("1.1.1.1", "1.1.1.1", "2.2.2.2")] == [200, 429, 200]
    # One may not get a new address by writing one.
    assert gated("GET", "/open", client="1.1.1.1", headers={"x-forwarded-for": "3.3.3.3"}).status == 429


def test_behind_a_proxy_the_address_is_the_clients() -> None:
    proxied = {"tls": {"behind_proxy": True, "trusted_proxies": ["10.0.0.0/8"]}}
    gated = Gated(limits={"rates": {"public": "1/minute"}}, **proxied)
    for address, status in (("1.1.1.1", 200), ("2.2.2.2", 200), ("1.1.1.1", 429)):
        answer = gated("GET", "/open", client="10.0.0.1", headers={"x-forwarded-for": f"9.9.9.9, {address}"})
        assert answer.status == status


def test_probes_are_not_counted() -> None:
    gated = Gated(limits={"rates": {"public": "1/minute"}})
    assert [gated("GET", "/probe").status for _ in range(3)] == [200, 200, 200]
    assert "ratelimit-limit" not in gated("GET", "/probe").headers


def test_an_address_that_sends_wrong_tokens_is_no_longer_listened_to() -> None:
    gated = Gated()
    wrong = {"authorization": f"Bearer {sign(ec_key(), make_claims()).decode()}"}
    assert gated("GET", "/data/x", headers=bearer()).status == 200
    statuses = [gated("GET", "/data/x", headers=wrong).status for _ in range(62)]
    assert statuses == [401] * 60 + [429] * 2
    assert gated("GET", "/data/x", headers=bearer(jti="new")).status == 429
    assert gated("GET", "/data/x", headers=bearer(jti="new"), client="203.0.113.6").status == 200
    gated.clock.now += 60
    assert gated("GET", "/data/x", headers=bearer(jti="new")).status == 200


def test_a_token_that_is_known_is_let_in_beside_wrong_ones() -> None:
    gated = Gated()
    good = bearer()
    gated("GET", "/data/x", headers=good)
    for _ in range(61):
        gated("GET", "/data/x", headers={"authorization": "Bearer a.b.c"})
    assert gated("GET", "/data/x", headers=good).status == 200


def test_a_token_that_was_good_is_looked_at_again_beside_wrong_ones() -> None:
    """After a minute it is no longer remembered who it belongs to; others at the address must not lock it out then."""
    gated = Gated()
    good = bearer(exp=NOW + 3_600)
    gated("GET", "/data/x", headers=good)
    gated.clock.now += 120
    for _ in range(61):
        gated("GET", "/data/x", headers={"authorization": "Bearer a.b.c"})
    assert gated("GET", "/data/x", headers={"authorization": "Bearer a.b.c"}).status == 429
    assert gated("GET", "/data/x", headers=good).status == 200


# ------------------------------------------------------------------ what browsers are told


@pytest.mark.parametrize("path", ["/open", "/nowhere", "/data/x", "/probe"])
def test_every_answer_has_the_headers(path: str) -> None:
    headers = Gated()("GET", path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "strict-transport-security" not in headers


def test_a_route_may_say_how_long_its_answer_lasts() -> None:
    headers = Gated()("GET", "/page").headers
    assert headers["cache-control"] == "public, max-age=60"
    assert "style-src" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]


def test_over_tls_browsers_are_to_stay_with_it() -> None:
    proxied = {"tls": {"behind_proxy": True, "trusted_proxies": ["10.0.0.0/8"]}}
    assert Gated(**proxied)("GET", "/open").headers["strict-transport-security"] == (
        "max-age=31536000; includeSubDomains"
    )


def test_a_known_token_costs_little() -> None:
    """Some 10 µs on a quiet core; the bound is for a machine that shares its cores."""
    gated = Gated(limits={"rates": {"forecast": "900000000/day"}})
    headers = [(name.encode(), value.encode()) for name, value in bearer().items()]
    scopes = [
        {"type": "http", "method": "GET", "path": "/data/x", "headers": [(b"host", b"testserver"), *headers],
         "client": ("203.0.113.5", 1), "state": {}}
        for _ in range(2_000)
    ]  # fmt: skip

    async def nothing(*_: Any) -> None:
        return

    gated.gate.app = nothing

    async def time_them() -> float:
        await gated.gate(dict(scopes[0], state={}), nothing, nothing)  # type: ignore[arg-type]
        began = time.process_time()
        for scope in scopes:
            await gated.gate(scope, nothing, nothing)  # type: ignore[arg-type]
        return (time.process_time() - began) / len(scopes)

    assert min(asyncio.run(time_them()) for _ in range(3)) < 100e-6
