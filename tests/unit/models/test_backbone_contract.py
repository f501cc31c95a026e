"""One contract, held over every network in the union; graphs and targets are in `test_backbone_targets`."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from tests.fixtures.experiments import SMALL

from wearcast.models.network import ForecastNetwork
from wearcast.models.spec import Backbone, Inputs, Network
from wearcast.models.time_to_event import TimeToEventHead, TimeToEventLoss

NETWORKS = sorted(kind for kind, spec in SMALL.items() if isinstance(spec, Network))
GRID = torch.tensor([0.0, 2, 4, 6, 8, 10, 15, 25])
NEAR, TAIL = 5, 2
SHAPES = {
    "plain": Inputs(n_past=3, context_length=12),
    "one feature": Inputs(n_past=1, context_length=12),
    "odd length": Inputs(n_past=3, context_length=13),
    "static and future": Inputs(n_past=4, n_static=2, n_known_future=1, prediction_length=3, context_length=12),
    "a mark": Inputs(n_past=3, n_known_future=1, prediction_length=3, context_length=12, known_future_at=(2,)),
}


def make_network(kind: str, inputs: Inputs, seed: int = 0) -> ForecastNetwork:
    torch.manual_seed(seed)
    spec = SMALL[kind]
    assert isinstance(spec, Network)
    return ForecastNetwork(spec, inputs, lambda backbone: TimeToEventHead(backbone.d_state, NEAR, TAIL))


def make_batch(inputs: Inputs, n: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(n, inputs.context_length, dtype=torch.bool)
    mask[0, : inputs.context_length - 1] = False  # a history of one reading
    mask[1, :5] = False
    past = torch.randn(n, inputs.context_length, inputs.n_past, generator=generator) * mask.unsqueeze(2)
    batch = {"past": past, "mask": mask}
    if inputs.n_static:
        batch["static"] = torch.randn(n, inputs.n_static, generator=generator)
    if inputs.n_known_future:
        batch["known_future"] = torch.randn(n, inputs.prediction_length, inputs.n_known_future, generator=generator)
    return batch


def test_every_backbone_has_a_small_configuration_here():
    kinds = {get_args(spec.model_fields["kind"].annotation)[0] for spec in get_args(get_args(Backbone)[0])}
    assert kinds == set(SMALL)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_survival_is_a_curve_for_any_shape_and_history(kind, shape):
    inputs = SHAPES[shape]
    survival = make_network(kind, inputs).eval()(**make_batch(inputs))
    assert survival.shape == (8, len(GRID))
    assert torch.isfinite(survival).all()
    assert (survival[:, 0] == 1).all()
    assert (survival.diff(dim=1) <= 1e-6).all()


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_are_finite_and_reach_every_parameter(kind):
    inputs = SHAPES["static and future"]
    network = make_network(kind, inputs)
    loss = TimeToEventLoss(GRID, max_rul=10.0, likelihood_weight=1.0)
    known = torch.tensor([True, False] * 4)
    value, _ = loss(network.raw(**make_batch(inputs)), torch.linspace(0, 24, 8), known)
    value.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("kind", NETWORKS)
def test_one_seed_gives_one_network(kind):
    inputs = SHAPES["plain"]
    batch = make_batch(inputs)
    first, second = (make_network(kind, inputs, seed=4).eval()(**batch) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("kind", NETWORKS)
def test_eight_windows_can_be_learnt_by_heart(kind):
    inputs = SHAPES["plain"]
    network = make_network(kind, inputs)
    batch = make_batch(inputs)
    batch["mask"][:] = True
    loss = TimeToEventLoss(GRID, max_rul=10.0, likelihood_weight=0.1)
    duration, known = torch.linspace(0.5, 9.5, 8), torch.ones(8, dtype=torch.bool)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(250):
        optimiser.zero_grad()
        value, mean = loss(network.raw(**batch), duration, known)
        value.backward()
        optimiser.step()
    assert (mean - duration).abs().max() < 1.0


@pytest.mark.parametrize("kind", NETWORKS)
def test_padding_of_any_content_changes_nothing(kind):
    inputs = SHAPES["plain"]
    network = make_network(kind, inputs).eval()
    batch = make_batch(inputs)
    expected = network(**batch)
    dirty = torch.where(batch["mask"].unsqueeze(2), batch["past"], torch.tensor(7.0))
    torch.testing.assert_close(network(dirty, batch["mask"]), expected)
