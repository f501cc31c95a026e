"""From checked readings to forecasts: which model answers, what is known already, what has to be computed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wearcast.service.answers import Scored, as_json
from wearcast.service.cache import content_key
from wearcast.service.layout import Accepted, UnitReadings
from wearcast.service.parsing import Asked
from wearcast.service.problems import Problem

if TYPE_CHECKING:
    from wearcast.service.context import Service
    from wearcast.service.served import Served

__all__ = ["Part", "accepted", "all_answered", "answered", "assigned", "scored"]


@dataclass(frozen=True, slots=True)
class Part:
    """Units of a request that one model answers.

    Attributes:
        served: the model.
        at: positions of the units in the request.
        units: their readings.
    """

    served: Served
    at: Sequence[int]
    units: Sequence[UnitReadings]


def accepted(service: Service) -> Accepted:
    """What a request may hold now."""
    return service.scorer.layouts.accepted(service.deployment.arms())


def assigned(service: Service, asked: Asked) -> list[Part]:
    """Which model answers for which units: the one that was named, or as the deployment says.

    Raises:
        Problem: the readings lack a column of their model.
        ModelError: there is no such model.
    """
    units, deployment = asked.units, service.deployment
    if asked.model is not None:
        parts = [Part(deployment.named(asked.model), range(len(units)), units)]
    elif len(units) == 1:
        parts = [Part(deployment.choose(units[0].unit), (0,), units)]
    else:
        standing = deployment.standing  # one state for the whole request, whatever is deployed meanwhile
        chosen = [standing.choose(one.unit) for one in units]
        models = {served.arm: served for served in chosen}
        parts = []
        for arm, served in models.items():
            at = [i for i, one in enumerate(chosen) if one.arm == arm]
            parts.append(Part(served, at, units if len(at) == len(units) else [units[i] for i in at]))
    for part in parts:
        service.scorer.layouts.of(part.served).check(part.units, part.served.reference)
    return parts


async def scored(service: Service, part: Part, every: int | None) -> Scored:
    """Forecasts of a part, computed now."""
    try:
        found = await service.scorer.score(
            part.served, part.units, deadline_s=service.settings.limits.request_timeout_s, every=every
        )
    except Problem as problem:
        if problem.slug == "overloaded":
            service.metrics.refused("overload")
        raise
    risk = found.risk
    service.outcomes.given(part.served, part.units, found)
    service.metrics.forecasts(None if risk is None else np.array(risk), count=found.offsets[-1])
    return found


async def answered(service: Service, part: Part, every: int | None) -> tuple[list[bytes], int]:
    """Forecasts of a part as JSON, a text of rows a unit, and how many of them were known already."""
    keys = [content_key(part.served, one, every) for one in part.units]
    known = await service.cache.get(keys)
    lacking = [i for i, value in enumerate(known) if value is None]
    hits = len(keys) - len(lacking)
    service.metrics.cache(hits, len(lacking))
    if not lacking:
        return [value for value in known if value is not None], hits
    rest = part if len(lacking) == len(keys) else Part(part.served, lacking, [part.units[i] for i in lacking])
    made = [as_json(rows) for rows in (await scored(service, rest, every)).rows()]
    for i, text in zip(lacking, made, strict=True):
        known[i] = text
    await service.cache.put({keys[i]: text for i, text in zip(lacking, made, strict=True)})
    return [value for value in known if value is not None], hits


async def all_answered(service: Service, parts: Sequence[Part], every: int | None) -> tuple[list[bytes], int]:
    """`answered` of all parts, in the order of the request's units."""
    if len(parts) == 1:
        return await answered(service, parts[0], every)
    found = await asyncio.gather(*(answered(service, part, every) for part in parts))
    texts: dict[int, bytes] = {}
    for part, (made, _) in zip(parts, found, strict=True):
        texts |= dict(zip(part.at, made, strict=True))
    return [texts[i] for i in range(len(texts))], sum(hits for _, hits in found)
