"""MLflow's own database, SQLite or PostgreSQL, read as it lies.

Only these tables and columns of MLflow 3 are relied on: `registered_models`, `registered_model_tags`,
`registered_model_aliases`, `model_versions`, `model_version_tags`, and of runs `runs`, `params`, `latest_metrics`,
`tags`. Databases of MLflow servers with workspaces are read in the workspace `default`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wearcast.errors import RegistryError
from wearcast.registry.artifacts import local_bundle, local_path
from wearcast.registry.connections import Connect, foreign, postgres, shown_uri, sqlite
from wearcast.registry.records import ModelVersion, RegisteredModel, Run
from wearcast.registry.store import Store

__all__ = ["DatabaseStore"]

WORKSPACE = "default"
DELETED = "Deleted_Internal"


class Row(dict[str, Any]):
    """A row by column; a column that MLflow has and this database has not makes it a foreign one."""

    def __missing__(self, column: str) -> Any:
        raise foreign(f"there is no column {column!r}")


Ask = Callable[..., list[Row]]


class DatabaseStore(Store):
    """A registry in a database. Each question opens a connection of its own, so threads do not meet."""

    def __init__(self, uri: str, *, timeout_s: float = 5.0) -> None:
        self._shown = shown_uri(uri)
        self._connect: Connect = (sqlite if uri.lower().startswith("sqlite") else postgres)(uri, timeout_s)

    @property
    def uri(self) -> str:
        """Where it is, without a password."""
        return self._shown

    def models(self) -> tuple[str, ...]:
        """Names of the registered models, sorted."""
        with self._asking() as ask:
            return tuple(sorted(row["name"] for row in ask("SELECT * FROM registered_models")))

    def model(self, name: str) -> RegisteredModel:
        """Aliases and tags of a model.

        Raises:
            NotRegisteredError: there is no such model.
        """
        with self._asking() as ask:
            found = ask("SELECT * FROM registered_models WHERE name = ?", name)
            aliases = ask("SELECT * FROM registered_model_aliases WHERE name = ?", name)
            tags = ask("SELECT * FROM registered_model_tags WHERE name = ?", name)
        if not found:
            raise self._no_model(name)
        return RegisteredModel(
            name,
            {row["alias"]: str(row["version"]) for row in aliases},
            {row["key"]: row["value"] or "" for row in tags},
        )

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Every version of a model, oldest first.

        Raises:
            NotRegisteredError: there is no such model.
        """
        return self._versions(name, "", ())

    def version(self, name: str, number: str) -> ModelVersion:
        """One version of a model.

        Raises:
            NotRegisteredError: there is no such version.
        """
        found = self._versions(name, " AND version = ?", (int(number),))
        if not found:
            raise self._no_version(name, number)
        return found[0]

    def _versions(self, name: str, only: str, values: tuple[object, ...]) -> tuple[ModelVersion, ...]:
        with self._asking() as ask:
            known = ask("SELECT * FROM registered_models WHERE name = ?", name)
            rows = ask(f"SELECT * FROM model_versions WHERE name = ?{only}", name, *values)  # noqa: S608 - a constant
            tags = ask(f"SELECT * FROM model_version_tags WHERE name = ?{only}", name, *values)  # noqa: S608
            aliases = ask("SELECT * FROM registered_model_aliases WHERE name = ?", name)
        if not known:
            raise self._no_model(name)
        alive = sorted((row for row in rows if row["current_stage"] != DELETED), key=lambda row: int(row["version"]))
        return tuple(_version(row, tags, aliases) for row in alive)

    def run(self, run_id: str) -> Run:
        """What a run recorded.

        Raises:
            RegistryError: there is no such run.
        """
        with self._asking() as ask:
            found = ask("SELECT * FROM runs WHERE run_uuid = ?", run_id)
            params = ask("SELECT * FROM params WHERE run_uuid = ?", run_id)
            metrics = ask("SELECT * FROM latest_metrics WHERE run_uuid = ?", run_id)
            tags = ask("SELECT * FROM tags WHERE run_uuid = ?", run_id)
        if not found:
            raise RegistryError(f"there is no run {run_id!r}", where=self.uri)
        return Run(
            run_id,
            {row["key"]: row["value"] for row in params},
            {row["key"]: float("nan") if row["is_nan"] else row["value"] for row in metrics},
            {row["key"]: row["value"] for row in tags},
        )

    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        """The directory of the bundle, where it lies: artifacts of a database are files of this machine.

        Raises:
            RegistryError: the version has no whole bundle, or its artifacts lie elsewhere.
        """
        with self._asking() as ask:
            rows = ask(
                "SELECT * FROM model_versions WHERE name = ? AND version = ?", version.name, int(version.version)
            )
        if not rows:
            raise self._no_version(version.name, version.version)
        place = rows[0]["storage_location"] or rows[0]["source"] or ""
        return local_bundle(local_path(place, version), version)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias stand for a version, in one transaction.

        Raises:
            NotRegisteredError: there is no such version.
        """
        with self._asking(write=True) as ask:
            rows = ask("SELECT * FROM model_versions WHERE name = ? AND version = ?", name, int(version))
            if any(row["current_stage"] != DELETED for row in rows):
                _put(ask, "registered_model_aliases", {"name": name, "alias": alias}, {"version": int(version)})
                return
        raise self._no_version(name, version)

    def set_tag(self, name: str, key: str, value: str) -> None:
        """Write a tag of a model.

        Raises:
            NotRegisteredError: there is no such model.
        """
        with self._asking(write=True) as ask:
            if ask("SELECT * FROM registered_models WHERE name = ?", name):
                _put(ask, "registered_model_tags", {"name": name, "key": key}, {"value": value})
                return
        raise self._no_model(name)

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Write a tag of a version.

        Raises:
            NotRegisteredError: there is no such version.
        """
        with self._asking(write=True) as ask:
            if ask("SELECT * FROM model_versions WHERE name = ? AND version = ?", name, int(version)):
                of = {"name": name, "version": int(version), "key": key}
                _put(ask, "model_version_tags", of, {"value": value})
                return
        raise self._no_version(name, version)

    def delete_tag(self, name: str, key: str) -> None:
        """Remove a tag of a model, if it is there."""
        with self._asking(write=True) as ask:
            ask("DELETE FROM registered_model_tags WHERE name = ? AND key = ?", name, key)

    @contextmanager
    def _asking(self, *, write: bool = False) -> Iterator[Ask]:
        """Ask within one transaction; rows of other workspaces are left out."""
        with self._connect(write) as run:

            def ask(statement: str, *values: object) -> list[Row]:
                return [row for row in map(Row, run(statement, values)) if row.get("workspace", WORKSPACE) == WORKSPACE]

            yield ask


def _put(ask: Ask, table: str, key: dict[str, Any], value: dict[str, Any]) -> None:
    """Insert or replace a row, within the transaction of the caller; the names are constants of this module."""
    of = " AND ".join(f"{column} = ?" for column in key)
    (column, new), *_ = value.items()
    if ask(f"SELECT * FROM {table} WHERE {of}", *key.values()):  # noqa: S608
        ask(f"UPDATE {table} SET {column} = ? WHERE {of}", new, *key.values())  # noqa: S608
    else:
        columns = (*key, column)
        marks = ", ".join("?" for _ in columns)
        ask(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", *key.values(), new)  # noqa: S608


def _version(row: Row, tags: list[Row], aliases: list[Row]) -> ModelVersion:
    number = row["version"]
    return ModelVersion(
        name=row["name"],
        version=str(number),
        aliases=tuple(sorted(alias["alias"] for alias in aliases if alias["version"] == number)),
        run_id=row["run_id"],
        source=row["source"] or "",
        created=datetime.fromtimestamp((row["creation_time"] or 0) / 1000, UTC),
        tags={tag["key"]: tag["value"] or "" for tag in tags if tag["version"] == number},
        description=row["description"] or "",
        status=row["status"] or "READY",
    )
