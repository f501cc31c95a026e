"""The results of a suite for people: tables for the terminal, and the page of the documentation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from wearcast.evaluation.figures import Figure, shown_figures
from wearcast.evaluation.table import plain

__all__ = ["benchmark_page", "benchmark_table"]


Table = tuple[list[str], list[list[str]]]
"""Columns, and rows of as many cells."""


def benchmark_table(part: dict[str, Any]) -> Table:
    """One part of a suite's results as one table: models, best first, then what others reached."""
    figures = shown_figures(part["target"])
    columns, rows = _accuracy(part, figures)
    costs, each = _costs(part)
    empty = [""] * (len(costs) - 1)
    others = [[f"{anchor['name']} *", "", *_reported(anchor, figures), "", *empty] for anchor in part["anchors"]]
    return columns + costs[1:], [row + cost[1:] for row, cost in zip(rows, each, strict=True)] + others


def _accuracy(part: dict[str, Any], figures: tuple[Figure, ...]) -> Table:
    rows = []
    for row in part["rows"]:
        spreads = [row["metrics"][figure.name] for figure in figures]
        cells = [f.text(s["mean"], s["sd"]) if s else "—" for f, s in zip(figures, spreads, strict=True)]
        worst = figures[0].text(spreads[0]["worst"]) if spreads[0] else "—"
        rows.append([row["recipe"], str(row["seeds"]), *cells, worst])
    return ["model", "seeds", *(figure.label for figure in figures), "worst"], rows


def _costs(part: dict[str, Any]) -> Table:
    costs = [(row["recipe"], row["cost"]) for row in part["rows"]]
    rows = [[name, plain(cost["training_seconds"]), plain(cost["latency_ms"]), _size(cost)] for name, cost in costs]
    return ["model", "training s", "ms a forecast", "size"], rows


def _others(part: dict[str, Any], figures: tuple[Figure, ...]) -> Table:
    """What others reached, in those figures that one of them reports."""
    said = [figure for figure in figures if any(figure.name in anchor["figures"] for anchor in part["anchors"])]
    rows = [[a["name"], *_reported(a, said), f"{a['protocol']} ({a['source']})"] for a in part["anchors"]]
    return ["by others", *(figure.label for figure in said), "how it was judged"], rows


def _reported(anchor: dict[str, Any], figures: Sequence[Figure]) -> list[str]:
    return [figure.text(anchor["figures"].get(figure.name)) for figure in figures]


def _size(cost: dict[str, float | None]) -> str:
    parts = [f"{cost['models']:.0f} models"] if (cost["models"] or 1) > 1 else []
    parts += [f"{cost[key]:,.0f} {key}" for key in ("parameters", "trees") if cost[key]]
    return ", ".join(parts) or "—"


def benchmark_page(results: dict[str, Any]) -> str:
    """The page of a suite as Markdown, made from its JSON alone."""
    changed = f" Every recipe was changed by `{' '.join(results['settings'])}`." if results["settings"] else ""
    lines = [
        f"# Benchmark: {results['title']}",
        "",
        f"Made by `{_command(results)}` with Wearcast {results['wearcast']} on {results['written'][:10]}; do not edit.",
        "",
        f"{results['protocol']} {_spread(results['seeds'])}{changed}",
        f"{results['search']} How evaluation goes: [the protocol](protocol.md).",
        *(["", _machines(results["machines"])] if results["machines"] else []),
    ]
    for part in results["parts"]:
        figures = shown_figures(part["target"])
        lines += ["", f"## {part['name']}", ""]
        if part["note"]:
            lines += [part["note"], ""]
        prefix = _prefix([row["recipe"] for row in part["rows"]])
        if prefix:
            lines += [f"Recipes `{prefix}…`:", ""]
        lines += _markdown(_named(_accuracy(part, figures), prefix))
        if part["anchors"]:
            lines += ["", *_markdown(_others(part, figures), prose=True)]
        lines += ["", *_markdown(_named(_costs(part), prefix))]
        notes = [f"`{row['recipe']}`: {row['note']}." for row in part["rows"] if row["note"]]
        notes += [f"`{row['recipe']}` failed: {error}" for row in part["rows"] for error in row["errors"]]
        for note in notes:
            lines += ["", note]
    return "\n".join(lines) + "\n"


def _prefix(names: list[str]) -> str:
    """How all of several names begin, up to a hyphen."""
    words = zip(*(name.split("-") for name in names), strict=False)
    return "".join(f"{same[0]}-" for same in takewhile(lambda each: len(set(each)) == 1, words)) if names[1:] else ""


def _named(table: Table, prefix: str) -> Table:
    """Names of recipes as code, without what all of them begin with."""
    columns, rows = table
    return columns, [[f"`{name.removeprefix(prefix)}`", *cells] for name, *cells in rows]


def _markdown(table: Table, *, prose: bool = False) -> list[str]:
    """Figures to the right, not broken over lines; the last column may be prose instead."""
    columns, rows = table
    end = len(columns) - prose
    rules = ["---:" if 0 < i < end else "---" for i in range(len(columns))]
    whole = [[row[0], *(cell.replace(" ", "\N{NO-BREAK SPACE}") for cell in row[1:end]), *row[end:]] for row in rows]
    return [_line(cells) for cells in (columns, rules, *whole)]


def _command(results: dict[str, Any]) -> str:
    words = ["wearcast benchmark", results["suite"], "--seeds", str(results["seeds"])]
    for flag, names in (("--models", results["models"]), ("--parts", results["chosen_parts"])):
        words += [flag, shlex.quote(",".join(names))] if names else []
    for text in results["settings"]:
        words += ["--set", shlex.quote(text)]
    return " ".join([*words, "--page", f"docs/results-{results['suite']}.md"])


def _machines(machines: list[dict[str, Any]]) -> str:
    """What the seconds and milliseconds were taken on."""
    said = [
        f"{one['cores']} cores ({one['processor']}), "
        + (f"{one['threads']} of them used" if one["threads"] else "as many threads as each library takes")
        for one in machines
    ]
    return f"Trained on {'; '.join(said)}. Seconds and milliseconds are longer where the machine had other work."


def _spread(seeds: int) -> str:
    return "One seed." if seeds == 1 else f"Mean ± standard deviation over {seeds} seeds, and the worst."


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
