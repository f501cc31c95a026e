"""The border: what a table must be like to become a fleet, and how much memory that takes."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast import Fleet, frames
from wearcast.errors import FleetError, FormatError
from wearcast.schema import FleetSchema


def _fleet(table: Any, **options: Any) -> Fleet:
    roles: dict[str, Any] = {"unit": "u", "cycle": "c", "sensors": ["s"], **options}
    return Fleet.from_frame(table, **roles)


def _table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"u": [1, 1, 2], "c": [1, 2, 1], "s": [0.5, 1.0, 2.0], **columns})


@pytest.mark.parametrize("convert", [lambda t: t, lambda t: t.to_pandas(), lambda t: t.to_arrow()])
def test_polars_pandas_and_arrow_give_one_fleet(convert):
    assert _fleet(convert(_table())).fingerprint == _fleet(_table()).fingerprint


def test_another_kind_of_table_is_refused():
    with pytest.raises(FormatError, match=r"not builtins.list"):
        _fleet([1, 2])


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame([[1, 1, 0.5, 0.5]], columns=["u", "c", "s", "s"]),
        pa.table([[1], [1], [0.5], [0.5]], names=["u", "c", "s", "s"]),
    ],
)
def test_a_doubled_column_is_refused(table):
    with pytest.raises(FormatError, match="'s' is there twice"):
        _fleet(table)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "x", "3"], r"row 2, column 's': 'x' is not a number \(1 cells"),
        (["1", "2,5", "x"], r"row 2, column 's': '2,5'"),
        ([1.0, 2.0, float("-inf")], r"row 3, column 's': -inf is not a finite"),
        (["1", "inf", "2"], "inf is not a finite"),
        ([1.0, 1e300, 2.0], "1e\\+?300 is not a finite"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(cells, message):
    with pytest.raises(FleetError, match=message):
        _fleet(_table(s=cells))


def test_words_for_missing_readings_become_missing_and_are_counted():
    fleet = _fleet(_table(s=[" 1.5", "NA", ""]))
    assert fleet.frame["s"].is_nan().to_list() == [False, True, True]
    assert [(note.kind, note.count) for note in fleet.notes] == [("missing", 2)]


def test_whole_booleans_and_nothing_at_all_are_numbers_too():
    fleet = _fleet(_table(b=[True, False, None], n=[None, None, None]), sensors=["s", "b", "n"])
    assert fleet.frame.dtypes[2:] == [pl.Float32] * 3
    assert fleet.notes[0].count == 4


def test_columns_without_holes_are_not_copied():
    table = _table(s=pl.Series([0.5, 1.0, 2.0], dtype=pl.Float32), h=pl.Series([None, 1.0, 2.0], dtype=pl.Float32))
    fleet = _fleet(table, sensors=["s", "h"])
    address = [frame["s"].to_numpy().__array_interface__["data"][0] for frame in (table, fleet.frame)]
    assert address[0] == address[1]


def test_unsorted_rows_are_sorted_and_counted():
    fleet = _fleet(_table().reverse())
    assert fleet.frame["s"].to_list() == [0.5, 1.0, 2.0]
    assert [note.kind for note in fleet.notes] == ["unsorted"]


def test_gaps_are_counted_against_the_usual_step():
    table = pl.DataFrame({"u": [1] * 6 + [2] * 2, "c": [10, 20, 30, 60, 70, 95, 10, 20], "s": [0.0] * 8})
    assert [(note.kind, note.count) for note in _fleet(table).notes] == [("gaps", 2)]


def test_units_of_one_row_have_no_usual_step():
    fleet = _fleet(pl.DataFrame({"u": [1, 2], "c": [1, 9], "s": [0.0, 1.0]}))
    assert frames.typical_step(fleet.frame) is None
    assert fleet.notes == ()


def test_repeated_rows_are_found_beyond_the_first_slice(monkeypatch):
    monkeypatch.setattr(frames, "SLICE", 3)
    table = pl.DataFrame({"u": [1] * 9, "c": [1, 2, 3, 4, 5, 6, 6, 7, 7], "s": np.arange(9.0)})
    with pytest.raises(FleetError, match=r"unit 1 has two readings at time 6 \(2 repeated rows"):
        _fleet(table)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=40, unique=True),
    st.integers(1, 9),
)
def test_looking_in_slices_finds_what_looking_at_once_finds(rows, size):
    """Order and number of moved rows do not depend on the size of a slice."""
    table = pl.DataFrame(
        {"u": [u for u, _ in rows], "c": [c for _, c in rows], "s": [float(u * 100 + c) for u, c in rows]}
    )
    whole = _fleet(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "SLICE", size)
        sliced = _fleet(table)
    assert sliced.frame.equals(whole.frame)
    assert sliced.frame["s"].to_list() == [float(u * 100 + c) for u, c in sorted(rows)]
    moved = sum(now < before for before, now in pairwise(rows))
    assert [n.count for n in sliced.notes if n.kind == "unsorted"] == ([moved] if moved else [])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=40, unique=True))
def test_the_last_row_of_each_unit_ends_its_life(rows):
    table = pl.DataFrame({"u": [u for u, _ in rows], "c": [c for _, c in rows], "s": 0.0})
    fleet = _fleet(table, events="last_row")
    slow = {unit: max(c for u, c in rows if u == unit) for unit in {u for u, _ in rows}}
    assert dict(zip(fleet.events["unit"], fleet.events["time"], strict=True)) == slow


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["2024-05-18", "2024-05-19", "2024-05-20"], datetime(2024, 5, 18)),
        (["2024-05-18 10:00", "2024-05-18 11:00", "2024-05-18 12:00"], datetime(2024, 5, 18, 10)),
        (["18.05.2024 10:00", "18.05.2024 11:00", "18.05.2024 12:00"], datetime(2024, 5, 18, 10)),
        (["2024-05-18T10:00:00Z", "2024-05-18T11:00:00Z", "2024-05-18T12:00:00Z"], datetime(2024, 5, 18, 10)),
        (["2024-05-18T10:00:00+02:00"] * 2 + ["2024-05-18T12:00:00+02:00"], datetime(2024, 5, 18, 8)),
    ],
)
def test_timestamps_that_cannot_be_misread_are_read(cells, first):
    table = pl.DataFrame({"u": [1, 2, 1], "t": cells, "s": [0.0, 1.0, 2.0]})
    fleet = _fleet(table, cycle=None, time="t")
    assert fleet.frame["time"].dtype == pl.Datetime("us")
    assert fleet.frame["time"][0] == first


def test_zoned_and_plain_dates_become_utc():
    zoned = pl.Series([datetime(2024, 5, 18, 10)]).dt.replace_time_zone("Europe/Berlin").dt.cast_time_unit("ns")
    table = pl.DataFrame({"u": [1], "t": zoned, "s": [0.0]})
    assert _fleet(table, cycle=None, time="t").frame["time"][0] == datetime(2024, 5, 18, 8)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["03/04/2024", "03/05/2024", "03/06/2024"], "day/month or month/day"),
        (["2024-05-18", "03/05/2024", "2024-05-20"], "row 2, column 't': '03/05/2024' may be"),
        (["soon", "later", "never"], "row 1, column 't': 'soon' is not a timestamp"),
        (["2024-05-18", "soon", "2024-05-20"], r"row 2, column 't': 'soon' is not a timestamp"),
        (["soon", "2024-05-18", "2024-05-20"], r"row 1, column 't': 'soon' is not a timestamp"),
        (["2024-05-18", None, "2024-05-20"], r"row 2, column 't': the time is empty"),
        ([1, 2, 3], "timestamps are needed, not Int64"),
    ],
)
def test_times_that_are_no_timestamps_are_refused(cells, message):
    with pytest.raises(FleetError, match=message):
        _fleet(pl.DataFrame({"u": [1, 1, 1], "t": cells, "s": [0.0] * 3}), cycle=None, time="t")


def test_a_time_format_settles_the_order_of_day_and_month():
    parsed = frames.timestamps(pl.Series("t", ["03/04/2024 10:00"]), "x", "%m/%d/%Y %H:%M")
    assert parsed[0] == datetime(2024, 3, 4, 10)


@pytest.mark.parametrize("cells", [["a", "2", "3"], [1.0, float("nan"), 3.0], [1.0, float("inf"), 3.0]])
def test_cycles_must_be_numbers(cells):
    with pytest.raises(FleetError, match="is not a cycle number"):
        _fleet(_table(c=cells))


def test_fractions_of_cycles_are_kept():
    assert _fleet(_table(c=[1.0, 1.5, 2.0])).frame["time"].to_list() == [1.0, 1.5, 2.0]


def test_statics_must_not_change_within_a_unit():
    table = _table(kind=["a", "a", None], size=[None, None, 3.0])
    fleet = _fleet(table, statics=["kind", "size"])
    assert fleet.frame["kind"].to_list() == ["a", "a", None]
    with pytest.raises(FleetError, match="'kind' changes within unit 1"):
        _fleet(_table(kind=["a", None, "b"]), statics=["kind"])


@pytest.mark.parametrize("units", [["b", "a", "b"], [2.0, 1.0, 2.0], [2, 1, 2]])
def test_units_are_whole_numbers_or_text(units):
    fleet = _fleet(_table(u=units, c=[1, 1, 2]))
    assert fleet.n_units == 2


@pytest.mark.parametrize(
    ("units", "message"), [([1, None, 2], "row 2, column 'u'"), ([1.5, 1.5, 2], "fractions"), (["", "a", "b"], "row 1")]
)
def test_units_must_be_there(units, message):
    with pytest.raises(FleetError, match=message):
        _fleet(_table(u=units))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ({"unit": [1], "end": [5]}, "'time' is missing"),
        ({"unit": [9], "time": [5]}, "unit 9 has no readings"),
        ({"unit": [1], "time": [1]}, "ended at 1 but has readings until 2"),
        ({"unit": [1], "time": [5], "kind": ["broke"]}, "unknown kind 'broke'"),
    ],
)
def test_events_must_fit_the_readings(events, message):
    with pytest.raises(FleetError, match=message):
        _fleet(_table(), events=pl.DataFrame(events))


def test_maintenance_may_come_before_the_last_reading():
    events = pl.DataFrame(
        {"unit": ["1", "1"], "time": [1, 4], "kind": ["maintenance", "failure"], "mode": [None, "fan"]}
    )
    fleet = _fleet(_table(), events=events)
    assert fleet.events["mode"].to_list() == [None, "fan"]
    assert fleet.end_of_life_age[0] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensors": []}, "no sensor column"),
        ({"sensors": ["S"]}, "column 'S' is missing"),
        ({"sensors": ["s", "c"]}, "'c' has two roles"),
        ({"sensors": ["unit"]}, "cannot be called 'unit'"),
        ({"events": "later"}, "must be 'last_row'"),
    ],
)
def test_roles_must_fit_the_columns(options, message):
    with pytest.raises(FleetError, match=message):
        _fleet(_table(unit=[1, 2, 3]), **options)


def test_no_rows_are_no_fleet():
    with pytest.raises(FleetError, match="no rows"):
        _fleet(_table().clear())


def test_the_schema_knows_its_axis():
    schema = FleetSchema(sensors=("s",), settings=("a",), known_future=("k",), time_unit="day")
    assert schema.numeric == ("a", "s", "k")
    assert schema.is_clock


def test_a_stamp_without_the_offset_of_the_others_is_said_to_lack_it():
    """It looks just as the hint on ISO 8601 would have it."""
    stamps = pl.Series("t", ["2024-03-31 02:00:00+02:00", "2024-03-31 03:00:00"])
    with pytest.raises(FleetError, match=r"row 2, column 't'.*other stamps of this column have an offset from UTC"):
        frames.timestamps(stamps, "x")
