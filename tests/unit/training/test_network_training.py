"""Lightning's loop held to its promises: the same every time, resumable from anywhere, never silently wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import polars as pl
import pytest
import torch
from tests.fixtures.bundles import training_fleet
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.errors import ConfigError, TrainingError
from wearcast.models import CnnBiLstm, Tft
from wearcast.target import RulTarget
from wearcast.training import Experiment
from wearcast.training import network_training as network_training_module
from wearcast.training.module import ForecastModule
from wearcast.training.network_training import TrainedNetwork, train_network
from wearcast.training.tasks import task_for
from wearcast.windows import Preprocessing, split_units

EPOCHS = 6
DROPOUT: dict[str, CnnBiLstm | Tft] = {
    "cnn_bilstm": CnnBiLstm(channels=8, hidden=6, kernel_size=3, dropout=0.3),
    "tft": Tft(d_model=8, n_heads=2, dropout=0.3),
}


def make_noisy_experiment(kind: str = "cnn_bilstm", *, epochs: int = EPOCHS, **trainer: Any) -> Experiment:
    """One with dropout and noise of every kind, so that a random number drawn twice or never is seen."""
    noise = {"level_noise": 0.1, "deviation_noise": 0.1, "input_noise": 0.1, "sensor_dropout": 0.1}
    trainer = {**noise, "patience": 50} | trainer
    experiment = make_experiment(kind, epochs=epochs, learning_rate=0.02, **trainer)
    return experiment.model_copy(update={"backbone": DROPOUT[kind]})


def fit(experiment: Experiment, work: Path, *, fleet: Fleet | None = None, resume: bool = False) -> TrainedNetwork:
    """Train the network alone: no export, no bundle."""
    split = split_units(fleet or training_fleet(), experiment.split, experiment.seed)
    preprocessing = Preprocessing.fit(split.train, experiment.features)
    task = task_for(experiment, split.train)
    work.mkdir(parents=True, exist_ok=True)
    return train_network(
        experiment, preprocessing, split.train, split.validation, task, work=work, resume=resume, progress=False
    )


def assert_same(one: TrainedNetwork, other: TrainedNetwork) -> None:
    """The same weights to the last bit, the same epoch, the same history."""
    expected, found = one.network.state_dict(), other.network.state_dict()
    assert expected.keys() == found.keys()
    for name, weights in expected.items():
        assert torch.equal(weights, found[name]), name
    assert (one.best_epoch, one.history) == (other.best_epoch, other.history)


class Stop(Exception):  # noqa: N818 — not an error of anyone's
    """Ends a training where a test wants it to end."""


def stop_at(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int = 0, error: BaseException | None = None) -> None:
    """Let the training end with an exception before this batch of this epoch, once."""
    whole = ForecastModule.training_step

    def step(self: ForecastModule, given: Any, batch_idx: int) -> Any:
        if (self.current_epoch, batch_idx) == (epoch, batch):
            monkeypatch.setattr(ForecastModule, "training_step", whole)
            raise error or Stop
        return whole(self, given, batch_idx)

    monkeypatch.setattr(ForecastModule, "training_step", step)


# ------------------------------------------------------------------ the same every time


@pytest.mark.parametrize("kind", ["cnn_bilstm", "tft"])
def test_one_seed_gives_one_network_to_the_last_bit(kind: str, tmp_path: Path):
    experiment = make_noisy_experiment(kind, epochs=2)
    first = fit(experiment, tmp_path / "first")
    torch.manual_seed(99)  # whatever happened before
    np.random.default_rng(5).random(3)
    assert_same(first, fit(experiment, tmp_path / "second"))
    other = fit(experiment.model_copy(update={"seed": 1}), tmp_path / "other")
    assert first.history != other.history


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path):
    """Validated again, the network scores what its best epoch scored."""
    trained = fit(make_noisy_experiment(epochs=8, epoch_share=1.0), tmp_path)
    scores = [row["val_rmse"] for row in trained.history]
    assert trained.best_epoch == int(np.argmin(scores)) < len(scores) - 1
    batch = trained.validation[np.arange(len(trained.validation))]
    survival = trained.network(batch.past, batch.mask, batch.static, batch.known_future).detach()
    grid = torch.tensor(RulTarget(max_rul=30.0, bins=12, tail_bins=3).grid(float(training_fleet().rul()[0].max())))
    widths = torch.diff(grid[: 12 + 1])
    mean = ((survival[:, :12] + survival[:, 1:13]) / 2 * widths).sum(dim=1)
    error = (mean - batch.answer.clamp(max=30.0))[batch.known]
    assert float(error.square().mean().sqrt()) == pytest.approx(min(scores), rel=1e-4)


# ------------------------------------------------------------------ resuming


@pytest.mark.parametrize(
    ("kind", "trainer", "epoch", "batch"),
    [
        ("cnn_bilstm", {}, 1, 0),
        ("cnn_bilstm", {}, 4, 2),
        ("cnn_bilstm", {"weight_average": 0.8}, 3, 1),
        ("cnn_bilstm", {"precision": "bf16-mixed"}, 3, 1),
        ("tft", {}, 2, 1),
    ],
)
def test_a_training_cut_off_anywhere_ends_as_the_unbroken_one(
    kind: str, trainer: dict[str, Any], epoch: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    experiment = make_noisy_experiment(kind, epochs=EPOCHS if kind == "cnn_bilstm" else 4, **trainer)
    unbroken = fit(experiment, tmp_path / "unbroken")
    stop_at(monkeypatch, epoch, batch)
    with pytest.raises(Stop):
        fit(experiment, tmp_path / "cut")
    state = torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)
    assert state["epoch"] == epoch - 1, "the last whole epoch is there, not only the last best one"
    assert_same(unbroken, fit(experiment, tmp_path / "cut", resume=True))


def test_cut_off_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment = make_noisy_experiment()
    unbroken = fit(experiment, tmp_path / "unbroken")
    for epoch in range(1, EPOCHS):
        stop_at(monkeypatch, epoch, batch=1)
        with pytest.raises(Stop):
            fit(experiment, tmp_path / "cut", resume=True)
    assert_same(unbroken, fit(experiment, tmp_path / "cut", resume=True))


def test_resumed_after_the_last_epoch_there_is_nothing_left_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As after a kill during the export."""
    experiment = make_noisy_experiment()
    finished = fit(experiment, tmp_path)
    stop_at(monkeypatch, EPOCHS)
    assert_same(finished, fit(experiment, tmp_path, resume=True))


def test_resumed_after_its_patience_ran_out_it_stays_stopped(tmp_path: Path):
    experiment = make_noisy_experiment(epochs=40, patience=2, epoch_share=1.0)
    stopped = fit(experiment, tmp_path)
    assert len(stopped.history) < 40
    assert_same(stopped, fit(experiment, tmp_path, resume=True))


def test_without_resume_it_starts_anew(tmp_path: Path):
    fit(make_noisy_experiment(epochs=2), tmp_path)
    assert [row["epoch"] for row in fit(make_noisy_experiment(epochs=1), tmp_path).history] == [0]


def test_resume_without_a_checkpoint_starts_anew(tmp_path: Path):
    experiment = make_noisy_experiment(epochs=2)
    assert_same(fit(experiment, tmp_path / "new", resume=True), fit(experiment, tmp_path / "old"))


def test_ctrl_c_is_a_keyboard_interrupt_and_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment = make_noisy_experiment(epochs=3)
    before = signal.getsignal(signal.SIGINT)
    stop_at(monkeypatch, 1, batch=1, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fit(experiment, tmp_path / "cut")
    assert signal.getsignal(signal.SIGINT) is before
    assert_same(fit(experiment, tmp_path / "unbroken"), fit(experiment, tmp_path / "cut", resume=True))


def test_a_polite_kill_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment = make_noisy_experiment(epochs=3)
    start = ForecastModule.on_train_epoch_start

    def terminate(self: ForecastModule) -> None:
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        start(self)

    monkeypatch.setattr(ForecastModule, "on_train_epoch_start", terminate)
    with pytest.raises(SystemExit) as caught:
        fit(experiment, tmp_path / "cut")
    assert caught.value.code == 128 + signal.SIGTERM
    monkeypatch.setattr(ForecastModule, "on_train_epoch_start", start)
    assert_same(fit(experiment, tmp_path / "unbroken"), fit(experiment, tmp_path / "cut", resume=True))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment = make_noisy_experiment()
    calls: list[int] = []
    real = os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fit(experiment, tmp_path / "cut")
    assert not list((tmp_path / "cut").glob("*.partial"))
    monkeypatch.setattr(os, "fsync", real)
    assert_same(fit(experiment, tmp_path / "unbroken"), fit(experiment, tmp_path / "cut", resume=True))


# ------------------------------------------------------------------ what must not pass in silence


def test_a_loss_that_is_no_number_names_its_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    step = ForecastModule.training_step
    monkeypatch.setattr(
        ForecastModule,
        "_noisy",
        lambda self, past, mask: past * float("nan") if self.current_epoch == 2 else past,
    )
    with pytest.raises(
        TrainingError, match=r"the loss is nan at epoch 2, step \d+, a batch of units \d.*learning_rate.*--resume"
    ):
        fit(make_noisy_experiment(), tmp_path)
    assert ForecastModule.training_step is step
    for name in ("last.ckpt", "best.ckpt"):
        state = torch.load(tmp_path / name, weights_only=True)
        assert state["epoch"] <= 1
        assert all(torch.isfinite(weights).all() for weights in state["state_dict"].values())


def test_weights_that_break_in_the_last_step_of_an_epoch_reach_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The loss was finite at every step; only validation can see it. Early stopping alone would end it as a success."""

    def break_weights(self: ForecastModule) -> None:
        if self.current_epoch == 1:
            with torch.no_grad():
                next(self.network.parameters()).fill_(float("nan"))

    monkeypatch.setattr(ForecastModule, "on_validation_epoch_start", break_weights)
    with pytest.raises(TrainingError, match="error on the held-out units is nan at epoch 1"):
        fit(make_noisy_experiment(), tmp_path)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 0


@pytest.mark.parametrize(
    ("trainer", "say"),
    [
        ({"accelerator": "abacus"}, "accelerator 'abacus'"),
        ({"strategy": "telepathy"}, "strategy 'telepathy'"),
        ({"devices": 2, "strategy": "ddp_spawn"}, "forks or spawns"),
        ({"devices": 0}, "devices 0"),
    ],
)
def test_devices_that_cannot_be(trainer: dict[str, Any], say: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=say):
        fit(make_noisy_experiment(**trainer), tmp_path)


def test_validation_always_sees_a_failed_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However few of the held-out readings are looked at, and however short the failed unit is among running ones."""
    whole = make_fleet(units=12, cycles=40, censored=9)
    experiment = make_noisy_experiment(epochs=1)
    failed = [unit for unit in split_units(whole, experiment.split, 0).validation.units if unit in {1, 2, 3}]
    late = pl.col("time") > pl.col("time").max().over("unit") - 3
    fleet = replace(whole, frame=whole.frame.filter(~pl.col("unit").is_in(failed) | late))
    monkeypatch.setattr(network_training_module, "VALIDATION_WINDOWS", 6)
    trained = fit(experiment, tmp_path, fleet=fleet)
    known = trained.validation.labels.at(trained.validation.windows.rows)[1]
    assert known.any()
    assert not known.all()
    assert np.isfinite(trained.history[0]["val_rmse"])


def test_a_fleet_that_mostly_still_runs_is_learnt_from(tmp_path: Path):
    """Two failed units of ten, one on each side of the split."""
    trained = fit(make_experiment(epochs=8, learning_rate=0.02), tmp_path, fleet=make_fleet(units=10, censored=8))
    assert trained.history[trained.best_epoch]["val_rmse"] < 0.8 * trained.history[0]["val_rmse"]


@pytest.mark.parametrize("batch_size", [20, 40, 100, 1000])
def test_a_training_of_very_few_steps(batch_size: int, tmp_path: Path):
    """From ten steps down to a single one: every schedule has a warm-up, or none."""
    experiment = make_experiment(epochs=1, epoch_share=1.0, batch_size=batch_size)
    trained = fit(experiment, tmp_path, fleet=make_fleet(units=7, cycles=40, spread=0))
    assert len(trained.history) == 1
    assert np.isfinite(trained.history[0]["train_loss"])


def test_training_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """A library that trains writes nothing unasked; Lightning and torch would."""
    fit(make_noisy_experiment(epochs=1), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_shown_when_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    experiment = make_noisy_experiment(epochs=1)
    split = split_units(training_fleet(), experiment.split, 0)
    preprocessing = Preprocessing.fit(split.train, experiment.features)
    task = task_for(experiment, split.train)
    train_network(
        experiment, preprocessing, split.train, split.validation, task, work=tmp_path, resume=False, progress=True
    )
    assert "Epoch" in "".join(capfd.readouterr())


# ------------------------------------------------------------------ options


COMPILED = """
import sys
from pathlib import Path
import torch
from tests.fixtures.experiments import SMALL
from tests.unit.training.test_network_training import fit, make_noisy_experiment
real, work = torch.compile, Path(sys.argv[1])
torch.compile = lambda function: print(function.__name__) or real(function, backend="eager")
for compiled in (False, True):
    experiment = make_noisy_experiment(epochs=2, compile=compiled)
    found = fit(experiment.model_copy(update={"backbone": SMALL["cnn_bilstm"]}), work / str(compiled))
    print(*[row["val_rmse"] for row in found.history])
"""


def test_compiled_steps_train_the_same_network(tmp_path: Path):
    """With the compiler's graph capture and without its code generation, which takes a minute and a C++ compiler.

    Without dropout, whose draws are torch's own once it is captured.

    In a process of its own: code in which lines are counted cannot be captured.
    """
    ran = subprocess.run(
        [sys.executable, "-c", COMPILED, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    plain, compiled, quick = ran.stdout.splitlines()
    assert compiled == "raw"
    np.testing.assert_allclose(np.fromstring(quick, sep=" "), np.fromstring(plain, sep=" "), rtol=1e-3)


def test_bf16_computes_in_bf16_and_stores_in_full(tmp_path: Path):
    half = fit(make_noisy_experiment(epochs=2, precision="bf16-mixed"), tmp_path / "half")
    full = fit(make_noisy_experiment(epochs=2), tmp_path / "full")
    assert {weights.dtype for weights in half.network.state_dict().values()} == {torch.float32}
    assert half.history != full.history
    assert half.history[-1]["val_rmse"] == pytest.approx(full.history[-1]["val_rmse"], rel=0.05)


def test_an_average_of_the_weights_is_what_is_kept(tmp_path: Path):
    plain = fit(make_noisy_experiment(epochs=2), tmp_path / "plain")
    averaged = fit(make_noisy_experiment(epochs=2, weight_average=0.9), tmp_path / "averaged")
    # The steps are the same, what is validated and kept is not.
    assert [row["train_loss"] for row in plain.history] == [row["train_loss"] for row in averaged.history]
    assert [row["val_rmse"] for row in plain.history] != [row["val_rmse"] for row in averaged.history]


def test_gradients_are_clipped_and_rates_follow_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rates, norms = [], []

    def look(self: ForecastModule, optimizer: torch.optim.Optimizer) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        squares = [p.grad.square().sum() for p in self.network.parameters() if p.grad is not None]
        norms.append(float(torch.stack(squares).sum().sqrt()))

    # Lightning clips after the closure and before the step; the hook of the step itself sees what is applied.
    step = lightning.LightningModule.optimizer_step

    def optimizer_step(self: ForecastModule, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
        step(self, epoch, batch_idx, optimizer, closure)
        look(self, optimizer)

    monkeypatch.setattr(ForecastModule, "optimizer_step", optimizer_step, raising=False)
    fit(make_noisy_experiment(epochs=4, gradient_clip=0.01), tmp_path)
    assert max(norms) <= 0.01 * (1 + 1e-4)
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(0.02, rel=0.1)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
