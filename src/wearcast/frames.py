"""The border: a table of any kind becomes a checked, sorted Polars table with fixed names and types."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias, cast

import polars as pl

from wearcast.errors import FleetError, FormatError, require
from wearcast.schema import EVENT_KINDS, FleetSchema, Note, Outcome

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    AnyFrame: TypeAlias = pl.DataFrame | pd.DataFrame | pa.Table

__all__ = [
    "check_events", "count_gaps", "end_events", "gaps_note", "numbers", "prepare", "time_axis", "timestamps",
    "to_polars", "typical_step",
]  # fmt: skip

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None")
"""What people write into the cell of a reading that they do not have."""

SLICE = 1 << 20  # rows looked at together, so that checks of a long table take little memory
GAP = 1.5  # a step longer than so many typical steps is a gap


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
    if kind.startswith("pandas"):
        require("pyarrow", extra="train")  # Polars reads a pandas table's text through it
        return pl.from_pandas(frame)
    return cast(pl.DataFrame, pl.from_arrow(frame))


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
    columns = [_unit(table[unit], name).alias("unit"), time_axis(table[time], schema, name).alias("time")]
    columns += [numbers(table[column], name) for column in schema.numeric]
    columns += [_number_or_text(table[column], name) for column in (*schema.statics, *schema.labels)]
    frame = pl.DataFrame(columns)
    notes = []
    frame, moved = _sorted(frame)
    if moved:
        notes.append(Note("unsorted", moved, f"{moved} rows were not in order of unit and time; sorted"))
    _check_keys(frame, name)
    _check_statics(frame, schema, name)
    missing = sum(int(frame[c].null_count() + (frame[c].is_nan().sum() or 0)) for c in schema.numeric)
    if missing:
        notes.append(Note("missing", missing, f"{missing} readings are missing; the last known value is held"))
        # Only the columns that have nulls are copied.
        holed = [column for column in schema.numeric if frame[column].null_count()]
        frame = frame.with_columns(pl.col(holed).fill_null(float("nan")))
    step = typical_step(frame)
    gaps = 0 if step is None else count_gaps(frame, step)
    if gaps:
        notes.append(gaps_note(gaps))
    return frame, schema, tuple(notes)


def end_events(frame: pl.DataFrame, outcome: Outcome, name: str) -> pl.DataFrame:
    """Events of a fleet in which every history ends with the end of life, or in which every unit still runs."""
    last = _last_readings(frame)
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
            time_axis(table["time"], schema, where).cast(frame["time"].dtype).alias("time"),
            kind.alias("kind"),
            mode.cast(pl.String).alias("mode"),
        ]
    )
    strange = events.filter(~pl.col("kind").is_in(EVENT_KINDS))["kind"]
    if len(strange):
        raise FleetError(f"unknown kind {strange[0]!r}", where=where, hint=f"one of {', '.join(EVENT_KINDS)}")
    last = _last_readings(frame).rename({"time": "last"})
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
    wanted = [unit, time, *schema.numeric, *schema.statics, *schema.labels]
    doubled = [column for column, count in Counter(wanted).items() if count > 1]
    if doubled:
        raise FleetError(f"column {doubled[0]!r} has two roles", where=name, hint="name it once")
    if not schema.sensors:
        raise FleetError("there is no sensor column", where=name, hint="name at least one with sensors")
    clash = {"unit", "time"}.intersection(wanted[2:])
    if clash:
        raise FleetError(f"a sensor cannot be called {clash.pop()!r}", where=name, hint="rename the column")
    stray = [column for column in schema.masked if column not in (*schema.sensors, *schema.settings)]
    if stray:
        raise FleetError(f"masked column {stray[0]!r} is no sensor and no setting", where=name)
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
    if isinstance(series.dtype, pl.Enum) and all(c and c == c.strip() for c in series.dtype.categories):
        return series  # names as they should be: no row is copied as text
    text = series.cast(pl.String).str.strip_chars()
    if (text == "").any():
        raise FleetError("the unit is empty", where=_at(series, text == "", name))
    return text.cast(pl.Enum(text.unique(maintain_order=True)))


def time_axis(series: pl.Series, schema: FleetSchema, name: str) -> pl.Series:
    """The time axis as Int64 (Float64 if there are fractions) for cycles, as naive timestamps for a clock.

    Raises:
        FleetError: an empty cell, or one that is neither a number nor a timestamp.
    """
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
    if series.dtype == pl.Date or isinstance(series.dtype, pl.Datetime):
        return series.cast(pl.Datetime("us"))
    if series.dtype != pl.String:
        raise FleetError(
            f"timestamps are needed, not {series.dtype}",
            where=f"{name}: column {series.name!r}",
            hint="a counter goes into the cycle column",
        )
    return timestamps(series, name)


_OFFSET = re.compile(r":\d{2}(\.\d+)?\s*([zZ]|[+-]\d{2}(:?\d{2})?)$")


def timestamps(series: pl.Series, name: str, time_format: str | None = None) -> pl.Series:
    """Text as timestamps: ISO 8601, dotted day.month.year, or the format that is given; time zones become UTC.

    Raises:
        FleetError: a cell is not a timestamp, or the day and the month could be confused.
    """
    text = series.str.strip_chars()
    hint = f"expected {time_format!r}" if time_format else "write ISO 8601, such as 2024-05-18 10:00:00"
    doubtful = text.str.contains(r"^\d{1,2}[/-]\d{1,2}[/-]\d").fill_null(False)
    if time_format is None and doubtful.any():
        raise FleetError(
            f"{text.filter(doubtful)[0]!r} may be day/month or month/day",
            where=_at(series, doubtful, name),
            hint="name the time_format in the mapping, such as '%d/%m/%Y %H:%M'",
        )
    try:
        parsed = text.str.to_datetime(time_format, time_unit="us", strict=False, ambiguous="earliest")
    except pl.exceptions.ComputeError as error:
        # Not one cell looks like a timestamp.
        where = f"{name}: row 1, column {series.name!r}"
        raise FleetError(f"{text[0]!r} is not a timestamp", where=where, hint=hint) from error
    if parsed.dtype == pl.Datetime("us", "UTC"):
        parsed = parsed.dt.replace_time_zone(None)
    bad = parsed.is_null()
    if bad.any():
        cell = text.filter(bad)[0]
        if not _OFFSET.search(cell) and _OFFSET.search(str(text.filter(~bad).first())):
            hint = "other stamps of this column have an offset from UTC, this one has none: write all of them alike"
        raise FleetError(f"{cell!r} is not a timestamp", where=_at(series, bad, name), hint=hint)
    return parsed


def _whole(number: pl.Series) -> pl.Series:
    whole = number.cast(pl.Int64)
    return whole if (whole.cast(pl.Float64) == number).all() else number


def numbers(series: pl.Series, name: str) -> pl.Series:
    """A column as Float32, with null where the cell is empty or says that the reading is missing.

    Raises:
        FleetError: text where a number belongs, or an infinity; the message names the row and the column.
    """
    if series.dtype in (pl.Boolean, pl.Null):
        series = series.cast(pl.Float32)
    if not series.dtype.is_numeric():
        text = series.cast(pl.String).str.strip_chars()
        text = text.set(text.is_in(MISSING), None)
        number = text.cast(pl.Float64, strict=False)
        bad = number.is_null() & text.is_not_null()
        if bad.any():
            raise FleetError(
                f"{text.filter(bad)[0]!r} is not a number",
                where=_at(series, bad, name),
                hint=f"{int(bad.sum())} cells of this column are text",
            )
        series = number.alias(series.name)
    single = series.cast(pl.Float32)
    bad = single.is_infinite().fill_null(False)
    if bad.any():
        raise FleetError(
            f"{series.filter(bad)[0]} is not a finite reading",
            where=_at(series, bad, name),
            hint="empty the cell if the reading is missing",
        )
    return single


def _number_or_text(series: pl.Series, name: str) -> pl.Series:
    return numbers(series, name) if series.dtype.is_numeric() else series.cast(pl.String)


def _neighbours(frame: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """Each row's `unit` and `time` beside those of the row before it (`unit0`, `time0`), a slice at a time.

    Also yields the number of the first row of the slice; the very first row has no row before it and is left out.
    """
    # Not `frame.select`, which would first copy all columns where they are in pieces.
    keys = pl.DataFrame([frame["unit"].to_physical(), frame["time"].to_physical()])
    for start in range(1, frame.height, SLICE):
        now = keys.slice(start, SLICE)
        before = keys.slice(start - 1, now.height)
        yield start, now.with_columns(before["unit"].alias("unit0"), before["time"].alias("time0"))


_SAME = pl.col("unit") == pl.col("unit0")
_STEP = pl.col("time") - pl.col("time0")


def _same_unit(frame: pl.DataFrame) -> pl.Series:
    """Whether each row is of the same unit as the row before it; false for the first."""
    return (frame["unit"] == frame["unit"].shift(1)).fill_null(False)


def _last_readings(frame: pl.DataFrame) -> pl.DataFrame:
    """`unit` and `time` of the last row of each unit; the frame is sorted, so no table of groups is built."""
    ends = (~_same_unit(frame)).arg_true().cast(pl.Int64).slice(1) - 1
    rows = ends.extend(pl.Series([frame.height - 1], dtype=pl.Int64))
    return frame.select(pl.col("unit", "time").gather(rows))


def _sorted(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    wrong = (pl.col("unit") < pl.col("unit0")) | (_SAME & (_STEP < 0))
    moved = sum(int(pair.select(wrong.sum()).item()) for _, pair in _neighbours(frame))
    # A stable sort keeps the order of repeated keys, so that the error on them names the rows as they were.
    return (frame.sort("unit", "time", maintain_order=True), moved) if moved else (frame, 0)


def _check_keys(frame: pl.DataFrame, name: str) -> None:
    count, where = 0, -1
    for start, pair in _neighbours(frame):
        rows = pair.select((_SAME & (_STEP == 0)).arg_true()).to_series()
        if len(rows) and not count:
            where = start + int(rows[0])
        count += len(rows)
    if count:
        row = frame.row(where, named=True)
        raise FleetError(
            f"unit {row['unit']!r} has two readings at time {row['time']} ({count} repeated rows in all)",
            where=name,
            hint="remove the repeated rows, or number the cycles anew",
        )


def typical_step(frame: pl.DataFrame) -> float | None:
    """The most frequent step between two readings of a unit, in the physical unit of `time`; None without a pair.

    Args:
        frame: sorted by `unit` and `time`; the first million rows decide.
    """
    for _, pair in _neighbours(frame):
        steps = pair.filter(_SAME).select(_STEP.alias("step"))["step"]
        if len(steps):
            return float(steps.mode().min())  # type: ignore[arg-type]
    return None


def count_gaps(frame: pl.DataFrame, step: float) -> int:
    """Number of steps that are much longer than the typical one.

    Args:
        frame: sorted by `unit` and `time`.
        step: see `typical_step`.
    """
    longer = _SAME & _STEP.gt(GAP * step)
    return sum(int(pair.select(longer.sum()).item()) for _, pair in _neighbours(frame))


def gaps_note(count: int) -> Note:
    """What is told of gaps."""
    return Note("gaps", count, f"{count} steps between readings are longer than usual; nothing is filled in")


def _check_statics(frame: pl.DataFrame, schema: FleetSchema, name: str) -> None:
    for column in schema.statics:
        changing = frame["unit"].filter(frame[column].ne_missing(frame[column].shift(1)) & _same_unit(frame))
        if len(changing):
            raise FleetError(
                f"static column {column!r} changes within unit {changing[0]!r}",
                where=name,
                hint="name it as a setting or a sensor",
            )
