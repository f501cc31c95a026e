"""From an experiment to a bundle: what is written, what is refused, and what a failure leaves behind."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.fixtures.bundles import TrainedByKind, training_experiment, training_fleet
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import Experiment, Fleet, load_bundle, train
from wearcast.errors import BundleError, ConfigError, ExportError, FleetError, MissingExtraError
from wearcast.features import StatisticsFeatures
from wearcast.inference import OnnxSession, SurvivalOutput
from wearcast.inference.tables import table_of
from wearcast.models import LightGbm, folds, gradient_boosting, tree_graph
from wearcast.training import table_models
from wearcast.training.export import export_network
from wearcast.training.module import ForecastModule
from wearcast.training.network_training import build_network
from wearcast.training.tasks import task_for
from wearcast.windows import Windows


def small(**trainer: Any) -> Experiment:
    """Two epochs of the CNN-BiLSTM."""
    return make_experiment(epochs=2, **trainer)


# ------------------------------------------------------------------ what the manifest says


def test_scaling_is_of_the_training_units_alone(quick_export: None, tmp_path: Path):
    """Wild validation units leave the preprocessing as it is; a wild training unit changes it."""
    fleet = training_fleet()
    plain = train(small(), fleet, out=tmp_path / "plain").manifest

    def wild(unit: int | str) -> Fleet:
        other = pl.when(pl.col("unit") == unit)
        changes = [
            other.then(pl.col(s) * 30 + 7).otherwise(pl.col(s)).alias(s) for s in (*fleet.schema.sensors, "load")
        ]
        return replace(fleet, frame=fleet.frame.with_columns(changes))

    held_out = train(small(), wild(plain.data.validation_units[0]), out=tmp_path / "held_out").manifest
    learnt = train(small(), wild(plain.data.train_units[0]), out=tmp_path / "learnt").manifest
    assert held_out.data.validation_units == plain.data.validation_units
    assert held_out.preprocessing == plain.preprocessing
    assert isinstance(held_out.output, SurvivalOutput)
    assert isinstance(plain.output, SurvivalOutput)
    assert held_out.output.grid == plain.output.grid
    assert learnt.preprocessing != plain.preprocessing


def test_trees_are_said_to_learn_from_every_unit(trained: TrainedByKind):
    """They are cross-fitted: none is set apart, so none may be called unseen."""
    source = trained("lightgbm")
    assert source.bundle.manifest.data.train_units == source.fleet.units
    assert source.bundle.manifest.data.validation_units == ()
    assert source.bundle.manifest.data.train_rows == source.fleet.n_rows


def test_the_split_is_told_and_adds_up(trained: TrainedByKind):
    data, fleet = trained("tft").bundle.manifest.data, trained("tft").fleet
    assert set(data.train_units).isdisjoint(data.validation_units)
    assert sorted((*data.train_units, *data.validation_units)) == list(fleet.units)
    assert data.train_rows == fleet.select(data.train_units).n_rows
    assert len(data.validation_units) == 3  # 0.3 of six failed and of two running units


def test_repairs_of_the_data_are_told(tmp_path: Path):
    fleet = training_fleet()
    frame = pl.concat([fleet.frame, fleet.frame.head(1)]).sample(fraction=1, shuffle=True, seed=0)
    mended = Fleet.from_frame(
        frame.unique(maintain_order=True), unit="unit", cycle="time", sensors=["s0", "s1", "s2"], settings=["load"],
        events=fleet.events,
    )  # fmt: skip
    bundle = train(make_experiment("lightgbm"), mended, out=tmp_path / "b")
    assert bundle.manifest.data.notes == tuple(note.message for note in mended.notes) != ()


# ------------------------------------------------------------------ parity


@pytest.mark.parametrize("kind", ["cnn_bilstm", "tft"])
def test_the_parity_of_a_network_is_what_anyone_finds_again(kind: str, trained: TrainedByKind):
    """Weights and graph of the bundle on the very windows that were compared at export."""
    from safetensors.torch import load_file

    source = trained(kind)
    manifest = source.bundle.manifest
    task = task_for(source.experiment, source.fleet)
    network = build_network(source.experiment, manifest.preprocessing, task).eval()
    network.load_state_dict(load_file(source.path / "weights.safetensors"))
    held_out = source.fleet.select(manifest.data.validation_units)
    windows = Windows(manifest.preprocessing.transform(held_out), manifest.window, np.arange(held_out.n_rows))
    sample = windows.batch(np.linspace(0, len(windows) - 1, manifest.parity.windows).astype(np.intp))
    arrays = {name: value for name, value in sample._asdict().items() if value is not None}
    with torch.inference_mode():
        expected = network(**{name: torch.from_numpy(value) for name, value in arrays.items()}).numpy()
    found = np.abs(OnnxSession(source.path / "model.onnx").run(arrays) - expected).max()
    assert manifest.parity.reference == "torch"
    assert found == pytest.approx(manifest.parity.max_abs_difference, abs=1e-6)
    assert manifest.parity.max_abs_difference <= manifest.parity.tolerance


def test_the_parity_of_trees_is_what_anyone_finds_again(trained: TrainedByKind):
    source = trained("lightgbm")
    manifest, spec = source.bundle.manifest, source.experiment.backbone
    assert isinstance(spec, LightGbm)
    assert isinstance(manifest.preprocessing.features, StatisticsFeatures)
    assert isinstance(manifest.output, SurvivalOutput)
    rows = folds.even_rows(source.fleet.offsets, spec.rows_per_unit)
    table = table_of(manifest.preprocessing.transform(source.fleet), rows, manifest.preprocessing.features)
    duration, known = source.fleet.rul()
    fitted = gradient_boosting.cross_fit(
        spec, table, duration[rows], known[rows], source.fleet.row_unit[rows],
        grid=np.array(manifest.output.grid), max_rul=30.0, seed=manifest.seed,
    )  # fmt: skip
    found = np.abs(OnnxSession(source.path / "model.onnx").run({"table": table}) - fitted.survival(table)).max()
    assert manifest.parity.reference == "lightgbm"
    assert manifest.parity.max_abs_difference <= found <= manifest.parity.tolerance


def test_a_graph_that_says_something_else_than_the_trees_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    right = tree_graph.tree_graph

    def wrong(fitted: gradient_boosting.CrossFit, n_columns: int) -> Any:
        return right(replace(fitted, knots=fitted.knots + 1.0), n_columns)

    monkeypatch.setattr(table_models, "tree_graph", wrong)
    with pytest.raises(ExportError, match="differs from the model by"):
        train(make_experiment("lightgbm"), training_fleet(), out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_graph_that_says_something_else_than_the_network_is_not_written(
    trained: TrainedByKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = trained("cnn_bilstm")
    task = task_for(source.experiment, source.fleet)
    network = build_network(source.experiment, source.bundle.manifest.preprocessing, task).eval()  # untrained

    class Program:
        def save(self, path: str) -> None:
            shutil.copy(source.path / "model.onnx", path)

    channels = source.bundle.manifest.preprocessing.transform(source.fleet)
    sample = Windows(channels, source.bundle.manifest.window, np.arange(8)).batch(slice(None))
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program())
    with pytest.raises(ExportError, match=r"differs from the network by .*, more than 0\.0001"):
        export_network(network, sample, tmp_path / "model.onnx")
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: None)
    with pytest.raises(ExportError, match="could not be exported"):
        export_network(network, sample, tmp_path / "model.onnx")


# ------------------------------------------------------------------ what is refused


def test_a_fleet_that_never_failed(tmp_path: Path):
    for kind in ("cnn_bilstm", "lightgbm"):
        with pytest.raises(FleetError, match="0 of 4 units have failed"):
            train(make_experiment(kind), make_fleet(units=4, censored=4), out=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_sensors_that_never_move(tmp_path: Path):
    still = replace(
        make_fleet(), frame=make_fleet().frame.with_columns(pl.lit(1.0).alias(s) for s in ("s0", "s1", "s2"))
    )
    with pytest.raises(FleetError, match="no sensor varies"):
        train(small(), still, out=tmp_path / "b")


@pytest.mark.parametrize(("kind", "module"), [("cnn_bilstm", "lightning"), ("lightgbm", "lightgbm"), ("tft", "torch")])
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    kind: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingExtraError, match=rf"'{module}', which is not installed \(pip install 'wearcast\[train\]'\)"
    ):
        train(make_experiment(kind), make_fleet(), out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_work_folder_of_someone_else_is_spared(tmp_path: Path):
    (tmp_path / "b.work").mkdir()
    (tmp_path / "b.work" / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(BundleError, match="holds something else"):
            train(make_experiment("lightgbm"), make_fleet(), out=tmp_path / "b", resume=resume)
    assert (tmp_path / "b.work" / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="cannot write here"):
        train(make_experiment("lightgbm"), make_fleet(), out=tmp_path / "file" / "b")


# ------------------------------------------------------------------ resuming


def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, place: str = "b", force: bool = False) -> Path:
    """The work folder of a training of `small()` that was cut off in its second epoch."""
    whole = ForecastModule.on_train_epoch_start

    def stop(self: ForecastModule) -> None:
        if self.current_epoch == 1:
            raise ZeroDivisionError("cut off")
        whole(self)

    with monkeypatch.context() as patch:
        patch.setattr(ForecastModule, "on_train_epoch_start", stop)
        with pytest.raises(ZeroDivisionError, match="cut off"):
            train(small(), training_fleet(), out=tmp_path / place, force=force)
    return tmp_path / f"{place}.work"


def test_resume_of_another_experiment_or_other_data_is_refused(
    quick_export: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    work = interrupted(tmp_path, monkeypatch)
    before = (work / "last.ckpt").read_bytes()
    others: list[tuple[Experiment, Fleet]] = [
        (small().model_copy(update={"seed": 1}), training_fleet()),
        (small(input_noise=0.2), training_fleet()),
        (small(), make_fleet(units=8, cycles=40, conditions=2, censored=2, seed=1)),
    ]
    for experiment, fleet in others:
        with pytest.raises(ConfigError, match="of another experiment or other data") as caught:
            train(experiment, fleet, out=tmp_path / "b", resume=True)
        assert "--resume" in str(caught.value.hint)
    assert (work / "last.ckpt").read_bytes() == before
    assert [row["epoch"] for row in train(small(), training_fleet(), out=tmp_path / "b", resume=True).history] == [0, 1]
    assert not work.exists()


def test_a_kill_before_the_first_checkpoint_can_be_resumed(quick_export: None, tmp_path: Path):
    """Half a note of what is trained is no other experiment, and an empty folder is no one's."""
    (tmp_path / "b.work").mkdir()
    assert train(small(), training_fleet(), out=tmp_path / "b", resume=True).history
    (tmp_path / "b.work").mkdir()
    (tmp_path / "b.work" / "experiment.json").write_text('{"data": "')
    assert train(small(), training_fleet(), out=tmp_path / "b", resume=True, force=True).history


def test_an_interrupted_replacement_leaves_the_bundle_that_was_there(
    quick_export: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    train(make_experiment("lightgbm"), training_fleet(), out=tmp_path / "b")
    interrupted(tmp_path, monkeypatch, force=True)
    assert load_bundle(tmp_path / "b").manifest.name == "test-lightgbm"
    train(small(), training_fleet(), out=tmp_path / "b", resume=True, force=True)
    assert load_bundle(tmp_path / "b").manifest.name == "test-cnn-bilstm"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_full_disk_costs_neither_the_old_bundle_nor_the_epochs(
    quick_export: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    train(make_experiment("lightgbm"), training_fleet(), out=tmp_path / "b")
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BundleError, match="No space left on device") as caught:
            train(small(), training_fleet(), out=tmp_path / "b", force=True)
    assert (caught.value.where, caught.value.exit_code) == (str(tmp_path / "b"), 4)
    assert load_bundle(tmp_path / "b").manifest.name == "test-lightgbm"
    assert (tmp_path / "b.work" / "last.ckpt").exists()
    assert len(train(small(), training_fleet(), out=tmp_path / "b", resume=True, force=True).history) == 2


# ------------------------------------------------------------------ the rest


def test_the_place_of_a_bundle_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    bundle = train(make_experiment("lightgbm", seed=7), training_fleet())
    assert bundle.path == Path("runs/test-lightgbm-seed7")
    assert load_bundle(tmp_path / "runs" / "test-lightgbm-seed7").manifest == bundle.manifest


def test_an_experiment_brings_its_own_data(tmp_path: Path):
    """Without a fleet, its data set's training split."""
    bundle = train(make_experiment("lightgbm"), out=tmp_path / "b")
    assert bundle.manifest.data.name == "simulated train"
    assert len(bundle.manifest.data.train_units) == 4


def test_an_experiment_from_a_file_is_the_one_that_was_written(tmp_path: Path):
    experiment = training_experiment("tft")
    (tmp_path / "my.yaml").write_text(experiment.model_dump_json())  # JSON is YAML
    assert Experiment.from_yaml(tmp_path / "my.yaml") == experiment
    changed = Experiment.from_yaml(tmp_path / "my.yaml", ("seed=5", "backbone.d_model=4"))
    assert (changed.seed, changed.record()["backbone"]["d_model"]) == (5, 4)


def test_a_bar_over_the_folds_is_shown_when_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    train(make_experiment("lightgbm"), training_fleet(), out=tmp_path / "quiet")
    assert capfd.readouterr() == ("", "")
    train(make_experiment("lightgbm"), training_fleet(), out=tmp_path / "shown", progress=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "by fold of units" in shown.err


@pytest.mark.parametrize("rank", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_a_further_process_touches_no_file_of_the_first(rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is started while the first one already works there: emptying the place would lose the first one's files."""
    from wearcast.training.run import _work_directory

    experiment = small(devices=2, strategy="ddp")
    work = _work_directory(tmp_path / "b", experiment, training_fleet(), resume=False)
    (work / "last.ckpt").write_text("the first one's")
    monkeypatch.setenv(rank, "1")
    assert _work_directory(tmp_path / "b", experiment, training_fleet(), resume=False) == work
    assert (work / "last.ckpt").read_text() == "the first one's"
    monkeypatch.setenv(rank, "0")
    _work_directory(tmp_path / "b", experiment, training_fleet(), resume=False)
    assert not (work / "last.ckpt").exists()


def test_a_rank_in_the_environment_means_nothing_to_a_training_on_one_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Many trainings side by side in one job, told apart by their rank, each write their own bundle."""
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert train(make_experiment("lightgbm", seed=3), training_fleet(), out=tmp_path / "b").manifest.seed == 3
