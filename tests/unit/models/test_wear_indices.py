"""Indices of wear: weighted sums of all sensors that trees read beside the table, learnt from the fold's own units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import load_bundle, train
from wearcast.features import SequenceFeatures, StatisticsFeatures
from wearcast.inference import OnnxSession
from wearcast.inference.tables import SensorBlocks, sensor_blocks, table_columns
from wearcast.models import LightGbm
from wearcast.models.folds import by_unit, few_of
from wearcast.models.gradient_boosting import cross_fit
from wearcast.models.tree_graph import tree_graph
from wearcast.models.wear_indices import STAGES, learn_indices
from wearcast.windows import Preprocessing

CAP, UNITS, CYCLES, SENSORS = 50.0, 12, 80, 6
GRID = np.linspace(0, 100, 21)
SPEC = LightGbm(folds=3, n_trees=20, max_leaves=6, min_leaf_rows=5, threads=1)
BLOCKS = SensorBlocks(np.arange(2 * SENSORS).reshape(2, SENSORS), learnt=(0,))


def worn(seed: int = 0, noise: float = 1.0):
    """Sensors that all show a little of the wear, read twice: two blocks of columns."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(UNITS, dtype=np.int32), CYCLES)
    duration = np.tile(np.arange(CYCLES)[::-1].astype(float), UNITS)
    wear = (1 - np.minimum(duration, CAP) / CAP)[:, None] * np.ones(2 * SENSORS)
    table = (wear + noise * rng.normal(size=wear.shape)).astype(np.float32)
    return table, duration, np.ones(len(unit), dtype=bool), unit


def test_an_index_tells_the_time_left_better_than_any_sensor():
    table, duration, known, _ = worn()
    label = np.minimum(duration, CAP)
    index = learn_indices(table, duration, known, BLOCKS, max_rul=CAP).beside(table)[:, table.shape[1]]
    alone = max(abs(np.corrcoef(column, label)[0, 1]) for column in table.T)
    assert np.corrcoef(index, label)[0, 1] > alone + 0.15


def test_the_same_weights_are_read_off_every_block():
    table, duration, known, _ = worn()
    indices = learn_indices(table, duration, known, BLOCKS, max_rul=CAP)
    assert indices.weights.shape == (2 * SENSORS, len(STAGES) * 2)
    for stage in range(len(STAGES)):
        first, second = indices.weights[:, 2 * stage], indices.weights[:, 2 * stage + 1]
        np.testing.assert_array_equal(first[:SENSORS], second[SENSORS:])
        assert not first[SENSORS:].any()
        assert not second[:SENSORS].any()


def test_a_stage_that_no_known_life_reaches_gives_no_index():
    table, duration, known, _ = worn()
    running = duration < 0.65 * CAP  # nobody saw an end
    indices = learn_indices(table, duration, known & ~running, BLOCKS, max_rul=CAP)
    assert indices.weights.shape[1] == 2 * (len(STAGES) - 1)
    assert np.isfinite(indices.weights).all()


def test_a_sensor_that_never_moves_has_no_weight():
    table, duration, known, _ = worn()
    table[:, 2] = 7.0
    assert not learn_indices(table, duration, known, BLOCKS, max_rul=CAP).weights[2].any()


def test_the_graph_equals_the_trees(tmp_path: Path):
    table, duration, known, unit = worn()
    fitted = cross_fit(SPEC, table, duration, known, unit, grid=GRID, max_rul=CAP, seed=0, blocks=BLOCKS)
    path = tmp_path / "trees.onnx"
    path.write_bytes(tree_graph(fitted, table.shape[1]).SerializeToString())
    np.testing.assert_allclose(OnnxSession(path).run({"table": table}), fitted.survival(table), atol=1e-5)


def test_trees_with_indices_are_nearer():
    table, duration, known, unit = worn(noise=1.5)
    error = [
        float(np.sqrt(np.mean((fitted.out_of_fold - np.minimum(duration, CAP)) ** 2)))
        for blocks in (None, BLOCKS)
        for fitted in [cross_fit(SPEC, table, duration, known, unit, grid=GRID, max_rul=CAP, seed=0, blocks=blocks)]
    ]
    assert error[1] < 0.95 * error[0]


def test_a_fold_s_indices_know_nothing_of_the_units_held_out():
    table, duration, known, unit = worn()
    folds = by_unit(unit, 3, seed=0)
    other = np.where(folds[0][1][:, None], -table, table)
    first, second = (
        cross_fit(SPEC, one, duration, known, unit, grid=GRID, max_rul=CAP, seed=0, folds=folds, blocks=BLOCKS)
        for one in (table, other)
    )
    np.testing.assert_array_equal(first.indices[0].weights, second.indices[0].weights)
    assert not np.array_equal(first.indices[1].weights, second.indices[1].weights)


def test_rows_that_are_not_learnt_from_are_judged_all_the_same():
    table, duration, known, unit = worn()
    learnt = few_of(duration >= CAP, 0.25)
    fitted = cross_fit(SPEC, table, duration, known, unit, grid=GRID, max_rul=CAP, seed=0, learnt=learnt)
    assert np.isfinite(fitted.out_of_fold).all()
    assert learnt.sum() == pytest.approx((duration < CAP).sum() + 0.25 * (duration >= CAP).sum(), abs=1)
    assert np.abs(fitted.out_of_fold[~learnt] - CAP).mean() < 20


def test_blocks_are_all_sensors_in_one_description():
    features = StatisticsFeatures(scales=(3, 6), lags=(2,), differences=(4,), healthy_steps=3)
    preprocessing = Preprocessing.fit(make_fleet(units=2, cycles=12), features)
    names = table_columns(preprocessing, features)
    blocks = sensor_blocks(preprocessing)
    assert blocks is not None
    sensors = [scale.column for scale in preprocessing.sensors]
    described = ["mean_3", "slope_3", "mean_6", "slope_6", "last", "lag_2", "difference_4", "deviation"]
    found = [[names[i] for i in block] for block in blocks.columns]
    assert found == [[f"{name}_{what}" for name in sensors] for what in (*described, "recent_deviation")]
    assert [found[i][0] for i in blocks.learnt] == [f"{sensors[0]}_last", f"{sensors[0]}_deviation"]


def test_without_a_healthy_start_weights_are_learnt_from_the_reading_alone():
    features = StatisticsFeatures(scales=(), deviation=False)
    preprocessing = Preprocessing.fit(make_fleet(units=2, cycles=12), features)
    blocks = sensor_blocks(preprocessing)
    assert blocks is not None
    assert blocks.learnt == (0,)
    names = table_columns(preprocessing, features)
    assert [names[i] for i in blocks.columns[0]] == [f"{scale.column}_last" for scale in preprocessing.sensors]


def test_windows_have_no_blocks():
    preprocessing = Preprocessing.fit(make_fleet(units=2, cycles=12), SequenceFeatures(healthy_steps=3))
    assert sensor_blocks(preprocessing) is None


def test_a_bundle_forecasts_with_its_indices(tmp_path: Path):
    fleet = make_fleet(units=8, cycles=30)
    plain = make_experiment("lightgbm")
    spec = plain.backbone.model_copy(update={"wear_indices": True})
    experiment = plain.model_copy(update={"backbone": spec})
    trained = train(experiment, fleet, out=tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.predict(fleet, every=1).to_frame().equals(trained.predict(fleet, every=1).to_frame())
    other = train(plain, fleet, out=tmp_path / "plain").predict(fleet)
    assert not np.array_equal(other.rul, loaded.predict(fleet).rul)  # type: ignore[attr-defined]
