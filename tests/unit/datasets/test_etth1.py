"""ETTh1: the published layout, its split, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from wearcast.datasets.etth1 import CARD, COLUMNS, TEST_ROWS, TRAIN_ROWS, VALIDATION_ROWS, Etth1Dataset
from wearcast.errors import FormatError, SourceNotFoundError

REAL = os.environ.get("WEARCAST_DATA_DIR")
real = pytest.mark.skipif(
    not REAL or not (Path(REAL) / "etth1").is_dir(), reason="WEARCAST_DATA_DIR does not hold etth1/"
)


@cache
def _text() -> str:
    start = datetime(2016, 7, 1)
    rows = [f"{start + timedelta(hours=i)},{i},1.5,2,3,4,5,{i % 24}" for i in range(17_420)]
    return "\n".join([f"date,{','.join(COLUMNS)}", *rows, ""])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a file in the published layout."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    (tmp_path / "etth1").mkdir()
    (tmp_path / "etth1" / "ETTh1.csv").write_text(_text())
    return tmp_path / "etth1"


def test_the_split_is_12_4_4_months_of_30_days(home: Path):
    train, test, both = (Etth1Dataset().load(split) for split in ("train", "test", "all"))
    assert (TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS) == (8640, 2880, 2880)
    assert [fleet.n_rows for fleet in (train, test, both)] == [11_520, 2880, 14_400]
    assert test.frame["HUFL"][0] == 11_520
    assert test.frame["time"][0] - train.frame["time"][-1] == timedelta(hours=1)


def test_the_test_months_may_bring_their_context(home: Path):
    fleet = Etth1Dataset(test_context=96).load("test")
    assert fleet.n_rows == 2880 + 96
    assert fleet.frame["HUFL"][96] == 11_520


def test_standardised_values_are_those_of_the_training_months(home: Path):
    """HUFL of the file counts the hours; the test months are measured by the 12 months, not by their own."""
    dataset = Etth1Dataset(standardised=True)
    level = dataset.load().frame["HUFL"][:TRAIN_ROWS]
    assert level.mean() == pytest.approx(0, abs=1e-6)
    assert level.std(ddof=0) == pytest.approx(1, rel=1e-5)
    mean, sd = (TRAIN_ROWS - 1) / 2, ((TRAIN_ROWS**2 - 1) / 12) ** 0.5
    assert dataset.load("test").frame["HUFL"][0] == pytest.approx((11_520 - mean) / sd, rel=1e-5)
    assert dataset.load().schema.units_of_measure == {}


def test_it_is_one_unit_of_seven_sensors_that_still_runs(home: Path):
    fleet = Etth1Dataset().load()
    assert fleet.units == ("transformer",)
    assert fleet.schema.sensors == COLUMNS
    assert fleet.schema.units_of_measure["OT"] == "°C"
    assert fleet.schema.sampling_rate_hz == pytest.approx(1 / 3600)
    assert not fleet.rul()[1].any()
    assert set(CARD.descriptions) == {"time", *COLUMNS}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace(",HULL,", ",HUL,", 1), "the columns are date, HUFL, HUL, "),
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "17419 rows, but 17420 were published"),
        (lambda text: text.replace(",7,1.5,", ",7,?,", 1), r"row 9, column HULL: '\?' is not a number"),
        (lambda text: text.replace(",7,1.5,", ",7,NaN,", 1), r"row 9, column HULL: 'NaN' is not a number"),
        (lambda text: text.replace("2016-07-01 07:", "01.07.2016 07:", 1), "row 9, column date: .* is not a time"),
        (lambda text: text.replace("2016-07-01 07:", "2016-07-01 06:", 1), "row 9, column date: not one hour after"),
        (lambda text: "", "not a table"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(home: Path, edit: Callable[[str], str], message: str):
    (home / "ETTh1.csv").write_text(edit(_text()))
    with pytest.raises(FormatError, match=message):
        Etth1Dataset().load()


def test_an_absent_file_says_how_to_get_it(home: Path):
    (home / "ETTh1.csv").unlink()
    with pytest.raises(SourceNotFoundError, match="wearcast datasets fetch etth1"):
        Etth1Dataset().load()


@real
def test_the_published_file_loads():
    fleet = Etth1Dataset().load("all")
    assert fleet.n_rows == 14_400
    assert fleet.frame["OT"][0] == pytest.approx(30.531)
