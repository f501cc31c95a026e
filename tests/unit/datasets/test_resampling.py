"""Irregular readings on an even step, time zones, stuck and missing readings, long tables."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast import Fleet
from wearcast.datasets.mapping import ColumnMapping
from wearcast.datasets.missing import treat_missing
from wearcast.datasets.reading import read_fleet
from wearcast.errors import ConfigError, FleetError

CLOCK = {"cycle": None, "time": "t"}


def _read(folder: Path, text: str, **options: object) -> Fleet:
    path = folder / "pumps.csv"
    path.write_text(text)
    return read_fleet([path], ColumnMapping.model_validate({"unit": "pump", "cycle": "n", **options}), name="test")


def _counts(fleet: Fleet) -> dict[str, int]:
    return {note.kind: note.count for note in fleet.notes}


# ------------------------------------------------------------------ resampling


IRREGULAR = """pump,t,temp,flow,valve,site,state
A,2024-01-01 00:00:01,10,1,0,west,
A,2024-01-01 00:00:08,20,2,1,west,ok
A,2024-01-01 00:00:12,30,,0,west,worn
A,2024-01-01 00:00:47,40,4,0,west,worn
B,2024-01-01 00:00:03,50,5,1,west,ok
"""
EVERY_10S = {"every": "10s", "aggregate": {"default": "mean", "flow": "sum", "val*": "max"}}


def test_each_column_is_aggregated_as_the_mapping_says(tmp_path):
    fleet = _read(tmp_path, IRREGULAR, **CLOCK, statics=("site",), labels=("state",), resample=EVERY_10S)
    assert [str(time) for time in fleet.frame["time"]] == [f"2024-01-01 00:00:{s}" for s in ("00", "10", "40", "00")]
    assert fleet.frame["temp"].to_list() == [15, 30, 40, 50]
    assert fleet.frame["flow"].fill_nan(None).to_list() == [3, None, 4, 5]
    assert fleet.frame["valve"].to_list() == [1, 0, 0, 1]
    assert fleet.frame["state"].to_list() == ["ok", "worn", "worn", "ok"]
    counts = _counts(fleet)
    assert (counts["resampled"], counts["empty_steps"], counts["missing"]) == (5, 2, 1)


def test_cycles_are_resampled_too_and_numeric_labels_keep_the_largest(tmp_path):
    text = "pump,n,temp,failed\n" + "".join(f"1,{n},{n},{int(n == 4)}\n" for n in range(1, 8))
    options = {"labels": ("failed",), "resample": {"every": 3, "aggregate": {"default": "last"}}}
    fleet = _read(tmp_path, text, **options)
    assert fleet.frame["time"].to_list() == [0, 3, 6]
    assert fleet.frame["temp"].to_list() == [2, 5, 7]
    assert fleet.frame["failed"].to_list() == [0, 1, 0]


def test_the_end_of_a_life_is_not_rounded_to_the_step(tmp_path):
    fleet = _read(tmp_path, IRREGULAR, **CLOCK, time_unit="second", end_of_life="last_row", sensors=("temp",),
                  resample=EVERY_10S | {"aggregate": {"default": "mean"}})  # fmt: skip
    assert fleet.rul()[0].tolist() == [47, 37, 7, 3]


def test_lives_are_cut_before_the_step_so_that_none_holds_readings_of_another(tmp_path):
    text = "pump,n,temp,failed\n" + "".join(f"1,{n},{n},{int(n in (4, 8))}\n" for n in range(1, 11))
    ends = {"column": "failed", "after": "new_life"}
    fleet = _read(tmp_path, text, end_of_life=ends, resample={"every": 5, "aggregate": {"default": "max"}})
    assert fleet.units == ("1#1", "1#2", "1#3")
    assert fleet.frame["temp"].to_list() == [3, 7, 9, 10]


@pytest.mark.parametrize(
    ("resample", "message"),
    [
        ({"every": 5, "aggregate": {"flwo": "sum", "default": "mean"}}, r"names 'flwo'.*did you mean 'flow'"),
        ({"every": 5, "aggregate": {"flow": "sum"}}, "does not say what becomes of 'temp'"),
        ({"every": "5s", "aggregate": {"default": "mean"}}, "the axis counts cycles"),
        ({"every": 2.5, "aggregate": {"default": "mean"}}, "cycles are whole numbers"),
        ({"every": 5, "aggregate": {"default": "mean", "state": "mean"}}, "'state' is text, which has no mean"),
    ],
)
def test_an_aggregation_that_does_not_fit_is_refused(tmp_path, resample, message):
    with pytest.raises(FleetError, match=message):
        _read(tmp_path, "pump,n,temp,flow,state\n1,1,2,3,ok\n", labels=("state",), resample=resample)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resample: {every: 10 s, aggregate: {default: mean}}", None),
        ("resample: {every: 10x, aggregate: {default: mean}}", "'10x' is not a length of time"),
        ("resample: {every: 0s, aggregate: {default: mean}}", "'0s' is not a length of time"),
        ("resample: {every: -1, aggregate: {default: mean}}", "greater than 0"),
        ("resample: {every: 10s, aggregate: {}}", "aggregate is empty"),
        ("resample: {every: 10s, aggregate: {default: average}}", "expected one of 'mean'"),
        ("missing: {default: interpolate}", "interpolate and max_gap go together"),
        ("max_gap: 10s", "interpolate and max_gap go together"),
        ("missing: {default: drop}", "expected one of 'hold'"),
        ("stuck_after: 1", "greater than or equal to 2"),
        ("time_zone: Europe/Berln", "there is no time zone 'Europe/Berln'"),
        ("ambiguous_hour: earliest", "belongs to a time_zone"),
        ("layout: {tag: sensor}", "layout.value is missing"),
    ],
)
def test_a_wrong_wish_in_the_mapping_is_answered(tmp_path, text, message):
    (tmp_path / "m.yaml").write_text(f"unit: pump\ntime: t\n{text}\n")
    if message is None:
        mapping = ColumnMapping.from_yaml(tmp_path / "m.yaml")
        mapping.to_yaml(tmp_path / "again.yaml")
        assert ColumnMapping.from_yaml(tmp_path / "again.yaml") == mapping
        return
    with pytest.raises(ConfigError, match=message):
        ColumnMapping.from_yaml(tmp_path / "m.yaml")


# ------------------------------------------------------------------ time zones


def _times(folder: Path, stamps: list[str], **options: object) -> list[str]:
    text = "pump,t,temp\n" + "".join(f"1,{stamp},{i}\n" for i, stamp in enumerate(stamps))
    return [str(time) for time in _read(folder, text, **CLOCK, **options).frame["time"]]


def test_local_times_become_utc_across_the_change_of_the_clocks(tmp_path):
    stamps = ["2024-03-31 01:30", "2024-03-31 03:30", "2024-10-27 01:30", "2024-10-27 03:30"]
    assert _times(tmp_path, stamps, time_zone="Europe/Berlin") == [
        "2024-03-31 00:30:00", "2024-03-31 01:30:00", "2024-10-26 23:30:00", "2024-10-27 02:30:00",
    ]  # fmt: skip


def test_an_hour_that_does_not_exist_is_refused_with_its_row(tmp_path):
    with pytest.raises(FleetError, match=r"row 2, column 't': 2024-03-31 02:30:00 does not exist in Europe/Berlin"):
        _times(tmp_path, ["2024-03-31 01:30", "2024-03-31 02:30"], time_zone="Europe/Berlin")


def test_an_hour_that_is_there_twice_is_refused_unless_it_is_said_which(tmp_path):
    stamps = ["2024-10-27 01:30", "2024-10-27 02:30"]
    with pytest.raises(FleetError, match=r"row 2, column 't': 2024-10-27 02:30:00 is there twice .*ambiguous_hour"):
        _times(tmp_path, stamps, time_zone="Europe/Berlin")
    assert _times(tmp_path, stamps, time_zone="Europe/Berlin", ambiguous_hour="earliest")[1] == "2024-10-27 00:30:00"
    assert _times(tmp_path, stamps, time_zone="Europe/Berlin", ambiguous_hour="latest")[1] == "2024-10-27 01:30:00"


def test_stamps_with_an_offset_become_utc_whatever_the_zone(tmp_path):
    stamps = ["2024-10-27T02:30:00+02:00", "2024-10-27T02:30:00+01:00", "2024-10-27T02:30:00Z"]
    expected = ["2024-10-27 00:30:00", "2024-10-27 01:30:00", "2024-10-27 02:30:00"]
    assert _times(tmp_path, stamps) == expected
    assert _times(tmp_path, stamps, time_zone="Europe/Berlin") == expected
    with pytest.raises(FleetError, match=r"row 2, column 't': '2024-10-27 03:30:00' has no offset"):
        _times(tmp_path, [stamps[0], "2024-10-27 03:30:00"], time_zone="Europe/Berlin")


def test_zones_hold_for_parquet_formats_and_failures_too(tmp_path):
    zone = {"time_zone": "Europe/Berlin", "time_unit": "hour"}
    failures = tmp_path / "f.csv"
    failures.write_text("pump,t\n1,01.07.2024 14:00\n")
    text = "pump,t,temp\n1,01.07.2024 12:00,3\n"
    fleet = _read(
        tmp_path, text, **CLOCK, **zone, time_format="%d.%m.%Y %H:%M", end_of_life={"failures": str(failures)}
    )
    assert str(fleet.frame["time"][0]) == "2024-07-01 10:00:00"
    assert fleet.rul()[0].tolist() == [2]
    path = tmp_path / "p.parquet"
    stamps = pl.Series("t", [datetime(2024, 7, 1, 12)])
    for series in (stamps, stamps.dt.replace_time_zone("Europe/Berlin")):
        pl.DataFrame({"pump": [1], "temp": [1.0], "t": series}).write_parquet(path)
        mapping = ColumnMapping.model_validate({"unit": "pump", "time": "t", **zone})
        assert str(read_fleet([path], mapping, name="x").frame["time"][0]) == "2024-07-01 10:00:00"


# ------------------------------------------------------------------ stuck and missing


def test_what_does_not_change_for_so_long_becomes_missing(tmp_path):
    values = [1, 2, 2, 2, 2, 3, 3]
    text = "pump,n,temp,valve\n" + "".join(f"{u},{n},{v},1\n" for u in "AB" for n, v in enumerate(values))
    fleet = _read(tmp_path, text, stuck_after={"temp": 3})
    assert fleet.frame["temp"].fill_nan(None).to_list() == [1, 2, 2, 2, None, 3, 3] * 2
    assert _counts(fleet) == {"stuck": 2, "missing": 2}
    assert _counts(_read(tmp_path, text, stuck_after={"default": 3, "val*": 6}))["stuck"] == 4
    assert _counts(_read(tmp_path, text, stuck_after=3))["stuck"] == 10
    with pytest.raises(FleetError, match=r"stuck_after names 'tmp'.*did you mean 'temp'"):
        _read(tmp_path, text, stuck_after={"tmp": 3})


HOLED = "pump,n,a,b\n1,1,1,1\n1,2,,\n1,3,3,3\n1,6,,\n1,9,9,9\n1,10,,\n2,1,,5\n2,2,7,\n"


def test_gaps_are_interpolated_up_to_their_longest_and_never_at_an_end(tmp_path):
    fleet = _read(tmp_path, HOLED, missing={"default": "hold", "a": "interpolate"}, max_gap=2)
    assert fleet.frame["a"].fill_nan(None).to_list() == [1, 2, 3, None, 9, None, None, 7]
    assert fleet.frame["b"].fill_nan(None).to_list() == [1, None, 3, None, 9, None, 5, None]
    note = next(note for note in fleet.notes if note.kind == "interpolated")
    assert "1 missing readings are interpolated within gaps of at most 2; 3 remain" in note.message
    wider = _read(tmp_path, HOLED, missing={"a": "interpolate"}, max_gap=6)
    assert wider.frame["a"].fill_nan(None).to_list() == [1, 2, 3, 6, 9, None, None, 7]


def test_interpolation_on_a_clock_follows_the_time(tmp_path):
    text = "pump,t,temp\n1,2024-01-01 00:00:00,0\n1,2024-01-01 00:00:01,\n1,2024-01-01 00:00:04,4\n"
    fleet = _read(tmp_path, text, **CLOCK, missing={"default": "interpolate"}, max_gap="5s")
    assert fleet.frame["temp"].to_list() == [0, 1, 4]
    with pytest.raises(FleetError, match="the axis is a clock"):
        _read(tmp_path, text, **CLOCK, missing={"default": "interpolate"}, max_gap=5)


@given(
    st.lists(st.one_of(st.none(), st.floats(-100, 100, width=32)), min_size=2, max_size=20),
    st.integers(1, 4), st.data(),
)  # fmt: skip
def test_what_lies_further_ahead_than_the_longest_gap_never_changes_a_reading(values, gap, data):
    """An edit of the future changes the past by no more than max_gap: that is all that interpolation may see."""
    cut = data.draw(st.integers(1, len(values)))

    def filled(readings: list[float | None]) -> list[float | None]:
        frame = pl.DataFrame({"u": [1] * len(readings), "n": range(len(readings)), "x": readings},
                             schema_overrides={"x": pl.Float32})  # fmt: skip
        return treat_missing(frame, {"x": "interpolate"}, gap, ["x"], unit="u", axis="n", name="x")[0]["x"].to_list()

    whole, known = filled(values), filled(values[:cut])
    sure = max(0, cut - gap)
    assert whole[:sure] == known[:sure]
    assert all(a == b for a, b in zip(values, whole, strict=True) if a is not None)


def test_a_sensor_that_may_not_be_missing_is_refused_where_it_is(tmp_path):
    with pytest.raises(FleetError, match=r"unit 1 has no 'b' at 2 \(4 are missing in all\)"):
        _read(tmp_path, HOLED, missing={"b": "fail"})
    fleet = _read(tmp_path, HOLED, missing={"default": "mask"})
    assert _counts(fleet)["masked"] == 8


# ------------------------------------------------------------------ long tables


LONG = """pump,t,tag,value
A,2024-01-01 00:00:00,temp,20
A,2024-01-01 00:00:00,flow,3
A,2024-01-01 00:00:10,temp,21
B,2024-01-01 00:00:00, flow ,4
B,2024-01-01 00:00:00,load,80
"""
LAYOUT = {"layout": {"tag": "tag", "value": "value"}}


def test_a_long_table_becomes_wide(tmp_path):
    fleet = _read(tmp_path, LONG, **CLOCK, **LAYOUT, settings=("load",))
    assert fleet.schema.sensors == ("flow", "temp")
    assert fleet.frame["temp"].fill_nan(None).to_list() == [20, 21, None]
    assert fleet.frame["flow"].fill_nan(None).to_list() == [3, None, 4]
    assert _counts(fleet)["widened"] == 5


def test_long_tables_of_several_files_have_all_their_tags(tmp_path):
    (tmp_path / "a.csv").write_text(LONG)
    (tmp_path / "b.csv").write_text("pump,t,tag,value\nC,2024-01-01,vib,1\n")
    mapping = ColumnMapping.model_validate({"unit": "pump", "time": "t", **LAYOUT})
    fleet = read_fleet([tmp_path], mapping, name="x")
    assert fleet.schema.sensors == ("flow", "load", "temp", "vib")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("A,2024-01-01 00:00:10,temp,22\n", r"unit 'A' has two values of 'temp' at 2024-01-01 00:00:10 \(2 such rows"),
        ("A,2024-01-01 00:00:20,,22\n", r"row 6, column 'tag': 1 rows name no tag"),
        ("A,2024-01-01 00:00:20,pump,22\n", "a tag is called 'pump'"),
        ("A,2024-01-01 00:00:20,temp,warm\n", r"row 6, column 'value': 'warm' is not a number"),
    ],
)
def test_a_long_table_that_contradicts_itself_is_refused(tmp_path, row, message):
    with pytest.raises(FleetError, match=message):
        _read(tmp_path, LONG + row, **CLOCK, **LAYOUT)


def test_a_long_table_a_step_and_a_mark_go_together(tmp_path):
    rows = [f"A,{n},{tag},{value}" for n in range(10) for tag, value in (("temp", n), ("failed", int(n == 9)))]
    text = "pump,n,tag,value\n" + "\n".join(rows)
    step = {"every": 5, "aggregate": {"default": "max"}}
    fleet = _read(tmp_path, text, **LAYOUT, end_of_life={"column": "failed"}, resample=step)
    assert fleet.schema.sensors == ("temp",)
    assert fleet.rul()[0].tolist() == [9, 4]
