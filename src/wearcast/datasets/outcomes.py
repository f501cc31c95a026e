"""From what a mapping says of the ends to events, and to lives where a unit runs on after a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from wearcast.datasets.endings import FailureMark, RemainingLife
from wearcast.datasets.lives import Lives, cut_lives
from wearcast.errors import FleetError
from wearcast.schema import SECONDS, Note, Outcome, TimeUnit

__all__ = ["Ended", "by_mark", "by_remaining", "by_table", "last_rows", "text_or_number"]


@dataclass(frozen=True)
class Ended:
    """Readings whose ends are known.

    Attributes:
        frame: the readings; of lives, if `unit` is another column than before.
        unit: the column that names the units in `frame`.
        events: as `Fleet.from_frame` takes them.
        notes: what was set apart, counted.
    """

    frame: pl.DataFrame
    unit: str
    events: pl.DataFrame | Outcome
    notes: tuple[Note, ...] = ()


def last_rows(frame: pl.DataFrame, unit: str, axis: str) -> pl.DataFrame:
    """Events that end each history at its last reading."""
    last = frame.group_by(pl.col(unit).alias("unit"), maintain_order=True).agg(pl.col(axis).max().alias("time"))
    return last.with_columns(pl.lit("end_of_life").alias("kind"))


# ---------------------------------------------------------------------- a table of failures


def by_table(frame: pl.DataFrame, unit: str, axis: str, events: pl.DataFrame, *, stray: bool, name: str) -> Ended:
    """Histories cut into lives at the failures of a table.

    Args:
        frame: the readings, any order.
        unit, axis: columns of the unit and the time.
        events: columns `unit`, `time`, and maybe `kind`, `mode` and `until`.
        stray: whether a failure outside the readings is left out with a note rather than refused.
        name: shown in errors.

    Raises:
        FleetError: see `cut_lives`; also an unknown kind.
    """
    given = {"kind": pl.lit("failure"), "mode": pl.lit(None, pl.String), "until": pl.col("time")}
    table = events.with_columns(column.alias(key) for key, column in given.items() if key not in events.columns)
    kind = pl.col("kind").cast(pl.String).fill_null("failure")
    windows = table.select(
        pl.col("unit").cast(pl.String),
        pl.col("time").alias("start"),
        pl.coalesce("until", "time").alias("end"),
        "mode",
        kind,
    )
    strange = windows.filter(~pl.col("kind").is_in(["failure", "end_of_life", "maintenance"]))["kind"]
    if len(strange):
        hint = "one of end_of_life, failure, maintenance"
        raise FleetError(f"unknown kind {strange[0]!r}", where=f"{name}: failures", hint=hint)
    done = pl.col("kind") == "maintenance"
    failures, maintenance = (windows.filter(chosen).drop("kind") for chosen in (~done, done))
    return _cut(frame, unit, axis, failures, maintenance if maintenance.height else None, stray=stray, name=name)


def _cut(
    frame: pl.DataFrame,
    unit: str,
    axis: str,
    failures: pl.DataFrame,
    maintenance: pl.DataFrame | None,
    *,
    stray: bool,
    name: str,
) -> Ended:
    # Names of our own, because the user's may be those that the cutting takes for itself.
    given = {f"c {i}": column for i, column in enumerate(frame.columns)}
    mine = {column: alias for alias, column in given.items()}
    lives: Lives = cut_lives(
        frame.rename(mine),
        failures,
        maintenance,
        time=mine[axis],
        asset=mine[unit],
        stray="note" if stray else "refuse",
        name=name,
    )
    rows = lives.rows.collect()
    names = {alias: column for alias, column in given.items() if column != "unit"}
    if "unit" in mine:
        rows = rows.drop(mine["unit"])
    cut = rows.rename({alias: column for alias, column in names.items() if alias in rows.columns})
    assets = lives.table["asset"].n_unique()
    text = f"{assets} units are cut at their failures into {lives.table.height} lives, named {lives.table['unit'][0]} …"
    return Ended(cut, "unit", lives.events, (Note("lives", lives.table.height, text), *lives.notes))


# ---------------------------------------------------------------------- a mark in the readings


def by_mark(frame: pl.DataFrame, unit: str, axis: str, mark: FailureMark, *, name: str) -> Ended:
    """Histories that end at the first row with a mark.

    Args:
        frame: the readings, sorted by unit and time.
        unit, axis: columns of the unit and the time.
        mark: which column and value.
        name: shown in errors.

    Raises:
        FleetError: there are rows after the mark and `mark.after` does not say that they begin a new life.
    """
    marked = frame.with_columns(_is(frame[mark.column], mark.value).alias("mark?"))
    notes: tuple[Note, ...] = ()
    if not marked["mark?"].any():
        text = f"no row has {mark.value!r} in {mark.column!r}: every unit counts as still running"
        notes = (Note("no_mark", frame.height, text),)
    if mark.after == "new_life":
        ended = _cut(frame, unit, axis, _windows(marked, unit, axis), None, stray=False, name=name)
        return Ended(ended.frame, ended.unit, ended.events, (*notes, *ended.notes))
    first = marked.filter("mark?").group_by(unit, maintain_order=True).agg(pl.col(axis).min().alias("time"))
    late = frame.join(first, on=unit, how="inner", maintain_order="left").filter(pl.col(axis) > pl.col("time"))
    if late.height:
        row = late.row(0, named=True)
        raise FleetError(
            f"unit {row[unit]!r} failed at {row['time']} by {mark.column!r} but has readings after it "
            f"({late.height} rows of {late[unit].n_unique()} units)",
            where=name,
            hint="if the unit was repaired, say after: new_life",
        )
    events = first.select(pl.col(unit).alias("unit"), "time", pl.lit("failure").alias("kind"))
    return Ended(frame, unit, events, notes)


def _is(column: pl.Series, value: float | str) -> pl.Series:
    if isinstance(value, str):
        return (column.cast(pl.String).str.strip_chars() == value).fill_null(False)
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    return (column.cast(pl.Float64, strict=False) == float(value)).fill_null(False)


def _windows(marked: pl.DataFrame, unit: str, axis: str) -> pl.DataFrame:
    """First and last time of each run of marked rows."""
    run = (pl.col("mark?").ne(pl.col("mark?").shift(1)) | pl.col(unit).ne(pl.col(unit).shift(1))).fill_null(True)
    runs = marked.with_columns(run.cum_sum().alias("run?")).filter("mark?")
    return runs.group_by("run?", maintain_order=True).agg(
        pl.col(unit).first().cast(pl.String).alias("unit"),
        pl.col(axis).min().alias("start"),
        pl.col(axis).max().alias("end"),
    )


# ---------------------------------------------------------------------- the life left


def by_remaining(
    frame: pl.DataFrame, unit: str, axis: str, ending: RemainingLife, time_unit: TimeUnit, *, name: str
) -> Ended:
    """Histories whose last reading says how much life was left.

    Args:
        frame: the readings, sorted by unit and time.
        unit, axis: columns of the unit and the time.
        ending: which column.
        time_unit: what its numbers count.
        name: shown in errors.

    Raises:
        FleetError: text or a negative number, or rows of a unit that contradict each other.
    """
    where = f"{name}: column {ending.remaining!r}"
    left = _life_left(frame[ending.remaining], where)
    clock = _clock(frame[axis], time_unit)
    rows = frame.select(pl.col(unit).alias("unit"), pl.col(axis).alias("time")).with_columns(left, clock)
    last = rows.group_by("unit", maintain_order=True).last().filter(pl.col("left").is_not_null())
    ends = last.select("unit", (pl.col("clock") + pl.col("left")).alias("end"), pl.col("left").alias("least"))
    cap = rows.group_by("unit").agg(pl.col("left").max().alias("cap"))
    joined = rows.join(ends, on="unit", maintain_order="left").join(cap, on="unit", maintain_order="left")
    true = pl.col("end") - pl.col("clock")
    off = (pl.col("left") - true).abs() > 1e-4 * true.abs() + 1e-3
    capped = (pl.col("left") == pl.col("cap")) & (true > pl.col("cap"))
    wrong = joined.filter(off & ~capped)
    if wrong.height:
        row = wrong.row(0, named=True)
        raise FleetError(
            f"unit {row['unit']!r} has {row['left']:g} left at {row['time']}, but its last row says "
            f"{row['end'] - row['clock']:g} ({wrong.height} such rows)",
            where=where,
            hint="the life left must fall as time passes; a cap at its largest value is fine",
        )
    events = _end_events(last, frame[axis], time_unit, where)
    return Ended(frame, unit, events, _told(rows, joined.filter(off & capped).height))


def _life_left(column: pl.Series, where: str) -> pl.Series:
    text = column.cast(pl.String).str.strip_chars().replace("", None)
    left = text.cast(pl.Float64, strict=False)
    bad = (left.is_null() & text.is_not_null()) | ~left.is_finite().fill_null(True) | (left < 0).fill_null(False)
    if bad.any():
        what = f"{text.filter(bad)[0]!r} is not a life that is left"
        raise FleetError(what, where=where, hint="a number, 0 or more; empty if it is not known")
    return left.alias("left")


def _clock(time: pl.Series, time_unit: TimeUnit) -> pl.Series:
    if not time.dtype.is_temporal():
        return time.cast(pl.Float64).alias("clock")
    return (time.cast(pl.Datetime("us")).cast(pl.Int64) / (SECONDS[time_unit] * 1e6)).alias("clock")


def _end_events(last: pl.DataFrame, time: pl.Series, time_unit: TimeUnit, where: str) -> pl.DataFrame:
    if time.dtype.is_temporal():
        end = pl.col("time") + pl.duration(microseconds=(pl.col("left") * (SECONDS[time_unit] * 1e6)).round())
        return last.select("unit", end.alias("time"), pl.lit("end_of_life").alias("kind"))
    broken = last.filter(pl.col("left") % 1 != 0)["left"]
    if len(broken) and time.dtype.is_integer():
        raise FleetError(f"{broken[0]:g} is not a whole number of cycles", where=where)
    end = (pl.col("time") + pl.col("left")).cast(time.dtype)
    return last.select("unit", end.alias("time"), pl.lit("end_of_life").alias("kind"))


def _told(rows: pl.DataFrame, capped: int) -> tuple[Note, ...]:
    notes = []
    running = rows.group_by("unit").agg(pl.col("left").last())["left"].null_count()
    if running:
        text = f"{running} units have no life left in their last row: they count as still running"
        notes.append(Note("still_running", running, text))
    if capped:
        text = f"{capped} rows hold a capped life left; the true one follows from the last row"
        notes.append(Note("capped_life", capped, text))
    return tuple(notes)


def text_or_number(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Label columns that were read as text, as numbers where every filled cell is one."""
    from wearcast import frames

    changed = []
    for column in columns:
        if frame[column].dtype != pl.String:
            continue
        text = frame[column].str.strip_chars()
        text = text.set(text.is_in(frames.MISSING), None)
        number = text.cast(pl.Float32, strict=False)
        changed.append(number if number.null_count() == text.null_count() else text)
    return frame.with_columns(changed)
