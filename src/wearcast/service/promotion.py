"""Promotion and rollback as `wearcast registry` does them, on behalf of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wearcast.registry.promotion import promote, rollback, weigh
from wearcast.registry.reading import default_cache, default_uri, open_store
from wearcast.service.problems import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from wearcast.registry.promotion import Alias
    from wearcast.registry.store import Store
    from wearcast.service.settings import Settings

__all__ = ["promoted", "rolled_back"]


def promoted(settings: Settings, reference: str, *, alias: Alias, who: str, override: str | None) -> dict[str, Any]:
    """Let an alias stand for a version, if the gate lets it through; what the registry says of it.

    Blocks: bundles are fetched and checked.

    Raises:
        Problem: `conflict`: the gate says no.
        NotRegisteredError: there is no such version.
        RegistryError: the registry refuses.
        NoRegistryError: the registry is none any more.
        RegistryUnavailableError: the registry does not answer, or is moved by somebody else.
    """
    store, cache = _registry(settings)
    version = store.resolve(reference)
    verdict = weigh(store, version, cache=cache)
    if not verdict.passed and override is None:
        complaints = "; ".join(f"{check.name}: {check.said}" for check in verdict.failed)
        hint = 'nothing was changed; "override": "REASON" promotes it all the same, and is recorded'
        raise Problem.at("conflict", reference, f"the gate says no: {complaints}", hint)
    return promote(store, version, verdict, alias=alias, who=who, override=override).to_dict(alias)


def rolled_back(settings: Settings, name: str, *, alias: Alias, who: str, reason: str | None) -> dict[str, Any]:
    """Put back what an alias stood for before; blocks and raises as `promoted` does."""
    store, cache = _registry(settings)
    return rollback(store, name, cache=cache, alias=alias, who=who, reason=reason).to_dict(alias)


def _registry(settings: Settings) -> tuple[Store, Path]:
    """The registry and the cache."""
    return open_store(settings.registry_url or default_uri()), settings.models.cache_dir or default_cache()
