"""A health index from vibration, and the alarms raised on it; for machines without failures to learn from.

The level of a reading is the root mean square of the last `window` readings (or a quantile of their magnitudes), and
its ratio to the level while healthy says how much worse the machine has become. On a logarithmic scale, as severity is:

    health = 1 − ln(level / healthy level) / ln(limit), held to [0, 1]

1 is as healthy as at the start, 0 is `limit` times its vibration. The defaults follow the zones of ISO 10816-1:1995,
Annex B, whose boundaries stand to each other as 1 : 2.5 : 6.3 in every class of machines (0.71, 1.8 and 4.5 mm/s in
class I): the limit is 6.3, so that a machine 2.5 times above its start has health 0.5 and warns.

An index in this sense is a ratio of levels and no probability; it knows nothing of load and speed. Compare like
operation with like.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import polars as pl
from pydantic import Field, model_validator

from wearcast.config import Strict
from wearcast.errors import FleetError, UsageError
from wearcast.fleet import Fleet

__all__ = ["STATES", "AlarmThresholds", "HealthIndex", "alarm_states", "health_index"]

STATES: Final = ("healthy", "warn", "alarm")
"""What `alarm_states` says of a reading, from good to bad."""


class HealthIndex(Strict):
    """How health is derived from one vibration channel."""

    column: str = Field("vibration", description="The channel.")
    scale: Literal["linear", "decibel"] = Field(
        "linear", description="decibel: the channel is 20·log10 of an amplitude, and is turned back into it."
    )
    window: int = Field(240, ge=1, description="Readings that a level looks back over.")
    statistic: Literal["rms", "quantile"] = Field("rms", description="quantile: of the magnitudes; robust to spikes.")
    quantile: float = Field(0.9, gt=0, le=1, description="Which quantile, for statistic: quantile.")
    baseline_rows: int = Field(240, ge=1, description="First readings of each unit, taken as healthy.")
    baseline_level: float | None = Field(
        None, gt=0, description="The healthy level, instead of each unit's own start; see `fitted`."
    )
    limit: float = Field(6.3, gt=1, description="Ratio to the healthy level at which health is 0.")

    def fitted(self, fleet: Fleet) -> HealthIndex:
        """The same index with the healthy level of this fleet, the median of its units, for histories that start late.

        Raises:
            UsageError: the fleet has no such column.
            FleetError: no unit has a healthy level.
        """
        baseline = _levels(fleet, self).group_by("unit").agg(_own_baseline(self))["baseline"].median()
        if not isinstance(baseline, float) or not baseline > 0:
            where = f"{fleet.name}, column {self.column!r}"
            raise FleetError("no unit vibrates in its first readings, so there is no healthy level", where=where)
        return self.model_copy(update={"baseline_level": baseline})


class AlarmThresholds(Strict):
    """At which health a warning and an alarm are raised, and how they are cleared."""

    warn: float = Field(0.5, ge=0, le=1, description="A warning is raised at this health or below.")
    alarm: float = Field(0.2, ge=0, le=1, description="An alarm is raised at this health or below.")
    hysteresis: float = Field(0.05, ge=0, lt=1, description="Either is cleared only above its threshold by this much.")
    hold: int = Field(1, ge=1, description="Readings in a row at or below the threshold before either is raised.")

    @model_validator(mode="after")
    def _ordered(self) -> AlarmThresholds:
        if self.alarm > self.warn:
            raise ValueError(f"alarm ({self.alarm}) is above warn ({self.warn}), but the worse state needs less health")
        return self


def health_index(fleet: Fleet, index: HealthIndex | None = None) -> pl.DataFrame:
    """Health of each reading: `unit`, `time`, `level`, `ratio` to the healthy level, and `health` from 0 to 1.

    Only readings up to each row are looked at, those of the healthy start aside: within the first `baseline_rows` the
    healthy level is not known yet unless it is given. Where the window holds no reading, all three are null.

    Raises:
        UsageError: the fleet has no such column.
        FleetError: a unit has no healthy level: its first readings are missing or all 0.

    Example:
        >>> import polars as pl
        >>> from wearcast import Fleet
        >>> frame = pl.DataFrame({"unit": 1, "t": range(6), "vibration": [1.0, 1, 1, 1, 2.5, 6.3]})
        >>> pump = Fleet.from_frame(frame, unit="unit", cycle="t", sensors=["vibration"])
        >>> health_index(pump, HealthIndex(window=1, baseline_rows=4))["health"].round(2).to_list()
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    index = index or HealthIndex()
    levels = _levels(fleet, index)
    if index.baseline_level is None:
        levels = levels.with_columns(_own_baseline(index).over("unit"))
        bad = levels.filter(~(pl.col("baseline") > 0).fill_null(False))
        if bad.height:
            raise FleetError(
                f"unit {bad['unit'][0]!r} does not vibrate in its first {index.baseline_rows} readings",
                where=f"{fleet.name}, column {index.column!r}",
                hint="without a healthy start give a baseline_level, or take that of other units: HealthIndex.fitted",
            )
    else:
        levels = levels.with_columns(pl.lit(index.baseline_level).alias("baseline"))
    ratio = (pl.col("level") / pl.col("baseline")).alias("ratio")
    health = (1 - ratio.log() / math.log(index.limit)).clip(0, 1).alias("health")
    return levels.select("unit", "time", "level", ratio, health)


def alarm_states(health: pl.DataFrame, thresholds: AlarmThresholds | None = None) -> pl.DataFrame:
    """The table of `health_index` with a column `state`, one of `STATES`.

    A reading without health leaves the state as it was. A unit starts healthy.
    """
    thresholds = thresholds or AlarmThresholds()
    raised = [_raised(level, thresholds) for level in (thresholds.warn, thresholds.alarm)]
    states = pl.Enum(STATES)
    state = (
        pl.when(raised[1]).then(pl.lit("alarm")).when(raised[0]).then(pl.lit("warn")).otherwise(pl.lit("healthy"))
    ).cast(states)
    return health.with_columns(state.alias("state"))


def _raised(level: float, thresholds: AlarmThresholds) -> pl.Expr:
    """Whether a threshold is raised: latched from `hold` readings at or below it until one is clearly above it."""
    health = pl.col("health")
    low = health.le(level).fill_null(False).cast(pl.Int32)
    run = low.rolling_sum(thresholds.hold, min_samples=thresholds.hold).over("unit")
    clear = health > level + thresholds.hysteresis
    latch = pl.when(run == thresholds.hold).then(1).when(clear).then(0).otherwise(None)
    return latch.forward_fill().over("unit").fill_null(0) == 1


def _levels(fleet: Fleet, index: HealthIndex) -> pl.DataFrame:
    """`unit`, `time` and the level of each reading."""
    if index.column not in fleet.schema.numeric:
        known = ", ".join(fleet.schema.numeric)
        raise UsageError(f"there is no column {index.column!r}", where=fleet.name, hint=f"one of {known}")
    value = pl.col(index.column).cast(pl.Float64).fill_nan(None)
    amplitude = 10 ** (value / 20) if index.scale == "decibel" else value.abs()
    if index.statistic == "rms":
        level = (amplitude**2).rolling_mean(index.window, min_samples=1).clip(0).sqrt()
    else:
        level = amplitude.rolling_quantile(
            index.quantile, interpolation="linear", window_size=index.window, min_samples=1
        )
    return fleet.frame.select("unit", "time", level.over("unit").alias("level"))


def _own_baseline(index: HealthIndex) -> pl.Expr:
    """Median level of the first readings of a unit; null where there are none."""
    return pl.col("level").head(index.baseline_rows).median().alias("baseline")
