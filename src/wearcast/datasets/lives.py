"""The history of a repairable asset, cut at its failures into lives.

An asset that fails, is repaired and runs on has no single end of life. Each stretch between two failures is a *life*,
a unit of its own: `pump#1` ends where the first failure starts, `pump#2` begins where that failure ends, and so on;
the last one is censored. Rows inside a failure or inside maintenance say nothing of a machine at work: they are set
apart and counted. Maintenance does not start a new life.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from wearcast import frames
from wearcast.errors import FleetError
from wearcast.schema import FleetSchema, Note

__all__ = ["Lives", "Overlap", "Stray", "cut_lives"]

Overlap = Literal["refuse", "merge"]
Stray = Literal["refuse", "note"]

REACH = timedelta(hours=1)
_KINDS = ("kept", "failure", "maintenance")  # what `code % 3` says of a row
_Array = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True)
class Lives:
    """An asset's history as lives.

    Attributes:
        rows: the readings outside failures and maintenance, with the name of the life in `unit`; lazy, the readings
            are read when it is collected.
        table: one row a life: `unit`, `asset`, `first` and `last` (readings), `end` (of the life: the failure's start,
            else the last reading), `failed`, `mode`, `rows`.
        events: `unit`, `time`, `kind`, `mode`, as `Fleet.from_frame` takes them.
        apart: rows set apart: `asset`, `kind` (failure or maintenance), `rows`.
        notes: the same and what else is worth knowing, counted.
    """

    rows: pl.LazyFrame
    table: pl.DataFrame
    events: pl.DataFrame
    apart: pl.DataFrame
    notes: tuple[Note, ...]

    def select(self, units: list[str]) -> Lives:
        """These lives only; the notes stay those of the whole history.

        Raises:
            FleetError: there is no such life.
        """
        unknown = sorted(set(units).difference(self.table["unit"].to_list()))
        if unknown:
            raise FleetError(f"there is no life {unknown[0]!r}", hint=", ".join(self.table["unit"].to_list()[:5]))
        chosen = pl.col("unit").cast(pl.String).is_in(units)
        codes = self.table.filter(chosen)["unit"]
        return Lives(
            self.rows.filter(pl.col("unit").is_in(codes.implode())),
            self.table.filter(chosen),
            self.events.filter(chosen),
            self.apart,
            self.notes,
        )


def cut_lives(
    readings: pl.LazyFrame | pl.DataFrame,
    failures: pl.DataFrame,
    maintenance: pl.DataFrame | None = None,
    *,
    time: str,
    asset: str | None = None,
    asset_name: str = "asset",
    overlap: Overlap = "refuse",
    stray: Stray = "refuse",
    reach: timedelta | float = REACH,
    name: str = "readings",
) -> Lives:
    """Cut the history of each asset into lives.

    A window holds both its start and its end. The readings are gone through once here, for the time axis only, and
    once more when `Lives.rows` is collected; they are never held as a whole.

    Args:
        readings: one row a reading, with timestamps (Datetime) or a counter in `time`.
        failures: columns `start`, `end`, `unit` (may be left out if `asset` is None) and `mode` (optional).
        maintenance: the same columns; a maintenance may overlap a failure, whose rows it then shares.
        time: column of the time axis.
        asset: column that names the asset; None if all rows are of one asset.
        asset_name: the asset where there is no such column.
        overlap: whether windows of one kind that touch are an error or become one, with the first one's mode.
        stray: whether a window before the first or after the last reading is an error or left out with a note.
        reach: a failure that starts no later than this after the last reading still ends the last life.
        name: shown in errors.

    Raises:
        FleetError: a window without start or end, that ends before it starts, of an unknown asset, overlapping another
            or outside the readings; a window's row is named.
    """
    lazy = readings.lazy()
    clock = lazy.collect_schema()[time]
    named = lazy.with_columns((pl.col(asset).cast(pl.String) if asset else pl.lit(asset_name)).alias("asset"))
    notes: list[Note] = []
    windows = {
        kind: _windows(table, kind, clock, None if asset else asset_name, overlap, name, notes)
        for kind, table in (("failure", failures), ("maintenance", maintenance))
        if table is not None
    }
    edges = {kind: _Edges.of(table) for kind, table in windows.items()}
    coded = named.with_columns(_code(time, edges).alias("code"))
    counted = _count(coded, time)
    if counted.height == 0:
        raise FleetError("there are no rows", where=name)
    for kind, table in windows.items():
        windows[kind] = _inside(table, kind, counted, reach, stray, name, notes)
    table = _lives(counted, edges["failure"], windows["failure"])
    if table.height == 0:
        raise FleetError("all rows lie inside failures or maintenance", where=name)
    events = _events(table, windows.get("maintenance"), edges)
    apart = _apart(counted)
    notes += _apart_notes(apart) + _unobserved(table, windows["failure"])
    return Lives(_name_rows(coded, table), table, events, apart, tuple(notes))


# ---------------------------------------------------------------------- windows


def _windows(
    table: pl.DataFrame,
    kind: str,
    clock: pl.DataType,
    only: str | None,
    overlap: Overlap,
    name: str,
    notes: list[Note],
) -> pl.DataFrame:
    """Checked windows, sorted by asset and start: `asset`, `start`, `end`, `mode`, `row`."""
    where = f"{name}: {kind} windows"
    missing = [c for c in (("start", "end") if only else ("unit", "start", "end")) if c not in table.columns]
    if missing:
        raise FleetError(f"column {missing[0]!r} is missing; there are {', '.join(table.columns)}", where=where)
    axis = FleetSchema(sensors=(), time_unit="hour" if clock.is_temporal() else "cycle")
    unit = table["unit"].cast(pl.String) if "unit" in table.columns else pl.repeat(only, table.height, eager=True)
    mode = table["mode"].cast(pl.String) if "mode" in table.columns else pl.repeat(None, table.height, eager=True)
    columns = [unit.cast(pl.String).alias("asset")]
    if table.height:
        columns += [frames.time_axis(table[c], axis, where).cast(clock).alias(c) for c in ("start", "end")]
    else:
        columns += [pl.Series(c, [], dtype=clock) for c in ("start", "end")]
    checked = pl.DataFrame([*columns, mode.cast(pl.String).alias("mode")]).with_row_index("row", offset=1)
    for problem, text in ((pl.col("asset").is_null(), "names no unit"), (pl.col("end") < pl.col("start"), None)):
        wrong = checked.filter(problem)
        if wrong.height:
            row = wrong.row(0, named=True)
            what = text or f"ends at {row['end']}, before it starts at {row['start']}"
            raise FleetError(f"a window {what}", where=f"{where}: row {row['row']}")
    return _disjoint(checked.sort("asset", "start", "row"), kind, overlap, where, notes)


def _disjoint(table: pl.DataFrame, kind: str, overlap: Overlap, where: str, notes: list[Note]) -> pl.DataFrame:
    kept: list[dict[str, object]] = []
    merged = 0
    for row in table.iter_rows(named=True):
        last = kept[-1] if kept else None
        if last is None or last["asset"] != row["asset"] or row["start"] > last["end"]:
            kept.append(row)
            continue
        if overlap == "refuse":
            raise FleetError(
                f"{row['start']} – {row['end']} overlaps row {last['row']}, {last['start']} – {last['end']}, "
                f"of {row['asset']!r}",
                where=f"{where}: row {row['row']}",
                hint="correct one of them, or have overlapping windows merged",
            )
        merged += 1
        last["end"] = max(last["end"], row["end"])
        last["mode"] = last["mode"] if last["mode"] is not None else row["mode"]
    if merged:
        notes.append(Note("windows_merged", merged, f"{merged} {kind} windows overlap the one before; merged with it"))
    return pl.DataFrame(kept, schema=table.schema)


def _inside(
    table: pl.DataFrame,
    kind: str,
    counted: pl.DataFrame,
    reach: timedelta | float,
    stray: Stray,
    name: str,
    notes: list[Note],
) -> pl.DataFrame:
    """The windows that meet their asset's readings; the others are refused or noted."""
    spans = counted.group_by("asset").agg(pl.col("first").min(), pl.col("last").max())
    joined = table.join(spans, on="asset", how="left", maintain_order="left")
    unknown = joined.filter(pl.col("first").is_null())
    if unknown.height:
        row = unknown.row(0, named=True)
        known = ", ".join(sorted(spans["asset"].to_list())[:5])
        where = f"{name}: {kind} windows: row {row['row']}"
        raise FleetError(f"unit {row['asset']!r} has no readings", where=where, hint=f"there are {known}")
    numeric = not table.schema["start"].is_temporal()
    if isinstance(reach, timedelta):
        slack = pl.lit(0) if numeric else pl.lit(reach)
    else:
        slack = pl.lit(reach) if numeric else pl.lit(timedelta(seconds=reach))
    meets = (pl.col("end") >= pl.col("first")) & (pl.col("start") <= pl.col("last") + slack)
    outside = joined.filter(~meets)
    if outside.height:
        row = outside.row(0, named=True)
        what = f"{row['start']} – {row['end']} is outside the readings of {row['asset']!r}"
        span = f"which run from {row['first']} to {row['last']}"
        if stray == "refuse":
            raise FleetError(f"{what}, {span}", where=f"{name}: {kind} windows: row {row['row']}")
        text = f"{outside.height} {kind} windows are left out: the first, {what}, {span}"
        notes.append(Note("windows_outside", outside.height, text))
    return joined.filter(meets).drop("first", "last")


# ---------------------------------------------------------------------- rows


@dataclass(frozen=True)
class _Edges:
    """Starts and ends of the disjoint windows of each asset, sorted, as plain numbers."""

    starts: dict[str, _Array]
    ends: dict[str, _Array]

    @classmethod
    def of(cls, table: pl.DataFrame) -> _Edges:
        parts = {str(key[0]): part for key, part in table.partition_by("asset", as_dict=True).items()}
        starts = {asset: part["start"].to_physical().to_numpy() for asset, part in parts.items()}
        return cls(starts, {asset: part["end"].to_physical().to_numpy() for asset, part in parts.items()})

    def passed(self, asset: str, times: _Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """How many windows are over at each time, and whether it lies inside one."""
        if asset not in self.starts:
            return np.zeros(len(times), dtype=np.int64), np.zeros(len(times), dtype=np.bool_)
        over = np.searchsorted(self.ends[asset], times, side="left").astype(np.int64)
        begun = np.searchsorted(self.starts[asset], times, side="right")
        return over, begun > over


def _code(time: str, edges: dict[str, _Edges]) -> pl.Expr:
    """Three times the number of the life (from 0) plus what the row is, an index into `_KINDS`."""

    def of_asset(asset: str, times: _Array) -> NDArray[np.int64]:
        life, failing = edges["failure"].passed(asset, times)
        kind = failing.astype(np.int64)
        if "maintenance" in edges:
            maintained = edges["maintenance"].passed(asset, times)[1]
            kind[maintained & ~failing] = 2
        return 3 * life + kind

    def batch(rows: pl.Series) -> pl.Series:
        fields = rows.struct.unnest()
        times = fields["time"].to_physical().to_numpy()
        code = np.empty(len(times), dtype=np.int64)
        grouped = fields.select("asset").with_row_index("row").group_by("asset").agg("row")
        for asset, where in grouped.iter_rows():
            rows_of = np.asarray(where) if grouped.height > 1 else slice(None)
            code[rows_of] = of_asset(asset, times[rows_of])
        return pl.Series(code, dtype=pl.Int32)

    pair = pl.struct(pl.col("asset"), pl.col(time).alias("time"))
    return pair.map_batches(batch, return_dtype=pl.Int32, is_elementwise=True)


def _count(coded: pl.LazyFrame, time: str) -> pl.DataFrame:
    """Rows, first and last time of each asset, life and kind, in that order."""
    grouped = coded.group_by("asset", "code").agg(
        pl.len().cast(pl.Int64).alias("rows"), pl.col(time).min().alias("first"), pl.col(time).max().alias("last")
    )
    return grouped.collect(engine="streaming").sort("asset", "code")


def _lives(counted: pl.DataFrame, edges: _Edges, failures: pl.DataFrame) -> pl.DataFrame:
    kept = counted.filter(pl.col("code") % 3 == 0).with_columns((pl.col("code") // 3).alias("life"))
    # The windows that were left out still count, so that a life has one name in an excerpt and in the whole history.
    places = [
        int(np.searchsorted(edges.starts[asset], start))
        for asset, start in zip(failures["asset"], failures["start"].to_physical(), strict=True)
    ]
    ends = failures.select("asset", "mode", pl.col("start").alias("failure")).with_columns(
        pl.Series("life", places, dtype=pl.Int32)
    )
    joined = kept.join(ends, on=["asset", "life"], how="left", maintain_order="left")
    unit = pl.format("{}#{}", pl.col("asset"), pl.col("life") + 1)
    table = joined.select(
        unit.alias("unit"),
        "asset",
        "first",
        "last",
        pl.coalesce("failure", "last").alias("end"),
        pl.col("failure").is_not_null().alias("failed"),
        "mode",
        "rows",
    )
    return table.with_columns(pl.col("unit").cast(pl.Enum(table["unit"])))


def _events(table: pl.DataFrame, maintenance: pl.DataFrame | None, edges: dict[str, _Edges]) -> pl.DataFrame:
    columns = ("unit", pl.col("end").alias("time"), "kind", "mode")
    failed = table.filter("failed").with_columns(pl.lit("failure").alias("kind")).select(columns)
    if maintenance is None or maintenance.height == 0:
        return failed
    units = []
    for asset, start in zip(maintenance["asset"], maintenance["start"].to_physical(), strict=True):
        life, failing = edges["failure"].passed(asset, np.array([start]))
        units.append(None if failing[0] else f"{asset}#{life[0] + 1}")
    done = maintenance.select(pl.Series("unit", units, dtype=pl.String), pl.col("start").alias("time"), "mode")
    done = done.filter(pl.col("unit").is_in(table["unit"].cast(pl.String).implode()))
    done = done.with_columns(pl.col("unit").cast(table["unit"].dtype), pl.lit("maintenance").alias("kind"))
    return pl.concat([failed, done.select("unit", "time", "kind", "mode")]).sort("unit", "time")


def _name_rows(coded: pl.LazyFrame, table: pl.DataFrame) -> pl.LazyFrame:
    kept = coded.filter(pl.col("code") % 3 == 0)
    unit = pl.format("{}#{}", pl.col("asset"), pl.col("code") // 3 + 1).cast(table["unit"].dtype)
    return kept.select(unit.alias("unit"), pl.exclude("code", "asset", "unit"))


# ---------------------------------------------------------------------- notes


def _apart(counted: pl.DataFrame) -> pl.DataFrame:
    apart = counted.filter(pl.col("code") % 3 > 0).with_columns((pl.col("code") % 3).alias("kind"))
    grouped = apart.group_by("asset", "kind").agg(pl.col("rows").sum()).sort("asset", "kind")
    return grouped.with_columns(pl.col("kind").replace_strict(dict(enumerate(_KINDS)), return_dtype=pl.String))


def _apart_notes(apart: pl.DataFrame) -> list[Note]:
    totals = apart.group_by("kind").agg(pl.col("rows").sum()).sort("kind")
    return [
        Note(f"{kind}_rows", rows, f"{rows} rows lie inside {kind} windows and are set apart")
        for kind, rows in totals.iter_rows()
    ]


def _unobserved(table: pl.DataFrame, failures: pl.DataFrame) -> list[Note]:
    missed = failures.height - int(table["failed"].sum())
    if not missed:
        return []
    return [Note("failures_unobserved", missed, f"{missed} failures have no readings before them, so end no life")]
