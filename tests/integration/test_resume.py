"""A training that is killed goes on where it was, and ends where the unbroken one ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.bundles import lives
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import train
from wearcast.errors import ConfigError

EPOCHS = 25
SCRIPT = """
import sys
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet
from wearcast import train
train(make_experiment(epochs={epochs}, patience=100), make_fleet(units=8), out=sys.argv[1])
"""


def test_a_killed_training_resumes_to_the_same_forecasts(tmp_path: Path):
    experiment, fleet = make_experiment(epochs=EPOCHS, patience=100), make_fleet(units=8)
    unbroken = train(experiment, fleet, out=tmp_path / "unbroken")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(epochs=EPOCHS), str(tmp_path / "killed")])
    checkpoint = tmp_path / "killed.work" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert not (tmp_path / "killed").exists()
    with pytest.raises(ConfigError, match="another experiment"):
        train(make_experiment(epochs=EPOCHS, seed=1), fleet, out=tmp_path / "killed", resume=True)
    resumed = train(experiment, fleet, out=tmp_path / "killed", resume=True)
    assert [row["epoch"] for row in resumed.history] == list(range(EPOCHS))
    first, second = (lives(b, fleet, every=1).rul for b in (unbroken, resumed))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_resume_without_a_checkpoint_starts_anew(tmp_path: Path):
    bundle = train(make_experiment(epochs=1), make_fleet(units=6), out=tmp_path / "b", resume=True)
    assert len(bundle.history) == 1
