"""The one preprocessing, fitted on training units, stored in the bundle, used in training and in service alike."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from wearcast.config import Strict
from wearcast.errors import FleetError
from wearcast.features import (
    Features,
    SignalFeatures,
    calendar_marks,
    healthy_start,
    hold_last,
    row_blocks,
    with_derived,
)
from wearcast.fleet import Fleet
from wearcast.readings import History
from wearcast.schema import TimeUnit
from wearcast.windows.channels import Calendar, Channels
from wearcast.windows.conditions import OperatingConditions

__all__ = ["Preprocessing"]

CLIP = 10.0
"""Standard deviations beyond which a reading is clipped and flagged: no training unit looks like that."""


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
    time_unit: TimeUnit
    life_scale: float = Field(gt=0, description="Median observed age of the training units: age is divided by it.")
    sampling_rate_hz: float | None = Field(None, description="Of the training fleet; another is refused.")
    step_s: float | None = Field(None, description="Usual time between readings in training, for calendar marks.")
    masked: tuple[str, ...] = Field((), description="Columns with a mask: 1 where the reading is there, else 0.")

    # ------------------------------------------------------------------ fitting

    @classmethod
    def fit(cls, fleet: Fleet, features: Features) -> Preprocessing:
        """Fit on training units.

        Raises:
            FleetError: no sensor varies, or calendar marks are asked for of a counter of cycles.
        """
        fleet = with_derived(fleet, features.derived)
        schema = fleet.schema
        if features.calendar and not schema.is_clock:
            raise FleetError(
                "time is counted in cycles, which have no calendar",
                where=fleet.name,
                hint="leave features.calendar out, or read the time axis from a column of timestamps",
            )
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
        varying = tuple(scale for scale in fitted if scale is not None)
        numbers, categories = _fit_statics(fleet) if features.statics else ((), ())
        last = fleet.age_at(fleet.offsets[1:] - 1)
        return cls(
            features=features,
            conditions=conditions,
            sensors=tuple(scales),
            constant=tuple(constant),
            inputs=varying,
            known_future=schema.known_future,
            static_numbers=numbers,
            static_categories=categories,
            time_unit=schema.time_unit,
            life_scale=max(float(np.median(last)), 1e-9),
            sampling_rate_hz=rate,
            step_s=_step_s(fleet) if features.calendar else None,
            masked=_masked(fleet, features, [scale.column for scale in (*scales, *varying)]),
        )

    # ------------------------------------------------------------------ layout

    @cached_property
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
            *(one.limits.column for one in self.features.derived if one.limits is not None),
            *([] if self.shaft_speed is None else [self.shaft_speed]),
        )
        return tuple(name for name in dict.fromkeys(names) if name not in derived)

    @cached_property
    def known_sensors(self) -> frozenset[str]:
        """Sensors of the training fleet, and those that are derived."""
        read = (column for one in self.features.derived for column in one.columns)
        return frozenset({*(scale.column for scale in self.sensors), *self.constant, *read})

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each channel that a model sees: sensors, their deviations, then `context_names`."""
        sensors = [scale.column for scale in self.sensors]
        deviations = [f"{name}_deviation" for name in sensors] if self.features.deviation else []
        return (*sensors, *deviations, *self.context_names)

    @property
    def context_names(self) -> tuple[str, ...]:
        """Names of the channels behind levels and deviations: masks, settings, known-future columns, calendar, age."""
        inputs = [scale.column for scale in self.inputs]
        return (*self.mask_names, *inputs, *self._mark_names, *(["age"] if self.features.age else []))

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Names of the masks."""
        return tuple(f"{column}_present" for column in self.masked)

    @property
    def _mark_names(self) -> tuple[str, ...]:
        return tuple(f"calendar_{mark}" for mark in self.features.calendar)

    @property
    def sensor_of(self) -> tuple[int, ...]:
        """The sensor that each of `names` tells of, by its number; -1 where it is of none."""
        number = {scale.column: i for i, scale in enumerate(self.sensors)}
        levels = range(len(self.sensors))
        deviations = levels if self.features.deviation else ()
        masks = [number.get(column, -1) for column in self.masked]
        return (*levels, *deviations, *masks, *[-1] * (len(self.context_names) - len(masks)))

    @property
    def exact(self) -> tuple[bool, ...]:
        """Whether each of `names` is known without an error of measurement: masks and calendar marks are."""
        certain = {*self.mask_names, *self._mark_names}
        measured = [False] * (len(self.names) - len(self.context_names))
        return (*measured, *(name in certain for name in self.context_names))

    @property
    def n_known_future(self) -> int:
        """Number of channels that are known ahead."""
        return sum(scale.column in self.known_future for scale in self.inputs) + len(self.features.calendar)

    @property
    def n_static(self) -> int:
        """Number of static features."""
        return len(self.static_numbers) + sum(len(c.values) for c in self.static_categories)

    @property
    def shaft_speed(self) -> str | None:
        """Column with the speed of the shaft, if a feature reads it."""
        return self.features.shaft_speed if isinstance(self.features, SignalFeatures) else None

    # ------------------------------------------------------------------ applying

    def transform(self, history: History, *, without: Collection[str] = ()) -> Channels:
        """The fleet as channels.

        Args:
            history: has at least `columns`, and the same unit of time.
            without: sensors to be seen as if they had never moved (their channels are 0).

        Raises:
            FleetError: a column that the model needs is missing, or the unit of time or the sampling rate differs.
        """
        self._check(history)
        history = with_derived(history, self.features.derived)
        without = {*without, *(one.name for one in self.features.derived if set(one.columns) & set(without))}
        n_sensors = len(self.sensors)
        condition, seen = self.conditions.assign(history)
        inputs = n_sensors + len(self.masked)
        planned = [inputs + i for i, scale in enumerate(self.inputs) if scale.column in self.known_future]
        marks = inputs + len(self.inputs)
        channels = Channels(
            values=np.zeros((history.n_rows, n_sensors + len(self.context_names)), dtype=np.float32),
            n_sensors=n_sensors,
            n_masks=len(self.masked),
            home=None,
            static=self._static(history),
            offsets=history.offsets,
            condition=condition,
            missing=np.zeros(history.n_rows, dtype=np.bool_),
            clipped=np.zeros(history.n_rows, dtype=np.bool_),
            known_future=[*planned, *range(marks, marks + len(self.features.calendar))],
            units=history.units,
            sampling_rate_hz=self.sampling_rate_hz,
            shaft=_shaft(history, self.features),
            calendar=self._calendar(history),
        )
        self._fill(channels, history, frozenset(without))
        condition[~seen] = -1
        if not self.features.deviation:
            return channels
        home = healthy_start(channels.values[:, :n_sensors], history.offsets, self.features.healthy_steps)
        return replace(channels, home=home)

    @cached_property
    def _means_and_sds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of sensors and inputs in each operating condition, `(n_conditions, n_columns)`."""
        scales = (*self.sensors, *self.inputs)
        shape = (max(len(self.conditions), 1), len(scales))
        mean, sd = np.empty(shape), np.empty(shape)
        for i, scale in enumerate(scales):
            mean[:, i], sd[:, i] = scale.mean, scale.sd
        return mean, sd

    def _fill(self, channels: Channels, history: History, without: frozenset[str]) -> None:
        """Write the scaled values and the marks of each row, block by block."""
        names = [scale.column for scale in (*self.sensors, *self.inputs)]
        n = channels.n_sensors
        masks = [names.index(column) for column in self.masked]
        left_out = [i for i, name in enumerate(names[:n]) if name in without]
        limit = np.float32(np.inf if isinstance(self.features, SignalFeatures) else CLIP)
        mean, sd = self._means_and_sds
        held = np.zeros(len(names), dtype=np.float32)
        for block in row_blocks(history.n_rows, len(names)):
            rows = np.arange(block.start, block.stop)
            raw = np.empty((len(rows), len(names)), dtype=np.float32)
            for i, name in enumerate(names):
                raw[:, i] = history.column(name, block)
            values, absent = channels.values[block], np.isnan(raw)
            channels.missing[block] = absent[:, :n].any(axis=1)
            for name in self.conditions.settings:
                channels.missing[block] |= np.isnan(history.column(name, block))
            values[:, n : n + len(masks)] = ~absent[:, masks]
            condition = channels.condition[block] if len(mean) > 1 else 0
            with np.errstate(over="ignore", invalid="ignore"):  # beyond single precision is out of range, and clipped
                level = np.asarray((raw - mean[condition]) / sd[condition], dtype=np.float32)
            level = hold_last(level, history.offsets[channels.unit_of(rows)] - block.start, held)
            held = level[-1]
            level[:, left_out] = 0.0
            channels.clipped[block] = (np.abs(level[:, :n]) > limit).any(axis=1)
            at = len(names) + len(masks)
            level = np.minimum(np.maximum(level, -limit), limit)  # np.clip takes twice as long for a few rows
            values[:, :n], values[:, n + len(masks) : at] = level[:, :n], level[:, n:]
            if self.features.calendar:
                marks = calendar_marks(history.microseconds(block), self.features.calendar)
                values[:, at : at + marks.shape[1]] = marks
            if self.features.age:
                values[:, -1] = history.age_at(rows) / self.life_scale

    def _calendar(self, history: History) -> Calendar | None:
        """How each unit goes on: by the sampling rate where it is known, else by its own median step."""
        if not self.features.calendar or self.step_s is None:
            return None
        step = np.full(history.n_units, round(self.step_s * 1e6))
        time = history.microseconds()
        if self.sampling_rate_hz is None:
            for unit, (first, stop) in enumerate(itertools.pairwise(history.offsets.tolist())):
                if stop - first > 1:
                    step[unit] = np.median(np.diff(time[first:stop]))
        return Calendar(self.features.calendar, time[history.offsets[1:] - 1], step)

    def _check(self, history: History) -> None:
        there = set(history.column_names)
        missing = [column for column in self.columns if column not in there]
        if missing:
            raise FleetError(
                f"column {missing[0]!r} is missing; the model needs {', '.join(self.columns)}", where=history.name
            )
        if history.time_unit != self.time_unit:
            raise FleetError(
                f"time is in {history.time_unit}s, but the model was trained on {self.time_unit}s",
                where=history.name,
                hint=f"read the fleet with time_unit {self.time_unit!r}",
            )
        if self.sampling_rate_hz is not None:
            rate = _sampling_rate(history, self.features)
            if rate is not None and not np.isclose(rate, self.sampling_rate_hz, rtol=1e-3):
                raise FleetError(
                    f"it was sampled at {rate:g} Hz, but the model was trained on {self.sampling_rate_hz:g} Hz",
                    where=history.name,
                    hint="resample it, or train a model for this rate",
                )

    def _static(self, history: History) -> NDArray[np.float32]:
        first = history.offsets[:-1]
        columns = []
        everywhere = np.zeros(history.n_units, dtype=np.int16)
        for scale in self.static_numbers:
            level = _standardise(history.column(scale.column, first), scale, everywhere)
            columns.append(np.nan_to_num(level, nan=0.0))
        for category in self.static_categories:
            text = history.column(category.column, first)
            columns += [(text == value).astype(np.float32) for value in category.values]
        return np.stack(columns, axis=1) if columns else np.zeros((history.n_units, 0), dtype=np.float32)


def _signals(fleet: Fleet, features: Features) -> tuple[str, ...]:
    """The sensors that are channels; for fast signals those that were chosen, the shaft's speed never among them."""
    if not isinstance(features, SignalFeatures):
        return fleet.schema.sensors
    unknown = [channel for channel in features.channels if channel not in fleet.schema.sensors]
    if unknown:
        raise FleetError(
            f"there is no sensor {unknown[0]!r}; there are {', '.join(fleet.schema.sensors)}", where=fleet.name
        )
    speed = features.shaft_speed
    if speed is not None and (speed not in fleet.frame.columns or not fleet.frame[speed].dtype.is_numeric()):
        raise FleetError(
            f"there is no column {speed!r} with the speed of the shaft; there are {', '.join(fleet.frame.columns)}",
            where=fleet.name,
            hint="set shaft_speed, of features.envelope or features.orders, to a column of numbers",
        )
    return tuple(name for name in features.channels or fleet.schema.sensors if name != speed)


def _masked(fleet: Fleet, features: Features, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that get a mask, of those that are channels; a plan for the future is never one of them."""
    wanted, schema = features.missing_mask, fleet.schema
    if wanted == "none":
        return ()
    columns = [column for column in columns if column not in schema.known_future]
    if wanted == "all":
        return tuple(columns)
    if wanted == "auto":
        columns = [column for column in columns if column in schema.masked]
    return tuple(column for column in columns if fleet.frame[column].is_nan().any())


def _step_s(fleet: Fleet) -> float:
    """Time between two readings of a unit, by the sampling rate or the median."""
    if fleet.schema.sampling_rate_hz is not None:
        return 1 / fleet.schema.sampling_rate_hz
    steps = np.diff(fleet.microseconds())
    within = np.delete(steps, fleet.offsets[1:-1] - 1)
    if not len(within):
        raise FleetError(
            "no unit has two readings, so the time from one to the next is not known",
            where=fleet.name,
            hint="leave features.calendar out",
        )
    return float(np.median(within)) / 1e6


def _shaft(history: History, features: Features) -> NDArray[np.float32] | None:
    """What `Channels.shaft` holds; pulses are read segment by segment, or a speed would know the next pulse."""
    if not isinstance(features, SignalFeatures) or features.shaft_speed is None:
        return None
    read = history.column(features.shaft_speed)
    return np.asarray(read if features.tacho is not None else read / 60, dtype=np.float32)


def _sampling_rate(history: History, features: Features) -> float | None:
    """Sampling rate of a fleet, its own or the one that the features give where it knows none."""
    known = history.sampling_rate_hz
    if not isinstance(features, SignalFeatures):
        return known
    given = features.sampling_rate_hz
    if known is None and given is None:
        raise FleetError(
            "the sampling rate is not known", where=history.name, hint="set features.sampling_rate_hz in the experiment"
        )
    if known is not None and given is not None and not np.isclose(known, given, rtol=1e-3):
        raise FleetError(
            f"it was sampled at {known:g} Hz, not at features.sampling_rate_hz {given:g}", where=history.name
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
