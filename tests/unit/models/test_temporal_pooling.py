"""Means over stretches before the end of a window."""

from __future__ import annotations

import torch
from torch import nn

from wearcast.models.temporal_pooling import REACHES, TemporalPooling

LENGTH, WIDTH = 32, 3


def make_pooling() -> TemporalPooling:
    torch.manual_seed(0)
    return TemporalPooling(LENGTH, WIDTH, 8, dropout=0.0).eval()


def means_of(pooling: TemporalPooling, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The means before they are joined, `(batch, stretches, width)`, of the steps as they are."""
    pooling.each, pooling.join = nn.Sequential(), nn.Sequential()
    return torch.unflatten(pooling(x, mask), 1, (len(REACHES), WIDTH))


def test_a_new_one_takes_the_last_step_and_means_of_ever_more_steps() -> None:
    x = torch.randn(4, LENGTH, WIDTH)
    found = means_of(make_pooling(), x, None)
    for k, reach in enumerate(REACHES):
        steps = max(1, round(reach * LENGTH))
        torch.testing.assert_close(found[:, k], x[:, -steps:].mean(dim=1), atol=0.25, rtol=0)
    torch.testing.assert_close(found[:, -1], x.mean(dim=1))


def test_padded_steps_count_nothing() -> None:
    pooling, x = make_pooling(), torch.randn(2, LENGTH, WIDTH)
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    mask[:, :20] = False
    other = torch.where(mask.unsqueeze(2), x, 1e3)
    torch.testing.assert_close(pooling(x, mask), pooling(other, mask))
    torch.testing.assert_close(means_of(pooling, other, mask)[:, -1], x[:, 20:].mean(dim=1))


def test_how_far_a_stretch_reaches_is_learnt() -> None:
    pooling = make_pooling()
    pooling(torch.randn(2, LENGTH, WIDTH), None).sum().backward()
    assert pooling.reach.grad is not None
    assert (pooling.reach.grad.abs().sum(dim=1) > 0).all()
