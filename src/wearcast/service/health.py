"""Whether the process lives, whether it should get requests, and what there is to know about it.

A dependency that is down makes the service degraded, not unready: as long as a model is loaded it answers, and a
balancer that took it away would turn half a fault into a whole one. The database is the exception, because histories
and jobs are promises that are kept there.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from wearcast import __version__
from wearcast.service.outside import OutsideDownError

if TYPE_CHECKING:
    from wearcast.service.context import Service
    from wearcast.service.metrics import LoadedModel
    from wearcast.service.settings import Settings

__all__ = ["configured", "detail", "loaded_models", "ready", "state_file"]

_KEPT_S = 1.0  # one answer of the database serves all who ask within this time: anybody may ask for readiness
_LITTLE = 256 * 2**20  # bytes free, below which a disk is a reason to look

Reason = Literal["ready", "draining", "no model", "database"]


async def ready(service: Service) -> Reason:
    """`ready`, or why no request should come here."""
    if service.lifecycle.draining:
        return "draining"
    if not service.deployment.ready:
        return "no model"
    return "ready" if await _database_works(service) else "database"


async def detail(service: Service) -> dict[str, Any]:
    """Everything that an operator may want to know; no secrets, no addresses."""
    reason = await ready(service)
    dependencies = _dependencies(service)
    disks = await asyncio.to_thread(_disks, service.settings)
    reasons = _reasons(service, dependencies, disks)
    return {
        "status": ("degraded" if reasons else "ok") if reason == "ready" else reason,
        "reasons": reasons,
        "version": __version__,
        "profile": service.settings.profile,
        "uptime_s": round(service.lifecycle.age_s, 1),
        "models": [
            {"name": model.name, "version": model.version, "arm": model.arm, "age_s": round(model.age_s, 1)}
            for model in loaded_models(service)
        ],
        "dependencies": dependencies,
        "disks": disks,
        "requests_in_flight": service.lifecycle.in_flight,
        "queue": {"length": service.scorer.waiting, "limit": service.settings.limits.queue},
        "jobs": dict(service.jobs.counts()),
        "log_lines_dropped": service.logs.writer.dropped if service.logs else 0,
    }


def configured(settings: Settings) -> Mapping[str, bool]:
    """Which services outside are asked at all, by name."""
    redis = settings.redis_url is not None and "redis" in (settings.limits.storage, settings.cache.kind)
    return {
        "database": True,
        "registry": settings.models.reference is not None,
        "redis": redis,
        "oidc": settings.auth.required and settings.auth.issuer != "builtin",
        "vault": settings.vault.address is not None,
    }


def loaded_models(service: Service) -> list[LoadedModel]:
    """The models that answer now."""
    from wearcast.service.metrics import LoadedModel

    return [
        LoadedModel(served.name, served.version, served.arm, _age_s(served.bundle.manifest.created))
        for served in service.deployment.arms()
    ]


def _age_s(created: str) -> float:
    made = datetime.fromisoformat(created)
    return max(0.0, (datetime.now(UTC) - (made if made.tzinfo else made.replace(tzinfo=UTC))).total_seconds())


async def _database_works(service: Service) -> bool:
    last = service.readiness
    now = time.monotonic()
    if now - last.asked >= _KEPT_S:
        last.asked = now  # whoever comes meanwhile gets the former answer
        last.works = await asyncio.to_thread(_ask, service)
    return last.works


def _ask(service: Service) -> bool:
    def one() -> None:
        with service.database.connect() as connection:
            connection.execute(sa.text("SELECT 1"))

    try:
        service.outside["database"].call_sync(one)
    except (OutsideDownError, sa.exc.SQLAlchemyError):
        return False
    return True


def _dependencies(service: Service) -> dict[str, dict[str, Any]]:
    used = configured(service.settings)
    return {
        name: {
            "breaker": outside.state,
            "latency_ms": None if outside.latency_ms is None else round(outside.latency_ms, 3),
            "last_error": outside.last_error,
        }
        for name, outside in service.outside.items()
        if used.get(name, False)
    }


def _disks(settings: Settings) -> dict[str, dict[str, int]]:
    """Space where the service writes, by what it is for; folders are named by their purpose, not by their path."""
    from wearcast.registry.reading import default_cache

    folders = {"models": settings.models.cache_dir or default_cache()}
    if (state := state_file(settings)) is not None:
        folders["state"] = state.parent
    return {name: _space(folder) for name, folder in folders.items()}


def state_file(settings: Settings) -> Path | None:
    """The file of the database; None where it is on a server, in memory, or its URL a secret."""
    url = settings.state_url.get_secret_value()
    place = url.removeprefix("sqlite:///")
    return Path(place) if url != place and place not in ("", ":memory:") else None


def _space(folder: Path) -> dict[str, int]:
    there = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    usage = shutil.disk_usage(there)
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def _reasons(service: Service, dependencies: dict[str, dict[str, Any]], disks: dict[str, dict[str, int]]) -> list[str]:
    reasons = [f"{name}: {_broken(facts)}" for name, facts in dependencies.items() if facts["last_error"]]
    status = service.deployment.status()
    if status.registry_error and not any(reason.startswith("registry") for reason in reasons):
        reasons.append("registry: does not say what to serve; what is loaded goes on")
    if status.source == "cache":
        reasons.append("models: the champion is the last one that was served here")
    reasons += [f"models: {broken.reference} cannot be loaded" for broken in status.broken]
    if service.limiter.degraded and not any(reason.startswith("redis") for reason in reasons):
        reasons.append("redis: does not count the limits; this process does")
    reasons += [f"disk: little space for {name}" for name, space in disks.items() if space["free_bytes"] < _LITTLE]
    if service.logs and service.logs.writer.dropped:
        reasons.append("logs: lines were dropped")
    return reasons


def _broken(facts: dict[str, Any]) -> str:
    state = "not asked for now" if facts["breaker"] == "open" else "does not answer"
    return f"{state} ({facts['last_error']})"
