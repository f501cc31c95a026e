"""The parts of the service put together, started in order and stopped in the reverse one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wearcast.service import cache, database, issuer
from wearcast.service.audit import Audit
from wearcast.service.context import Service
from wearcast.service.deployment import Deployment
from wearcast.service.given import Keeping
from wearcast.service.health import configured, loaded_models, state_file
from wearcast.service.histories import UnitHistories
from wearcast.service.jobs import JobLimits, Jobs
from wearcast.service.lifecycle import Lifecycle
from wearcast.service.limits import Limiter
from wearcast.service.logs import Logs, get_logger
from wearcast.service.metrics import Metrics, Sources
from wearcast.service.outcomes import Outcomes
from wearcast.service.outside import outside_services
from wearcast.service.scoring import Scorer
from wearcast.service.secrets import Secrets
from wearcast.service.settings import state_folder
from wearcast.service.split import StoredSplits
from wearcast.service.tracing import Tracing, open_tracing

if TYPE_CHECKING:
    from wearcast.service.breaker import BreakerState
    from wearcast.service.settings import LimitsSettings, Settings

__all__ = ["assemble", "job_folder", "running"]

log = get_logger("wearcast.service.assembly")


def assemble(settings: Settings, *, lifecycle: Lifecycle | None = None, logs: Logs | None = None) -> Service:
    """Build every part; the database is opened, nothing else is asked and no model is loaded yet.

    Raises:
        ConfigError: a secret is not there, the database cannot be opened, or settings contradict each other.
        MissingExtraError: what the settings ask for is not installed.
    """
    outside = outside_services(_tell_breaker)
    keeper = Secrets(settings.vault, outside["vault"])
    redis_url = keeper.reveal(settings.redis_url) if settings.redis_url is not None else None
    engine = database.open(keeper.reveal(settings.state_url))
    metrics = Metrics()
    who = issuer.authority(settings, engine, keeper, outside)
    recorded = Audit(engine)
    histories = UnitHistories(engine)
    tracing = open_tracing(settings.tracing)
    deployment = Deployment.of(settings, outside["registry"], StoredSplits(engine))
    scorer = _scorer(settings.limits, metrics, tracing)
    records = settings.records
    service = Service(
        settings=settings,
        database=engine,
        deployment=deployment,
        scorer=scorer,
        cache=cache.open_cache(settings.cache, redis_url, outside["redis"]),
        histories=histories,
        jobs=Jobs(
            job_folder(settings),
            engine,
            deployment,
            scorer.layouts,
            limits=JobLimits(**settings.jobs.model_dump()),
            busy=lambda: scorer.waiting,
        ),
        outcomes=Outcomes(
            engine,
            deployment,
            scorer.layouts,
            audit=recorded,
            stop_losing=settings.models.stop_losing,
            read=histories.read,
            keeping=Keeping(buffer=records.waiting, each_s=records.each_s, days=records.days),
        ),
        verifier=who.verifier,
        issuer=who.issuer,
        limiter=Limiter(settings.limits, redis_url=redis_url, workers=settings.workers, outside=outside["redis"]),
        audit=recorded,
        metrics=metrics,
        outside=outside,
        lifecycle=lifecycle or Lifecycle(),
        logs=logs,
        tracing=tracing,
    )
    metrics.sources = _sources(service)
    return service


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Load the model and start what works in the background; at the end give back what was taken.

    Raises:
        BundleError: the fixed bundle is not whole.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(service.database.dispose)
        stack.push_async_callback(service.limiter.close)
        stack.push_async_callback(service.cache.close)
        stack.push_async_callback(asyncio.to_thread, service.scorer.close)
        if service.tracing is not None:
            stack.push_async_callback(asyncio.to_thread, service.tracing.close)
        await service.deployment.start()
        await service.outcomes.start()
        stack.push_async_callback(service.outcomes.stop)
        await service.jobs.start()
        stack.push_async_callback(service.jobs.stop)
        stack.push_async_callback(_cancelled, asyncio.create_task(service.deployment.run()))
        yield


def job_folder(settings: Settings) -> Path:
    """Where jobs keep their files: beside the database where that is a file, else where this user keeps state."""
    return (state_file(settings) or state_folder() / "state").parent / "jobs"


def _scorer(limits: LimitsSettings, metrics: Metrics, tracing: Tracing | None) -> Scorer:
    kind = Scorer if tracing is None else tracing.scorer
    return kind(
        queue=limits.queue,
        batch_max=limits.batch_max,
        batch_wait_ms=limits.batch_wait_ms,
        moment_s=limits.moment_ms / 1e3,
        observer=metrics,
    )


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _sources(service: Service) -> Sources:
    used = [name for name, is_used in configured(service.settings).items() if is_used]

    def breakers() -> Mapping[str, BreakerState]:
        return {name: service.outside[name].state for name in used}

    logs = service.logs
    return Sources(
        in_flight=lambda: service.lifecycle.in_flight,
        queue=lambda: service.scorer.waiting,
        models=lambda: loaded_models(service),
        jobs=service.jobs.counts,
        breakers=breakers,
        lines_dropped=(lambda: logs.writer.dropped) if logs is not None else int,
        swaps=lambda: service.deployment.status().swaps,
        broken=lambda: len(service.deployment.status().broken),
        limits_local=lambda: service.limiter.degraded,
        records=service.outcomes.counts,
    )


def _tell_breaker(name: str, state: BreakerState, last_error: str | None) -> None:
    if state == "open":
        log.warning("a service outside is left alone for a while", service=name, **{"error.type": last_error})
    else:
        log.info("a service outside answers again", service=name)
