"""Windows against a plain loop; nothing crosses a unit, nothing sees the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.errors import FleetError
from wearcast.features import SequenceFeatures
from wearcast.windows import Channels, OperatingConditions, Preprocessing, SplitSpec, Windows, WindowSpec, split_units

FEATURES = SequenceFeatures(healthy_steps=5)


def all_windows(fleet: Fleet, length: int) -> Windows:
    channels = Preprocessing.fit(fleet, FEATURES).transform(fleet)
    return Windows(channels, WindowSpec(context_length=length), np.arange(fleet.n_rows))


def all_steps(channels: Channels) -> np.ndarray:
    """What a model sees of each row's window of four steps."""
    return Windows(channels, WindowSpec(context_length=4), np.arange(len(channels.values))).batch(slice(None)).past


class TestSlicing:
    def test_windows_equal_a_plain_loop(self):
        windows = all_windows(make_fleet(units=3, cycles=12), 7)
        channels = windows.channels
        batch = windows.batch(slice(None))
        for row in range(len(windows)):
            first = channels.start[row]
            home = channels.values[first : min(row + 1, first + 5), :3].mean(axis=0)
            steps = channels.values[max(first, row - 6) : row + 1]
            steps = np.concatenate([steps[:, :3], steps[:, :3] - home, steps[:, 3:]], axis=1)
            pad = 7 - len(steps)
            np.testing.assert_allclose(batch.past[row, pad:], steps, atol=1e-5)
            np.testing.assert_array_equal(batch.past[row, :pad], 0)
            np.testing.assert_array_equal(batch.mask[row], np.arange(7) >= pad)

    def test_batches_cover_all_windows_in_order(self):
        windows = all_windows(make_fleet(), 5)
        whole = windows.batch(slice(None))
        joined = np.concatenate([batch.past for batch in windows.batches(13)])
        np.testing.assert_array_equal(joined, whole.past)

    @given(st.integers(1, 30), st.integers(0, 3))
    @settings(max_examples=15, deadline=None)
    def test_no_window_holds_a_reading_of_another_unit(self, length, seed):
        fleet = make_fleet(units=4, cycles=10, seed=seed)
        windows = all_windows(fleet, length)
        marks = (windows.channels.row_unit[:, None] + 1.0).astype(np.float32)
        marked = replace(windows.channels, values=marks, home=None)
        batch = Windows(marked, windows.spec, windows.rows).batch(slice(None))
        own = (windows.channels.row_unit + 1.0)[:, None]
        assert (np.where(batch.mask, batch.past[..., 0], own) == own).all()

    def test_known_future_steps_end_with_the_unit(self):
        frame = pl.DataFrame({"u": [1] * 5 + [2] * 4, "c": [1, 2, 3, 4, 5, 1, 2, 3, 4]})
        frame = frame.with_columns(s=pl.col("c") * 0.5 + pl.col("u"), plan=pl.col("c").cast(pl.Float64))
        fleet = Fleet.from_frame(frame, unit="u", cycle="c", sensors=["s"], known_future=["plan"], events="last_row")
        channels = Preprocessing.fit(fleet, FEATURES).transform(fleet)
        windows = Windows(channels, WindowSpec(context_length=3, prediction_length=2), np.array([2, 4]))
        future = windows.batch(slice(None)).known_future
        assert future is not None
        column = channels.known_future[0]
        np.testing.assert_array_equal(future[0, :, 0], channels.values[3:5, column])
        np.testing.assert_array_equal(future[1], 0)


class TestPreprocessing:
    def test_an_edit_of_the_future_never_changes_a_past_row(self):
        fleet = make_fleet(units=2, cycles=30)
        fitted = Preprocessing.fit(fleet, FEATURES)
        before = all_steps(fitted.transform(fleet))
        changed = fleet.frame.with_columns(
            s0=pl.when(pl.col("time") > 8).then(99.0).otherwise(pl.col("s0")).cast(pl.Float32)
        )
        after = all_steps(fitted.transform(replace(fleet, frame=changed)))
        early = (fleet.frame["time"] <= 8).to_numpy()
        np.testing.assert_array_equal(before[early], after[early])
        assert not np.array_equal(before[~early], after[~early])

    def test_scaling_per_condition_has_mean_0_and_sd_1_in_each(self):
        fleet = make_fleet(units=8, cycles=60, conditions=3)
        fitted = Preprocessing.fit(fleet, FEATURES)
        channels = fitted.transform(fleet)
        assert len(fitted.conditions) == 3
        for condition in range(3):
            rows = channels.condition == condition
            np.testing.assert_allclose(channels.values[rows, 0].mean(), 0, atol=0.02)
            np.testing.assert_allclose(channels.values[rows, 0].std(), 1, atol=0.05)

    def test_constant_and_dead_sensors_are_left_out(self):
        fleet = make_fleet()
        frame = fleet.frame.with_columns(
            flat=pl.lit(518.67, dtype=pl.Float32), dead=pl.lit(float("nan"), dtype=pl.Float32)
        )
        schema = fleet.schema.model_copy(update={"sensors": ("flat", "dead", *fleet.schema.sensors)})
        fitted = Preprocessing.fit(replace(fleet, frame=frame, schema=schema), FEATURES)
        assert fitted.constant == ("flat", "dead")
        assert "flat" not in fitted.names

    def test_no_varying_sensor_is_refused(self):
        frame = pl.DataFrame({"u": [1, 1, 2, 2], "c": [1, 2, 1, 2], "s": [1.0] * 4})
        fleet = Fleet.from_frame(frame, unit="u", cycle="c", sensors=["s"], events="last_row")
        with pytest.raises(FleetError, match="no sensor varies"):
            Preprocessing.fit(fleet, FEATURES)

    def test_a_missing_column_is_named(self):
        fleet = make_fleet()
        fitted = Preprocessing.fit(fleet, FEATURES)
        with pytest.raises(FleetError, match="'s1' is missing"):
            fitted.transform(replace(fleet, frame=fleet.frame.drop("s1")))

    def test_another_unit_of_time_is_refused(self):
        fleet = make_fleet()
        fitted = Preprocessing.fit(fleet, FEATURES).model_copy(update={"time_unit": "hour"})
        with pytest.raises(FleetError, match="cycles, but the model was trained on hours"):
            fitted.transform(fleet)

    def test_an_unseen_condition_and_wild_and_missing_readings_are_marked(self):
        fleet = make_fleet(units=3, cycles=30, conditions=2)
        fitted = Preprocessing.fit(fleet, FEATURES)
        row = pl.int_range(pl.len())
        frame = fleet.frame.with_columns(
            load=pl.when(row == 3).then(500.0).otherwise(pl.col("load")).cast(pl.Float32),
            s0=pl.when(row == 5).then(1e6).otherwise(pl.col("s0")).cast(pl.Float32),
            s1=pl.when(row == 7).then(float("nan")).otherwise(pl.col("s1")).cast(pl.Float32),
        )
        channels = fitted.transform(replace(fleet, frame=frame))
        assert channels.condition[3] == -1
        assert (np.delete(channels.condition, 3) >= 0).all()
        assert channels.clipped[5]
        assert channels.missing[7]
        assert np.isfinite(channels.values).all()
        assert channels.values[7, 1] == channels.values[6, 1]

    def test_a_sensor_left_out_is_seen_as_if_it_never_moved(self):
        fleet = make_fleet()
        channels = Preprocessing.fit(fleet, FEATURES).transform(fleet, without=["s1"])
        seen = all_steps(channels)
        names = Preprocessing.fit(fleet, FEATURES).names
        moved = [name for i, name in enumerate(names) if seen[..., i].any()]
        assert "s1" not in moved
        assert "s1_deviation" not in moved
        assert "s0" in moved
        assert "s0_deviation" in moved

    def test_state_survives_json(self):
        fleet = make_fleet(conditions=2)
        fitted = Preprocessing.fit(fleet, FEATURES)
        again = Preprocessing.model_validate_json(fitted.model_dump_json())
        np.testing.assert_array_equal(again.transform(fleet).values, fitted.transform(fleet).values)

    def test_statics_become_numbers_and_an_unknown_category_is_all_zero(self):
        frame = pl.DataFrame(
            {
                "u": [1, 1, 2, 2],
                "c": [1, 2, 1, 2],
                "s": [1.0, 2, 3, 5],
                "make": ["a", "a", "b", "b"],
                "size": [1, 1, 3, 3],
            }
        )
        fleet = Fleet.from_frame(frame, unit="u", cycle="c", sensors=["s"], statics=["make", "size"], events="last_row")
        fitted = Preprocessing.fit(fleet, FEATURES)
        np.testing.assert_array_equal(fitted.transform(fleet).static, [[-1, 1, 0], [1, 0, 1]])
        other = replace(fleet, frame=fleet.frame.with_columns(make=pl.lit("new")))
        np.testing.assert_array_equal(fitted.transform(other).static[:, 1:], 0)


def fleet_of(settings_: np.ndarray, effect: np.ndarray | float = 1.0) -> Fleet:
    """One unit with these settings and one sensor that they move."""
    columns = {f"x{i}": column for i, column in enumerate(settings_.T)}
    moved = settings_ @ np.arange(1, settings_.shape[1] + 1) if settings_.shape[1] else np.zeros(len(settings_))
    noise = np.random.default_rng(0).normal(0, 1, len(settings_))
    frame = pl.DataFrame(
        {"u": [1] * len(settings_), "c": range(len(settings_)), "s": effect * moved + 0.01 * noise, **columns}
    )
    return Fleet.from_frame(frame, unit="u", cycle="c", sensors=["s"], settings=list(columns))


class TestConditions:
    def test_six_conditions_with_jitter_are_found(self):
        rng = np.random.default_rng(0)
        centres = np.array([[0, 0], [10, 0.25], [20, 0.7], [25, 0.62], [35, 0.84], [42, 0.84]])
        code = rng.integers(0, 6, 3000)
        fleet = fleet_of(centres[code] + rng.normal(0, [0.003, 0.0005], (3000, 2)))
        conditions = OperatingConditions.fit(fleet)
        found, seen = conditions.assign(fleet)
        assert len(conditions) == 6
        assert seen.all()
        assert len(set(zip(code.tolist(), found.tolist(), strict=True))) == 6

    def test_rounded_noise_has_gaps_but_is_no_condition(self):
        """The settings of C-MAPSS FD001: thirteen values, none of which moves a sensor."""
        rng = np.random.default_rng(0)
        fleet = fleet_of(rng.integers(-6, 7, (3000, 1)) * 1e-4, effect=0.0)
        assert len(OperatingConditions.fit(fleet)) == 1

    def test_a_setting_without_gaps_is_one_condition(self):
        conditions = OperatingConditions.fit(fleet_of(np.linspace(0, 100, 500)[:, None]))
        assert len(conditions) == 1
        _, seen = conditions.assign(fleet_of(np.array([[50.0], [105.0], [140.0], [np.nan]])))
        assert seen.tolist() == [True, True, False, False]

    def test_a_combination_never_seen_is_marked_though_its_parts_are_known(self):
        conditions = OperatingConditions.fit(fleet_of(np.array([[0.0, 0.0], [1.0, 1.0]] * 10)))
        _, seen = conditions.assign(fleet_of(np.array([[0.0, 1.0]])))
        assert not seen[0]

    def test_no_settings_is_one_condition(self):
        fleet = fleet_of(np.zeros((5, 0)))
        conditions = OperatingConditions.fit(fleet)
        condition, seen = conditions.assign(fleet)
        assert len(conditions) == 1
        assert (condition == 0).all()
        assert seen.all()

    def test_more_combinations_than_conditions_can_be_is_one_condition(self):
        many = np.random.default_rng(0).integers(0, 10, (5000, 2)) * 10.0
        assert len(OperatingConditions.fit(fleet_of(many))) == 1


class TestSplits:
    @given(st.integers(2, 12), st.integers(0, 5), st.floats(0.05, 0.85), st.integers(0, 9))
    @settings(max_examples=30, deadline=None)
    def test_sides_share_no_unit_and_lose_none(self, failed, censored, share, seed):
        fleet = make_fleet(units=failed + censored, cycles=8, spread=2, censored=censored)
        split = split_units(fleet, SplitSpec(validation_share=share), seed)
        assert not set(split.train.units) & set(split.validation.units)
        assert set(split.train.units) | set(split.validation.units) == set(fleet.units)
        assert np.isfinite(split.train.end_of_life_age).any()
        assert np.isfinite(split.validation.end_of_life_age).any()

    def test_one_seed_gives_one_split(self):
        fleet = make_fleet(units=10)
        first, second = (split_units(fleet, SplitSpec(), 3).validation.units for _ in range(2))
        assert first == second
        assert first != split_units(fleet, SplitSpec(), 4).validation.units

    def test_a_fleet_that_is_all_censored_is_refused(self):
        with pytest.raises(FleetError, match="0 of 3 units have failed"):
            split_units(make_fleet(censored=3), SplitSpec(), 0)
