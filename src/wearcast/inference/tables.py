"""Input of models that read tables: one row a window, of slow readings or of a fast signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearcast.errors import FleetError
from wearcast.features import (
    SignalFeatures,
    StatisticsFeatures,
    share_names,
    signal_features,
    signal_names,
    statistic_names,
    window_shares,
    window_statistics,
)
from wearcast.features.order_tracking import tacho_speed_hz
from wearcast.features.rolling import difference, difference_names, lag, lag_names
from wearcast.features.signal import channel_names
from wearcast.windows import Channels, Preprocessing

__all__ = ["SensorBlocks", "flat_signal", "sensor_blocks", "table_columns", "table_of"]

BLOCK = 64
"""Segments that are described at a time."""


@dataclass(frozen=True)
class SensorBlocks:
    """Columns of a table that describe all sensors alike, block by block.

    Attributes:
        columns: of each block one column a sensor, all linear in the readings, `(n_blocks, n_sensors)`.
        learnt: blocks that weights are learnt from.
    """

    columns: NDArray[np.intp]
    learnt: tuple[int, ...]


def table_of(
    channels: Channels, rows: NDArray[np.int64], features: StatisticsFeatures | SignalFeatures
) -> NDArray[np.float32]:
    """Input of a model that reads tables, columns as `table_columns` names them.

    Returns:
        `(n, n_columns)`: features of the window that ends at each row, the other channels as they are at the row.

    Raises:
        FleetError: a unit is too short for what is to be computed of a segment, or its shaft stands still.
    """
    n = channels.n_sensors
    static = channels.static[channels.unit_of(rows)]
    if isinstance(features, SignalFeatures):
        return np.concatenate([_of_segments(channels, rows, features), channels.values[rows, n:], static], axis=1)
    levels = channels.values[:, :n]
    start = channels.start
    statistics = window_statistics(levels, start, rows, features.scales, features.statistics)
    before = [
        of(levels, start, rows, steps, since_start=True)
        for of, steps in ((lag, features.lags), (difference, features.differences))
        if steps
    ]
    present = channels.values[:, n : n + channels.n_masks]
    shares = window_shares(present, start, rows, features.scales)
    parts = [statistics, *before, channels.values[rows, n:], shares]
    home = channels.home_at(rows)
    if home is not None:
        parts.append(levels[rows] - home)
        if features.recent_mean is not None:  # with less noise: of the mean of the shortest window
            parts.append(statistics[:, features.recent_mean * n :][:, :n] - home)
    return np.concatenate([*parts, static], axis=1)


def table_columns(preprocessing: Preprocessing, features: StatisticsFeatures | SignalFeatures) -> tuple[str, ...]:
    """Names of the columns of `table_of`."""
    sensors = [scale.column for scale in preprocessing.sensors]
    statics = [f"static_{i}" for i in range(preprocessing.n_static)]
    if isinstance(features, SignalFeatures):
        return (*signal_names(features, tuple(sensors)), *preprocessing.context_names, *statics)
    deviations = [f"{name}_{kind}" for kind in _deviations(features) for name in sensors]
    return (
        *statistic_names(sensors, features.scales, features.statistics),
        *lag_names(sensors, features.lags),
        *difference_names(sensors, features.differences),
        *preprocessing.context_names,
        *share_names(preprocessing.mask_names, features.scales),
        *deviations,
        *statics,
    )


def _deviations(features: StatisticsFeatures) -> tuple[str, ...]:
    """How deviations from the healthy start are named, in the order of their columns."""
    if not features.deviation:
        return ()
    return ("deviation",) if features.recent_mean is None else ("deviation", "recent_deviation")


def sensor_blocks(preprocessing: Preprocessing) -> SensorBlocks | None:
    """Columns of `table_of` that are linear in the readings, a block of all sensors each; None if there are none.

    Weights are learnt from the reading and from its deviation from the healthy start.
    """
    features = preprocessing.features
    if not isinstance(features, StatisticsFeatures) or not preprocessing.sensors:
        return None
    kinds = [kind for kind in features.statistics if kind in ("mean", "slope")]
    described = [
        *(f"{kind}_{scale}" for scale in features.scales for kind in kinds),
        "last",
        *(f"lag_{steps}" for steps in features.lags),
        *(f"difference_{steps}" for steps in features.differences),
        *_deviations(features),
    ]
    place = {name: i for i, name in enumerate(table_columns(preprocessing, features))}
    columns = [[place[f"{scale.column}_{what}"] for scale in preprocessing.sensors] for what in described]
    learnt = [described.index(what) for what in ("last", "deviation") if what in described]
    return SensorBlocks(np.array(columns), tuple(learnt))


def _of_segments(channels: Channels, rows: NDArray[np.int64], features: SignalFeatures) -> NDArray[np.float32]:
    """Features of the segment that ends at each row; of a unit that is shorter, of all that there is of it."""
    unit = channels.unit_of(rows)
    length = np.minimum(rows - channels.offsets[unit] + 1, features.segment)
    out: NDArray[np.float32] | None = None
    whole = np.flatnonzero(length == features.segment)
    groups = [whole[at : at + BLOCK] for at in range(0, len(whole), BLOCK)]
    groups += [np.array([at]) for at in np.flatnonzero(length < features.segment)]
    for group in groups:
        try:
            found = _describe(channels, rows[group], int(length[group[0]]), features)
        except FleetError:
            for at in group:  # which one it is
                _name_it(channels, rows[at], int(length[at]), features)
            raise
        out = np.empty((len(rows), found.shape[1]), dtype=np.float32) if out is None else out
        out[group] = found
    if out is None:
        return np.empty((0, channels.n_sensors * len(channel_names(features))), dtype=np.float32)
    return out


def _describe(
    channels: Channels, rows: NDArray[np.int64], length: int, features: SignalFeatures
) -> NDArray[np.float32]:
    at = rows[:, None] + np.arange(1 - length, 1)
    rate, tacho = channels.sampling_rate_hz, features.tacho
    if rate is None:
        raise FleetError("the sampling rate is not known")
    shaft = None if channels.shaft is None else channels.shaft[at].astype(np.float64)
    if shaft is not None and tacho is not None:
        shaft = tacho_speed_hz(
            shaft, rate, threshold=tacho.threshold, pulses_per_revolution=tacho.pulses_per_revolution
        )
    signals = (channels.values[:, i][at] for i in range(channels.n_sensors))
    return np.concatenate([signal_features(signal, features, rate, shaft) for signal in signals], axis=1)


def _name_it(channels: Channels, row: np.int64, length: int, features: SignalFeatures) -> None:
    """Say of which unit a segment cannot be described."""
    unit = int(channels.unit_of(np.array([row]))[0])
    try:
        _describe(channels, np.array([row]), length, features)
    except FleetError as error:
        named = f"unit {channels.units[unit]}" if channels.units else f"unit number {unit + 1}"
        sample = int(row - channels.offsets[unit])
        where = f"{named}, {length} samples up to sample {sample}"
        raise FleetError(error.what, where=where, hint=error.hint) from error


def flat_signal(channels: Channels, rows: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Whether a channel does not move at all in the last `length` samples, `(n,)`."""
    first = np.maximum(rows + 1 - length, channels.offsets[channels.unit_of(rows)])
    flat = np.zeros(len(rows), dtype=np.bool_)
    for i in range(channels.n_sensors):
        moves = np.append(0, np.cumsum(np.diff(channels.values[:, i]) != 0))
        flat |= moves[rows] == moves[first]
    return flat
