"""The one distribution of the time to an event, from which every figure of a forecast follows.

A distribution is its survival function `S(t) = P(T > t)` at the edges of a fixed grid, linear in between:
quantiles, the expected RUL and `P(T <= h)` are read off the same curve, so they cannot contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Recalibration", "TimeToEvent"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TimeToEvent:
    """`n` distributions on one grid.

    Args:
        grid: edges `(n_edges,)`, ascending from 0, in the fleet's time unit.
        survival: `S(grid)`, `(n, n_edges)`, 1 at 0 and never rising. What is left at the last edge is beyond it.
    """

    grid: Floats
    survival: Floats

    def __post_init__(self) -> None:
        grid = np.asarray(self.grid, dtype=np.float64)
        survival = np.asarray(self.survival, dtype=np.float64)
        if grid.ndim != 1 or survival.ndim != 2 or survival.shape[1] != len(grid):
            raise ValueError(f"grid {grid.shape} and survival {survival.shape} do not fit")
        if grid[0] != 0 or not (np.diff(grid) > 0).all():
            raise ValueError("the grid must start at 0 and ascend")
        # Rounding of a float32 network can raise the curve by an ulp; a monotone curve is the contract.
        survival = np.minimum.accumulate(np.minimum(np.maximum(survival, 0.0), 1.0), axis=1)
        survival[:, 0] = 1.0
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "survival", survival)

    def __len__(self) -> int:
        return len(self.survival)

    def __getitem__(self, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> TimeToEvent:
        return self._of(self.survival[rows])

    def _of(self, survival: Floats) -> TimeToEvent:
        """Other curves on this grid, known to be such: nothing is checked again."""
        made = object.__new__(TimeToEvent)
        object.__setattr__(made, "grid", self.grid)
        object.__setattr__(made, "survival", survival)
        return made

    def on(self, grid: Floats) -> TimeToEvent:
        """The same distributions at the edges of another grid; beyond this grid's end nothing more is known to fail."""
        if np.array_equal(grid, self.grid):
            return self
        right = np.clip(np.searchsorted(self.grid, grid, side="right"), 1, len(self.grid) - 1)
        share = np.clip((grid - self.grid[right - 1]) / (self.grid[right] - self.grid[right - 1]), 0.0, 1.0)
        return TimeToEvent(grid, (1 - share) * self.survival[:, right - 1] + share * self.survival[:, right])

    def survival_at(self, time: float | Floats) -> Floats:
        """`S(time)` of each row, `(n,)`; `time` is one number or one a row, beyond the grid the last value."""
        t = np.minimum(np.maximum(time, 0.0), self.grid[-1])
        right = np.minimum(np.maximum(self.grid.searchsorted(t, side="right"), 1), len(self.grid) - 1)
        share = (t - self.grid[right - 1]) / (self.grid[right] - self.grid[right - 1])
        rows = slice(None) if np.ndim(time) == 0 else np.arange(len(self))
        left_value: Floats = self.survival[rows, right - 1]
        value: Floats = left_value + share * (self.survival[rows, right] - left_value)
        return value

    def failure_probability(self, horizon: float | Floats) -> Floats:
        """`P(T <= horizon)` of each row, `(n,)`."""
        failed: Floats = 1.0 - self.survival_at(horizon)
        return failed

    def quantile(self, level: float) -> Floats:
        """The time by which a share `level` has failed, `(n,)`; the last edge where the grid does not reach it."""
        times: Floats = self.quantiles((level,))[0]
        return times

    def quantiles(self, levels: Sequence[float]) -> Floats:
        """`quantile` of several levels, `(n_levels, n)`."""
        target = 1.0 - np.asarray(levels, dtype=np.float64)[:, None]
        # A curve never rises, so the edges above a level come first. A level at a time: all would not fit the cache.
        right = np.empty((len(target), len(self)), dtype=np.intp)
        for i in range(len(target)):
            (self.survival > target[i]).sum(axis=1, out=right[i])
        found = right < len(self.grid)
        right = np.minimum(np.maximum(right, 1), len(self.grid) - 1)
        rows = np.arange(len(self))
        upper, lower, start = self.survival[rows, right - 1], self.survival[rows, right], self.grid[right - 1]
        drop = np.where(upper > lower, upper - lower, 1.0)
        share = np.minimum(np.maximum((upper - target) / drop, 0.0), 1.0)
        times: Floats = np.where(found, start + share * (self.grid[right] - start), self.grid[-1])
        return times

    def expected(self, cap: float | None = None) -> Floats:
        """`E[min(T, cap)]`, the restricted mean survival time (Irwin 1949): the area under `S` up to `cap`."""
        cap = float(self.grid[-1]) if cap is None else min(cap, float(self.grid[-1]))
        inside = int(self.grid.searchsorted(cap))  # edges below the cap
        if inside == 0:
            return np.zeros(len(self))
        curve, edges = self.survival[:, :inside], self.grid[:inside]
        whole = ((curve[:, 1:] + curve[:, :-1]) * (edges[1:] - edges[:-1])).sum(axis=1)
        area: Floats = (whole + (curve[:, -1] + self.survival_at(cap)) * (cap - edges[-1])) / 2
        return area

    def crps(self, time: Floats, cap: float | None = None) -> Floats:
        """Continuous ranked probability score against observed times, `(n,)` (Gneiting & Raftery 2007, eq. 20).

        `∫ (F(t) − 1{time <= t})² dt` over the grid, up to `cap` if given (then of `min(T, cap)`), exact for the
        piecewise linear curve.
        """
        end = float(self.grid[-1]) if cap is None else min(cap, float(self.grid[-1]))
        time = np.clip(np.asarray(time, dtype=np.float64), 0.0, None)
        total = np.zeros(len(self))
        for k in range(len(self.grid) - 1):
            a, b = self.grid[k], min(self.grid[k + 1], end)
            if b <= a:
                break
            middle = np.clip(time, a, b)
            f_a = 1 - self.survival[:, k]
            f_b = 1 - self.survival_at(b)
            f_m = f_a + (f_b - f_a) * (middle - a) / (b - a)
            # ∫ of a squared linear function between values u and v over a length l is l (u² + uv + v²) / 3.
            total += (middle - a) * (f_a**2 + f_a * f_m + f_m**2) / 3
            g_m, g_b = f_m - 1, f_b - 1
            total += (b - middle) * (g_m**2 + g_m * g_b + g_b**2) / 3
        return total


@dataclass(frozen=True)
class Recalibration:
    """A monotone map of probabilities, applied to `F = 1 − S`: one calibrated distribution stays one distribution.

    Args:
        raw: knots of the model's own probability, ascending from 0 to 1.
        calibrated: the probability found on held-out units at each knot, from 0 to 1, never falling.
    """

    raw: tuple[float, ...] = (0.0, 1.0)
    calibrated: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for name, knots in (("raw", self.raw), ("calibrated", self.calibrated)):
            if len(knots) < 2 or knots[0] != 0 or knots[-1] != 1 or not (np.diff(knots) >= 0).all():
                raise ValueError(f"{name} must run from 0 to 1 without falling, got {knots}")
        if len(self.raw) != len(self.calibrated):
            raise ValueError(f"{len(self.raw)} raw knots but {len(self.calibrated)} calibrated ones")

    def apply(self, distribution: TimeToEvent) -> TimeToEvent:
        """The same distributions with `F` replaced by the calibrated probability."""
        return distribution._of(1.0 - np.interp(1.0 - distribution.survival, self.raw, self.calibrated))
