"""Batch, outcome and admin routes of the whole application: what is understood, what is refused, and how it is said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.deployments import unit_readings

from wearcast import load_bundle
from wearcast.service.app import create_app
from wearcast.service.settings import Settings

Ask = Callable[..., httpx.Response]


@dataclass(frozen=True)
class Running:
    """An application and the loop that it runs in."""

    app: FastAPI
    loop: asyncio.AbstractEventLoop


@pytest.fixture(scope="module")
def body(trained: TrainedByKind) -> dict[str, Any]:
    """Three units."""
    bundle = load_bundle(trained("lightgbm").path)
    made = []
    for i in range(3):
        one = unit_readings(bundle, f"pump-{i}", seed=i)
        columns = {name: one.values[k].tolist() for k, name in enumerate(one.names)}
        made.append({"unit": one.unit, "time": one.time.tolist(), "columns": columns})
    return {"units": made}


@pytest.fixture(scope="module")
def running(trained: TrainedByKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The application in the profile dev, which serves a fixed bundle."""
    folder = tmp_path_factory.mktemp("app")
    settings = Settings.model_validate(
        {
            "profile": "dev",
            "state_url": f"sqlite:///{folder / 'state.sqlite'}",
            "models": {"bundle": trained("lightgbm").path},
            "auth": {"required": False},
            "hosts": ["localhost"],
            "limits": {"rates": {"admin": "100000/second"}},
        }
    )
    loop = asyncio.new_event_loop()
    app = create_app(settings)
    lifespan = app.router.lifespan_context(app)
    loop.run_until_complete(lifespan.__aenter__())
    yield Running(app, loop)
    loop.run_until_complete(lifespan.__aexit__(None, None, None))
    loop.close()


@pytest.fixture(scope="module")
def ask(running: Running) -> Iterator[Ask]:
    """Asks it."""
    transport = httpx.ASGITransport(app=running.app)
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)
    yield lambda method, path, **what: running.loop.run_until_complete(client.request(method, path, **what))
    running.loop.run_until_complete(client.aclose())


def finished(ask: Ask, where: str) -> dict[str, Any]:
    for _ in range(2_000):
        job: dict[str, Any] = ask("GET", where).json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.005)
    raise AssertionError(job)


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    said = answer.json()
    assert said["status"] == answer.status_code
    return answer.status_code, said["type"].removeprefix("/problems/")


# ------------------------------------------------------------------ batch


def test_a_job_from_sending_to_forgetting(ask: Ask, body: dict[str, Any]) -> None:
    sent = ask("POST", "/v1/batch", json={**body, "every": 10})
    assert sent.status_code == 202
    where = sent.headers["location"]
    assert where == f"/v1/batch/{sent.json()['id']}"
    job = finished(ask, where)
    assert (job["state"], job["units"], job["units_done"], job["every"], job["error"]) == ("done", 3, 3, 10, None)
    assert job["model"].startswith("test-lightgbm/")
    lines = ask("GET", f"{where}/result")
    assert lines.headers["content-type"] == "application/x-ndjson"
    rows = [orjson.loads(line) for line in lines.content.splitlines()]
    direct = ask("POST", "/v1/forecast", json={**body, "every": 10}).json()["forecasts"]
    assert [(row["unit"], row["time"]) for row in rows] == [(row["unit"], row["time"]) for row in direct]
    assert [row["rul"] for row in rows] == pytest.approx([row["rul"] for row in direct], rel=1e-6)
    assert ask("GET", "/v1/batch?limit=1").json()["jobs"][0]["id"] == job["id"]
    assert ask("DELETE", where).status_code == 204
    assert problem(ask("GET", where)) == (404, "unknown-job")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("text/csv;q=0.9, */*", "text/csv; charset=utf-8"),
        ("application/vnd.apache.arrow.file", "application/vnd.apache.arrow.file"),
        ("*/*", "application/x-ndjson"),
    ],
)
def test_the_form_of_a_result_is_negotiated(ask: Ask, body: dict[str, Any], accept: str, kind: str) -> None:
    where = ask("POST", "/v1/batch", json=body).headers["location"]
    finished(ask, where)
    found = ask("GET", f"{where}/result", headers={"accept": accept})
    assert (found.status_code, found.headers["content-type"]) == (200, kind)
    assert problem(ask("GET", f"{where}/result", headers={"accept": "image/png"})) == (406, "not-acceptable")
    assert problem(ask("GET", f"{where}/result?format=xls")) == (422, "bad-input")


def test_pages_of_jobs_follow_each_other(ask: Ask, body: dict[str, Any]) -> None:
    for _ in range(3):
        ask("POST", "/v1/batch", json=body)
    first = ask("GET", "/v1/batch?limit=2").json()
    second = ask("GET", "/v1/batch", params={"limit": 2, "before": first["next"]}).json()
    ids = [job["id"] for page in (first, second) for job in page["jobs"]]
    assert len(first["jobs"]) == 2
    assert len(set(ids)) == len(ids)
    every = len(ask("GET", "/v1/batch").json()["jobs"])
    assert ask("GET", f"/v1/batch?limit={every}").json()["next"] is None, "a page that is just full is the last"


@pytest.mark.parametrize(
    ("path", "headers", "status", "slug"),
    [
        ("/v1/batch", {"content-type": "application/pdf"}, 415, "unsupported-media-type"),
        ("/v1/batch", {"content-type": "text/csv", "content-encoding": "gzip"}, 415, "unsupported-media-type"),
        ("/v1/batch?every=0", {"content-type": "text/csv"}, 422, "bad-input"),
        ("/v1/batch?every=x", {"content-type": "text/csv"}, 422, "bad-input"),
        ("/v1/batch?model=fans", {"content-type": "text/csv"}, 404, "unknown-model"),
        ("/v1/batch?model=", {"content-type": "text/csv"}, 422, "bad-input"),
    ],
)
def test_a_job_that_cannot_be_meant_is_refused_at_once(
    ask: Ask, path: str, headers: dict[str, str], status: int, slug: str
) -> None:
    assert problem(ask("POST", path, content=b"unit,time\n", headers=headers)) == (status, slug)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "before=", "before=" + 65 * "a"])
def test_a_page_that_cannot_be_meant_is_refused(ask: Ask, query: str) -> None:
    assert problem(ask("GET", f"/v1/batch?{query}")) == (422, "bad-input")


def test_what_is_wrong_with_readings_is_said_by_the_job(ask: Ask) -> None:
    where = ask("POST", "/v1/batch", content=b"{", headers={"content-type": "application/json"}).headers["location"]
    job = finished(ask, where)
    assert (job["state"], job["error"]["type"]) == ("failed", "/problems/bad-json")
    assert problem(ask("GET", f"{where}/result")) == (409, "conflict")


# ------------------------------------------------------------------ outcomes


def test_outcomes_are_told_once_and_not_contradicted(ask: Ask, body: dict[str, Any]) -> None:
    ask("POST", "/v1/forecast", json=body)
    failure = {"unit": "pump-0", "time": 55, "kind": "failure", "mode": "bearing"}
    assert ask("POST", "/v1/outcomes", json={"outcomes": [failure]}).json() == {"recorded": 1, "repeated": 0}
    assert ask("POST", "/v1/outcomes", json={"outcomes": [failure]}).json() == {"recorded": 0, "repeated": 1}
    other = {**failure, "mode": "seal"}
    assert problem(ask("POST", "/v1/outcomes", json={"outcomes": [other]})) == (409, "conflict")
    stranger = {**failure, "unit": "pump-99"}
    assert problem(ask("POST", "/v1/outcomes", json={"outcomes": [stranger]})) == (404, "unknown-unit")


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "../etc"},
        {"unit": None},
        {"time": "2026-05-18T10:00:00Z"},
        {"time": "soon"},
        {"time": None},
        {"time": 1e300},
        {"kind": "explosion"},
        {"mode": ""},
        {"mode": "a\nb"},
        {"mode": "x" * 300},
        {"why": "extra"},
    ],
)
def test_an_outcome_that_cannot_be_meant_is_refused(ask: Ask, changes: dict[str, Any]) -> None:
    outcome = {"unit": "pump-0", "time": 60, "kind": "failure", **changes}
    assert problem(ask("POST", "/v1/outcomes", json={"outcomes": [outcome]})) == (422, "bad-input")


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 400), (b"[", 400), (b"[]", 422), (b'{"outcomes": []}', 422), (b'{"outcomes": {}}', 422), (b"\xff\xfe", 400)],
)
def test_a_body_that_holds_no_outcomes_is_refused(ask: Ask, content: bytes, status: int) -> None:
    answer = ask("POST", "/v1/outcomes", content=content, headers={"content-type": "application/json"})
    assert problem(answer)[0] == status


def test_a_comparison_names_what_it_lacks(ask: Ask) -> None:
    assert problem(ask("GET", "/v1/outcomes/comparison")) == (422, "bad-input")
    found = ask("GET", "/v1/outcomes/comparison?name=pumps&champion=1&challenger=2").json()
    assert (found["verdict"], found["units"], found["difference"]) == ("unknown", 0, None)
    assert problem(ask("GET", "/v1/outcomes/comparison?champion=")) == (422, "bad-input")


# ------------------------------------------------------------------ admin


def test_a_fixed_bundle_is_not_promoted_and_can_be_looked_for(ask: Ask) -> None:
    refused = ask("POST", "/v1/models/pumps/promote", json={"version": "2"})
    assert problem(refused) == (409, "conflict")
    assert problem(ask("POST", "/v1/models/pumps/rollback")) == (409, "conflict")
    assert problem(ask("PUT", "/v1/deployment/split", json={"challenger_share": 0.5})) == (409, "conflict")
    found = ask("POST", "/v1/deployment/refresh")
    assert found.status_code == 200, found.text
    assert (found.json()["changed"], found.json()["source"], found.json()["champion"]["arm"]) == (
        False,
        "bundle",
        "fixed",
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/models/pumps/promote", {}),
        ("POST", "/v1/models/pumps/promote", {"version": 2}),
        ("POST", "/v1/models/pumps/promote", {"version": "-1"}),
        ("POST", "/v1/models/pumps/promote", {"version": "2", "alias": "king"}),
        ("POST", "/v1/models/pumps/promote", {"version": "2", "override": " "}),
        ("POST", "/v1/models/pumps/rollback", {"reason": "a\x00b"}),
        ("PUT", "/v1/deployment/split", {"challenger_share": 1.5}),
        ("PUT", "/v1/deployment/split", {"challenger_share": -0.1}),
        ("PUT", "/v1/deployment/split", {"shadow": "perhaps"}),
        ("PUT", "/v1/deployment/split", {"share": 0.1}),
    ],
)
def test_an_act_that_cannot_be_meant_is_refused(ask: Ask, method: str, path: str, body: dict[str, Any]) -> None:
    assert problem(ask(method, path, json=body)) == (422, "bad-input")


def test_acts_are_written_down_also_those_that_were_refused(running: Running, ask: Ask) -> None:
    ask("POST", "/v1/deployment/refresh")
    ask("POST", "/v1/models/pumps/promote", json={"version": "7"})
    entries = running.app.state.service.audit.entries(limit=1_000)
    last = [(entry.who, entry.act, entry.subject, entry.result) for entry in entries][-2:]
    assert last[0][1::2] == ("deployment.refresh", "done")
    assert last[1] == ("anonymous", "model.promote", "pumps/7", "refused")
