"""Every kind of target, from a fleet to a forecast, its figures and its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.fixtures.targets import STEPS, make_answered_fleet, make_target_experiment

from wearcast import load_bundle, train
from wearcast.evaluation import evaluate, write_report
from wearcast.forecast import ClassForecast, SensorForecast

CLASSES = [
    ("failure", "lightgbm"),
    ("failure_label", "lightgbm"),
    ("fault", "lightgbm"),
    ("failure", "cnn_bilstm"),
    ("fault", "cnn_bilstm"),
]
FIGURES = {
    "failure": {"pr_auc", "roc_auc", "f1", "precision", "recall", "brier", "threshold", "alarms"},
    "failure_label": {"pr_auc", "roc_auc", "f1", "precision", "recall", "brier", "threshold"},
    "fault": {"macro_f1", "accuracy", "confusion"},
}


def strictly(value: Any) -> str:
    """As JSON that any parser reads: no NaN."""
    return json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(("target", "kind"), CLASSES)
def test_classes_are_learnt_forecast_and_judged(target: str, kind: str, tmp_path: Path):
    trained_on, other = make_answered_fleet(), make_answered_fleet(units=6, seed=1)
    bundle = train(make_target_experiment(target, kind, epochs=12), trained_on, out=tmp_path / "b")
    assert bundle.manifest.metrics.keys() >= {"validation_log_loss", "validation_macro_f1"}
    forecast = load_bundle(tmp_path / "b").predict(other, every=1)
    assert isinstance(forecast, ClassForecast)
    np.testing.assert_allclose(forecast.probability.sum(axis=1), 1.0)
    columns = forecast.to_frame().columns
    named = ["failure_probability", "alarm"]
    if target == "fault":
        named = ["fault", "probability_ball", "probability_inner", "probability_outer"]
    assert columns == ["unit", "time", *named, "flags", "model"]
    evaluation = evaluate(bundle, other)
    result = evaluation.to_dict()
    assert strictly(result)
    assert FIGURES[target] <= result["metrics"].keys()
    score = result["metrics"]["macro_f1" if target == "fault" else "pr_auc"]
    assert score > 0.8
    page = write_report(evaluation, bundle, tmp_path / "report.html").read_text()
    assert "Calibration" in page
    assert "Model card" in page


@pytest.mark.parametrize("kind", ["cnn_bilstm", "tft"])
def test_future_values_are_learnt_forecast_and_judged(kind: str, tmp_path: Path):
    trained_on, other = make_answered_fleet(), make_answered_fleet(units=6, seed=1)
    bundle = train(make_target_experiment("sensor", kind, epochs=12), trained_on, out=tmp_path / "b")
    forecast = load_bundle(tmp_path / "b").predict(other)
    assert isinstance(forecast, SensorForecast)
    assert forecast.quantiles.shape == (6, STEPS, 2, 5)
    assert (np.diff(forecast.quantiles, axis=3) >= 0).all()
    table = forecast.to_frame()
    quantiles = ["q05", "q25", "q50", "q75", "q95"]
    assert table.columns == ["unit", "time", "step", "column", "value", *quantiles, "flags", "model"]
    assert table.height == 6 * STEPS * 2
    assert table.filter(pl.col("unit") == 1)["step"].to_list()[:4] == [1, 1, 2, 2]
    evaluation = evaluate(bundle, other)
    result = evaluation.to_dict()
    assert strictly(result)
    assert {"mse", "mae", "crps", "mse_persistence", "mae_persistence"} <= result["metrics"].keys()
    assert result["metrics"]["mae"] < result["metrics"]["mae_persistence"]
    assert evaluation.latest.to_frame().equals(table)
    assert "Error by step ahead" in write_report(evaluation, bundle, tmp_path / "report.html").read_text()


def test_without_the_answers_nothing_is_scored_and_the_forecasts_stand(tmp_path: Path):
    bundle = train(make_target_experiment("fault", "lightgbm"), make_answered_fleet(), out=tmp_path / "b")
    answered = make_answered_fleet(units=4, seed=2)
    schema = answered.schema.model_copy(update={"labels": ()})
    from dataclasses import replace

    bare = replace(answered, frame=answered.frame.drop("fault", "failing"), schema=schema)
    evaluation = evaluate(bundle, bare)
    assert evaluation.truth == "unknown"
    assert set(evaluation.metrics.values()) == {None}
    assert len(bundle.predict(bare)) == 4
    page = write_report(evaluation, bundle, tmp_path / "report.html").read_text()
    assert "nothing is scored" in page
