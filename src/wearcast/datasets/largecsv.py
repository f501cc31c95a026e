"""A published CSV that is larger than memory: found by its header, unpacked if need be, scanned lazily."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl
from polars.io.plugins import register_io_source

from wearcast.config import nearest
from wearcast.datasets.archive import Archive, open_archive
from wearcast.datasets.location import DATA_DIR_VARIABLE
from wearcast.errors import DataError, FormatError, SourceNotFoundError

__all__ = ["open_csv_with", "scan_numbers"]

_CSV = ("*.csv", "*.CSV")
_HEADER_BYTES = 1 << 16
_BLOCK_BYTES = 16 << 20
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S%.f"


@contextmanager
def open_csv_with(place: Path, columns: Sequence[str], *, without: Sequence[str] = ()) -> Iterator[Path]:
    """The one CSV at or under `place`, loose or in a zip, whose header has all `columns` and none of `without`.

    A file out of a zip is unpacked into a temporary folder for as long as the context lasts.

    Raises:
        SourceNotFoundError: there is none; the nearest file and a column that it lacks are named.
        FormatError: there are two of them, or a zip is damaged or hostile.
        DataError: there is no room to unpack it.
    """
    with tempfile.TemporaryDirectory(prefix="wearcast-") as folder:
        seen: dict[str, tuple[str, ...]] = {}
        zips = sorted(place.rglob("*.zip")) if place.is_dir() else []
        for source in (place, *zips):
            try:
                with open_archive(source, *_CSV) as archive:
                    path = _choose(archive, columns, without, seen, Path(folder))
            except SourceNotFoundError:
                if source is place:
                    raise
                continue  # a zip of something else
            if path is not None:
                yield path
                return
        raise SourceNotFoundError(_what_is_there(seen, columns, without), where=str(place), hint=_hint(place))


@contextmanager
def scan_numbers(path: Path, *, time: str, numbers: Sequence[str]) -> Iterator[pl.LazyFrame]:
    """A lazy table of `time` (timestamps) and `numbers` (Float32, null where a cell is empty).

    Inside the context a cell that is not what it should be is answered with its row and column.

    Raises:
        FormatError: see above; also if the last row is cut off.
    """
    header = _header_of(path)
    _check_tail(path, len(header))
    schema = pl.Schema([(time, pl.Datetime("us")), *((column, pl.Float32()) for column in numbers)])

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = columns if columns is not None else list(schema)
        for table in _batches(path, header, time, wanted, n_rows):
            yield table if predicate is None else table.filter(predicate)

    try:
        yield register_io_source(source, schema=schema)
    except pl.exceptions.PolarsError as error:
        raise _located(path, header, time, numbers, error) from error


def _batches(
    path: Path, header: Sequence[str], time: str, wanted: Sequence[str], n_rows: int | None
) -> Iterator[pl.DataFrame]:
    """The columns `wanted`, a block of lines at a time.

    Polars' own scanner reads ahead for each core, so that its memory grows with the machine; this one's does not.
    """
    schema = _schema(header, pl.Float32, [column for column in wanted if column != time])
    stamp = pl.col(time).str.to_datetime(_TIME_FORMAT, time_unit="us")
    left = n_rows
    for block in _blocks(path):
        lazy = pl.scan_csv(block, has_header=False, schema=schema, n_rows=left)
        table = lazy.select(stamp if column == time else pl.col(column).fill_nan(None) for column in wanted).collect()
        yield table
        left = None if left is None else left - table.height
        if left == 0:
            return


def _blocks(path: Path) -> Iterator[bytes]:
    """The lines below the header, about `_BLOCK_BYTES` at a time."""
    with path.open("rb") as file:
        file.readline(_HEADER_BYTES)
        while block := file.read(_BLOCK_BYTES):
            lines = block + file.readline(_HEADER_BYTES)  # up to the end of the line that was begun
            if lines.strip():
                yield lines


def _schema(header: Sequence[str], dtype: type[pl.DataType], numbers: Sequence[str]) -> dict[str, type[pl.DataType]]:
    # A column without a name is the writer's row number; it is never read.
    names = [name or f"column_{i}" for i, name in enumerate(header, start=1)]
    return {name: dtype if name in numbers else pl.String for name in names}


def _hint(place: Path) -> str:
    return f"wearcast datasets fetch {place.name}, or set {DATA_DIR_VARIABLE} to the folder that holds {place.name}/"


def _choose(
    archive: Archive, columns: Sequence[str], without: Sequence[str], seen: dict[str, tuple[str, ...]], folder: Path
) -> Path | None:
    """The file that fits, unpacked into `folder` if it is in a zip; the headers of all are put into `seen`."""
    found = []
    for member in archive.find(*_CSV):
        with archive.open(member) as file:
            header = seen[archive.where(member)] = _names(file)
        if _fits(header, columns, without):
            found.append(member)
    if len(found) > 1:
        what = f"{found[0]} and {found[1]} both hold this data set"
        raise FormatError(what, where=str(archive.path), hint="keep one of them")
    if not found:
        return None
    return archive.file(found[0]) or _unpack(archive, found[0], folder)


def _unpack(archive: Archive, member: str, folder: Path) -> Path:
    needed, free = archive.size(member), shutil.disk_usage(folder).free
    if needed > free:
        what = f"{needed / 2**20:.0f} MiB are needed to unpack it, {free / 2**20:.0f} are free in {folder.parent}"
        raise DataError(what, where=archive.where(member), hint="make room, or unpack it beside the zip")
    target = folder / "unpacked.csv"  # never the name in the zip
    # What `open_archive` lets through unpacks to no more than it says.
    with archive.open(member) as file, target.open("wb") as out:
        shutil.copyfileobj(file, out, 1 << 20)
    return target


def _header_of(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            return _names(file)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _names(file: IO[bytes]) -> tuple[str, ...]:
    line = file.readline(_HEADER_BYTES).decode("utf-8-sig", errors="replace")
    return tuple(name.strip() for name in next(csv.reader([line]), []))


def _fits(header: Sequence[str], columns: Sequence[str], without: Sequence[str]) -> bool:
    return set(columns) <= set(header) and not set(without) & set(header)


def _what_is_there(seen: dict[str, tuple[str, ...]], columns: Sequence[str], without: Sequence[str]) -> str:
    usable = {where: header for where, header in seen.items() if not set(without) & set(header)}
    if not usable:
        return "there is no CSV of this data set"
    where, header = max(usable.items(), key=lambda item: len(set(item[1]) & set(columns)))
    lacking = [column for column in columns if column not in header]
    close = nearest(lacking[0], header)
    return f"column {lacking[0]!r} is missing in {Path(where).name}" + (f", {close}" if close else "")


def _check_tail(path: Path, width: int) -> None:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _HEADER_BYTES))
        lines = file.read().rstrip(b"\r\n").split(b"\n")
    cells = lines[-1].count(b",") + 1
    if cells != width:
        raise FormatError(
            f"the last row has {cells} cells, but the header has {width}",
            where=str(path),
            hint="the file is cut off: copy or fetch it again",
        )


def _located(
    path: Path, header: Sequence[str], time: str, numbers: Sequence[str], error: pl.exceptions.PolarsError
) -> FormatError:
    """The first cell that is not what it should be, looked for only once something went wrong."""
    stamp = pl.col(time).str.to_datetime(_TIME_FORMAT, time_unit="us", strict=False)
    bad = {time: stamp.is_null()}
    for column in numbers:
        number = pl.col(column).str.strip_chars().cast(pl.Float32, strict=False)
        bad[column] = number.is_null() & pl.col(column).is_not_null()
    schema = _schema(header, pl.String, numbers)
    text = pl.scan_csv(path, has_header=False, skip_rows=1, schema=schema, glob=False).with_row_index("row")
    try:
        first = text.filter(pl.any_horizontal(*bad.values())).head(1).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return FormatError(f"cannot be read as CSV: {error}", where=str(path))
    if first.height == 0:
        return FormatError(f"cannot be read: {error}", where=str(path))
    marks = first.select(**bad).row(0, named=True)
    column = next(name for name, wrong in marks.items() if wrong)
    cell, row = first[column][0], int(first["row"][0]) + 1
    what = "timestamp" if column == time else "number"
    return FormatError(f"{cell!r} is not a {what}", where=f"{path}: row {row}, column {column!r}")
