"""Data quality: each weakness of a fleet is found, counted and placed; a good fleet is left in peace."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.datasets.quality import check
from wearcast.schema import Outcome


def _fleet(units: int = 12, rows: int = 40, events: Outcome = "last_row", **columns: np.ndarray) -> Fleet:
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "u": np.repeat(np.arange(units), rows),
            "c": np.tile(np.arange(rows), units),
            "s": rng.normal(size=units * rows),
            **columns,
        }
    )
    return Fleet.from_frame(table, unit="u", cycle="c", sensors=["s", *columns], events=events)


def _found(fleet: Fleet) -> set[tuple[str, str]]:
    return {(finding.severity, finding.what) for finding in check(fleet).findings}


def test_a_good_fleet_has_no_findings():
    report = check(make_fleet(units=12, conditions=2, sensors=1))
    assert report.findings == ()
    assert report.worst is None
    assert (report.units, report.failed, report.censored) == (12, 12, 0)


def test_the_report_is_frozen_and_json():
    report = check(_fleet(dead=np.zeros(480)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.rows = 0  # type: ignore[misc]
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["worst"] == "info"
    assert data["columns"][1] == {
        "role": "sensor", "unit_of_measure": None, "lowest": None, "highest": None, "out_of_range": 0, "outliers": 0,
        "drift": None, "name": "dead", "missing_share": 0.0, "distinct": 1, "minimum": 0.0, "mean": 0.0, "maximum": 0.0,
        "longest_run": 40,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.zeros(480), ("info", "the column is dead: it is always 0")),
        (np.full(480, 7.0), ("info", "the column is constant")),
        (np.full(480, np.nan), ("error", "there is not one reading")),
        (np.where(np.arange(480) % 2, np.nan, np.arange(480.0)), ("warning", "50% of the readings are missing")),
        (
            np.where(np.arange(480) % 40 < 30, np.arange(480) // 40, np.arange(480.0)),
            ("warning", "the value does not change over more than half the life of 12 units"),
        ),
        (np.random.default_rng(0).normal(size=480), ("warning", "the column repeats 's'")),
    ],
    ids=["dead", "constant", "empty", "holes", "stuck", "twin"],
)
def test_a_weak_column_is_found(values, expected):
    assert expected in _found(_fleet(x=values))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"events": "censored"}, ("error", "every unit is still running: there is no end of life to learn from")),
        ({"units": 1}, ("error", "there is one unit: nothing is left to validate on")),
        ({"units": 3}, ("warning", "only 3 units have failed: forecasts will be uncertain")),
        ({"rows": 1}, ("warning", "12 units have a single reading")),
        ({"rows": 8}, ("warning", "12 units have fewer than 30 readings")),
    ],
)
def test_a_weak_fleet_is_found(options, expected):
    assert expected in _found(_fleet(**options))


def test_what_was_repaired_is_among_the_findings():
    table = pl.DataFrame({"u": [1, 1, 1, 1], "c": [2, 1, 3, 9], "s": [1.0, None, 2.0, 3.0]})
    report = check(Fleet.from_frame(table, unit="u", cycle="c", sensors=["s"]))
    text = " ".join(finding.what for finding in report.findings)
    assert "1 rows were not in order" in text
    assert "1 readings are missing" in text
    assert "1 steps between readings are longer than usual" in text
    assert report.worst == "error"
    assert [finding.severity for finding in report.findings] == sorted(
        (finding.severity for finding in report.findings), key=["error", "warning", "info"].index
    )


def test_an_empty_selection_is_an_error():
    assert check(make_fleet().select([])).worst == "error"


def _slow_longest(values: list[float | None], units: list[int]) -> int:
    longest = run = 0
    for i, value in enumerate(values):
        same = i > 0 and units[i] == units[i - 1] and value == values[i - 1]
        run = run + 1 if same else 0 if value is None else 1
        longest = max(longest, run)
    return longest


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([None, 0.0, 1.0])), min_size=1, max_size=40))
def test_the_longest_run_is_what_a_plain_loop_finds(rows):
    """Runs end with the unit and at a missing reading."""
    rows = sorted(rows, key=lambda row: row[0])
    units, values = [unit for unit, _ in rows], [value for _, value in rows]
    table = pl.DataFrame({"u": units, "c": range(len(rows)), "s": pl.Series(values, dtype=pl.Float64)})
    column = check(Fleet.from_frame(table, unit="u", cycle="c", sensors=["s"])).columns[0]
    filled = [value for value in values if value is not None]
    assert column.longest_run == (_slow_longest(values, units) if filled else 0)
    assert column.missing_share == pytest.approx(1 - len(filled) / len(values))
    assert column.distinct == len(set(filled))
