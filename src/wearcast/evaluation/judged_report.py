"""What the report says of class forecasts and of forecast values: sentences, pictures, figures."""

from __future__ import annotations

from typing import Any

from wearcast.evaluation import plots
from wearcast.evaluation.classification import ClassEvaluation
from wearcast.evaluation.drawing import clean
from wearcast.evaluation.forecasting import ValueEvaluation

__all__ = ["judged_content", "judged_pictures"]


def judged_content(evaluation: ClassEvaluation | ValueEvaluation) -> dict[str, Any]:
    """What the template `judged.html.j2` reads, but for the model card."""
    record = evaluation.record
    classes = isinstance(evaluation, ClassEvaluation)
    return {
        "title": f"{record.recipe} on {record.dataset}",
        "kicker": {"failure": "Failure", "fault": "Kind of fault"}.get(record.target, "Future values"),
        "e": evaluation,
        "summary": _classes(evaluation) if isinstance(evaluation, ClassEvaluation) else _values(evaluation),
        "confusion": _confusion(evaluation) if classes and evaluation.n_scored else None,  # type: ignore[arg-type]
        "figures": list(evaluation.figures()),
        "pictures_title": "How right it was",
        "pictures_in_pairs": classes,
    }


def judged_pictures(evaluation: ClassEvaluation | ValueEvaluation) -> list[dict[str, str]]:
    """Title, caption and drawing of each picture that the truth allows."""
    if not evaluation.n_scored:
        return []
    if isinstance(evaluation, ValueEvaluation):
        return [
            {
                "title": "Error by step ahead",
                "caption": "Mean absolute error of the median, beside the forecast that the last reading stays.",
                "svg": plots.error_by_step(evaluation.mae_by_step),
            },
            {
                "title": "Forecasts",
                "caption": "What came, and what the forecast's last step said so many readings before, with its band.",
                "svg": plots.value_bands(evaluation),
            },
        ]
    found = [
        {
            "title": "Calibration",
            "caption": "Share of readings that have the class, by the probability they were given; the line is right.",
            "svg": plots.reliability(evaluation),
        }
    ]
    if len(evaluation.forecast.classes) == 2:
        caption = "Precision and recall at every threshold; the dot is the alarm threshold."
        found.append({"title": "Alarms", "caption": caption, "svg": plots.precision_recall(evaluation)})
    return found


def _classes(evaluation: ClassEvaluation) -> list[str]:
    m = evaluation.metrics
    if not evaluation.n_scored:
        return [evaluation.truth_note]
    if "pr_auc" not in m:
        return [
            f"The likeliest class is right for {m['accuracy']:.1%} of the readings; macro-F1 is {m['macro_f1']:.3f}."
        ]
    text = f"At the threshold {m['threshold']:.3g}, {_share(m['recall'])} of the failures have an alarm"
    sentences = [f"{text} and {_share(m['precision'])} of the alarms are right (F1 {m['f1']:.3f})."]
    alarms = m.get("alarms")
    if alarms:
        caught = f"{alarms['events_caught']} of {alarms['n_events']} failures were announced"
        rate = alarms["false_alarms_per_asset_month"]
        false = f"{alarms['false_alarms']} false alarms" + (
            f", {rate:.2g} a unit and month" if rate is not None else ""
        )
        sentences.append(f"{caught}; there were {false}.")
    return sentences


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def _values(evaluation: ValueEvaluation) -> list[str]:
    m = evaluation.metrics
    if not evaluation.n_scored:
        return [evaluation.truth_note]
    if m["skill_mae"] is None:
        return [f"The mean absolute error is {m['mae']:.4g}; nothing changed, so the last reading is always right."]
    change = f"{abs(m['skill_mae']):.1%} {'better' if m['skill_mae'] >= 0 else 'worse'}"
    return [f"The mean absolute error is {m['mae']:.4g}, {change} than if the last reading stayed."]


def _confusion(evaluation: ClassEvaluation) -> dict[str, Any]:
    names = [clean(name) for name in evaluation.forecast.classes]
    return {"classes": names, "rows": list(zip(names, evaluation.counts.tolist(), strict=True))}
