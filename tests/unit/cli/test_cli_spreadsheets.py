"""Names of units that a spreadsheet would take for formulas."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tests.unit.cli.conftest import Run

from wearcast.cli.spreadsheets import disarmed
from wearcast.datasets.simulated import stream_parquet

FLAGS = ("--unit", "unit", "--cycle", "cycle", "--settings", "altitude,mach,throttle")


def test_only_text_that_would_run_is_changed():
    """Numbers written as text stay, and so do numbers."""
    names = ["=cmd|'/c calc'!A1", "@SUM(1)", "+1+1", "\tx", "-x", "-2", "+4.5e3", "pump", None]
    table, count = disarmed(pl.DataFrame({"unit": names, "value": [-1.0] * len(names)}))
    assert table["unit"].to_list() == [*(f"'{name}" for name in names[:5]), *names[5:]]
    assert table["value"].to_list() == [-1.0] * len(names)
    assert count == 5


@pytest.mark.parametrize("how", ["--stream", "--no-stream"])
def test_a_csv_of_forecasts_runs_nothing(how: str, run: Run, bundle: Path, tmp_path: Path):
    """It is said, and JSON has the names as they are."""
    fleet = tmp_path / "fleet.parquet"
    stream_parquet(fleet, rows=300)
    pl.read_parquet(fleet).with_columns(unit=pl.lit("=1+1")).unique("cycle").write_parquet(fleet)
    ran = run("predict", bundle, fleet, *FLAGS, how, "--out", tmp_path / "out.csv")
    assert pl.read_csv(tmp_path / "out.csv")["unit"].to_list() == ["'=1+1"]
    assert "1 cells begin as formulas do" in ran.err
    ran = run("predict", bundle, fleet, *FLAGS, how, "--out", tmp_path / "out.json")
    assert pl.read_json(tmp_path / "out.json")["unit"].to_list() == ["=1+1"]
    assert "formulas" not in ran.err
