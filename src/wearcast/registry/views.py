"""What the commands show of a registry: plain values, read without opening a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wearcast.errors import RegistryError
from wearcast.registry import tags
from wearcast.registry.moves import Move, moves_of
from wearcast.registry.reading import RegistryReader
from wearcast.registry.records import ModelVersion

__all__ = ["difference", "facts", "history", "lineage", "overview", "versions"]


def overview(registry: RegistryReader) -> list[dict[str, Any]]:
    """Each model: its aliases, and how many versions it has."""
    found = []
    for name in registry.models():
        every = registry.versions(name)
        found.append(
            {
                "name": name,
                "versions": len(every),
                "aliases": {alias: version.version for version in every for alias in version.aliases},
                "latest": every[-1].created.isoformat(timespec="seconds") if every else None,
            }
        )
    return found


def versions(registry: RegistryReader, name: str) -> list[dict[str, Any]]:
    """The facts of each version of a model, oldest first."""
    return [facts(version) for version in registry.versions(name)]


def facts(version: ModelVersion) -> dict[str, Any]:
    """What the registry says of a version."""
    told = version.tags
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "status": version.status,
        "created": version.created.isoformat(timespec="seconds"),
        "model": told.get(tags.MODEL),
        "recipe": told.get(tags.RECIPE),
        "recipe_sha256": told.get(tags.RECIPE_SHA256),
        "seed": _read(told.get(tags.SEED)),
        "data": told.get(tags.DATA),
        "data_fingerprint": told.get(tags.DATA_FINGERPRINT),
        "trained": told.get(tags.CREATED),
        "wearcast": told.get(tags.CODE),
        "commit": told.get(tags.COMMIT),
        "target": _read(told.get(tags.TARGET)),
        "columns": _read(told.get(tags.COLUMNS)),
        "size_bytes": _read(told.get(tags.SIZE_BYTES)),
        "sums_sha256": told.get(tags.SUMS_SHA256),
        "parent": told.get(tags.PARENT),
        "override": told.get(tags.OVERRIDE),
        "gate": _read(told.get(tags.GATE)),
        "metrics": metrics_of(version),
        "run_id": version.run_id,
        "source": version.source,
        "card": version.description,
    }


def metrics_of(version: ModelVersion) -> dict[str, float]:
    """Held-out figures of a version."""
    found = {}
    for key, value in version.tags.items():
        number = _read(value) if key.startswith(tags.METRIC) else None
        if isinstance(number, int | float):
            found[key.removeprefix(tags.METRIC)] = float(number)
    return found


def history(registry: RegistryReader, name: str) -> list[dict[str, Any]]:
    """Each move of an alias of a model, oldest first.

    Raises:
        RegistryError: there is no such model, or its history was changed by hand.
    """
    return [move.to_dict() for move in moves_of(registry.model(name))]


def difference(registry: RegistryReader, one: ModelVersion, other: ModelVersion) -> dict[str, Any]:
    """Where two versions differ: settings, data, figures, columns, size."""
    mine, theirs = facts(one), facts(other)
    set_one, set_other = _settings(registry, one), _settings(registry, other)
    columns = [set(found["columns"] or ()) for found in (mine, theirs)]
    plain = (
        "model",
        "recipe",
        "seed",
        "data",
        "data_fingerprint",
        "wearcast",
        "commit",
        "target",
        "size_bytes",
        "parent",
    )
    return {
        "one": one.reference,
        "other": other.reference,
        "facts": {key: [mine[key], theirs[key]] for key in plain if mine[key] != theirs[key]},
        "experiment": None if set_one is None or set_other is None else _differing(set_one, set_other),
        "metrics": _differing(mine["metrics"], theirs["metrics"]),
        "columns": {"only_one": sorted(columns[0] - columns[1]), "only_other": sorted(columns[1] - columns[0])},
    }


def lineage(registry: RegistryReader, version: ModelVersion) -> dict[str, Any]:
    """Where a version comes from and what became of it: data, recipe, bundle, parents, aliases over time."""
    moves = moves_of(registry.model(version.name))
    return {
        "data": {"name": version.tags.get(tags.DATA), "fingerprint": version.tags.get(tags.DATA_FINGERPRINT)},
        "recipe": {"name": version.tags.get(tags.RECIPE), "sha256": version.tags.get(tags.RECIPE_SHA256)},
        "bundle": {
            "model": version.tags.get(tags.MODEL),
            "trained": version.tags.get(tags.CREATED),
            "wearcast": version.tags.get(tags.CODE),
            "commit": version.tags.get(tags.COMMIT),
            "sums_sha256": version.tags.get(tags.SUMS_SHA256),
        },
        "version": {
            "reference": version.reference,
            "registered": version.created.isoformat(timespec="seconds"),
            "run_id": version.run_id,
            "aliases": list(version.aliases),
        },
        "aliases": _spells(moves, version.version),
        "parents": _parents(registry, version),
    }


def _spells(moves: Sequence[Move], version: str) -> list[dict[str, Any]]:
    """When an alias stood for a version, and who moved it there and away."""
    spells: list[dict[str, Any]] = []
    for move in moves:
        if move.state != "done":
            continue
        for spell in spells:
            if spell["alias"] == move.alias and spell["until"] is None:
                spell |= {"until": move.time, "ended_by": move.who, "ended_with": move.action}
                spell["ended_reason"] = move.reason
        if move.after == version:
            began = {"since": move.time, "by": move.who, "with": move.action, "reason": move.reason}
            spells.append({"alias": move.alias, **began, "until": None})
    return spells


def _parents(registry: RegistryReader, version: ModelVersion) -> list[dict[str, Any]]:
    """The versions that this one comes after, the nearest first."""
    chain: list[dict[str, Any]] = []
    seen = {version.reference}
    parent = version.tags.get(tags.PARENT)
    while parent and parent not in seen:
        seen.add(parent)
        try:
            found = registry.resolve(parent)
        except RegistryError as error:
            chain.append({"reference": parent, "gone": error.what})
            break
        chain.append(
            {
                "reference": found.reference,
                "model": found.tags.get(tags.MODEL),
                "data_fingerprint": found.tags.get(tags.DATA_FINGERPRINT),
                "registered": found.created.isoformat(timespec="seconds"),
            }
        )
        parent = found.tags.get(tags.PARENT)
    return chain


def _settings(registry: RegistryReader, version: ModelVersion) -> Mapping[str, str] | None:
    """The flattened experiment of a version; None where its run is gone."""
    if version.run_id is None:
        return None
    try:
        return registry.run(version.run_id).params
    except RegistryError as error:
        if type(error) is not RegistryError:  # that the registry does not answer says nothing of the run
            raise
        return None


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    keys = dict.fromkeys((*one, *other))
    return {key: [one.get(key), other.get(key)] for key in sorted(keys) if one.get(key) != other.get(key)}


def _read(text: str | None) -> Any:
    """A JSON value of a tag, the text itself where it is none."""
    try:
        return json.loads(text) if text is not None else None
    except ValueError:
        return text
