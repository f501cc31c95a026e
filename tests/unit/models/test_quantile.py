"""Quantile head and pinball loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wearcast.errors import ConfigError
from wearcast.models.quantile import QuantileHead, pinball_loss

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@pytest.mark.parametrize("levels", [LEVELS, (0.5,), (0.6, 0.9), (0.1, 0.2)])
def test_quantiles_never_cross(levels: tuple[float, ...]) -> None:
    """Whatever the weights, quantiles rise with their level, for every output column."""
    torch.manual_seed(0)
    head = QuantileHead(3, levels=levels, n_outputs=2)
    head.project.weight.data.mul_(20)
    quantiles = head(torch.randn(40, 4, 3))
    assert quantiles.shape == (40, 4, 2, len(levels))
    assert (quantiles.diff(dim=-1) >= 0).all()


def test_pinball_against_numpy() -> None:
    """The loss is equation 25 written out, averaged."""
    generator = np.random.default_rng(0)
    quantiles, target = generator.normal(size=(7, 5)), generator.normal(size=7)
    error = target[:, None] - quantiles
    expected = np.mean(np.asarray(LEVELS) * np.maximum(error, 0) + (1 - np.asarray(LEVELS)) * np.maximum(-error, 0))
    loss = pinball_loss(torch.tensor(quantiles), torch.tensor(target), torch.tensor(LEVELS, dtype=torch.float64))
    assert loss.item() == pytest.approx(expected)


def test_weight_leaves_unknown_targets_out() -> None:
    """A row of weight zero does not count, even if its target is not a number, nor does it spoil the gradient."""
    quantiles = torch.randn(4, 5, requires_grad=True)
    target, weight = torch.randn(4), torch.tensor([1.0, 1.0, 0.0, 1.0])
    target[2] = float("nan")
    loss = pinball_loss(quantiles, target, torch.tensor(LEVELS), weight)
    keep = [0, 1, 3]
    torch.testing.assert_close(loss, pinball_loss(quantiles[keep], target[keep], torch.tensor(LEVELS)))
    torch.autograd.backward(loss)
    assert quantiles.grad is not None
    assert torch.isfinite(quantiles.grad).all()


def test_head_learns_the_quantiles_of_a_sample() -> None:
    """Minimising the loss finds the empirical quantiles."""
    torch.manual_seed(0)
    head, sample = QuantileHead(1, levels=LEVELS), torch.randn(2000)
    optimiser, state = torch.optim.Adam(head.parameters(), 0.05), torch.ones(1, 1)
    for _ in range(300):
        optimiser.zero_grad()
        torch.autograd.backward(pinball_loss(head(state)[:, 0].expand(2000, -1), sample, head.levels))
        optimiser.step()
    torch.testing.assert_close(head(state)[0, 0], torch.quantile(sample, head.levels), atol=0.06, rtol=0)


@pytest.mark.parametrize("levels", [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.9, 0.1)])
def test_impossible_levels_are_refused(levels: tuple[float, ...]) -> None:
    """Levels must rise strictly between 0 and 1."""
    with pytest.raises(ConfigError, match="quantile levels"):
        QuantileHead(3, levels=levels)
