"""Tables of numbers as text: blanks between the columns, no header."""

from __future__ import annotations

import io
from collections.abc import Sequence

import polars as pl

from wearcast.errors import FormatError

__all__ = ["read_numbers"]


def read_numbers(data: bytes, columns: Sequence[str], *, whole: Sequence[str], where: str) -> pl.DataFrame:
    """Numbers between blanks as a table; the columns in `whole` as Int64, the others as Float32.

    Args:
        data: the bytes of the file; any number of blanks between numbers and at the ends of lines.
        columns: their names.
        whole: the ones that are whole numbers.
        where: how errors call the file.

    Raises:
        FormatError: no lines, a line of another width, or a cell that is not a number, named by line and column.
    """
    types: dict[str, type[pl.DataType]] = {column: pl.Int64 if column in whole else pl.Float32 for column in columns}
    table = _regular(data, types)
    return table if table is not None else _irregular(data, types, where)


def _regular(data: bytes, types: dict[str, type[pl.DataType]]) -> pl.DataFrame | None:
    """The fast way: one blank between numbers and the same number of blanks at the end of each line, else None."""
    first = data[: data.find(b"\n") + 1].rstrip(b"\r\n")
    fields = first.split(b" ")
    trailing = len(fields) - len(types)
    if trailing < 0 or any(fields[len(types) :]):
        return None
    ends = [f"end_{i}" for i in range(trailing)]
    try:
        table = pl.read_csv(
            io.BytesIO(data),
            separator=" ",
            has_header=False,
            schema={**types, **dict.fromkeys(ends, pl.String)},
            quote_char=None,
        )
    except pl.exceptions.PolarsError:
        return None
    counts = table.null_count().row(0, named=True)
    clean = all(counts[c] == 0 for c in types) and all(counts[c] == table.height for c in ends)
    return table.select(list(types)) if clean else None


def _irregular(data: bytes, types: dict[str, type[pl.DataType]], where: str) -> pl.DataFrame:
    """The careful way, line by line, which also finds what is wrong."""
    names = list(types)
    cells: list[list[float]] = [[] for _ in names]
    for number, line in enumerate(data.decode("latin-1").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != len(names):
            raise FormatError(
                f"{len(fields)} columns, but {len(names)} are needed",
                where=f"{where}: line {number}",
                hint="the file is cut off here" if len(fields) < len(names) else "is this another file?",
            )
        for column, (name, field) in enumerate(zip(names, fields, strict=True)):
            try:
                cells[column].append(int(field) if types[name] is pl.Int64 else float(field))
            except ValueError as error:
                raise FormatError(
                    f"{field!r} is not a {'whole ' if types[name] is pl.Int64 else ''}number",
                    where=f"{where}: line {number}, column {column + 1} ({name})",
                ) from error
    if not cells[0]:
        raise FormatError("the file is empty", where=where)
    return pl.DataFrame(cells, schema=types)
