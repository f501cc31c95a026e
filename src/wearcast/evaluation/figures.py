"""The figures by which models are compared: of each kind of target the main one, and those beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wearcast.evaluation.metrics import COVERAGE, Direction
from wearcast.evaluation.protocol import ALL_METRICS

__all__ = ["FIGURES", "SHOWN", "Figure", "main_figure", "shown_figures"]

Measure = Literal["time", "share", "score", "value"]


@dataclass(frozen=True)
class Figure:
    """One figure of an evaluation.

    Attributes:
        name: key in `metrics` of `evaluate --json`.
        direction: whether less or more is better, or how near it is to `nominal`.
        measure: a time, a share, a score without a unit, or a value in the column's own unit.
        label: for people.
        nominal: the value to be near to, if that is the direction.
    """

    name: str
    direction: Direction
    measure: Measure
    label: str
    nominal: float | None = None

    def badness(self, value: float) -> float:
        """A number that is smaller the better the value is, for ranking."""
        if self.direction == "nominal":
            return abs(value - (self.nominal or 0.0))
        return value if self.direction == "lower" else -value

    def text(self, value: float | None, sd: float | None = None) -> str:
        """For people, `11.29 ± 0.10`; a dash where it is not known."""
        if value is None:
            return "—"
        if self.measure == "share":
            return f"{value * 100:.1f}{'' if sd is None else f' ± {sd * 100:.1f}'} %"
        digits = 3 if self.measure == "value" or abs(value) < 1 else 2 if abs(value) < 100 else 0
        return f"{value:.{digits}f}{'' if sd is None else f' ± {sd:.{digits}f}'}"


_MEASURES: Mapping[str, Measure] = {"time": "time", "score": "score", "": "share"}
_LABELS: Mapping[str, str] = {
    "rmse_capped": "RMSE, capped",
    "rmse": "RMSE",
    "nasa_score_capped": "NASA score, capped",
    "coverage_90": "coverage of 90 %",
    "width_90": "width of 90 %",
    "crps": "CRPS",
}
_COVERAGE = Figure("coverage_90", "nominal", "share", "coverage of 90 %", COVERAGE)

FIGURES: Mapping[str, tuple[Figure, ...]] = {
    "rul": tuple(
        Figure(
            m.name,
            m.direction,
            _MEASURES.get(m.unit, "score"),
            _LABELS.get(m.name, m.name.replace("_", " ")),
            m.nominal,
        )
        for m in ALL_METRICS
    ),
    "failure": (
        Figure("pr_auc", "higher", "score", "PR-AUC"),
        Figure("roc_auc", "higher", "score", "ROC-AUC"),
        Figure("f1", "higher", "score", "F1"),
        Figure("precision", "higher", "score", "precision"),
        Figure("recall", "higher", "score", "recall"),
        Figure("brier", "lower", "score", "Brier score"),
        Figure("log_loss", "lower", "score", "log loss"),
    ),
    "fault": (
        Figure("macro_f1", "higher", "score", "macro-F1"),
        Figure("accuracy", "higher", "score", "accuracy"),
        Figure("log_loss", "lower", "score", "log loss"),
    ),
    "sensor": (
        Figure("mae", "lower", "value", "MAE"),
        Figure("mse", "lower", "value", "MSE"),
        Figure("crps", "lower", "value", "CRPS"),
        Figure("skill_mae", "higher", "share", "better than persistence"),
        _COVERAGE,
        Figure("width_90", "lower", "value", "width of 90 %"),
    ),
}
"""Of each kind of target; the first is the main one, by which models are ranked and told apart."""

SHOWN: Mapping[str, tuple[str, ...]] = {
    "rul": ("rmse_capped", "rmse", "nasa_score_capped", "coverage_90", "width_90", "crps"),
    "failure": ("pr_auc", "roc_auc", "f1", "precision", "recall", "brier"),
    "fault": ("macro_f1", "accuracy", "log_loss"),
    "sensor": ("mae", "mse", "crps", "coverage_90", "width_90"),
}
"""Those that a table of models has room for."""


def shown_figures(target: str) -> tuple[Figure, ...]:
    """Those that a table of models has room for, the main one first."""
    named = {figure.name: figure for figure in FIGURES[target]}
    return tuple(named[name] for name in SHOWN[target])


def main_figure(target: str) -> Figure:
    """The figure by which models of this kind of target are ranked."""
    return FIGURES[target][0]
