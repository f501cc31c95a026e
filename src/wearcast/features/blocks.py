"""Rows a block at a time: arithmetic in double precision never needs a second copy of a long column."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["row_blocks"]

BLOCK = 1 << 16  # rows: a block of all columns stays in the processor's cache


def row_blocks(n_rows: int) -> Iterator[slice]:
    """The rows in order, block by block; the borders know nothing of units."""
    for at in range(0, n_rows, BLOCK):
        yield slice(at, min(at + BLOCK, n_rows))
