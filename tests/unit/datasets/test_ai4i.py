"""AI4I 2020 from a file as it is published, what is refused, and the real file where it is here."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import polars as pl
import pytest

from wearcast.datasets.ai4i import CARD, FAILURES, MODES, ROWS, Ai4iDataset
from wearcast.errors import FormatError, SourceNotFoundError

REAL = os.environ.get("WEARCAST_DATA_DIR")
real = pytest.mark.skipif(
    not REAL or not (Path(REAL) / "ai4i/ai4i2020.csv").is_file(), reason="WEARCAST_DATA_DIR does not hold ai4i/"
)
HEADER = (
    "UDI,Product ID,Type,Air temperature [K],Process temperature [K],Rotational speed [rpm],Torque [Nm],"
    "Tool wear [min],Machine failure,TWF,HDF,PWF,OSF,RNF"
)
# machine failure and the five modes of record 1, 2, …; the rest runs well
MARKS = ("1,1,0,0,0,0", "1,0,0,1,1,0", "1,1,0,0,0,1", "0,0,0,0,0,1", "1,0,0,0,0,0")


def _lines(rows: int = 40) -> list[str]:
    marks = [*MARKS, *["0,0,0,0,0,0"] * (rows - len(MARKS))]
    return [f"{i},L{47180 + i},{'LMH'[i % 3]},298.1,308.{i % 10},1551,42.8,{i},{m}" for i, m in enumerate(marks, 1)]


def _write(home: Path, lines: list[str], header: str = HEADER) -> Path:
    path = home / "ai4i" / "ai4i2020.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([header, *lines, ""]).encode())
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data folder without anything in it."""
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    return tmp_path


def test_each_record_is_a_unit_with_one_reading(home):
    _write(home, _lines())
    fleet = Ai4iDataset(expected_rows=40).load("all")
    assert (fleet.n_units, fleet.n_rows, fleet.units[:2]) == (40, 40, (1, 2))
    assert fleet.frame["time"].unique().to_list() == [1]
    assert fleet.frame["process_temperature"][0] == pytest.approx(308.1)
    assert fleet.schema.units_of_measure["torque"] == "Nm"


def test_ids_and_modes_are_never_features(home):
    _write(home, _lines())
    schema = Ai4iDataset(expected_rows=40).load("all").schema
    assert schema.statics == ("type",)
    assert schema.labels == ("machine_failure", *MODES, "failure_mode")
    assert not {"UDI", "Product ID", *MODES} & {*schema.numeric, *schema.statics}


def test_the_failure_mode_is_one_class(home):
    _write(home, _lines())
    modes = Ai4iDataset(expected_rows=40).load("all").frame["failure_mode"].to_list()
    assert modes[:6] == ["TWF", "multiple", "TWF", "RNF", "unknown", "none"]


def test_odd_labels_are_counted_in_notes(home):
    _write(home, _lines())
    notes = {note.kind: note.count for note in Ai4iDataset(expected_rows=40).load("all").notes}
    assert notes == {"label_without_mode": 1, "mode_without_label": 1, "several_modes": 1}


def test_parts_are_disjoint_stratified_and_depend_on_the_seed(home):
    _write(home, _lines(100))
    parts = {seed: _parts(Ai4iDataset(expected_rows=100, test_share=0.25, split_seed=seed)) for seed in range(5)}
    for train, test in parts.values():
        assert sorted((*train, *test)) == list(range(1, 101))
        assert len(test) == 25
        assert len({1, 2, 3, 5} & set(test)) == 1  # a quarter of the four failures
    assert len({test for _, test in parts.values()}) == 5
    assert parts[0] == _parts(Ai4iDataset(expected_rows=100, test_share=0.25))


def test_the_split_never_changes(home):
    _write(home, _lines(100))
    assert _parts(Ai4iDataset(expected_rows=100))[1][:6] == (3, 7, 15, 18, 20, 25)


def _parts(dataset: Ai4iDataset) -> tuple[tuple[int, ...], tuple[int, ...]]:
    train, test = (dataset.load(part).units for part in ("train", "test"))
    return train, test  # type: ignore[return-value]


def test_the_published_zip_is_read(home):
    path = _write(home, _lines())
    with zipfile.ZipFile(home / "ai4i" / "ai4i+2020+predictive+maintenance+dataset.zip", "w") as zipped:
        zipped.write(path, "ai4i2020.csv")
    path.unlink()
    assert Ai4iDataset(expected_rows=40).load("all").n_rows == 40


def test_a_missing_set_says_how_to_fetch_it(home):
    with pytest.raises(SourceNotFoundError, match="wearcast datasets fetch ai4i"):
        Ai4iDataset().load()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7,L47187,L,298.1,308.7,1551,42.8,7,0,0,0,0,0", r"line 8: 13 cells, but the header has 14"),
        ("7,L47187,X,298.1,308.7,1551,42.8,7,0,0,0,0,0,0", r"line 8, column 'Type': 'X' is none of L, M, H"),
        ("7,L47187,L,298.1,warm,1551,42.8,7,0,0,0,0,0,0", r"line 8, column 'Process temp.*'warm' is not a number"),
        ("7,L47187,L,298.1,,1551,42.8,7,0,0,0,0,0,0", r"line 8, column 'Process temp.*the cell is empty"),
        ("7,L47187,L,298.1,inf,1551,42.8,7,0,0,0,0,0,0", r"line 8, column 'Process temp.*'inf' is not a number"),
        ("7,L47187,L,298.1,308.7,1551,-1,7,0,0,0,0,0,0", r"line 8, column 'Torque \[Nm\]': '-1' is below 0"),
        ("7,L47187,L,298.1,308.7,1551,42.8,7,2,0,0,0,0,0", r"line 8, column 'Machine failure': '2' is neither 0"),
        ("6,L47187,L,298.1,308.7,1551,42.8,7,0,0,0,0,0,0", r"line 7, column 'UDI': '6' is there twice"),
        ("6.5,L47187,L,298.1,308.7,1551,42.8,7,0,0,0,0,0,0", r"line 8, column 'UDI': '6.5' is not a whole number"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column(home, line, message):
    lines = _lines()
    lines[6] = line
    _write(home, lines)
    with pytest.raises(FormatError, match=message):
        Ai4iDataset(expected_rows=40).load()


def test_a_truncated_file_is_refused(home):
    _write(home, _lines())
    with pytest.raises(FormatError, match="40 rows, but 10000 were published"):
        Ai4iDataset().load()


def test_a_row_that_is_cut_off_is_refused(home):
    path = _write(home, _lines())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FormatError, match=r"line 41: .*the last row is cut off"):
        Ai4iDataset(expected_rows=40).load()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Torque [Nm]", "Torque", r"line 1: there is no column 'Torque \[Nm\]'"),
        ("RNF", "OSF", r"line 1: column 'OSF' is there twice"),
    ],
)
def test_changed_columns_are_refused(home, old, new, message):
    _write(home, _lines(), HEADER.replace(old, new))
    with pytest.raises(FormatError, match=message):
        Ai4iDataset(expected_rows=40).load()


def test_an_extra_column_is_refused(home):
    _write(home, [f"{line},1" for line in _lines()], f"{HEADER},answer")
    with pytest.raises(FormatError, match="'answer' was not published"):
        Ai4iDataset(expected_rows=40).load()


def test_changed_labels_are_refused(home):
    _write(home, [f"{i},L1,L,298,308,1551,42,7,0,0,0,0,0,0" for i in range(1, ROWS + 1)])
    with pytest.raises(FormatError, match=f"0 failures, but {FAILURES} were published"):
        Ai4iDataset().load()


def test_an_empty_part_is_refused(home):
    _write(home, _lines())
    with pytest.raises(FormatError, match="no record is in the test part"):
        Ai4iDataset(expected_rows=40, test_share=0).load("test")


@real
def test_the_published_file_has_the_published_counts():
    fleet = Ai4iDataset().load("all")
    assert fleet.n_units == ROWS
    assert int(fleet.frame["machine_failure"].sum()) == FAILURES
    sums = [int(fleet.frame[mode].sum()) for mode in MODES]
    assert sums == [46, 115, 95, 98, 19]
    assert {note.kind: note.count for note in fleet.notes} == {
        "label_without_mode": 9,
        "mode_without_label": 18,
        "several_modes": 23,  # without the one of TWF and RNF, which is noise
    }
    classes = dict(fleet.frame["failure_mode"].value_counts().iter_rows())
    assert classes == {
        "none": 9643, "TWF": 43, "HDF": 106, "PWF": 80, "OSF": 78, "RNF": 18, "multiple": 23, "unknown": 9,
    }  # fmt: skip
    assert set(CARD.descriptions) >= set(fleet.schema.sensors)


@real
@pytest.mark.parametrize("seed", range(5))
def test_a_fifth_of_the_published_failures_is_held_back(seed):
    dataset = Ai4iDataset(split_seed=seed)
    train, test = dataset.load("train"), dataset.load("test")
    assert (train.n_units, test.n_units) == (8000, 2000)
    assert int(test.frame["machine_failure"].sum()) == 68
    assert set(train.units).isdisjoint(test.units)
    assert train.frame.select(pl.col("type").n_unique()).item() == 3
