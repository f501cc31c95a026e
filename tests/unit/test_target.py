"""Targets: what they read off a fleet, against plain loops; what they refuse; how they are written."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.errors import FleetError
from wearcast.target import (
    BestF1,
    FailureTarget,
    FalseAlarmRate,
    FaultTarget,
    Fixed,
    LeastCost,
    RulTarget,
    SensorTarget,
    Target,
)

FOUR = ("a", "b", "c", "d")


def make_labelled(label: list[Any], units: list[int] | None = None) -> Fleet:
    """Readings with this label, of one unit unless it is said."""
    units = units or [1] * len(label)
    count = [units[: i + 1].count(unit) for i, unit in enumerate(units)]
    frame = pl.DataFrame({"u": units, "c": count, "s": [float(i) for i in range(len(label))], "label": label})
    return Fleet.from_frame(frame, unit="u", cycle="c", sensors=["s"], labels=["label"], name="labelled")


class TestFailureWithinAHorizon:
    @given(st.integers(0, 5), st.integers(0, 3), st.integers(1, 50))
    @settings(max_examples=25, deadline=None)
    def test_labels_equal_a_plain_loop(self, seed: int, censored: int, horizon: int) -> None:
        fleet = make_fleet(units=4, cycles=20, censored=censored, seed=seed)
        labels = FailureTarget(horizon=float(horizon)).labels(fleet)
        end = dict(fleet.events.select("unit", "time").iter_rows())
        last = dict(fleet.frame.group_by("unit").agg(pl.col("time").max()).iter_rows())
        for row, (unit, time) in enumerate(fleet.frame.select("unit", "time").iter_rows()):
            # Without a failure it was seen alive until its last reading, and no further.
            answer = int(end[unit] - time <= horizon) if unit in end else 0
            assert labels.value[row] == answer
            assert labels.known[row] == (unit in end or last[unit] - time > horizon)
        np.testing.assert_array_equal(labels.rows, np.flatnonzero(labels.known))

    def test_a_failure_after_the_last_reading_counts_from_its_own_time(self) -> None:
        frame = pl.DataFrame({"u": [1, 1, 1], "c": [1, 2, 3], "s": [0.0, 1, 2]})
        events = pl.DataFrame({"unit": [1], "time": [6]})
        fleet = Fleet.from_frame(frame, unit="u", cycle="c", sensors=["s"], events=events)
        assert FailureTarget(horizon=4.0).labels(fleet).value.tolist() == [0, 1, 1]

    @pytest.mark.parametrize("minutes", [10, 7, 1])
    def test_on_a_clock_a_failure_at_the_horizon_to_the_minute_is_within_it(self, minutes: int) -> None:
        """1 h 10 min after 00:10 minus 1 h is not less than 10 min because of rounding."""
        start = datetime(2024, 3, 5, 7, 3)
        times = [start + timedelta(minutes=minutes * i) for i in range(200)]
        frame = pl.DataFrame({"u": [1] * 200, "t": times, "s": [0.0] * 200})
        fleet = Fleet.from_frame(frame, unit="u", time="t", sensors=["s"], events="last_row")
        for steps in range(1, 60):
            labels = FailureTarget(horizon=minutes * steps / 60).labels(fleet)
            assert labels.value.sum() == steps + 1

    def test_a_horizon_beyond_every_life_tells_nothing_apart(self) -> None:
        with pytest.raises(FleetError, match="of the class healthy"):
            FailureTarget(horizon=1e3).resolved(make_fleet())
        fleet = make_fleet()
        target = FailureTarget(horizon=5.0)
        assert target.resolved(fleet) is target


class TestFailureLabel:
    @pytest.mark.parametrize(
        "label",
        [
            [0, 1, None, 1, 0],
            [0.0, 1.0, float("nan"), 1.0, 0.0],
            [False, True, None, True, False],
            ["0", "1", None, "1", "0"],
        ],
    )
    def test_numbers_and_truth_values_are_read_and_empty_cells_are_not_known(self, label: list[Any]) -> None:
        fleet = make_labelled(label)
        target = FailureTarget(label="label")
        labels = target.resolved(fleet).labels(fleet)
        assert labels.known.tolist() == [True, True, False, True, True]
        assert labels.value[labels.rows].tolist() == [0, 1, 1, 0]
        assert labels.at(np.array([2, 1]))[1].tolist() == [False, True]

    @pytest.mark.parametrize(
        ("label", "shown"), [([0, 1, 2], "2"), ([0.0, 1.0, 0.5], "0.5"), (["0", "1", "ok"], "'ok'")]
    )
    def test_another_value_is_refused_in_training_and_afterwards(self, label: list[Any], shown: str) -> None:
        fleet, target = make_labelled(label), FailureTarget(label="label")
        for read in (target.resolved, target.labels):
            with pytest.raises(FleetError, match=f"must be 0 or 1, not {shown}"):
                read(fleet)

    @pytest.mark.parametrize("label", [[0, 0, 0], [1, None, 1], [None, None, None]])
    def test_one_class_only_is_refused(self, label: list[Any]) -> None:
        with pytest.raises(FleetError, match="nothing to tell apart"):
            FailureTarget(label="label").resolved(make_labelled(label))

    def test_a_misspelt_label_is_answered_with_the_near_one(self) -> None:
        with pytest.raises(FleetError, match="did you mean 'label'"):
            FailureTarget(label="lable").resolved(make_labelled([0, 1]))

    def test_either_a_horizon_or_a_label(self) -> None:
        for wrong in ({}, {"horizon": 3.0, "label": "x"}):
            with pytest.raises(ValidationError, match="either horizon or label"):
                FailureTarget(**wrong)


class TestFault:
    def test_classes_are_found_in_order_and_empty_cells_are_not_known(self) -> None:
        fleet = make_labelled(["outer", None, "ball", "outer"])
        target = FaultTarget(label="label").resolved(fleet)
        assert target.classes == ("ball", "outer")
        labels = target.labels(fleet)
        assert labels.known.tolist() == [True, False, True, True]
        assert labels.value[labels.rows].tolist() == [1, 0, 1]

    @given(st.lists(st.sampled_from([*FOUR, None]), min_size=1, max_size=30))
    def test_labels_equal_a_plain_loop_with_given_classes(self, column: list[str | None]) -> None:
        fleet = make_labelled([*column, "z"])
        labels = FaultTarget(label="label", classes=("c", "a")).labels(fleet)
        for row, name in enumerate(column):
            assert labels.known[row] == (name in ("a", "c"))
            if labels.known[row]:
                assert labels.value[row] == ("c", "a").index(name or "")
        assert not labels.known[-1]  # a class that was never learnt

    def test_a_number_has_one_name_whatever_stands_beside_it(self) -> None:
        """The classes of whole numbers are found again where another reading has a fraction or none."""
        target = FaultTarget(label="label").resolved(make_labelled([1, 2, 1]))
        assert target.classes == ("1", "2")
        other = target.labels(make_labelled([1.0, 2.5, None, 2.0, float("nan")]))
        assert other.known.tolist() == [True, False, False, True, False]
        assert other.value[other.rows].tolist() == [0, 1]
        assert FaultTarget(label="label").resolved(make_labelled([1.0, 2.5])).classes == ("1", "2.5")

    def test_one_class_is_not_enough(self) -> None:
        for target in (FaultTarget(label="label"), FaultTarget(label="label", classes=("a", "b"))):
            with pytest.raises(FleetError, match="has the classes a; it takes 2"):
                target.resolved(make_labelled(["a", None, "a"]))

    @pytest.mark.parametrize("classes", [("a",), ("a", "a"), ("a", "b", "a")])
    def test_given_classes_are_two_or_more_different_names(self, classes: tuple[str, ...]) -> None:
        with pytest.raises(ValidationError, match="2 or more different names"):
            FaultTarget(label="label", classes=classes)


class TestSensor:
    @given(st.integers(1, 8), st.integers(0, 4))
    @settings(max_examples=20, deadline=None)
    def test_labels_equal_a_plain_loop(self, steps: int, seed: int) -> None:
        fleet = make_fleet(units=3, cycles=12, seed=seed)
        rng = np.random.default_rng(seed)
        holes = pl.Series(rng.uniform(size=fleet.n_rows) < 0.2)
        frame = fleet.frame.with_columns(s0=pl.when(holes).then(float("nan")).otherwise(pl.col("s0")).cast(pl.Float32))
        fleet = Fleet(frame, fleet.schema, fleet.events)
        labels = SensorTarget(columns=("s0", "s1")).labels(fleet, steps)
        value, known = labels.at(np.arange(fleet.n_rows))
        for row in range(fleet.n_rows):
            end = fleet.offsets[fleet.row_unit[row] + 1]
            assert (row in labels.rows) == (row + steps < end)
            for step in range(steps):
                for k, column in enumerate(("s0", "s1")):
                    there = row + 1 + step < end and np.isfinite(frame[column][int(row + 1 + step)])
                    assert known[row, step, k] == there
                    assert value[row, step, k] == (frame[column][int(row + 1 + step)] if there else 0)

    def test_a_column_that_is_no_sensor_is_refused(self) -> None:
        with pytest.raises(FleetError, match="no sensor 'load'"):
            SensorTarget(columns=("load",)).resolved(make_fleet())

    def test_a_column_without_a_reading_is_refused(self) -> None:
        fleet = make_fleet()
        empty = fleet.frame.with_columns(s0=pl.lit(float("nan"), dtype=pl.Float32))
        with pytest.raises(FleetError, match="'s0' has no reading"):
            SensorTarget(columns=("s1", "s0")).resolved(Fleet(empty, fleet.schema, fleet.events))

    @pytest.mark.parametrize("levels", [(0.1, 0.9), (0.5, 0.1), (0.5, 0.5), ()])
    def test_levels_ascend_and_hold_the_median(self, levels: tuple[float, ...]) -> None:
        with pytest.raises(ValidationError, match="quantile_levels"):
            SensorTarget(columns=("s0",), quantile_levels=levels)


class TestRul:
    def test_labels_are_the_rul_of_the_fleet_and_every_row_is_learnt_from(self) -> None:
        fleet = make_fleet(units=3, censored=1)
        labels = RulTarget().labels(fleet)
        duration, known = fleet.rul()
        np.testing.assert_array_equal(labels.at(labels.rows)[0], duration)
        np.testing.assert_array_equal(labels.at(labels.rows)[1], known)
        assert len(labels.rows) == fleet.n_rows


class TestStrata:
    @pytest.mark.parametrize("target", [RulTarget(), FailureTarget(horizon=5.0)])
    def test_failed_and_running_units_are_two_kinds(self, target: RulTarget | FailureTarget) -> None:
        assert target.strata(make_fleet(units=4, censored=1)).tolist() == [1, 1, 1, 0]
        with pytest.raises(FleetError, match="1 of 4 units have failed"):
            target.strata(make_fleet(units=4, censored=3))

    def test_units_with_a_failure_label_are_one_kind_and_those_without_any_answer_another(self) -> None:
        fleet = make_labelled([0, 1, 0, 0, None, None], units=[1, 1, 2, 2, 3, 3])
        assert FailureTarget(label="label").strata(fleet).tolist() == [1, 0, -1]

    def test_each_fault_is_a_kind(self) -> None:
        fleet = make_labelled(["a", "a", "b", None, None, "c"], units=[1, 1, 2, 2, 3, 4])
        assert FaultTarget(label="label").strata(fleet).tolist() == [0, 1, -1, 2]

    def test_units_with_sensors_are_alike_and_one_is_too_few(self) -> None:
        target = SensorTarget(columns=("s0",))
        assert target.strata(make_fleet(units=3)).tolist() == [0, 0, 0]
        with pytest.raises(FleetError, match=r"split\.by to time"):
            target.strata(make_fleet(units=1))


@pytest.mark.parametrize(
    "target",
    [
        RulTarget(max_rul=30.0, horizons=(3.0,), quantile_levels=(0.1, 0.5), bins=9, tail_bins=2),
        FailureTarget(horizon=24.0, threshold=LeastCost(miss=5.0), class_weight="balanced", focal_gamma=2.0),
        FailureTarget(label="failing", threshold=FalseAlarmRate(at_most=0.05)),
        FailureTarget(label="failing", threshold=Fixed(probability=0.3)),
        FailureTarget(label="failing", threshold=BestF1()),
        FaultTarget(label="fault", classes=("1", "null", "no", "")),
        SensorTarget(columns=("s0", "1"), quantile_levels=(0.5,), relative=False),
    ],
)
def test_a_target_is_the_same_after_yaml(target: Target) -> None:
    written = yaml.safe_dump(target.model_dump(mode="json", exclude_defaults=False))
    assert TypeAdapter(Target).validate_python(yaml.safe_load(written)) == target
    assert TypeAdapter(Target).validate_json(target.model_dump_json()) == target


def test_an_unknown_kind_is_refused_with_the_kinds_that_there_are() -> None:
    with pytest.raises(ValidationError, match="'rul', 'failure', 'fault', 'sensor'"):
        TypeAdapter(Target).validate_python({"kind": "remaining"})
