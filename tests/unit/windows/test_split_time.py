"""Splits: by time nothing overlaps and nothing is lost; by unit each kind is divided alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.fleets import make_fleet
from tests.fixtures.targets import make_answered_fleet

from wearcast import Fleet
from wearcast.errors import FleetError
from wearcast.features import SequenceFeatures
from wearcast.target import FailureTarget, FaultTarget, RulTarget, SensorTarget
from wearcast.windows import Preprocessing, SplitSpec, UnitSplit, Windows, WindowSpec, split_units


def make_classes(classes: list[str | None]) -> Fleet:
    """A unit of three readings for each of these faults."""
    n = len(classes)
    frame = pl.DataFrame(
        {
            "u": np.repeat(np.arange(n), 3),
            "c": np.tile([1, 2, 3], n),
            "s": np.zeros(3 * n),
            "fault": pl.Series([name for name in classes for _ in range(3)], dtype=pl.String),
        }
    )
    return Fleet.from_frame(frame, unit="u", cycle="c", sensors=["s"], labels=["fault"])


class TestByTime:
    @given(st.integers(1, 5), st.integers(2, 40), st.floats(0.1, 0.6), st.integers(0, 3))
    @settings(max_examples=30, deadline=None)
    def test_every_reading_is_on_one_side_and_the_later_ones_are_held_out(
        self, units: int, cycles: int, share: float, seed: int
    ) -> None:
        fleet = make_fleet(units=units, cycles=cycles + 8, seed=seed)
        split = split_units(fleet, SplitSpec(by="time", validation_share=share), seed)
        held_out = split.validation.frame[split.held_out]
        joined = pl.concat([split.train.frame, held_out]).sort("unit", "time")
        assert joined.equals(fleet.frame)
        assert split.train.units == split.validation.units == fleet.units
        for unit in fleet.units:
            early, late = split.train.unit_frame(unit), held_out.filter(pl.col("unit") == unit)
            assert early["time"].max() < late["time"].min()  # type: ignore[operator]
            whole = early.height + late.height
            assert abs(late.height - share * whole) <= 0.5 + 1e-9

    def test_the_future_that_is_learnt_ends_before_what_is_held_out(self) -> None:
        """Values after the last learnt reading are no answers, for any number of steps."""
        fleet = make_fleet(units=2, cycles=30)
        split = split_units(fleet, SplitSpec(by="time"), 0)
        labels = SensorTarget(columns=("s0",)).labels(split.train, 5)
        value, known = labels.at(np.arange(split.train.n_rows))
        last = split.train.offsets[1:] - 1
        assert not known[last].any()
        held_out = set(split.validation.frame["s0"][split.held_out].to_list())
        assert held_out.isdisjoint(value[known].tolist())

    def test_what_is_held_out_has_its_context_its_age_and_its_healthy_start(self) -> None:
        """A held-out window is the very window that the whole history has there."""
        fleet = make_fleet(units=2, cycles=30)
        split = split_units(fleet, SplitSpec(by="time"), 0)
        assert split.late is not None
        fitted = Preprocessing.fit(split.train, SequenceFeatures(healthy_steps=5))
        spec = WindowSpec(context_length=8)
        found = Windows(fitted.transform(split.validation), spec, split.held_out).batch(slice(None))
        whole = Windows(fitted.transform(fleet), spec, np.flatnonzero(split.late)).batch(slice(None))
        np.testing.assert_array_equal(found.past, whole.past)
        assert found.mask.all()
        age = found.past[:, -1, fitted.names.index("age")]
        np.testing.assert_allclose(age, fleet.age[split.held_out] / fitted.life_scale, rtol=1e-6)

    def test_by_unit_every_reading_of_the_other_side_is_held_out(self) -> None:
        split = split_units(make_fleet(units=4), SplitSpec(), 0)
        assert split.held_out.tolist() == list(range(split.validation.n_rows))

    def test_one_unit_is_enough(self) -> None:
        split = split_units(make_fleet(units=1), SplitSpec(by="time"), 0, SensorTarget(columns=("s0",)))
        assert (split.by, split.train.n_units, split.validation.n_units) == ("time", 1, 1)

    def test_a_history_too_short_to_divide_is_named(self) -> None:
        fleet = make_fleet(units=2)
        short = replace(fleet, frame=pl.concat([fleet.unit_frame(1), fleet.unit_frame(2).head(1)]))
        with pytest.raises(FleetError, match="unit 2 has 1 readings"):
            split_units(short, SplitSpec(by="time"), 0)

    def test_an_overlap_is_refused(self) -> None:
        fleet = make_fleet(units=1, cycles=30)
        early, late = (replace(fleet, frame=part) for part in (fleet.frame[:11], fleet.frame[10:]))
        with pytest.raises(FleetError, match="both sides"):
            UnitSplit(early, late, by="time")
        with pytest.raises(FleetError, match="both sides"):
            UnitSplit(early, replace(fleet, frame=fleet.frame[20:]))


class TestByUnit:
    @given(st.integers(2, 12), st.integers(0, 8), st.floats(0.05, 0.85), st.integers(0, 5))
    @settings(max_examples=30, deadline=None)
    def test_failed_and_running_units_are_divided_alike(
        self, failed: int, running: int, share: float, seed: int
    ) -> None:
        fleet = make_fleet(units=failed + running, cycles=8, censored=running, spread=0)
        split = split_units(fleet, SplitSpec(validation_share=share), seed, FailureTarget(horizon=3.0))
        assert set(split.train.units) | set(split.validation.units) == set(fleet.units)
        assert set(split.train.units).isdisjoint(split.validation.units)
        kind = dict(zip(fleet.units, RulTarget().strata(fleet).tolist(), strict=True))
        for value, count in ((1, failed), (0, running)):
            held_out = sum(kind[unit] == value for unit in split.validation.units)
            if count > 1:
                assert 1 <= held_out <= count - 1
                assert abs(held_out - share * count) <= 1
            else:
                assert held_out == 0  # a single one is learnt from

    def test_each_fault_is_on_both_sides(self) -> None:
        fleet = make_answered_fleet(units=12)
        split = split_units(fleet, SplitSpec(validation_share=0.25), 3, FaultTarget(label="fault"))
        for side, count in ((split.train, 3), (split.validation, 1)):
            found = side.frame.group_by("fault").agg(pl.col("unit").n_unique())
            assert dict(found.iter_rows()) == {"ball": count, "inner": count, "outer": count}

    def test_units_without_an_answer_are_a_kind_of_their_own(self) -> None:
        fleet = make_classes(["a", "a", "b", "b", None, None])
        split = split_units(fleet, SplitSpec(), 0, FaultTarget(label="fault"))
        assert split.validation.n_units == 3
        assert split.validation.frame["fault"].null_count() == 3

    def test_units_that_are_all_of_different_kinds_leave_nothing_to_hold_out(self) -> None:
        with pytest.raises(FleetError, match=r"none of 3 units is like another") as caught:
            split_units(make_classes(["a", "b", "c"]), SplitSpec(), 0, FaultTarget(label="fault"))
        assert "split.by to time" in str(caught.value)
