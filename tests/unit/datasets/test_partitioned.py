"""Many files: partitioned Parquet folders, whose names are columns."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from wearcast import Fleet
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.reading import read_fleet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Readings as a data lake keeps them: site=…/pump=…/part.parquet, the columns of the names not in the files."""
    root = tmp_path / "lake=house" / "readings"
    for site, pump, load in (("west", 1, 80), ("west", 2, 60), ("north%20east", 3, 70)):
        part = root / f"site={site}" / f"pump={pump}" / f"load={load}" / "part-0.parquet"
        part.parent.mkdir(parents=True)
        pl.DataFrame({"n": [1, 2], "temp": [20.0 + pump, 21.0]}).write_parquet(part)
    return root


def _read(source: Path, **options: object) -> Fleet:
    mapping = ColumnMapping.model_validate({"unit": "pump", "cycle": "n", **options})
    return read_fleet([source], mapping, name="x")


def test_names_of_folders_are_columns(folder):
    fleet = _read(folder, statics=("site",), settings=("load",))
    assert fleet.units == (1, 2, 3)
    assert fleet.schema.sensors == ("temp",)
    assert fleet.frame["site"].to_list() == ["west"] * 4 + ["north east"] * 2
    assert fleet.frame.filter(pl.col("unit") == 2)["load"].to_list() == [60, 60]


def test_a_pattern_reads_some_of_the_partitions(folder):
    fleet = _read(folder / "site=west" / "*" / "*" / "*.parquet")
    assert fleet.units == (1, 2)


def test_partition_columns_are_no_sensors_and_a_null_is_missing(folder):
    fleet = _read(folder)
    assert fleet.schema.sensors == ("temp",)
    part = folder / "site=__HIVE_DEFAULT_PARTITION__" / "pump=9" / "load=5" / "p.parquet"
    part.parent.mkdir(parents=True)
    pl.DataFrame({"n": [1], "temp": [2.0]}).write_parquet(part)
    sites = _read(folder, statics=("site",)).frame["site"]
    assert sites.null_count() == 1


def test_a_column_of_the_file_wins_over_its_folder(folder):
    part = folder / "site=west" / "pump=7" / "load=1" / "p.parquet"
    part.parent.mkdir(parents=True)
    pl.DataFrame({"pump": [8], "n": [1], "temp": [2.0]}).write_parquet(part)
    assert _read(folder).units == (1, 2, 3, 8)
