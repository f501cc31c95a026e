"""The one path from a fleet to a forecast: preprocessing, windows or statistics, graph, calibration."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wearcast.distribution import Recalibration, TimeToEvent
from wearcast.features import StatisticsFeatures, window_statistics
from wearcast.fleet import Fleet
from wearcast.forecast import Forecast
from wearcast.inference.session import OnnxSession
from wearcast.target import Target
from wearcast.windows import Channels, Preprocessing, Windows, WindowSpec

__all__ = ["Engine", "table_columns", "table_of"]

BATCH = 512


def table_of(channels: Channels, rows: NDArray[np.int64], features: StatisticsFeatures) -> NDArray[np.float32]:
    """Input of a model that reads tables: statistics of the readings, the other channels as they are at the row.

    Returns:
        `(n, n_columns)`, columns as `table_columns` names them.
    """
    levels = channels.values[:, channels.levels]
    statistics = window_statistics(levels, channels.start, rows, features.scales)
    others = channels.values[rows][:, len(channels.levels) :]
    recent = statistics[:, : len(channels.levels)]
    parts = [statistics, others]
    if features.deviation:
        # The mean of the shortest window against the healthy start: less noise than the last reading's deviation.
        deviation = others[:, : len(channels.levels)]
        parts.append(recent - (levels[rows] - deviation))
    static = channels.static[channels.row_unit[rows]]
    return np.concatenate([*parts, static], axis=1)


def table_columns(preprocessing: Preprocessing, features: StatisticsFeatures) -> tuple[str, ...]:
    """Names of the columns of `table_of`."""
    from wearcast.features import statistic_names

    sensors = [scale.column for scale in preprocessing.sensors]
    recent = [f"{name}_recent_deviation" for name in sensors] if features.deviation else []
    statics = [f"static_{i}" for i in range(preprocessing.n_static)]
    return (
        *statistic_names(sensors, features.scales),
        *preprocessing.names[len(sensors) :],
        *recent,
        *statics,
    )


@dataclass(frozen=True)
class Engine:
    """Everything that a forecast needs, loaded."""

    preprocessing: Preprocessing
    window: WindowSpec
    target: Target
    grid: NDArray[np.float64]
    session: OnnxSession
    calibration: Recalibration = field(default_factory=Recalibration)
    model: str = "unnamed"

    def forecast(self, fleet: Fleet, *, every: int | None = None, without: Collection[str] = ()) -> Forecast:
        """Forecast each unit at its last reading, or at every `every`-th reading counted back from the last.

        Args:
            fleet: has the columns and the unit of time that the model was trained on.
            every: step between forecasts in readings; None for the last reading only.
            without: sensors to be seen as if they had never moved (for attribution).

        Raises:
            FleetError: a column is missing or the unit of time differs.
        """
        channels = self.preprocessing.transform(fleet, without=without)
        rows = forecast_rows(fleet.offsets, every)
        distribution = self.calibration.apply(TimeToEvent(self.grid, self.survival(channels, rows)))
        return Forecast(
            unit=fleet.frame["unit"].gather(rows),
            time=fleet.frame["time"].gather(rows),
            distribution=distribution,
            max_rul=self.target.max_rul,
            horizons=self.target.horizons,
            quantile_levels=self.target.quantile_levels,
            condition=channels.condition[rows],
            flags=self._flags(channels, rows),
            model=self.model,
        )

    def survival(self, channels: Channels, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Uncalibrated survival at the grid's edges for windows that end at `rows`: `(n, n_edges)`."""
        out = np.empty((len(rows), len(self.grid)))
        features = self.preprocessing.features
        if isinstance(features, StatisticsFeatures):
            table = table_of(channels, rows, features)
            for at in range(0, len(rows), BATCH):
                out[at : at + BATCH] = self.session.run({"table": table[at : at + BATCH]})
            return out
        windows = Windows(channels, self.window, rows)
        for i, batch in enumerate(windows.batches(BATCH)):
            feeds = {name: value for name, value in batch._asdict().items() if value is not None}
            out[i * BATCH : (i + 1) * BATCH] = self.session.run(feeds)
        return out

    def _flags(self, channels: Channels, rows: NDArray[np.int64]) -> tuple[tuple[str, ...], ...]:
        found = {
            "short_history": rows - channels.start[rows] + 1 < self.window.context_length,
            "unseen_condition": channels.condition[rows] < 0,
            "missing_readings": channels.missing[rows],
            "out_of_range": channels.clipped[rows],
        }
        names = tuple(found)
        return tuple(
            tuple(name for name, on in zip(names, row, strict=True) if on)
            for row in np.stack(list(found.values()), axis=1)
        )


def forecast_rows(offsets: NDArray[np.int64], every: int | None) -> NDArray[np.int64]:
    """Rows at which to forecast: the last of each unit, and every `every`-th before it."""
    last: NDArray[np.int64] = offsets[1:] - 1
    if every is None:
        return last
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    row = np.arange(offsets[-1])
    to_go = np.repeat(last, np.diff(offsets)) - row
    chosen: NDArray[np.int64] = row[to_go % every == 0]
    return chosen
