"""What the service says of itself: routes without FastAPI's dependency solving, and the OpenAPI document.

A `HotRoute` calls its endpoint with the request and nothing else, which saves about half of FastAPI's time a request,
while its decorator still fills the OpenAPI document. What the document cannot know from a signature, the body and the
problems, is said by `body` and `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["ARROW", "PROBLEM", "HotRoute", "body", "document", "problems"]

ARROW = "application/vnd.apache.arrow.stream"
PROBLEM = "application/problem+json"
_SCHEMAS = "#/components/schemas/"
_BODIES: dict[str, type[BaseModel]] = {}

_MEANING = {
    400: "The request cannot be read or contradicts itself",
    401: "No token, or one that is not accepted",
    403: "The token lacks the scope of this route",
    404: "There is no such thing",
    405: "The path is known, the method is not",
    409: "It does not go with the present state",
    413: "The body, the rows or the units are more than allowed",
    415: "The media type is not understood",
    422: "The readings or values are not acceptable",
    429: "Too many requests; see Retry-After",
    500: "A defect of the service",
    502: "A service outside gave a wrong answer",
    503: "Not now: overloaded, draining, or a service outside is down; see Retry-After",
    504: "The request took longer than its time limit",
}

TAGS = [
    {"name": "forecast", "description": "Forecasts of readings that come with the request."},
    {"name": "units", "description": "Readings that are kept by unit, and the forecast after each."},
    {"name": "batch", "description": "Jobs over many units, answered later."},
    {"name": "models", "description": "Which models answer, and who decides it."},
    {"name": "outcomes", "description": "What became of the units, and how the models compare."},
    {"name": "token", "description": "Access tokens of the built-in issuer."},
    {"name": "operations", "description": "Health, metrics and log levels."},
]


class HotRoute(APIRoute):
    """A route whose endpoint takes the request and gives the response."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **declared: Any) -> None:
        super().__init__(path, endpoint, **declared)
        self.app = request_response(endpoint)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint as it is."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def body(model: type[BaseModel], *, arrow: bool = False, required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a route whose endpoint reads a JSON body of this model, or a table as an Arrow stream."""
    _BODIES[model.__name__] = model
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": _SCHEMAS + model.__name__}}}
    if arrow:
        content[ARROW] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": required, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    schema = {"$ref": _SCHEMAS + "ProblemDetails"}
    return {
        status: {
            "description": _MEANING.get(status, HTTPStatus(status).phrase),
            "content": {PROBLEM: {"schema": schema}},
        }
        for status in statuses
    }


class _Mistake(BaseModel):
    """One thing that is wrong in a request."""

    where: str | None = None
    what: str
    hint: str | None = None


class ProblemDetails(BaseModel):
    """Why a request was not answered as asked (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    errors: list[_Mistake] = []


def document(app: FastAPI, public: frozenset[tuple[str, str]], scopes: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """The OpenAPI document of the app.

    Args:
        app: with all its routes.
        public: (method, path) of the routes that need no token.
        scopes: scope of each other route.
    """
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=TAGS,
        servers=app.servers,
    )
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    wanted: list[type[BaseModel]] = [ProblemDetails, *_BODIES.values()]
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in wanted]
    _, extra = models_json_schema(inputs, ref_template=_SCHEMAS + "{model}")
    schemas.update({name: schema for name, schema in extra.get("$defs", {}).items() if name not in schemas})
    components["securitySchemes"] = _security(set(scopes.values()))
    for method, path, operation in _operations(made):
        _name_steps(path, operation)
        _complete(operation, public=(method, path) in public, scope=scopes.get((method, path)))
    return made


def _operations(made: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _name_steps(path: str, operation: dict[str, Any]) -> None:
    """Declare the named steps of a path that the route itself has not: its endpoint takes the request alone."""
    declared = operation.setdefault("parameters", [])
    known = {parameter["name"] for parameter in declared if parameter["in"] == "path"}
    for name in re.findall(r"\{(\w+)\}", path):
        if name not in known:
            declared.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})


def _complete(operation: dict[str, Any], *, public: bool, scope: str | None) -> None:
    """What holds for all routes: the limits of the gate and, unless it is public, the token."""
    always = problems(400, 413, 429, 500, 503, 504) if public else problems(400, 401, 403, 413, 429, 500, 503, 504)
    declared = operation.setdefault("responses", {})
    for status, answer in always.items():
        declared.setdefault(str(status), answer)
    validation = declared.get("422")
    if validation and "HTTPValidationError" in str(validation):  # FastAPI's own form is never sent
        declared["422"] = problems(422)[422]
    operation["security"] = [] if public else [{"bearer": []}, {"clientCredentials": [scope] if scope else []}]


def _security(scopes: set[str]) -> dict[str, Any]:
    named = {scope: f"what needs the scope {scope}" for scope in sorted(scopes)}
    flow = {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": named}}
    return {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "clientCredentials": {"type": "oauth2", "flows": flow},
    }
