"""What is registered, which version a name stands for, and its bundle on this machine.

None of this imports MLflow: a server is asked by its REST API, a database is read as it lies. Contract tests hold each
answer against what MLflow's own client says of the same store.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from wearcast.errors import UsageError
from wearcast.registry.records import ModelVersion, RegisteredModel, Run

if TYPE_CHECKING:
    from wearcast.registry.store import Store

__all__ = [
    "ModelVersion",
    "RegistryReader",
    "default_cache",
    "default_data",
    "default_uri",
    "open_registry",
    "open_store",
]

REGISTRY_VARIABLE = "WEARCAST_REGISTRY"
"""URI of the registry, for every command that is not given `--registry`."""

ARTIFACTS_VARIABLE = "WEARCAST_REGISTRY_ARTIFACTS"
"""Where the files of a registry without a server lie: a folder, or a URL that MLflow can write to."""

MLFLOW_VARIABLE = "MLFLOW_TRACKING_URI"


@runtime_checkable
class RegistryReader(Protocol):
    """A registry that is only read. May be used by several threads at once.

    Every method raises `RegistryUnavailableError` where the same call may work a moment later, and `RegistryError`
    where it will not. Nothing is retried here.
    """

    @property
    def uri(self) -> str:
        """Where it is, without a password."""

    def models(self) -> tuple[str, ...]:
        """Names of the registered models, sorted."""

    def model(self, name: str) -> RegisteredModel:
        """Aliases and tags of a model."""

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Every version of a model, oldest first."""

    def resolve(self, reference: str) -> ModelVersion:
        """The version that `pumps@champion` or `pumps/3` stands for now."""

    def run(self, run_id: str) -> Run:
        """What the run of a version recorded."""

    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        """The directory of the bundle on this machine, every byte checked.

        What is downloaded is kept in `cache` under the checksum of its content: whole, or not at all.
        """


def open_registry(uri: str, *, timeout_s: float = 5.0) -> RegistryReader:
    """A reader of a registry; nothing is asked of it yet.

    Args:
        uri: `sqlite:///PATH`, `postgresql://…`, or `http(s)://…` of an MLflow server.
        timeout_s: what one question may take; of a download, one pause in it.

    Raises:
        UsageError: no such kind of registry.
    """
    return open_store(uri, timeout_s=timeout_s)


def open_store(uri: str, *, timeout_s: float = 5.0) -> Store:
    """The same with the few writes that move an alias.

    Raises:
        UsageError: no such kind of registry.
    """
    scheme = uri.partition(":")[0].lower().partition("+")[0]
    if scheme in ("http", "https"):
        from wearcast.registry.rest import RestStore

        return RestStore(uri, timeout_s=timeout_s)
    if scheme in ("sqlite", "postgresql", "postgres"):
        from wearcast.registry.database import DatabaseStore

        return DatabaseStore(uri, timeout_s=timeout_s)
    raise UsageError(
        f"not a registry: {uri!r}" if "@" not in uri else f"not a registry: {scheme}:…",
        hint="give sqlite:///PATH, postgresql://USER@HOST/DATABASE or the http(s):// URL of an MLflow server",
    )


def default_uri() -> str:
    """`WEARCAST_REGISTRY`, else `MLFLOW_TRACKING_URI`, else a SQLite file in the user's data folder."""
    for variable in (REGISTRY_VARIABLE, MLFLOW_VARIABLE):
        if chosen := os.environ.get(variable, "").strip():
            return chosen
    return f"sqlite:///{default_data() / 'registry.db'}"


def default_data() -> Path:
    """Wearcast's folder among the user's data: unlike a cache, nobody empties it."""
    return _user_folder("XDG_DATA_HOME", ".local/share")


def default_cache() -> Path:
    """Where downloaded bundles are kept, in the user's cache folder."""
    return _user_folder("XDG_CACHE_HOME", ".cache") / "bundles"


def artifact_root(uri: str) -> str | None:
    """Where the files of a database's runs lie; a server says so itself."""
    if uri.startswith("http"):
        return None
    if chosen := os.environ.get(ARTIFACTS_VARIABLE, "").strip():
        return chosen if "://" in chosen else Path(chosen).expanduser().resolve().as_uri()
    if uri.startswith("sqlite"):
        from wearcast.registry.connections import sqlite_path

        path = sqlite_path(uri).resolve()
        return path.with_name(f"{path.stem}-artifacts").as_uri()
    return (default_data() / "registry-artifacts").resolve().as_uri()


def _user_folder(variable: str, otherwise: str) -> Path:
    chosen = os.environ.get(variable, "").strip()
    # The XDG specification says that a relative path is to be ignored.
    base = Path(chosen) if chosen and Path(chosen).is_absolute() else Path.home() / otherwise
    return base / "wearcast"
