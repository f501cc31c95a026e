"""One Parquet file, read column by column as Float32 so that no wider copy of the table is ever held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from wearcast import frames
from wearcast.datasets.csvfile import cell_kind
from wearcast.datasets.mapping import ColumnKind
from wearcast.errors import DataError, FormatError

__all__ = ["ParquetFile", "open_parquet"]

SAMPLE_ROWS = 1000
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
BATCH_CELLS = 10_000_000  # decoded at a time: 80 MB of Float64


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file whose columns are known.

    Attributes:
        path: the file.
        columns: names.
        kinds: what each column holds.
        types: Polars types of the columns.
        partition: columns that the folders' names hold (`site=west/`) and the file does not.
    """

    path: Path
    columns: tuple[str, ...]
    kinds: dict[str, ColumnKind]
    types: dict[str, pl.DataType]
    partition: dict[str, str | None] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """How errors call it."""
        return str(self.path)

    def read(self, numeric: Sequence[str], texts: Sequence[str]) -> pl.DataFrame:
        """The columns named: `numeric` as Float32, `texts` as they are.

        Raises:
            FormatError: the file is damaged, or a numeric column holds lists or the like.
            FleetError: a cell of a numeric column is not a finite number; the message has the row and the column.
        """
        apart = [column for column in (*numeric, *texts) if column in self.partition]
        if apart:
            return self._with_partition(numeric, texts, apart)
        nested = next((column for column in (*numeric, *texts) if self.types[column].is_nested()), None)
        if nested is not None:
            raise FormatError(
                f"{self.types[nested]} is neither a number nor text", where=f"{self.path}: column {nested!r}"
            )
        # Cast while the file is read: the fleet then takes the columns as they are, without a copy.
        casts = [pl.col(c).cast(pl.Float32) if self.types[c].is_numeric() else pl.col(c) for c in numeric]
        keys = [pl.col(c).cast(pl.Int64) if self.types[c].is_integer() else pl.col(c) for c in texts]
        table = pl.DataFrame(list(self._columns([*keys, *casts])))
        for column in numeric:
            clean = frames.numbers(table[column], str(self.path))
            if clean.dtype != table[column].dtype:
                table = table.with_columns(clean)
        return table

    @property
    def n_rows(self) -> int:
        """Number of rows, as the file's own footer says it."""
        try:
            return int(pl.scan_parquet(self.path, glob=False).select(pl.len()).collect().item())
        except pl.exceptions.PolarsError as error:
            raise _damaged(self.path, error) from error

    def slice(self, start: int, stop: int, wanted: Sequence[pl.Expr]) -> pl.DataFrame:
        """Rows from `start` to before `stop`.

        Raises:
            FormatError: the file is damaged.
        """
        try:
            return pl.scan_parquet(self.path, glob=False).slice(start, stop - start).select(wanted).collect()
        except pl.exceptions.PolarsError as error:
            raise _damaged(self.path, error) from error

    def _with_partition(self, numeric: Sequence[str], texts: Sequence[str], apart: Sequence[str]) -> pl.DataFrame:
        inside = [[column for column in columns if column not in apart] for columns in (numeric, texts)]
        table = replace(self, partition={}).read(*inside)
        constant = [pl.Series(column, [self.partition[column]], dtype=pl.String) for column in apart]
        constant = [frames.numbers(cell, str(self.path)) if cell.name in numeric else cell for cell in constant]
        return table.with_columns(pl.lit(cell).first().alias(cell.name) for cell in constant).select(*texts, *numeric)

    def _columns(self, wanted: Sequence[pl.Expr]) -> Iterator[pl.Series]:
        """A few columns at a time, so that what is decoded wider than Float32 is never the whole table."""
        file = pl.scan_parquet(self.path, glob=False)
        together = max(1, BATCH_CELLS // max(self.n_rows, 1))
        try:
            for start in range(0, len(wanted), together):
                for column in file.select(wanted[start : start + together]).collect():
                    # In one piece: columns in pieces of different sizes would be copied all together later.
                    yield column.rechunk()
        except pl.exceptions.PolarsError as error:
            raise _damaged(self.path, error) from error


def open_parquet(path: Path, root: Path | None = None) -> ParquetFile:
    """Look at the columns of a Parquet file.

    Args:
        path: the file.
        root: the folder that was named; names of folders below it, such as `site=west`, are columns.

    Raises:
        FormatError: empty, truncated or not Parquet.
    """
    try:
        if path.stat().st_size == 0:
            raise FormatError("the file is empty", where=str(path), hint="write or copy it again")
        # Opened here: Polars would take the brackets in a name for a pattern.
        with path.open("rb") as file:
            schema = pl.read_parquet_schema(file)
        head = pl.scan_parquet(path, glob=False).head(SAMPLE_ROWS)
        worded = [
            column for column, kind in schema.items() if kind == pl.String or isinstance(kind, pl.Enum | pl.Categorical)
        ]
        sample = head.select(pl.col(worded).cast(pl.String)).collect() if worded else pl.DataFrame()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except pl.exceptions.PolarsError as error:
        raise _damaged(path, error) from error
    kinds: dict[str, ColumnKind] = {}
    for column, kind in schema.items():
        if kind.is_numeric() or kind in (pl.Boolean, pl.Null):
            kinds[column] = "number"
        elif column in worded:
            kinds[column] = cell_kind(sample[column].to_list())
        else:
            kinds[column] = "time" if kind.is_temporal() else "text"
    partition = {column: cell for column, cell in _partition(path, root).items() if column not in schema}
    kinds |= dict.fromkeys(partition, "text")  # never a sensor unless it is named as one
    return ParquetFile(path, (*schema, *partition), kinds, dict(schema), partition)


def _partition(path: Path, root: Path | None) -> dict[str, str | None]:
    if root is None or not path.is_relative_to(root):
        return {}
    pairs = (part.split("=", 1) for part in path.relative_to(root).parts[:-1] if "=" in part)
    return {key: None if cell == _NO_VALUE else unquote(cell) for key, cell in pairs}


def _damaged(path: Path, error: Exception) -> FormatError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return FormatError(f"truncated or not Parquet: {reason}", where=str(path), hint="copy the file again")
