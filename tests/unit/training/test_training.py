"""Training: what is learnt, from whom, and that it can be said again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.fixtures.bundles import KINDS, TrainedByKind, training_fleet
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import load_bundle, train
from wearcast.errors import BundleError, ConfigError, TrainingError
from wearcast.inference import OnnxSession
from wearcast.training.data import EpochBatches
from wearcast.training.network_training import build_network
from wearcast.training.tasks import base_hazard, task_for
from wearcast.windows import Windows


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_learns_something(trained: TrainedByKind, kind: str):
    """Better than a constant on its own fleet; small as the models are."""
    source = trained(kind)
    duration, known = source.fleet.rul()
    truth = np.minimum(duration, 30)[known]
    error = source.predict(source.fleet, every=1).rul[known] - truth
    assert np.sqrt(np.mean(error**2)) < 0.9 * truth.std()


@pytest.mark.parametrize(("kind", "learnt"), [("cnn_bilstm", "weights.safetensors"), ("lightgbm", "model.onnx")])
def test_one_seed_gives_one_bundle(trained: TrainedByKind, quick_export: None, kind: str, learnt: str, tmp_path: Path):
    """What was learnt is the same to the bit, and so is all that is said of it but the times."""
    source = trained(kind)
    again = train(source.experiment, source.fleet, out=tmp_path / "again")
    assert (again.path / learnt).read_bytes() == (source.path / learnt).read_bytes()
    assert again.history == source.bundle.history
    first, second = (b.manifest.model_dump(exclude={"created", "training", "parity"}) for b in (source.bundle, again))
    assert first == second


def test_units_are_on_one_side_and_the_fitting_side_alone_is_fitted(trained: TrainedByKind):
    source = trained("cnn_bilstm")
    data = source.bundle.manifest.data
    assert not set(data.train_units) & set(data.validation_units)
    assert set(data.train_units) | set(data.validation_units) == set(source.fleet.units)
    changed = source.fleet.frame.with_columns(
        pl.when(pl.col("unit").is_in(list(data.validation_units))).then(pl.col(s) * 3 + 7).otherwise(pl.col(s)).alias(s)
        for s in source.fleet.schema.sensors
    )
    from wearcast.windows import Preprocessing, split_units

    split = split_units(replace(source.fleet, frame=changed), source.experiment.split, source.experiment.seed)
    assert Preprocessing.fit(split.train, source.experiment.features) == source.bundle.manifest.preprocessing


def test_every_epoch_is_on_record_and_the_best_is_kept(trained: TrainedByKind):
    source = trained("cnn_bilstm")
    history = source.bundle.history
    assert [row["epoch"] for row in history] == list(range(len(history)))
    assert {"train_loss", "val_loss", "val_rmse"} <= set(history[0])
    best = int(np.argmin([row["val_rmse"] for row in history]))
    assert source.bundle.manifest.training["best_epoch"] == best


def test_the_stated_parity_is_real(trained: TrainedByKind):
    """The weights of the bundle, in a network made anew, say what the graph of the bundle says."""
    from safetensors.torch import load_file

    source = trained("cnn_bilstm")
    manifest = source.bundle.manifest
    network = build_network(source.experiment, manifest.preprocessing, task_for(source.experiment, source.fleet)).eval()
    network.load_state_dict(load_file(source.path / "weights.safetensors"))
    channels = manifest.preprocessing.transform(source.fleet)
    batch = Windows(channels, manifest.window, np.arange(0, source.fleet.n_rows, 7)).batch(slice(None))
    expected = network(torch.from_numpy(batch.past), torch.from_numpy(batch.mask)).detach().numpy()
    got = OnnxSession(source.path / "model.onnx").run({"past": batch.past, "mask": batch.mask})
    assert manifest.parity.max_abs_difference <= manifest.parity.tolerance
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_work_files_are_gone_in_the_end(trained: TrainedByKind):
    assert not list(trained("cnn_bilstm").path.parent.glob("cnn_bilstm.work*"))


def test_patience_ends_a_training_that_no_longer_gains(quick_export: None, tmp_path: Path):
    experiment = make_experiment(epochs=30, learning_rate=1e-9, patience=2)
    assert len(train(experiment, training_fleet(), out=tmp_path / "b").history) < 30


def test_bf16_and_moving_average_train(quick_export: None, tmp_path: Path):
    """The weights that are exported and kept are finite, and of full precision like any others."""
    from safetensors.numpy import load_file

    experiment = make_experiment(epochs=1, precision="bf16-mixed", weight_average=0.9)
    weights = load_file(train(experiment, training_fleet(), out=tmp_path / "b").path / "weights.safetensors")
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(array).all() for array in weights.values())


def test_a_loss_that_is_no_number_stops_with_the_step(tmp_path: Path):
    experiment = make_experiment(epochs=5, learning_rate=1e18)
    with pytest.raises(TrainingError, match=r"epoch \d+, step \d+.*learning_rate"):
        train(experiment, make_fleet(units=6), out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_bundle_is_not_replaced_unasked(trained: TrainedByKind, tmp_path: Path):
    experiment = make_experiment("lightgbm")
    fleet = training_fleet()
    train(experiment, fleet, out=tmp_path / "b")
    with pytest.raises(BundleError, match="already"):
        train(experiment, fleet, out=tmp_path / "b")
    other = experiment.model_copy(update={"seed": 3})
    assert train(other, fleet, out=tmp_path / "b", force=True).manifest.seed == 3
    assert load_bundle(tmp_path / "b").manifest.seed == 3


def test_a_folder_of_the_users_is_spared(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match="something else"):
        train(make_experiment("lightgbm"), make_fleet(units=4), out=tmp_path / "b", force=True)
    assert (tmp_path / "b" / "thesis.txt").read_text() == "mine"


def test_impossible_devices_are_said_to_be_so(tmp_path: Path):
    with pytest.raises(ConfigError, match="no training with accelerator 'gpu'"):
        train(make_experiment(accelerator="gpu"), make_fleet(units=6), out=tmp_path / "b")


def test_features_must_fit_the_backbone():
    experiment = make_experiment("cnn_bilstm")
    with pytest.raises(ValueError, match=r"needs features.kind 'sequence'"):
        type(experiment).model_validate({**experiment.record(), "features": {"kind": "statistics"}})


class TestEpochBatches:
    def test_an_epoch_depends_on_seed_and_epoch_alone(self):
        one, other = (EpochBatches(100, 16, share=0.5, seed=3) for _ in range(2))
        one.set_epoch(2)
        other.set_epoch(2)
        first, second = np.concatenate(list(one)), np.concatenate(list(other))
        np.testing.assert_array_equal(first, second)
        assert len(set(first.tolist())) == 50
        other.set_epoch(3)
        assert not np.array_equal(first, np.concatenate(list(other)))

    def test_ranks_share_an_epoch_and_stay_in_step(self):
        ranks = [EpochBatches(100, 16, seed=1, rank=r, world=2) for r in range(2)]
        batches = [list(rank) for rank in ranks]
        assert len(batches[0]) == len(batches[1]) == len(ranks[0])
        assert set(np.concatenate([*batches[0], *batches[1]]).tolist()) == set(range(100))

    def test_without_a_seed_the_order_is_kept(self):
        np.testing.assert_array_equal(np.concatenate(list(EpochBatches(10, 4))), np.arange(10))


def test_base_hazard_is_events_over_units_at_risk():
    hazard = base_hazard(np.array([0.5, 0.5, 1.5, 5.0]), np.array([True, False, True, True]), np.array([0.0, 1, 2, 3]))
    np.testing.assert_allclose(hazard, [(1 + 1) / (4 + 2), (1 + 1) / (2 + 2), (1 + 1) / (1 + 2)])
