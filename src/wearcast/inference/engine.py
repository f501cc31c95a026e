"""The one path from a fleet to a forecast: preprocessing, windows or statistics, graph, calibration."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import UsageError
from wearcast.features import Features, SequenceFeatures, SignalFeatures
from wearcast.forecast import Forecast, Moments
from wearcast.inference.outputs import Output, QuantileOutput
from wearcast.inference.session import OnnxSession
from wearcast.inference.tables import flat_signal, table_of
from wearcast.readings import History
from wearcast.windows import Channels, Preprocessing, Windows, WindowSpec

__all__ = ["Engine", "columns_read", "forecast_rows", "last_known", "last_read", "moments"]

BATCH = 512


@dataclass(frozen=True)
class Engine:
    """Everything that a forecast needs, loaded."""

    preprocessing: Preprocessing
    window: WindowSpec
    output: Output
    session: OnnxSession
    model: str = "unnamed"

    def forecast(self, history: History, *, every: int | None = None, without: Collection[str] = ()) -> Forecast:
        """Forecast each unit at its last reading, or at every `every`-th reading counted back from the last.

        Args:
            history: has the columns and the unit of time that the model was trained on.
            every: step between forecasts, in readings of which a window is taken (see `rows`); None for the last
                reading only.
            without: sensors to be seen as if they had never moved (for attribution).

        Raises:
            FleetError: a column is missing or the unit of time differs.
            UsageError: `every` is below 1, or there is no such sensor to leave out.
        """
        if without and (unknown := [name for name in without if name not in self.preprocessing.known_sensors]):
            raise UsageError(f"there is no sensor {unknown[0]!r} to leave out", where=history.name)
        channels = self.preprocessing.transform(history, without=without)
        rows = self.rows(history, every)
        moments = Moments(
            unit=history.unit_at(rows),
            time=history.time_at(rows),
            condition=channels.condition[rows],
            flags=self._flags(channels, rows),
            model=self.model,
        )
        return self.output.forecast(self.raw(channels, rows), moments, last_read(self.output, history, rows))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a history must have."""
        return columns_read(self.preprocessing, self.output)

    def rows(self, history: History, every: int | None = 1) -> NDArray[np.int64]:
        """Readings at which `forecast` forecasts; see `moments`."""
        return moments(self.preprocessing.features, self.window, history.offsets, every)

    def raw(self, channels: Channels, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the graph gives for windows that end at `rows`, not calibrated: `(n, …)`."""
        out = np.empty((len(rows), *self.session.shape), dtype=np.float32)
        features = self.preprocessing.features
        if not isinstance(features, SequenceFeatures):
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
        features = self.preprocessing.features
        first = channels.offsets[channels.unit_of(rows)]
        length = features.segment if isinstance(features, SignalFeatures) else self.window.context_length
        missing = channels.missing[rows]
        if isinstance(features, SignalFeatures):  # in the segment, not at its last sample alone
            total = np.append(0, np.cumsum(channels.missing))
            missing = total[rows + 1] > total[np.maximum(rows + 1 - length, first)]
        found = {
            "short_history": rows - first + 1 < length,
            "unseen_condition": channels.condition[rows] < 0,
            "missing_readings": missing,
            "out_of_range": channels.clipped[rows],
        }
        if isinstance(features, SignalFeatures):
            found["flat_signal"] = flat_signal(channels, rows, length)
        flags: list[tuple[str, ...]] = [()] * len(rows)
        if not any(on.any() for on in found.values()):
            return tuple(flags)
        names, raised = tuple(found), np.stack(list(found.values()), axis=1)
        for row in np.flatnonzero(raised.any(axis=1)).tolist():
            flags[row] = tuple(itertools.compress(names, raised[row].tolist()))
        return tuple(flags)


def columns_read(preprocessing: Preprocessing, output: Output) -> tuple[str, ...]:
    """Every column that a history must have for a forecast by this preprocessing and output."""
    ahead = output.columns if isinstance(output, QuantileOutput) else ()
    return tuple(dict.fromkeys((*preprocessing.columns, *ahead)))


def moments(
    features: Features, window: WindowSpec, offsets: NDArray[np.int64], every: int | None = 1
) -> NDArray[np.int64]:
    """Readings of which a window is taken, in training, evaluation and service alike.

    These are the last of each unit and every `features.every`-th before it; of fast signals those that have a whole
    segment behind them, or the whole context if `window.whole`, and the last of a unit that is shorter than one.

    Args:
        features: of the model.
        window: of the model.
        offsets: first row of each unit and the number of rows.
        every: only every so many of them; None for the last only.

    Raises:
        UsageError: `every` is below 1.
    """
    rows = forecast_rows(offsets, every if every is None else every * features.every if every >= 1 else every)
    if isinstance(features, SignalFeatures):
        length = features.segment
    elif window.whole:
        length = window.context_length
    else:
        return rows
    unit = np.searchsorted(offsets, rows, side="right") - 1
    whole = rows - offsets[unit] + 1 >= length
    chosen: NDArray[np.int64] = rows[whole | (rows == offsets[unit + 1] - 1)]
    return chosen


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


def last_read(output: Output, history: History, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """What an output has to know of the readings at these rows; see `last_known`. None if it reads none."""
    return last_known(history, output.columns, rows) if isinstance(output, QuantileOutput) else None


def last_known(history: History, columns: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Last known value of each column at each of these rows, `(n, n_columns)`; NaN where there was none yet."""
    start = np.repeat(history.offsets[:-1], np.diff(history.offsets))
    out = np.empty((len(rows), len(columns)), dtype=np.float32)
    for i, column in enumerate(columns):
        value = history.column(column)
        known = np.maximum.accumulate(np.where(np.isnan(value), -1, np.arange(len(value))))
        out[:, i] = np.where(known >= start, value[known], np.nan)[rows]
    return out
