"""One CSV file: separator and decimal sign are found out, rows are read fast or, where that fails, with care."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeVar

import polars as pl

from wearcast import frames
from wearcast.datasets.csvblocks import OPEN_QUOTE, CsvBlocks, with_points
from wearcast.datasets.mapping import ColumnKind
from wearcast.datasets.skipping import Skipped, is_damaged, numbers_of_batch, readable, why_not
from wearcast.errors import DataError, FleetError, FormatError

__all__ = ["CsvFile", "cell_kind", "open_csv"]

T = TypeVar("T")
SAMPLE_ROWS = 1000
BATCH_ROWS = 50_000
AS_TEXT_BYTES = 1 << 30
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|NaN|NAN|inf|Inf|INF)")
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_POINT_NUMBER = re.compile(r"[+-]?\d+\.\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_TIME = re.compile(r"\d{4}-\d\d?-\d\d?|\d{4}/\d\d?/\d\d?|\d\d?[./-]\d\d?[./-]\d{2,4}")


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose shape is known.

    Attributes:
        path: the file.
        columns: names in the header, one blank where there are several or a line break, none around; a column without
            a name is `column_N`.
        kinds: what the cells of each column look like, from the first rows.
        separator: between the columns.
        decimal: the decimal sign.
        header_lines: lines before the first row.
        plain: whether lines end as Polars expects.
    """

    path: Path
    columns: tuple[str, ...]
    kinds: dict[str, ColumnKind]
    separator: str
    decimal: str
    header_lines: int
    plain: bool = True

    @property
    def where(self) -> str:
        """How errors call it."""
        return str(self.path)

    def read(self, numeric: Sequence[str], texts: Sequence[str], skipped: Skipped | None = None) -> pl.DataFrame:
        """The columns named: `numeric` as Float32, `texts` as text; empty rows are still there.

        Args:
            numeric, texts: columns.
            skipped: takes the rows that cannot be read, which are then left out; without it they are refused.

        Raises:
            FormatError: a row has too many or too few cells, or is not UTF-8.
            FleetError: a cell of a numeric column is not a finite number; the message has the row and the column.
        """
        if skipped is not None and self.plain:
            how = (self.path, self.columns, self.separator, self.decimal, self.header_lines)
            return CsvBlocks(*how, numeric, texts).read(skipped)
        table = None
        # A large file is not read as text as a whole: it would take several times its size.
        tries = (True, False) if self.path.stat().st_size < AS_TEXT_BYTES else (True,)
        for typed in tries if self.plain else ():
            table = self._fast(numeric if typed else (), (*texts, *numeric))
            if table is not None:
                break
        if table is None:
            return self._careful(numeric, texts, skipped)
        table = with_points(table.select(*texts, *numeric), numeric, self.decimal)
        try:
            return table.select(*texts, *(frames.numbers(table[column], str(self.path)) for column in numeric))
        except FleetError as error:
            raise self._with_line(error) from error

    def _with_line(self, error: FleetError) -> FleetError:
        """The same error, with the line of its row and the way around it."""
        found = re.search(r"row (\d+), column", error.where or "")
        if found is None:
            return error
        with self.path.open("rb") as file:
            quoted = any(b'"' in line for line in islice(file, self.header_lines + int(found[1])))
        # A row with a line break between quotes takes several lines.
        row = next(islice(self._rows(), int(found[1]) - 1, None), None) if quoted else None
        line = self.header_lines + int(found[1]) if row is None else row[0]
        way = f"line {line}; --on-error skip leaves such rows out"
        return FleetError(error.what, where=error.where, hint=f"{error.hint}; {way}" if error.hint else way)

    def _fast(self, numeric: Sequence[str], wanted: Sequence[str]) -> pl.DataFrame | None:
        """Read by Polars, `numeric` as Float32 and the rest as text; None if a cell or row is not as it should be."""
        lazy = pl.scan_csv(
            self.path,
            has_header=False,
            skip_lines=self.header_lines,
            schema={column: pl.Float32 if column in numeric else pl.String for column in self.columns},
            separator=self.separator,
            decimal_comma=self.decimal == ",",
            raise_if_empty=False,
            glob=False,
        )
        # A row that ends early shows in its last cell, so that column is always read.
        columns = list(dict.fromkeys((*wanted, self.columns[-1])))
        try:
            read = lazy.select(columns).collect()
        except pl.exceptions.PolarsError:
            return None
        if read[self.columns[-1]].null_count() and self._has_short_rows():
            return None
        return read

    def _has_short_rows(self) -> bool:
        width, separator = len(self.columns), self.separator.encode()
        with self.path.open("rb") as file:
            for line in islice(file, self.header_lines, None):
                if b'"' in line:  # a separator between quotes does not separate
                    return any(row and len(row) != width for _, row in self._rows())
                if line.count(separator) + 1 != width and line.strip(b"\r\n"):
                    return True
        return False

    def _careful(self, numeric: Sequence[str], texts: Sequence[str], skipped: Skipped | None) -> pl.DataFrame:
        """Row by row, in batches, so that no more than one of them is held as text."""
        wanted = {column: self.columns.index(column) for column in (*texts, *numeric)}
        schema = dict.fromkeys(wanted, pl.String)
        parts: list[pl.DataFrame] = []
        offset = 0
        for rows, lines in self._batches(skipped):
            cells = {column: [(row[i] or None) if row else None for row in rows] for column, i in wanted.items()}
            batch = with_points(pl.DataFrame(cells, schema=schema), numeric, self.decimal)
            if skipped is None:
                parts.append(numbers_of_batch(batch, numeric, offset, str(self.path)))
            else:
                parts.append(readable(batch, numeric, lines, skipped))
            offset += len(rows)
        if not parts:
            return pl.DataFrame(schema={column: pl.Float32 if column in numeric else pl.String for column in wanted})
        return pl.concat(parts)

    def _batches(self, skipped: Skipped | None) -> Iterator[tuple[list[list[str]], list[int]]]:
        """Rows of the header's width and their lines."""
        rows: list[list[str]] = []
        lines: list[int] = []
        width, short = len(self.columns), None
        for line, row in self._rows(damaged=skipped is not None):
            if short is not None:
                raise short
            what = why_not(row, width, damaged=skipped is not None)
            if what is not None and skipped is not None:
                skipped.add([line], what)
            elif what is not None:
                where = f"{self.path}: line {line}"
                if len(row) > width:
                    hint = f"a cell that holds {self.separator!r} must stand in double quotes"
                    raise FormatError(what, where=where, hint=hint)
                short = FormatError(what, where=where, hint="a missing reading is an empty cell, not no cell")
            else:
                rows.append(row)
                lines.append(line)
            if len(rows) == BATCH_ROWS:
                yield rows, lines
                rows, lines = [], []
        if short is not None:
            raise FormatError(short.what, where=short.where, hint="the last row is cut off: copy the file again")
        if rows:
            yield rows, lines

    def _rows(self, *, damaged: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Line and cells of each row below the header; bytes that are not UTF-8 only where rows may be `damaged`."""
        with _opened(self.path, errors="surrogateescape" if damaged else "strict") as file:
            reader = csv.reader(file, delimiter=self.separator)
            next(reader, None)
            for row in _guarded(reader, self.path):
                yield reader.line_num, row


def open_csv(path: Path, *, separator: str | None = None, decimal: str | None = None, damaged: bool = False) -> CsvFile:
    """Look at the first rows of a CSV file.

    Args:
        path: the file.
        separator, decimal: found out unless given.
        damaged: whether rows below the header may hold bytes that are not UTF-8, because they will be left out.

    Raises:
        FormatError: empty, not UTF-8 text, no header, a column twice, or a decimal sign that is not plain.
    """
    with _opened(path, errors="surrogateescape" if damaged else "strict") as file:
        text = "".join(islice(_guarded(file, path), SAMPLE_ROWS + 1))
    if not text.strip():
        raise FormatError("the file is empty", where=str(path), hint="write or copy it again")
    if "\0" in text:
        raise FormatError("this is not text", where=str(path), hint="CSV, TSV and Parquet files are read")
    separator = separator or _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = _guarded(reader, path)
    names = next(iter(rows))
    header_lines = reader.line_num
    if is_damaged(names):
        raise FormatError("the header is not UTF-8", where=str(path), hint="save it as UTF-8")
    columns = _header(names, path)
    sample = [row for row in rows if len(row) == len(columns)]
    decimal = decimal or _decimal(sample, separator, path)
    cells = {column: [row[i] for row in sample] for i, column in enumerate(columns)}
    kinds = {column: cell_kind(values, decimal) for column, values in cells.items()}
    plain = not (text.count("\r") > text.count("\r\n"))
    return CsvFile(path, columns, kinds, separator, decimal, header_lines, plain)


def cell_kind(cells: Sequence[str | None], decimal: str = ".") -> ColumnKind:
    """What the cells of a column look like: numbers, mostly numbers, timestamps or text.

    A column without any filled cell counts as numbers: a sensor that is not there yet.
    """
    filled = [cell for cell in ((cell or "").strip() for cell in cells) if cell not in frames.MISSING]
    if decimal == ",":
        filled = [cell.replace(",", ".", 1) for cell in filled]
    numbers = sum(_NUMBER.fullmatch(cell) is not None for cell in filled)
    if numbers == len(filled):
        return "number"
    if filled and all(_TIME.match(cell) for cell in filled[:100]):
        return "time"
    return "mostly_number" if numbers * 2 >= len(filled) else "text"


@contextmanager
def _opened(path: Path, errors: str = "strict") -> Iterator[TextIO]:
    try:
        with path.open("rb") as raw:
            start = raw.read(4096)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise FormatError("the text is UTF-16", where=str(path), hint="save it as UTF-8")
        if start[:4] == b"PAR1":
            raise FormatError("this is a Parquet file", where=str(path), hint="end its name in .parquet")
        if start[:2] in (b"PK", b"\x1f\x8b") or b"\0" in start:
            raise FormatError("this is not text", where=str(path), hint="CSV, TSV and Parquet files are read")
        with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _guarded(rows: Iterator[T], path: Path) -> Iterator[T]:
    """The rows, with the complaints of Python's decoder and csv module in our words."""
    number = 0
    try:
        for row in rows:
            number += 1
            yield row
    except UnicodeDecodeError as error:
        raise FormatError(
            f"byte {error.object[error.start]:#04x} is not UTF-8",
            where=f"{path}: after row {number}",
            hint="save it as UTF-8",
        ) from error
    except csv.Error as error:
        where = f"{path}: after row {number}"
        raise FormatError(f"not CSV: {error}", where=where, hint=OPEN_QUOTE) from error


def _separator(text: str) -> str:
    """The separator that cuts the header and most of the rows into the same number of cells.

    The comma comes last: between other separators it is a decimal sign or part of a name.
    """
    head = text[:100_000]
    widths: dict[str, int] = {}
    for separator in "\t;|,":
        rows = [row for row in islice(csv.reader(io.StringIO(head, newline=""), delimiter=separator), 21) if row]
        widths[separator] = len(rows[0]) if rows else 0
        agree = Counter(len(row) for row in rows[1:]).get(widths[separator], 0)
        if widths[separator] > 1 and agree * 2 > len(rows) - 1:
            return separator
    widest = max(widths, key=lambda separator: widths[separator])
    return widest if widths[widest] > 1 else ","


def _header(names: Sequence[str], path: Path) -> tuple[str, ...]:
    # A line break within a name, as spreadsheets have them, counts as a blank.
    columns = tuple(" ".join(name.split()) or f"column_{i}" for i, name in enumerate(names, start=1))
    if all(_NUMBER.fullmatch(name) or _COMMA_NUMBER.fullmatch(name) for name in columns):
        raise FormatError(
            "the first row is numbers, not column names", where=str(path), hint="write the names into the first row"
        )
    doubled = next((name for name, count in Counter(columns).items() if count > 1), None)
    if doubled is not None:
        raise FormatError(f"column {doubled!r} is there twice", where=str(path), hint="rename one of them")
    return columns


def _decimal(sample: Sequence[Sequence[str]], separator: str, path: Path) -> str:
    if separator == ",":
        return "."
    cells = [cell.strip() for row in sample for cell in row]
    commas = [cell for cell in cells if _COMMA_NUMBER.fullmatch(cell) or _THOUSANDS.fullmatch(cell)]
    if not commas:
        return "."
    point = next((cell for cell in cells if _POINT_NUMBER.fullmatch(cell)), None)
    hint = "name the decimal sign in the mapping: decimal: ','"
    if point is not None:
        raise FormatError(f"both {commas[0]!r} and {point!r} look like numbers", where=str(path), hint=hint)
    if all(_THOUSANDS.fullmatch(cell) for cell in commas):
        raise FormatError(f"{commas[0]!r} may be a decimal or thousands", where=str(path), hint=hint)
    return ","
