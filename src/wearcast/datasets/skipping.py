"""Rows of a CSV file that cannot be read: left out where the user asks for it, counted and listed by line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from wearcast import frames
from wearcast.errors import FleetError
from wearcast.schema import Note

__all__ = ["Skipped", "is_damaged", "numbers_of_batch", "readable", "renumbered", "why_not"]

LISTED = 20
Sure = Callable[[pl.DataFrame], pl.Series]
"""Whether the keys of each row (unit and time) can be read."""


@dataclass
class Skipped:
    """What was left out of one file.

    Attributes:
        sure: see `Sure`; a row whose keys cannot be read is left out too.
        lines: the lines of the file.
        first_line: the first of them.
        first: what was wrong with it.
    """

    sure: Sure
    lines: list[int] = field(default_factory=list)
    first_line: int | None = None
    first: str = ""

    def add(self, lines: Sequence[int], why: str) -> None:
        """Leave out these lines."""
        if lines and (self.first_line is None or lines[0] < self.first_line):
            self.first_line, self.first = lines[0], f"line {lines[0]}: {why}"
        self.lines += lines

    def notes(self, label: str) -> tuple[Note, ...]:
        """The count and the lines, as a note."""
        if not self.lines:
            return ()
        lines = sorted(self.lines)
        more = f" and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
        listed = ", ".join(map(str, lines[:LISTED]))
        text = f"{label}{len(lines)} rows that cannot be read are left out: lines {listed}{more} ({self.first})"
        return (Note("skipped_rows", len(lines), text),)


def why_not(row: Sequence[str], width: int, *, damaged: bool = True) -> str | None:
    """Why the cells of a line are no row, if so; bytes that are not UTF-8 count where they may be `damaged`."""
    if not row:
        return None
    if len(row) != width:
        return f"{len(row)} cells, but the header has {width}"
    return "not UTF-8" if damaged and not "".join(row).isprintable() and is_damaged(row) else None


def is_damaged(row: Sequence[str]) -> bool:
    """Whether bytes of a line, decoded with `surrogateescape`, are not UTF-8."""
    return any("\udc80" <= sign <= "\udcff" for cell in row for sign in cell)


def readable(batch: pl.DataFrame, numeric: Sequence[str], lines: Sequence[int], skipped: Skipped) -> pl.DataFrame:
    """The rows of a batch that can be read, numbers as Float32; the lines of the others are kept in `skipped`."""
    good = pl.repeat(True, batch.height, eager=True)
    changed = []
    for column in numeric:
        number, bad = _numbers(batch[column])
        if bad.any():
            new = bad & good
            cells = batch[column].filter(new)
            if len(cells):
                skipped.add([lines[i] for i in new.arg_true()], f"{cells[0]!r} in {column!r} is not a number")
            good &= ~bad
        changed.append(number)
    blank = batch.select(pl.all_horizontal(pl.all().is_null())).to_series()
    lost = ~skipped.sure(batch) & ~blank & good
    skipped.add([lines[i] for i in lost.arg_true()], "the unit or the time cannot be read")
    return batch.with_columns(changed).filter(good & ~lost)


def _numbers(series: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Numbers as Float32, and which cells are neither a finite number nor missing."""
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        text = text.set(text.is_in(frames.MISSING), None)
        number = text.cast(pl.Float64, strict=False)
        bad = number.is_null() & text.is_not_null()
    else:
        number, bad = series, pl.repeat(False, len(series), eager=True)
    single = number.cast(pl.Float32).alias(series.name)
    return single, bad | single.is_infinite().fill_null(False)


def numbers_of_batch(batch: pl.DataFrame, numeric: Sequence[str], offset: int, where: str) -> pl.DataFrame:
    """The same where nothing may be left out.

    Raises:
        FleetError: a cell is not a finite number; the row counts from the start of the file, `offset` rows before.
    """
    try:
        return batch.with_columns(frames.numbers(batch[column], where) for column in numeric)
    except FleetError as error:
        raise renumbered(error, lambda row: row + offset) from error


def renumbered(error: FleetError, row_in_file: Callable[[int], int]) -> FleetError:
    """The same error, with the row that its place names as the file counts it (from 1)."""
    place = re.sub(r"row (\d+), column", lambda m: f"row {row_in_file(int(m[1]))}, column", error.where or "")
    return FleetError(error.what, where=place or None, hint=error.hint)
