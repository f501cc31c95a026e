"""What commands write: results on stdout, everything else on stderr."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["finite", "print_json", "print_rich", "print_table", "say"]


WIDEST = 400
"""Columns that a table may take in a file or a pipe."""


def say(text: str) -> None:
    """One line for the person at the terminal, on stderr."""
    sys.stderr.write(f"{text}\n")


def finite(value: Any) -> Any:
    """The same JSON value with null for NaN and infinity, which JSON cannot say."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    import json

    sys.stdout.write(json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_rich(*renderables: RenderableType) -> None:
    """Tables and text on stdout, as wide as the terminal; as wide as they are where nobody says how wide it is."""
    import os

    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        roomy = console.options.update(width=WIDEST)
        console.width = max(console.width, *(Measurement.get(console, roomy, part).maximum for part in renderables))
    for renderable in renderables:
        console.print(renderable)


def print_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; columns that hold nothing but figures are aligned to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    table = Table(title=title, box=box.SIMPLE, title_justify="left", pad_edge=False)
    for i, column in enumerate(columns):
        figures = bool(cells) and all(isinstance(row[i], (int, float)) or _is_figure(str(row[i])) for row in cells)
        table.add_column(column, justify="right" if figures else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(f"{cell:.4g}" if isinstance(cell, float) else str(cell)) for cell in row))
    print_rich(table)


def _is_figure(text: str) -> bool:
    return re.fullmatch(r"-?[\d.,]+(e[-+]?\d+)?%?|", text) is not None
