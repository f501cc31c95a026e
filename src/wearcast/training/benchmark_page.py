"""The results of a suite for people: tables for the terminal, and the page of the documentation."""

from __future__ import annotations

import shlex
from typing import Any

from wearcast.evaluation.figures import Figure, shown_figures
from wearcast.evaluation.table import plain

__all__ = ["benchmark_page", "benchmark_table"]


def benchmark_table(part: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of one part of a suite's results: models, best first, then what others reached."""
    figures = shown_figures(part["target"])
    columns = ["model", "seeds", *(figure.label for figure in figures), "worst", "training s", "ms a forecast", "size"]
    rows = [[*_model(row, figures)] for row in part["rows"]]
    for anchor in part["anchors"]:
        cells = [figure.text(anchor["figures"].get(figure.name)) for figure in figures]
        rows.append([f"{anchor['name']} *", "", *cells, "", "", "", ""])
    return columns, rows


def _model(row: dict[str, Any], figures: tuple[Figure, ...]) -> list[str]:
    spreads = [row["metrics"][figure.name] for figure in figures]
    cells = [f.text(s["mean"], s["sd"]) if s else "—" for f, s in zip(figures, spreads, strict=True)]
    worst = figures[0].text(spreads[0]["worst"]) if spreads[0] else "—"
    cost = row["cost"]
    return [
        row["recipe"], str(row["seeds"]), *cells, worst, plain(cost["training_seconds"]), plain(cost["latency_ms"]),
        _size(cost),
    ]  # fmt: skip


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
        columns, rows = benchmark_table(part)
        lines += ["", f"## {part['name']}", ""]
        if part["note"]:
            lines += [part["note"], ""]
        lines += [_line(columns), _line(["---", *["---:"] * (len(columns) - 1)])]
        lines += [_line([f"`{row[0]}`" if not row[0].endswith(" *") else row[0], *row[1:]]) for row in rows]
        notes = [f"`{row['recipe']}`: {row['note']}." for row in part["rows"] if row["note"]]
        notes += [f"`{row['recipe']}` failed: {error}" for row in part["rows"] for error in row["errors"]]
        notes += [f"\\* {anchor['name']}: {anchor['protocol']} ({anchor['source']})." for anchor in part["anchors"]]
        for note in notes:
            lines += ["", note]
    return "\n".join(lines) + "\n"


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
