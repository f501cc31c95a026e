"""The report of an evaluation: one HTML file that needs nothing else, for a person who has to decide."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from wearcast.config.writing import to_yaml
from wearcast.errors import require
from wearcast.evaluation import plots
from wearcast.evaluation.by_target import AnyEvaluation
from wearcast.evaluation.drawing import clean
from wearcast.evaluation.importance import Importance, occlusion_importance
from wearcast.evaluation.judged_report import judged_content, judged_pictures
from wearcast.evaluation.protocol import Evaluation, Forecaster
from wearcast.evaluation.table import DIRECTIONS, METRICS, format_value
from wearcast.forecast import RulForecast
from wearcast.pages import page, trusted
from wearcast.schema import SECONDS
from wearcast.writing import write_whole

__all__ = ["look_first", "write_report"]

FIRST_UNITS = 10

_MEANING = {
    "rmse_capped": "root mean squared error, labels capped",
    "rmse": "root mean squared error, true labels",
    "mae_capped": "mean absolute error, labels capped",
    "mae": "mean absolute error, true labels",
    "nasa_score_capped": "NASA score over last readings, labels capped; late counts more than early",
    "nasa_score": "NASA score over last readings, true labels",
    "coverage_90": "truths inside the 90 % interval",
    "width_90": "mean width of the 90 % interval",
    "crps": "continuous ranked probability score of the whole distribution",
    "coverage_90_capped": "the same with truth and interval capped",
    "width_90_capped": "the same with the interval capped",
    "crps_capped": "the same up to the cap",
    "calibration_error": "mean distance of the calibration curve from the diagonal",
    "relative_accuracy": "1 − relative error at half life, mean over units",
    "alpha_lambda": "units within ±20 % of the true RUL at half life",
    "horizon_first_hit": "time before end of life when the forecast is first within ±10 % of the life",
    "horizon_sustained": "time before end of life from which it stays there",
    "relative_accuracy_trajectory": "1 − relative error, mean over all readings",
    "alpha_lambda_trajectory": "readings within ±20 % of the true RUL",
}


def look_first(evaluation: Evaluation, count: int = 3) -> tuple[Any, ...]:
    """The units to look at first, most urgent first."""
    return tuple(evaluation.forecast.unit.gather(evaluation.urgent[:count]).to_list())


def write_report(
    evaluation: AnyEvaluation, bundle: Forecaster, path: str | Path, *, importance: Importance | None = None
) -> Path:
    """Write the report of an evaluation as one self-contained HTML file, whole or not at all.

    Args:
        evaluation: what is reported.
        bundle: the bundle that was evaluated.
        path: the file to write; its folder is made where it is missing.
        importance: what each sensor does to the RUL, computed by occlusion unless given.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
        UsageError: the file cannot be written.
    """
    require("matplotlib", extra="report")
    about = {"card": _card(bundle), "experiment": _experiment(bundle)}
    if isinstance(evaluation, Evaluation):
        importance = importance or occlusion_importance(bundle, evaluation.fleet)
        drawn = {name: trusted(svg) for name, svg in _pictures(evaluation, importance).items()}
        html = page(__package__, "report.html.j2", pictures=drawn, **about, **_content(evaluation, importance))
    else:
        shown = [{**picture, "svg": trusted(picture["svg"])} for picture in judged_pictures(evaluation)]
        html = page(__package__, "judged.html.j2", pictures=shown, **about, **judged_content(evaluation))
    target = Path(path)
    write_whole(target, html.encode())
    return target


def _pictures(evaluation: Evaluation, importance: Importance) -> dict[str, str]:
    """Those that the truth allows."""
    pictures = {
        "overview": plots.fleet_overview(evaluation),
        "trajectories": plots.trajectories(evaluation),
        "importance": plots.importance_bars(importance, evaluation.fleet.schema.time_unit),
    }
    if evaluation.truth != "unknown":
        pictures["predicted"] = plots.predicted_against_true(evaluation)
        pictures["calibration"] = plots.calibration(evaluation)
        pictures["error"] = plots.error_by_rul(evaluation)
    return pictures


def _content(evaluation: Evaluation, importance: Importance) -> dict[str, Any]:
    unit = evaluation.fleet.schema.time_unit
    shown = min(evaluation.fleet.n_units, plots.SHOWN_UNITS)
    return {
        "title": f"{evaluation.recipe} on {evaluation.dataset}",
        "e": evaluation,
        "time_unit": unit,
        "summary": _summary(evaluation, importance),
        "tiles": _tiles(evaluation),
        "first": _first_units(evaluation, importance),
        "horizons": [f"{h:g}" for h in evaluation.forecast.horizons],
        "shown_units": shown,
        "shown_windows": min(len(evaluation.scored), plots.SHOWN_WINDOWS),
        "metrics": _metric_rows(evaluation),
        "conditions": evaluation.conditions,
        "unit_coverage": evaluation.unit_coverage.to_dict() if evaluation.unit_coverage else None,
        "clean": clean,
        "flags": _flag_counts(evaluation),
        "hidden_sensors": len(importance.sensors) - len(plots.shown_sensors(importance)),
    }


def _summary(evaluation: Evaluation, importance: Importance) -> list[str]:
    """The headline in words."""
    unit, m = evaluation.fleet.schema.time_unit, evaluation.metrics
    last = evaluation.forecast.select(evaluation.last)
    horizon = last.horizons[-1] if len(last.horizons) < 2 else last.horizons[1]
    soon = int((last.distribution.failure_probability(horizon) >= 0.5).sum())
    names = [clean(u) for u in look_first(evaluation)]
    n = evaluation.fleet.n_units
    odds = f"{soon} of {n} units {'is' if soon == 1 else 'are'}" if soon else f"None of the {n} units is"
    sentences = [
        f"{odds} more likely than not to reach the end of life within {horizon:g} {unit}s. "
        f"Look first at {_listed(names)}."
    ]
    if evaluation.truth != "unknown":
        where = "at the last reading of each unit" if evaluation.protocol == "last" else "over all readings"
        error = format_value("rmse_capped", _number(m["rmse_capped"]), unit)
        share = format_value("coverage_90", _number(m["coverage_90"]), unit)
        cap = f"{evaluation.forecast.max_rul:g}"
        sentences.append(
            f"The forecast is off by {error} (RMSE {where}, labels capped at {cap}), and its 90 % interval "
            f"holds the truth {share} of the time."
        )
    strongest = [clean(sensor) for sensor, change in importance.ranked[:3] if change > 0]
    if strongest:
        sentences.append(f"It rests most on {_listed(strongest)}.")
    if evaluation.truth != "known":
        sentences.append(evaluation.truth_note)
    return sentences


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _tiles(evaluation: Evaluation) -> list[dict[str, str]]:
    unit, m = evaluation.fleet.schema.time_unit, evaluation.metrics
    last = evaluation.forecast.select(evaluation.last)
    horizon = last.horizons[0]
    probability = last.distribution.failure_probability(horizon)
    units = {
        "value": str(int((probability >= 0.5).sum())),
        "name": f"units at 50 % or more to fail within {horizon:g} {unit}s",
    }
    if evaluation.truth == "unknown":
        return [
            units,
            {"value": str(evaluation.fleet.n_units), "name": "units forecast"},
            {"value": f"{len(evaluation.forecast):,}", "name": "forecasts"},
            {"value": f"{np.median(last.rul):.0f}", "name": f"median expected RUL ({unit}s)"},
        ]

    def tile(name: str, text: str) -> dict[str, str]:
        return {"value": format_value(name, _number(m[name]), unit), "name": text}

    return [
        units,
        tile("rmse_capped", f"RMSE, labels capped at {evaluation.forecast.max_rul:g}"),
        tile("coverage_90", "of truths inside the 90 % interval"),
        tile("crps", "CRPS of the whole distribution"),
    ]


def _first_units(evaluation: Evaluation, importance: Importance) -> list[dict[str, Any]]:
    """The rows of the table of units to look at first."""
    rows = evaluation.urgent[:FIRST_UNITS]
    forecast = evaluation.forecast.select(rows)
    lower, upper = forecast.interval()
    beyond = forecast.distribution.survival[:, -1] > 0.05
    scale = max(forecast.max_rul, 1e-9)
    probabilities = [forecast.distribution.failure_probability(h) for h in forecast.horizons]
    return [
        {
            "unit": clean(forecast.unit[i]),
            "last": _time(forecast.time[i]),
            "rul": f"{forecast.rul[i]:.0f}" if forecast.rul[i] >= 10 else f"{forecast.rul[i]:.1f}",
            "interval": f"{lower[i]:.0f} – {'> ' if beyond[i] else ''}{upper[i]:.0f}",
            "from": f"{min(lower[i] / scale, 1) * 100:.1f}",
            "to": f"{min(upper[i] / scale, 1) * 100:.1f}",
            "at": f"{min(forecast.rul[i] / scale, 1) * 100:.1f}",
            "act_by": _act_by(forecast, i, lower[i], evaluation),
            "probabilities": [(f"{p[i] * 100:.0f}", f"{p[i] * 70:.0f}") for p in probabilities],
            "drivers": [
                f"{clean(d.sensor)} {d.effect:+.0f}".replace("-", "−")
                for d in importance.drivers(forecast.unit[i])
                if d.effect <= -0.5
            ],
            "flags": [flag.replace("_", " ") for flag in forecast.flags[i]],
        }
        for i in range(len(rows))
    ]


def _time(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value)


def _act_by(forecast: RulForecast, row: int, lower: float, evaluation: Evaluation) -> str:
    """Last reading plus the lower quantile: until then the unit lives on with 95 % confidence."""
    time, unit = forecast.time[row], evaluation.fleet.schema.time_unit
    if unit == "cycle":
        return f"{float(time) + np.floor(lower):g}"
    return _time(time + timedelta(seconds=float(lower) * SECONDS[unit]))


def _metric_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    unit = evaluation.fleet.schema.time_unit
    return [
        {
            "name": name,
            "meaning": _MEANING[name],
            "value": format_value(name, _number(evaluation.metrics[name]), unit),
            "direction": DIRECTIONS[metric.direction],
            "paper": metric.paper,
        }
        for name, metric in METRICS.items()
    ]


def _flag_counts(evaluation: Evaluation) -> list[tuple[str, int]]:
    """How many units carry each flag at their last reading."""
    counts = Counter(flag for row in evaluation.last for flag in evaluation.forecast.flags[row])
    return [(flag.replace("_", " "), n) for flag, n in counts.most_common()]


_CARD = ("name", "seed", "created", "data", "parity", "training", "metrics", "versions")


def _card(bundle: Forecaster) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the manifest says of the model, section by section; long lists are counted."""
    dump = bundle.manifest.model_dump(mode="json")
    plain = [(key, _text(dump[key])) for key in _CARD if key in dump and not isinstance(dump[key], dict)]
    sections = [("model", [("bundle", str(bundle.path)), *plain])]
    for key in _CARD:
        if isinstance(dump.get(key), dict) and dump[key]:
            sections.append((key, [(name.replace("_", " "), _text(value)) for name, value in dump[key].items()]))
    return sections


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        text = ", ".join(_text(item) for item in value)
        return text if len(text) <= 120 else f"{len(value)}: {text[:100]}…"
    return str(value)


def _experiment(bundle: Forecaster) -> str | None:
    """The resolved experiment as YAML, if the manifest has it."""
    experiment = bundle.manifest.model_dump(mode="json").get("experiment")
    return to_yaml(experiment) if experiment else None
