"""What an administrator decides: promotion and rollback, the share of a challenger, and when to look for versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from wearcast.registry.records import is_name
from wearcast.service.context import service_of
from wearcast.service.openapi import HotRoute, body, problems
from wearcast.service.problems import Problem
from wearcast.service.promotion import promoted, rolled_back
from wearcast.service.routes.acts import audited
from wearcast.service.routes.bodies import json_answer, json_body

if TYPE_CHECKING:
    from wearcast.service.context import Service
    from wearcast.service.served import Served
    from wearcast.service.settings import Settings

__all__ = ["router"]

router = APIRouter(route_class=HotRoute, tags=["models"])

T = TypeVar("T")

_SILENT = "the registry does not say what to serve; the log says why"
Alias = Literal["champion", "challenger"]
Move = Callable[["Settings", str], dict[str, Any]]
Text = Annotated[
    str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$")
]


class _Documented(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class PromoteRequest(_Documented):
    """Which version is to be served."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"version": "4"}, {"version": "4", "alias": "challenger"}]},
    )

    version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]
    alias: Alias = "champion"
    override: Text | None = Field(None, description="Why it is promoted although the gate says no; recorded.")


class RollbackRequest(_Documented):
    """Back to the version before."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "false alarms at the north site"}]}
    )

    alias: Alias = "champion"
    reason: Text | None = None


class ArmAnswer(BaseModel):
    """A model that is loaded."""

    name: str
    version: str
    arm: Literal["champion", "challenger", "fixed"]
    key: str


class DeploymentAnswer(BaseModel):
    """What answers now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "changed": True,
                    "source": "registry",
                    "champion": {"name": "pumps", "version": "4", "arm": "champion", "key": "9f0c…"},
                    "challenger": None,
                    "challenger_share": 0.0,
                    "shadow": False,
                    "stopped": None,
                    "registry_error": None,
                    "broken": [],
                    "registry": None,
                }
            ]
        }
    )

    changed: bool = Field(description="Whether this request has changed what answers.")
    source: Literal["none", "bundle", "registry", "cache"]
    champion: ArmAnswer | None
    challenger: ArmAnswer | None
    challenger_share: float
    shadow: bool
    stopped: str | None = Field(description="Why the challenger answers no more, if it was stopped.")
    registry_error: str | None = Field(description="Why the registry could not be asked; null if it could.")
    broken: list[str] = Field(description="Versions that could not be loaded; the log says why.")
    registry: dict[str, Any] | None = Field(description="What the registry said of the promotion or rollback.")


class SplitRequest(_Documented):
    """Which share of the units the challenger answers, and whether it forecasts in the shadow."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"challenger_share": 0.1}, {"shadow": True}]}
    )

    challenger_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    shadow: bool | None = None
    version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")] | None = Field(
        None, description="Of the challenger that is meant; refused if it is another one by now."
    )


_PROMOTE: TypeAdapter[PromoteRequest] = TypeAdapter(PromoteRequest)
_ROLLBACK: TypeAdapter[RollbackRequest] = TypeAdapter(RollbackRequest)
_SPLIT: TypeAdapter[SplitRequest] = TypeAdapter(SplitRequest)


@router.post(
    "/v1/models/{name}/promote",
    summary="Let a version be served",
    responses={200: {"model": DeploymentAnswer}, **problems(404, 409, 415, 422)},
    openapi_extra=body(PromoteRequest),
)
async def promote(request: Request) -> Response:
    """Through the gate of the registry; audited. The answer comes when this process has loaded it."""
    asked = await json_body(request, _PROMOTE)
    reference = f"{_name(request)}/{asked.version}"

    def move(settings: Settings, who: str) -> dict[str, Any]:
        """Promote, in a thread."""
        return promoted(settings, reference, alias=asked.alias, who=who, override=asked.override)

    return await _moved(request, "model.promote", reference, move, asked.override)


@router.post(
    "/v1/models/{name}/rollback",
    summary="Back to the version before",
    responses={200: {"model": DeploymentAnswer}, **problems(404, 409, 415, 422)},
    openapi_extra=body(RollbackRequest, required=False),
)
async def rollback(request: Request) -> Response:
    """What the alias stood for before the last promotion; audited. The answer comes when this process has loaded it."""
    asked = await json_body(request, _ROLLBACK, empty=b"{}")
    name = _name(request)

    def move(settings: Settings, who: str) -> dict[str, Any]:
        """Roll back, in a thread."""
        return rolled_back(settings, name, alias=asked.alias, who=who, reason=asked.reason)

    return await _moved(request, "model.rollback", name, move, asked.reason)


@router.post(
    "/v1/deployment/refresh",
    summary="Look for new versions now",
    responses={200: {"model": DeploymentAnswer}, **problems(415)},
)
async def refresh(request: Request) -> Response:
    """As happens every `models.refresh_s` by itself; versions that could not be loaded are tried again."""
    service = service_of(request)
    changed = await audited(request, "deployment.refresh", _served(service), service.deployment.refresh())
    return _answer(service, changed)


@router.put(
    "/v1/deployment/split",
    summary="Share the units between champion and challenger",
    responses={200: {"model": DeploymentAnswer}, **problems(409, 415, 422)},
    openapi_extra=body(SplitRequest),
)
async def split(request: Request) -> Response:
    """Holds for this challenger, also after a restart and in other processes; the next one begins as settings say."""
    asked = await json_body(request, _SPLIT)
    service = service_of(request)
    before = service.deployment.status()
    after = before.split
    if asked.challenger_share is not None:
        after = replace(after, share=asked.challenger_share, stopped=None if asked.challenger_share else after.stopped)
    if asked.shadow is not None:
        after = replace(after, shadow=asked.shadow)
    subject = "none" if before.challenger is None else before.challenger.reference
    reason = f"challenger_share {after.share:g}, shadow {after.shadow}"
    await audited(
        request, "deployment.split", subject, service.deployment.set_split(after, version=asked.version), reason
    )
    return _answer(service, after != before.split)


# ------------------------------------------------------------------ shared


async def _moved(request: Request, act: str, subject: str, move: Move, reason: str | None) -> Response:
    service = service_of(request)
    who = request.state.principal.client

    async def moving() -> dict[str, Any]:
        _check_served(service, subject.partition("/")[0])
        return await asyncio.to_thread(move, service.settings, who)

    said = await audited(request, act, subject, moving(), reason or "")
    changed = await service.deployment.refresh()
    return _answer(service, changed, said)


def _check_served(service: Service, name: str) -> None:
    """Only the model that is served here is moved here.

    Raises:
        Problem: `unknown-model`; `conflict`: a fixed bundle is served.
    """
    reference = service.settings.models.reference
    if reference is None:
        raise Problem("conflict", "a fixed bundle is served here: there is no registry to promote in")
    if name != reference.rpartition("@")[0] and name != reference.rpartition("/")[0]:
        raise Problem.at("unknown-model", "name", f"no model {name[:80]!r} is served here", f"there is {reference}")


def _answer(service: Service, changed: bool, registry: dict[str, Any] | None = None) -> Response:
    status = service.deployment.status()
    content = {
        "changed": changed,
        "source": status.source,
        "champion": _arm(status.champion),
        "challenger": _arm(status.challenger),
        "challenger_share": status.split.share,
        "shadow": status.split.shadow,
        "stopped": status.split.stopped,
        "registry_error": None if status.registry_error is None else _SILENT,
        "broken": [broken.reference for broken in status.broken],
        "registry": registry,
    }
    return json_answer(content)


def _arm(served: Served | None) -> dict[str, str] | None:
    if served is None:
        return None
    return {"name": served.name, "version": served.version, "arm": served.arm, "key": served.key}


def _served(service: Service) -> str:
    arms = service.deployment.arms()
    return arms[0].reference if arms else "none"


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not is_name(name) or name.startswith("-"):
        raise Problem.at("unknown-model", "name", f"{name[:80]!r} is not the name of a model")
    return name
