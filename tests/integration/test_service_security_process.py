"""The service as it runs in production: over TLS, with clients of its own issuer, refusing everybody else."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.certificates import Authority, make_authority
from tests.fixtures.service_process import (
    ServiceProcess,
    forecast_body,
    serve_command,
    service_environment,
    service_process,
)

from wearcast.service import database
from wearcast.service.audit import Audit
from wearcast.service.clients import Clients, Credentials

PASSWORD = "hunter2-of-the-key"  # noqa: S105 - of a key that lives a minute


@dataclass(frozen=True)
class Secured:
    """A service in the profile prod, and who may come in."""

    running: ServiceProcess
    authority: Authority
    clients: Clients
    reader: Credentials
    admin: Credentials
    folder: Path

    def token(self, who: Credentials, **fields: str) -> str:
        """An access token, as a client gets one."""
        form = {"grant_type": "client_credentials", "client_id": who.id, **fields}
        with self.running.client() as client:
            answer = client.post("/oauth/token", data={"client_secret": who.secret.get_secret_value(), **form})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with self.running.client() as client:
            return client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)


@pytest.fixture(scope="module")
def secured(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = make_authority(folder)
    certificate, key = authority.issue("service", password=PASSWORD.encode())
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "service.yaml").write_text(
        f"profile: prod\nhost: 127.0.0.1\nhosts: [127.0.0.1]\nstate_url: sqlite:///{folder}/service.sqlite\n"
        f"tls: {{certificate: {certificate}, key: {key}, key_password: 'file:{folder}/password'}}\n"
        "auth: {revocation_s: 0.2}\nlimits: {rates: {token: 1000/minute}}\nlogs: {level: debug}\n"
    )
    engine = database.open(f"sqlite:///{folder}/service.sqlite")
    clients = Clients(engine)
    reader, admin = clients.create("reader", ["forecast"]), clients.create("ops", ["admin", "monitor"])
    arguments = ("--settings", str(folder / "service.yaml"), "--bundle", str(trained("lightgbm").path))
    with service_process(folder, *arguments, verify=str(authority.file)) as running:
        yield Secured(running, authority, clients, reader, admin, folder)
    engine.dispose()


def test_a_client_gets_a_token_and_with_it_a_forecast(secured: Secured) -> None:
    assert secured.running.url.startswith("https://")
    answer = secured.ask("POST", "/v1/forecast", secured.token(secured.reader), json=forecast_body())
    assert answer.status_code == 200, answer.text
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert int(answer.headers["ratelimit-remaining"]) < int(answer.headers["ratelimit-limit"])
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/v1/forecast", 401), ("GET", "/v1/units", 401), ("GET", "/metrics", 401), ("GET", "/health/detail", 401),
     ("PUT", "/v1/logs/levels", 401), ("GET", "/health/live", 200), ("GET", "/health/ready", 200),
     ("GET", "/docs", 404),
     ("GET", "/.well-known/jwks.json", 200), ("GET", "/nowhere", 404), ("PATCH", "/v1/units", 405)],
)  # fmt: skip
def test_without_a_token_only_what_is_public(secured: Secured, method: str, path: str, status: int) -> None:
    answer = secured.ask(method, path)
    assert answer.status_code == status
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["instance"] == answer.headers["x-request-id"]


def test_each_does_what_its_scopes_allow(secured: Secured) -> None:
    reader, admin = secured.token(secured.reader), secured.token(secured.admin)
    assert secured.ask("GET", "/metrics", reader).status_code == 403
    assert secured.ask("DELETE", "/v1/units/pump-7", reader).status_code == 403
    assert secured.ask("GET", "/metrics", admin).status_code == 200
    assert secured.ask("POST", "/v1/forecast", admin, json=forecast_body()).status_code == 403
    fewer = secured.token(secured.admin, scope="monitor")
    assert secured.ask("GET", "/v1/logs/levels", fewer).status_code == 403


def test_a_revoked_client_is_out_within_its_interval(secured: Secured) -> None:
    leaving = secured.clients.create("leaving", ["forecast"])
    token = secured.token(leaving)
    assert secured.ask("GET", "/v1/units", token).status_code == 200
    secured.clients.revoke("leaving")
    time.sleep(0.25)
    answer = secured.ask("GET", "/v1/units", token)
    assert (answer.status_code, answer.json()["detail"]) == (401, "the client has been revoked")


def test_another_name_in_the_request_is_refused(secured: Secured) -> None:
    assert secured.ask("GET", "/.well-known/jwks.json", headers={"host": "attacker.example"}).status_code == 400


def test_who_speaks_plain_http_gets_no_answer(secured: Secured) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(secured.running.url.replace("https://", "http://") + "/health/live", trust_env=False)


def test_old_tls_is_refused(secured: Secured) -> None:
    context = ssl.create_default_context(cafile=str(secured.authority.file))
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    host, port = secured.running.url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname=host)


def test_acts_of_an_admin_are_in_the_audit(secured: Secured) -> None:
    token, changed = secured.token(secured.admin), {"levels": {"wearcast.service.cache": "info"}}
    assert secured.ask("PUT", "/v1/logs/levels", token, json=changed).status_code == 200
    assert secured.ask("PUT", "/v1/logs/levels", token, json={"wearcast": "info"}).status_code == 422
    engine = database.open(f"sqlite:///{secured.folder}/service.sqlite")
    audit = Audit(engine)
    last = audit.entries()[-1]
    assert (last.who, last.act, last.origin, last.result) == (secured.admin.id, "logs.levels", "127.0.0.1", "done")
    unknown = {"levels": {"wearcast.service.cash": "info"}}
    assert secured.ask("PUT", "/v1/logs/levels", token, json=unknown).status_code == 422
    last = audit.entries()[-1]
    assert (last.act, last.result, last.reason) == ("logs.levels", "refused", "no logger of this name")
    assert audit.verify(number=last.number, hash=last.hash) == []
    engine.dispose()


def test_no_secret_is_in_the_log(secured: Secured) -> None:
    token = secured.token(secured.reader)
    secured.ask("GET", "/v1/units", token)
    secured.ask("GET", "/v1/units", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJodW50ZXIyIn0.x")
    with secured.running.client() as client:
        client.post(
            "/oauth/token", data={"grant_type": "client_credentials", "client_id": "a", "client_secret": "hunter2"}
        )
        client.get("/v1/units?access_token=hunter2", auth=("a", "hunter2"))
    time.sleep(0.3)
    said = secured.running.log.read_text() + (secured.folder / "service.err").read_text()
    assert "/oauth/token" in said
    secrets = [token, token.split(".")[2], "hunter2", PASSWORD, "eyJzdWIiOiJodW50ZXIyIn0"]
    secrets += [who.secret.get_secret_value() for who in (secured.reader, secured.admin)]
    assert [secret for secret in secrets if secret in said] == []


def test_only_clients_with_a_certificate_where_that_is_asked_for(trained: TrainedByKind, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    certificate, key = authority.issue("service")
    mine, my_key = authority.issue("plant")
    settings = {
        "WEARCAST_TLS__CERTIFICATE": str(certificate),
        "WEARCAST_TLS__KEY": str(key),
        "WEARCAST_TLS__CLIENT_CA": str(authority.file),
    }
    command = serve_command("--port", "0", "--bundle", str(trained("lightgbm").path))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=service_environment(tmp_path, settings))
    try:
        url = _listening(process, tmp_path / "log")
        context = ssl.create_default_context(cafile=str(authority.file))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/health/live", verify=context, trust_env=False)
        context.load_cert_chain(mine, my_key)
        assert httpx.get(f"{url}/health/live", verify=context, trust_env=False).status_code == 200
    finally:
        process.kill()
        process.wait(20)


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    import json

    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            if '"url.full"' in line:
                return str(json.loads(line)["url.full"])
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"WEARCAST_PROFILE": "prod"}, "tls: prod does not speak plain HTTP"),
        ({"WEARCAST_AUTH__REQUIRED": "false", "WEARCAST_PROFILE": "staging"}, "auth.required: staging does not answer"),
    ],
    ids=["prod", "staging"],
)
def test_unsafe_settings_end_the_process_before_a_port_opens(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    command = serve_command("--port", "0", "--bundle", "/nowhere")
    done = subprocess.run(
        command, env=service_environment(tmp_path, settings), capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "listening" not in done.stdout
