"""Promotion, rollback, a registry that goes down and jobs that survive: a real registry, a real process, real load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.deployments import scaled_bundle, unit_readings
from tests.fixtures.registries import NAME, registry_once, sqlite_uri
from tests.fixtures.service_process import ServiceProcess, service_process

from wearcast import Bundle, load_bundle
from wearcast.forecast import RulForecast
from wearcast.readings import Readings

BODIES = 24


@dataclass(frozen=True)
class Registered:
    """A registry in which version n forecasts n times the RUL of version 1."""

    url: str
    cache: Path
    bundle: Bundle

    def run(self, *arguments: str) -> str:
        """What a command of the registry says."""
        environment = {**os.environ, "WEARCAST_REGISTRY": self.url, "XDG_CACHE_HOME": str(self.cache)}
        command = [sys.executable, "-m", "wearcast", "registry", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def settings(self) -> dict[str, str]:
        """The service's, so that it looks often and nobody is held back."""
        return {
            "WEARCAST_SERVICE__REGISTRY_URL": self.url,
            "WEARCAST_MODELS__REFRESH_S": "0.3",
            "WEARCAST_LIMITS__RATES__FORECAST": "1000000/second",
            "WEARCAST_LIMITS__RATES__ADMIN": "1000000/second",
            "XDG_CACHE_HOME": str(self.cache),
        }


@pytest.fixture(scope="module")
def registered(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder, source = tmp_path_factory.mktemp("registry"), trained("lightgbm").path
    place = registry_once(
        folder, lambda: [load_bundle(scaled_bundle(source, folder / f"v{n}", float(n))) for n in (1, 2)]
    )
    made = Registered(sqlite_uri(place), folder / "cache", load_bundle(source))
    made.run("promote", f"{NAME}/1")
    return made


@pytest.fixture
def service(registered: Registered, tmp_path: Path) -> Iterator[ServiceProcess]:
    with service_process(tmp_path, "--model", "pumps@champion", settings=registered.settings) as running:
        yield running


def _body(bundle: Bundle, seed: int, units: int = 1) -> dict[str, Any]:
    made = []
    for k in range(units):
        one = unit_readings(bundle, f"pump-{seed}-{k}", seed=seed * 100 + k)
        columns = {name: one.values[i].tolist() for i, name in enumerate(one.names)}
        made.append({"unit": one.unit, "time": one.time.tolist(), "columns": columns})
    return {"units": made}


def _truth(bundle: Bundle, body: dict[str, Any]) -> dict[str, float]:
    """What version 1 says of each unit of a body, asked directly."""
    import numpy as np

    said = {}
    for unit in body["units"]:
        columns = {name: np.array(values, dtype=np.float32) for name, values in unit["columns"].items()}
        time_, offsets = np.array(unit["time"]), np.array([0, len(unit["time"])])
        forecast = bundle.predict(Readings((unit["unit"],), offsets, time_, columns))
        assert isinstance(forecast, RulForecast)
        said[unit["unit"]] = float(forecast.rul[0])
    return said


@dataclass
class Hammer:
    """Clients that ask without pause and check every answer."""

    url: str
    bundle: Bundle
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Hammer:
        asked = [_body(self.bundle, seed, units=1 + seed % 3) for seed in range(BODIES)]
        truths = [_truth(self.bundle, body) for body in asked]
        for first in range(4):
            thread = threading.Thread(target=self._ask, args=(asked, truths, first))
            thread.start()
            self.threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(60)

    def _ask(self, asked: list[dict[str, Any]], truths: list[dict[str, float]], first: int) -> None:
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            number = first
            while not self.over.is_set():
                number = (number + 1) % BODIES
                try:
                    answer = client.post("/v1/forecast", json=asked[number])
                except httpx.HTTPError as error:
                    self.wrong.append(repr(error))
                    return
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self._check(answer.json(), truths[number])
                else:
                    self.wrong.append(answer.text)

    def _check(self, answer: dict[str, Any], truth: dict[str, float]) -> None:
        """The numbers of each forecast belong to the version that it names."""
        named = {row["version"] for row in answer["forecasts"]}
        if named != {f"pumps/{answer['model']['version']}"}:
            self.wrong.append(f"{named} in an answer of {answer['model']}")
        if {row["unit"] for row in answer["forecasts"]} != set(truth):
            self.wrong.append("a unit is lacking")
        for row in answer["forecasts"]:
            version = row["version"].removeprefix("pumps/")
            self.versions[version] += 1
            if abs(row["rul"] - int(version) * truth[row["unit"]]) > 1e-3 * truth[row["unit"]]:
                self.wrong.append(f"{row['rul']} is not of version {version}")


def test_promotion_and_rollback_under_load_lose_nothing_and_mix_nothing(
    registered: Registered, service: ServiceProcess
) -> None:
    with service.client() as client, Hammer(service.url, registered.bundle) as hammer:
        for _ in range(2):
            promoted = client.post("/v1/models/pumps/promote", json={"version": "2"})
            assert promoted.status_code == 200, promoted.text
            assert promoted.json()["champion"]["version"] == "2"
            back = client.post("/v1/models/pumps/rollback", json={"reason": "a drill"})
            assert back.status_code == 200, back.text
            assert back.json()["champion"]["version"] == "1"
    assert hammer.wrong == []
    assert set(hammer.statuses) == {200}
    assert min(hammer.versions["1"], hammer.versions["2"]) > 20, hammer.versions


def test_a_split_under_load_mixes_nothing_and_keeps_units_where_they_are(
    registered: Registered, service: ServiceProcess
) -> None:
    body = _body(registered.bundle, 7, units=40)
    truth = _truth(registered.bundle, body)
    with service.client() as client:
        refused = client.put("/v1/deployment/split", json={"challenger_share": 0.3})
        assert (refused.status_code, refused.json()["detail"]) == (409, "there is no challenger")
        assert client.post("/v1/models/pumps/promote", json={"version": "2", "alias": "challenger"}).status_code == 200
        arms: dict[float, dict[str, str]] = {}
        for share in (0.3, 0.6):
            assert client.put("/v1/deployment/split", json={"challenger_share": share}).status_code == 200
            for _ in range(3):
                answer = client.post("/v1/forecast", json=body).json()
                found = {row["unit"]: row["version"] for row in answer["forecasts"]}
                assert arms.setdefault(share, found) == found, "the same unit has the same arm"
                for row in answer["forecasts"]:
                    assert row["rul"] == pytest.approx(int(row["version"][-1]) * truth[row["unit"]], rel=1e-3)
        moved = [unit for unit in truth if arms[0.3][unit] == "pumps/2"]
        assert 4 <= len(moved) < 20
        assert all(arms[0.6][unit] == "pumps/2" for unit in moved)
        detail = client.get("/v1/models").json()
        assert [model["arm"] for model in detail["models"]] == ["champion", "challenger"]


def test_what_the_gate_or_the_registry_refuses_is_a_problem(registered: Registered, service: ServiceProcess) -> None:
    with service.client() as client:
        for path, body, status in (
            ("/v1/models/pumps/promote", {"version": "9"}, 404),
            ("/v1/models/fans/promote", {"version": "2"}, 404),
            ("/v1/models/pumps/promote", {"version": "x"}, 422),
            ("/v1/models/pumps/promote", {"version": "2", "alias": "king"}, 422),
            ("/v1/models/--help/rollback", {}, 404),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code == status, (path, body, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert "registry.db" not in answer.text, "no path of this machine"
        assert client.post("/v1/deployment/refresh").json()["changed"] is False


def test_the_registry_may_go_down_and_a_restart_without_it_serves_the_last_champion(
    registered: Registered, tmp_path: Path
) -> None:
    path = Path(registered.url.removeprefix("sqlite:///"))
    away = path.with_name("away.db")
    body = _body(registered.bundle, 3)
    try:
        with service_process(tmp_path, "--model", "pumps@champion", settings=registered.settings) as running:
            with running.client() as client:
                path.rename(away)
                assert client.post("/v1/deployment/refresh").json()["registry_error"]
                assert client.post("/v1/forecast", json=body).status_code == 200
                assert client.get("/health/ready").status_code == 200
                refused = client.post("/v1/models/pumps/promote", json={"version": "2"})
                assert refused.status_code in (409, 503)
            running.terminate()
            assert running.wait() == 0
        with (
            service_process(tmp_path, "--model", "pumps@champion", settings=registered.settings) as running,
            running.client() as client,
        ):
            assert client.post("/v1/forecast", json=body).json()["model"]["version"] == "1"
            refreshed = client.post("/v1/deployment/refresh").json()
            assert (refreshed["source"], bool(refreshed["registry_error"])) == ("cache", True)
            away.rename(path)
            assert client.post("/v1/deployment/refresh").json()["source"] == "registry"
    finally:
        if away.exists():
            away.rename(path)


def test_a_job_survives_a_process_that_is_killed(registered: Registered, tmp_path: Path) -> None:
    one = _body(registered.bundle, 5)["units"][0]
    rows = pl.DataFrame({"time": one["time"], **one["columns"]})
    units = 6_000
    table = pl.concat([rows.with_columns(unit=pl.lit(f"pump-{i}")) for i in range(units)])
    table.write_parquet(tmp_path / "fleet.parquet")
    content = (tmp_path / "fleet.parquet").read_bytes()
    kind = {"content-type": "application/vnd.apache.parquet"}
    with service_process(tmp_path, "--model", "pumps@champion", settings=registered.settings) as running:
        with running.client() as client:
            sent = client.post("/v1/batch", content=content, headers=kind)
            assert sent.status_code == 202, sent.text
            where = sent.headers["location"]
            _wait(client, where, lambda job: job["units_done"] >= 1_000)
        running.process.send_signal(signal.SIGKILL)
        running.wait()
    with (
        service_process(tmp_path, "--model", "pumps@champion", settings=registered.settings) as running,
        running.client() as client,
    ):
        job = _wait(client, where, lambda job: job["state"] not in ("queued", "running"))
        assert (job["state"], job["units_done"]) == ("done", units), job
        result = client.get(f"{where}/result", params={"format": "csv"})
    found = pl.read_csv(result.content)
    assert found["unit"].n_unique() == found.height == units
    assert found["rul"].n_unique() == 1, "equal readings, equal forecasts"


def _wait(client: httpx.Client, where: str, true: Any, timeout_s: float = 120) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        job: dict[str, Any] = client.get(where).json()
        if true(job):
            return job
        time.sleep(0.02)
    raise AssertionError(f"it did not come to that: {job}")
