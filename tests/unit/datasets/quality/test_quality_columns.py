"""Single columns and the time axis: impossible, outlying, stood-in and stuck readings; steps, jitter and gaps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.datasets.quality import Finding, QualityReport, check, mark_outliers, parse_ranges
from wearcast.datasets.quality import columns as columns_module
from wearcast.datasets.quality import timeaxis as timeaxis_module
from wearcast.errors import UsageError
from wearcast.schema import FleetSchema

NOISE = np.random.default_rng(1).normal(50, 1, size=1000)


def _fleet(units: int = 10, rows: int = 100, measure: dict[str, str] | None = None, **columns: np.ndarray) -> Fleet:
    table = pl.DataFrame({"u": np.repeat(np.arange(units), rows), "c": np.tile(np.arange(rows), units), **columns})
    fleet = Fleet.from_frame(table, unit="u", cycle="c", sensors=[*columns], events="last_row")
    schema = fleet.schema.model_copy(update={"units_of_measure": measure or {}})
    return Fleet(fleet.frame, schema, fleet.events, fleet.name, fleet.notes)


def _of(report: QualityReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def _with(values: np.ndarray, rows: Sequence[int], value: float) -> np.ndarray:
    changed = values.copy()
    changed[list(rows)] = value
    return changed


# ------------------------------------------------------------------ ranges


@pytest.mark.parametrize(
    ("measure", "value", "impossible"),
    [("K", -1.0, True), ("°C", -300.0, True), ("°C", -200.0, False), ("rpm", -5.0, True), ("bar", -0.5, False),
     ("bar", -1.2, True), ("psia", -0.1, True), ("on/off", 2.0, True), ("mm/s", -4.0, False), ("-", -4.0, False)],
)  # fmt: skip
def test_physics_bounds_a_reading_through_its_unit_of_measure(measure, value, impossible):
    base = np.where(np.arange(1000) % 2, 1.0, 0.5) if measure == "on/off" else NOISE
    report = check(_fleet(measure={"s": measure}, s=_with(base, [17], value)))
    found = _of(report, "out_of_range")
    assert [finding.count for finding in found] == ([1] if impossible else [])
    assert report.columns[0].out_of_range == int(impossible)


def test_a_few_impossible_readings_are_a_warning_and_many_an_error():
    one = _of(check(_fleet(s=_with(NOISE, [5], -1)), ranges={"s": (0, None)}), "out_of_range")[0]
    many = _of(check(_fleet(s=_with(NOISE, range(5, 25), -1)), ranges={"s": (0, 90)}), "out_of_range")[0]
    assert (one.severity, many.severity) == ("warning", "error")
    assert one.what == "1 reading below 0"
    assert many.what == "20 readings (2.0% of all) outside of 0 to 90"
    assert one.examples == ("−1 (unit 0 at 5)",)
    assert one.hint is not None


def test_the_user_wins_over_the_schema_and_the_schema_over_physics():
    fleet = _fleet(measure={"s": "rpm"}, s=_with(NOISE, [5], -1))
    schema = FleetSchema(sensors=("s",), units_of_measure={"s": "rpm"}, ranges={"s": (-10, 40)})
    ranged = Fleet(fleet.frame, schema, fleet.events)
    assert check(ranged).columns[0].out_of_range == 999
    assert check(ranged, ranges={"s": (-10, None)}).columns[0].out_of_range == 0


def test_a_range_of_an_unknown_column_is_refused():
    with pytest.raises(UsageError, match=r"no column 'flwo'.*did you mean 'flow'"):
        check(_fleet(flow=NOISE), ranges={"flwo": (0, 1)})


def test_ranges_as_they_are_typed():
    assert parse_ranges(["a=0:1", "b=:5", "c=d=-1e3:"]) == {"a": (0, 1), "b": (None, 5), "c=d": (-1000, None)}


@pytest.mark.parametrize("text", ["a", "a=1", "a=:", "a=x:1", "a=2:1", "a=0:inf", "=0:1", "a=1:2:3"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(UsageError, match="--range"):
        parse_ranges([text])


# ------------------------------------------------------------------ outliers and stand-ins


def test_outliers_are_marked_and_kept():
    values = _with(NOISE, [3, 500], 90.0).astype(np.float32)
    fleet = _fleet(s=values)
    report = check(fleet)
    assert np.flatnonzero(mark_outliers(values)).tolist() == [3, 500]
    assert (report.columns[0].outliers, report.columns[0].maximum) == (2, 90.0)
    assert _of(report, "outliers")[0].examples[0] == "90 (unit 0 at 3)"
    assert fleet.n_rows == 1000


def test_a_second_way_to_run_is_no_outlier():
    assert _of(check(_fleet(s=np.where(np.arange(1000) % 10, NOISE, NOISE + 100))), "outliers") == []


def test_nothing_is_far_among_nothing():
    assert not mark_outliers(np.full(3, np.nan, dtype=np.float32)).any()


def test_nothing_is_far_where_most_is_one_value():
    assert not mark_outliers(np.array([1, 1, 1, 1, 9], dtype=np.float32)).any()


def test_a_number_that_stands_for_a_missing_reading_is_named_once():
    report = check(_fleet(s=_with(NOISE, [3, 4, 5], -9999.0)))
    found = _of(report, "stand_in")
    assert [finding.count for finding in found] == [3]
    assert "−9999 comes 3 times" in found[0].what
    assert _of(report, "outliers") == []


def test_units_without_a_sensor_are_named():
    values = np.where(np.repeat(np.arange(10), 100) == 4, np.nan, NOISE)
    found = _of(check(_fleet(s=values)), "absent")[0]
    assert found.what == "1 unit without one reading of it"
    assert found.where == "column 's', units 4"


# ------------------------------------------------------------------ blocks


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_borders_of_blocks_change_nothing(block, monkeypatch):
    values = _with(NOISE, [*range(140, 190), 777], 40.0)
    values[5] = np.nan
    whole = check(_fleet(s=values), ranges={"s": (45, 55)})
    monkeypatch.setattr(columns_module, "BLOCK", block)
    monkeypatch.setattr(timeaxis_module, "BLOCK", max(block, 16))
    parts = check(_fleet(s=values), ranges={"s": (45, 55)})
    assert parts.columns[0].mean == pytest.approx(whole.columns[0].mean)
    assert parts.to_dict()["findings"] == whole.to_dict()["findings"]
    assert parts.columns[0].longest_run == whole.columns[0].longest_run == 50
    assert parts.time == whole.time


# ------------------------------------------------------------------ time


def _clocked(steps: Sequence[Sequence[float]], rate: float | None = None) -> Fleet:
    start = dt.datetime(2024, 1, 1)
    rows = [(u, start + dt.timedelta(seconds=float(s))) for u, unit in enumerate(steps) for s in np.cumsum(unit)]
    table = pl.DataFrame({"u": [u for u, _ in rows], "t": [t for _, t in rows], "s": np.arange(len(rows)) % 7.0})
    fleet = Fleet.from_frame(table, unit="u", time="t", sensors=["s"], events="last_row")
    return Fleet(fleet.frame, fleet.schema.model_copy(update={"sampling_rate_hz": rate}), fleet.events)


def test_a_gap_is_measured_and_placed():
    report = check(_clocked([[0, *[10] * 50, 100, *[10] * 50]]))
    assert report.time is not None
    assert (report.time.step, report.time.gaps, report.time.longest_gap, report.time.lost) == (10, 1, 100, 9)
    assert report.time.longest_gap_at == "unit 0 before 2024-01-01 00:10:00"
    found = _of(report, "gaps")
    assert "9 readings would fit" in found[0].what
    assert found[0].examples == (report.time.longest_gap_at,)


def test_jitter_is_told_from_a_steady_clock():
    uneven = np.random.default_rng(0).uniform(5, 15, size=200).tolist()
    assert _of(check(_clocked([uneven])), "jitter")
    assert not _of(check(_clocked([[10.0] * 200])), "jitter")


def test_units_at_another_rate_are_named():
    found = _of(check(_clocked([[10.0] * 60, [10.0] * 60, [60.0] * 20])), "mixed_rates")
    assert (found[0].where, found[0].count) == ("units 2", 1)


@pytest.mark.parametrize(("rate", "wrong"), [(0.1, False), (4.0, True)])
def test_a_sampling_rate_that_the_clock_denies_is_an_error(rate, wrong):
    assert bool(_of(check(_clocked([[10.0] * 60], rate), target="sensor"), "sampling_rate")) == wrong


def test_single_readings_have_no_time_axis():
    assert check(_fleet(units=100, rows=1, s=NOISE[:100])).time is None
    assert check(make_fleet().select([])).time is None
