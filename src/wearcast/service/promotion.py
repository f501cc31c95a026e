"""Promotion and rollback as `wearcast registry` does them, on behalf of a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wearcast.errors import RegistryError, RegistryUnavailableError
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
        RegistryUnavailableError: the registry does not answer, is no registry any more, or is moved by somebody else.
    """
    with _registry(settings) as (store, cache):
        version = store.resolve(reference)
        verdict = weigh(store, version, cache=cache)
        if not verdict.passed and override is None:
            complaints = "; ".join(f"{check.name}: {check.said}" for check in verdict.failed)
            hint = 'nothing was changed; "override": "REASON" promotes it all the same, and is recorded'
            raise Problem.at("conflict", reference, f"the gate says no: {complaints}", hint)
        return promote(store, version, verdict, alias=alias, who=who, override=override).to_dict(alias)


def rolled_back(settings: Settings, name: str, *, alias: Alias, who: str, reason: str | None) -> dict[str, Any]:
    """Put back what an alias stood for before; blocks and raises as `promoted` does."""
    with _registry(settings) as (store, cache):
        return rollback(store, name, cache=cache, alias=alias, who=who, reason=reason).to_dict(alias)


@contextmanager
def _registry(settings: Settings) -> Iterator[tuple[Store, Path]]:
    """The registry and the cache; one that cannot be read as a whole is no fault of who asks."""
    store = open_store(settings.registry_url or default_uri())
    try:
        yield store, settings.models.cache_dir or default_cache()
    except RegistryError as error:
        if error.where != store.uri or isinstance(error, RegistryUnavailableError):
            raise
        raise RegistryUnavailableError(error.what, where=error.where, hint=error.hint) from error
