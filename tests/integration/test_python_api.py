"""The Python way, as the documentation writes it, on a pandas table with timestamps."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from tests.fixtures.experiments import make_experiment

from wearcast import Fleet, load_bundle, train


def hourly_frame(units: int = 6, hours: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Readings every half hour and the table of failures."""
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2026-01-01")
    parts, failures = [], []
    for unit in range(units):
        ts = [start + timedelta(minutes=30 * i) for i in range(2 * hours)]
        wear = np.linspace(0, 1, 2 * hours) ** 2
        parts.append(
            pd.DataFrame(
                {"asset_id": f"pump-{unit}", "ts": ts, "temperature": 60 + 20 * wear + rng.normal(0, 1, 2 * hours)}
            )
        )
        failures.append({"unit": f"pump-{unit}", "time": ts[-1] + timedelta(minutes=30), "mode": "bearing"})
    return pd.concat(parts, ignore_index=True), pd.DataFrame(failures)


def test_a_pandas_fleet_goes_from_rows_to_a_forecast_in_hours(tmp_path):
    frame, failures = hourly_frame()
    fleet = Fleet.from_frame(frame, unit="asset_id", time="ts", sensors=["temperature"], events=failures)
    assert fleet.end_of_life_age.tolist() == [40.0] * 6
    bundle = train(make_experiment("lightgbm", max_rul=30), fleet, out=tmp_path / "bundle")
    new = Fleet.from_frame(
        frame[frame["ts"] < "2026-01-02"].assign(asset_id="new-" + frame["asset_id"]),
        unit="asset_id",
        time="ts",
        sensors=["temperature"],
    )
    forecast = load_bundle(tmp_path / "bundle").predict(new)
    table = forecast.to_frame()
    assert table["unit"].to_list() == [f"new-pump-{i}" for i in range(6)]
    assert table["time"].max() < pd.Timestamp("2026-01-02")
    assert (np.abs(table["rul"].to_numpy() - 16.5) < 8).all()
    assert bundle.manifest.preprocessing.time_unit == "hour"
