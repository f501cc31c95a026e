"""The pictures of the report, each an inline SVG; see `drawing`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearcast.evaluation.classification import ClassEvaluation
from wearcast.evaluation.drawing import ACCENT, BAND, INK, MUTED, WARN, clean, picture
from wearcast.evaluation.forecasting import ValueEvaluation
from wearcast.evaluation.importance import Importance
from wearcast.evaluation.metrics import COVERAGE
from wearcast.evaluation.protocol import Evaluation

__all__ = [
    "calibration",
    "error_by_rul",
    "error_by_step",
    "fleet_overview",
    "importance_bars",
    "precision_recall",
    "predicted_against_true",
    "reliability",
    "shown_sensors",
    "trajectories",
    "value_bands",
]

Floats = NDArray[np.float64]

SHOWN_WINDOWS = 300
SHOWN_UNITS = 250
SHOWN_SENSORS = 24
SHOWN_NAMES = 40


def _plural(evaluation: Evaluation) -> str:
    return f"{evaluation.fleet.schema.time_unit}s"


def _spread(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most `most` rows, evenly spread."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(np.intp)]


def predicted_against_true(evaluation: Evaluation) -> str:
    """Forecast and 90 % interval against the true RUL, at the scored readings."""
    rows = _spread(evaluation.scored, SHOWN_WINDOWS)
    forecast, truth = evaluation.forecast.select(rows), evaluation.true_rul[rows]
    lower, upper = forecast.interval(COVERAGE)
    inside = (lower <= truth) & (truth <= upper)
    end = float(max(np.quantile(upper, 0.98), truth.max(), forecast.max_rul)) * 1.04
    with picture(6.2, 4.6) as drawn:
        unit = _plural(evaluation)
        axes = drawn.label(f"true RUL ({unit})", f"forecast RUL ({unit})")
        axes.plot([0, end], [0, end], color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
        if forecast.max_rul < end:
            axes.axhline(forecast.max_rul, color=MUTED, lw=0.8, ls=":", zorder=1)
            right = (float(truth.max()), forecast.max_rul)
            axes.annotate("cap", right, color=MUTED, fontsize=8, ha="right", va="bottom")
        for mask, colour, name in ((inside, ACCENT, "truth within"), (~inside, WARN, "truth outside")):
            if mask.any():
                axes.vlines(truth[mask], lower[mask], np.minimum(upper[mask], end), color=colour, lw=1.1, alpha=0.35)
                label = f"{name} the 90 % interval"
                axes.plot(truth[mask], forecast.rul[mask], "o", ms=3.6, color=colour, mew=0, label=label)
        axes.set(xlim=(-end * 0.02, truth.max() * 1.04 + 1), ylim=(-end * 0.02, end))
        axes.legend(loc="upper left")
    return drawn.svg


def _chosen(evaluation: Evaluation, count: int) -> list[tuple[int, str]]:
    """Units to show: from the worst forecast to the best where the truth is known, else the most urgent."""
    index = {unit: i for i, unit in enumerate(evaluation.fleet.units)}
    if evaluation.prognostics:
        ranked = sorted(evaluation.prognostics, key=lambda u: -u.rmse_capped)
        picks = _spread(np.arange(len(ranked)), count)
        return [(index[ranked[i].unit], f"{clean(ranked[i].unit)} · RMSE {ranked[i].rmse_capped:.1f}") for i in picks]
    rows = evaluation.urgent[:count]
    units = np.asarray(evaluation.fleet.row_unit)[rows]
    return [(int(i), clean(evaluation.fleet.units[i])) for i in units]


def _top(evaluation: Evaluation, units: list[int]) -> float:
    """Upper end of the RUL axis for these units: what they need, at most twice the cap."""
    part = np.concatenate([np.arange(*evaluation.fleet.offsets[i : i + 2]) for i in units])
    need = float(np.quantile(evaluation.forecast.select(part).interval(COVERAGE)[1], 0.9))
    truth = evaluation.true_rul[part]
    known = truth[np.isfinite(truth)]
    cap = evaluation.forecast.max_rul
    return min(max(need, cap, float(known.max()) if len(known) else 0.0), 2 * cap) * 1.05


def trajectories(evaluation: Evaluation, count: int = 6) -> str:
    """The forecast of several units along their lives, with 50 % and 90 % bands, and the truth where it is known."""
    chosen = _chosen(evaluation, count)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    fleet, unit = evaluation.fleet, _plural(evaluation)
    top = _top(evaluation, [index for index, _ in chosen])
    with picture(4.1 * columns, 2.6 * rows + 0.5, rows, columns, bottom=0.95, top=0.3) as drawn:
        for axes in drawn.axes[len(chosen) :]:
            axes.set_visible(False)
        for k, (index, title) in enumerate(chosen):
            axes = drawn.axes[k]
            part = _spread(np.arange(fleet.offsets[index], fleet.offsets[index + 1]), 300)
            forecast, age, truth = evaluation.forecast.select(part), fleet.age[part], evaluation.true_rul[part]
            for coverage, alpha, name in ((0.9, 0.22, "90 %"), (0.5, 0.38, "50 %")):
                lower, upper = forecast.interval(coverage)
                axes.fill_between(age, lower, upper, color=ACCENT, alpha=alpha, lw=0, label=f"{name} interval")
            axes.plot(age, forecast.distribution.quantile(0.5), color=ACCENT, lw=1.6, label="median")
            axes.plot(age, truth, color=INK, lw=1.2, ls=(0, (4, 2)), label="true RUL")
            axes.axhline(forecast.max_rul, color=MUTED, lw=0.8, ls=":", zorder=1)
            axes.set(xlim=(0, max(float(age[-1]), 1.0)), ylim=(0, top))
            axes.set_title(title)
            axes.set_xlabel(f"age ({unit})" if k >= len(chosen) - columns else "")
            axes.set_ylabel(f"RUL ({unit})" if k % columns == 0 else "")
        handles, names = drawn.axes[0].get_legend_handles_labels()
        shown = slice(None) if evaluation.prognostics else slice(0, 3)
        drawn.figure.legend(handles[shown], names[shown], loc="lower center", ncols=4)
    return drawn.svg


def calibration(evaluation: Evaluation) -> str:
    """Observed against nominal level of the quantiles, with what chance alone allows for that many units."""
    curve = evaluation.calibration
    if curve is None:
        raise ValueError("a calibration curve needs the truth")
    levels = np.linspace(0, 1, 101)
    chance = 1.96 * np.sqrt(levels * (1 - levels) / max(evaluation.n_units_known, 1))
    with picture(6.2, 4.6) as drawn:
        axes = drawn.label("nominal level of the quantile (%)", "units at or below it (%)")
        if evaluation.protocol == "trajectory":
            axes.set_ylabel("readings at or below it (%)")
        low, high = np.clip(levels - chance, 0, 1) * 100, np.clip(levels + chance, 0, 1) * 100
        axes.fill_between(levels * 100, low, high, color=MUTED, alpha=0.16, lw=0, label="95 % by chance")
        axes.plot([0, 100], [0, 100], color=MUTED, lw=1, ls=(0, (4, 3)), label="perfect")
        nominal, observed = np.array(curve.levels) * 100, np.array(curve.observed) * 100
        axes.plot(nominal, observed, "o-", color=ACCENT, lw=1.6, ms=4, mew=0, label="forecast")
        axes.set(xlim=(0, 100), ylim=(0, 100))
        axes.legend(loc="upper left")
    return drawn.svg


def error_by_rul(evaluation: Evaluation, bins: int = 10) -> str:
    """Error of the point forecast against capped labels over bands of true RUL, at all readings."""
    rows = np.flatnonzero(evaluation.known)
    cap = evaluation.forecast.max_rul
    truth = np.minimum(evaluation.true_rul[rows], cap)
    error = evaluation.forecast.select(rows).rul - truth
    edges = np.linspace(0, cap, bins + 1)
    place = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, bins - 1)
    middle = (edges[:-1] + edges[1:]) / 2
    with picture(6.2, 4.0, bottom=0.78) as drawn:
        unit = _plural(evaluation)
        axes = drawn.label(f"true RUL, capped ({unit})", f"forecast − truth ({unit})")
        axes.axhline(0, color=MUTED, lw=1)
        for k in np.unique(place):
            q = np.quantile(error[place == k], [0.05, 0.25, 0.5, 0.75, 0.95])
            first = k == place.min()
            axes.vlines(
                middle[k], q[0], q[4], color=ACCENT, lw=2, alpha=0.45, label="90 % of errors" if first else None
            )
            half = "half of the errors" if first else None
            axes.vlines(middle[k], q[1], q[3], color=ACCENT, lw=9, alpha=0.55, label=half)
            axes.plot(middle[k], q[2], "o", color=INK, ms=4, mew=0, label="median" if first else None)
        axes.set_xlim(cap * 1.01, -cap * 0.01)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -high * 0.4), max(high, -low * 0.4))
        axes.annotate("too late", (0.01, 0.98), xycoords="axes fraction", color=MUTED, fontsize=8.5, va="top")
        axes.annotate("too early", (0.01, 0.02), xycoords="axes fraction", color=MUTED, fontsize=8.5, va="bottom")
        drawn.figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=3)
    return drawn.svg


def shown_sensors(importance: Importance) -> tuple[tuple[str, float], ...]:
    """The sensors worth a bar, most important first; at least one."""
    ranked = importance.ranked[:SHOWN_SENSORS]
    return tuple(item for i, item in enumerate(ranked) if i == 0 or item[1] >= 0.01 * ranked[0][1] > 0)


def importance_bars(importance: Importance, time_unit: str) -> str:
    """How much the expected RUL changes when each sensor is hidden, most important first.

    Sensors with less than a hundredth of the first one's effect are left out.
    """
    ranked = shown_sensors(importance)
    names = [clean(sensor, 32) for sensor, _ in ranked]
    height = max(1.6, 0.27 * len(ranked) + 0.7)
    with picture(6.2, height, left=0.25 + 0.08 * max(map(len, names))) as drawn:
        axes = drawn.label(f"mean change of the expected RUL without it ({time_unit}s)", "")
        place = np.arange(len(ranked))
        axes.barh(place, [change for _, change in ranked], color=ACCENT, alpha=0.85, height=0.62)
        axes.set_yticks(place, names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    return drawn.svg


def fleet_overview(evaluation: Evaluation) -> str:
    """RUL of each unit at its last reading, most urgent first, with 50 % and 90 % intervals."""
    rows = evaluation.urgent[:SHOWN_UNITS]
    forecast = evaluation.forecast.select(rows)
    urgent = forecast.distribution.failure_probability(forecast.horizons[0]) >= 0.5
    place = np.arange(len(rows))
    thick = float(np.clip(420 / max(len(rows), 1), 1.2, 9))
    names = [clean(u, 14) for u in forecast.unit.to_list()] if len(rows) <= SHOWN_NAMES else []
    longest = max(map(len, names), default=0)
    with picture(12.6, 3.9, bottom=0.5 if longest <= 3 else 0.5 + 0.068 * longest) as drawn:
        unit = _plural(evaluation)
        axes = drawn.label("units, most urgent first", f"RUL ({unit})")
        for coverage, width, alpha in ((0.9, thick * 0.4, 0.4), (0.5, thick, 0.6)):
            lower, upper = forecast.interval(coverage)
            for mask, colour in ((~urgent, ACCENT), (urgent, WARN)):
                axes.vlines(place[mask], lower[mask], upper[mask], color=colour, lw=width, alpha=alpha)
        axes.plot(place, forecast.distribution.quantile(0.5), "o", color=INK, ms=min(thick * 0.55, 3.6), mew=0)
        axes.set_xticks(place[: len(names)], names, rotation=90 if longest > 3 else 0, fontsize=8)
        axes.grid(visible=False, axis="x")
        axes.set(xlim=(-0.8, len(rows) - 0.2), ylim=(0, float(np.quantile(forecast.interval()[1], 0.98)) * 1.05))
    return drawn.svg


def reliability(evaluation: ClassEvaluation, bins: int = 10) -> str:
    """Observed share of each class against its probability, in equal bins that hold 5 readings at least."""
    known = evaluation.known
    probability, answer = evaluation.forecast.probability[known], evaluation.answer[known]
    classes = evaluation.forecast.classes
    shown = range(1, 2) if len(classes) == 2 else range(len(classes))
    with picture(6.2, 4.6) as drawn:
        axes = drawn.label("probability (%)", "observed (%)")
        axes.plot([0, 100], [0, 100], color=MUTED, lw=1, ls=(0, (4, 3)), label="perfect")
        for k, shade in zip(shown, np.linspace(1.0, 0.35, len(shown)), strict=True):
            place = np.minimum((probability[:, k] * bins).astype(np.intp), bins - 1)
            parts = [part for b in range(bins) if len(part := np.flatnonzero(place == b)) >= 5]
            said = [100 * float(probability[part, k].mean()) for part in parts]
            came = [100 * float((answer[part] == k).mean()) for part in parts]
            axes.plot(said, came, "o-", color=ACCENT, alpha=shade, lw=1.4, ms=4, mew=0, label=clean(classes[k]))
        axes.set(xlim=(-2, 102), ylim=(-2, 102))
        axes.legend(loc="upper left")
    return drawn.svg


def precision_recall(evaluation: ClassEvaluation) -> str:
    """Precision against recall over all thresholds, and where the alarm threshold lies."""
    known = evaluation.known
    score, positive = evaluation.forecast.probability[known, 1], evaluation.answer[known] == 1
    order = np.argsort(-score, kind="stable")
    caught = np.cumsum(positive[order])
    keep = np.unique(np.linspace(0, len(order) - 1, min(len(order), SHOWN_WINDOWS)).astype(np.intp))
    with picture(6.2, 4.6) as drawn:
        axes = drawn.label("recall (%)", "precision (%)")
        recall, precision = 100 * caught / max(int(positive.sum()), 1), 100 * caught / np.arange(1, len(order) + 1)
        axes.plot(recall[keep], precision[keep], color=ACCENT, lw=1.6)
        m = evaluation.metrics
        if m.get("recall") is not None and m.get("precision") is not None:
            axes.plot(
                [100 * m["recall"]], [100 * m["precision"]], "o", color=WARN, ms=7, mew=0, label="alarm threshold"
            )
            axes.legend(loc="lower left")
        axes.set(xlim=(-2, 102), ylim=(-2, 102))
    return drawn.svg


def error_by_step(mae: Floats) -> str:
    """Mean absolute error of each step ahead; the second row is persistence."""
    steps = np.arange(1, mae.shape[1] + 1)
    with picture(9.0, 3.2, left=0.95) as drawn:
        axes = drawn.label("steps ahead", "mean absolute error")
        axes.plot(steps, mae[1], color=MUTED, lw=1.4, ls=(0, (4, 3)), label="last reading stays")
        axes.plot(steps, mae[0], color=ACCENT, lw=1.8, label="forecast")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left")
    return drawn.svg


def value_bands(evaluation: ValueEvaluation, columns: int = 3) -> str:
    """Truth and forecast of the last step ahead of the first columns, over the rows that were kept."""
    forecast, rows = evaluation.sample, evaluation.sample_rows
    names = forecast.names[:columns]
    step = forecast.quantiles.shape[1]
    ahead = np.minimum(rows + step, evaluation.fleet.n_rows - 1)
    with picture(9.0, 2.4 * len(names) + 0.8, len(names), 1, left=0.95, top=0.4) as drawn:
        for k, name in enumerate(names):
            axes = drawn.axes[k]
            truth = evaluation.fleet.frame[name].to_numpy()[ahead]
            band = forecast.quantiles[:, -1, k]
            axes.fill_between(ahead, band[:, 0], band[:, -1], color=BAND, alpha=0.2, lw=0, label="band")
            axes.plot(ahead, truth, color=INK, lw=1, label="came")
            axes.plot(ahead, forecast.value[:, -1, k], color=ACCENT, lw=1.2, label=f"forecast {step} steps before")
            axes.set_title(clean(name))
            axes.set_xlabel("reading" if k == len(names) - 1 else "")
        drawn.axes[0].legend(loc="upper left", ncols=3)
    return drawn.svg
