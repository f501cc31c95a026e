"""How right forecasts of future values are, beside the forecast that nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearcast.bundle import ModelManifest
from wearcast.errors import ModelError
from wearcast.evaluation.judged import Judged
from wearcast.evaluation.protocol import Forecaster, Record, at_each_window
from wearcast.fleet import Fleet
from wearcast.forecast import SensorForecast
from wearcast.inference.engine import last_known
from wearcast.target import SensorTarget

__all__ = ["ValueEvaluation", "crps_of_quantiles", "evaluate_values", "held_out_values", "value_metrics"]

Values = NDArray[np.float32]


def crps_of_quantiles(
    quantiles: Values, levels: Sequence[float], value: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """CRPS as twice the mean pinball loss over the levels (Laio & Tamea 2007), of each value.

    Args:
        quantiles: `(..., n_levels)`.
        levels: of the quantiles; each stands for the levels nearest to it.
        value: what came, `(...)`.
    """
    level = np.asarray(levels)
    edges = np.concatenate([[0.0], (level[1:] + level[:-1]) / 2, [1.0]])
    error = value[..., None].astype(np.float64) - quantiles
    loss = np.maximum(level * error, (level - 1) * error)
    return np.asarray(2 * (loss * np.diff(edges)).sum(axis=-1))


def value_metrics(
    quantiles: Values, levels: Sequence[float], value: Values, known: NDArray[np.bool_], last: Values
) -> dict[str, float]:
    """`mse`, `mae`, `crps`, coverage and width of the widest interval, and the same of persistence.

    Args:
        quantiles: `(n, steps, k, n_levels)`.
        levels: of the quantiles, 0.5 among them.
        value: what came, `(n, steps, k)`.
        known: whether it is known, `(n, steps, k)`.
        last: last known value at the time of forecast, `(n, k)`; where it is NaN (no reading yet) nothing is scored.
    """
    known = known & np.isfinite(last)[:, None]
    y, q = value[known].astype(np.float64), quantiles[known]
    if not len(y):
        return {}
    error = q[:, list(levels).index(0.5)] - y
    still = np.broadcast_to(last[:, None], value.shape)[known] - y
    found = {
        "mse": float((error**2).mean()),
        "mae": float(np.abs(error).mean()),
        "crps": float(crps_of_quantiles(q, levels, y).mean()),
        "mse_persistence": float((still**2).mean()),
        "mae_persistence": float(np.abs(still).mean()),
        "crps_persistence": float(np.abs(still).mean()),  # of a point forecast it is the absolute error
    }
    found["skill_mae"] = 1 - found["mae"] / found["mae_persistence"] if found["mae_persistence"] else float("nan")
    if levels[0] == 0.05 and levels[-1] == 0.95:
        found["coverage_90"] = float(((q[:, 0] <= y) & (y <= q[:, -1])).mean())
        found["width_90"] = float((q[:, -1] - q[:, 0]).mean())
    return found


def held_out_values(
    quantiles: Values, levels: Sequence[float], value: Values, known: NDArray[np.bool_], last: Values
) -> dict[str, float]:
    """`value_metrics` of held-out rows, for the manifest."""
    found = value_metrics(quantiles, levels, value, known, last)
    return {f"validation_{name}": figure for name, figure in found.items() if np.isfinite(figure)}


@dataclass(frozen=True, kw_only=True, repr=False)
class ValueEvaluation(Judged):
    """Forecasts of future values, judged.

    Attributes:
        mae_by_step: mean absolute error of each step ahead, and of persistence, `(2, steps)`.
        rows: rows of the fleet that were forecast at, `(n_windows,)`.
        absolute_error: sum over the known values of each forecast, `(n_windows,)`.
        n_values: how many these are, `(n_windows,)`.
        sample: forecasts of some rows, for pictures.
        sample_rows: those rows of the fleet.
    """

    mae_by_step: NDArray[np.float64]
    rows: NDArray[np.int64]
    absolute_error: NDArray[np.float64]
    n_values: NDArray[np.int64]
    sample: SensorForecast
    sample_rows: NDArray[np.int64]

    @property
    def latest(self) -> SensorForecast:
        """The forecast at the last reading of each unit."""
        return self.sample.select(np.flatnonzero(np.isin(self.sample_rows, self.last)))


def evaluate_values(bundle: Forecaster, fleet: Fleet, *, split: str, seed: int | None) -> ValueEvaluation:
    """Forecast from each window of a fleet once and score what can be scored.

    Raises:
        ModelError: the bundle does not forecast future values, or not once a window.
    """
    forecast, rows = at_each_window(bundle, fleet)
    target = bundle.manifest.target
    if not isinstance(forecast, SensorForecast) or not isinstance(target, SensorTarget):
        raise ModelError("the bundle does not forecast future values", where=str(bundle.path))
    labels = target.labels(fleet, forecast.quantiles.shape[1])
    value, known = labels.at(rows)
    if isinstance(bundle.manifest, ModelManifest) and bundle.manifest.window.whole:
        known = known & np.isin(rows, labels.rows)[:, None, None]
    last = last_known(fleet, target.columns, rows)
    figures = value_metrics(forecast.quantiles, forecast.quantile_levels, value, known, last)
    blank = dict.fromkeys(("mse", "mae", "crps", "mse_persistence", "mae_persistence", "crps_persistence"))
    named = {name: value if np.isfinite(value) else None for name, value in figures.items()} or blank
    known = known & np.isfinite(last)[:, None]
    scored = known.any(axis=(1, 2))
    ends = np.searchsorted(rows, fleet.offsets[1:] - 1)
    chosen = np.unique(np.concatenate([np.flatnonzero(scored)[:: max(1, int(scored.sum()) // 500)], ends]))
    weight = np.maximum(known.sum(axis=(0, 2)), 1)
    errors = np.stack([np.abs(forecast.value - value), np.abs(last[:, None] - value)])
    errors = np.where(known, errors, 0.0)
    return ValueEvaluation(
        record=Record.of(bundle, fleet, split, seed),
        fleet=fleet,
        metrics=named,
        n_windows=len(forecast),
        n_scored=int(scored.sum()),
        mae_by_step=errors.sum(axis=(1, 3)) / weight,
        rows=rows,
        absolute_error=errors[0].sum(axis=(1, 2)),
        n_values=known.sum(axis=(1, 2)),
        sample=forecast.select(chosen),
        sample_rows=rows[chosen],
    )
