"""MetroPT-3 from its CSV to alarms, on a generated stand-in with the real layout and the real failure windows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.metropt_files import write_metropt

from wearcast import train
from wearcast.evaluation import ClassEvaluation, evaluate
from wearcast.training.recipes import load_experiment


def test_lives_between_failures_are_learnt_and_the_later_failures_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "metropt").mkdir()
    write_metropt(tmp_path / "metropt" / "MetroPT3(AirCompressor).csv", "3", rows=40_000)
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    quick = ("dataset.resample=10m", "features.scales=[6,36]", "features.healthy_steps=144", "backbone.n_trees=40")
    experiment = load_experiment("metropt3-failure", quick)
    bundle = train(experiment, out=tmp_path / "bundle")
    assert bundle.manifest.data.train_units == ("apu#1", "apu#2")
    evaluation = evaluate(bundle, experiment.dataset.load("test"))
    assert isinstance(evaluation, ClassEvaluation)
    alarms = evaluation.metrics["alarms"]
    assert alarms["n_events"] == alarms["events_caught"] == 2
    assert alarms["forewarning_min"] >= 2, "hours: what the operator asks for"
    assert alarms["false_alarms_per_asset_month"] < 5
