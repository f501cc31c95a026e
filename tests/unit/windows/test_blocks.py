"""Preprocessing in blocks against whole columns in double precision; borders of blocks lie anywhere in a unit."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearcast import Fleet
from wearcast.features import SequenceFeatures, blocks, row_blocks
from wearcast.windows import Channels, OperatingConditions, Preprocessing
from wearcast.windows.preprocessing import CLIP

FEATURES = SequenceFeatures(healthy_steps=3)


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """A unit without holes, and units of any length with holes, wild readings and a column that is known ahead."""
    sizes = draw(st.lists(st.integers(1, 30), min_size=1, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = sum(sizes) + 9
    condition = np.append(np.arange(9), rng.integers(0, 3, n - 9)) % draw(st.integers(1, 3))
    columns = {"s0": rng.normal(500.0, 3.0, n) + 40 * condition, "s1": rng.standard_cauchy(n), "plan": rng.random(n)}
    holes = draw(st.sampled_from([0.0, 0.3, 0.95]))
    for column in columns.values():
        column[9:][rng.random(n - 9) < holes] = np.nan
    load = condition * 10.0
    load[9:][rng.random(n - 9) < holes / 10] = np.nan
    unit = np.repeat(np.arange(len(sizes) + 1), [9, *sizes])
    frame = pl.DataFrame({"u": unit, "c": np.arange(n) * 0.5, "load": load, **columns})
    return Fleet.from_frame(
        frame, unit="u", cycle="c", sensors=["s0", "s1"], settings=["load"], known_future=["plan"], events="last_row"
    )


def plain(fitted: Preprocessing, fleet: Fleet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, missing and clipped of a fleet, unit by unit from whole columns."""
    condition, _ = fitted.conditions.assign(fleet)
    frame = {name: fleet.frame[name].to_numpy() for name in fitted.columns}
    levels = []
    for scale in (*fitted.sensors, *fitted.inputs):
        code = condition if len(scale.mean) > 1 else np.zeros_like(condition)
        level = (frame[scale.column] - np.array(scale.mean)[code]) / np.array(scale.sd)[code]
        for first, stop in itertools.pairwise(fleet.offsets):
            known = 0.0
            for row in range(first, stop):
                level[row] = known = known if np.isnan(level[row]) else level[row]
        levels.append(level.astype(np.float32))
    age = np.concatenate([0.5 * np.arange(n) for n in np.diff(fleet.offsets)]) / fitted.life_scale
    sensors = [scale.column for scale in fitted.sensors]
    missing = np.any([np.isnan(frame[name]) for name in ("load", *sensors)], axis=0)
    clipped = np.any([np.abs(level) > CLIP for level in levels[: len(sensors)]], axis=0)
    return np.stack([*(np.clip(level, -CLIP, CLIP) for level in levels), age], axis=1), missing, clipped


def prepared(fleet: Fleet, size: int) -> tuple[Preprocessing, Channels]:
    """Fitted and applied in blocks of `size` rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", size)
        fitted = Preprocessing.fit(fleet, FEATURES)
        return fitted, fitted.transform(fleet)


@given(st.integers(0, 40), st.integers(1, 12))
def test_blocks_are_all_rows_in_order(n_rows, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", size)
        found = [np.arange(n_rows)[block] for block in row_blocks(n_rows)]
    assert all(1 <= len(rows) <= size for rows in found)
    assert [*itertools.chain(*found)] == list(range(n_rows))


@given(fleets(), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_transform_in_blocks_is_that_of_whole_columns(fleet, size):
    fitted, channels = prepared(fleet, size)
    values, missing, clipped = plain(fitted, fleet)
    np.testing.assert_array_equal(channels.values, values.astype(np.float32))
    np.testing.assert_array_equal(channels.missing, missing)
    np.testing.assert_array_equal(channels.clipped, clipped)


@given(fleets(), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_fit_in_blocks_is_that_of_whole_columns(fleet, size):
    fitted, _ = prepared(fleet, size)
    condition, seen = fitted.conditions.assign(fleet)
    assert fitted.conditions == OperatingConditions.fit(fleet)
    assert (seen == ~np.isnan(fleet.frame["load"].to_numpy())).all()
    for scale in fitted.sensors:
        raw = fleet.frame[scale.column].to_numpy().astype(np.float64)
        groups = [raw[(condition == i) & ~np.isnan(raw)] for i in range(len(fitted.conditions))]
        rest = np.concatenate([group - group.mean() for group in groups if len(group)])
        for group, mean, sd in zip(groups, scale.mean, scale.sd, strict=True):
            assert mean == pytest.approx(group.mean() if len(group) else np.nanmean(raw), rel=1e-9)
            assert sd == pytest.approx(max(group.std() if len(group) else 0.0, 0.05 * rest.std()), rel=1e-6)


@given(fleets(), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_the_size_of_a_block_changes_no_channel(fleet, one, other):
    (first, a), (second, b) = prepared(fleet, one), prepared(fleet, other)
    assert first.names == second.names
    np.testing.assert_allclose(a.values, b.values, rtol=1e-5, atol=1e-6)
    assert a.home is not None
    assert b.home is not None
    np.testing.assert_allclose(a.home, b.home, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(a.condition, b.condition)


def test_less_than_half_a_column_in_double_precision_is_held_beside_the_channels():
    rng = np.random.default_rng(0)
    n = 200_000
    sensors = {f"s{i}": rng.normal(0, 1, n).astype(np.float32) for i in range(6)}
    frame = pl.DataFrame(
        {"u": np.arange(n) // 1000, "c": np.arange(n) % 1000, "load": np.arange(n) % 2 * 9.0, **sensors}
    )
    fleet = Fleet.from_frame(frame, unit="u", cycle="c", sensors=list(sensors), settings=["load"], events="last_row")
    prepared(fleet, 4096)  # loads what is loaded once
    tracemalloc.start()
    _, channels = prepared(fleet, 4096)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = sum(array.nbytes for array in vars(channels).values() if isinstance(array, np.ndarray))
    assert peak - kept < 0.5 * n * 8


@pytest.mark.parametrize("axis", [{"cycle": "c"}, {"time": "t", "time_unit": "minute"}])
def test_ages_of_some_rows_are_those_of_all(axis):
    days = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 7), "1d", eager=True)
    frame = pl.DataFrame({"u": [1, 1, 1, 2, 3, 3, 3], "c": [1.5, 2, 9, 4, 0, 1, 2], "t": days, "s": range(7)})
    fleet = Fleet.from_frame(frame, unit="u", sensors=["s"], **axis)
    rows = np.array([6, 0, 2, 3, 4, 4])
    np.testing.assert_array_equal(fleet.age_at(rows), fleet.age[rows])
    assert fleet.age_at(rows[:0]).shape == (0,)
