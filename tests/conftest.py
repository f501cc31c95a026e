"""Settings of the whole suite, and the bundles that many tests share."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.fixtures.bundles import Trained, TrainedByKind, TrainedEnsemble
    from wearcast.models.network import ForecastNetwork
    from wearcast.windows import WindowBatch

# Each worker and each process that a test starts imports the same libraries: compiled once, they take half as long.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Machines that share their cores stall at random; a deadline an example would only say so. The examples are the same
# on every run, so that a failure is a fact about the change and not about the day.
settings.register_profile(
    "wearcast", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wearcast")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedByKind:
    """A small bundle of each backbone, by its kind; trained once, however many workers run the tests. Do not write."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    @cache
    def by_kind(kind: str) -> Trained:
        from tests.fixtures.bundles import train_once

        return train_once(kind, shared / "trained")

    return by_kind


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> TrainedEnsemble:
    """A small ensemble's bundle, trained once, however many workers run the tests. Do not write."""
    from tests.fixtures.bundles import train_ensemble_once

    base = tmp_path_factory.getbasetemp()
    return train_ensemble_once((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained")


@pytest.fixture
def quick_export(trained: TrainedByKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export takes seconds and has its own tests: the shared CNN-BiLSTM's graph, of the same inputs, stands in."""
    from wearcast.training import export

    graph = trained("cnn_bilstm").path / "model.onnx"  # now: it is exported for real

    def copy_graph(network: ForecastNetwork, sample: WindowBatch, path: Path) -> float:
        shutil.copy(graph, path)
        return 0.0

    monkeypatch.setattr(export, "export_network", copy_graph)
