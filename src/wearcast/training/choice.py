"""Why a candidate was chosen, in words."""

from __future__ import annotations

from collections.abc import Mapping

from wearcast.evaluation import Comparison
from wearcast.evaluation.table import plain
from wearcast.training.board import Entry

__all__ = ["reasons"]


def reasons(comparison: Comparison, entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """What was chosen, by how much, whether that is real, what it costs, and what was not tried."""
    best, figure = comparison.groups[0], comparison.figure
    spread = best.metrics[figure.name]
    said = [
        f"{best.recipe} is chosen: {figure.label} {figure.text(spread.mean if spread else None)} on readings of "
        "training units that its models had not seen."
    ]
    note = entries[best.recipe].note
    if best.recipe == "ensemble" and note:
        said.append(f"It is {note}.")
    for difference in comparison.differences:
        if difference.a == best.recipe:
            low, high = sorted((abs(difference.low), abs(difference.high)))
            gap = f"{figure.label} differs by {abs(difference.difference):.3g}"
            said.append(
                f"It is better than {difference.b}, and the difference is real: {gap} ({low:.3g} to {high:.3g})."
                if difference.real
                else f"Between it and {difference.b} there is no real difference: {gap}, "
                f"and the interval from {difference.low:+.3g} to {difference.high:+.3g} holds 0."
            )
    if best.latency_ms is not None:
        said.append(f"A forecast takes {plain(best.latency_ms)} ms{_against_fastest(comparison)}.")
    untried = [entry for entry in entries.values() if entry.status in ("not begun", "stopped", "failed")]
    said += [f"{entry.name} was {_became(entry)}: {entry.note}." for entry in untried]
    return tuple(said)


def _became(entry: Entry) -> str:
    return "not tried" if entry.status == "not begun" else entry.status if entry.status == "stopped" else "not trained"


def _against_fastest(comparison: Comparison) -> str:
    best = comparison.groups[0]
    timed = [(group.latency_ms, group.recipe) for group in comparison.groups if group.latency_ms]
    if not timed or not best.latency_ms or min(timed)[1] == best.recipe:
        return ", the least of all"
    latency, name = min(timed)
    return f", {best.latency_ms / latency:.1f} times that of {name}"
