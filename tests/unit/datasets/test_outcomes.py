"""How the histories in a user's files end: told by a table, by a mark, by the life left; and labels."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from wearcast import Fleet
from wearcast.datasets.endings import FailureMark, FailureTable, RemainingLife
from wearcast.datasets.files import split_units
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.reading import read_fleet
from wearcast.errors import ConfigError, FleetError


def _read(folder: Path, text: str, **options: object) -> Fleet:
    path = folder / "pumps.csv"
    path.write_text(text)
    mapping = ColumnMapping.model_validate({"unit": "pump", "cycle": "n", **options})
    return read_fleet([path], mapping, name="test")


# ------------------------------------------------------------------ labels


def test_labels_are_kept_as_numbers_or_text_and_are_no_sensors(tmp_path):
    text = "pump,n,temp,state,cause\n1,1,20,0,\n1,2,21,1,seal\n2,1,20,,\n"
    fleet = _read(tmp_path, text, labels=("state", "cause"))
    assert fleet.schema.sensors == ("temp",)
    assert fleet.schema.labels == ("state", "cause")
    assert fleet.frame["state"].to_list() == [0, 1, None]
    assert fleet.frame["cause"].to_list() == [None, "seal", None]


def test_a_label_that_becomes_text_far_below_the_sample_is_text(tmp_path):
    rows = "".join(f"1,{n},20,{'leak' if n == 1500 else n % 2}\n" for n in range(1, 1600))
    fleet = _read(tmp_path, "pump,n,temp,state\n" + rows, labels=("state",))
    assert fleet.frame["state"].dtype == pl.String
    assert fleet.frame["state"][1499] == "leak"


def test_labels_of_several_files_become_one_kind(tmp_path):
    (tmp_path / "a.csv").write_text("pump,n,temp,state\n1,1,20,leak\n")
    pl.DataFrame({"pump": [2], "n": [1], "temp": [1.0], "state": [3]}).write_parquet(tmp_path / "b.parquet")
    fleet = read_fleet([tmp_path], ColumnMapping(unit="pump", cycle="n", labels=("state",)), name="x")
    assert fleet.frame["state"].to_list() == ["leak", "3"]


def test_a_label_named_by_a_pattern_and_one_that_is_not_there(tmp_path):
    fleet = _read(tmp_path, "pump,n,temp,y_a,y_b\n1,1,20,0,1\n", labels=("y_*",))
    assert fleet.schema.labels == ("y_a", "y_b")
    with pytest.raises(FleetError, match=r"'yb' is missing.*did you mean 'y_b'"):
        _read(tmp_path, "pump,n,temp,y_b\n1,1,20,0\n", labels=("yb",))


# ------------------------------------------------------------------ a mark


MARKED = "pump,n,temp,failed\n1,1,20,0\n1,2,21,0\n1,3,22,1\n2,1,20,0\n2,2,21,\n"


def test_the_first_mark_ends_a_life_and_is_no_sensor(tmp_path):
    fleet = _read(tmp_path, MARKED, end_of_life={"column": "failed", "value": 1})
    assert fleet.schema.sensors == ("temp",)
    assert fleet.rul()[0].tolist() == [2, 1, 0, 1, 0]
    assert fleet.rul()[1].tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(("cells", "value"), [(("run", " broken "), "broken"), (("0", "1.0"), 1), (("no", "1"), 1)])
def test_a_mark_may_be_text_or_a_number(tmp_path, cells, value):
    text = f"pump,n,temp,state\n1,1,20,{cells[0]}\n1,2,21,{cells[1]}\n"
    fleet = _read(tmp_path, text, end_of_life=FailureMark(column="state", value=value), labels=("state",))
    assert fleet.rul()[1].all()
    assert fleet.schema.labels == ("state",)


def test_a_mark_in_parquet_may_be_a_boolean(tmp_path):
    path = tmp_path / "p.parquet"
    pl.DataFrame({"pump": [1, 1], "n": [1, 2], "t": [1.0, 2.0], "bad": [False, True]}).write_parquet(path)
    mapping = ColumnMapping(unit="pump", cycle="n", end_of_life=FailureMark(column="bad"))
    assert read_fleet([path], mapping, name="x").rul()[1].all()


def test_rows_after_a_mark_are_refused_or_a_new_life(tmp_path):
    text = MARKED.replace("2,1,20", "1,4,23,1\n1,5,20,0\n1,6,21,0\n2,1,20")
    with pytest.raises(FleetError, match=r"unit 1 failed at 3 by 'failed' .* \(3 rows of 1 units\) \(.*new_life"):
        _read(tmp_path, text, end_of_life={"column": "failed"})
    fleet = _read(tmp_path, text, end_of_life={"column": "failed", "after": "new_life"})
    assert fleet.units == ("1#1", "1#2", "2#1")
    assert fleet.frame["time"].to_list() == [1, 2, 5, 6, 1, 2]
    assert fleet.rul()[0].tolist() == [2, 1, 1, 0, 1, 0]
    assert fleet.rul()[1].tolist() == [True, True, False, False, False, False]
    assert {note.kind: note.count for note in fleet.notes} == {"lives": 3, "failure_rows": 2}


def test_without_any_mark_it_is_told(tmp_path):
    fleet = _read(tmp_path, MARKED.replace(",1\n2", ",0\n2"), end_of_life={"column": "failed"})
    assert [note.kind for note in fleet.notes] == ["no_mark"]
    assert not fleet.rul()[1].any()


def test_rows_out_of_order_do_not_confuse_the_mark(tmp_path):
    text = "pump,n,temp,failed\n1,3,22,1\n1,1,20,0\n1,2,21,0\n"
    fleet = _read(tmp_path, text, end_of_life={"column": "failed"})
    assert fleet.rul()[0].tolist() == [2, 1, 0]
    assert [note.kind for note in fleet.notes] == ["unsorted"]


# ------------------------------------------------------------------ the life left


def test_the_life_left_in_the_last_row_ends_a_life(tmp_path):
    text = "pump,n,temp,rul\n1,1,20,9\n1,2,21,8\n2,1,20,4\n2,2,21,\n"
    fleet = _read(tmp_path, text, end_of_life={"remaining": "rul"})
    assert fleet.schema.sensors == ("temp",)
    assert fleet.rul()[0].tolist() == [9, 8, 1, 0]
    assert fleet.rul()[1].tolist() == [True, True, False, False]
    assert [(note.kind, note.count) for note in fleet.notes] == [("still_running", 1)]


def test_a_capped_life_left_is_undone_and_told(tmp_path):
    text = "pump,n,temp,rul\n" + "".join(f"1,{n},20,{min(3, 6 - n)}\n" for n in range(1, 6))
    fleet = _read(tmp_path, text, end_of_life={"remaining": "rul"})
    assert fleet.rul()[0].tolist() == [5, 4, 3, 2, 1]
    assert [(note.kind, note.count) for note in fleet.notes] == [("capped_life", 2)]


def test_the_life_left_counts_in_the_unit_of_time(tmp_path):
    text = "pump,t,temp,rul\n1,2024-01-01 00:00,20,2.5\n1,2024-01-02 00:00,21,1.5\n"
    fleet = _read(tmp_path, text, cycle=None, time="t", time_unit="day", end_of_life={"remaining": "rul"})
    assert fleet.rul()[0].tolist() == [2.5, 1.5]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,1,20,9\n1,2,21,7\n1,3,20,7\n", r"unit 1 has 7 left at 2, but its last row says 8"),
        ("1,1,20,soon\n", r"column 'rul': 'soon' is not a life"),
        ("1,1,20,-1\n", "'-1' is not a life"),
        ("1,1,20,1.5\n", "1.5 is not a whole number of cycles"),
    ],
)
def test_a_life_left_that_contradicts_itself_is_refused(tmp_path, rows, message):
    with pytest.raises(FleetError, match=message):
        _read(tmp_path, "pump,n,temp,rul\n" + rows, end_of_life={"remaining": "rul"})


# ------------------------------------------------------------------ lives by a table


READINGS = "pump,n,temp,code\n" + "".join(f"{u},{n},{n},{n}\n" for u in "AB" for n in range(1, 11))


def test_failures_in_the_middle_cut_a_history_into_lives(tmp_path):
    failures = tmp_path / "f.csv"
    failures.write_text("pump,n,until,kind,mode\nA,4,6,,seal\nA,8,,failure,\nB,3,4,maintenance,\n")
    ends = FailureTable(failures=str(failures), lives=True)
    fleet = _read(tmp_path, READINGS, end_of_life=ends)
    assert fleet.units == ("A#1", "A#2", "A#3", "B#1")
    assert fleet.schema.sensors == ("temp", "code")
    assert fleet.select(["A#2"]).frame["temp"].to_list() == [7]
    assert fleet.select(["A#1"]).rul()[0].tolist() == [3, 2, 1]
    assert fleet.select(["A#3", "B#1"]).rul()[1].sum() == 0
    counts = {note.kind: note.count for note in fleet.notes}
    assert counts == {"lives": 4, "failure_rows": 4, "maintenance_rows": 2, "gaps": 1}


def test_a_table_for_lives_is_checked(tmp_path):
    failures = tmp_path / "f.csv"
    failures.write_text("pump,n,kind\nA,4,exploded\n")
    with pytest.raises(FleetError, match="unknown kind 'exploded'"):
        _read(tmp_path, READINGS, end_of_life=FailureTable(failures=str(failures), lives=True))
    failures.write_text("pump,n\nC,4\n")
    with pytest.raises(FleetError, match="unit 'C' has no readings"):
        _read(tmp_path, READINGS, end_of_life=FailureTable(failures=str(failures), lives=True))


def test_lives_of_one_asset_are_on_one_side_of_the_split(tmp_path):
    rows = "".join(f"p{u},{n},{n},{int(n in (3, 6))}\n" for u in range(30) for n in range(1, 9))
    ends = FailureMark(column="failed", after="new_life")
    fleet = _read(tmp_path, "pump,n,temp,failed\n" + rows, end_of_life=ends)
    train, test = ({str(unit).split("#")[0] for unit in side} for side in split_units(fleet, 0.3))
    assert fleet.n_units == 90
    assert test
    assert not train & test


# ------------------------------------------------------------------ the mapping itself


@pytest.mark.parametrize(
    "ends",
    [
        FailureMark(column="failed", value="yes", after="new_life"),
        RemainingLife(remaining="rul"),
        FailureTable(failures="/data/f.csv", lives=True, until="back"),
    ],
)
def test_every_way_to_tell_an_end_survives_yaml(tmp_path, ends):
    mapping = ColumnMapping(unit="u", cycle="c", labels=("y",), end_of_life=ends)
    mapping.to_yaml(tmp_path / "m.yaml")
    assert ColumnMapping.from_yaml(tmp_path / "m.yaml") == mapping


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{column: failed, valu: 1}", r"unknown key end_of_life.valu \(did you mean 'value'"),
        ("{remaining: rul, cap: 3}", "unknown key end_of_life.cap"),
        ("{column: failed, after: new}", "expected one of 'refuse' or 'new_life'"),
        ("lastrow", "did you mean 'last_row'"),
    ],
)
def test_a_misspelt_end_is_answered_for_what_was_meant(tmp_path, text, message):
    (tmp_path / "m.yaml").write_text(f"unit: u\ncycle: c\nend_of_life: {text}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        ColumnMapping.from_yaml(tmp_path / "m.yaml")
    assert "more" not in str(caught.value)


def test_without_truth_labels_and_ends_are_not_asked_for():
    marked = ColumnMapping(unit="u", cycle="c", labels=("y",), end_of_life=FailureMark(column="y"))
    assert marked.without_truth() == ColumnMapping(unit="u", cycle="c")
    cut = marked.model_copy(update={"end_of_life": FailureMark(column="y", after="new_life")})
    assert cut.without_truth().end_of_life == cut.end_of_life
