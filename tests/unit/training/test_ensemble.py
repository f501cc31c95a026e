"""Ensembles: every unit is held out, weights come of what was not seen, one bundle forecasts as its models do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from tests.fixtures.bundles import TrainedEnsemble, lives, small_ensemble, training_fleet
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import load_bundle, train
from wearcast.bundle import EnsembleManifest, pooled_engine
from wearcast.bundle.manifest import read_manifest
from wearcast.errors import BundleCorruptError, TrainingError
from wearcast.evaluation import evaluate
from wearcast.target import RulTarget
from wearcast.training import ensemble as ensemble_module
from wearcast.training import one_model, parts
from wearcast.training.tasks import RulTask, task_for
from wearcast.windows import split_folds


def test_every_unit_is_held_out_once_by_each_network(ensemble: TrainedEnsemble):
    models = [model for model in ensemble.bundle.models if model.manifest.data.validation_units]
    held_out = [unit for model in models for unit in model.manifest.data.validation_units]
    assert len(models) == 2
    assert sorted(held_out) == sorted(ensemble.fleet.units)
    for model in models:
        assert not set(model.manifest.data.train_units) & set(model.manifest.data.validation_units)


def test_the_forecast_is_the_weighted_mean_of_its_models(ensemble: TrainedEnsemble):
    """Before the calibration of the whole, survival is the mean of the models' survival."""
    fleet, manifest = ensemble.fleet, ensemble.manifest
    grid = np.linspace(0.0, 30.0, 7)
    each = np.stack([lives(model, fleet).distribution.on(grid).survival for model in ensemble.bundle.models])
    weights = np.array([record.weight for record in manifest.models])
    raw = np.tensordot(weights, each, axes=1)
    plain = manifest.output.model_copy(update={"raw": (0.0, 1.0), "calibrated": (0.0, 1.0)})
    uncalibrated = ensemble.bundle.engine.__class__(
        **{**vars(ensemble.bundle.engine), "output": plain}  # the loaded models, without the last step
    ).forecast(fleet)
    np.testing.assert_allclose(uncalibrated.distribution.on(grid).survival, raw, atol=0.02)  # type: ignore[attr-defined]


def test_the_weights_are_those_of_the_members_and_sum_to_one(ensemble: TrainedEnsemble):
    manifest = ensemble.manifest
    assert sum(record.weight for record in manifest.models) == pytest.approx(1.0)
    for member, figures in manifest.members.items():
        of_models = [record.weight for record in manifest.models if record.member == member]
        assert sum(of_models) == pytest.approx(figures["weight"])
        assert figures["latency_ms"] > 0
    assert manifest.training["models"] == len(manifest.models) == 3


def test_a_model_that_counts_for_nothing_is_not_run(ensemble: TrainedEnsemble):
    models = ensemble.bundle.models
    some = pooled_engine(models, [0.0, *[1 / (len(models) - 1)] * (len(models) - 1)], ensemble.manifest.output)
    rest = pooled_engine(models[1:], [1 / (len(models) - 1)] * (len(models) - 1), ensemble.manifest.output)
    assert len(some.engines) == len(models) - 1
    found, expected = (engine.forecast(ensemble.fleet) for engine in (some, rest))
    assert found.to_frame().equals(expected.to_frame())


def test_weights_of_models_that_do_not_sum_to_one_are_refused(ensemble: TrainedEnsemble):
    record = json.loads((ensemble.bundle.path / "bundle.json").read_text())
    record["models"] = [{**model, "weight": 0.0} for model in record["models"]]
    with pytest.raises(ValueError, match="the weights of the models sum to 0, not to 1"):
        read_manifest(record, ensemble.bundle.path)


def test_stacked_is_no_worse_than_its_best_member_on_what_was_not_seen(ensemble: TrainedEnsemble):
    manifest = ensemble.manifest
    best = min(figures["validation_rmse_capped"] for figures in manifest.members.values())
    assert manifest.metrics["validation_rmse_capped"] <= best * 1.05


def test_readings_far_from_the_end_have_no_say_in_the_weights():
    """One member is right where lives can be told apart, the other where all of them are long."""
    fleet = make_fleet(units=4, cycles=60)
    ensemble = small_ensemble()
    task = task_for(ensemble.first, fleet)
    assert isinstance(task, RulTask)
    rows, rul = np.arange(fleet.n_rows), fleet.rul()[0]
    far = task.far(rul)
    assert 0 < far.sum() < len(far)

    def said(wrong: np.ndarray) -> np.ndarray:
        return (task.grid < np.where(wrong, rul / 4, rul)[:, None]).astype(np.float32)

    members = {"near": said(far), "far": said(~far)}
    weights = ensemble_module._weights(ensemble, members, task, fleet, rows)
    assert weights == pytest.approx({"near": 1.0, "far": 0.0}, abs=1e-6)


def test_it_is_evaluated_and_its_models_can_be_used_alone(ensemble: TrainedEnsemble):
    judged = evaluate(ensemble.bundle, ensemble.fleet, split="train")
    assert judged.to_dict()["recipe"] == "test-ensemble"
    alone = load_bundle(ensemble.bundle.path / "models" / ensemble.manifest.models[0].folder)
    assert len(alone.predict(ensemble.fleet)) == ensemble.fleet.n_units


def test_flags_of_any_model_are_raised(ensemble: TrainedEnsemble):
    """The network's window is 16 readings, the trees' needs fewer."""
    short = ensemble.fleet.frame.filter(pl.col("time") <= 5)
    from dataclasses import replace

    flags = ensemble.bundle.predict(replace(ensemble.fleet, frame=short)).flags
    assert all("short_history" in row for row in flags)


@pytest.mark.parametrize("file", ["bundle.json", "models/cnn_bilstm-seed0-fold0/model.onnx", "models/x/bundle.json"])
def test_a_changed_or_added_model_is_noticed(file: str, ensemble: TrainedEnsemble, tmp_path: Path):
    broken = Path(shutil.copytree(ensemble.bundle.path, tmp_path / "broken"))
    (broken / file).parent.mkdir(exist_ok=True)
    with (broken / file).open("ab") as handle:
        handle.write(b" ")
    with pytest.raises(BundleCorruptError):
        load_bundle(broken)


def test_a_checksum_outside_of_the_bundle_is_refused(ensemble: TrainedEnsemble, tmp_path: Path):
    broken = Path(shutil.copytree(ensemble.bundle.path, tmp_path / "broken"))
    with (broken / "SHA256SUMS").open("a") as handle:
        handle.write(f"{'0' * 64}  models/../../secret\n")
    with pytest.raises(BundleCorruptError, match="not a checksum of a file in this folder"):
        load_bundle(broken)


def test_an_interrupted_training_keeps_the_models_that_are_whole(
    quick_export: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The second network fails; with resume the first is not trained again, and the bundle is the unbroken one's."""
    ensemble, fleet = small_ensemble(combine="mean"), training_fleet()
    unbroken = train(ensemble, fleet, out=tmp_path / "unbroken")
    trained: list[str] = []
    real = one_model.train_model

    def counted(experiment, fleet, split, root, **options):
        trained.append(root.name)
        if len(trained) == 3:
            raise TrainingError("the power is out")
        return real(experiment, fleet, split, root, **options)

    monkeypatch.setattr(parts, "train_model", counted)
    with pytest.raises(TrainingError, match="power"):
        train(ensemble, fleet, out=tmp_path / "broken")
    resumed = train(ensemble, fleet, out=tmp_path / "broken", resume=True)
    assert trained[2:] == ["cnn_bilstm-seed0-fold1"] * 2
    assert isinstance(resumed.manifest, EnsembleManifest)
    assert resumed.manifest.models == unbroken.manifest.models
    np.testing.assert_allclose(lives(resumed, fleet).rul, lives(unbroken, fleet).rul, rtol=1e-6)
    assert not (tmp_path / "broken.work").exists()


def test_members_of_another_target_or_data_set_are_refused():
    good = small_ensemble().model_dump()
    for key, other in (("target", RulTarget(max_rul=99.0)), ("dataset", {"kind": "simulated", "units": 5})):
        with pytest.raises(ValidationError, match=f"another {'target' if key == 'target' else 'data set'}"):
            small_ensemble().model_validate({**good, key: other})


def test_members_that_take_windows_elsewhere_are_refused():
    good = small_ensemble()
    member = make_experiment("cnn_bilstm")
    sparse = member.model_copy(update={"features": member.features.model_copy(update={"every": 3})})
    with pytest.raises(ValidationError, match=r"features\.every"):
        good.model_validate({**good.model_dump(), "members": {"a": member.model_dump(), "b": sparse.model_dump()}})


@pytest.mark.parametrize("share", [0.5, 0.25, 0.2])
def test_folds_hold_each_unit_out_once(share: float):
    fleet = training_fleet()
    spec = small_ensemble().split.model_copy(update={"validation_share": share})
    splits = split_folds(fleet, spec, 0)
    assert len(splits) == round(1 / share)
    assert sorted(unit for split in splits for unit in split.validation.units) == sorted(fleet.units)
    censored = [np.isnan(split.validation.end_of_life_age).sum() for split in splits]
    assert max(censored) <= 1  # two of eight units are still running: they are dealt out


def test_the_manifest_holds_the_resolved_ensemble(ensemble: TrainedEnsemble):
    record = json.loads((ensemble.bundle.path / "bundle.json").read_text())
    assert record["kind"] == "ensemble"
    assert record["experiment"] == ensemble.ensemble.record()
