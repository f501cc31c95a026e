"""The results as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wearcast.evaluation.metrics import Direction, Metric
from wearcast.evaluation.protocol import ALL_METRICS

if TYPE_CHECKING:
    from rich.console import Group as Renderable
    from rich.table import Table

    from wearcast.evaluation.comparison import Comparison, Group, Spread
    from wearcast.evaluation.protocol import Evaluation

__all__ = ["DIRECTIONS", "METRICS", "comparison_table", "evaluation_table", "format_value"]

METRICS: dict[str, Metric[Any]] = {m.name: m for m in ALL_METRICS}
"""Each metric by its name."""

DIRECTIONS: dict[Direction, str] = {"lower": "lower is better", "higher": "higher is better", "nominal": "near 90 %"}
"""The direction of a metric in words."""


def format_value(name: str, value: float | None, time_unit: str) -> str:
    """A metric for human eyes: `11.2 cycles`, `91 %`, `—` where it is not known."""
    if value is None:
        return "—"
    unit = METRICS[name].unit
    if unit == "time":
        digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        return f"{value:,.{digits}f} {time_unit}s"
    if unit == "score":
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return f"{value * 100:.1f} %"


def _scored_set(subject: Evaluation | Group) -> str:
    """Data set and split, without saying the split twice."""
    named = subject.dataset.endswith(subject.split)
    return subject.dataset if named else f"{subject.dataset} ({subject.split})"


def evaluation_table(evaluation: Evaluation) -> Table:
    """The metrics of one evaluation, with what was scored as the caption."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(f"{evaluation.recipe} on {_scored_set(evaluation)}"),
        caption=Text(f"{evaluation.protocol_note} {evaluation.truth_note}"),
    )
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("", style="dim")
    time_unit = evaluation.fleet.schema.time_unit
    for name, metric in METRICS.items():
        value = evaluation.metrics[name]
        number = value if isinstance(value, (int, float)) else None
        table.add_row(name, format_value(name, number, time_unit), DIRECTIONS[metric.direction])
    worst = evaluation.metrics["worst_unit"]
    if isinstance(worst, dict):
        value_text = format_value("rmse_capped", worst["rmse_capped"], time_unit)
        table.add_row("worst_unit", Text(f"{worst['unit']}: {value_text}"), "RMSE over its trajectory, capped")
    return table


_COMPARED = ("rmse_capped", "rmse", "nasa_score_capped", "coverage_90", "width_90", "crps")


def comparison_table(comparison: Comparison) -> Renderable:
    """One row a recipe and data set, mean ± sd over seeds, then one sentence a pair of recipes."""
    from rich import box
    from rich.console import Group as Renderable
    from rich.table import Table
    from rich.text import Text

    labels = [_scored_set(group) for group in comparison.groups]
    alike = len(set(labels)) == 1  # said once, over the table, to leave room for the names of the recipes
    title = Text(f"mean ± sd over seeds{f' on {labels[0]}' if alike else ''}")
    table = Table(title=title, box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False, padding=(0, 1, 0, 0))
    # Names are folded, never cut: two recipes may differ in the last letter only.
    table.add_column("recipe", overflow="fold")
    if not alike:
        table.add_column("data set", overflow="fold")
    table.add_column("seeds", justify="right")
    for name in _COMPARED:
        table.add_column(name.replace("_", "\n"), justify="right", overflow="fold")
    for group, label in zip(comparison.groups, labels, strict=True):
        cells = [_spread_text(name, group.metrics[name]) for name in _COMPARED]
        named = [Text(group.recipe)] if alike else [Text(group.recipe), Text(label)]
        table.add_row(*named, str(len(group.seeds)), *cells)
    lines = [
        Text(
            f"{d.dataset}: {d.verdict} (RMSE {d.a} − {d.b} = {d.difference:+.2f}, "
            f"{d.level:.0%} interval {d.low:+.2f} to {d.high:+.2f} by bootstrap over units)"
        )
        for d in comparison.differences
    ]
    return Renderable(table, *lines)


def _spread_text(name: str, spread: Spread | None) -> str:
    if spread is None:
        return "—"
    scale, digits = (100.0, 1) if METRICS[name].unit == "" else (1.0, 2 if abs(spread.mean) < 100 else 0)
    sd = "" if spread.sd is None else f" ± {spread.sd * scale:.{digits}f}"
    return f"{spread.mean * scale:.{digits}f}{sd}{' %' if scale > 1 else ''}"
