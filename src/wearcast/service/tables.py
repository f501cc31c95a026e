"""Arrow streams in and out: a long table `unit`, `time`, columns; read by Polars after `ipc` has checked the frame."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast.schema import UnitId
from wearcast.service.cells import LARGEST_CYCLE, ascending, checked
from wearcast.service.ipc import BadStreamError, check_stream
from wearcast.service.layout import Accepted, UnitReadings
from wearcast.service.parsing import (
    LONGEST_TEXT,
    Asked,
    RequestLimits,
    check_forecasts,
    check_unit,
    once,
    too_many,
)
from wearcast.service.problems import Problem

__all__ = ["read_table", "write_table"]

_MOST_COLUMNS = 4_096


def read_table(
    body: bytes, accepted: Accepted, limits: RequestLimits, model: str | None = None, every: int | None = None
) -> Asked:
    """The body of `POST /v1/forecast` as an Arrow stream.

    Raises:
        Problem: it is not one, or something in it is wrong.
    """
    try:
        check_stream(body, most_rows=limits.rows, most_columns=_MOST_COLUMNS)
    except BadStreamError as error:
        raise Problem.at("bad-arrow", error.where, error.what, error.hint) from None
    table = _read(body)
    units, lengths = _units(table, limits)
    offsets = np.append(0, np.cumsum(lengths)).tolist()
    time = _time(table["time"], accepted, offsets)
    names, values, texts = _columns(table, accepted, offsets)
    found = []
    for i, (unit, a, b) in enumerate(zip(units, offsets[:-1], offsets[1:], strict=True)):
        own = {name: text[i] for name, text in texts.items()} if texts else {}
        found.append(UnitReadings(unit, time[a:b], names, values[:, a:b], own, (), f"unit {unit!r}"))
    check_forecasts(found, every, limits)
    return Asked(found, model, every)


def write_table(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Forecasts as an Arrow stream; flags are joined by `;` as `wearcast predict` writes them."""
    flags = [";".join(row) for row in columns["flags"]]
    buffer = io.BytesIO()
    pl.DataFrame({**columns, "flags": flags}, strict=False).write_ipc_stream(
        buffer, compat_level=pl.CompatLevel.oldest()
    )
    return buffer.getvalue()


def _read(body: bytes) -> pl.DataFrame:
    try:
        table = pl.read_ipc_stream(io.BytesIO(body))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, UnicodeDecodeError) as error:
        raise Problem.at("bad-arrow", "body", f"not an Arrow stream: {_reason(error)}", "send it as written") from None
    lacking = [name for name in ("unit", "time") if name not in table.columns]
    if lacking:
        what = f"column {lacking[0]!r} is missing"
        raise Problem.at("bad-input", "schema", what, "send a long table: unit, time and a column a sensor")
    if table.height == 0:
        raise Problem.at("bad-input", "body", "there are no rows", "send at least one reading")
    return table


def _reason(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"(/[\w.-]+){2,}", "…", text)[:200]


def _units(table: pl.DataFrame, limits: RequestLimits) -> tuple[list[UnitId], NDArray[np.int64]]:
    """Each unit and how many rows it has."""
    unit = table["unit"]
    if not (unit.dtype.is_integer() or unit.dtype in (pl.String, pl.Categorical, pl.Enum)):
        raise Problem.at("bad-input", "column 'unit'", f"units are numbers or text, not {unit.dtype}")
    if unit.null_count():
        row = int(unit.is_null().arg_true()[0])
        raise Problem.at("bad-input", f"row {row + 1}, column 'unit'", "the unit is missing")
    starts = np.flatnonzero(unit.ne(unit.shift(1)).fill_null(True).to_numpy())
    if len(starts) > limits.units:
        raise too_many("units", len(starts), limits.units)
    named = unit.gather(starts).to_list()
    units = [
        check_unit(name, f"row {row + 1}, column 'unit'") for name, row in zip(named, starts.tolist(), strict=True)
    ]
    once(units, "group {} of rows")
    return units, np.diff(np.append(starts, table.height))


def _time(series: pl.Series, accepted: Accepted, offsets: list[int]) -> NDArray[Any]:
    where = "column 'time'"
    is_stamp = series.dtype == pl.Date or isinstance(series.dtype, pl.Datetime)
    if is_stamp != accepted.is_clock or not (is_stamp or series.dtype.is_integer() or series.dtype.is_float()):
        wanted = "timestamps" if accepted.is_clock else "cycle numbers"
        raise Problem.at("bad-input", where, f"expected {wanted}, got {series.dtype}", "as the model counts")
    if series.null_count():
        raise Problem.at("bad-input", f"row {int(series.is_null().arg_true()[0]) + 1}, {where}", "the time is missing")
    time: NDArray[Any]
    if is_stamp:
        if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        time = series.cast(pl.Datetime("us")).to_physical().to_numpy()
    else:
        number = series.cast(pl.Float64).to_numpy()
        if not np.abs(number).max() <= LARGEST_CYCLE:
            row = int(np.argmax(~(np.abs(number) <= LARGEST_CYCLE)))
            what = f"{number[row]:g} is not a cycle number"
            raise Problem.at("bad-input", f"row {row + 1}, {where}", what, "at most 2 to the 53rd")
        whole = number.astype(np.int64)
        time = whole if (whole == number).all() else number
    _check_order(time, series, offsets)
    return time


def _check_order(time: NDArray[Any], series: pl.Series, offsets: list[int]) -> None:
    """One look at all rows; a unit at a time only to say where it is wrong."""
    later = time[1:] > time[:-1]
    later[np.array(offsets[1:-1], dtype=np.intp) - 1] = True
    if later.all():
        return
    row = int(np.argmin(later)) + 1
    first = max(start for start in offsets if start <= row)
    stop = min(end for end in offsets if end > row)
    ascending(
        time[first:stop],
        f"rows from {first + 1}, column 'time', reading ",
        series[first:stop].cast(pl.String).to_list(),
    )


def _columns(
    table: pl.DataFrame, accepted: Accepted, offsets: list[int]
) -> tuple[tuple[str, ...], NDArray[np.float32], dict[str, list[str | None]]]:
    """Names and readings of the columns of numbers, and each static text by unit."""
    names = [name for name in table.columns if name not in ("unit", "time")]
    if unknown := set(names) - accepted.columns:
        raise accepted.refuse(unknown, "schema")
    texts = {name: _text(table[name], offsets) for name in names if name in accepted.texts}
    numbers = tuple([name for name in names if name not in texts])
    for name in numbers:
        if not (table[name].dtype.is_integer() or table[name].dtype.is_float()):
            what = f"expected numbers, got {table[name].dtype}"
            raise Problem.at("bad-input", f"column {name!r}", what, "cast the column; null where a reading is missing")
    single = all(table[name].dtype == pl.Float32 for name in numbers)
    block = np.empty((len(numbers), table.height), dtype=np.float32 if single else np.float64)
    for i, name in enumerate(numbers):
        block[i] = table[name].to_numpy()  # null becomes NaN
    return numbers, checked(block, lambda i, row: f"row {row + 1}, column {numbers[i]!r}"), texts


def _text(series: pl.Series, offsets: list[int]) -> list[str | None]:
    """The text of each unit."""
    where = f"column {series.name!r}"
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise Problem.at("bad-input", where, f"expected text, got {series.dtype}")
    text = series.cast(pl.String)
    same = text.eq_missing(text.shift(1)).to_numpy().copy()
    same[offsets[:-1]] = True
    if not same.all():
        row = int(np.argmin(same))
        raise Problem.at("bad-input", f"row {row + 1}, {where}", "a static column changes within a unit")
    if int(text.str.len_bytes().max() or 0) > LONGEST_TEXT:  # type: ignore[arg-type]
        raise Problem.at("bad-input", where, f"a text is longer than {LONGEST_TEXT} bytes")
    found: list[str | None] = text.gather(offsets[:-1]).to_list()
    return found
