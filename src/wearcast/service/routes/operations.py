"""Health, metrics and log levels: what operators and their tools ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from wearcast.config import Strict
from wearcast.service import health
from wearcast.service.context import service_of
from wearcast.service.openapi import HotRoute, body, problems
from wearcast.service.problems import Problem
from wearcast.service.routes.acts import audited
from wearcast.service.routes.bodies import json_answer, json_body
from wearcast.service.settings import LogLevel

__all__ = ["router"]

router = APIRouter(route_class=HotRoute, tags=["operations"])


class Alive(Strict):
    """The process answers."""

    status: str = "alive"


class Ready(Strict):
    """Whether requests should come here, and if not, why."""

    status: str = Field(examples=["ready", "draining", "no model", "database"])


class Dependency(Strict):
    """A service outside."""

    breaker: str = Field(examples=["closed"])
    latency_ms: float | None = Field(examples=[0.8])
    last_error: str | None = Field(description="Class of the last failure; null since it answers again.")


class Disk(Strict):
    """Space on a disk that the service writes to."""

    free_bytes: int
    total_bytes: int


class ModelAge(Strict):
    """A model that is loaded."""

    name: str
    version: str
    arm: str
    age_s: float


class Queue(Strict):
    """What waits to be scored."""

    length: int
    limit: int


class Detail(Strict):
    """All there is to know of the service."""

    status: str = Field(examples=["ok", "degraded", "draining"])
    reasons: list[str] = Field(description="Why it is degraded, one a cause.")
    version: str
    profile: str
    uptime_s: float
    models: list[ModelAge]
    dependencies: dict[str, Dependency]
    disks: dict[str, Disk]
    requests_in_flight: int
    queue: Queue
    jobs: dict[str, int]
    log_lines_dropped: int


Levels = dict[Annotated[str, Field(max_length=100)], LogLevel | None]


class LogLevels(Strict):
    """Levels of loggers by name; a level holds for what lies below, null takes one away."""

    levels: Levels = Field(max_length=100, examples=[{"wearcast.service.deployment": "debug", "uvicorn": "warning"}])


_LOG_LEVELS = TypeAdapter(LogLevels)


@router.get("/health/live", summary="Whether the process answers", responses={200: {"model": Alive}})
async def live(_: Request) -> Response:
    """Answers as long as the event loop turns; a restart is the remedy when it does not."""
    return json_answer({"status": "alive"})


@router.get(
    "/health/ready",
    summary="Whether requests should come here",
    responses={200: {"model": Ready}, 503: {"model": Ready, "description": "Not now: draining, no model, or database"}},
)
async def readiness(request: Request) -> Response:
    """503 while no model is loaded, the database does not answer, or the process is about to end."""
    reason = await health.ready(service_of(request))
    return json_answer({"status": reason}, 200 if reason == "ready" else 503)


@router.get("/health/detail", summary="All there is to know of the service", responses={200: {"model": Detail}})
async def detail(request: Request) -> Response:
    """Models, dependencies with their breakers, disks, queue, jobs, and why the service is degraded."""
    return json_answer(await health.detail(service_of(request)))


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    responses={
        200: {
            "description": "The text format, or OpenMetrics where `Accept` asks for it",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
)
async def metrics(request: Request) -> Response:
    """Counters since the start of the process, and what is now."""
    text, media_type = service_of(request).metrics.render(request.headers.get("accept", ""))
    return Response(text, 200, {"content-type": media_type})


@router.get("/v1/logs/levels", summary="Levels of the loggers", responses={200: {"model": LogLevels}})
async def levels(request: Request) -> Response:
    """The loggers that have a level of their own."""
    logs = service_of(request).logs
    return json_answer({"levels": {} if logs is None else logs.levels()})


@router.put(
    "/v1/logs/levels",
    summary="Change levels while the service runs",
    responses={200: {"model": LogLevels}, **problems(409, 415, 422)},
    openapi_extra=body(LogLevels),
)
async def change_levels(request: Request) -> Response:
    """Hold until the process ends or they are changed again; audited."""
    service = service_of(request)
    wanted = (await json_body(request, _LOG_LEVELS)).levels

    async def changed() -> dict[str, LogLevel]:
        """The levels after it."""
        if service.logs is None:
            raise Problem("conflict", "the process that runs this service keeps the logs to itself")
        service.logs.change(wanted)
        return service.logs.levels()

    said = ", ".join(f"{name}={level}" for name, level in wanted.items())
    return json_answer({"levels": await audited(request, "logs.levels", said, changed())})
