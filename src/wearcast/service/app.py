"""The application: all routes, behind the gate, behind the watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from wearcast import __version__
from wearcast.service import problems
from wearcast.service.access import ACCESS
from wearcast.service.assembly import assemble, running
from wearcast.service.gate import Gate
from wearcast.service.openapi import HotRoute, document
from wearcast.service.page import page
from wearcast.service.routes.forecast import forecast
from wearcast.service.tracing import Trace
from wearcast.service.watch import Deadline, Direct, Watch

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from wearcast.service.context import Service
    from wearcast.service.lifecycle import Lifecycle
    from wearcast.service.logs import Logs
    from wearcast.service.settings import Settings

__all__ = ["ROUTES", "create_app"]

ROUTES = ("forecast", "units", "models", "batch", "outcomes", "admin", "token", "operations")
"""The files of routes, those first that are asked most: routes are tried in this order."""

_ABOUT = "Forecasts of remaining useful life, failures, faults and sensors for a fleet of machines."


def create_app(settings: Settings, *, lifecycle: Lifecycle | None = None, logs: Logs | None = None) -> FastAPI:
    """The service of these settings; its lifespan loads the model and starts what works in the background.

    Raises:
        ConfigError: the parts cannot be put together.
    """
    service = assemble(settings, lifecycle=lifecycle, logs=logs)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """The time in which the parts work."""
        async with running(service):
            yield

    app = FastAPI(
        title="Wearcast", version=__version__, description=_ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None,
        openapi_url=None, servers=[{"url": "/"}],
    )  # fmt: skip
    app.state.service = service
    for name in ROUTES:
        router: APIRouter = import_module(f"wearcast.service.routes.{name}").router
        app.router.routes.extend(router.routes)  # as they are: an included router is wrapped again for each request
    _describe(app, settings)
    problems.install(app)
    app.exception_handlers.pop(Exception, None)  # the watch answers for bugs, with the request's id and its line
    app.middleware_stack = _layers(app, service)
    return app


def _layers(app: FastAPI, service: Service) -> ASGIApp:
    """What stands around the routes: our layers outside of FastAPI's, which cost as much as all of these together."""
    settings = service.settings
    inner: ASGIApp = Direct(app.build_middleware_stack(), {("POST", "/v1/forecast"): forecast})
    inner = Deadline(inner, timeout_s=settings.limits.request_timeout_s)
    inner = Gate(
        inner, settings=settings, verifier=service.verifier, limiter=service.limiter, refused=service.metrics.refused
    )
    if service.tracing is not None:
        inner = Trace(inner, tracing=service.tracing)
    return Watch(inner, lifecycle=service.lifecycle, metrics=service.metrics)


def _describe(app: FastAPI, settings: Settings) -> None:
    """The OpenAPI document, and a page for people where the profile has one."""
    router = APIRouter(route_class=HotRoute)
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            public = frozenset((rule.method, rule.path) for rule in ACCESS if rule.scope is None)
            scopes = {(rule.method, rule.path): rule.scope for rule in ACCESS if rule.scope is not None}
            made.update(document(app, public, scopes))
        return made

    @router.get("/openapi.json", include_in_schema=False)
    async def description(_: Request) -> Response:
        # Made when it is first asked for, in a thread: it takes as long as a hundred forecasts.
        return Response(orjson.dumps(await asyncio.to_thread(openapi)), media_type="application/json")

    if settings.docs if settings.docs is not None else settings.profile == "dev":

        @router.get("/docs", include_in_schema=False)
        async def described(_: Request) -> Response:
            """The document as a page for people."""
            return HTMLResponse(page(await asyncio.to_thread(openapi)))

    app.openapi = openapi  # type: ignore[method-assign]
    app.router.routes.extend(router.routes)
