"""MetroPT from its CSV to alarms, on GENERATED stand-ins with the real layout and the real failure windows."""

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


@pytest.mark.parametrize(
    ("test_lives", "learnt"),
    [("", ("apu#1",)), ("[apu#1]", ("apu#2", "apu#3"))],
    ids=["oil leak left out", "air leak left out"],
)
def test_each_failure_of_metropt2_is_announced_by_what_the_other_ones_taught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test_lives: str, learnt: tuple[str, ...]
):
    (tmp_path / "metropt").mkdir()
    write_metropt(tmp_path / "metropt" / "MetroPT3(AirCompressor).csv", "3", rows=40_000)
    write_metropt(tmp_path / "metropt" / "MetroPT2.csv", "2", rows=20_000)
    monkeypatch.setenv("WEARCAST_DATA_DIR", str(tmp_path))
    quick = ("dataset.resample=10m", "features.scales=[6,36]", "features.healthy_steps=144", "backbone.n_trees=40")
    turned = (f"dataset.test_lives={test_lives}",) if test_lives else ()
    experiment = load_experiment("metropt2-failure", (*quick, *turned))
    bundle = train(experiment, out=tmp_path / "bundle")
    assert bundle.manifest.data.train_units == (*learnt, *(f"apu-3#{i}" for i in range(1, 6)))
    evaluation = evaluate(bundle, experiment.dataset.load("test"))
    assert isinstance(evaluation, ClassEvaluation)
    alarms = evaluation.metrics["alarms"]
    assert alarms["n_events"] == alarms["events_caught"] == 1
    assert alarms["forewarning_min"] >= 2, "hours: what the operator asks for"
    assert alarms["false_alarms_per_asset_month"] < 5
