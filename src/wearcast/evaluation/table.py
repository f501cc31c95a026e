"""The results as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wearcast.evaluation.figures import Figure, shown_figures
from wearcast.evaluation.metrics import Direction, Metric
from wearcast.evaluation.protocol import ALL_METRICS

if TYPE_CHECKING:
    from rich.console import Group as Renderable
    from rich.table import Table

    from wearcast.evaluation.comparison import Comparison, Difference, Group, Spread
    from wearcast.evaluation.protocol import Evaluation

__all__ = ["DIRECTIONS", "METRICS", "comparison_table", "evaluation_table", "format_value", "plain", "sentence"]

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


def comparison_table(comparison: Comparison) -> Renderable:
    """One row a recipe, mean ± sd over seeds, with what it costs; then one sentence a pair of recipes."""
    from rich import box
    from rich.console import Group as Renderable
    from rich.table import Table
    from rich.text import Text

    figures = shown_figures(comparison.target)
    # The data set is said once, over the table, to leave room for the names of the recipes.
    title = Text(f"mean ± sd over seeds on {_scored_set(comparison.groups[0])}")
    table = Table(title=title, box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("recipe", overflow="fold")  # names are folded, never cut: two may differ in the last letter only
    table.add_column("seeds", justify="right")
    for figure in figures:
        table.add_column(figure.name.replace("_", "\n"), justify="right", overflow="fold")
    costly = any(group.costs for group in comparison.groups)
    for name in ("training\n(s)", "ms a\nforecast", "size") if costly else ():
        table.add_column(name, justify="right", overflow="fold")
    for group in comparison.groups:
        cells = [_spread_text(figure, group.metrics[figure.name]) for figure in figures]
        if costly:
            cells += [plain(group.training_seconds), plain(group.latency_ms), group.size]
        table.add_row(Text(group.recipe), str(len(group.seeds)), *cells)
    return Renderable(table, *(Text(sentence(difference)) for difference in comparison.differences))


def sentence(d: Difference) -> str:
    """A difference in words, with the figures it rests on."""
    text = (
        f"{d.verdict} ({d.figure.label} {d.a} − {d.b} = {d.difference:+.3g}, "
        f"{d.level:.0%} interval {d.low:+.3g} to {d.high:+.3g} by bootstrap over {d.n} {d.by})"
    )
    return f"{text}; {d.reservation}" if d.reservation else text


def plain(value: float | None) -> str:
    """Three digits of a cost."""
    return "—" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _spread_text(figure: Figure, spread: Spread | None) -> str:
    return "—" if spread is None else figure.text(spread.mean, spread.sd)
