"""Units whose readings are kept: each addition is durable before it is answered with the new forecast."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from wearcast.service.answers import JSON_OPTIONS, model_of
from wearcast.service.context import service_of
from wearcast.service.forecasting import Part, accepted, answered, scored
from wearcast.service.histories import Summary
from wearcast.service.history import History, told_time
from wearcast.service.openapi import HotRoute, body, problems
from wearcast.service.parsing import check_unit, read_readings
from wearcast.service.problems import Problem
from wearcast.service.routes.bodies import JSON, content_kind, page_limit, page_parameters
from wearcast.service.routes.forecast import limits_of, noted
from wearcast.service.schemas import ReadingsAnswer, ReadingsRequest, UnitAnswer, Units

__all__ = ["router"]

router = APIRouter(route_class=HotRoute, tags=["units"])

MOST_LISTED = 1_000
_LARGE_BODY = 1 << 18
_UNIT = {
    "name": "unit",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"},
    "description": "Id of the unit.",
    "example": "pump-7",
}


@router.post(
    "/v1/units/{unit}/readings",
    summary="Add readings of a unit",
    openapi_extra={**body(ReadingsRequest), "parameters": [_UNIT]},
    responses={200: {"model": ReadingsAnswer}, **problems(409, 415, 422)},
)
async def add_readings(request: Request) -> Response:
    """Keep new readings of a unit and forecast from all of them.

    Sending readings again that are there already, with equal values, changes nothing. If the forecast fails, for
    example because the service is overloaded, the readings are kept all the same: send them again for the forecast.
    """
    service, unit = service_of(request), _unit(request)
    content_kind(request, arrow=False)
    content = await request.body()
    known, limits = accepted(service), limits_of(service)
    if len(content) < _LARGE_BODY:
        readings = read_readings(content, unit, known, limits)
    else:
        readings = await asyncio.to_thread(read_readings, content, unit, known, limits)
    served = service.deployment.choose(unit)
    layouts = service.scorer.layouts
    arms = [arm for arm in service.deployment.arms() if arm.key != served.key]
    added = await asyncio.to_thread(service.histories.append, readings, [layouts.of(arm) for arm in (served, *arms)])
    history = added.history
    part = Part(served, (0,), [history.readings(layouts.of(served))])
    noted(request, [part])
    found = await scored(service, part, None)
    told = {
        "unit": unit,
        "history": {"appended": added.appended, "repeated": added.repeated, **_extent(history)},
        "model": model_of(served),
        "forecasts": next(iter(found.rows())),
    }
    return Response(orjson.dumps(told, option=JSON_OPTIONS), media_type=JSON)


@router.get(
    "/v1/units",
    summary="List the units whose readings are kept",
    openapi_extra={"parameters": page_parameters("after", MOST_LISTED, "Units")},
    responses={200: {"model": Units}, **problems(422)},
)
async def list_units(request: Request) -> Response:
    """List units by name, some at a time."""
    limit, after = page_limit(request, MOST_LISTED), request.query_params.get("after", "")
    if after:
        check_unit(after, "after")
    found = await asyncio.to_thread(service_of(request).histories.listed, after, limit + 1)
    page, more = found[:limit], len(found) > limit
    told = {"units": [_told(one) for one in page], "next": page[-1].unit if more else None}
    return Response(orjson.dumps(told, option=JSON_OPTIONS), media_type=JSON)


@router.get(
    "/v1/units/{unit}",
    summary="A unit and its present forecast",
    openapi_extra={"parameters": [_UNIT]},
    responses={200: {"model": UnitAnswer}, **problems(404, 409, 422)},
)
async def one_unit(request: Request) -> Response:
    """Tell what is kept of a unit, and forecast from it."""
    service, unit = service_of(request), _unit(request)
    history = await asyncio.to_thread(service.histories.read, unit)
    if history is None:
        raise _unknown(unit)
    served = service.deployment.choose(unit)
    part = Part(served, (0,), [history.readings(service.scorer.layouts.of(served))])
    noted(request, [part])
    (text,), _ = await answered(service, part, None)
    told = {
        "unit": unit,
        **_extent(history),
        "columns": history.names,
        "statics": history.statics,
        "updated": _date(history.updated),
        "model": model_of(served),
        "forecasts": orjson.Fragment(b"[%b]" % text),
    }
    return Response(orjson.dumps(told, option=JSON_OPTIONS), media_type=JSON)


@router.delete(
    "/v1/units/{unit}",
    summary="Forget a unit",
    status_code=204,
    openapi_extra={"parameters": [_UNIT]},
    responses=problems(404, 422),
)
async def forget_unit(request: Request) -> Response:
    """Delete all readings of a unit."""
    service, unit = service_of(request), _unit(request)
    if not await asyncio.to_thread(service.histories.delete, unit):
        raise _unknown(unit)
    return Response(status_code=204)


def _unit(request: Request) -> str:
    return str(check_unit(request.path_params["unit"], "unit"))


def _unknown(unit: str) -> Problem:
    return Problem("unknown-unit", f"no readings are kept of unit {unit!r}; GET /v1/units lists those that there are")


def _extent(history: History) -> dict[str, Any]:
    return {
        "readings": history.n_rows,
        "dropped": history.dropped,
        "first_time": told_time(float(history.time[0]), clock=history.clock),
        "last_time": told_time(float(history.time[-1]), clock=history.clock),
    }


def _told(one: Summary) -> dict[str, Any]:
    return {
        "unit": one.unit,
        "readings": one.readings,
        "dropped": one.dropped,
        "first_time": told_time(one.first_time, clock=one.clock),
        "last_time": told_time(one.last_time, clock=one.clock),
        "columns": one.columns,
        "statics": one.statics,
        "updated": _date(one.updated),
    }


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"
