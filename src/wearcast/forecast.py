"""What a bundle says about a fleet: one frozen table of distributions, with flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from wearcast.distribution import TimeToEvent

__all__ = ["Forecast"]


@dataclass(frozen=True)
class Forecast:
    """The RUL of `n` units and times, each one calibrated distribution.

    Attributes:
        unit: unit of each row, `(n,)`.
        time: time of forecast of each row (the last reading that it saw), `(n,)`.
        distribution: time from then to end of life.
        max_rul: cap of the expected RUL, in the fleet's time unit.
        horizons: horizons at which P(failure <= h) is written out.
        quantile_levels: levels of the quantiles that are written out.
        condition: operating condition at the time of forecast, `(n,)`, -1 where it was never seen in training.
        flags: what to know about the data behind each row, such as `short_history`; empty where nothing.
        model: name and version of the model.
    """

    unit: pl.Series
    time: pl.Series
    distribution: TimeToEvent
    max_rul: float
    horizons: tuple[float, ...]
    quantile_levels: tuple[float, ...]
    condition: np.ndarray
    flags: tuple[tuple[str, ...], ...]
    model: str

    def __len__(self) -> int:
        return len(self.distribution)

    @property
    def rul(self) -> np.ndarray:
        """Expected RUL up to the cap, `E[min(T, max_rul)]`, `(n,)`."""
        return self.distribution.expected(self.max_rul)

    def interval(self, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Central interval that should hold the true RUL with this probability: lower and upper end, `(n,)`."""
        tail = (1 - coverage) / 2
        return self.distribution.quantile(tail), self.distribution.quantile(1 - tail)

    def to_frame(self) -> pl.DataFrame:
        """One row a unit and time: `unit`, `time`, `rul`, `rul_q05` …, `failure_probability_10` …, `flags`, `model`."""
        columns: dict[str, pl.Series] = {
            "unit": self.unit,
            "time": self.time,
            "rul": pl.Series(self.rul),
        }
        for level in self.quantile_levels:
            columns[quantile_name(level)] = pl.Series(self.distribution.quantile(level))
        for horizon in self.horizons:
            columns[f"failure_probability_{horizon:g}"] = pl.Series(self.distribution.failure_probability(horizon))
        columns["flags"] = pl.Series([";".join(flags) for flags in self.flags], dtype=pl.String)
        columns["model"] = pl.repeat(self.model, len(self), dtype=pl.String, eager=True)
        return pl.DataFrame(columns)

    def select(self, rows: Sequence[int] | np.ndarray) -> Forecast:
        """The forecast of these rows only."""
        index = np.asarray(rows, dtype=np.intp)
        return Forecast(
            self.unit.gather(index),
            self.time.gather(index),
            self.distribution[index],
            self.max_rul,
            self.horizons,
            self.quantile_levels,
            self.condition[index],
            tuple(self.flags[i] for i in index),
            self.model,
        )


def quantile_name(level: float) -> str:
    """`rul_q05` for 0.05; more digits where a level needs them."""
    percent = f"{level * 100:g}"
    return f"rul_q{percent.zfill(2)}"
