"""Acts of administrators: done, and written down whatever comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import Request

from wearcast.errors import WearcastError
from wearcast.service.context import service_of
from wearcast.service.problems import Problem, as_problem

if TYPE_CHECKING:
    from wearcast.service.audit import Result

__all__ = ["audited"]

T = TypeVar("T")


async def audited(request: Request, act: str, subject: str, doing: Awaitable[T], reason: str = "") -> T:
    """Do something and write down who did, and how it ended; where that cannot be written down, the request fails."""
    service = service_of(request)
    who, origin = request.state.principal.client, request.state.client_address
    try:
        done = await doing
    except (Problem, WearcastError) as error:
        problem = as_problem(error)
        result: Result = "refused" if problem.status < 500 else "failed"
        await asyncio.to_thread(
            service.audit.record, who, act, subject, origin=origin, result=result, reason=problem.detail
        )
        raise
    await asyncio.to_thread(service.audit.record, who, act, subject, origin=origin, result="done", reason=reason)
    return done
