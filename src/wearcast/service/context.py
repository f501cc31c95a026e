"""What the service is made of, as one value that every route reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from wearcast.service.lifecycle import Lifecycle, Readiness

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa
    from starlette.requests import Request

    from wearcast.service.audit import Audit
    from wearcast.service.cache import PredictionCache
    from wearcast.service.deployment import Deployment
    from wearcast.service.histories import UnitHistories
    from wearcast.service.issuer import Issuer
    from wearcast.service.jobs import Jobs
    from wearcast.service.limits import Limiter
    from wearcast.service.logs import Logs
    from wearcast.service.metrics import Metrics
    from wearcast.service.outcomes import Outcomes
    from wearcast.service.outside import Outside
    from wearcast.service.scoring import Scorer
    from wearcast.service.settings import Settings
    from wearcast.service.tokens import Verifier
    from wearcast.service.tracing import Tracing

__all__ = ["Service", "service_of"]


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that lives as long as the process, built once by `app.create_app`."""

    settings: Settings
    database: sa.Engine
    deployment: Deployment
    scorer: Scorer
    cache: PredictionCache
    histories: UnitHistories
    jobs: Jobs
    outcomes: Outcomes
    verifier: Verifier
    limiter: Limiter
    audit: Audit
    metrics: Metrics
    outside: Mapping[str, Outside]
    lifecycle: Lifecycle
    logs: Logs | None = None
    issuer: Issuer | None = None
    tracing: Tracing | None = None
    readiness: Readiness = field(default_factory=Readiness)


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    return cast("Service", request.app.state.service)
