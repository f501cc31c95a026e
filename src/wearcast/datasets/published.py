"""One CSV file of a published set: found loose, in a folder or in the zip, and read as text cells by line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from wearcast.datasets.archive import open_archive
from wearcast.errors import FormatError

__all__ = ["check_rows", "line_of", "read_cells", "read_member", "read_numbers_strict"]


def read_member(place: Path, member: str) -> tuple[bytes, str]:
    """The bytes of the file `member` under `place`, and how errors call it.

    Raises:
        SourceNotFoundError: neither a folder nor a zip under `place` holds it.
        FormatError: the zip is damaged.
    """
    with open_archive(place, member) as archive:
        return archive.read(member), archive.where(member)


def read_cells(data: bytes, *, separator: str, where: str) -> pl.DataFrame:
    """The cells as text, one column a name in the header; an empty cell is null.

    Row `i` of the table is line `i + 2` of the file, so that `line_of` can name it.

    Raises:
        FormatError: empty, not UTF-8 text, a doubled column, an empty line in between, or a row of another width.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise FormatError(f"byte {data[error.start]:#04x} is not UTF-8", where=f"{where}: line {line}") from error
    if not text.strip():
        raise FormatError("the file is empty", where=where)
    reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), delimiter=separator, quoting=csv.QUOTE_NONE)
    try:
        header, *rows = list(reader)
    except csv.Error as error:
        raise FormatError(f"not CSV: {error}", where=f"{where}: line {reader.line_num}") from error
    names = [name.strip() for name in header]
    if len(set(names)) < len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise FormatError(f"column {doubled!r} is there twice", where=f"{where}: line 1")
    for row, cells in enumerate(rows):
        if len(cells) != len(names):
            raise FormatError(
                f"{len(cells)} cells, but the header has {len(names)}",
                where=f"{where}: line {line_of(row)}",
                hint="the last row is cut off: copy the file again" if row + 1 == len(rows) else None,
            )
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    series = (pl.Series(name, cells, pl.String).str.strip_chars() for name, cells in zip(names, columns, strict=True))
    table = pl.DataFrame(list(series))
    return table.with_columns(pl.when(pl.all() != "").then(pl.all()))


def line_of(row: int) -> int:
    """Line in the file of a row of the table: one on for the header, one because people count from 1."""
    return row + 2


def read_numbers_strict(table: pl.DataFrame, columns: Sequence[str], *, where: str) -> pl.DataFrame:
    """These columns as Float64; each cell is a finite number.

    Raises:
        FormatError: an empty cell, text or an infinity, named by line and column.
    """
    numbers = table.select(pl.col(columns).cast(pl.Float64, strict=False))
    for column in columns:
        bad = ~numbers[column].is_finite().fill_null(False)
        if bad.any():
            row = int(bad.arg_true()[0])
            cell = table[column][row]
            raise FormatError(
                f"{cell!r} is not a number" if cell else "the cell is empty",
                where=f"{where}: line {line_of(row)}, column {column!r}",
            )
    return numbers


def check_rows(table: pl.DataFrame, expected: int | None, *, where: str) -> None:
    """Hold the number of rows to the published one, None for any number.

    Raises:
        FormatError: no rows at all, or another number.
    """
    if table.height == 0:
        raise FormatError("there are no rows below the header", where=where)
    if expected is not None and table.height != expected:
        raise FormatError(
            f"{table.height} rows, but {expected} were published",
            where=where,
            hint="the file is cut off or changed; for a part of it on purpose set expected_rows to its number of rows",
        )
