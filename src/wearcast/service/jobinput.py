"""What a batch job was sent, whatever its form, as one table sorted by unit and time, and its portions."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast.service.ipc import BadStreamError, check_stream
from wearcast.service.layout import Accepted, UnitReadings
from wearcast.service.parsing import Asked, RequestLimits, read_forecast
from wearcast.service.problems import Problem
from wearcast.service.tables import read_table

__all__ = ["InputForm", "Portion", "count_units", "portions", "read_input", "units_of"]

InputForm = Literal["json", "arrow", "parquet", "csv"]

MOST_CELLS = 30_000_000
"""Of one job: 240 MB as it is read. Larger files are for `wearcast predict`, which reads them in portions."""
MOST_COLUMNS = 4_096
UNITS, ROWS = 1_000, 100_000
"""Of a portion."""
BATCH_UNITS, BATCH_ROWS = 64, 20_000
"""Forecast at a time, so that requests do not wait long for the processor."""


@dataclass(frozen=True)
class Portion:
    """Rows of the table that belong to some units.

    Attributes:
        number: from 0.
        first, stop: rows.
        units: how many.
    """

    number: int
    first: int
    stop: int
    units: int


def read_input(path: Path, form: InputForm, accepted: Accepted) -> tuple[pl.DataFrame, str | None, int | None]:
    """The table, and which model and step a JSON body asks for.

    Raises:
        Problem: it cannot be read, or something in it is wrong.
    """
    if form == "json":
        return _from_json(path, accepted)
    try:
        table = _table(path, form, accepted)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, UnicodeDecodeError) as error:
        said = re.sub(r"(/[\w.-]+){2,}", "…", (str(error).splitlines() or [type(error).__name__])[0])[:200]
        raise Problem.at("bad-request", "body", f"not a table in the form {form}: {said}") from None
    lacking = [name for name in ("unit", "time") if name not in table.columns]
    if lacking:
        what = f"column {lacking[0]!r} is missing"
        raise Problem.at("bad-input", "columns", what, "send a long table: unit, time and a column a sensor")
    if table["unit"].null_count() or table["time"].null_count():
        raise Problem.at("bad-input", "columns", "a row has no unit or no time", "give both in each row")
    if table.height == 0:
        raise Problem.at("bad-input", "body", "there are no rows", "send at least one reading")
    return table.sort("unit", "time", maintain_order=True), None, None


def _table(path: Path, form: InputForm, accepted: Accepted) -> pl.DataFrame:
    if form == "arrow":
        body = path.read_bytes()
        try:
            check_stream(body, most_rows=MOST_CELLS, most_columns=MOST_COLUMNS)
        except BadStreamError as error:
            raise Problem.at("bad-arrow", error.where, error.what, error.hint) from None
        table = pl.read_ipc_stream(io.BytesIO(body))
        _check_size(table.height, table.width)
        return table
    if form == "parquet":
        lazy = pl.scan_parquet(path, glob=False)
    else:
        lazy = pl.scan_csv(path, glob=False, infer_schema_length=None, try_parse_dates=accepted.is_clock)
    width = len(lazy.collect_schema())
    _check_size(int(lazy.select(pl.len()).collect().item()), width)
    table = lazy.collect()
    numbers = [name for name in table.columns if name in accepted.columns - accepted.texts]
    empty = [name for name in numbers if table[name].null_count() == table.height]
    return table.with_columns(pl.col(empty).cast(pl.Float64)) if empty else table


def _check_size(rows: int, width: int) -> None:
    if rows * width > MOST_CELLS or width > MOST_COLUMNS:
        what = f"{rows} rows of {width} columns are more than the {MOST_CELLS} cells of one job"
        raise Problem.at("too-much", "body", what, "send it in several jobs")


def _from_json(path: Path, accepted: Accepted) -> tuple[pl.DataFrame, str | None, int | None]:
    most = RequestLimits(units=MOST_CELLS, rows=MOST_CELLS, forecasts=MOST_CELLS)
    asked: Asked = read_forecast(path.read_bytes(), accepted, most)
    lengths = [len(one.time) for one in asked.units]
    names = sorted({name for one in asked.units for name in (*one.names, *one.texts)})
    _check_size(sum(lengths), len(names))
    mixed = len({type(one.unit) for one in asked.units}) > 1
    units = pl.Series("unit", [str(one.unit) if mixed else one.unit for one in asked.units])
    time = pl.Series("time", np.concatenate([one.time for one in asked.units]))
    table = pl.DataFrame(
        {
            "unit": units.gather(np.repeat(np.arange(len(units)), lengths)),
            "time": time.cast(pl.Datetime("us")) if accepted.is_clock else time,
            **{name: _joined(asked.units, name, text=name in accepted.texts) for name in names},
        }
    )
    return table.sort("unit", "time", maintain_order=True), asked.model, asked.every


def _joined(units: list[UnitReadings], name: str, *, text: bool) -> pl.Series:
    """A column of all units; of a unit that has it not, missing."""
    if text:
        values = [one.texts.get(name) for one in units for _ in range(len(one.time))]
        return pl.Series(name, values, dtype=pl.String)
    parts: list[NDArray[np.float32]] = [
        one.values[one.names.index(name)] if name in one.names else np.full(len(one.time), np.nan, dtype=np.float32)
        for one in units
    ]
    return pl.Series(name, np.concatenate(parts)).fill_nan(None)


def portions(table: pl.DataFrame) -> Iterator[Portion]:
    """Whole units, some at a time; the same each time for the same table."""
    starts = _starts(table)
    number = first = 0
    for at, end in enumerate(np.append(starts[1:], table.height).tolist()):
        begin, units = int(starts[first]), at + 1 - first
        if at + 1 == len(starts) or units >= UNITS or end - begin >= ROWS:
            yield Portion(number, begin, end, units)
            number, first = number + 1, at + 1


def count_units(table: pl.DataFrame) -> int:
    """Number of units."""
    return len(_starts(table))


def _starts(table: pl.DataFrame) -> NDArray[np.intp]:
    unit = table["unit"]
    return np.flatnonzero((unit != unit.shift(1)).fill_null(True).to_numpy())


def units_of(table: pl.DataFrame, portion: Portion, accepted: Accepted) -> Iterator[list[UnitReadings]]:
    """The units of a portion in small batches, checked as those of a request are.

    Raises:
        Problem: something is wrong with them.
    """
    most = RequestLimits(units=UNITS, rows=MOST_CELLS, forecasts=MOST_CELLS)
    buffer = io.BytesIO()
    rows = table[portion.first : portion.stop]
    rows.write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
    units = read_table(buffer.getvalue(), accepted, most).units
    edges = [0]
    size = 0
    for i, one in enumerate(units):
        size += len(one.time)
        if i + 1 - edges[-1] >= BATCH_UNITS or size >= BATCH_ROWS:
            edges.append(i + 1)
            size = 0
    if edges[-1] < len(units):
        edges.append(len(units))
    for a, b in pairwise(edges):
        yield units[a:b]
