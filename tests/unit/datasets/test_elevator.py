"""The elevator's file in both layouts with a spreadsheet's damage, what is refused, and the real file where it is."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.fixtures.spreadsheet_damage import damaged, plain

from wearcast.datasets.elevator import CARD, ROWS, ElevatorDataset
from wearcast.errors import FormatError, SourceNotFoundError
from wearcast.fleet import Fleet

REAL = os.environ.get("WEARCAST_DATA_DIR")
real = pytest.mark.skipif(
    not REAL or not (Path(REAL) / "elevator").is_dir(), reason="WEARCAST_DATA_DIR does not hold elevator/"
)
N = 500
VIBRATION = np.interp(np.arange(N), [0, 250, 499], [9.9, 10.2, 9.8]).round(4)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data folder without anything in it."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    return tmp_path


def _rows() -> list[list[str]]:
    """Cells as published: damaged."""
    vibration = damaged(plain(v, 4 if v < 10 else 3) for v in VIBRATION)
    revolutions = damaged(plain(30.8 - 0.004 * i) for i in range(N))
    return [list(row) for row in zip(revolutions, [plain(74 + 0.001 * i) for i in range(N)], vibration, strict=True)]


def _write(home: Path, rows: list[list[str]], header: str = "ball-bearing;humidity;vibration") -> Path:
    path = home / "elevator" / "predictive-maintenance-dataset.csv"
    path.parent.mkdir(exist_ok=True)
    separator = ";" if ";" in header else ","
    path.write_text("\n".join([header, *(separator.join(row) for row in rows), ""]))
    return path


LONG_HEADER = "ID,revolutions,humidity,vibration,x1,x2,x3,x4,x5"


def _long(rows: list[list[str]]) -> list[list[str]]:
    return [[str(i), *row, "1", "2", "3", "4", "5"] for i, row in enumerate(rows, 1)]


def test_readings_come_back_as_they_were(home):
    _write(home, _rows())
    fleet = ElevatorDataset(expected_rows=N).load("all")
    assert (fleet.units, fleet.n_rows) == (("elevator",), N)
    np.testing.assert_allclose(fleet.values(["vibration"])[:, 0], VIBRATION.round(4), atol=6e-4)
    np.testing.assert_allclose(fleet.values(["revolutions"])[:, 0], 30.8 - 0.004 * np.arange(N), atol=1e-5)
    assert fleet.schema.sampling_rate_hz == 4
    assert fleet.frame["time"].to_list() == list(range(1, N + 1))


def test_both_layouts_give_the_same_fleet(home):
    _write(home, _rows())
    short = ElevatorDataset(expected_rows=N).load("all")
    _write(home, _long(_rows()), LONG_HEADER)
    assert ElevatorDataset(expected_rows=N).load("all").fingerprint == short.fingerprint


def test_the_further_columns_are_loaded_on_demand(home):
    _write(home, _long(_rows()), LONG_HEADER)
    fleet = ElevatorDataset(expected_rows=N, extra_columns=True).load("all")
    assert fleet.schema.sensors == ("revolutions", "humidity", "vibration", "x1", "x2", "x3", "x4", "x5")
    _write(home, _rows())
    with pytest.raises(FormatError, match=r"line 1: there is no column 'x1'"):
        ElevatorDataset(expected_rows=N, extra_columns=True).load("all")


def test_repairs_are_counted_and_listed(home):
    rows = _rows()
    _write(home, rows)
    dataset = ElevatorDataset(expected_rows=N)
    repairs = dataset.repairs()
    notes = {note.kind: note.count for note in dataset.load("test").notes}
    counts = dict(repairs.group_by("column", "kind").len().select(pl.concat_str("kind", "column"), "len").iter_rows())
    assert notes == {
        "dates_repaired_revolutions": counts["daterevolutions"],
        "dates_repaired_vibration": counts["datevibration"],
        "tenfold_repaired_vibration": counts["tenfoldvibration"],
    }
    for line, column, cell, _, _ in repairs.iter_rows():
        assert rows[line - 2][("revolutions", "humidity", "vibration").index(column)] == cell


def test_parts_are_cut_in_time(home):
    _write(home, _rows())
    dataset = ElevatorDataset(expected_rows=N, test_share=0.3)
    train, test = dataset.load("train"), dataset.load("test")
    assert train.units == test.units == ("elevator",)
    assert train.frame["time"].to_list() == list(range(1, 351))
    assert test.frame["time"].to_list() == list(range(351, 501))
    assert test.age[0] == 0


def test_missing_readings_stay_missing_and_are_counted(home):
    rows = _rows()
    rows[10][2] = ""
    _write(home, rows)
    fleet = ElevatorDataset(expected_rows=N).load()
    assert np.isnan(fleet.values(["vibration"])[10, 0])
    assert {note.kind: note.count for note in fleet.notes}["missing"] == 1


def test_an_uncertain_cell_is_refused_by_line_and_column(home):
    rows = _rows()
    rows[10][0] = "05. Mai"
    _write(home, rows)
    with pytest.raises(FormatError, match=r"line 12, column 'revolutions': a spreadsheet damaged '05. Mai'"):
        ElevatorDataset(expected_rows=N).load()


def test_an_uncertain_cell_is_missing_on_demand(home):
    rows = _rows()
    rows[10][0] = "05. Mai"
    _write(home, rows)
    dataset = ElevatorDataset(expected_rows=N, uncertain="missing")
    fleet = dataset.load()
    assert np.isnan(fleet.values(["revolutions"])[10, 0])
    assert {note.kind: note.count for note in fleet.notes}["uncertain_missing_revolutions"] == 1
    assert dataset.repairs().filter(pl.col("kind") == "uncertain").rows() == [
        (12, "revolutions", "05. Mai", None, "uncertain")
    ]


def test_the_zip_is_read(home):
    path = _write(home, _rows())
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as zipped:
        zipped.write(path, path.name)
    path.unlink()
    assert ElevatorDataset(expected_rows=N).load("all").n_rows == N


@pytest.mark.parametrize(
    ("row", "cells", "message"),
    [
        (7, ["8", "broken", "74.007", "9.9", *"12345"], r"line 9, column 'revolutions': 'broken' is neither"),
        (7, ["7", "30.772", "74.007", "9.9", *"12345"], r"line 9, column 'ID': '7' does not come after"),
        (7, ["7.5", "30.772", "74.007", "9.9", *"12345"], r"line 9, column 'ID': '7.5' is not a whole number"),
        (7, ["", "30.772", "74.007", "9.9", *"12345"], r"line 9, column 'ID': the cell is empty"),
        (7, ["8", "30.772"], r"line 9: 2 cells, but the header has 9"),
    ],
)
def test_a_bad_row_is_refused_by_line(home, row, cells, message):
    rows = _long(_rows())
    rows[row] = cells
    _write(home, rows, LONG_HEADER)
    with pytest.raises(FormatError, match=message):
        ElevatorDataset(expected_rows=N).load()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("ball-bearing;humidity;shaking", "there is no column 'vibration'"),
        ("ball-bearing;ball-bearing;vibration", "column 'ball-bearing' is there twice"),
    ],
)
def test_another_header_is_refused(home, header, message):
    _write(home, _rows(), header)
    with pytest.raises(FormatError, match=message):
        ElevatorDataset(expected_rows=N).load()


def test_an_unknown_column_is_refused(home):
    _write(home, [[*row, "1"] for row in _rows()], "ball-bearing;humidity;vibration;answer")
    with pytest.raises(FormatError, match="'answer' is not known"):
        ElevatorDataset(expected_rows=N).load()


def test_a_truncated_file_is_refused(home):
    _write(home, _rows())
    with pytest.raises(FormatError, match=f"{N} rows, but {ROWS} were published"):
        ElevatorDataset().load()


def test_an_empty_part_is_refused(home):
    _write(home, _rows())
    with pytest.raises(FormatError, match="no sample is in the test part"):
        ElevatorDataset(expected_rows=N, test_share=0).load("test")


def test_a_missing_set_says_how_to_fetch_it(home):
    with pytest.raises(SourceNotFoundError, match="wearcast datasets fetch elevator"):
        ElevatorDataset().load()


def test_a_file_that_is_not_text_is_refused_by_line(home):
    path = _write(home, _rows())
    path.write_bytes(path.read_bytes() + b"\xff")
    with pytest.raises(FormatError, match=f"line {N + 2}: byte 0xff is not UTF-8"):
        ElevatorDataset(expected_rows=N).load()


@pytest.fixture(scope="module")
def published() -> Fleet:
    """The published file; to repair it takes seconds."""
    return ElevatorDataset().load("all")


@real
def test_every_damaged_cell_of_the_published_file_is_repaired(published: Fleet):
    assert published.n_rows == ROWS
    assert {note.kind: note.count for note in published.notes} == {
        "dates_repaired_revolutions": 535,
        "dates_repaired_vibration": 5242,
        "tenfold_repaired_vibration": 44_657,
    }
    vibration = published.values(["vibration"])[:, 0].astype(np.float64)
    revolutions = published.values(["revolutions"])[:, 0].astype(np.float64)
    assert (vibration.min(), vibration.max()) == (2, 26)
    assert np.abs(np.diff(vibration)).max() < 0.0031
    assert np.abs(np.diff(revolutions)).max() < 0.0051


@real
def test_every_repair_of_vibration_is_right_by_an_oracle(published: Fleet):
    """To the last digit vibration is a straight line between whole numbers, one every 4,000 samples, undamaged."""
    repairs = ElevatorDataset().repairs().filter(pl.col("column") == "vibration")
    rows = repairs["line"].to_numpy() - 2
    corners = np.arange(0, ROWS, 4000)
    assert not set(corners) & set(rows)
    vibration = published.values(["vibration"])[:, 0].astype(np.float64)
    truth = np.interp(rows, corners, vibration[corners])
    assert repairs.height == 5242 + 44_657
    assert np.abs(repairs["value"].to_numpy() - truth).max() < 0.000501


@real
def test_the_published_file_is_cut_at_80_percent(published: Fleet):
    """The other part is what is left: that both are cut at one place is held above, on a small file."""
    test = ElevatorDataset().load("test")
    assert (published.n_rows - test.n_rows, test.n_rows) == (89_601, 22_400)
    assert test.frame["time"][0] == 89_602
    assert set(CARD.descriptions) >= set(test.schema.sensors)
