"""`GET /v1/models`: which models answer, and what they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from wearcast.service.answers import JSON_OPTIONS, model_of
from wearcast.service.context import service_of
from wearcast.service.openapi import HotRoute, problems
from wearcast.service.problems import Problem
from wearcast.service.schemas import Models

if TYPE_CHECKING:
    from wearcast.service.layout import Layout
    from wearcast.service.served import Served

__all__ = ["router"]

router = APIRouter(route_class=HotRoute, tags=["models"])

_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "Name of the model, without a version.",
    "example": "pumps",
}


@router.get("/v1/models", summary="The models that answer", responses={200: {"model": Models}})
async def list_models(request: Request) -> Response:
    """Tell which models answer, the champion first, and which columns they read."""
    return _answer(request, None)


@router.get(
    "/v1/models/{name}",
    summary="The versions of one model that answer",
    openapi_extra={"parameters": [_NAME]},
    responses={200: {"model": Models}, **problems(404)},
)
async def one_model(request: Request) -> Response:
    """Tell which versions of a model answer."""
    return _answer(request, request.path_params["name"])


def _answer(request: Request, name: str | None) -> Response:
    service = service_of(request)
    arms = [served for served in service.deployment.arms() if name in (None, served.name)]
    if name is not None and not arms:
        raise Problem("unknown-model", f"no version of {name[:80]!r} answers here; GET /v1/models lists those that do")
    layouts = service.scorer.layouts
    content = {"models": [described(served, layouts.of(served)) for served in arms]}
    return Response(orjson.dumps(content, option=JSON_OPTIONS), media_type="application/json")


def described(served: Served, layout: Layout) -> dict[str, Any]:
    """What a client has to know of a model."""
    manifest = served.bundle.manifest
    return {
        **model_of(served),
        "model": manifest.model,
        "key": served.key,
        "target": manifest.target.kind,
        "time": layout.time_unit,
        "columns": layout.columns,
        "text_columns": sorted(layout.texts),
        "ignored_columns": sorted(layout.ignored),
        "context": layout.context,
        "created": manifest.created,
        "metrics": manifest.metrics,
    }
