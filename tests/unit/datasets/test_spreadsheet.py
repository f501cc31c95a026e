"""What a spreadsheet did to readings is undone: right on damage that the test does itself, and never guessed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.spreadsheet_damage import as_spreadsheet, damaged, plain

from wearcast.datasets.published import read_cells
from wearcast.datasets.spreadsheet import Repaired, date_candidates, repair_cells
from wearcast.errors import FormatError

REAL = os.environ.get("WEARCAST_DATA_DIR")
ELEVATOR = Path(REAL or "") / "elevator/predictive-maintenance-dataset.csv"
real = pytest.mark.skipif(not REAL or not ELEVATOR.is_file(), reason="WEARCAST_DATA_DIR does not hold elevator/")


def _repair(cells: list[str] | list[str | None], *, shifts: bool = False) -> Repaired:
    return repair_cells(pl.Series("vibration", cells, dtype=pl.String), shifts=shifts)


def _right(readings: list[str], *, shifts: bool = False) -> tuple[int, int, int]:
    """Cells that the spreadsheet damages, and how many of them come back right and wrong; the others stay."""
    cells, truth = damaged(readings), np.array([float(reading) for reading in readings])
    hit = np.array([cell != reading for cell, reading in zip(cells, readings, strict=True)])
    values = _repair(cells, shifts=shifts).values
    np.testing.assert_array_equal(values[~hit], truth[~hit])
    wrong = hit & np.isfinite(values) & (np.abs(values - truth) > 1e-9)
    return int(hit.sum()), int((hit & np.isfinite(values) & ~wrong).sum()), int(wrong.sum())


def _ramps(rows: int = 6000, low: float = 2, high: float = 26, seed: int = 0) -> np.ndarray:
    """A smooth channel of straight pieces, as the elevator's are."""
    rng = np.random.default_rng(seed)
    knots = np.arange(0, rows + 1000, 1000)
    return np.interp(np.arange(rows), knots, np.round(rng.uniform(low, high, len(knots)), 1))


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("18. Mai", (18.05, 18.5)),
        ("06. Jan", (6.01, 6.1)),
        ("18. Okt", (18.10,)),
        ("18. Dez", (18.12,)),
        ("Mrz 49", (3.49,)),
        ("Okt 75", (10.75,)),
        ("5-Mar", (5.03, 5.3)),
        ("Mar-49", (3.49,)),
        ("31. Feb", ()),
        ("32. Mai", ()),
        ("0. Mai", ()),
        ("18. Foo", ()),
        ("Foo 49", ()),
        ("n.a.", ()),
        ("18.5", ()),
    ],
)
def test_a_date_stands_for_one_reading_or_two(text, readings):
    assert date_candidates(text) == pytest.approx(readings)


@given(st.integers(2, 99_999), st.integers(0, 4))
def test_the_reading_is_always_among_its_candidates(number, decimals):
    """Whatever the spreadsheet made a date of is one of the readings of that date."""
    reading = plain(number / 10**decimals, decimals)
    cell = as_spreadsheet(reading)
    if not cell.replace(".", "", 1).isdigit():
        assert any(abs(value - float(reading)) < 1e-9 for value in date_candidates(cell))


def test_only_the_neighbours_tell():
    assert _repair(["18.049", "18. Mai", "18.051"]).values[1] == 18.05
    assert _repair(["18.49", "18. Mai", "18.51"]).values[1] == 18.5


def test_rows_are_listed_by_what_was_done():
    found = _repair(["6", "60.005", "6.001", "06. Jan", "6.011", None, "Jun 13"], shifts=True)
    np.testing.assert_allclose(found.values, [6, 6.0005, 6.001, 6.01, 6.011, np.nan, 6.13])
    assert (found.dates.tolist(), found.shifted.tolist(), found.uncertain.tolist()) == ([3, 6], [1], [])


def test_a_run_of_dates_is_read_as_one():
    readings = [f"{value / 100:.2f}".rstrip("0").rstrip(".") for value in range(1800, 1901)]
    assert _right(readings) == (20, 20, 0)


def test_a_steep_straight_stretch_is_read_from_both_sides():
    """Both candidates lie between the neighbours; the lines through them tell."""
    readings = [plain(17.41 + 0.115 * i) for i in range(24)]
    assert "18.1" in readings
    assert _right(readings) == (2, 2, 0)


def test_a_column_of_tenths_has_no_hundredths():
    """3.5 between 3 and 3 is not read as 3.05 where a column never shows a hundredth."""
    readings = ["2.8", "2.9", "3", "3.2", "3.5", "3.8", "3.9", "4", "4.1", "4", "3.8"]
    assert _right(readings) == (8, 8, 0)


def test_a_reading_beyond_31_stays():
    assert _right(["45.1", "45.25", "45.123"]) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_dates_made_of_smooth_readings_come_back(decimals, seed):
    hit, right, wrong = _right([plain(value, decimals) for value in _ramps(seed=seed)])
    assert hit > 200
    assert (right, wrong) == (hit, 0)


@pytest.mark.parametrize("seed", range(3))
def test_dates_and_tenfold_readings_come_back(seed):
    readings = [plain(value, 4 if value < 10 else 3) for value in _ramps(seed=seed)]
    hit, right, wrong = _right(readings, shifts=True)
    assert hit > 800
    assert (right, wrong) == (hit, 0)


def test_noise_makes_cells_uncertain_but_not_wrong():
    rng = np.random.default_rng(0)
    readings = [plain(value) for value in np.clip(_ramps() + 0.3 * rng.standard_normal(6000), 1, 31)]
    hit, right, wrong = _right(readings)
    assert wrong <= 0.002 * hit
    assert right < hit


def test_high_readings_are_not_taken_for_tenfold_ones():
    """Nothing says that 45.123 among others like it is not 45.123."""
    found = _repair([f"{45 + i / 1000:.3f}" for i in range(1, 500)], shifts=True)
    assert len(found.shifted) == len(found.uncertain) == 0


def test_a_jump_between_the_candidates_is_not_decided():
    found = _repair(["18.003", "18.002", "18.001", "18. Mai", "18.601", "18.602", "18.603"])
    assert found.uncertain.tolist() == [3]
    assert np.isnan(found.values[3])


def test_a_date_far_from_its_neighbours_is_not_decided():
    assert _repair(["25.001", "25.002", "18. Mai", "25.003", "25.004"]).uncertain.tolist() == [2]


def test_a_date_without_neighbours_is_not_decided():
    assert _repair([None, "18. Mai", None]).uncertain.tolist() == [1]
    far = ["18.049", *[None] * 30, "18. Mai", *[None] * 30, "18.051"]
    assert _repair(far).uncertain.tolist() == [31]


def test_missing_cells_do_not_hide_the_neighbours():
    assert _repair(["18.049", None, "NA", "18. Mai", "", "18.051"]).values[3] == 18.05


@pytest.mark.parametrize("cell", ["warm", "31. Feb", "inf", "18,5"])
def test_what_no_spreadsheet_makes_is_refused_by_line(cell):
    with pytest.raises(FormatError, match=r"table: line 4, column 'vibration': .* is neither a number nor a date"):
        _repair(["18.049", "18.05", cell])


@real
@pytest.mark.parametrize(("channel", "less", "at_least"), [("humidity", 70, 11_000), ("humidity", 60, 3_000)])
@pytest.mark.parametrize("decimals", [2, 3])
def test_published_readings_damaged_on_purpose_come_back(channel, less, at_least, decimals):
    """An undamaged channel, moved by whole numbers into the range that a spreadsheet damages: ≥ 99.9% come back."""
    column = read_cells(ELEVATOR.read_bytes(), separator=";", where="elevator")[channel].cast(pl.Float64)
    hit, right, _ = _right([plain(value - less, decimals) for value in column.to_list()])
    assert hit >= at_least
    assert right >= 0.999 * hit
