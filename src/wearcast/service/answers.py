"""Forecasts as what is sent: columns, rows and JSON, the same numbers as `wearcast predict` writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from wearcast.forecast import Forecast, SensorForecast
from wearcast.service.layout import UnitReadings

if TYPE_CHECKING:
    from wearcast.service.served import Served

__all__ = ["JSON_OPTIONS", "Scored", "as_json", "joined", "model_of", "tabulated"]

JSON_OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """Forecasts of some units by one model, as columns.

    Attributes:
        columns: by name, of all forecasts in the order of the units: those of `wearcast predict`, flags as lists, then
            `version` and `arm`.
        offsets: first forecast of each unit, and their number.
    """

    columns: dict[str, list[Any]]
    offsets: list[int]

    def rows(self) -> Iterator[list[Row]]:
        """The forecasts of each unit."""
        names = tuple(self.columns)
        every = [dict(zip(names, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]
        if len(every) == len(self.offsets) - 1:  # the usual case: the last reading of each unit
            return ([row] for row in every)
        return (every[a:b] for a, b in pairwise(self.offsets))

    def part(self, first: int, stop: int) -> Scored:
        """The forecasts of these units only."""
        a, b = self.offsets[first], self.offsets[stop]
        offsets = [at - a for at in self.offsets[first : stop + 1]]
        return Scored({name: values[a:b] for name, values in self.columns.items()}, offsets)

    @property
    def risk(self) -> list[float] | None:
        """Failure probability at the nearest horizon; None where the target has none."""
        name = next((name for name in self.columns if name.startswith("failure_probability")), None)
        return None if name is None else self.columns[name]


def joined(parts: Sequence[Scored]) -> Scored:
    """Forecasts by one model, one part behind the other."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
    counts = [b - a for part in parts for a, b in pairwise(part.offsets)]
    return Scored(columns, [0, *np.cumsum(counts).tolist()])


def tabulated(forecast: Forecast, served: Served, units: Sequence[UnitReadings], position: dict[Any, int]) -> Scored:
    """A forecast as columns, each unit under the name that it was asked by.

    Args:
        forecast: of these units, in their order.
        served: the model that made it.
        units: as they were asked for.
        position: the place among them of each unit's name in the forecast.
    """
    at = [position[name] for name in forecast.unit.to_list()]
    if isinstance(forecast, SensorForecast):
        frame = forecast.to_frame()
        each = frame.height // max(len(forecast), 1)
        columns = {name: frame[name].to_list() for name in frame.columns}
        at = [i for i in at for _ in range(each)]
        columns["flags"] = [list(flags) for flags in forecast.flags for _ in range(each)]
    else:
        columns = {"unit": [], "time": forecast.time.to_list()}
        columns |= {name: values.tolist() for name, values in forecast.arrays().items()}
        columns["flags"] = [list(flags) for flags in forecast.flags]
        columns["model"] = [forecast.model] * len(at)
    columns["unit"] = [units[i].unit for i in at]
    columns["version"] = [served.reference] * len(at)
    columns["arm"] = [served.arm] * len(at)
    if len(at) == len(units):
        return Scored(columns, list(range(len(at) + 1)))
    counts = np.bincount(at, minlength=len(units))
    return Scored(columns, [0, *np.cumsum(counts).tolist()])


def as_json(rows: list[Row]) -> bytes:
    """Rows as JSON without the brackets around them, so that they can stand among others."""
    return orjson.dumps(rows, option=JSON_OPTIONS)[1:-1]


def model_of(served: Served) -> dict[str, str]:
    """How an answer names its model."""
    return {"name": served.name, "version": served.version, "arm": served.arm}
