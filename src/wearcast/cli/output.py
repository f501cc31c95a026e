"""What commands write: results on stdout, everything else on stderr, files whole or not at all."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["finite", "print_json", "print_rich", "print_table", "say", "write_whole"]


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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a kill or a full disk leaves either the old one or the new one, never half of it.

    Raises:
        UsageError: the place cannot be written.
    """
    import os
    import tempfile

    from wearcast.errors import UsageError

    scratch: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        scratch = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        scratch.replace(path)
    except OSError as error:
        blocked = isinstance(error, FileExistsError | NotADirectoryError)
        why = "a folder above it is a file" if blocked else error.strerror or error
        raise UsageError(f"cannot be written: {why}", where=str(path), hint="name another place") from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
