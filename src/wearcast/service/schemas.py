"""Requests and answers of the forecast, unit and model routes, as OpenAPI shows them.

The hot routes are not parsed with these: `parsing` reads a body straight into arrays and says what is wrong with more
detail. A test holds that both agree on every example.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Appended", "ForecastAnswer", "ForecastRequest", "Model", "ModelAnswer", "Models", "ReadingsAnswer",
    "ReadingsRequest", "UnitAnswer", "UnitId", "UnitReadingsBody", "UnitSummary", "Units",
]  # fmt: skip

UNIT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"

UnitId = Annotated[str, Field(pattern=UNIT_PATTERN)] | int
Cell = float | None
Time = list[int] | list[float] | list[str]

_TIME = "Cycles as ascending numbers, or times as ascending ISO 8601 text, as the model counts. Without an offset: UTC."
_COLUMNS = "A list a column, as long as `time`; null where a reading is missing."
_STATICS = "Columns that never change within a unit: a number or text each."
_READINGS = {
    "time": [118, 119, 120],
    "columns": {"flow": [31.2, 31.1, 30.7], "vib_x": [0.42, None, 0.47]},
}
_ROW = {
    "unit": "pump-7",
    "time": 120,
    "rul": 41.3,
    "rul_q05": 22.8,
    "rul_q50": 40.1,
    "rul_q95": 66.0,
    "failure_probability_30": 0.21,
    "flags": ["short_history", "missing_readings"],
    "model": "pumps-seed0@1f6c2a90",
    "version": "pumps/3",
    "arm": "champion",
}
_SERVED = {"name": "pumps", "version": "3", "arm": "champion"}


class _Documented(BaseModel):
    """Base of what is said on the wire."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def _example(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class _Readings(_Documented):
    """Readings of one unit, a list a column."""

    time: Time = Field(min_length=1, description=_TIME)
    columns: dict[str, list[Cell]] = Field(description=_COLUMNS)
    statics: dict[str, float | str] = Field(default_factory=dict, description=_STATICS)


class UnitReadingsBody(_Readings):
    """Readings of one unit."""

    unit: UnitId


class ForecastRequest(_Documented):
    """Readings of one or many units, to be forecast from."""

    model_config = _example(
        {"units": [{"unit": "pump-7", **_READINGS}]},
        {"units": [{"unit": 7, **_READINGS, "statics": {"site": "north"}}], "model": "pumps@challenger", "every": 10},
    )

    units: list[UnitReadingsBody] = Field(min_length=1)
    model: str | None = Field(None, description="A loaded model: `pumps@challenger`, `pumps/3`; null: as deployed.")
    every: int | None = Field(None, ge=1, description="Also at every so-many-th reading before; null: the last only.")


class Model(_Documented):
    """Which model answered."""

    name: str
    version: str
    arm: Literal["champion", "challenger", "shadow", "fixed"]


class Row(BaseModel):
    """A forecast: the columns of `wearcast predict`, with flags as a list, and which version made it."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    unit: UnitId
    time: int | float | str
    flags: list[str]
    model: str = Field(description="Name and fingerprint of the bundle, as `wearcast predict` writes it.")
    version: str = Field(description="Name and version of the model that is served.")
    arm: Literal["champion", "challenger", "shadow", "fixed"]


class ForecastAnswer(_Documented):
    """Forecasts in the order of the units."""

    model_config = _example({"model": _SERVED, "forecasts": [_ROW], "cached": 0})

    model: Model | None = Field(description="The model that answered; null where several did, see each forecast.")
    forecasts: list[Row]
    cached: int = Field(ge=0, description="Units of which the forecast was known from an earlier request.")


class ReadingsRequest(_Readings):
    """New readings of one unit, which are kept."""

    model_config = _example(_READINGS, {"time": [121], "columns": {"flow": [30.2], "vib_x": [0.51]}})


class Appended(_Documented):
    """What became of the readings."""

    appended: int = Field(description="Readings that are new.")
    repeated: int = Field(description="Readings that were there already, with equal values: nothing was changed.")
    readings: int = Field(description="Readings that are kept of this unit.")
    dropped: int = Field(description="Older readings that are no longer kept, because no forecast depends on them.")
    first_time: int | float | str
    last_time: int | float | str


class ReadingsAnswer(_Documented):
    """The forecast after the new readings."""

    model_config = _example(
        {
            "unit": "pump-7",
            "history": {"appended": 3, "repeated": 0, "readings": 120, "dropped": 0, "first_time": 1, "last_time": 120},
            "model": _SERVED,
            "forecasts": [_ROW],
        }
    )

    unit: str
    history: Appended
    model: Model
    forecasts: list[Row]


class UnitSummary(_Documented):
    """What is kept of a unit."""

    unit: str
    readings: int
    dropped: int
    first_time: int | float | str
    last_time: int | float | str
    columns: list[str]
    statics: dict[str, float | str]
    updated: str = Field(description="When readings last came in, UTC.")


_SUMMARY = {
    "unit": "pump-7",
    "readings": 120,
    "dropped": 0,
    "first_time": 1,
    "last_time": 120,
    "columns": ["flow", "vib_x"],
    "statics": {},
    "updated": "2026-05-18T10:00:00Z",
}


class Units(_Documented):
    """The units of which readings are kept, by name."""

    model_config = _example({"units": [_SUMMARY], "next": None})

    units: list[UnitSummary]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")


class UnitAnswer(UnitSummary):
    """What is kept of a unit, and its present forecast."""

    model_config = _example({**_SUMMARY, "model": _SERVED, "forecasts": [_ROW]})

    model: Model
    forecasts: list[Row]


class ModelAnswer(_Documented):
    """A model that answers."""

    model_config = _example(
        {
            **_SERVED,
            "model": "pumps-seed0@1f6c2a90",
            "key": "9f0c…",
            "target": "rul",
            "time": "cycle",
            "columns": ["flow", "vib_x"],
            "text_columns": [],
            "ignored_columns": ["vib_y"],
            "context": 100,
            "created": "2026-05-18T10:00:00+00:00",
            "metrics": {"rmse_capped": 12.9},
        }
    )

    name: str
    version: str
    arm: Literal["champion", "challenger", "shadow", "fixed"]
    model: str = Field(description="Name and fingerprint of the bundle.")
    key: str = Field(description="SHA-256 of the bundle's list of checksums.")
    target: Literal["rul", "failure", "fault", "sensor"]
    time: Literal["cycle", "second", "minute", "hour", "day"] = Field(description="Unit of age and RUL.")
    columns: list[str] = Field(description="Columns that each request must have.")
    text_columns: list[str] = Field(description="Those of them that are text.")
    ignored_columns: list[str] = Field(description="Columns that are known and make no difference.")
    context: int | None = Field(description="Readings before the last on which a forecast depends; null: all.")
    created: str
    metrics: dict[str, float]


class Models(_Documented):
    """The models that answer, the champion first."""

    models: list[ModelAnswer]
