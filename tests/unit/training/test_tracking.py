"""Training that is watched: settings, epochs and held-out figures arrive in MLflow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from tests.fixtures.bundles import TrainedByKind, training_experiment, training_fleet
from tests.fixtures.registries import client_of, copy_registry, shared_registry

from wearcast import train
from wearcast.errors import MissingExtraError, TrainingError, UsageError
from wearcast.training.tracking import tracked

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def empty_registry(tmp_path_factory: pytest.TempPathFactory, trained: TrainedByKind, tmp_path: Path) -> str:
    """A database of MLflow's; no run in it is of these experiments."""
    return copy_registry(shared_registry(tmp_path_factory.getbasetemp(), trained), tmp_path / "registry")


@pytest.mark.usefixtures("quick_export")
def test_each_model_is_a_run_in_mlflow(empty_registry: str, tmp_path: Path):
    for kind in ("cnn_bilstm", "lightgbm"):
        with tracked("mlflow", uri=empty_registry, artifacts=(tmp_path / "artifacts").as_uri()):
            bundle = train(training_experiment(kind), training_fleet(), out=tmp_path / kind)
        client = client_of(empty_registry)
        (run,) = client.search_runs([client.get_experiment_by_name(bundle.manifest.name).experiment_id])
        assert run.info.status == "FINISHED"
        assert "kind" in "".join(run.data.params)
        assert run.data.metrics["validation_crps"] == bundle.manifest.metrics["validation_crps"]
        if kind == "cnn_bilstm":
            losses = [one.value for one in client.get_metric_history(run.info.run_id, "val_loss")]
            assert losses == pytest.approx([epoch["val_loss"] for epoch in bundle.history])


def test_another_tool_is_refused_before_the_work():
    with pytest.raises(UsageError, match="one of mlflow, wandb"), tracked("tensorboard"):
        pass


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tool_that_is_not_installed_is_answered_with_the_line_that_brings_it():
    with pytest.raises(MissingExtraError, match=r"pip install 'wearcast\[wandb\]'"), tracked("wandb"):
        pass


def test_a_server_that_is_not_there_stops_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        tracked("mlflow", uri="http://127.0.0.1:9"),
        pytest.raises(TrainingError, match="the run cannot be recorded"),
    ):
        train(training_experiment("cnn_bilstm"), training_fleet(), out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
