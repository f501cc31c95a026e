"""Steps that are means of several readings: by a plain loop, exported, and refused where they make no sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.fixtures.experiments import SMALL
from torch import Tensor

from wearcast.datasets.simulated import SimulatedDataset
from wearcast.models.network import ForecastNetwork, pooled
from wearcast.models.spec import Inputs, Network
from wearcast.models.time_to_event import TimeToEventHead
from wearcast.target import SensorTarget
from wearcast.training.experiment import Experiment
from wearcast.windows import WindowSpec

NETWORKS = sorted(kind for kind, spec in SMALL.items() if isinstance(spec, Network))


def by_a_loop(past: Tensor, mask: Tensor, pool: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut each window from its end backwards, and take the mean of what is real."""
    means, there = [], []
    for window, real in zip(past.numpy(), mask.numpy(), strict=True):
        steps, seen = [], []
        for end in range(len(window), 0, -pool):
            chosen = window[max(end - pool, 0) : end][real[max(end - pool, 0) : end]]
            steps.append(chosen.mean(axis=0) if len(chosen) else np.zeros(window.shape[1], dtype=np.float32))
            seen.append(len(chosen) > 0)
        means.append(steps[::-1])
        there.append(seen[::-1])
    return np.array(means), np.array(there)


@pytest.mark.parametrize("steps", [12, 13])
@pytest.mark.parametrize("pool", [2, 4, 5, 20])
def test_steps_are_means_of_real_readings_counted_from_the_end(steps, pool):
    past = torch.randn(4, steps, 3)
    mask = torch.arange(steps) >= torch.tensor([[0], [1], [6], [steps - 1]])
    found, there = pooled(past, mask, pool)
    expected, real = by_a_loop(past, mask, pool)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(there.numpy(), real)


def test_one_reading_a_step_is_the_window_itself():
    past, mask = torch.randn(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    assert pooled(past, mask, 1)[0] is past


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_pooled_network_reads_no_padding(kind):
    """Its graph is held against it in `test_backbone_targets`."""
    torch.manual_seed(0)
    spec = SMALL[kind].model_copy(update={"pool": 4})
    assert isinstance(spec, Network)
    inputs = Inputs(n_past=3, context_length=14)
    network = ForecastNetwork(spec, inputs, lambda backbone: TimeToEventHead(backbone.d_state, 5, 2)).eval()
    mask = torch.ones(6, 14, dtype=torch.bool)
    mask[0, :13] = mask[1, :7] = False
    past = torch.randn(6, 14, 3)
    torch.testing.assert_close(network(past, mask), network(past * mask.unsqueeze(2), mask))


def test_future_values_are_answered_a_reading_at_a_time():
    with pytest.raises(ValueError, match=r"leave backbone\.pool at 1"):
        Experiment(
            name="values",
            dataset=SimulatedDataset(),
            target=SensorTarget(columns=("a",)),
            window=WindowSpec(prediction_length=3),
            backbone=SMALL["informer"].model_copy(update={"pool": 2}),
        )
