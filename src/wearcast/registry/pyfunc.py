"""A registered bundle as MLflow serves it: `mlflow models serve -m models:/NAME@champion --env-manager local`.

MLflow imports this module by the name that the model's `MLmodel` gives it, and asks it for a table of readings in and
a table of forecasts out. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wearcast.bundle import Bundle, ModelManifest, load_bundle
from wearcast.errors import FleetError
from wearcast.fleet import Fleet
from wearcast.frames import to_polars
from wearcast.schema import TimeUnit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BundleModel", "fleet_of"]


class BundleModel:
    """What MLflow calls `predict` of."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def predict(self, readings: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Forecast each unit at its last reading.

        Args:
            readings: columns `unit`, `time` and those of the model, one row a reading.
            params: of MLflow; there are none.

        Raises:
            FleetError: a column is missing, or the rows contradict each other.
        """
        forecast = self._bundle.predict(fleet_of(self._bundle, readings))
        return forecast.to_frame().to_pandas()


def fleet_of(bundle: Bundle, readings: pd.DataFrame) -> Fleet:
    """Readings as the fleet that a bundle asks for, by the roles that its columns had in training.

    Raises:
        FleetError: a column is missing, or the rows contradict each other.
    """
    roles = _roles(bundle)
    table = to_polars(readings, "readings")
    needed = ("unit", "time", *(column for columns in roles.values() for column in columns))
    if missing := [column for column in needed if column not in table.columns]:
        raise FleetError(f"columns are missing: {', '.join(missing)}", where="readings")
    first = (bundle.models or (bundle,))[0].manifest
    unit: TimeUnit = first.preprocessing.time_unit if isinstance(first, ModelManifest) else "cycle"
    cycle, time = ("time", None) if unit == "cycle" else (None, "time")
    return Fleet.from_frame(
        table,
        unit="unit",
        cycle=cycle,
        time=time,
        time_unit=None if unit == "cycle" else unit,
        sensors=roles["sensors"],
        settings=roles["settings"],
        statics=roles["statics"],
        known_future=roles["known_future"],
        name="readings",
    )


def _roles(bundle: Bundle) -> dict[str, tuple[str, ...]]:
    """The columns by role, each once, those of all models of an ensemble."""
    roles: dict[str, dict[str, None]] = {"known_future": {}, "settings": {}, "statics": {}, "sensors": {}}
    for model in bundle.models or (bundle,):
        if not isinstance(model.manifest, ModelManifest):
            continue
        p = model.manifest.preprocessing
        own = {
            "known_future": p.known_future,
            "settings": (*p.conditions.settings, *(scale.column for scale in p.inputs)),
            "statics": (*(one.column for one in p.static_numbers), *(one.column for one in p.static_categories)),
            "sensors": p.columns,
        }
        for role, columns in own.items():
            roles[role] |= dict.fromkeys(column for column in columns if column in p.columns)
    taken: set[str] = set()
    found = {}
    for role, kept in roles.items():  # sensors are what is left
        found[role] = tuple(column for column in kept if column not in taken)
        taken |= set(kept)
    return found


def _load_pyfunc(path: str) -> BundleModel:
    """What MLflow calls with the folder of the bundle."""
    return BundleModel(load_bundle(path))
