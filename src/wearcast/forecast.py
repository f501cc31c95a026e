"""What a bundle says about a fleet: frozen tables, one kind a target, with flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast.distribution import TimeToEvent

__all__ = ["ClassForecast", "Forecast", "Moments", "RulForecast", "SensorForecast"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """The `n` units and times of a forecast, and what to know about the data behind each.

    Attributes:
        unit: unit of each row, `(n,)`.
        time: time of forecast of each row (the last reading that it saw), `(n,)`.
        condition: operating condition at the time of forecast, `(n,)`, -1 where it was never seen in training.
        flags: what to know about the data behind each row, such as `short_history`; empty where nothing.
        model: name and version of the model.
    """

    unit: pl.Series
    time: pl.Series
    condition: NDArray[np.int16]
    flags: tuple[tuple[str, ...], ...]
    model: str

    def __len__(self) -> int:
        return len(self.unit)

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> Self:
        """These rows only."""
        index = np.asarray(rows, dtype=np.intp)
        return replace(
            self,
            unit=self.unit.gather(index),
            time=self.time.gather(index),
            condition=self.condition[index],
            flags=tuple(self.flags[i] for i in index),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Forecast(Moments):
    """A forecast of any kind."""

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self.model}, {self.to_frame().drop('model')}"

    def to_frame(self) -> pl.DataFrame:
        """One row a unit and time: `unit`, `time`, what is forecast, `flags`, `model`."""
        flags = pl.Series([";".join(flags) for flags in self.flags], dtype=pl.String)
        model = pl.repeat(self.model, len(self), dtype=pl.String, eager=True)
        columns = {"unit": self.unit, "time": self.time, **self.columns(), "flags": flags, "model": model}
        return pl.DataFrame(columns)

    def columns(self) -> dict[str, pl.Series]:
        """What is forecast, by column, `(n,)` each."""
        return {name: pl.Series(values) for name, values in self.arrays().items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is forecast, by column, `(n,)` each, as plain arrays."""
        raise NotImplementedError(f"{type(self).__name__} must define arrays")


@dataclass(frozen=True, kw_only=True, repr=False)
class RulForecast(Forecast):
    """The RUL of units, each one calibrated distribution.

    Attributes:
        distribution: time from then to end of life.
        max_rul: cap of the expected RUL, in the fleet's time unit.
        horizons: horizons at which P(failure <= h) is written out.
        quantile_levels: levels of the quantiles that are written out.
    """

    distribution: TimeToEvent
    max_rul: float
    horizons: tuple[float, ...]
    quantile_levels: tuple[float, ...]

    @property
    def rul(self) -> Floats:
        """Expected RUL up to the cap, `E[min(T, max_rul)]`, `(n,)`."""
        return self.distribution.expected(self.max_rul)

    def interval(self, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Central interval that should hold the true RUL with this probability: lower and upper end, `(n,)`."""
        tail = (1 - coverage) / 2
        return self.distribution.quantile(tail), self.distribution.quantile(1 - tail)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`rul`, `rul_q05` …, `failure_probability_10` …."""
        quantiles = self.distribution.quantiles(self.quantile_levels) if self.quantile_levels else ()
        names = map(quantile_name, self.quantile_levels)
        return {
            "rul": self.rul,
            **dict(zip(names, quantiles, strict=True)),
            **{f"failure_probability_{h:g}": self.distribution.failure_probability(h) for h in self.horizons},
        }

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> Self:
        """These rows only."""
        index = np.asarray(rows, dtype=np.intp)
        return replace(super().select(index), distribution=self.distribution[index])


@dataclass(frozen=True, kw_only=True, repr=False)
class ClassForecast(Forecast):
    """Class probabilities.

    Attributes:
        classes: names of the classes, `k`.
        probability: `(n, k)`, each row sums to 1.
        threshold: probability of the second class from which on there is an alarm; None if it is not about an alarm.
    """

    classes: tuple[str, ...]
    probability: Floats
    threshold: float | None = None

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """Whether there is an alarm, `(n,)`."""
        return np.asarray(self.probability[:, 1] >= (0.5 if self.threshold is None else self.threshold))

    @property
    def likeliest(self) -> NDArray[np.intp]:
        """Position of the likeliest class, `(n,)`."""
        return np.asarray(self.probability.argmax(axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`failure_probability` and `alarm`, or `fault` and `probability_<class>` …."""
        if self.threshold is not None:
            return {"failure_probability": self.probability[:, 1], "alarm": self.alarm}
        named = np.array(self.classes)[self.likeliest]
        return {
            "fault": named,
            **{f"probability_{name}": self.probability[:, i] for i, name in enumerate(self.classes)},
        }

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> Self:
        """These rows only."""
        index = np.asarray(rows, dtype=np.intp)
        return replace(super().select(index), probability=self.probability[index])


@dataclass(frozen=True, kw_only=True, repr=False)
class SensorForecast(Forecast):
    """Future values of columns.

    Attributes:
        names: the columns, `k`.
        quantile_levels: levels of the quantiles.
        quantiles: `(n, steps, k, n_levels)`, never falling along the levels.
    """

    names: tuple[str, ...]
    quantile_levels: tuple[float, ...]
    quantiles: NDArray[np.float32]

    @property
    def value(self) -> NDArray[np.float32]:
        """The median, `(n, steps, k)`."""
        median: NDArray[np.float32] = self.quantiles[..., self.quantile_levels.index(0.5)]
        return median

    def to_frame(self) -> pl.DataFrame:
        """One row a unit, time, step and column: these, then `value`, `q05` …, `flags`, `model`."""
        n, steps, k, _ = self.quantiles.shape
        row, step, column = (index.ravel() for index in np.indices((n, steps, k)))
        base = super().to_frame()
        flat = self.quantiles.reshape(-1, len(self.quantile_levels))
        table = {
            "unit": base["unit"].gather(row),
            "time": base["time"].gather(row),
            "step": pl.Series(step + 1),
            "column": pl.Series(self.names, dtype=pl.String).gather(column),
            "value": pl.Series(self.value.ravel()),
        }
        table |= {f"q{_percent(level)}": pl.Series(flat[:, i]) for i, level in enumerate(self.quantile_levels)}
        return pl.DataFrame(table | {name: base[name].gather(row) for name in ("flags", "model")})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """None beside what `to_frame` lays out by step and column."""
        return {}

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> Self:
        """These rows only."""
        index = np.asarray(rows, dtype=np.intp)
        return replace(super().select(index), quantiles=self.quantiles[index])


def quantile_name(level: float) -> str:
    """`rul_q05` for 0.05; more digits where a level needs them."""
    return f"rul_q{_percent(level)}"


def _percent(level: float) -> str:
    return f"{level * 100:g}".zfill(2)
