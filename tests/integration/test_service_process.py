"""The service as it is started and ended in production: a real process, a real port, real signals."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.service_process import (
    ServiceProcess,
    forecast_body,
    service_environment,
    service_process,
)

from wearcast.cli import main

KEEP_OUT = ("torch", "pandas", "pyarrow", "mlflow", "matplotlib", "lightgbm", "lightning", "scipy", "redis", "boto3")


@pytest.fixture(scope="module")
def service(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service in the profile dev that the tests of this file share."""
    with service_process(tmp_path_factory.mktemp("service"), "--bundle", str(trained("lightgbm").path)) as running:
        yield running


def test_it_forecasts_and_says_which_model_did(service: ServiceProcess) -> None:
    with service.client() as client:
        answer = client.post("/v1/forecast", json=forecast_body())
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"]["name"] == "test-lightgbm"
    assert len(answer.json()["forecasts"]) == 1


def test_the_line_of_a_request_says_all_but_what_was_in_it(service: ServiceProcess) -> None:
    body = forecast_body(unit="secret-unit-name")
    with service.client() as client:
        client.post(
            "/v1/forecast?token=hunter2",
            json=body,
            headers={
                "authorization": "Bearer hunter2",
                "x-request-id": "my-request.7",
                "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01",
            },
        )
        deadline = time.monotonic() + 10
        while "my-request.7" not in service.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
    (line,) = [line for line in service.lines() if line.get("http.request.id") == "my-request.7"]
    assert line["event.dataset"] == "wearcast.access"
    assert line["http.request.method"] == "POST"
    assert line["url.path"] == "/v1/forecast"
    assert line["http.response.status_code"] == 200
    assert 0 < line["event.duration"] < 60e9
    assert line["trace.id"] == "ab" * 16
    assert line["user.id"] == "anonymous"
    assert line["wearcast.unit_count"] == 1
    assert line["wearcast.arm"] == "fixed"
    assert line["wearcast.model.version"]
    said = service.log.read_text()
    assert "hunter2" not in said
    assert "secret-unit-name" not in said


def test_a_request_id_that_is_none_is_replaced(service: ServiceProcess) -> None:
    with service.client() as client:
        for wrong in ("a b", "x" * 65, 'a"}', ""):
            given = client.get("/health/live", headers={"x-request-id": wrong}).headers["x-request-id"]
            assert len(given) == 32
            assert given != wrong


def test_a_probe_may_ask_for_the_head_alone(service: ServiceProcess) -> None:
    with service.client() as client:
        for path in ("/health/live", "/health/ready", "/v1/models"):
            answer = client.head(path)
            assert answer.status_code == 200
            assert answer.content == b""
        assert client.head("/v1/forecast").status_code == 405


def test_metrics_and_health_tell_of_it(service: ServiceProcess) -> None:
    with service.client() as client:
        client.post("/v1/forecast", json=forecast_body("another"))
        client.get("/wp-login.php")
        metrics = client.get("/metrics").text
        detail = client.get("/health/detail").json()
    assert 'wearcast_request_seconds_count{method="POST",route="/v1/forecast",status="2xx"}' in metrics
    assert 'route="unknown",status="4xx"' in metrics
    assert "wp-login" not in metrics
    assert "another" not in metrics
    assert 'wearcast_model_info{arm="fixed",name="test-lightgbm"' in metrics
    assert detail["status"] == "ok"
    assert detail["models"][0]["arm"] == "fixed"
    assert detail["dependencies"]["database"]["breaker"] == "closed"
    assert detail["disks"]["state"]["free_bytes"] > 0


def test_levels_of_loggers_change_while_it_runs_and_it_is_audited(service: ServiceProcess) -> None:
    with service.client() as client:
        levels = client.put("/v1/logs/levels", json={"levels": {"wearcast.service.access": "debug"}})
        assert levels.status_code == 200, levels.text
        assert levels.json()["levels"]["wearcast.service.access"] == "debug"
        client.get("/health/live", headers={"x-request-id": "a-quiet-one"})
        wrong = client.put("/v1/logs/levels", json={"levels": {"wearcast.service.acess": "debug"}})
        assert wrong.status_code == 422
        assert "did you mean" in wrong.text
        client.put("/v1/logs/levels", json={"levels": {"wearcast.service.access": None}})
        assert "wearcast.service.access" not in client.get("/v1/logs/levels").json()["levels"]
        client.get("/health/live", headers={"x-request-id": "a-quieter-one"})
        client.get("/v1/models", headers={"x-request-id": "the-last"})
        deadline = time.monotonic() + 10
        while "the-last" not in service.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
    said = service.log.read_text()
    assert "a-quiet-one" in said
    assert "a-quieter-one" not in said
    assert "logs.levels wearcast.service.access=debug" in said


def test_what_a_request_does_not_need_is_not_in_the_process(trained: TrainedByKind, tmp_path: Path) -> None:
    script = f"""
import asyncio, json, sys
import httpx
from wearcast.service.app import create_app
from wearcast.service.loading import load_settings

ABOUT = {{"content-type": "application/json"}}

async def main():
    app = create_app(load_settings("dev", None, {{"models.bundle": {str(trained("lightgbm").path)!r}}}))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
    async with app.router.lifespan_context(app), client:
        answer = await client.post("/v1/forecast", content=sys.stdin.read(), headers=ABOUT)
        assert answer.status_code == 200, answer.text

asyncio.run(main())
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}} & set({KEEP_OUT!r}))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(forecast_body()),
        env=service_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


# ------------------------------------------------------------------ the end


class Caller(threading.Thread):
    """Asks for forecasts over one connection after the other, as long as somebody is there to connect to."""

    def __init__(self, url: str, body: bytes, *, keep: bool) -> None:
        super().__init__(daemon=True)
        self.headers = {"content-type": "application/json", "connection": "keep-alive" if keep else "close"}
        self.host, self.port = urlsplit(url).hostname or "", urlsplit(url).port
        self.body = body
        self.statuses: list[int] = []
        self.closed_by_server = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while True:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
            try:
                connection.connect()
            except OSError:
                return  # nobody listens any more
            if not self._ask(connection):
                return

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        """Ask until the server closes; False when a request got no status."""
        while True:
            try:
                connection.request("POST", "/v1/forecast", self.body, self.headers)
                answer = connection.getresponse()
                answer.read()
            except OSError as error:
                self.lost.append(repr(error))
                return False
            self.statuses.append(answer.status)
            if answer.will_close:
                self.closed_by_server += 1
                connection.close()
                return True


def test_at_the_end_every_request_that_was_taken_in_gets_a_status(trained: TrainedByKind, tmp_path: Path) -> None:
    settings = {"WEARCAST_SERVICE__DRAIN_S": "15", "WEARCAST_SERVICE__DRAIN_NOTICE_S": "0.5"}
    settings |= {"WEARCAST_CACHE__KIND": "none", "WEARCAST_LIMITS__RATES__FORECAST": "900000/minute"}
    bundle = str(trained("lightgbm").path)
    with service_process(tmp_path, "--bundle", bundle, settings=settings) as running, running.client() as client:
        bodies = [json.dumps(forecast_body(f"unit-{i}")).encode() for i in range(16)]
        callers = [Caller(running.url, body, keep=i % 2 == 0) for i, body in enumerate(bodies)]
        for caller in callers:
            caller.start()
        while sum(len(caller.statuses) for caller in callers) < 100:
            time.sleep(0.02)
        began = time.monotonic()
        running.terminate()
        time.sleep(0.1)
        noticed = client.get("/health/ready")
        code = running.wait()
        took = time.monotonic() - began
        for caller in callers:
            caller.join(30)
        lines = running.lines()
    assert code == 0
    assert took < 15
    assert noticed.status_code == 503
    assert noticed.json() == {"status": "draining"}
    assert noticed.headers["connection"] == "close"
    assert [caller.lost for caller in callers] == [[]] * 16
    assert {status for caller in callers for status in caller.statuses} == {200}
    assert all(caller.closed_by_server for caller in callers)
    assert [line["message"] for line in lines][-1] == "ended"
    told = sum(line.get("url.path") == "/v1/forecast" for line in lines)
    assert told == sum(len(caller.statuses) for caller in callers), "each request has its line"


# ------------------------------------------------------------------ a start that is refused


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--profile", "live"], 2, "expected one of dev, staging, prod"),
        ([], 2, "nothing to serve"),
        (["--host", "0.0.0.0", "--bundle", "nowhere"], 2, "without authentication only this machine may ask"),  # noqa: S104
        (["--port", "99999", "--bundle", "nowhere"], 2, "--port"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_a_port_opens(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEARCAST_SETTINGS", raising=False)
    assert main(["serve", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert captured.out == ""


def test_a_bundle_that_is_not_whole_is_said_in_one_line(
    trained: TrainedByKind, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    broken = shutil.copytree(trained("lightgbm").path, tmp_path / "broken")
    with (broken / "model.onnx").open("r+b") as file:
        file.write(b"another")
    assert main(["serve", "--port", "0", "--bundle", str(broken)]) == 4
    captured = capfd.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "model.onnx" in captured.err
    assert "listening" not in captured.out
    assert "Traceback" not in captured.out


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(
    service: ServiceProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    port = urlsplit(service.url).port
    assert main(["serve", "--port", str(port), "--bundle", "nowhere"]) == 2
    captured = capfd.readouterr()
    assert captured.err == (
        f"error: 127.0.0.1: cannot serve on port {port}: address already in use (--host and --port choose)\n"
    )
    assert captured.out == ""
