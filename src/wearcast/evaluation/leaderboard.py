"""The leaderboard: a comparison as one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wearcast.errors import require
from wearcast.evaluation.comparison import Comparison
from wearcast.evaluation.drawing import ACCENT, BAND, GRID, INK, MUTED, clean, picture
from wearcast.evaluation.figures import shown_figures
from wearcast.evaluation.table import plain, sentence
from wearcast.pages import page, trusted
from wearcast.writing import write_whole

__all__ = ["write_leaderboard"]


def write_leaderboard(comparison: Comparison, path: str | Path) -> Path:
    """Write a comparison as one self-contained HTML file, whole or not at all.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
        UsageError: the file cannot be written.
    """
    require("matplotlib", extra="report")
    first = comparison.groups[0]
    html = page(
        __package__,
        "leaderboard.html.j2",
        title=f"Models on {first.dataset}",
        summary=_summary(comparison),
        note=_note(comparison),
        main=comparison.figure,
        figures=shown_figures(comparison.target),
        rows=[_row(comparison, i) for i in range(len(comparison.groups))],
        costly=any(group.costs for group in comparison.groups),
        pictures=[{**drawn, "svg": trusted(drawn["svg"])} for drawn in _pictures(comparison)],
        differences=[sentence(difference) for difference in comparison.differences],
    )
    target = Path(path)
    write_whole(target, html.encode())
    return target


def _summary(comparison: Comparison) -> list[str]:
    best, main = comparison.groups[0], comparison.figure
    spread = best.metrics[main.name]
    if spread is None:
        return ["What came of the forecasts is not known: nothing is scored."]
    sentences = [f"{best.recipe} is first: {main.label} {main.text(spread.mean, spread.sd)}."]
    rivals = [d for d in comparison.differences if d.a == best.recipe]
    alike = [d.b for d in rivals if not d.real]
    if rivals and alike:
        sentences.append(f"There is no real difference between it and {_listed(alike)}.")
    elif rivals:
        sentences.append("Its lead over every other model is real.")
    cheap = min(
        (g for g in comparison.groups if g.latency_ms is not None), key=lambda g: g.latency_ms or 0, default=None
    )
    if cheap is not None and cheap.recipe in alike:
        sentences.append(f"Of these {cheap.recipe} answers fastest, in {plain(cheap.latency_ms)} ms.")
    return sentences


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _note(comparison: Comparison) -> str:
    first = comparison.groups[0]
    evaluation = first.evaluations[0]
    drawn = comparison.differences[0] if comparison.differences else None
    by = f" Intervals of {drawn.level:.0%} by bootstrap over {drawn.n} {drawn.by}, the same for all." if drawn else ""
    return f"Split “{first.split}”, {evaluation.fleet.n_units:,} units. {evaluation.truth_note}{by}"


def _row(comparison: Comparison, i: int) -> dict[str, Any]:
    group = comparison.groups[i]
    versus = next(
        (d for d in comparison.differences if d.a == comparison.groups[0].recipe and d.b == group.recipe), None
    )
    spreads = [(figure, group.metrics[figure.name]) for figure in shown_figures(comparison.target)]
    return {
        "place": i + 1,
        "recipe": clean(group.recipe, 60),
        "seeds": len(group.seeds),
        "cells": [
            (figure.text(s.mean), figure.text(s.mean, s.sd).partition("± ")[2]) if s else ("—", "")
            for figure, s in spreads
        ],
        "training": plain(group.training_seconds),
        "latency": plain(group.latency_ms),
        "size": group.size,
        "verdict": "" if versus is None else "really worse" if versus.real else "no real difference",
    }


def _pictures(comparison: Comparison) -> list[dict[str, str]]:
    main = comparison.figure
    if comparison.groups[0].metrics[main.name] is None:
        return []
    found = [
        {
            "title": main.label,
            "caption": f"{main.label} of each seed (points), their mean (mark) and its interval; "
            f"{'less' if main.direction == 'lower' else 'more'} is better.",
            "svg": _ranking(comparison),
        }
    ]
    if len(comparison.groups) > 1 and comparison.differences:
        found.append(
            {
                "title": "Difference from the first",
                "caption": "On the same units, with its interval; an interval that holds 0 is no real difference.",
                "svg": _differences(comparison),
            }
        )
    if len([g for g in comparison.groups if g.latency_ms is not None]) > 1:
        found.append(
            {
                "title": "What it costs",
                "caption": f"{main.label} against the time of one forecast, both as measured here.",
                "svg": _costs(comparison),
            }
        )
    return found


def _names(comparison: Comparison) -> list[str]:
    return [clean(group.recipe, 34) for group in comparison.groups]


def _margin(names: list[str]) -> float:
    return 0.25 + 0.082 * max(map(len, names))


def _ranking(comparison: Comparison) -> str:
    names = _names(comparison)
    with picture(6.2, 0.75 + 0.42 * len(names), left=_margin(names)) as drawn:
        axes = drawn.label(comparison.figure.label, "")
        for i, group in enumerate(comparison.groups):
            spread = group.metrics[comparison.figure.name]
            if spread is None:
                continue
            if group.interval is not None:
                axes.hlines(i, *group.interval, color=BAND, lw=7, alpha=0.25)
            axes.plot(spread.values, [i] * len(spread.values), "o", ms=3.5, color=MUTED, mew=0, alpha=0.8)
            axes.plot([spread.mean], [i], "D", ms=5.5, color=ACCENT, mew=0)
        _name_rows(axes, names)
    return drawn.svg


def _differences(comparison: Comparison) -> str:
    best = comparison.groups[0].recipe
    shown = [d for d in comparison.differences if d.a == best]
    names = [clean(d.b, 34) for d in shown]
    with picture(6.2, 0.75 + 0.42 * len(names), left=_margin(names)) as drawn:
        axes = drawn.label(f"{comparison.figure.label}, minus that of the first", "")
        axes.axvline(0, color=INK, lw=1)
        for i, d in enumerate(shown):
            axes.hlines(i, -d.high, -d.low, color=ACCENT if d.real else MUTED, lw=2)
            axes.plot([-d.difference], [i], "o", ms=5, color=ACCENT if d.real else MUTED, mew=0)
        _name_rows(axes, names)
    return drawn.svg


def _name_rows(axes: Any, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _costs(comparison: Comparison) -> str:
    with picture(6.2, 3.6) as drawn:
        axes = drawn.label("milliseconds a forecast", comparison.figure.label)
        axes.set_xscale("log")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(which="minor", color=GRID, lw=0.3)
        # Plain numbers: the powers of ten of a logarithmic axis are set as formulae, which the page does not read.
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        at = [
            (group.latency_ms, spread.mean, clean(group.recipe, 34))
            for group in comparison.groups
            if group.latency_ms is not None and (spread := group.metrics[comparison.figure.name]) is not None
        ]
        middle = (min(ms for ms, _, _ in at) * max(ms for ms, _, _ in at)) ** 0.5 if at else 1.0
        for ms, error, name in at:
            axes.plot([ms], [error], "o", ms=6, color=ACCENT, mew=0)
            left = ms > middle  # a name stands beside its point, where there is room
            axes.annotate(
                name, (ms, error), xytext=(-7 if left else 7, 0), textcoords="offset points", color=MUTED,
                fontsize=8.5, ha="right" if left else "left", va="center",
            )  # fmt: skip
        axes.margins(x=0.2, y=0.15)
    return drawn.svg
