"""The one path from a fleet to a forecast: preprocessing, windows or statistics, graph, calibration."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import UsageError
from wearcast.features import StatisticsFeatures, window_statistics
from wearcast.fleet import Fleet
from wearcast.forecast import Forecast, Moments
from wearcast.inference.outputs import Output, QuantileOutput
from wearcast.inference.session import OnnxSession
from wearcast.windows import Channels, Preprocessing, Windows, WindowSpec

__all__ = ["Engine", "forecast_rows", "last_known", "table_columns", "table_of"]

BATCH = 512


def table_of(channels: Channels, rows: NDArray[np.int64], features: StatisticsFeatures) -> NDArray[np.float32]:
    """Input of a model that reads tables: statistics of the readings, the other channels as they are at the row.

    Returns:
        `(n, n_columns)`, columns as `table_columns` names them.
    """
    n = channels.n_sensors
    levels = channels.values[:, :n]
    statistics = window_statistics(levels, channels.start, rows, features.scales)
    parts = [statistics, channels.values[rows, n:]]
    home = channels.home_at(rows)
    if home is not None:
        parts.append(levels[rows] - home)
        if features.scales:  # with less noise: of the mean of the shortest window
            parts.append(statistics[:, :n] - home)
    static = channels.static[channels.unit_of(rows)]
    return np.concatenate([*parts, static], axis=1)


def table_columns(preprocessing: Preprocessing, features: StatisticsFeatures) -> tuple[str, ...]:
    """Names of the columns of `table_of`."""
    from wearcast.features import statistic_names

    sensors = [scale.column for scale in preprocessing.sensors]
    kinds = ("deviation", *(["recent_deviation"] if features.scales else [])) if features.deviation else ()
    deviations = [f"{name}_{kind}" for kind in kinds for name in sensors]
    statics = [f"static_{i}" for i in range(preprocessing.n_static)]
    return (
        *statistic_names(sensors, features.scales),
        *(scale.column for scale in preprocessing.inputs),
        *(["age"] if features.age else []),
        *deviations,
        *statics,
    )


@dataclass(frozen=True)
class Engine:
    """Everything that a forecast needs, loaded."""

    preprocessing: Preprocessing
    window: WindowSpec
    output: Output
    session: OnnxSession
    model: str = "unnamed"

    def forecast(self, fleet: Fleet, *, every: int | None = None, without: Collection[str] = ()) -> Forecast:
        """Forecast each unit at its last reading, or at every `every`-th reading counted back from the last.

        Args:
            fleet: has the columns and the unit of time that the model was trained on.
            every: step between forecasts in readings; None for the last reading only.
            without: sensors to be seen as if they had never moved (for attribution).

        Raises:
            FleetError: a column is missing or the unit of time differs.
            UsageError: `every` is below 1, or there is no such sensor to leave out.
        """
        known = {*fleet.schema.sensors, *(scale.column for scale in self.preprocessing.sensors)}
        if unknown := [name for name in without if name not in known]:
            raise UsageError(f"there is no sensor {unknown[0]!r} to leave out", where=fleet.name)
        channels = self.preprocessing.transform(fleet, without=without)
        rows = forecast_rows(fleet.offsets, every)
        moments = Moments(
            unit=fleet.frame["unit"].gather(rows),
            time=fleet.frame["time"].gather(rows),
            condition=channels.condition[rows],
            flags=self._flags(channels, rows),
            model=self.model,
        )
        last = last_known(fleet, self.output.columns, rows) if isinstance(self.output, QuantileOutput) else None
        return self.output.forecast(self.raw(channels, rows), moments, last)

    def raw(self, channels: Channels, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the graph gives for windows that end at `rows`, not calibrated: `(n, …)`."""
        out = np.empty((len(rows), *self.session.shape), dtype=np.float32)
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
            "short_history": rows - channels.offsets[channels.unit_of(rows)] + 1 < self.window.context_length,
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
    """Rows at which to forecast: the last of each unit, and every `every`-th before it.

    Raises:
        UsageError: `every` is below 1.
    """
    last: NDArray[np.int64] = offsets[1:] - 1
    if every is None:
        return last
    if every < 1:
        raise UsageError(f"every must be at least 1, got {every}")
    row = np.arange(offsets[-1])
    to_go = np.repeat(last, np.diff(offsets)) - row
    chosen: NDArray[np.int64] = row[to_go % every == 0]
    return chosen


def last_known(fleet: Fleet, columns: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Last known value of each column at each of these rows, `(n, n_columns)`; NaN where there was none yet."""
    start = np.repeat(fleet.offsets[:-1], np.diff(fleet.offsets))
    out = np.empty((len(rows), len(columns)), dtype=np.float32)
    for i, column in enumerate(columns):
        value = fleet.frame[column].to_numpy()
        known = np.maximum.accumulate(np.where(np.isnan(value), -1, np.arange(len(value))))
        out[:, i] = np.where(known >= start, value[known], np.nan)[rows]
    return out
