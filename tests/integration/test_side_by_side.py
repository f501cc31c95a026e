"""Networks trained at once, each in a process of its own: they are what they are alone, and end when they should."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fixtures.bundles import small_ensemble, training_fleet
from tests.fixtures.experiments import make_experiment

from wearcast import train
from wearcast.errors import ConfigError, TrainingError
from wearcast.training import workers
from wearcast.training.ensemble import folds_of
from wearcast.training.parts import Part, read_part
from wearcast.training.workers import PartTrainer, threads_at_hand

LONG = """
version: 1
name: long
dataset: {kind: simulated, units: 6, test_units: 2, typical_life: 60}
target: {kind: rul, max_rul: 50}
members:
  cnn_bilstm: {extends: cnn-bilstm, trainer: {max_epochs: 5000, patience: 5000}}
"""
PATIENCE = 90.0


@pytest.fixture(scope="module")
def beside() -> Iterator[PartTrainer]:
    """Two processes; they are started once, for they import torch."""
    with PartTrainer(folds_of(small_ensemble(), training_fleet()), workers=2) as trainer:
        yield trainer


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as each process has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parts() -> tuple[Part, Part]:
    """One network on each of two folds."""
    experiment = make_experiment(epochs=2)
    return Part("a", experiment), Part("a", experiment, fold=1)


def test_each_is_what_it_is_alone(
    beside: PartTrainer, one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """To the last digit, and told epoch by epoch; a budget that is spent lets those under way be finished."""
    told: list[tuple[str, int, int]] = []

    def epoch(_: object, model: str, done: int, total: int, said: str) -> None:
        assert said.startswith("val_")
        told.append((model, done, total))

    def stop(begun: int, total: int) -> None:
        assert total == 3
        if begun == 2:
            raise TimeoutError

    monkeypatch.setattr("wearcast.training.progress.ModelBars.epoch", epoch)
    three = [*parts(), Part("b", make_experiment(epochs=2))]
    with pytest.raises(TimeoutError):
        beside.train(three, tmp_path, resume=False, progress=False, before_each=stop)
    assert [part.is_whole(tmp_path) for part in three] == [True, True, False]
    assert sorted(told) == [(part.title, done, 2) for part in parts() for done in (1, 2)]
    at_once = read_part(three[0], tmp_path)
    (alone,) = PartTrainer(beside.folds).train(three[:1], tmp_path / "alone", resume=False, progress=False)
    np.testing.assert_array_equal(at_once.rows, alone.rows)
    np.testing.assert_array_equal(at_once.raw, alone.raw)
    assert at_once.bundle.manifest.metrics == alone.bundle.manifest.metrics


def test_a_failure_is_said_as_it_is_alone_and_the_others_are_finished(beside: PartTrainer, tmp_path: Path):
    """With what, where and a remedy; what is whole is not trained again."""
    bad = Part("bad", make_experiment(epochs=2, learning_rate=1e30, gradient_clip=1e30))
    good = parts()[1]
    with pytest.raises(TrainingError, match=r"the loss is nan.*optimiser\.learning_rate"):
        beside.train([bad, good], tmp_path, resume=False, progress=False)
    assert good.is_whole(tmp_path)
    assert not bad.is_whole(tmp_path)
    begun: list[tuple[int, int]] = []
    again = beside.train(
        [good], tmp_path, resume=True, progress=True, before_each=lambda at, of: begun.append((at, of))
    )
    assert len(again) == 1
    assert not begun


def test_models_that_fill_the_machine_have_it_for_themselves():
    """Trees use all cores; another device is not to be shared."""
    network = make_experiment()
    gpu = network.model_copy(update={"trainer": network.trainer.model_copy(update={"accelerator": "gpu"})})
    assert not Part("a", network).fills_machine
    assert Part("a", gpu).fills_machine
    assert Part("a", make_experiment("lightgbm")).fills_machine


def test_a_script_that_runs_when_it_is_imported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the process that imports it, before it touches what the one that began it writes."""
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(ConfigError, match="__main__"):
        train(small_ensemble(), training_fleet(), out=tmp_path / "b", workers=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("said", "expected"), [("50000 100000", 1), ("max 100000", None), ("", None)])
def test_a_container_may_have_the_time_of_fewer_cores_than_it_shows(
    said: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workers, "CONTROL_GROUP", tmp_path / "cpu.max")
    shown = workers.cores()
    (tmp_path / "cpu.max").write_text(said)
    assert workers.cores() == (expected or shown)


def test_the_threads_are_those_that_the_user_allows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_at_hand() == 3
    for nothing in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert threads_at_hand() >= 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_a_command_that_is_terminated_leaves_no_process(tmp_path: Path):
    """It says how to go on, and its processes end with it, in the middle of an epoch."""
    (tmp_path / "long.yaml").write_text(LONG)
    running = subprocess.Popen(
        [sys.executable, "-m", "wearcast", "train", "long.yaml", "--out", "out", "--workers", "2", "--no-progress"],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _wait_until(lambda: any(tmp_path.glob("out.work/models/*/last.ckpt")), running)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        assert len(children) >= 2
        running.terminate()
        _, said = running.communicate(timeout=PATIENCE)
    finally:
        running.kill()
    assert running.returncode == 128 + signal.SIGTERM
    assert "--resume goes on" in said
    _wait_until(lambda: not any(_lives(int(child)) for child in children))


def _wait_until(done: Callable[[], bool], running: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        assert running is None or running.poll() is None, running.communicate()
        time.sleep(0.1)


def _lives(process: int) -> bool:
    with suppress(OSError):
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return False
