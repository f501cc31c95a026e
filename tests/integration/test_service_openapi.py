"""The OpenAPI document of the running service, tried from outside by schemathesis: open, and by who has a token.

`WEARCAST_EXAMPLES=200 pytest tests/integration/test_service_openapi.py` tries longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.service_process import ServiceProcess, service_process

from wearcast.service import database
from wearcast.service.access import ACCESS, SCOPES
from wearcast.service.clients import Clients

FEW = 2
EXAMPLES = int(os.environ.get("WEARCAST_EXAMPLES", str(FEW)))
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
UNLIMITED = {
    f"WEARCAST_LIMITS__RATES__{name}": "9000000/minute"
    for name in ("FORECAST", "WRITE", "ADMIN", "MONITOR", "TOKEN", "PUBLIC")
}


@dataclass(frozen=True)
class Tried:
    """A service, and what a request to it says of who asks."""

    running: ServiceProcess
    headers: dict[str, str]


@pytest.fixture(scope="module", params=["dev", "staging"])
def tried(
    request: pytest.FixtureRequest, trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tried]:
    """A service without limits on how often it is asked; beyond `dev` with a client that may do everything."""
    profile: str = request.param
    folder = tmp_path_factory.mktemp("openapi")
    state = f"sqlite:///{folder / 'service.sqlite'}"
    settings = {**UNLIMITED, "WEARCAST_SERVICE__STATE_URL": state, "WEARCAST_AUTH__TOKEN_TTL_S": "86400"}
    arguments = ("--profile", profile, "--bundle", str(trained("lightgbm").path))
    with service_process(folder, *arguments, settings=settings) as running:
        yield Tried(running, {} if profile == "dev" else _authorization(running, state))


def _authorization(running: ServiceProcess, state: str) -> dict[str, str]:
    engine = database.open(state)
    who = Clients(engine).create("everything", sorted(SCOPES))
    engine.dispose()
    form = {"grant_type": "client_credentials", "client_id": who.id, "client_secret": who.secret.get_secret_value()}
    with running.client() as client:
        token = client.post("/oauth/token", data=form).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def test_the_document_names_every_route_with_its_scope(tried: Tried) -> None:
    with tried.running.client() as client:
        document = client.get("/openapi.json").json()
    named = {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    pages = {("GET", "/openapi.json"), ("GET", "/docs")}
    rules = {(rule.method, rule.path): rule for rule in ACCESS if (rule.method, rule.path) not in pages}
    assert set(named) == set(rules)
    for key, operation in named.items():
        wanted = {"clientCredentials": [rules[key].scope]} if rules[key].scope else None
        assert (wanted in operation["security"]) if wanted else operation["security"] == []
        assert operation["summary"]
        assert operation["tags"]
        assert "500" in operation["responses"]
    scheme = document["components"]["securitySchemes"]["clientCredentials"]
    assert scheme["flows"]["clientCredentials"]["tokenUrl"] == "/oauth/token"


def test_schemathesis_finds_no_5xx_and_no_status_that_is_not_documented(tried: Tried, tmp_path: Path) -> None:
    """And, where tokens are asked for, no route that answers without one."""
    running = tried.running
    checks = f"{CHECKS},ignored_auth" if tried.headers else CHECKS
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json", "--checks", checks]
    # The open service is the same but for the token: quick, unless one asks for more.
    phases = "examples,coverage,fuzzing" if tried.headers or EXAMPLES > FEW else "examples"
    command += ["--max-examples", str(EXAMPLES), "--phases", phases, "--seed", "1", "--no-color"]
    for name, value in tried.headers.items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120 + 30 * EXAMPLES
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in running.log.read_text()
    assert running.process.poll() is None
    if tried.headers:
        told = [line for line in running.lines() if line.get("event.dataset") == "wearcast.access"]
        assert {200, 401} <= {line["http.response.status_code"] for line in told}, "tokens were believed, and asked for"
