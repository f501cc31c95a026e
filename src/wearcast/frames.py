"""The border: a table of any kind becomes a checked, sorted Polars table with fixed names and types."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

import polars as pl

from wearcast.errors import FleetError, FormatError
from wearcast.schema import EVENT_KINDS, FleetSchema, Note, Outcome

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    AnyFrame = pl.DataFrame | pd.DataFrame | pa.Table

__all__ = ["check_events", "end_events", "prepare", "to_polars"]


def to_polars(frame: AnyFrame, name: str = "frame") -> pl.DataFrame:
    """A pandas or Arrow table as Polars; a Polars table as it is.

    Raises:
        FormatError: it is none of these.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    kind = f"{type(frame).__module__.split('.')[0]}.{type(frame).__name__}"
    if kind not in ("pandas.DataFrame", "pyarrow.Table"):
        raise FormatError(f"a pandas, Polars or Arrow table is needed, not {kind}", where=name)
    doubled = [str(c) for c, n in Counter(map(str, getattr(frame, "column_names", frame.columns))).items() if n > 1]
    if doubled:
        raise FormatError(f"column {doubled[0]!r} is there twice", where=name, hint="rename one of them")
    return cast(pl.DataFrame, pl.from_pandas(frame) if kind.startswith("pandas") else pl.from_arrow(frame))


def prepare(
    table: pl.DataFrame, schema: FleetSchema, *, unit: str, time: str, name: str
) -> tuple[pl.DataFrame, FleetSchema, tuple[Note, ...]]:
    """Check the columns, give them fixed names and types, sort by unit and time.

    Returns the table with columns `unit`, `time` and the schema's, the schema, and what was repaired.

    Raises:
        FleetError: see `wearcast.Fleet.from_frame`.
    """
    _check_columns(table, schema, unit=unit, time=time, name=name)
    if table.height == 0:
        raise FleetError("there are no rows", where=name)
    columns = [_unit(table[unit], name).alias("unit"), _time(table[time], schema, name).alias("time")]
    columns += [_number(table[column], name) for column in schema.numeric]
    columns += [_static(table[column], name) for column in schema.statics]
    frame = pl.DataFrame(columns)
    notes = []
    frame, moved = _sorted(frame)
    if moved:
        notes.append(Note("unsorted", moved, f"{moved} rows were not in order of unit and time; sorted"))
    _check_keys(frame, name)
    _check_statics(frame, schema, name)
    missing = sum(int(frame[c].null_count() + frame[c].is_nan().sum()) for c in schema.numeric)
    if missing:
        notes.append(Note("missing", missing, f"{missing} readings are missing; the last known value is held"))
        frame = frame.with_columns(pl.col(schema.numeric).fill_null(float("nan")))
    return frame, schema, tuple(notes)


def end_events(frame: pl.DataFrame, outcome: Outcome, name: str) -> pl.DataFrame:
    """Events of a fleet in which every history ends with the end of life, or in which every unit still runs."""
    last = frame.group_by("unit", maintain_order=True).agg(pl.col("time").last())
    if outcome == "censored":
        last = last.clear()
    elif outcome != "last_row":
        raise FleetError(f"events must be 'last_row', 'censored' or a table, not {outcome!r}", where=name)
    return last.with_columns(kind=pl.lit("end_of_life"), mode=pl.lit(None, dtype=pl.String))


def check_events(table: pl.DataFrame, frame: pl.DataFrame, schema: FleetSchema, name: str) -> pl.DataFrame:
    """A table of events with columns `unit`, `time`, `kind`, `mode`, checked against the readings.

    Raises:
        FleetError: an unknown unit or kind, or an end of life before the unit's last reading.
    """
    where = f"{name}: events"
    for column in ("unit", "time"):
        if column not in table.columns:
            raise FleetError(f"column {column!r} is missing; there are {', '.join(table.columns)}", where=where)
    kind = table["kind"].cast(pl.String) if "kind" in table.columns else pl.repeat("failure", table.height, eager=True)
    mode = table["mode"].cast(pl.String) if "mode" in table.columns else pl.repeat(None, table.height, eager=True)
    unit = _unit(table["unit"], where)
    if unit.dtype != frame["unit"].dtype:
        unit = unit.cast(pl.String).cast(frame["unit"].dtype, strict=False)
    events = pl.DataFrame(
        [
            unit.alias("unit"),
            _time(table["time"], schema, where).cast(frame["time"].dtype).alias("time"),
            kind.alias("kind"),
            mode.cast(pl.String).alias("mode"),
        ]
    )
    strange = events.filter(~pl.col("kind").is_in(EVENT_KINDS))["kind"]
    if len(strange):
        raise FleetError(f"unknown kind {strange[0]!r}", where=where, hint=f"one of {', '.join(EVENT_KINDS)}")
    last = frame.group_by("unit").agg(pl.col("time").last().alias("last"))
    joined = events.with_columns(row=pl.Series("row", table["unit"])).join(last, on="unit", how="left")
    stray = joined.filter(pl.col("last").is_null())
    if stray.height:
        raise FleetError(f"unit {stray['row'][0]!r} has no readings", where=where)
    ends = pl.col("kind").is_in(["end_of_life", "failure"])
    early = joined.filter(ends & (pl.col("time") < pl.col("last")))
    if early.height:
        first = early.row(0, named=True)
        raise FleetError(
            f"unit {first['row']!r} ended at {first['time']} but has readings until {first['last']}",
            where=where,
            hint="give each life of a repaired unit an id of its own, or mark the event as maintenance",
        )
    return events.sort("unit", "time")


def _check_columns(table: pl.DataFrame, schema: FleetSchema, *, unit: str, time: str, name: str) -> None:
    wanted = [unit, time, *schema.numeric, *schema.statics]
    doubled = [column for column, count in Counter(wanted).items() if count > 1]
    if doubled:
        raise FleetError(f"column {doubled[0]!r} has two roles", where=name, hint="name it once")
    if not schema.sensors:
        raise FleetError("there is no sensor column", where=name, hint="name at least one with sensors")
    clash = {"unit", "time"}.intersection((*schema.numeric, *schema.statics))
    if clash:
        raise FleetError(f"a sensor cannot be called {clash.pop()!r}", where=name, hint="rename the column")
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        from wearcast.config import nearest

        raise FleetError(
            f"column {missing[0]!r} is missing; there are {', '.join(table.columns)}",
            where=name,
            hint=nearest(missing[0], table.columns),
        )


def _at(series: pl.Series, bad: pl.Series, name: str) -> str:
    row = bad.arg_true()[0]
    return f"{name}: row {row + 1}, column {series.name!r}"


def _unit(series: pl.Series, name: str) -> pl.Series:
    if series.null_count():
        raise FleetError("the unit is empty", where=_at(series, series.is_null(), name))
    if series.dtype.is_integer():
        return series.cast(pl.Int64)
    if series.dtype.is_float():
        whole = series.cast(pl.Int64, strict=False)
        if (whole.cast(pl.Float64) == series.cast(pl.Float64)).fill_null(False).all():
            return whole
        raise FleetError("units must be whole numbers or text, not fractions", where=f"{name}: column {series.name!r}")
    text = series.cast(pl.String).str.strip_chars()
    if (text == "").any():
        raise FleetError("the unit is empty", where=_at(series, text == "", name))
    return text.cast(pl.Enum(text.unique(maintain_order=True)))


def _time(series: pl.Series, schema: FleetSchema, name: str) -> pl.Series:
    if series.null_count():
        raise FleetError("the time is empty", where=_at(series, series.is_null(), name))
    if not schema.is_clock:
        number = series.cast(pl.Float64, strict=False)
        bad = number.is_null() | number.is_nan() | number.is_infinite()
        if bad.any():
            value = series.filter(bad)[0]
            raise FleetError(
                f"{value!r} is not a cycle number",
                where=_at(series, bad, name),
                hint="timestamps go into the time column, not the cycle column",
            )
        return series.cast(pl.Int64) if series.dtype.is_integer() else _whole(number)
    if series.dtype.is_temporal():
        return series.cast(pl.Datetime("us"))
    if series.dtype != pl.String:
        raise FleetError(
            f"timestamps are needed, not {series.dtype}",
            where=f"{name}: column {series.name!r}",
            hint="a counter goes into the cycle column",
        )
    parsed = series.str.strip_chars().str.to_datetime(time_unit="us", strict=False, ambiguous="earliest")
    if parsed.dtype == pl.Datetime("us", "UTC"):
        parsed = parsed.dt.replace_time_zone(None)
    if parsed.null_count():
        value = series.filter(parsed.is_null())[0]
        raise FleetError(
            f"{value!r} is not a timestamp", where=_at(series, parsed.is_null(), name), hint="write ISO 8601"
        )
    return parsed


def _whole(number: pl.Series) -> pl.Series:
    whole = number.cast(pl.Int64)
    return whole if (whole.cast(pl.Float64) == number).all() else number


def _number(series: pl.Series, name: str) -> pl.Series:
    if series.dtype in (pl.Boolean, pl.Null):
        series = series.cast(pl.Float32)
    if not series.dtype.is_numeric():
        text = series.cast(pl.String).str.strip_chars()
        number = text.replace("", None).cast(pl.Float64, strict=False)
        bad = number.is_null() & text.is_not_null() & (text != "")
        if bad.any():
            value = text.filter(bad)[0]
            raise FleetError(
                f"{value!r} is not a number",
                where=_at(series, bad, name),
                hint=f"{int(bad.sum())} cells of this column are text",
            )
        series = number.alias(series.name)
    single = series.cast(pl.Float32)
    bad = single.is_infinite().fill_null(False)
    if bad.any():
        value = series.filter(bad)[0]
        raise FleetError(
            f"{value} is not a finite reading",
            where=_at(series, bad, name),
            hint="empty the cell if the reading is missing",
        )
    return single


def _static(series: pl.Series, name: str) -> pl.Series:
    return _number(series, name) if series.dtype.is_numeric() else series.cast(pl.String)


def _sorted(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    unit, time = frame["unit"].to_physical(), frame["time"].to_physical()
    same = unit == unit.shift(1)
    wrong = (unit < unit.shift(1)) | (same & (time < time.shift(1)))
    moved = int(wrong.fill_null(False).sum())
    # A stable sort keeps the order of repeated keys, so that the error on them names the rows as they were.
    return (frame.sort("unit", "time", maintain_order=True), moved) if moved else (frame, 0)


def _check_keys(frame: pl.DataFrame, name: str) -> None:
    repeated = (frame["unit"] == frame["unit"].shift(1)) & (frame["time"] == frame["time"].shift(1))
    count = int(repeated.fill_null(False).sum())
    if count:
        row = frame.row(repeated.arg_true()[0], named=True)
        raise FleetError(
            f"unit {row['unit']!r} has two readings at time {row['time']} ({count} repeated rows in all)",
            where=name,
            hint="remove the repeated rows, or number the cycles anew",
        )


def _check_statics(frame: pl.DataFrame, schema: FleetSchema, name: str) -> None:
    for column in schema.statics:
        counts = frame.group_by("unit", maintain_order=True).agg(pl.col(column).n_unique().alias("n"))
        changing = counts.filter(pl.col("n") > 1)["unit"]
        if len(changing):
            raise FleetError(
                f"static column {column!r} changes within unit {changing[0]!r}",
                where=name,
                hint="name it as a setting or a sensor",
            )
