"""Forecasts from a bundle: order, flags, independence of units, no look ahead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.fixtures.bundles import KINDS, TrainedByKind

from wearcast import Fleet
from wearcast.errors import BundleCorruptError, FleetError, UsageError
from wearcast.features import StatisticsFeatures
from wearcast.inference import OnnxSession
from wearcast.inference.engine import BATCH, forecast_rows, last_known
from wearcast.inference.tables import table_columns, table_of


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_never_contradicts_itself(trained: TrainedByKind, kind: str):
    source = trained(kind)
    frame = source.predict(source.fleet, every=1).to_frame()
    quantiles = frame.select(pl.col("^rul_q.*$")).to_numpy()
    chances = frame.select(pl.col("^failure_probability_.*$")).to_numpy()
    assert frame.height == source.fleet.n_rows
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert (np.diff(chances, axis=1) >= 0).all()
    assert ((chances >= 0) & (chances <= 1)).all()
    assert ((frame["rul"] >= 0) & (frame["rul"] <= 30)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_is_forecast_the_same_alone_and_among_others(trained: TrainedByKind, kind: str):
    source = trained(kind)
    together = source.predict(source.fleet)
    for row in (0, 3):
        alone = source.predict(source.fleet.select([source.fleet.units[row]]))
        np.testing.assert_allclose(alone.rul, together.rul[row : row + 1], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_the_future_off_changes_no_forecast(trained: TrainedByKind, kind: str):
    source = trained(kind)
    whole = source.predict(source.fleet, every=1).to_frame()
    cut = replace(
        source.fleet, frame=source.fleet.frame.filter(pl.col("time") <= 20), events=source.fleet.events.clear()
    )
    if kind == "tft":
        pytest.skip("its known-future plan ends with the rows, so a cut is a different question")
    early = source.predict(cut).to_frame().join(whole, on=["unit", "time"])
    assert early.height == cut.n_units
    np.testing.assert_allclose(early["rul"], early["rul_right"], rtol=1e-5)


def test_batches_do_not_show(trained: TrainedByKind):
    source = trained("cnn_bilstm")
    engine = source.bundle.engine
    channels = engine.preprocessing.transform(source.fleet)
    rows = np.arange(BATCH + 3) % source.fleet.n_rows
    survival = engine.raw(channels, rows)
    np.testing.assert_allclose(survival[BATCH:], engine.raw(channels, rows[BATCH:]), rtol=1e-5)


def test_every_counts_back_from_the_last_reading():
    offsets = np.array([0, 5, 6])
    assert forecast_rows(offsets, None).tolist() == [4, 5]
    assert forecast_rows(offsets, 1).tolist() == [0, 1, 2, 3, 4, 5]
    assert forecast_rows(offsets, 3).tolist() == [1, 4, 5]
    with pytest.raises(UsageError, match="at least 1"):
        forecast_rows(offsets, 0)


def test_each_flag_says_what_it_should(trained: TrainedByKind):
    source = trained("cnn_bilstm")
    row = pl.int_range(pl.len())
    last = source.fleet.offsets[1:] - 1
    frame = source.fleet.frame.with_columns(
        load=pl.when(row == last[1]).then(500.0).otherwise(pl.col("load")).cast(pl.Float32),
        s0=pl.when(row == last[2]).then(1e6).otherwise(pl.col("s0")).cast(pl.Float32),
        s1=pl.when(row == last[3]).then(float("nan")).otherwise(pl.col("s1")).cast(pl.Float32),
    )
    short = (pl.col("unit") != source.fleet.units[0]) | (pl.col("time") <= 1)
    fleet = replace(source.fleet, frame=frame.filter(short))
    forecast = source.predict(fleet)
    assert list(forecast.flags[:5]) == [
        ("short_history",),
        ("unseen_condition",),
        ("out_of_range",),
        ("missing_readings",),
        (),
    ]
    assert forecast.condition[1] == -1
    assert np.isfinite(forecast.rul).all()


@pytest.mark.parametrize("kind", ["cnn_bilstm", "lightgbm"])
def test_a_reading_beyond_single_precision_once_scaled_is_out_of_range_and_nothing_is_said_to_the_log(
    trained: TrainedByKind, kind: str
):
    source = trained(kind)
    last = source.fleet.offsets[1:] - 1
    huge = pl.when(pl.int_range(pl.len()) == last[0]).then(3e38).otherwise(pl.col("s0")).cast(pl.Float32)
    forecast = source.predict(replace(source.fleet, frame=source.fleet.frame.with_columns(s0=huge)))
    assert "out_of_range" in forecast.flags[0]
    assert "out_of_range" not in forecast.flags[1]
    assert np.isfinite(forecast.rul).all()


def test_a_sensor_left_out_changes_the_forecast(trained: TrainedByKind):
    source = trained("lightgbm")
    whole = source.predict(source.fleet, every=1).rul
    assert not np.allclose(whole, source.predict(source.fleet, every=1, without=["s0", "s1", "s2"]).rul)


def test_a_missing_column_is_named(trained: TrainedByKind):
    source = trained("cnn_bilstm")
    with pytest.raises(FleetError, match="'s2' is missing"):
        source.predict(replace(source.fleet, frame=source.fleet.frame.drop("s2")))


def test_the_table_has_a_name_for_every_column(trained: TrainedByKind):
    source = trained("lightgbm")
    preprocessing = source.bundle.manifest.preprocessing
    features = preprocessing.features
    assert isinstance(features, StatisticsFeatures)
    table = table_of(preprocessing.transform(source.fleet), np.array([0, 5]), features)
    names = table_columns(preprocessing, features)
    assert table.shape == (2, len(names))
    assert len(set(names)) == len(names)
    assert table[1, names.index("age")] == pytest.approx(5 / preprocessing.life_scale)


def test_a_graph_that_is_none_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleCorruptError, match="cannot read the model"):
        OnnxSession(tmp_path / "model.onnx", threads=1)


def test_the_last_known_value_is_of_the_same_unit_or_none():
    frame = pl.DataFrame(
        {
            "u": [1, 1, 1, 2, 2],
            "c": [1, 2, 3, 1, 2],
            "x": [5.0, None, 7.0, None, 9.0],
            "y": [None, 1.0, None, 2.0, None],
        }
    )
    fleet = Fleet.from_frame(frame, unit="u", cycle="c", sensors=["x", "y"])
    found = last_known(fleet, ("x", "y"), np.arange(5))
    np.testing.assert_array_equal(found[:, 0], [5, 5, 7, np.nan, 9])
    np.testing.assert_array_equal(found[:, 1], [np.nan, 1, 1, 2, 2])
