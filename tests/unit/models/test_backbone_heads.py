"""The contract of the backbones over every other head: classes, and future values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.fixtures.experiments import SMALL
from tests.unit.models.test_backbone_contract import NETWORKS, make_batch

from wearcast.models.classes import ClassHead, ClassLoss
from wearcast.models.network import BackboneModule, ForecastNetwork, Head, Loss
from wearcast.models.quantile import HorizonHead, PinballLoss
from wearcast.models.spec import Inputs, Network

LEVELS = (0.1, 0.5, 0.9)
N = 8


def horizon(steps: int) -> Callable[[BackboneModule], Head]:
    """The head over so many steps of two columns."""
    return lambda backbone: HorizonHead(backbone.d_state, steps, 2, levels=LEVELS, decoded=backbone.decodes)


HEADS: dict[str, tuple[Callable[[BackboneModule], Head], tuple[int, ...]]] = {
    "two classes": (lambda backbone: ClassHead(backbone.d_state, 2), (2,)),
    "four classes": (lambda backbone: ClassHead(backbone.d_state, 4), (4,)),
    "one step": (horizon(1), (1, 2, 3)),
    "three steps": (horizon(3), (3, 2, 3)),
}
COVARIATES = {"alone": (0, 0), "static and future": (2, 1)}


def make_network(kind: str, head: str, covariates: str = "alone") -> tuple[ForecastNetwork, Inputs]:
    """A small network and what it reads."""
    static, future = COVARIATES[covariates]
    steps = HEADS[head][1][0] if "step" in head else (3 if future else 0)
    inputs = Inputs(
        n_past=3 + future, n_static=static, n_known_future=future, prediction_length=steps, context_length=12
    )
    torch.manual_seed(0)
    spec = SMALL[kind]
    assert isinstance(spec, Network)
    return ForecastNetwork(spec, inputs, HEADS[head][0]), inputs


def make_answer(head: str) -> tuple[Loss, torch.Tensor, torch.Tensor]:
    """The loss, answers and what is known of them."""
    shape = HEADS[head][1]
    if len(shape) == 1:
        return ClassLoss(torch.ones(shape[0]), gamma=1.0), torch.arange(N) % shape[0], torch.arange(N) != 3
    answer = torch.randn(N, *shape[:2], generator=torch.Generator().manual_seed(2))
    return PinballLoss(LEVELS), answer, answer > -1


@pytest.mark.parametrize("covariates", COVARIATES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_numbers_have_the_shape_that_the_head_promises(kind: str, head: str, covariates: str) -> None:
    network, inputs = make_network(kind, head, covariates)
    found = network.eval()(**make_batch(inputs))
    assert found.shape == (N, *HEADS[head][1])
    assert torch.isfinite(found).all()
    alone = network(**{name: value[:1] for name, value in make_batch(inputs).items()})
    torch.testing.assert_close(alone, found[:1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("covariates", COVARIATES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_are_finite_and_reach_every_parameter(kind: str, head: str, covariates: str) -> None:
    network, inputs = make_network(kind, head, covariates)
    loss, answer, known = make_answer(head)
    value, figure = loss(network.raw(**make_batch(inputs)), answer, known)
    value.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert loss.errors(figure, answer, known).shape == (int(known.sum()),)


@pytest.mark.parametrize(("head", "steps"), [("two classes", 60), ("three steps", 150)])
@pytest.mark.parametrize("kind", NETWORKS)
def test_eight_windows_can_be_learnt_by_heart(kind: str, head: str, steps: int) -> None:
    network, inputs = make_network(kind, head)
    loss, answer, known = make_answer(head)
    batch = make_batch(inputs)
    batch["mask"][:] = True
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    errors = []
    for _ in range(steps):
        optimiser.zero_grad()
        value, _ = loss(network.raw(**batch), answer, known)
        value.backward()
        optimiser.step()
        errors.append(value.item())
    assert errors[-1] < 0.3 * errors[0]


@pytest.mark.parametrize("kind", NETWORKS)
def test_padding_of_any_content_changes_nothing_over_the_horizon(kind: str) -> None:
    network, inputs = make_network(kind, "three steps")
    network.eval()
    batch = make_batch(inputs)
    dirty = torch.where(batch["mask"].unsqueeze(2), batch["past"], torch.tensor(7.0))
    torch.testing.assert_close(network(dirty, batch["mask"]), network(**batch))
