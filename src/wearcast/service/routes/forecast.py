"""`POST /v1/forecast`: readings come with the request, as JSON or as an Arrow stream; nothing is kept of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from wearcast.service.answers import model_of
from wearcast.service.context import service_of
from wearcast.service.forecasting import Part, accepted, all_answered, assigned, scored
from wearcast.service.openapi import ARROW, HotRoute, body, problems
from wearcast.service.parsing import Asked, RequestLimits, read_every, read_forecast
from wearcast.service.problems import Problem
from wearcast.service.routes.bodies import JSON, content_kind
from wearcast.service.schemas import ForecastAnswer, ForecastRequest
from wearcast.service.tables import read_table, write_table

if TYPE_CHECKING:
    from wearcast.service.context import Service

__all__ = ["router"]

router = APIRouter(route_class=HotRoute, tags=["forecast"])

_LARGE_BODY = 1 << 18
"""Bodies from here on are read in a thread, so that small requests do not wait for them."""

_QUERY = [
    {"name": "model", "in": "query", "schema": {"type": "string"}, "description": "With an Arrow body: which model."},
    {"name": "every", "in": "query", "schema": {"type": "integer", "minimum": 1}, "description": "Likewise: the step."},
]


@router.post(
    "/v1/forecast",
    summary="Forecast from readings",
    openapi_extra={**body(ForecastRequest, arrow=True), "parameters": _QUERY},
    responses={
        200: {"model": ForecastAnswer, "content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}},
        **problems(404, 406, 415, 422),
    },
)
async def forecast(request: Request) -> Response:
    """Forecast one or many units from the readings in the body.

    The answer is JSON, or an Arrow stream where `Accept` asks for one.
    """
    service = service_of(request)
    arrow_out = wants_arrow(request)
    asked = await _asked(request, service)
    parts = assigned(service, asked)
    noted(request, parts)
    if arrow_out:
        return Response(await _table(service, parts, asked.every), media_type=ARROW)
    texts, cached = await all_answered(service, parts, asked.every)
    return json_answer(parts, texts, cached)


async def _asked(request: Request, service: Service) -> Asked:
    kind = content_kind(request)
    content = await request.body()
    limits, known = limits_of(service), accepted(service)
    if kind == JSON:
        if len(content) < _LARGE_BODY:
            return read_forecast(content, known, limits)
        return await asyncio.to_thread(read_forecast, content, known, limits)
    query = request.query_params
    every = query.get("every")
    step = read_every(int(every) if every is not None and every.isascii() and every.isdigit() else every)
    return await asyncio.to_thread(read_table, content, known, limits, query.get("model"), step)


async def _table(service: Service, parts: Sequence[Part], every: int | None) -> bytes:
    found = await asyncio.gather(*(scored(service, part, every) for part in parts))
    if len(found) == 1:
        return await asyncio.to_thread(write_table, found[0].columns)
    by_unit: dict[int, list[dict[str, Any]]] = {}
    for part, one in zip(parts, found, strict=True):
        by_unit |= dict(zip(part.at, one.rows(), strict=True))
    rows = list(chain.from_iterable(by_unit[i] for i in range(len(by_unit))))
    names = dict.fromkeys(name for one in found for name in one.columns)
    return await asyncio.to_thread(write_table, {name: [row.get(name) for row in rows] for name in names})


# ------------------------------------------------------------------ shared with the routes of units


def limits_of(service: Service) -> RequestLimits:
    """What one request may have."""
    limits = service.settings.limits
    return RequestLimits(units=limits.units, rows=limits.rows)


def wants_arrow(request: Request) -> bool:
    """Whether the answer is to be an Arrow stream rather than JSON.

    Raises:
        Problem: it is to be neither.
    """
    accept = request.headers.get("accept")
    if not accept:
        return False
    ranges = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    for kind in ranges:  # the first that can be given
        if kind == ARROW:
            return True
        if kind in ("*/*", "application/*", JSON):
            return False
    raise Problem("not-acceptable", f"answers are {JSON} or {ARROW}")


def noted(request: Request, parts: Sequence[Part]) -> None:
    """Tell the access log how many units, and which model."""
    state = request.scope.setdefault("state", {})
    state["unit_count"] = sum(len(part.units) for part in parts)
    state["model_version"] = ",".join(part.served.reference for part in parts)
    state["arm"] = ",".join(part.served.arm for part in parts)


def json_answer(parts: Sequence[Part], texts: Sequence[bytes], cached: int) -> Response:
    """The forecasts of all units, each of which is JSON already."""
    model = orjson.dumps(model_of(parts[0].served) if len(parts) == 1 else None)
    content = b'{"model":%b,"forecasts":[%b],"cached":%d}' % (model, b",".join(texts), cached)
    return Response(content, media_type=JSON)
