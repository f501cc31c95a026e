"""Bodies of requests and answers, and pages of a list: what the routes of plain JSON have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from wearcast.service.openapi import ARROW
from wearcast.service.problems import Problem

__all__ = ["JSON", "content_kind", "json_answer", "json_body", "page_limit", "page_parameters", "uncompressed_kind"]

JSON = "application/json"

T = TypeVar("T")


def json_answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of plain values."""
    return Response(orjson.dumps(content), status, headers, JSON)


async def json_body(request: Request, adapter: TypeAdapter[T], *, empty: bytes = b"") -> T:
    """The body of a request, checked.

    Args:
        request: whose body.
        adapter: of the model that it is to be.
        empty: what no body at all stands for.

    Raises:
        Problem: it is not JSON by its content type.
        ValidationError: it is not what the model says; answered as a problem.
    """
    content = await request.body()
    if content:
        content_kind(request, arrow=False)
    return adapter.validate_json(content or empty)


def uncompressed_kind(request: Request) -> str:
    """The content type of the body, without its parameters.

    Raises:
        Problem: it is compressed.
    """
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported-media-type", "compressed bodies are not read; send it without Content-Encoding")
    return headers.get("content-type", JSON).partition(";")[0].strip().lower()


def content_kind(request: Request, *, arrow: bool = True) -> str:
    """The format of the body: JSON or Arrow.

    Raises:
        Problem: it is not read here.
    """
    kind = uncompressed_kind(request)
    if kind == JSON or kind.endswith("+json"):
        return JSON
    if arrow and kind == ARROW:
        return ARROW
    known = f"{JSON} or {ARROW}" if arrow else JSON
    raise Problem("unsupported-media-type", f"the body is {kind[:80]!r}; send {known}")


def page_limit(request: Request, most: int) -> int:
    """How many entries a page is to have, 100 unless said otherwise.

    Raises:
        Problem: it is no such number.
    """
    limit = request.query_params.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= most):
        raise Problem.at("bad-input", "limit", f"expected a number from 1 to {most}, got {limit[:20]!r}")
    return int(limit)


def page_parameters(follow: str, most: int, what: str) -> list[dict[str, Any]]:
    """How a route describes its pages: `follow` names the parameter that takes `next` of the page before."""
    size = {"type": "integer", "minimum": 1, "maximum": most, "default": 100}
    return [
        {"name": follow, "in": "query", "schema": {"type": "string"}, "description": "`next` of the page before."},
        {"name": "limit", "in": "query", "schema": size, "description": f"{what} of a page."},
    ]
