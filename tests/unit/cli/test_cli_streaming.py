"""predict on Parquet that is read some units at a time gives what it gives at once."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.unit.cli.conftest import Run

from wearcast.datasets import portions
from wearcast.datasets.simulated import stream_parquet


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Parquet file of some units, and portions so small that it takes several."""
    monkeypatch.setattr(portions, "PORTION_CELLS", 4000)
    path = tmp_path / "fleet.parquet"
    stream_parquet(path, rows=1500)
    return path


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".csv":
        return pl.read_csv(path)
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_json(path)


def table(text: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(text))


def assert_same(parts: Path | pl.DataFrame, whole: Path | pl.DataFrame) -> None:
    """Row by row and type by type; the graph adds up in single precision, in an order that follows the batch."""
    tables = (read(one) if isinstance(one, Path) else one for one in (parts, whole))
    assert_frame_equal(*tables, rel_tol=1e-4, abs_tol=1e-4)


FLAGS = ("--unit", "unit", "--cycle", "cycle", "--settings", "altitude,mach,throttle", "--every", "7")


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_portions_give_the_same_table(run: Run, bundle: Path, fleet: Path, tmp_path: Path, ending: str):
    """In every format, on stdout too, and nothing is left beside it."""
    outs = [tmp_path / f"{name}{ending}" for name in ("whole", "parts")]
    whole = run("predict", bundle, fleet, *FLAGS, "--out", outs[0], "--no-stream")
    parts = run("predict", bundle, fleet, *FLAGS, "--out", outs[1], "--stream")
    assert whole.code == parts.code == 0, parts.err
    assert_same(outs[1], outs[0])
    assert parts.err.replace("parts", "whole") == whole.err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["fleet.parquet", *(out.name for out in outs)])
    if ending == ".csv":
        assert_same(table(run("predict", bundle, fleet, *FLAGS, "--stream").out), outs[0])


def test_units_that_are_text_and_several_sources(run: Run, bundle: Path, fleet: Path, tmp_path: Path):
    """A source column, in the order in which they are named; a CSV among them is read as a whole."""
    named = tmp_path / "named.parquet"
    pl.read_parquet(fleet).with_columns(pl.format("P{}", "unit").alias("unit")).write_parquet(named)
    outs = [tmp_path / "whole.parquet", tmp_path / "parts.parquet"]
    assert run("predict", bundle, named, *FLAGS, "--out", outs[0]).code == 0
    assert run("predict", bundle, named, *FLAGS, "--out", outs[1], "--stream").code == 0
    assert_same(outs[1], outs[0])
    assert isinstance(read(outs[0])["unit"].dtype, pl.Enum)
    assert run("predict", bundle, named, fleet, *FLAGS, "--out", outs[0]).code == 0
    assert run("predict", bundle, named, fleet, *FLAGS, "--out", outs[1], "--stream").code == 0
    assert_same(outs[1], outs[0])


def test_large_files_are_streamed_without_being_asked(
    run: Run, bundle: Path, fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By the number of readings that the footers name."""
    from wearcast.datasets.files import FilesDataset

    asked: list[str] = []
    original = FilesDataset.portions

    def portions_of(self: FilesDataset) -> portions.Portions:
        asked.append(self.name)
        return original(self)

    monkeypatch.setattr(FilesDataset, "portions", portions_of)
    small = run("predict", bundle, fleet, *FLAGS)
    assert not asked
    monkeypatch.setattr(portions, "LARGE_CELLS", 10_000)
    assert_same(table(run("predict", bundle, fleet, *FLAGS).out), table(small.out))
    assert asked == ["files/fleet.parquet"]


def test_a_bad_row_in_the_last_portion_leaves_the_old_file(run: Run, bundle: Path, fleet: Path, tmp_path: Path):
    """Whole or not at all, with the row of the file."""
    out = tmp_path / "forecast.csv"
    out.write_text("old")
    rows = pl.read_parquet(fleet)
    bad = pl.when(pl.int_range(pl.len()) == 1490).then(float("inf")).otherwise("vibration").alias("vibration")
    rows.with_columns(bad).write_parquet(fleet)
    ran = run("predict", bundle, fleet, *FLAGS, "--out", out, "--stream")
    assert ran.code == 3
    assert "row 1491, column 'vibration'" in ran.err
    assert out.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("source", ["simulated", "fleet.csv"])
def test_what_cannot_be_streamed_is_said(
    run: Run, bundle: Path, fleet: Path, source: str, monkeypatch: pytest.MonkeyPatch
):
    """A declared set, and CSV."""
    monkeypatch.chdir(fleet.parent)
    pl.read_parquet(fleet).write_csv("fleet.csv")
    flags = FLAGS if source == "fleet.csv" else ()
    ran = run("predict", bundle, source, *flags, "--stream")
    assert ran.code == 2
    assert "portions" in ran.err
