"""Health: degraded is not unready; what is told names causes and no secrets."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.fixtures.bundles import TrainedByKind
from tests.fixtures.service_process import forecast_body

from wearcast.service.app import create_app
from wearcast.service.context import Service
from wearcast.service.loading import load_settings

Story = Callable[[httpx.AsyncClient, Service], Awaitable[Any]]


@pytest.fixture
def app(trained: TrainedByKind, tmp_path: Path) -> FastAPI:
    """A service in the profile dev, not started."""
    url = f"sqlite:///{tmp_path / 'state' / 'service.sqlite'}"
    overrides = {"models.bundle": trained("lightgbm").path, "state_url": url, "models.cache_dir": tmp_path / "models"}
    return create_app(load_settings("dev", None, overrides))


def live(app: FastAPI, story: Story) -> Any:
    """What the story finds in the service while it runs."""

    async def told() -> Any:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
        async with app.router.lifespan_context(app), client:
            return await story(client, app.state.service)

    return asyncio.run(told())


async def _down() -> None:
    raise ConnectionRefusedError("redis://user:hunter2@host")


def test_when_a_service_outside_is_down_it_is_said_and_requests_are_answered(app: FastAPI) -> None:
    async def story(client: httpx.AsyncClient, service: Service) -> tuple[httpx.Response, ...]:
        redis = service.outside["redis"]
        object.__setattr__(
            service,
            "settings",
            service.settings.model_copy(
                update={
                    "redis_url": service.settings.state_url,
                    "cache": service.settings.cache.model_copy(update={"kind": "redis"}),
                }
            ),
        )
        for _ in range(redis.patience.failures):
            with pytest.raises(Exception, match="no answer"):
                await redis.call(_down)
        return (
            await client.get("/health/ready"),
            await client.get("/health/detail"),
            await client.post("/v1/forecast", json=forecast_body()),
        )

    ready, detail, forecast = live(app, story)
    assert ready.status_code == 200
    assert forecast.status_code == 200
    told = detail.json()
    assert told["status"] == "degraded"
    assert told["reasons"] == ["redis: not asked for now (ConnectionRefusedError)"]
    assert told["dependencies"]["redis"]["breaker"] == "open"
    assert "hunter2" not in detail.text


def test_before_a_model_is_loaded_and_while_it_drains_it_is_not_ready(app: FastAPI) -> None:
    async def story(client: httpx.AsyncClient, service: Service) -> list[httpx.Response]:
        answers = [await client.get("/health/ready")]
        service.lifecycle.draining = True
        answers += [await client.get("/health/ready"), await client.get("/health/live")]
        service.lifecycle.draining = False
        standing, service.deployment._now = service.deployment._now, None
        answers += [await client.get("/health/ready"), await client.get("/health/detail")]
        service.deployment._now = standing
        return answers

    ready, draining, alive, bare, detail = live(app, story)
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert (draining.status_code, draining.json()) == (503, {"status": "draining"})
    assert alive.status_code == 200
    assert (bare.status_code, bare.json()) == (503, {"status": "no model"})
    assert detail.json()["status"] == "no model"
    assert detail.json()["models"] == []


def test_a_database_that_does_not_answer_makes_it_unready_and_is_asked_once_a_second(app: FastAPI) -> None:
    async def story(client: httpx.AsyncClient, service: Service) -> tuple[list[int], int, httpx.Response]:
        calls = 0

        def refuse() -> None:
            nonlocal calls
            calls += 1
            raise ConnectionRefusedError

        broken = dataclasses.replace(service, database=type("Broken", (), {"connect": staticmethod(refuse)})())
        app.state.service = broken
        statuses = [(await client.get("/health/ready")).status_code for _ in range(20)]
        detail = await client.get("/health/detail")
        app.state.service = service
        return statuses, calls, detail

    statuses, calls, detail = live(app, story)
    assert statuses == [503] * 20
    assert calls <= 4, "one call with its second try, and perhaps one more a second later"
    assert detail.json()["status"] == "database"
    assert any(reason.startswith("database: does not answer") for reason in detail.json()["reasons"])


def test_metrics_tell_the_model_by_the_age_of_its_training(app: FastAPI) -> None:
    async def story(client: httpx.AsyncClient, service: Service) -> str:
        return (await client.get("/metrics", headers={"accept": "application/openmetrics-text"})).text

    text = live(app, story)
    age = next(line for line in text.splitlines() if line.startswith("wearcast_model_age_seconds{"))
    assert 0 < float(age.rsplit(" ", 1)[1]) < 24 * 3600
    assert 'wearcast_breaker_state{service="database",state="closed"} 1.0' in text
    assert "redis" not in text, "what is not used is not told"
