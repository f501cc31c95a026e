"""A training that is killed goes on where it was, and ends where the unbroken one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.fixtures.bundles import training_fleet
from tests.fixtures.experiments import make_experiment

from wearcast import Experiment, train
from wearcast.errors import ConfigError

EPOCHS = 6
KILLED_WHILE_WRITING = """
import os, signal, sys
from tests.integration.test_resume import make_long_experiment, training_fleet
from wearcast import train
real, calls = os.fsync, []
def fsync(handle):
    calls.append(handle)
    if len(calls) == 5:  # of the third epoch: with half of the bytes on the disk
        os.ftruncate(handle, os.fstat(handle).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    return real(handle)
os.fsync = fsync
train(make_long_experiment(), training_fleet(), out=sys.argv[1])
"""


def make_long_experiment() -> Experiment:
    """One with noise, so that a random number drawn twice or never is seen."""
    return make_experiment(
        epochs=EPOCHS, learning_rate=0.02, patience=50, level_noise=0.1, deviation_noise=0.1, input_noise=0.1
    )


def test_a_training_killed_while_it_writes_a_checkpoint_resumes_to_the_same_bundle(tmp_path: Path, quick_export: None):
    """No handler runs, half a file is on the disk: the checkpoint before is whole, and the end the same to the bit."""
    ran = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path / "killed")],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    work = tmp_path / "killed.work"
    assert list(work.glob("*.partial"))
    assert torch.load(work / "last.ckpt", weights_only=True)["epoch"] in {0, 1}
    assert not (tmp_path / "killed").exists()
    experiment, fleet = make_long_experiment(), training_fleet()
    with pytest.raises(ConfigError, match="another experiment"):
        train(experiment.model_copy(update={"seed": 1}), fleet, out=tmp_path / "killed", resume=True)
    resumed = train(experiment, fleet, out=tmp_path / "killed", resume=True)
    unbroken = train(experiment, fleet, out=tmp_path / "unbroken")
    assert [row["epoch"] for row in resumed.history] == list(range(EPOCHS))
    assert resumed.history == unbroken.history
    first, second = ((bundle.path / "weights.safetensors").read_bytes() for bundle in (unbroken, resumed))
    assert first == second
    assert resumed.manifest.output == unbroken.manifest.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "unbroken"]
