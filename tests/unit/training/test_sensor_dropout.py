"""Training with missing sensors: what is dropped, for how long, how often; and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
import torch
from pydantic import ValidationError
from tests.fixtures.experiments import make_experiment
from tests.fixtures.fleets import make_fleet

from wearcast import Fleet
from wearcast.features import SequenceFeatures
from wearcast.training.module import ForecastModule
from wearcast.training.network_training import build_network
from wearcast.training.tasks import task_for
from wearcast.windows import Preprocessing

SILENT: dict[str, float] = {"input_noise": 0.0, "level_noise": 0.0, "deviation_noise": 0.0}


def make_holed_fleet() -> Fleet:
    """A fleet in which readings of `s1` are missing."""
    fleet = make_fleet(units=3, cycles=20, conditions=2)
    holed = pl.when(pl.col("time") % 5 == 0).then(float("nan")).otherwise(pl.col("s1")).cast(pl.Float32)
    return replace(fleet, frame=fleet.frame.with_columns(s1=holed))


def make_module(**trainer: Any) -> tuple[ForecastModule, Preprocessing]:
    """A module around an untrained network whose channels include masks."""
    fleet, features = make_holed_fleet(), SequenceFeatures(healthy_steps=5, missing_mask="all")
    experiment = make_experiment(**trainer).model_copy(update={"features": features})
    preprocessing, task = Preprocessing.fit(fleet, features), task_for(experiment, fleet)
    module = ForecastModule(
        build_network(experiment, preprocessing, task),
        task.loss(),
        experiment.optimiser,
        experiment.trainer,
        n_sensors=3,
        n_deviations=3,
        sensor_of=preprocessing.sensor_of,
        exact=preprocessing.exact,
        units=(),
        seed=0,
    )
    return module, preprocessing


def test_sensors_are_missing_all_along_or_from_a_step_on_with_deviation_and_mask() -> None:
    """Against a plain reading of what may come of each sensor of each window."""
    module, preprocessing = make_module(sensor_dropout=0.8, **SILENT)
    torch.manual_seed(0)
    n, steps = 600, 7
    past = torch.rand(n, steps, len(preprocessing.names)) + 0.5
    found, of = module._without_some(past), torch.tensor(preprocessing.sensor_of)
    assert torch.equal(found[:, :, of == -1], past[:, :, of == -1])  # age, the setting and its mask
    fates = torch.empty(n, 3, dtype=torch.long)
    for sensor in range(3):
        now, before = (values[:, :, of == sensor] for values in (found, past))  # level, deviation, mask
        given = (now == before).all(dim=2).sum(dim=1)  # readings until it falls silent
        for window, count in enumerate(given.tolist()):
            held = before[window, count - 1] * torch.tensor([1.0, 1.0, 0.0]) if count else torch.zeros(3)
            assert torch.equal(now[window, :count], before[window, :count])
            assert torch.equal(now[window, count:], held.expand(steps - count, 3))
        fates[:, sensor] = given
    assert (fates == 0).float().mean().item() == pytest.approx(0.2, abs=0.04)  # half of half of the largest share
    assert ((fates > 0) & (fates < steps)).float().mean().item() == pytest.approx(0.2 * 6 / 7, abs=0.04)
    untouched = (fates == steps).all(dim=1).float().mean().item()
    assert untouched > 0.3  # 0.6³ = 0.22 if all windows had one share
    assert len({tuple(row) for row in (fates == 0).tolist()}) == 8  # each for itself


def test_without_dropout_no_random_number_is_drawn() -> None:
    module, preprocessing = make_module()
    past = torch.rand(2, 3, len(preprocessing.names))
    state = torch.get_rng_state()
    assert module._without_some(past) is past
    assert torch.equal(torch.get_rng_state(), state)


def test_masks_get_no_noise() -> None:
    module, preprocessing = make_module(input_noise=0.3, level_noise=0.3, deviation_noise=0.3)
    past, mask = torch.ones(4, 6, len(preprocessing.names)), torch.ones(4, 6, dtype=torch.bool)
    moved = (module._noisy(past, mask) != past).all(dim=(0, 1))
    assert moved.tolist() == [not exact for exact in preprocessing.exact]
    assert list(preprocessing.names[6:10]) == ["s0_present", "s1_present", "s2_present", "load_present"]


def test_more_than_all_sensors_is_refused() -> None:
    with pytest.raises(ValidationError, match="sensor_dropout"):
        make_experiment(sensor_dropout=1.1)
