"""What is forecast: the target of an experiment, as a discriminated union on `kind`.

A target says what is learnt and how it is read off a fleet (`labels`), so that training, calibration and evaluation
judge by one and the same truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from wearcast.config import Strict, nearest
from wearcast.errors import FleetError
from wearcast.labels import FutureLabels, RowLabels
from wearcast.schema import SECONDS

if TYPE_CHECKING:
    import polars as pl

    from wearcast.fleet import Fleet

__all__ = [
    "AlarmRule",
    "BestF1",
    "ClassTarget",
    "FailureTarget",
    "FalseAlarmRate",
    "FaultTarget",
    "Fixed",
    "LeastCost",
    "RulTarget",
    "SensorTarget",
    "Target",
]

Level = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]

FAILURE = ("healthy", "failure")
"""The classes of a failure target; the second is the one that an alarm is about."""


def _ascending(name: str, values: tuple[float, ...]) -> None:
    if not values or list(values) != sorted(set(values)):
        raise ValueError(f"{name} must be a non-empty ascending list without repeats, got {list(values)}")


class RulTarget(Strict):
    """Time to end of life, as one distribution on a grid of ages from now."""

    kind: Literal["rul"] = "rul"
    max_rul: Positive = Field(
        125.0,
        description="Cap of the expected RUL, in the fleet's time unit: above it a healthy unit shows no wear.",
    )
    horizons: tuple[Positive, ...] = Field(
        (10.0, 30.0, 60.0), description="Horizons h at which P(failure <= h) is written out."
    )
    quantile_levels: tuple[Level, ...] = Field(
        (0.05, 0.25, 0.5, 0.75, 0.95), description="Levels of the RUL quantiles that are written out."
    )
    bins: int = Field(50, ge=8, le=500, description="Equal bins between now and max_rul.")
    tail_bins: int = Field(10, ge=1, le=100, description="Geometrically growing bins beyond max_rul.")

    @model_validator(mode="after")
    def _lists_ascend(self) -> RulTarget:
        _ascending("horizons", self.horizons)
        _ascending("quantile_levels", self.quantile_levels)
        return self

    def grid(self, longest_rul: float) -> np.ndarray:
        """Edges `(n_edges,)` of the time grid: 0, equal steps to `max_rul`, growing steps to `longest_rul`."""
        even = np.linspace(0.0, self.max_rul, self.bins + 1)
        end = max(longest_rul, self.max_rul * 1.5)
        tail = np.geomspace(self.max_rul, end, self.tail_bins + 1)[1:]
        return np.concatenate([even, tail])

    def resolved(self, fleet: Fleet) -> RulTarget:
        """The target as it is learnt from this fleet."""
        return self

    def strata(self, fleet: Fleet) -> NDArray[np.int64]:
        """Which units have failed, `(n_units,)`: they are divided evenly among splits.

        Raises:
            FleetError: fewer than two have.
        """
        return _failed(fleet)

    def labels(self, fleet: Fleet, prediction_length: int = 0) -> RowLabels:
        """Time to end of life of each reading, or so far without it."""
        duration, known = fleet.rul()
        return RowLabels(duration, known, np.arange(fleet.n_rows))


class BestF1(Strict):
    """The threshold with the best F1 on held-out units."""

    kind: Literal["f1"] = "f1"


class LeastCost(Strict):
    """The threshold of least cost on held-out units (Elkan 2001, "The foundations of cost-sensitive learning")."""

    kind: Literal["cost"] = "cost"
    miss: Positive = Field(10.0, description="Cost of a failure without an alarm.")
    false_alarm: Positive = Field(1.0, description="Cost of an alarm without a failure.")


class FalseAlarmRate(Strict):
    """The lowest threshold with at most this share of false alarms among the healthy held-out readings."""

    kind: Literal["false_alarm_rate"] = "false_alarm_rate"
    at_most: Level = Field(0.01, description="Share of the healthy readings with an alarm.")


class Fixed(Strict):
    """A threshold that is given."""

    kind: Literal["fixed"] = "fixed"
    probability: Level = 0.5


AlarmRule = Annotated[BestF1 | LeastCost | FalseAlarmRate | Fixed, Field(discriminator="kind")]


class _Classes(Strict):
    """What both targets with classes have in common."""

    class_weight: Literal["none", "balanced"] = Field(
        "none",
        description="'balanced': rare classes count as much as frequent ones; calibration puts probabilities right.",
    )
    focal_gamma: float = Field(
        0.0, ge=0, le=5, description="Focal loss (Lin et al. 2017): how much less a sure, right answer counts; 0: none."
    )


class FailureTarget(_Classes):
    """Whether a failure comes within a horizon, or whether a label column says that there is one."""

    kind: Literal["failure"] = "failure"
    horizon: Positive | None = Field(None, description="In the fleet's time unit; or a label.")
    label: str | None = Field(None, description="Label column with 1 for a failure and 0 for none; or a horizon.")
    threshold: AlarmRule = Field(BestF1(), description="How the alarm threshold is chosen on held-out units.")

    @model_validator(mode="after")
    def _one(self) -> FailureTarget:
        if (self.horizon is None) == (self.label is None):
            raise ValueError("give either horizon or label")
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return FAILURE

    def resolved(self, fleet: Fleet) -> FailureTarget:
        """The target as it is learnt from this fleet.

        Raises:
            FleetError: there is no such label, it is not 0 and 1, or one of both classes never comes.
        """
        labels = self.labels(fleet)
        for value, name in enumerate(self.classes):
            if not (labels.value[labels.rows] == value).any():
                said = f"label {self.label!r}" if self.horizon is None else f"a horizon of {self.horizon:g}"
                raise FleetError(
                    f"by {said} no reading is of the class {name}: there is nothing to tell apart", where=fleet.name
                )
        return self

    def strata(self, fleet: Fleet) -> NDArray[np.int64]:
        """Which units have failed, `(n_units,)`: they are divided evenly among splits.

        Raises:
            FleetError: fewer than two have.
        """
        return _failed(fleet) if self.label is None else _highest(self.labels(fleet), fleet)

    def labels(self, fleet: Fleet, prediction_length: int = 0) -> RowLabels:
        """1 where a failure comes within the horizon, 0 where it does not.

        Not known: readings of a unit that is still running whose history ends within the horizon.

        Raises:
            FleetError: there is no such label, or it is not 0 and 1.
        """
        if self.label is not None:
            value = _zero_or_one(fleet, self.label)
            known = ~np.isnan(value)
            return RowLabels(np.where(known, value, 0).astype(np.int64), known, np.flatnonzero(known))
        duration, ended = fleet.rul()
        slack = 0.5e-6 / SECONDS[fleet.schema.time_unit] if fleet.schema.is_clock else 0.0  # clocks tick microseconds
        near = duration <= (self.horizon or 0.0) + slack
        known = ended | ~near
        return RowLabels((ended & near).astype(np.int64), known, np.flatnonzero(known))


class FaultTarget(_Classes):
    """Which fault: the class in a label column."""

    kind: Literal["fault"] = "fault"
    label: str = Field(description="Label column that names the class.")
    classes: tuple[str, ...] = Field((), description="Names of the classes; those found in training unless given.")

    @model_validator(mode="after")
    def _tell_apart(self) -> FaultTarget:
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be 2 or more different names, got {list(self.classes)}")
        return self

    def resolved(self, fleet: Fleet) -> FaultTarget:
        """The target with the classes of this fleet.

        Raises:
            FleetError: there is no such label, or fewer than two classes.
        """
        found = _names(fleet, self.label).drop_nulls().unique().sort().to_list()
        classes = self.classes or tuple(found)
        if len([name for name in classes if name in found]) < 2:
            raise FleetError(
                f"label {self.label!r} has the classes {', '.join(found) or 'none'}; it takes 2 to tell apart",
                where=fleet.name,
            )
        return self.model_copy(update={"classes": classes})

    def strata(self, fleet: Fleet) -> NDArray[np.int64]:
        """The class of each unit, the last where there are several, `(n_units,)`."""
        return _highest(self.resolved(fleet).labels(fleet), fleet)

    def labels(self, fleet: Fleet, prediction_length: int = 0) -> RowLabels:
        """Position of each reading's class in `classes`; not known where the label is empty or another class."""
        names = _names(fleet, self.label).to_numpy()
        value = np.zeros(fleet.n_rows, dtype=np.int64)
        known = np.zeros(fleet.n_rows, dtype=np.bool_)
        for position, name in enumerate(self.classes):
            here = names == name
            value[here] = position
            known |= here
        return RowLabels(value, known, np.flatnonzero(known))


class SensorTarget(Strict):
    """Future values of columns, as quantiles; `window.prediction_length` says how far ahead."""

    kind: Literal["sensor"] = "sensor"
    columns: tuple[str, ...] = Field(min_length=1, description="Sensors whose future is forecast.")
    quantile_levels: tuple[Level, ...] = Field(
        (0.05, 0.25, 0.5, 0.75, 0.95), description="Levels of the quantiles that are written out; 0.5 is the forecast."
    )
    relative: bool = Field(True, description="Learn the change from the last reading instead of the value itself.")

    @model_validator(mode="after")
    def _levels(self) -> SensorTarget:
        _ascending("quantile_levels", self.quantile_levels)
        if 0.5 not in self.quantile_levels:
            raise ValueError("quantile_levels must hold 0.5: the median is the forecast")
        return self

    def resolved(self, fleet: Fleet) -> SensorTarget:
        """The target as it is learnt from this fleet.

        Raises:
            FleetError: a column is not a sensor, or has no reading.
        """
        for column in self.columns:
            if column not in fleet.schema.sensors:
                raise FleetError(
                    f"there is no sensor {column!r} to forecast",
                    where=fleet.name,
                    hint=nearest(column, fleet.schema.sensors) or f"there are {', '.join(fleet.schema.sensors)}",
                )
            if not np.isfinite(fleet.frame[column].to_numpy()).any():
                raise FleetError(f"the sensor {column!r} has no reading to learn from", where=fleet.name)
        return self

    def strata(self, fleet: Fleet) -> NDArray[np.int64]:
        """All units are alike, `(n_units,)`.

        Raises:
            FleetError: there is one unit only.
        """
        if fleet.n_units < 2:
            raise FleetError(
                "there is one unit: nothing is left to validate on",
                where=fleet.name,
                hint="set split.by to time",
            )
        return np.zeros(fleet.n_units, dtype=np.int64)

    def labels(self, fleet: Fleet, prediction_length: int = 0) -> FutureLabels:
        """The next `prediction_length` values of the columns after each reading, where the unit has them all."""
        return FutureLabels.of(fleet.values(self.columns), fleet.offsets, prediction_length)


def _failed(fleet: Fleet) -> NDArray[np.int64]:
    failed = np.isfinite(fleet.end_of_life_age)
    if failed.sum() < 2:
        raise FleetError(
            f"{int(failed.sum())} of {fleet.n_units} units have failed; learning a time to failure takes at least 2",
            where=fleet.name,
            hint="add units that failed, or give their failure times as events",
        )
    return failed.astype(np.int64)


def _highest(labels: RowLabels, fleet: Fleet) -> NDArray[np.int64]:
    """The highest known class of each unit, -1 without one."""
    found = np.full(fleet.n_units, -1, dtype=np.int64)
    np.maximum.at(found, fleet.row_unit[labels.rows], labels.value[labels.rows])
    return found


def _label(fleet: Fleet, column: str) -> pl.Series:
    if column not in fleet.schema.labels:
        there = ", ".join(fleet.schema.labels) or "none"
        raise FleetError(
            f"there is no label {column!r}; labels are {there}",
            where=fleet.name,
            hint=nearest(column, fleet.schema.labels) or "name the column as a label in the mapping",
        )
    return fleet.frame[column]


def _zero_or_one(fleet: Fleet, column: str) -> NDArray[np.float64]:
    """The label of each reading, NaN where it is empty."""
    found = _label(fleet, column)
    if not found.dtype.is_numeric():  # a column of truth values is text in a fleet
        found = found.replace({"false": "0", "true": "1"})
    number = found.cast(float, strict=False)
    strange = found.filter(found.is_not_null() & ~(number.is_in([0.0, 1.0]) | number.is_nan()).fill_null(False))
    if len(strange):
        raise FleetError(
            f"label {column!r} must be 0 or 1, not {strange[0]!r}",
            where=fleet.name,
            hint="a label with several classes is a target of kind fault",
        )
    value: NDArray[np.float64] = number.fill_null(float("nan")).to_numpy()
    return value


def _names(fleet: Fleet, column: str) -> pl.Series:
    """The label as text; a whole number without a point, whatever the others are."""
    found = _label(fleet, column)
    if not found.dtype.is_numeric():
        return found
    found = found.fill_nan(None) if found.dtype.is_float() else found
    whole = found.cast(int, strict=False)
    return whole.cast(str).zip_with(whole == found, found.cast(str))


ClassTarget = FailureTarget | FaultTarget
Target = Annotated[RulTarget | FailureTarget | FaultTarget | SensorTarget, Field(discriminator="kind")]
