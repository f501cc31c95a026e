"""Whether a challenger is better than a champion: what is known of each unit, and two intervals of the difference.

A unit counts once, by its mean error: forecasts of one unit are wrong together. Two intervals answer two questions.

- *How large is the difference, as of now?* A bootstrap over units (Efron & Tibshirani 1993), good for one look.
- *May the challenger be stopped?* Whoever looks after each outcome and stops when a 95 % interval leaves out 0 stops
  one in five challengers that are no worse. So stopping goes by a confidence *sequence*, which holds at all looks:
  the asymptotic one of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2021, "Time-uniform central limit theory and
  asymptotic confidence sequences", eq. 4), of the mean difference where the same unit has both forecasts, and of the
  difference of means with its standard error where units are shared out. It needs no list of looks, so a restart or a
  person who asks in between changes nothing. It is asymptotic, so nothing is stopped below `FEWEST` units an arm.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEW", "FEWEST", "Arms", "Mode", "Trial", "anytime_half_width", "judge", "mean_interval"]

Floats = NDArray[np.float64]
Mode = Literal["paired", "split"]

LEVEL = 0.95
RESAMPLES = 2_000
FEW = 10
"""Units below which an interval over units is itself uncertain."""
FEWEST = 30
"""Units of each arm before which nothing is stopped: a skewed error in a small arm breaks the promise of the limit."""
TIGHTEST = 50
"""Units at which the confidence sequence is tightest."""
MANY = 5_000
"""Units from which on the bootstrap says what the normal distribution does."""


@dataclass(frozen=True)
class Arms:
    """Mean error of each unit.

    Attributes:
        champion: `(n,)`.
        challenger: `(n,)` of the same units if paired, `(m,)` of others if not.
        mode: which of both.
    """

    champion: Floats
    challenger: Floats
    mode: Mode


@dataclass(frozen=True)
class Trial:
    """The error of the challenger minus that of the champion.

    Attributes:
        mode: whether each unit has both forecasts.
        difference: of the means; below 0 where the challenger is better. NaN where nothing is known.
        low, high: bootstrap interval, for one look.
        anytime_low, anytime_high: interval that holds at all looks at once.
        level: probability of both intervals.
        units: number of them, of both arms together.
        enough: whether they are enough to stop an arm.
    """

    mode: Mode
    difference: float
    low: float
    high: float
    anytime_low: float
    anytime_high: float
    level: float
    units: int
    enough: bool

    @property
    def verdict(self) -> Literal["better", "worse", "no real difference", "unknown"]:
        """What one look says of the challenger."""
        if not np.isfinite(self.low):
            return "unknown"
        if self.low > 0:
            return "worse"
        return "better" if self.high < 0 else "no real difference"

    @property
    def losing(self) -> bool:
        """Whether the challenger may be stopped, however often one has looked before."""
        return self.enough and self.anytime_low > 0

    @property
    def reservation(self) -> str | None:
        """What to hold against the interval."""
        return f"only {self.units} units: other units may say otherwise" if self.units < FEW else None


def judge(arms: Arms, *, level: float = LEVEL, seed: int = 0) -> Trial:
    """Tell the arms apart; the same errors give the same intervals."""
    a, b = arms.champion, arms.challenger
    paired = arms.mode == "paired"
    units = len(b) if paired else len(a) + len(b)
    if min(len(a), len(b)) < 2:
        difference = float(b.mean() - a.mean()) if min(len(a), len(b)) else float("nan")
        nan = float("nan")
        return Trial(arms.mode, difference, nan, nan, nan, nan, level, units, enough=False)
    difference = float((b - a).mean() if paired else b.mean() - a.mean())
    error = _standard_error(b - a) if paired else sqrt(_standard_error(a) ** 2 + _standard_error(b) ** 2)
    half = anytime_half_width(error, units, 1 - level)
    rng = np.random.default_rng(seed)
    drawn = _means(b - a, rng) if paired else _means(b, rng) - _means(a, rng)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    enough = min(len(a), len(b)) >= FEWEST
    return Trial(
        arms.mode, difference, float(low), float(high), difference - half, difference + half, level, units, enough
    )


def anytime_half_width(standard_error: float, n: int, alpha: float) -> float:
    """Half the width of the confidence sequence after `n` units."""
    spent = -2 * log(alpha)
    rho2 = (spent + log(spent) + 1) / TIGHTEST
    growth = n * rho2 + 1
    return standard_error * sqrt(2 * growth / (growth - 1) * log(sqrt(growth) / alpha))


def mean_interval(errors: Floats, *, level: float = LEVEL, seed: int = 0) -> tuple[float, float] | None:
    """Bootstrap interval of the mean over units; None for fewer than two."""
    if len(errors) < 2:
        return None
    low, high = np.quantile(_means(errors, np.random.default_rng(seed)), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _means(values: Floats, rng: np.random.Generator) -> Floats:
    """Means of the units drawn again, `(RESAMPLES,)`."""
    if len(values) > MANY:
        return rng.normal(values.mean(), _standard_error(values), RESAMPLES)
    rows = max(1, 1_000_000 // len(values))  # not all of them in memory at once
    parts = [
        values[rng.integers(len(values), size=(min(rows, RESAMPLES - at), len(values)))].mean(axis=1)
        for at in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(parts)
