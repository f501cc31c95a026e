"""Extremes, medians, lags and differences: asked for by the experiment, kept by the bundle, named in the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import load_bundle, train
from wearcast.features import StatisticsFeatures
from wearcast.inference.tables import table_columns, table_of
from wearcast.windows import Preprocessing

ASKED = StatisticsFeatures(
    scales=(3, 6), statistics=("median", "mean", "max", "min"), lags=(1, 4), differences=(2,), healthy_steps=3
)


def test_every_column_is_what_its_name_says():
    fleet = make_fleet(units=2, cycles=12)
    preprocessing = Preprocessing.fit(fleet, ASKED)
    channels = preprocessing.transform(fleet)
    rows = np.arange(fleet.n_rows)
    table = dict(zip(table_columns(preprocessing, ASKED), table_of(channels, rows, ASKED).T, strict=True))
    first, sensor = int(fleet.offsets[1]), preprocessing.sensors[0].column
    levels = channels.values[:, 0]
    for row in (first, first + 2, first + 5):
        window = levels[max(first, row - 5) : row + 1]
        for kind, of in (("median", np.median), ("mean", np.mean), ("max", np.max), ("min", np.min)):
            assert table[f"{sensor}_{kind}_6"][row] == pytest.approx(of(window), abs=1e-5)
        assert table[f"{sensor}_lag_4"][row] == levels[max(first, row - 4)]
        assert table[f"{sensor}_difference_2"][row] == levels[row] - levels[max(first, row - 2)]
        home = channels.home_at(np.array([row]))
        assert home is not None
        recent = table[f"{sensor}_mean_3"][row] - home[0, 0]
        assert table[f"{sensor}_recent_deviation"][row] == pytest.approx(recent, abs=1e-6)


def test_without_a_mean_there_is_no_recent_deviation_and_without_lags_no_lag():
    fleet = make_fleet(units=2, cycles=12)
    features = StatisticsFeatures(scales=(3,), statistics=("max",), healthy_steps=3)
    preprocessing = Preprocessing.fit(fleet, features)
    names = table_columns(preprocessing, features)
    assert not [name for name in names if name.endswith("recent_deviation") or "lag" in name]
    assert table_of(preprocessing.transform(fleet), np.arange(3), features).shape == (3, len(names))


def test_the_bundle_serves_what_was_trained(tmp_path: Path):
    experiment = make_experiment("lightgbm").model_copy(update={"features": ASKED})
    fleet = make_fleet(units=8, cycles=30)
    trained = train(experiment, fleet, out=tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert ASKED.model_dump(mode="json").items() <= loaded.manifest.experiment["features"].items()
    whole = loaded.predict(fleet, every=1).to_frame()
    assert whole.equals(trained.predict(fleet, every=1).to_frame())
    alone = loaded.predict(fleet.select([fleet.units[3]]), every=1).to_frame()
    same = whole.filter(pl.col("unit") == fleet.units[3])
    np.testing.assert_allclose(alone["rul"], same["rul"], rtol=1e-6, err_msg="none reaches into another unit")
