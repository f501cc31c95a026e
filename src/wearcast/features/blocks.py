"""Rows a block at a time: arithmetic in double precision never needs a second copy of a long column."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["row_blocks"]

BLOCK = 1 << 16  # numbers: a block stays in the processor's cache


def row_blocks(n_rows: int, n_columns: int = 1) -> Iterator[slice]:
    """The rows in order, block by block; the borders know nothing of units.

    Args:
        n_rows: number of rows.
        n_columns: how many columns are worked on at once.
    """
    size = max(1, BLOCK // max(n_columns, 1))
    for at in range(0, n_rows, size):
        yield slice(at, min(at + size, n_rows))
