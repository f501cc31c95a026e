"""Divided by time, training goes by windows that are held out, and these have the context that they have in service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import Bundle, Experiment, Fleet, load_bundle
from wearcast.target import SensorTarget
from wearcast.training.network_training import train_network
from wearcast.training.one_model import train_model
from wearcast.training.tasks import task_for
from wearcast.windows import Preprocessing, SplitSpec, UnitSplit, split_units


def make_parts() -> tuple[Experiment, Fleet, UnitSplit]:
    """One unit whose next two readings are forecast, the last fifth held out."""
    experiment = make_experiment(epochs=1, context_length=8, prediction_length=2)
    changes = {"target": SensorTarget(columns=("s0",)), "split": SplitSpec(by="time")}
    experiment = Experiment.model_validate(experiment.model_copy(update=changes).model_dump())
    fleet = make_fleet(units=1, cycles=100, spread=0)
    return experiment, fleet, split_units(fleet, experiment.split, 0)


def test_held_out_windows_are_whole_and_those_before_the_cut_are_not_judged(tmp_path: Path) -> None:
    experiment, _, split = make_parts()
    fitted, task = Preprocessing.fit(split.train, experiment.features), task_for(experiment, split.train)
    trained = train_network(
        experiment, fitted, split.train, split.validation, task,
        work=tmp_path, resume=False, progress=False, held_out=split.held_out,
    )  # fmt: skip
    windows = trained.validation.windows
    assert windows.rows.tolist() == list(range(80, 98))  # the last two readings have no whole answer
    assert windows.batch(slice(None)).mask.all()


def test_what_the_model_says_of_held_out_readings_is_what_it_says_in_service(tmp_path: Path) -> None:
    experiment, fleet, split = make_parts()
    unseen = train_model(experiment, fleet, split, tmp_path / "bundle", work=tmp_path / "work")
    assert unseen.rows.tolist() == list(range(80, 98))
    bundle = load_bundle(tmp_path / "bundle")
    assert isinstance(bundle, Bundle)
    served = bundle.engine.raw(bundle.manifest.preprocessing.transform(fleet), unseen.rows)
    np.testing.assert_array_equal(served, unseen.raw)
