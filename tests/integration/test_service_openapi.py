"""The OpenAPI document of the running service, tried from outside by schemathesis.

`WEARCAST_EXAMPLES=200 pytest tests/integration/test_service_openapi.py` tries longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.service_process import ServiceProcess, service_process

from wearcast.service.access import ACCESS

EXAMPLES = int(os.environ.get("WEARCAST_EXAMPLES", "2"))
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
UNLIMITED = {
    f"WEARCAST_LIMITS__RATES__{name}": "9000000/minute"
    for name in ("FORECAST", "WRITE", "ADMIN", "MONITOR", "TOKEN", "PUBLIC")
}


@pytest.fixture(scope="module")
def service(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service without limits on how often it is asked."""
    folder = tmp_path_factory.mktemp("openapi")
    with service_process(folder, "--bundle", str(trained("lightgbm").path), settings=UNLIMITED) as running:
        yield running


def test_the_document_names_every_route_with_its_scope(service: ServiceProcess) -> None:
    with service.client() as client:
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


def test_schemathesis_finds_no_5xx_and_no_status_that_is_not_documented(
    service: ServiceProcess, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json", "--checks", CHECKS]
    done = subprocess.run(
        [
            *command,
            "--max-examples",
            str(EXAMPLES),
            "--seed",
            "1",
            "--no-color",
            "--phases",
            "examples,coverage,fuzzing",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120 + 30 * EXAMPLES,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in service.log.read_text()
    assert service.process.poll() is None
