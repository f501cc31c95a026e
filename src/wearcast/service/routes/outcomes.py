"""What became of units, and how two versions compare by it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from wearcast.service.context import service_of
from wearcast.service.events import Event, EventKind
from wearcast.service.forecasting import accepted
from wearcast.service.openapi import HotRoute, body, problems
from wearcast.service.outcomes import as_json
from wearcast.service.problems import Problem
from wearcast.service.routes.bodies import json_answer, json_body
from wearcast.service.schemas import UnitId

__all__ = ["router"]

router = APIRouter(route_class=HotRoute, tags=["outcomes"])

MOST = 1_000
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class _Documented(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Outcome(_Documented):
    """What became of a unit."""

    unit: UnitId
    time: Annotated[float, Field(ge=-(2**53), le=2**53, allow_inf_nan=False)] | Annotated[str, Field(max_length=40)] = (
        Field(description="When: a cycle, or a time as ISO 8601 text, as the model counts. Without an offset: UTC.")
    )
    kind: EventKind = Field(
        description="failure, end_of_life: the unit has lasted until then. censored, maintenance: at least until then."
    )
    mode: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = Field(
        None, description="How it failed; of a model of faults, the name of a class."
    )


_OUTCOME: JsonDict = {"unit": "pump-7", "time": 153, "kind": "failure", "mode": "bearing"}


class OutcomesRequest(_Documented):
    """What became of units; all of it is recorded, or nothing."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"outcomes": [_OUTCOME]}]})

    outcomes: list[Outcome] = Field(min_length=1, max_length=MOST)


class OutcomesAnswer(_Documented):
    """What was recorded."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"recorded": 1, "repeated": 0}]})

    recorded: int = Field(description="Outcomes that are new.")
    repeated: int = Field(description="Outcomes that were told before in the same words: nothing was changed.")


class VersionSoFar(BaseModel):
    """What is known of one version."""

    version: str
    forecasts: int = Field(description="Forecasts that were given and kept.")
    known: int = Field(description="Of how many of them the truth is known.")
    units: int = Field(description="Units that count in the comparison.")
    error: float | None = Field(description="Mean over units of their mean error.")
    interval: tuple[float, float] | None = Field(description="Bootstrap interval of it.")
    coverage: float | None = Field(description="Share of the intervals that held the truth.")


class ComparisonAnswer(BaseModel):
    """Champion and challenger by what became of the units."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "pumps",
                    "figure": "mae_capped",
                    "champion": {
                        "version": "3", "forecasts": 4310, "known": 1980, "units": 44, "error": 9.8,
                        "interval": [8.1, 11.6], "coverage": 0.91,
                    },
                    "challenger": {
                        "version": "4", "forecasts": 1102, "known": 507, "units": 31, "error": 13.9,
                        "interval": [11.2, 17.0], "coverage": 0.83,
                    },
                    "mode": "split",
                    "difference": 4.1,
                    "interval": [0.9, 7.5],
                    "interval_at_all_looks": [-1.3, 9.5],
                    "level": 0.95,
                    "units": 75,
                    "verdict": "worse",
                    "words": "version 3 is better than version 4",
                    "reservation": None,
                    "losing": False,
                    "compared_at": "2026-05-18T10:00:00Z",
                }
            ]
        }
    )  # fmt: skip

    name: str
    figure: str | None = Field(description="What is compared: mae_capped, brier; less is better.")
    champion: VersionSoFar
    challenger: VersionSoFar
    mode: Literal["paired", "split"] = Field(description="Whether each unit has forecasts of both versions.")
    difference: float | None = Field(description="Error of the challenger minus that of the champion.")
    interval: tuple[float, float] | None = Field(description="Of the difference, for one look.")
    interval_at_all_looks: tuple[float, float] | None = Field(description="Of the difference, however often one looks.")
    level: float
    units: int
    verdict: Literal["better", "worse", "no real difference", "unknown"] = Field(description="Of the challenger.")
    words: str
    reservation: str | None = Field(description="What to hold against it.")
    losing: bool = Field(description="Whether the challenger would be stopped by `models.stop_losing`.")
    compared_at: str = Field(description="When, in UTC.")


_REQUEST: TypeAdapter[OutcomesRequest] = TypeAdapter(OutcomesRequest)


@router.post(
    "/v1/outcomes",
    summary="Tell what became of units",
    responses={200: {"model": OutcomesAnswer}, **problems(404, 409, 415, 422)},
    openapi_extra=body(OutcomesRequest),
)
async def tell(request: Request) -> Response:
    """May be sent again; what contradicts something that was told before is refused, and nothing is recorded then."""
    service = service_of(request)
    asked = (await json_body(request, _REQUEST)).outcomes
    clock = accepted(service).is_clock
    events = [_event(outcome, clock, f"outcomes[{i}]") for i, outcome in enumerate(asked)]
    recorded, repeated = await service.outcomes.add(events, request.state.principal.client)
    request.state.unit_count = len({event.unit for event in events})
    return json_answer({"recorded": recorded, "repeated": repeated})


def _event(outcome: Outcome, clock: bool, place: str) -> Event:
    return Event(str(outcome.unit), _at(outcome.time, clock, f"{place}.time"), outcome.kind, outcome.mode, place)


def _at(said: float | str, clock: bool, where: str) -> float:
    if not clock:
        if isinstance(said, str):
            raise Problem.at("bad-input", where, f"expected a cycle number, got {said!r}", "the model counts in cycles")
        return float(said)
    hint = "such as 2026-05-18T10:00:00Z; the model counts by the clock"
    if not isinstance(said, str):
        raise Problem.at("bad-input", where, f"expected a time as ISO 8601 text, got {said:g}", hint)
    try:
        moment = datetime.fromisoformat(said)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Problem.at("bad-input", where, f"{said!r} is not a time", hint) from None
    if not EARLIEST <= moment <= LATEST:
        raise Problem.at("bad-input", where, f"{said!r} is not between 1970 and 2200", hint)
    since = moment - EARLIEST
    return float((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


_TEXT = {"type": "string", "maxLength": 256}
_QUERY = [
    {"name": "name", "in": "query", "schema": _TEXT, "description": "Of the model; the one that is served."},
    {"name": "champion", "in": "query", "schema": _TEXT, "description": "Its version; the one that is loaded."},
    {"name": "challenger", "in": "query", "schema": _TEXT, "description": "Likewise."},
]


@router.get(
    "/v1/outcomes/comparison",
    summary="Compare two versions by what became of the units",
    responses={200: {"model": ComparisonAnswer}, **problems(422)},
    openapi_extra={"parameters": _QUERY},
)
async def comparison(request: Request) -> Response:
    """Errors of forecasts whose truth is known by now, a unit counted once, with a 95 % interval of the difference."""
    query = request.query_params
    given = {name: query.get(name) for name in ("name", "champion", "challenger")}
    for name, value in given.items():
        if value is not None and not 0 < len(value) <= 256:
            raise Problem.at("bad-input", name, "expected 1 to 256 characters")
    found = await service_of(request).outcomes.compare(**given)
    return json_answer(as_json(found))
