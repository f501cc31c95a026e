"""A distribution around a figure: what became of the rows that were not seen and had nearly the same figure.

A figure is any number that orders rows by the time that they have left: a forecast, a scale, an age. Given it, the
conditional Kaplan-Meier curve of the out-of-fold rows with nearly the same figure (Beran 1981) is right by construction
on units that the model had not seen, censored ones included.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["beran_curves", "interpolate", "row_weights"]

Floats = NDArray[np.float64]

KNOTS = 40
NEIGHBOURS = 0.04  # of the out-of-fold rows: how many have "nearly the same figure"


def interpolate(figure: Floats, knots: Floats, curves: Floats) -> Floats:
    """Curves between the knots: a mixture of the two neighbours, so monotone as they are."""
    x = np.clip(figure, knots[0], knots[-1])
    right = np.clip(np.searchsorted(knots, x, side="right"), 1, len(knots) - 1)
    share = ((x - knots[right - 1]) / (knots[right] - knots[right - 1]))[:, None]
    return np.asarray((1 - share) * curves[right - 1] + share * curves[right])


def row_weights(row_unit: NDArray[np.int32]) -> Floats:
    """Weight of each row under which every unit weighs the same, `(n,)`."""
    _, index, count = np.unique(row_unit, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / count[index])


def beran_curves(
    figure: Floats, duration: Floats, known: NDArray[np.bool_], weight: Floats, grid: Floats
) -> tuple[Floats, Floats]:
    """Conditional Kaplan-Meier curves given the figure (Beran 1981), at knots spread over the figures.

    Returns:
        Knots `(n_knots,)` and survival at the grid's edges `(n_knots, n_edges)`.
    """
    order = np.argsort(figure, kind="stable")
    figure, duration, known, weight = figure[order], duration[order], known[order], weight[order]
    # Knots evenly over the range and over the ranks: young units crowd at the cap, old ones need resolution.
    even = np.linspace(figure[0], figure[-1], KNOTS // 2)
    ranked = np.quantile(figure, np.linspace(0, 1, KNOTS // 2))
    knots = _apart(np.sort(np.concatenate([even, ranked])))
    near = max(int(len(figure) * NEIGHBOURS), min(50, len(figure)))
    curves = np.empty((len(knots), len(grid)))
    for i, knot in enumerate(knots):
        first = int(np.clip(np.searchsorted(figure, knot) - near // 2, 0, max(len(figure) - near, 0)))
        chosen = slice(first, first + near)
        distance = np.abs(figure[chosen] - knot)
        kernel = (1 - np.clip(distance / max(float(distance.max()), 1e-12), 0, 1) ** 3) ** 3 + 1e-6  # tricube
        curves[i] = _kaplan_meier(duration[chosen], known[chosen], weight[chosen] * kernel, grid)
    return knots, curves


def _apart(knots: Floats) -> Floats:
    step = max(float(knots[-1] - knots[0]), 1e-6) / 1000
    kept = [float(knots[0])]
    for knot in knots[1:]:
        if knot - kept[-1] > step:
            kept.append(float(knot))
    return np.array(kept if len(kept) > 1 else [kept[0], kept[0] + step])


def _kaplan_meier(duration: Floats, known: NDArray[np.bool_], weight: Floats, grid: Floats) -> Floats:
    order = np.argsort(duration, kind="stable")
    time, event, weight = duration[order], known[order], weight[order]
    at_risk = weight[::-1].cumsum()[::-1]
    # Ties: all that end at one time are at risk together.
    first = np.searchsorted(time, time, side="left")
    drop = np.where(event, weight / at_risk[first], 0.0)
    times, index = np.unique(time, return_inverse=True)
    hazard = np.bincount(index, weights=drop)
    after = np.cumprod(1 - np.clip(hazard, 0, 1))
    # Half of a step is down at its event: time is continuous, its record is not, and the mean must not move.
    middle = (np.append(1.0, after[:-1]) + after) / 2
    end = np.nextafter(times[-1], np.inf)
    curve = np.interp(grid, [0.0, *times, end], [1.0, *middle, after[-1]])
    curve[0] = 1.0
    return np.minimum.accumulate(curve)
