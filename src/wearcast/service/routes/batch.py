"""Batch jobs: send many units, ask how far they are, fetch the forecasts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from wearcast.service.context import service_of
from wearcast.service.jobfiles import FORMS, ResultForm
from wearcast.service.jobinput import InputForm
from wearcast.service.jobtable import Job
from wearcast.service.openapi import ARROW, HotRoute, body, problems
from wearcast.service.parsing import read_every
from wearcast.service.problems import Problem
from wearcast.service.routes.bodies import JSON, json_answer, page_limit, page_parameters, uncompressed_kind
from wearcast.service.schemas import ForecastRequest

__all__ = ["router"]

router = APIRouter(route_class=HotRoute, tags=["batch"])

PARQUET, CSV = "application/vnd.apache.parquet", "text/csv"
IN: dict[str, InputForm] = {JSON: "json", ARROW: "arrow", PARQUET: "parquet", CSV: "csv"}
OUT: dict[ResultForm, str] = {
    "parquet": PARQUET,
    "arrow": "application/vnd.apache.arrow.file",
    "csv": CSV,
    "jsonl": "application/x-ndjson",
}
PAGE = 100


class JobAnswer(BaseModel):
    """A batch job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "5f0c1e7d9a3b4c2e8f6a7b1c2d3e4f50",
                    "state": "running",
                    "units": 12000,
                    "units_done": 4096,
                    "model": "pumps/3",
                    "every": None,
                    "created": "2026-05-18T10:00:00Z",
                    "started": "2026-05-18T10:00:01Z",
                    "ended": None,
                    "expires": None,
                    "error": None,
                }
            ]
        }
    )

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    units: int | None = Field(description="How many units; null before they were counted.")
    units_done: int
    model: str | None = Field(description="The version that answers the whole job; null before it began.")
    every: int | None
    created: str
    started: str | None
    ended: str | None
    expires: str | None = Field(description="Until when the result is kept.")
    error: dict[str, Any] | None = Field(description="Why it failed: a problem, as requests are answered with.")


class JobsAnswer(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobAnswer]
    next: str | None = Field(description="Give it as `before` for the next page; null at the end.")


_QUERY = [
    {"name": "model", "in": "query", "schema": {"type": "string"}, "description": "Which model; the champion."},
    {"name": "every", "in": "query", "schema": {"type": "integer", "minimum": 1}, "description": "Step of forecasts."},
]


def _send() -> dict[str, Any]:
    extra = body(ForecastRequest, arrow=True)
    for kind in (PARQUET, CSV):
        extra["requestBody"]["content"][kind] = {"schema": {"type": "string", "format": "binary"}}
    return {**extra, "parameters": _QUERY}


@router.post(
    "/v1/batch",
    summary="Send many units to be forecast",
    status_code=202,
    responses={202: {"model": JobAnswer}, **problems(404, 415, 422, 507)},
    openapi_extra=_send(),
)
async def send(request: Request) -> Response:
    """JSON as for `/v1/forecast`, or a long table `unit`, `time`, columns as Parquet, CSV or an Arrow stream.

    The answer says where the job is; what is wrong with the readings is told there.
    """
    service = service_of(request)
    form = _form(request)
    query = request.query_params
    every = query.get("every")
    step = read_every(int(every) if every is not None and every.isascii() and every.isdigit() else every)
    model = query.get("model")
    if model is not None and not 0 < len(model) <= 256:
        raise Problem.at("bad-input", "model", "expected 1 to 256 characters", "such as pumps@challenger")
    job = await service.jobs.submit(request.state.principal.client, request.stream(), form, model=model, every=step)
    return json_answer(_told(job), 202, {"location": f"/v1/batch/{job.id}"})


def _form(request: Request) -> InputForm:
    kind = uncompressed_kind(request)
    if kind not in IN:
        raise Problem("unsupported-media-type", f"the body is {kind[:80]!r}; send {', '.join(IN)}")
    return IN[kind]


@router.get(
    "/v1/batch",
    summary="Your jobs",
    responses={200: {"model": JobsAnswer}, **problems(422)},
    openapi_extra={"parameters": page_parameters("before", PAGE, "Jobs")},
)
async def newest(request: Request) -> Response:
    """Your jobs, the newest first; with the scope `admin`, those of all clients."""
    limit, before = page_limit(request, PAGE), request.query_params.get("before")
    if before is not None and not 0 < len(before) <= 64:
        raise Problem.at("bad-input", "before", "expected what `next` of a page said")
    found = await service_of(request).jobs.newest(_owner(request), before=before, limit=limit + 1)
    page, more = found[:limit], len(found) > limit
    return json_answer({"jobs": [_told(job) for job in page], "next": page[-1].id if more else None})


@router.get("/v1/batch/{id}", summary="How far a job is", responses={200: {"model": JobAnswer}, **problems(404)})
async def one(request: Request) -> Response:
    """State and progress."""
    return json_answer(_told(await service_of(request).jobs.get(request.path_params["id"], _owner(request))))


@router.delete(
    "/v1/batch/{id}",
    summary="Cancel or forget a job",
    responses={
        200: {"model": JobAnswer, "description": "It was cancelled"},
        204: {"description": "It had ended: job and result are deleted"},
        **problems(404),
    },
)
async def cancel(request: Request) -> Response:
    """A job that has not ended is cancelled; one that has is deleted with its result."""
    job = await service_of(request).jobs.cancel(request.path_params["id"], _owner(request))
    return Response(status_code=204) if job is None else json_answer(_told(job))


@router.get(
    "/v1/batch/{id}/result",
    summary="Fetch the forecasts of a job",
    responses={
        200: {
            "description": "One row a forecast, the columns of `wearcast predict`, `version` and `arm`",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in OUT.values()},
        },
        **problems(404, 406, 409, 410, 422, 507),
    },
    openapi_extra={
        "parameters": [
            {"name": "format", "in": "query", "schema": {"enum": list(FORMS)}, "description": "Instead of `Accept`."}
        ]
    },
)
async def result(request: Request) -> Response:
    """Parquet, an Arrow file, CSV or JSON lines, by `format` or `Accept`; JSON lines unless one is asked for."""
    form = _wanted(request)
    path = await service_of(request).jobs.result(request.path_params["id"], _owner(request), form)
    return FileResponse(path, media_type=OUT[form], filename=f"forecasts.{form}")


def _wanted(request: Request) -> ResultForm:
    asked = request.query_params.get("format")
    if asked is not None:
        found = next((form for form in FORMS if form == asked), None)
        if found is None:
            raise Problem.at("bad-input", "format", f"{asked[:80]!r} is none of {', '.join(FORMS)}")
        return found
    ranges = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "*/*").split(",")]
    for kind in ranges:  # the first that can be given
        if kind in ("*/*", "application/*", "application/json"):
            return "jsonl"
        for form, media_type in OUT.items():
            if kind == media_type:
                return form
    raise Problem("not-acceptable", f"results are {', '.join(OUT.values())}")


def _owner(request: Request) -> str | None:
    """Whose jobs may be seen: one's own; all by an administrator."""
    principal = request.state.principal
    return None if "admin" in principal.scopes else principal.client


def _told(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "units": job.units,
        "units_done": job.units_done,
        "model": None if job.served is None else job.served.partition("#")[0],
        "every": job.every,
        "created": _moment(job.created),
        "started": _moment(job.started),
        "ended": _moment(job.ended),
        "expires": _moment(job.expires),
        "error": job.problem,
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
