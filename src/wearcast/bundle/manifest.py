"""What `bundle.json` says of a model or an ensemble, and how older ones are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, field_validator

from wearcast.config import Strict
from wearcast.errors import BundleVersionError
from wearcast.fleet import Fleet
from wearcast.inference import Output
from wearcast.schema import UnitId
from wearcast.target import Target
from wearcast.windows import Preprocessing, WindowSpec

__all__ = [
    "SCHEMA_VERSION",
    "DataRecord",
    "EnsembleManifest",
    "Manifest",
    "ModelManifest",
    "ModelRecord",
    "Parity",
    "read_manifest",
]

SCHEMA_VERSION = 3


class DataRecord(Strict):
    """Where the model's knowledge comes from."""

    name: str
    fingerprint: str
    train_units: tuple[int | str, ...]
    validation_units: tuple[int | str, ...]
    train_rows: int
    notes: tuple[str, ...] = ()
    beginnings: tuple[str, ...] = Field((), description="Of the units; see `Fleet.beginnings`.")

    @classmethod
    def of(cls, fleet: Fleet, *, train: Sequence[UnitId], validation: Sequence[UnitId], rows: int) -> DataRecord:
        """Of a fleet whose units are divided so; `rows` of it are trained on."""
        return cls(
            name=fleet.name,
            fingerprint=fleet.fingerprint,
            train_units=tuple(train),
            validation_units=tuple(validation),
            train_rows=rows,
            notes=tuple(note.message for note in fleet.notes),
            beginnings=tuple(one for one in fleet.beginnings if one),
        )

    def units_seen(self, fleet: Fleet) -> tuple[UnitId, ...]:
        """Units of a fleet that were trained on, or that begin as one that was: under another name, or cut off."""
        if self.fingerprint == fleet.fingerprint:
            return fleet.units
        known = frozenset(self.beginnings)
        return tuple(unit for unit, one in zip(fleet.units, fleet.beginnings, strict=True) if one in known)


class Parity(Strict):
    """How far the exported graph is from the model that was trained."""

    reference: str
    windows: int
    max_abs_difference: float
    tolerance: float


class _Described(Strict):
    """What `bundle.json` says of a model as of an ensemble."""

    schema_version: Literal[3] = 3
    name: str
    seed: int
    created: str
    experiment: dict[str, Any]
    target: Target
    output: Output
    data: DataRecord
    metrics: dict[str, float]
    training: dict[str, float | int | str]
    versions: dict[str, str]

    @property
    def model(self) -> str:
        """Name and version of the model, as forecasts carry it."""
        return f"{self.name}-seed{self.seed}@{self.data.fingerprint[:8]}"


class ModelManifest(_Described):
    """The content of the `bundle.json` of one model."""

    kind: Literal["model"] = "model"
    window: WindowSpec
    preprocessing: Preprocessing
    parity: Parity


class ModelRecord(Strict):
    """One model of an ensemble."""

    folder: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Its bundle, in `models/`.")
    member: str = Field(description="Which member of the ensemble it is a run of.")
    weight: float = Field(ge=0, le=1)


class EnsembleManifest(_Described):
    """The content of the `bundle.json` of an ensemble."""

    kind: Literal["ensemble"] = "ensemble"
    models: tuple[ModelRecord, ...] = Field(min_length=1)
    members: dict[str, dict[str, float]] = Field(description="Weight and held-out figures of each member.")

    @field_validator("models")
    @classmethod
    def _share_one(cls, models: tuple[ModelRecord, ...]) -> tuple[ModelRecord, ...]:
        if not math.isclose(total := sum(model.weight for model in models), 1.0, abs_tol=1e-3):
            raise ValueError(f"the weights of the models sum to {total:g}, not to 1")
        return models


Manifest = Annotated[ModelManifest | EnsembleManifest, Field(discriminator="kind")]
_MANIFEST: TypeAdapter[ModelManifest | EnsembleManifest] = TypeAdapter(Manifest)


def read_manifest(data: Any, root: Path) -> ModelManifest | EnsembleManifest:
    """The manifest that this is, brought up from an older version of the schema.

    Raises:
        ValueError: it is none; pydantic's errors are such, too.
        BundleVersionError: a newer Wearcast has written it.
    """
    return _MANIFEST.validate_python(_migrate(data, root))


def _name_the_output(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew one output: grid and calibration lay loose in the manifest."""
    rest = {key: value for key, value in data.items() if key not in ("grid", "calibration")}
    loose = {"target": data.get("target"), "grid": data.get("grid"), **data.get("calibration", {})}
    return {**rest, "schema_version": 2, "output": {"kind": "survival", **loose}}


def _say_that_it_is_one_model(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 knew no ensembles."""
    return {**data, "schema_version": 3, "kind": "model"}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _name_the_output, 2: _say_that_it_is_one_model}
"""From each older schema version to the next one."""


def _migrate(data: Any, root: Path) -> dict[str, Any]:
    if not isinstance(data, dict) or not isinstance(data.get("schema_version"), int):
        raise ValueError("schema_version is missing")
    if data["schema_version"] > SCHEMA_VERSION:
        raise BundleVersionError(
            f"the bundle has schema version {data['schema_version']}, this Wearcast reads up to {SCHEMA_VERSION}",
            where=str(root),
            hint="pip install --upgrade wearcast",
        )
    while data["schema_version"] < SCHEMA_VERSION:
        step = MIGRATIONS.get(data["schema_version"])
        if step is None:
            raise ValueError(f"no way from schema version {data['schema_version']} to {SCHEMA_VERSION}")
        data = step(data)
    return dict(data)
