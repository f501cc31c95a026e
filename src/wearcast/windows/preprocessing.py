"""The one preprocessing, fitted on training units, stored in the bundle, used in training and in service alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wearcast.config import Strict
from wearcast.errors import FleetError
from wearcast.features import Features, SignalFeatures, healthy_start, hold_last, row_blocks, with_derived
from wearcast.fleet import Fleet
from wearcast.schema import UnitId
from wearcast.windows.conditions import OperatingConditions

__all__ = ["Channels", "Preprocessing"]

CLIP = 10.0
"""Standard deviations beyond which a reading is clipped and flagged: no training unit looks like that."""


@dataclass(frozen=True)
class Channels:
    """A fleet as a model sees it: one contiguous array, and what is needed to cut it.

    Attributes:
        values: `(n_rows, n_values)`, scaled, without NaN: sensors first, then settings, known-future columns and age.
        n_sensors: how many of the values are sensors.
        home: each unit's healthy start as it is known after 1, 2, … readings, `(n_units, steps, n_sensors)`; None if
            deviations from it are not asked for.
        static: `(n_units, n_static)`.
        offsets: first row of each unit and the number of rows, `(n_units + 1,)`.
        condition: operating condition of each row, -1 where it was not seen in training.
        missing: whether a reading of the row is missing, `(n_rows,)`.
        clipped: whether a reading of the row lies beyond `CLIP` standard deviations, `(n_rows,)`.
        known_future: positions of the known-future values.
        units: names of the units, `n_units`.
        sampling_rate_hz: of the readings, for features of fast signals.
        shaft_hz: turns of the shaft a second at each row, `(n_rows,)`, for such features.
    """

    values: NDArray[np.float32]
    n_sensors: int
    home: NDArray[np.float32] | None
    static: NDArray[np.float32]
    offsets: NDArray[np.int64]
    condition: NDArray[np.int16]
    missing: NDArray[np.bool_]
    clipped: NDArray[np.bool_]
    known_future: list[int]
    units: tuple[UnitId, ...] = ()
    sampling_rate_hz: float | None = None
    shaft_hz: NDArray[np.float32] | None = None

    @property
    def row_unit(self) -> NDArray[np.int32]:
        """Unit of each row, `(n_rows,)`."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))

    @property
    def start(self) -> NDArray[np.int64]:
        """First row of the unit of each row, `(n_rows,)`."""
        return np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def unit_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Unit of these rows, without an array of all."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    def home_at(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Healthy start of the unit of each row as it is known at that row, `(n, n_sensors)`: no look ahead."""
        if self.home is None:
            return None
        unit = self.unit_of(rows)
        age = np.minimum(rows - self.offsets[unit], self.home.shape[1] - 1)
        known: NDArray[np.float32] = self.home[unit, age]
        return known


class Scale(Strict):
    """Mean and standard deviation of one column in each operating condition."""

    column: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]


class Category(Strict):
    """Values of a static text column in training; each becomes one 0/1 feature, a new value is all 0."""

    column: str
    values: tuple[str, ...]


class Preprocessing(Strict):
    """Fitted scaling and channel layout; plain numbers, stored in `bundle.json`."""

    features: Features
    conditions: OperatingConditions
    sensors: tuple[Scale, ...] = Field(description="Sensors that vary, scaled per operating condition.")
    constant: tuple[str, ...] = Field(description="Sensors left out because they never vary within a condition.")
    inputs: tuple[Scale, ...] = Field(description="Settings and known-future columns, scaled over all conditions.")
    known_future: tuple[str, ...]
    static_numbers: tuple[Scale, ...]
    static_categories: tuple[Category, ...]
    time_unit: str
    life_scale: float = Field(gt=0, description="Median observed age of the training units: age is divided by it.")
    sampling_rate_hz: float | None = Field(None, description="Of the training fleet; another is refused.")

    # ------------------------------------------------------------------ fitting

    @classmethod
    def fit(cls, fleet: Fleet, features: Features) -> Preprocessing:
        """Fit on training units.

        Raises:
            FleetError: no sensor varies.
        """
        fleet = with_derived(fleet, features.derived)
        schema = fleet.schema
        conditions = OperatingConditions.fit(fleet)
        condition, _ = conditions.assign(fleet)
        scales, constant = [], []
        rate = _sampling_rate(fleet, features)
        for sensor in _signals(fleet, features):
            scale = _fit_scale(sensor, fleet.frame[sensor].to_numpy(), condition, len(conditions))
            if scale is None:
                constant.append(sensor)
            elif isinstance(features, SignalFeatures):
                scales.append(Scale(column=sensor, mean=(0.0,), sd=(1.0,)))  # a waveform stays as it was measured
            else:
                scales.append(scale)
        if not scales:
            raise FleetError("no sensor varies within an operating condition", where=fleet.name)
        everywhere = np.zeros(fleet.n_rows, dtype=np.int16)
        inputs = (*(schema.settings if features.settings else ()), *schema.known_future)
        fitted = [_fit_scale(c, fleet.frame[c].to_numpy(), everywhere, 1) for c in inputs]
        numbers, categories = _fit_statics(fleet) if features.statics else ((), ())
        last = fleet.age_at(fleet.offsets[1:] - 1)
        return cls(
            features=features,
            conditions=conditions,
            sensors=tuple(scales),
            constant=tuple(constant),
            inputs=tuple(scale for scale in fitted if scale is not None),
            known_future=schema.known_future,
            static_numbers=numbers,
            static_categories=categories,
            time_unit=schema.time_unit,
            life_scale=max(float(np.median(last)), 1e-9),
            sampling_rate_hz=rate,
        )

    # ------------------------------------------------------------------ layout

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a fleet must have; those that are derived follow from them."""
        derived = {one.name for one in self.features.derived}
        statics = (*(s.column for s in self.static_numbers), *(c.column for c in self.static_categories))
        names = (
            *self.conditions.settings,
            *(s.column for s in self.sensors),
            *(s.column for s in self.inputs),
            *statics,
            *(column for one in self.features.derived for column in one.columns),
            *([] if self.shaft_speed is None else [self.shaft_speed]),
        )
        return tuple(name for name in dict.fromkeys(names) if name not in derived)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each channel that a model sees: sensors, their deviations, settings and known-future columns, age."""
        sensors = [scale.column for scale in self.sensors]
        deviations = [f"{name}_deviation" for name in sensors] if self.features.deviation else []
        age = ["age"] if self.features.age else []
        return (*sensors, *deviations, *(scale.column for scale in self.inputs), *age)

    @property
    def n_static(self) -> int:
        """Number of static features."""
        return len(self.static_numbers) + sum(len(c.values) for c in self.static_categories)

    @property
    def shaft_speed(self) -> str | None:
        """Column with the shaft's turns a minute, if a feature reads it."""
        if not isinstance(self.features, SignalFeatures) or self.features.envelope is None:
            return None
        return self.features.envelope.shaft_speed

    # ------------------------------------------------------------------ applying

    def transform(self, fleet: Fleet, *, without: Collection[str] = ()) -> Channels:
        """The fleet as channels.

        Args:
            fleet: has at least `columns`, and the same unit of time.
            without: sensors to be seen as if they had never moved (their channels are 0).

        Raises:
            FleetError: a column that the model needs is missing, or the unit of time or the sampling rate differs.
        """
        self._check(fleet)
        fleet = with_derived(fleet, self.features.derived)
        without = {*without, *(one.name for one in self.features.derived if set(one.columns) & set(without))}
        n_sensors = len(self.sensors)
        condition, seen = self.conditions.assign(fleet)
        channels = Channels(
            values=np.zeros((fleet.n_rows, n_sensors + len(self.inputs) + self.features.age), dtype=np.float32),
            n_sensors=n_sensors,
            home=None,
            static=self._static(fleet),
            offsets=fleet.offsets,
            condition=condition,
            missing=np.zeros(fleet.n_rows, dtype=np.bool_),
            clipped=np.zeros(fleet.n_rows, dtype=np.bool_),
            known_future=[n_sensors + i for i, scale in enumerate(self.inputs) if scale.column in self.known_future],
            units=fleet.units,
            sampling_rate_hz=self.sampling_rate_hz,
            shaft_hz=None if self.shaft_speed is None else _turns_a_second(fleet, self.shaft_speed),
        )
        self._fill(channels, fleet, without)
        condition[~seen] = -1
        if not self.features.deviation:
            return channels
        home = healthy_start(channels.values[:, :n_sensors], fleet.offsets, self.features.healthy_steps)
        return replace(channels, home=home)

    def _fill(self, channels: Channels, fleet: Fleet, without: Collection[str]) -> None:
        """Write the scaled values and the marks of each row, block by block."""
        scales = (*self.sensors, *self.inputs)
        limit = np.inf if isinstance(self.features, SignalFeatures) else CLIP
        held = np.zeros(len(scales), dtype=np.float32)
        for block in row_blocks(fleet.n_rows):
            rows = np.arange(block.start, block.stop)
            start = fleet.offsets[channels.unit_of(rows)] - block.start
            missing, clipped = channels.missing[block], channels.clipped[block]
            for name in self.conditions.settings:
                missing |= np.isnan(fleet.frame[name][block].to_numpy())
            for i, scale in enumerate(scales):
                raw, is_sensor = fleet.frame[scale.column][block].to_numpy(), i < channels.n_sensors
                if is_sensor:
                    missing |= np.isnan(raw)
                    if scale.column in without:
                        continue
                level = hold_last(_standardise(raw, scale, channels.condition[block]), start, held[i])
                held[i] = level[-1]
                if is_sensor:
                    clipped |= np.abs(level) > limit
                np.clip(level, -limit, limit, out=channels.values[block, i])
            if self.features.age:
                channels.values[block, -1] = fleet.age_at(rows) / self.life_scale

    def _check(self, fleet: Fleet) -> None:
        missing = [column for column in self.columns if column not in fleet.frame.columns]
        if missing:
            raise FleetError(
                f"column {missing[0]!r} is missing; the model needs {', '.join(self.columns)}", where=fleet.name
            )
        if fleet.schema.time_unit != self.time_unit:
            raise FleetError(
                f"time is in {fleet.schema.time_unit}s, but the model was trained on {self.time_unit}s",
                where=fleet.name,
                hint=f"read the fleet with time_unit {self.time_unit!r}",
            )
        if self.sampling_rate_hz is not None:
            rate = _sampling_rate(fleet, self.features)
            if rate is not None and not np.isclose(rate, self.sampling_rate_hz, rtol=1e-3):
                raise FleetError(
                    f"it was sampled at {rate:g} Hz, but the model was trained on {self.sampling_rate_hz:g} Hz",
                    where=fleet.name,
                    hint="resample it, or train a model for this rate",
                )

    def _static(self, fleet: Fleet) -> NDArray[np.float32]:
        first = fleet.frame[fleet.offsets[:-1].tolist()] if fleet.n_units else fleet.frame
        columns = []
        everywhere = np.zeros(fleet.n_units, dtype=np.int16)
        for scale in self.static_numbers:
            level = _standardise(first[scale.column].to_numpy(), scale, everywhere)
            columns.append(np.nan_to_num(level, nan=0.0))
        for category in self.static_categories:
            text = first[category.column].to_numpy()
            columns += [(text == value).astype(np.float32) for value in category.values]
        return np.stack(columns, axis=1) if columns else np.zeros((fleet.n_units, 0), dtype=np.float32)


def _signals(fleet: Fleet, features: Features) -> tuple[str, ...]:
    """The sensors that are channels; for fast signals those that were chosen, the shaft's speed never among them."""
    if not isinstance(features, SignalFeatures):
        return fleet.schema.sensors
    unknown = [channel for channel in features.channels if channel not in fleet.schema.sensors]
    if unknown:
        raise FleetError(
            f"there is no sensor {unknown[0]!r}; there are {', '.join(fleet.schema.sensors)}", where=fleet.name
        )
    speed = None if features.envelope is None else features.envelope.shaft_speed
    if speed is not None and (speed not in fleet.frame.columns or not fleet.frame[speed].dtype.is_numeric()):
        raise FleetError(
            f"there is no column {speed!r} with the speed of the shaft; there are {', '.join(fleet.frame.columns)}",
            where=fleet.name,
            hint="set features.envelope.shaft_speed to a column of turns a minute",
        )
    return tuple(name for name in features.channels or fleet.schema.sensors if name != speed)


def _turns_a_second(fleet: Fleet, column: str) -> NDArray[np.float32]:
    return np.asarray(fleet.frame[column].to_numpy() / 60, dtype=np.float32)


def _sampling_rate(fleet: Fleet, features: Features) -> float | None:
    """Sampling rate of a fleet, its own or the one that the features give where it knows none."""
    known = fleet.schema.sampling_rate_hz
    if not isinstance(features, SignalFeatures):
        return known
    given = features.sampling_rate_hz
    if known is None and given is None:
        raise FleetError(
            "the sampling rate is not known", where=fleet.name, hint="set features.sampling_rate_hz in the experiment"
        )
    if known is not None and given is not None and not np.isclose(known, given, rtol=1e-3):
        raise FleetError(
            f"it was sampled at {known:g} Hz, not at features.sampling_rate_hz {given:g}", where=fleet.name
        )
    return known if known is not None else given


def _standardise(raw: NDArray[np.float32], scale: Scale, condition: NDArray[np.int16]) -> NDArray[np.float32]:
    mean, sd = np.array(scale.mean), np.array(scale.sd)
    level = (raw - mean[0]) / sd[0] if len(mean) == 1 else (raw - mean[condition]) / sd[condition]
    return np.asarray(level, dtype=np.float32)


def _fit_scale(column: str, raw: NDArray[np.float32], condition: NDArray[np.int16], n: int) -> Scale | None:
    """Mean and standard deviation per condition; None if the column never varies within one."""
    count, total, squares = np.zeros(n), np.zeros(n), np.zeros(n)
    for x, code in _known(raw, condition):
        count += np.bincount(code, minlength=n)
        total += np.bincount(code, weights=x, minlength=n)
    if not count.any():
        return None
    mean = total / np.maximum(count, 1)
    for x, code in _known(raw, condition):
        squares += np.bincount(code, weights=(x - mean[code]) ** 2, minlength=n)
    pooled = float(np.sqrt(squares.sum() / count.sum()))
    if pooled <= 1e-6 * max(float(np.abs(mean).max()), 1e-6):
        return None
    mean[count == 0] = total.sum() / count.sum()
    sd = np.maximum(np.sqrt(squares / np.maximum(count, 1)), 0.05 * pooled)
    return Scale(column=column, mean=tuple(mean.tolist()), sd=tuple(sd.tolist()))


def _known(
    raw: NDArray[np.float32], condition: NDArray[np.int16]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int16]]]:
    """Readings that are there, in double precision, and their conditions, block by block."""
    for block in row_blocks(len(raw)):
        known = np.isfinite(raw[block])
        yield raw[block][known].astype(np.float64), condition[block][known]


def _fit_statics(fleet: Fleet) -> tuple[tuple[Scale, ...], tuple[Category, ...]]:
    numbers, categories = [], []
    everywhere = np.zeros(fleet.n_units, dtype=np.int16)
    for column in fleet.schema.statics:
        first = fleet.frame[column].gather(fleet.offsets[:-1])
        if first.dtype.is_numeric():
            scale = _fit_scale(column, first.cast(float).fill_null(float("nan")).to_numpy(), everywhere, 1)
            numbers += [scale] if scale else []
        else:
            categories.append(Category(column=column, values=tuple(sorted(first.drop_nulls().unique().to_list()))))
    return tuple(numbers), tuple(categories)
