"""Files read some units at a time hold what they hold as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from wearcast.datasets import ColumnMapping, unitplan
from wearcast.datasets.portions import Portions, read_portions, summed
from wearcast.datasets.reading import read_fleet
from wearcast.errors import DataError, FleetError, FormatError, UsageError

CYCLES = ColumnMapping(unit="unit", cycle="cycle")
SMALL = 200


def readings(units: int = 12, seed: int = 0) -> pl.DataFrame:
    """Units of different lengths with a few holes and gaps."""
    rng = np.random.default_rng(seed)
    lives = rng.integers(5, 60, units)
    unit = np.repeat(np.arange(1, units + 1), lives)
    cycle = np.concatenate([np.sort(rng.choice(80, life, replace=False)) for life in lives])
    flow = np.where(rng.random(len(unit)) < 0.05, np.nan, rng.standard_normal(len(unit)))
    return pl.DataFrame(
        {
            "unit": unit,
            "cycle": cycle,
            "flow": flow,
            "load": rng.random(len(unit)),
            "site": np.where(unit % 2, "a", "b"),
        }
    )


def assert_same(folder: Path, mapping: ColumnMapping = CYCLES, *, least: int = 3) -> Portions:
    """The portions together are what one fleet of all files is: rows, order, types and notes."""
    whole = read_fleet([folder], mapping, name="pumps")
    portions = read_portions([folder], mapping, name="pumps", cells=SMALL)
    fleets = list(portions)
    assert len(fleets) == len(portions) >= least
    assert pl.concat([fleet.frame for fleet in fleets]).equals(whole.frame)
    assert pl.concat([fleet.frame for fleet in fleets]).schema == whole.frame.schema
    assert pl.concat([fleet.events for fleet in fleets]).sort("unit").equals(whole.events.sort("unit"))
    notes = summed([*portions.notes, *(note for fleet in fleets for note in fleet.notes)])
    assert {note for note in notes if note.kind not in ("scattered", "stuck")} == {
        note for note in whole.notes if note.kind != "stuck"
    }
    assert {note.count for note in notes if note.kind == "stuck"} == {
        note.count for note in whole.notes if note.kind == "stuck"
    }
    assert portions.n_units == whole.n_units
    return portions


def shuffled(table: pl.DataFrame) -> pl.DataFrame:
    return table.sample(fraction=1, shuffle=True, seed=1)


def test_units_below_each_other(tmp_path: Path):
    """The plain case, with row groups that end within units."""
    readings().write_parquet(tmp_path / "pumps.parquet", row_group_size=17)
    portions = assert_same(tmp_path, CYCLES.model_copy(update={"statics": ("site",), "settings": ("load",)}))
    assert not portions.notes


@pytest.mark.parametrize("cell", [pl.col("unit") * 7, "A" + pl.col("unit").cast(pl.String), pl.col("unit").cast(float)])
def test_units_scattered_over_several_files(tmp_path: Path, cell: pl.Expr, monkeypatch: pytest.MonkeyPatch):
    """Rows in any order in files and slices; numbers, text and whole fractions as units."""
    monkeypatch.setattr(unitplan, "SLICE_ROWS", 23)
    monkeypatch.setattr(unitplan, "NEAR_ROWS", 3)
    table = shuffled(readings()).with_columns(cell.alias("unit"))
    for i, part in enumerate(table.iter_slices(100)):
        part.write_parquet(tmp_path / f"part-{i}.parquet")
    assert_same(tmp_path)


def test_units_scattered_beyond_what_is_kept_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With too many runs, only the first and the last row of a unit are kept; the result is the same."""
    monkeypatch.setattr(unitplan, "MOST_RUNS", 10)
    monkeypatch.setattr(unitplan, "SLICE_ROWS", 40)
    monkeypatch.setattr(unitplan, "NEAR_ROWS", 0)
    shuffled(readings(30)).write_parquet(tmp_path / "pumps.parquet")
    portions = assert_same(tmp_path)
    assert "sort them by unit" in next(note for note in portions.notes if note.kind == "scattered").message


def test_units_named_by_files_and_folders(tmp_path: Path):
    """Partitions and one file a unit."""
    for (unit,), rows in readings().partition_by("unit", as_dict=True).items():
        for i, half in enumerate(rows.drop("unit").iter_slices(30)):
            (tmp_path / f"unit={unit}").mkdir(exist_ok=True)
            half.write_parquet(tmp_path / f"unit={unit}" / f"p{unit}-{i}.parquet")
    assert_same(tmp_path)
    assert_same(tmp_path, ColumnMapping(unit="@file", cycle="cycle"))


def test_whole_numbers_and_text_as_units_of_one_set(tmp_path: Path):
    """What is a number in one file and text in another is text, unless all of it is whole numbers."""
    first, second = readings(6), readings(12, seed=1).filter(pl.col("unit") > 6)
    first.write_parquet(tmp_path / "a.parquet")
    second.with_columns(pl.col("unit").cast(pl.String)).write_parquet(tmp_path / "b.parquet")
    assert assert_same(tmp_path).plan.units.dtype == pl.Int64
    second.with_columns(pl.format("P{}", "unit").alias("unit")).write_parquet(tmp_path / "b.parquet")
    assert assert_same(tmp_path).plan.units.dtype == pl.String


def test_cycles_with_fractions_in_one_unit(tmp_path: Path):
    """One type of time for all portions."""
    half = (pl.col("cycle") + 0.5 * (pl.col("unit") == 12)).alias("cycle")
    readings().with_columns(half).write_parquet(tmp_path / "pumps.parquet")
    assert assert_same(tmp_path).plan.fractions


def test_empty_rows_and_timestamps(tmp_path: Path):
    """Rows without a single value are counted once; text becomes timestamps of UTC."""
    start = pl.datetime(2024, 3, 1)
    table = readings().select(
        "unit", (start + pl.duration(hours="cycle")).dt.to_string("%Y-%m-%d %H:%M:%S").alias("stamp"), "flow"
    )
    empty = pl.DataFrame({"unit": [None], "stamp": [None], "flow": [None]}, schema=table.schema)
    pl.concat([empty, table.head(150), empty, empty, table.tail(-150)]).write_parquet(tmp_path / "pumps.parquet")
    portions = assert_same(tmp_path, ColumnMapping(unit="unit", time="stamp", time_zone="Europe/Berlin"))
    notes = summed(note for fleet in portions for note in fleet.notes)
    assert next(note for note in notes if note.kind == "empty_rows").count == 3


def test_stuck_missing_and_uneven_readings(tmp_path: Path):
    """What is done within a unit is done as before, and counted over all."""
    table = readings().with_columns(
        pl.col("load").round(0), (pl.datetime(2024, 3, 1) + pl.duration(seconds="cycle")).alias("stamp")
    )
    for i, part in enumerate(shuffled(table.drop("cycle")).iter_slices(100)):
        part.write_parquet(tmp_path / f"part-{i}.parquet")
    words = {
        "stuck_after": 3,
        "resample": {"every": "5s", "aggregate": {"default": "mean"}},
        "missing": {"default": "interpolate"},
        "max_gap": "20s",
    }
    mapping = ColumnMapping.model_validate({"unit": "unit", "time": "stamp", "end_of_life": "last_row", **words})
    assert_same(tmp_path, mapping)
    named = table.with_columns(pl.format("P{}", "unit").alias("unit")).drop("cycle")
    for i, part in enumerate(shuffled(named).iter_slices(100)):
        part.write_parquet(tmp_path / f"part-{i}.parquet")
    assert_same(tmp_path, mapping)


def complaint(call: object) -> tuple[type, str]:
    with pytest.raises(DataError) as caught:
        call()  # type: ignore[operator]
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        pl.when(pl.col("row") == 150).then(float("inf")).otherwise("flow").alias("flow"),
        pl.when(pl.col("row") == 150).then(None).otherwise("unit").alias("unit"),
        pl.when(pl.col("row") == 150).then(None).otherwise("cycle").alias("cycle"),
        pl.when(pl.col("row") == 150).then(pl.lit("x")).otherwise(pl.col("flow").cast(pl.String)).alias("flow"),
        pl.when(pl.col("row") == 150).then(pl.lit("x")).otherwise(pl.col("cycle").cast(pl.String)).alias("cycle"),
        pl.when(pl.col("row") == 150).then(0.5).otherwise(pl.col("unit").cast(float)).alias("unit"),
    ],
)
def test_what_is_refused_is_refused_with_the_row_of_the_file(
    tmp_path: Path, damage: pl.Expr, monkeypatch: pytest.MonkeyPatch
):
    """Not with the row of a portion."""
    monkeypatch.setattr(unitplan, "SLICE_ROWS", 23)
    table = shuffled(readings()).with_row_index("row").with_columns(damage).drop("row")
    table.write_parquet(tmp_path / "pumps.parquet")
    mapping = CYCLES.model_copy(update={"sensors": ("flow",)})
    whole = complaint(lambda: read_fleet([tmp_path], mapping, name="pumps"))
    assert complaint(lambda: list(read_portions([tmp_path], mapping, name="pumps", cells=SMALL))) == whole


def test_repeated_rows_are_refused(tmp_path: Path):
    """Also where the two lie far apart."""
    table = readings()
    pl.concat([table, table.slice(100, 1)]).write_parquet(tmp_path / "pumps.parquet")
    repeated = table.row(100, named=True)
    with pytest.raises(FleetError, match=f"unit {repeated['unit']} has two readings at time {repeated['cycle']}"):
        list(read_portions([tmp_path], CYCLES, name="pumps", cells=SMALL))


def test_what_cannot_be_read_in_portions_is_said(tmp_path: Path):
    """CSV, an ending that needs all units, an empty file."""
    readings().write_csv(tmp_path / "pumps.csv")
    with pytest.raises(UsageError, match="only Parquet"):
        read_portions([tmp_path], CYCLES, name="pumps")
    readings().write_parquet(tmp_path / "pumps.parquet")
    ending = ColumnMapping.model_validate({"unit": "unit", "cycle": "cycle", "end_of_life": {"remaining": "load"}})
    with pytest.raises(UsageError, match="in portions"):
        read_portions([tmp_path / "pumps.parquet"], ending, name="pumps")
    readings().head(0).write_parquet(tmp_path / "pumps.parquet")
    with pytest.raises(FormatError, match="no rows"):
        read_portions([tmp_path / "pumps.parquet"], CYCLES, name="pumps")
