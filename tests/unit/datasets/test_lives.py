"""The history of repairable assets cut into lives: who begins and ends where, and what is set apart or refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wearcast.datasets.lives import cut_lives
from wearcast.errors import FleetError
from wearcast.fleet import Fleet

START = datetime(2024, 1, 1)


def _readings(rows=100, asset=None):
    table = pl.DataFrame({"time": range(rows), "x": np.arange(rows, dtype=np.float32)})
    return table if asset is None else table.with_columns(pl.lit(asset).alias("pump"))


def _windows(*rows, **columns):
    starts, ends = zip(*rows, strict=True) if rows else ((), ())
    return pl.DataFrame({"start": starts, "end": ends, **columns}, schema_overrides={"mode": pl.String})


def test_a_life_ends_where_the_failure_starts_and_the_next_begins_after_it():
    lives = cut_lives(_readings(), _windows((30, 39), (70, 70), mode=["leak", None]), time="time", asset_name="apu")
    assert lives.table.select("unit", "first", "last", "end", "failed", "mode", "rows").rows() == [
        ("apu#1", 0, 29, 30, True, "leak", 30),
        ("apu#2", 40, 69, 70, True, None, 30),
        ("apu#3", 71, 99, 99, False, None, 29),
    ]
    assert lives.apart.rows() == [("apu", "failure", 11)]
    assert lives.rows.collect().height == 89


def test_a_fleet_of_lives_knows_its_failures_and_ages_within_each_life():
    lives = cut_lives(_readings(), _windows((30, 39), mode=["leak"]), time="time")
    fleet = Fleet.from_frame(lives.rows.collect(), unit="unit", cycle="time", sensors=["x"], events=lives.events)
    assert fleet.units == ("asset#1", "asset#2")
    assert fleet.end_of_life_age[0] == 30
    assert np.isnan(fleet.end_of_life_age[1])
    assert fleet.age[fleet.offsets[1]] == 0
    assert fleet.events["mode"].to_list() == ["leak"]


def test_maintenance_is_set_apart_and_told_but_ends_no_life():
    lives = cut_lives(_readings(), _windows((50, 59)), _windows((10, 14), (55, 64)), time="time")
    assert lives.table["rows"].to_list() == [45, 35]
    assert lives.apart.rows() == [("asset", "failure", 10), ("asset", "maintenance", 10)]
    assert lives.events.rows() == [("asset#1", 10, "maintenance", None), ("asset#1", 50, "failure", None)]
    assert {note.kind: note.count for note in lives.notes} == {"failure_rows": 10, "maintenance_rows": 10}


def test_each_asset_has_windows_of_its_own_also_where_rows_are_mixed():
    mixed = pl.concat([_readings(asset="a"), _readings(asset="b"), _readings(5, asset="c")]).sort("time", "pump")
    failures = _windows((20, 29), (60, 69)).with_columns(pl.Series("unit", ["b", "a"]))
    lives = cut_lives(mixed, failures, time="time", asset="pump")
    assert dict(lives.table.select("unit", "rows").iter_rows()) == {
        "a#1": 60,
        "a#2": 30,
        "b#1": 20,
        "b#2": 70,
        "c#1": 5,
    }
    rows = lives.rows.collect()
    assert rows.columns == ["unit", "time", "x", "pump"]
    assert rows.filter(pl.col("unit") == "b#2")["time"].min() == 30


def test_timestamps_and_text_windows_work_as_counters_do():
    stamps = pl.datetime_range(START, START + timedelta(hours=99), "1h", eager=True)
    readings = _readings().with_columns(stamps.alias("time"))
    failures = _windows(("2024-01-02 06:00", "2024-01-02 15:00"))
    lives = cut_lives(readings.lazy(), failures, time="time")
    assert lives.table["rows"].to_list() == [30, 60]
    assert lives.events["time"].to_list() == [START + timedelta(hours=30)]


def test_overlapping_windows_are_refused_by_row_or_merged_with_a_note():
    failures = _windows((30, 39), (35, 45), (80, 81), mode=[None, "leak", None])
    with pytest.raises(FleetError, match=r"row 2: 35 – 45 overlaps row 1, 30 – 39"):
        cut_lives(_readings(), failures, time="time")
    lives = cut_lives(_readings(), failures, time="time", overlap="merge")
    assert lives.table["rows"].to_list() == [30, 34, 18]
    assert lives.table["mode"].to_list() == ["leak", None, None]
    assert lives.notes[0].kind == "windows_merged"
    assert lives.notes[0].count == 1


@pytest.mark.parametrize("window", [(-20, -10), (500, 510)])
def test_a_window_outside_the_readings_is_refused_or_left_out_with_a_note(window):
    with pytest.raises(FleetError, match="is outside the readings of 'asset', which run from 0 to 99"):
        cut_lives(_readings(), _windows(window), time="time", reach=5)
    lives = cut_lives(_readings(), _windows(window), time="time", reach=5, stray="note")
    assert lives.table["failed"].to_list() == [False]
    assert lives.notes[0].kind == "windows_outside"


def test_a_life_keeps_its_name_where_earlier_failures_lie_outside_an_excerpt():
    whole = cut_lives(_readings(), _windows((30, 39), (70, 79)), time="time")
    later = cut_lives(_readings().tail(50), _windows((30, 39), (70, 79)), time="time", stray="note")
    assert set(later.table["unit"].to_list()) < set(whole.table["unit"].to_list())
    assert later.table["failed"].to_list() == [True, False]


def test_a_failure_shortly_after_the_last_reading_ends_the_last_life():
    lives = cut_lives(_readings(), _windows((103, 120)), time="time", reach=5)
    assert lives.table.select("end", "failed").rows() == [(103, True)]


def test_a_failure_without_readings_before_it_is_noted():
    lives = cut_lives(_readings(), _windows((0, 9), (50, 59)), time="time")
    assert lives.table["unit"].to_list() == ["asset#2", "asset#3"]
    assert [note.kind for note in lives.notes] == ["failure_rows", "failures_unobserved"]


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        (_windows((30, 20)), "row 1: a window ends at 20, before it starts at 30"),
        (pl.DataFrame({"start": [3]}), "column 'end' is missing"),
        (pl.DataFrame({"start": [3], "end": [None]}, schema_overrides={"end": pl.Int64}), "the time is empty"),
        (_windows((1, 2), unit=["pump9"]), "unit 'pump9' has no readings"),
        (_windows((0, 99)), "all rows lie inside"),
    ],
)
def test_windows_that_make_no_sense_are_refused(failures, message):
    with pytest.raises(FleetError, match=message):
        cut_lives(_readings(), failures, time="time")


def test_lives_are_selected_by_name():
    lives = cut_lives(_readings(), _windows((30, 39), (70, 79)), time="time")
    chosen = lives.select(["asset#2"])
    assert chosen.rows.collect()["time"].to_list() == list(range(40, 70))
    assert chosen.events["time"].to_list() == [70]
    with pytest.raises(FleetError, match="there is no life 'asset#9'"):
        lives.select(["asset#9"])


@given(st.lists(st.tuples(st.integers(-5, 45), st.integers(0, 8)), max_size=6), st.data())
def test_every_row_is_kept_once_or_set_apart(spans, data):
    """Against a plain loop, with overlaps merged."""
    failures = _windows(*((start, start + length) for start, length in spans))
    failures = failures.cast({"start": pl.Int64, "end": pl.Int64})
    inside = [any(start <= t <= start + length for start, length in spans) for t in range(40)]
    if all(inside):
        return
    lives = cut_lives(_readings(40), failures, time="time", overlap="merge", stray="note")
    assert lives.rows.collect()["time"].to_list() == [t for t in range(40) if not inside[t]]
    assert sum(lives.apart["rows"]) == sum(inside)
    for unit, part in lives.rows.collect().group_by("unit"):
        times = part["time"].sort().to_list()
        assert times == list(range(times[0], times[-1] + 1)), unit
