"""The fleet: what goes in, what is repaired and counted, what is refused, and what can be asked of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.errors import FleetError, FormatError
from wearcast.schema import Note


def table(**changes: Any) -> pl.DataFrame:
    """Two pumps with three and two readings; `changes` replace or add columns."""
    columns: dict[str, Any] = {
        "pump": ["a", "a", "a", "b", "b"],
        "cycle": [1, 2, 3, 1, 2],
        "p": [1.0, 2.0, 3.0, 4.0, 5.0],
        "q": [0.1, 0.2, 0.3, 0.4, 0.5],
    }
    return pl.DataFrame(columns | changes)


def fleet(frame: Any = None, **options: Any) -> Fleet:
    """A fleet of `table()`, with the options of `Fleet.from_frame`."""
    defaults: dict[str, Any] = {"unit": "pump", "sensors": ["p", "q"], "name": "pumps.csv"}
    if "time" not in options:
        defaults["cycle"] = "cycle"
    return Fleet.from_frame(table() if frame is None else frame, **(defaults | options))


# ---------------------------------------------------------------------- what goes in


@pytest.mark.parametrize(
    "convert",
    [lambda f: f, lambda f: f.to_pandas(), lambda f: f.to_arrow()],
    ids=["polars", "pandas", "pyarrow"],
)
def test_pandas_polars_and_arrow_give_the_same_fleet(convert: Callable[[pl.DataFrame], Any]) -> None:
    made = fleet(convert(table()), events=convert(pl.DataFrame({"unit": ["a"], "time": [3]})))
    assert made.fingerprint == fleet(events=pl.DataFrame({"unit": ["a"], "time": [3]})).fingerprint
    assert made.units == ("a", "b")
    assert made.frame.columns == ["unit", "time", "p", "q"]
    assert made.frame["p"].dtype == pl.Float32


def test_a_pandas_index_does_not_become_a_column() -> None:
    frame = table().to_pandas().set_index(pd.Index([9, 8, 7, 6, 5]))
    assert fleet(frame).fingerprint == fleet().fingerprint


def test_a_pandas_missing_value_is_a_missing_reading() -> None:
    frame = table().to_pandas()
    frame["p"] = pd.array([1.0, None, 3.0, 4.0, 5.0], dtype="Float64")
    assert np.isnan(fleet(frame).values(["p"])[1, 0])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"pump": ["a"]}, "not builtins.dict"),
        ([1, 2], "not builtins.list"),
        (pd.DataFrame([["a", 1, 1.0, 2.0, 3.0]], columns=["pump", "cycle", "p", "q", "p"]), "'p' is there twice"),
        (pa.table([["a"], [1], [1.0], [2.0]], names=["pump", "cycle", "p", "p"]), "'p' is there twice"),
    ],
    ids=["dict", "list", "pandas with a doubled column", "arrow with a doubled column"],
)
def test_what_is_no_table_is_a_format_error(frame: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        fleet(frame)


def test_number_cells_as_text_with_blanks_are_read() -> None:
    made = fleet(table(p=[" 1.5", "2", "", "-4e1", "5"]))
    assert made.values(["p"])[:, 0].tolist()[:2] == [1.5, 2.0]
    assert made.values(["p"])[3, 0] == -40.0
    assert np.isnan(made.values(["p"])[2, 0])


def test_booleans_and_an_empty_column_are_numbers() -> None:
    made = fleet(table(p=[True, False, True, True, False], q=[None] * 5))
    assert made.values(["p"])[:, 0].tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert np.isnan(made.values(["q"])).all()


def test_whole_numbers_stored_as_floats_are_units_and_cycles() -> None:
    made = fleet(table(pump=[1.0, 1.0, 1.0, 2.0, 2.0], cycle=[1.0, 2.0, 3.0, 1.0, 2.0]))
    assert made.units == (1, 2)
    assert made.frame["time"].to_list() == [1, 2, 3, 1, 2]


def test_fractional_cycles_stay_fractions() -> None:
    assert fleet(table(cycle=[0.5, 1.0, 1.5, 0.0, 2.0])).age.tolist() == [0.0, 0.5, 1.0, 0.0, 2.0]


def test_statics_of_text_and_of_numbers_are_kept() -> None:
    made = fleet(table(site=["north"] * 3 + ["south"] * 2, year=[1999.0] * 3 + [2004.0] * 2), statics=["site", "year"])
    assert made.frame["site"].to_list() == ["north"] * 3 + ["south"] * 2
    assert made.schema.statics == ("site", "year")


def test_roles_of_columns_are_in_the_schema() -> None:
    made = fleet(table(load=1.0, plan=2.0), settings=["load"], known_future=["plan"])
    assert made.schema.numeric == ("load", "p", "q", "plan")
    assert not made.schema.is_clock


# ---------------------------------------------------------------------- what is repaired and counted


def test_rows_out_of_order_are_sorted_and_counted() -> None:
    made = fleet(table()[[1, 0, 2, 4, 3]])
    assert made.fingerprint == fleet().fingerprint
    assert [(note.kind, note.count) for note in made.notes] == [("unsorted", 2)]


def test_units_whose_rows_are_interleaved_are_gathered() -> None:
    made = fleet(table()[[0, 3, 1, 4, 2]])
    assert made.units == ("a", "b")
    assert made.frame["time"].to_list() == [1, 2, 3, 1, 2]


def test_text_units_keep_the_order_of_the_file() -> None:
    assert fleet(table(pump=["z", "z", "z", "a", "a"])).units == ("z", "a")


def test_missing_readings_stay_missing_and_are_counted() -> None:
    made = fleet(table(p=[1.0, None, float("nan"), 4.0, 5.0]))
    assert [(note.kind, note.count) for note in made.notes] == [("missing", 2)]
    assert np.isnan(made.values(["p"])[1:3]).all()


def test_clean_data_have_no_notes_and_notes_add_up() -> None:
    made = fleet()
    assert made.notes == ()
    more = made.with_notes(Note("one", 1, "first")).with_notes(Note("two", 2, "second"))
    assert [note.kind for note in more.notes] == ["one", "two"]
    assert more.fingerprint == made.fingerprint


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (table(), {"cycle": None}, "give either cycle or time"),
        (table(), {"time": "cycle", "cycle": "cycle"}, "give either cycle or time"),
        (table(), {"sensors": []}, "no sensor column"),
        (table(), {"sensors": ["p", "p"]}, "'p' has two roles"),
        (table(), {"settings": ["p"]}, "'p' has two roles"),
        (table(), {"sensors": ["cycle"]}, "'cycle' has two roles"),
        (table(), {"sensors": ["qq"]}, "'qq' is missing; there are pump, cycle, p, q"),
        (table(), {"unit": "punp"}, "did you mean 'pump'"),
        (table(time=1.0), {"sensors": ["time"]}, "cannot be called 'time'"),
        (table().head(0), {}, "there are no rows"),
        (table(pump=["a", None, "a", "b", "b"]), {}, "row 2, column 'pump': the unit is empty"),
        (table(pump=["a", "a", "  ", "b", "b"]), {}, "row 3, column 'pump': the unit is empty"),
        (table(pump=[1.0, 1.0, 1.5, 2.0, 2.0]), {}, "not fractions"),
        (table(pump=[1.0, 1.0, float("nan"), 2.0, 2.0]), {}, "not fractions"),
        (table(cycle=[1, None, 3, 1, 2]), {}, "row 2, column 'cycle': the time is empty"),
        (table(cycle=[1.0, float("inf"), 3.0, 1.0, 2.0]), {}, "row 2, column 'cycle': inf is not a cycle number"),
        (table(cycle=["1", "2", "x", "1", "2"]), {}, "row 3, column 'cycle': 'x' is not a cycle number"),
        (table(p=["1", "2", "high", "4", "5"]), {}, "row 3, column 'p': 'high' is not a number.*1 cells"),
        (table(q=[1.0, 2.0, 3.0, float("-inf"), 5.0]), {}, "row 4, column 'q': -inf is not a finite reading"),
        (table(q=[1.0, 2.0, 3.0, 1e300, 5.0]), {}, "row 4, column 'q': .* is not a finite reading"),
        (table(cycle=[1, 2, 2, 1, 2]), {}, r"unit 'a' has two readings at time 2 \(1 repeated"),
        (table(site=["x", "y", "x", "z", "z"]), {"statics": ["site"]}, "'site' changes within unit 'a'"),
        (table(), {"events": "first_row"}, "'last_row', 'censored' or a table, not 'first_row'"),
    ],
)
def test_what_contradicts_itself_is_a_fleet_error_that_says_where(
    frame: pl.DataFrame, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(FleetError, match=message) as caught:
        fleet(frame, **options)
    assert str(caught.value).startswith("pumps.csv")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ({"unit": ["a"]}, "column 'time' is missing; there are unit"),
        ({"time": [3]}, "column 'unit' is missing; there are time"),
        ({"unit": ["a"], "time": [3], "kind": ["boom"]}, "unknown kind 'boom'.*one of end_of_life"),
        ({"unit": ["c"], "time": [3]}, "unit 'c' has no readings"),
        ({"unit": [None], "time": [3]}, "the unit is empty"),
        ({"unit": ["a"], "time": [None]}, "the time is empty"),
        ({"unit": ["a"], "time": [2]}, "unit 'a' ended at 2 but has readings until 3.*maintenance"),
    ],
)
def test_events_that_contradict_the_readings_are_refused(events: dict[str, Any], message: str) -> None:
    with pytest.raises(FleetError, match=message) as caught:
        fleet(events=pl.DataFrame(events))
    assert str(caught.value).startswith("pumps.csv: events")


def test_an_unknown_numbered_unit_in_the_events_is_named() -> None:
    with pytest.raises(FleetError, match="unit 7 has no readings"):
        fleet(table(pump=[1, 1, 1, 2, 2]), events=pl.DataFrame({"unit": [7], "time": [9]}))


# ---------------------------------------------------------------------- lives


def test_each_history_can_end_with_the_end_of_life() -> None:
    duration, known = fleet(events="last_row").rul()
    assert duration.tolist() == [2.0, 1.0, 0.0, 1.0, 0.0]
    assert known.all()


def test_of_a_censored_unit_only_the_least_rul_is_known() -> None:
    duration, known = fleet(events=pl.DataFrame({"unit": ["b"], "time": [10]})).rul()
    assert duration.tolist() == [2.0, 1.0, 0.0, 9.0, 8.0]
    assert known.tolist() == [False, False, False, True, True]


def test_a_fleet_in_which_every_unit_still_runs_is_all_censored() -> None:
    made = fleet(events="censored")
    assert np.isnan(made.end_of_life_age).all()
    assert not made.rul()[1].any()
    assert made.summary()["failed"] == 0


def test_maintenance_does_not_end_a_life_and_the_first_failure_does() -> None:
    events = pl.DataFrame(
        {
            "unit": ["a", "a", "a"],
            "time": [2, 9, 7],
            "kind": ["maintenance", "end_of_life", "failure"],
            "mode": ["", "", "seal"],
        }
    )
    made = fleet(events=events)
    assert made.end_of_life_age[0] == 6.0
    assert made.events["mode"].to_list()[1] == "seal"
    assert np.isnan(made.end_of_life_age[1])


def test_events_of_numbered_units_may_be_written_as_text() -> None:
    made = fleet(table(pump=[1, 1, 1, 2, 2]), events=pl.DataFrame({"unit": ["2"], "time": [5]}))
    assert made.end_of_life_age[1] == 4.0


def test_the_age_starts_at_the_first_reading_and_gaps_count() -> None:
    assert fleet(table(cycle=[5, 9, 10, 1, 2])).age.tolist() == [0.0, 4.0, 5.0, 0.0, 1.0]


def test_a_unit_of_one_row_is_a_unit() -> None:
    made = fleet(table().head(4), events="last_row")
    assert made.offsets.tolist() == [0, 3, 4]
    assert made.rul()[0].tolist() == [2.0, 1.0, 0.0, 0.0]


# ---------------------------------------------------------------------- timestamps

STAMPS = [dt.datetime(2024, 3, day, hour) for day, hour in [(1, 0), (1, 12), (2, 0), (5, 6), (5, 7)]]


@pytest.mark.parametrize(
    "stamps",
    [
        STAMPS,
        [stamp.isoformat() for stamp in STAMPS],
        [f" {stamp:%Y-%m-%d %H:%M:%S} " for stamp in STAMPS],
        [stamp.isoformat() + "Z" for stamp in STAMPS],
        pl.Series(STAMPS, dtype=pl.Datetime("ns")),
    ],
    ids=["datetime", "ISO 8601", "blanks", "UTC", "nanoseconds"],
)
def test_timestamps_of_every_form_are_one_clock(stamps: Any) -> None:
    made = fleet(table(at=stamps), time="at", events="last_row")
    assert made.schema.time_unit == "hour"
    assert made.schema.is_clock
    assert made.age.tolist() == [0.0, 12.0, 24.0, 0.0, 1.0]
    assert made.rul()[0].tolist() == [24.0, 12.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(("unit", "day"), [("second", 86400.0), ("minute", 1440.0), ("hour", 24.0), ("day", 1.0)])
def test_rul_is_in_the_chosen_unit_of_time(unit: Any, day: float) -> None:
    assert fleet(table(at=STAMPS), time="at", time_unit=unit).age[2] == pytest.approx(day)


def test_dates_are_timestamps_at_midnight() -> None:
    days = [dt.date(2024, 1, day) for day in (1, 2, 3, 1, 4)]
    assert fleet(table(at=days), time="at", time_unit="day").age.tolist() == [0.0, 1.0, 2.0, 0.0, 3.0]


def test_a_failure_between_readings_and_after_them_is_on_the_clock() -> None:
    events = pl.DataFrame({"unit": ["b"], "time": ["2024-03-05T09:30:00"]})
    assert fleet(table(at=STAMPS), time="at", events=events).end_of_life_age[1] == 3.5


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        (
            ["2024-01-01", "soon", "2024-01-03", "2024-01-01", "2024-01-02"],
            "row 2, column 'at': 'soon' is not a timestamp",
        ),
        ([1, 2, 3, 1, 2], "timestamps are needed, not Int64"),
        ([*STAMPS[:4], None], "row 5, column 'at': the time is empty"),
    ],
)
def test_what_is_no_timestamp_is_refused(stamps: Any, message: str) -> None:
    with pytest.raises(FleetError, match=message):
        fleet(table(at=stamps), time="at")


# ---------------------------------------------------------------------- what can be asked of it


def test_selecting_units_keeps_their_rows_events_and_order() -> None:
    made = make_fleet(units=5, censored=1)
    some = made.select([4, 2])
    assert some.units == (2, 4)
    assert some.n_rows == sum(np.diff(made.offsets)[[1, 3]])
    assert set(some.events["unit"]) == {2, 4}
    assert some.schema == made.schema


def test_selecting_every_unit_changes_nothing_and_none_leaves_none() -> None:
    made = fleet(events="last_row")
    assert made.select(made.units).fingerprint == made.fingerprint
    nothing = made.select([])
    assert (nothing.n_units, len(nothing), nothing.units) == (0, 0, ())
    assert nothing.rul()[0].shape == nothing.age.shape == (0,)
    assert nothing.summary()["rows_per_unit"] == []


def test_a_unit_that_is_not_there_is_named() -> None:
    with pytest.raises(FleetError, match=r"pumps.csv: no such unit: x, y"):
        fleet().select(["a", "y", "x"])


def test_the_history_of_one_unit() -> None:
    assert fleet().unit_frame("b")["p"].to_list() == [4.0, 5.0]
    assert fleet().to_frame().height == 5


def test_values_are_float32_in_the_order_asked_for() -> None:
    values = fleet().values(["q", "p"])
    assert values.dtype == np.float32
    assert values[0].tolist() == [pytest.approx(0.1), 1.0]


def test_summary_counts_what_failed_and_what_still_runs() -> None:
    summary = make_fleet(units=4, censored=1, spread=0, cycles=10).summary()
    assert (summary["units"], summary["rows"], summary["failed"], summary["censored"]) == (4, 40, 3, 1)
    assert summary["rows_per_unit"] == [10, 10, 10]
    assert summary["sensors"] == ["s0", "s1", "s2"]
    assert summary["settings"] == ["load"]


@pytest.mark.parametrize(
    "change",
    [
        lambda: fleet(table(p=[1.0, 2.0, 3.0, 4.0, 5.000001])),
        lambda: fleet(table(p=[1.0, 2.0, 3.0, 4.0, None])),
        lambda: fleet(table(cycle=[1, 2, 4, 1, 2])),
        lambda: fleet(table(pump=["a", "a", "a", "c", "c"])),
        lambda: fleet(table(pump=["a", "a", "b", "b", "b"], cycle=[1, 2, 3, 4, 5])),
        lambda: fleet(sensors=["q", "p"]),
        lambda: fleet(sensors=["p"], settings=["q"]),
        lambda: fleet(events="last_row"),
        lambda: fleet(events=pl.DataFrame({"unit": ["a"], "time": [3], "kind": ["maintenance"]})),
    ],
)
def test_any_change_of_the_data_changes_the_fingerprint(change: Callable[[], Fleet]) -> None:
    assert change().fingerprint != fleet().fingerprint


def test_the_name_and_the_order_of_readings_do_not_change_the_fingerprint() -> None:
    assert fleet(table()[[2, 0, 1, 4, 3]], name="other").fingerprint == fleet().fingerprint


# ---------------------------------------------------------------------- laws


@st.composite
def histories(draw: st.DrawFn) -> pl.DataFrame:
    """Rows of a few units at distinct, unsorted, gapped cycles."""
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from([3, 1, 2]), st.integers(-50, 500), st.one_of(st.none(), st.floats(-1e6, 1e6))),
            min_size=1,
            max_size=25,
            unique_by=lambda row: row[:2],
        )
    )
    schema = {"pump": pl.Int64, "cycle": pl.Int64, "p": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@given(histories(), st.sampled_from(["last_row", "censored"]))
def test_no_row_is_lost_and_lives_are_whole(frame: pl.DataFrame, events: Any) -> None:
    made = fleet(frame, sensors=["p"], events=events)
    assert made.n_rows == frame.height
    assert sorted(made.units) == sorted(set(frame["pump"]))
    assert made.offsets[0] == 0
    assert made.offsets[-1] == made.n_rows
    assert (np.diff(made.offsets) > 0).all()
    for i, unit in enumerate(made.units):
        rows = slice(made.offsets[i], made.offsets[i + 1])
        assert set(made.frame["unit"][rows]) == {unit}
        assert (made.row_unit[rows] == i).all()
        assert (np.diff(made.age[rows]) > 0).all()
        duration, known = made.rul()
        assert duration[rows] == pytest.approx(made.age[rows][-1] - made.age[rows])
        assert known[rows].all() == (events == "last_row")


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(frame: pl.DataFrame, random: Any) -> None:
    order = list(range(frame.height))
    random.shuffle(order)
    one, other = fleet(frame, sensors=["p"]), fleet(frame[order], sensors=["p"])
    assert one.fingerprint == other.fingerprint


@given(histories(), st.sets(st.sampled_from([1, 2, 3])))
def test_two_halves_hold_each_row_once(frame: pl.DataFrame, units: set[int]) -> None:
    made = fleet(frame, sensors=["p"], events="last_row")
    left, right = made.select(units & set(made.units)), made.select(set(made.units) - units)
    assert left.n_rows + right.n_rows == made.n_rows
    assert set(left.units).isdisjoint(right.units)
    assert np.nansum(left.values(["p"])) + np.nansum(right.values(["p"])) == pytest.approx(
        float(np.nansum(made.values(["p"]))), rel=1e-3, abs=1.0
    )


def test_labels_are_kept_and_may_change_within_a_unit() -> None:
    made = fleet(table(fault=["none", "none", "leak", None, "none"], worn=[0, 0, 1, 0, 1]), labels=["fault", "worn"])
    assert made.schema.labels == ("fault", "worn")
    assert made.schema.numeric == ("p", "q")
    assert made.frame["fault"].to_list() == ["none", "none", "leak", None, "none"]
    assert made.frame["worn"].to_list() == [0.0, 0.0, 1.0, 0.0, 1.0]


def test_a_label_cannot_be_a_sensor_as_well() -> None:
    with pytest.raises(FleetError, match="'q' has two roles"):
        fleet(labels=["q"])


def test_units_that_are_named_by_an_enum_stay_it_and_its_blanks_are_refused() -> None:
    named = pl.Series("pump", ["b", "b", "b", "a", "a"], dtype=pl.Enum(["b", "a"]))
    assert fleet(table().with_columns(named)).frame["unit"].dtype == pl.Enum(["b", "a"])
    blank = pl.Series("pump", ["b", "b", "b", " ", " "], dtype=pl.Enum(["b", " "]))
    with pytest.raises(FleetError, match="row 4, column 'pump': the unit is empty"):
        fleet(table().with_columns(blank))
