"""CSV from which rows may be left out, block by block: only where something is wrong is it looked at row by row."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl

from wearcast.datasets.skipping import Skipped, readable, why_not
from wearcast.errors import FormatError

__all__ = ["CsvBlocks", "with_points"]

BLOCK_BYTES = 16 << 20
OPEN_QUOTE = "a double quote there is probably not closed: close it, or take it out"
PIECE_BYTES = 1 << 16
"""So much around something that is wrong is read row by row."""


@dataclass(frozen=True)
class CsvBlocks:
    """How the rows of a file are written, and what is wanted of them.

    Attributes:
        path: the file.
        columns: names in the header.
        separator, decimal: of cells, and in numbers.
        header_lines: lines before the first row.
        numeric, texts: columns that are read as Float32 and as text.
    """

    path: Path
    columns: Sequence[str]
    separator: str
    decimal: str
    header_lines: int
    numeric: Sequence[str]
    texts: Sequence[str]

    def read(self, skipped: Skipped) -> pl.DataFrame:
        """The rows that can be read; the lines of the others are kept in `skipped`.

        Raises:
            FormatError: a row is longer than any row can be.
        """
        schema = {**dict.fromkeys(self.texts, pl.String), **dict.fromkeys(self.numeric, pl.Float32)}
        parts = [pl.DataFrame(schema=schema)]
        with self.path.open("rb") as file:
            for _ in range(self.header_lines):
                file.readline()
            line, size = self.header_lines + 1, BLOCK_BYTES
            while block := _take(file, size):
                rows = block.count(b"\n") + (not block.endswith(b"\n"))
                table = self._parsed(block, rows)
                if table is not None:
                    parts.append(readable(table, self.numeric, range(line, line + rows), skipped))
                    line, size = line + rows, min(2 * size, BLOCK_BYTES)
                elif size > PIECE_BYTES:  # closer to what is wrong, by halves
                    size = max(size // 2, PIECE_BYTES)
                    file.seek(-len(block), os.SEEK_CUR)
                else:
                    table, lines, line = self._by_row(block, file, line, skipped)
                    parts.append(readable(table, self.numeric, lines, skipped))
        return pl.concat(parts)

    def _parsed(self, block: bytes, rows: int) -> pl.DataFrame | None:
        """The block by Polars, numbers as such or as text; None unless each line is one row of the header's width."""
        quoted = b'"' in block
        if not (block.isascii() or _is_utf8(block)) or not (quoted or self._is_even(block, rows)):
            return None
        wanted = list(dict.fromkeys((*self.texts, *self.numeric, self.columns[-1])))
        for numbers in (self.numeric, ()):
            lazy = pl.scan_csv(
                block,
                has_header=False,
                schema={column: pl.Float32 if column in numbers else pl.String for column in self.columns},
                separator=self.separator,
                decimal_comma=self.decimal == ",",
                raise_if_empty=False,
            )
            try:
                table = lazy.select(wanted).collect()
            except pl.exceptions.PolarsError:
                continue
            # A row that ends early shows in its last cell, a line break between quotes in the number of rows.
            if table.height != rows or (quoted and table[self.columns[-1]].null_count()):
                return None
            return with_points(table.select(*self.texts, *self.numeric), self.numeric, self.decimal)
        return None

    def _is_even(self, block: bytes, rows: int) -> bool:
        """Whether no row ends early, where Polars refuses one that is too long."""
        separator, between = self.separator.encode(), len(self.columns) - 1
        if block.count(separator) == rows * between:
            return True
        if len(block) > 2 * PIECE_BYTES:
            return False
        return all(line.count(separator) == between or not line.strip(b"\r\n") for line in io.BytesIO(block))

    def _by_row(
        self, block: bytes, file: BinaryIO, first: int, skipped: Skipped
    ) -> tuple[pl.DataFrame, list[int], int]:
        """The rows of the header's width as text, their lines, and the line behind the last of them.

        A row that does not end within the block, because of a quote, is read to its end in the file.
        """
        rows, lines = [], []
        pending = _Lines(block, file)
        reader = csv.reader(pending, delimiter=self.separator)
        try:
            for row in reader:
                line = first + reader.line_num - 1
                what = why_not(row, len(self.columns))
                if what is None:
                    rows.append(row)
                    lines.append(line)
                else:
                    skipped.add([line], what)
                if not pending.within:
                    break
        except csv.Error as error:
            where = f"{self.path}: line {first + reader.line_num - 1}"
            raise FormatError(f"not CSV: {error}", where=where, hint=OPEN_QUOTE) from error
        wanted = {column: self.columns.index(column) for column in (*self.texts, *self.numeric)}
        cells = {column: [(row[i] or None) if row else None for row in rows] for column, i in wanted.items()}
        table = pl.DataFrame(cells, schema=dict.fromkeys(wanted, pl.String))
        return with_points(table, self.numeric, self.decimal), lines, first + reader.line_num


class _Lines:
    """The lines of a block, and then those of the file behind it."""

    def __init__(self, block: bytes, file: BinaryIO) -> None:
        self.left = block.count(b"\n") + (not block.endswith(b"\n"))
        self.block, self.file = io.BytesIO(block), file

    @property
    def within(self) -> bool:
        """Whether there are lines of the block left."""
        return self.left > 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.block.readline() if self.left > 0 else self.file.readline()
        if not line:
            raise StopIteration
        self.left -= 1
        return line.decode(errors="surrogateescape")


def _take(file: BinaryIO, size: int) -> bytes:
    """About so many bytes, up to the end of a line."""
    return file.read(size) + file.readline()


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def with_points(table: pl.DataFrame, numeric: Sequence[str], decimal: str) -> pl.DataFrame:
    """The table with a point as decimal sign in those numbers that are still text."""
    if decimal != ",":
        return table
    worded = [column for column in numeric if table[column].dtype == pl.String]
    return table.with_columns(pl.col(worded).str.replace(",", ".", literal=True))
